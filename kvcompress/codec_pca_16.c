/* codec_pca_16.c - the kind pca-16: principal components, 16 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_16, "pca-16", FOVEA_KIND_PCA_16, .bits_of_16 = 16, .slots_of_32 = 10,
        .direction_bits = 8);
