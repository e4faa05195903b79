/* codec_int4_kivi.c - the kind int4-kivi: 4-bit codes, keys per channel and values per token (KIVI).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int4_kivi, "int4-kivi", FOVEA_KIND_INT4_KIVI, .bits = 4, .k_channel = true);
