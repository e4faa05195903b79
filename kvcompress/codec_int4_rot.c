/* codec_int4_rot.c - the kind int4-rot: 4-bit codes per token of rotated rows, so that a channel that stands out
 * is spread over all (QuaRot).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int4_rot, "int4-rot", FOVEA_KIND_INT4_ROT, .bits = 4, .rotated = true);
