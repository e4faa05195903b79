/* codec_int2_kivi.c - the kind int2-kivi: 2-bit codes, keys per channel and values per token (KIVI).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int2_kivi, "int2-kivi", FOVEA_KIND_INT2_KIVI, .bits = 2, .k_channel = true);
