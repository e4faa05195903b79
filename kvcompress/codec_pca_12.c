/* codec_pca_12.c - the kind pca-12: principal components, 12 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_12, "pca-12", FOVEA_KIND_PCA_12, .bits_of_16 = 12, .slots_of_32 = 8,
        .direction_bits = 4);
