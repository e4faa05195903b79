/* codec_pca_32.c - the kind pca-32: principal components, 32 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_32, "pca-32", FOVEA_KIND_PCA_32, .bits_of_16 = 32, .slots_of_32 = 16,
        .direction_bits = 8);
