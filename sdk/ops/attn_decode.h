/* attn_decode.h - which kernel attends to a list in decode.
 *
 * The choice belongs to the list: every kind has its best kernel on a processor, and a list goes to the one that all
 * its kinds have. Company and the division into runs have no say. Included by backend_cpu.c, the AVX-512 kernel of
 * decode rows and tests. */
#ifndef FOVEA_OPS_ATTN_DECODE_H
#define FOVEA_OPS_ATTN_DECODE_H

#include "sdk/ops/cpu_impl.h"

typedef enum fvi_decode_kernel {
    FVI_DECODE_REFERENCE = 0,
    FVI_DECODE_AVX2,
    FVI_DECODE_AVX512,
} fvi_decode_kernel;

/* The kernel for runs of a codec, keys of dk and values of dv channels, with these fovea_cpu_feature bits. */
fvi_decode_kernel fvi_decode_kernel_of(const fvi_codec *codec, uint32_t dk, uint32_t dv,
                                       uint32_t features);

/* attn_decode of the table: the lists one stretch after another that one kernel takes. */
fovea_status fvi_cpu_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args);

/* Whether AVX-512 multiplies codes per token of so many bits and these widths: 2-bit codes where a vector of 64
 * channels takes whole shares of rows. */
static inline bool fvi_avx512_widths(uint32_t bits, uint32_t dk, uint32_t dv)
{
    return bits == 2 ? dk % 64 == 0 && 256 % dk == 0 && dv % 64 == 0 && 256 % dv == 0
                     : dk % 32 == 0 && dv % 16 == 0;
}

#endif
