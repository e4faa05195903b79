/* codec_pca_8.c - the kind pca-8: principal components, 8 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_8, "pca-8", FOVEA_KIND_PCA_8, .bits_of_16 = 8, .slots_of_32 = 6, .direction_bits = 4);
