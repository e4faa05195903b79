/* codec_int2_rot.c - the kind int2-rot: 2-bit codes per token of rotated rows (QuaRot).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int2_rot, "int2-rot", FOVEA_KIND_INT2_ROT, .bits = 2, .rotated = true);
