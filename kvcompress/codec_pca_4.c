/* codec_pca_4.c - the kind pca-4: principal components, 4 bits for 16 values.
 *
 * Layout: sdk/ops/pca.h. Called through the table codecs.def. */
#include "kvcompress/codec_pca.h"

FVI_PCA(pca_4, "pca-4", FOVEA_KIND_PCA_4, .bits_of_16 = 4, .slots_of_32 = 3, .direction_bits = 4);
