/* codec_pca_6.c - the kind pca-6: principal components, 6 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_6, "pca-6", FOVEA_KIND_PCA_6, .bits_of_16 = 6, .slots_of_32 = 4, .direction_bits = 4);
