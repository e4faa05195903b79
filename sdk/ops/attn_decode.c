/* attn_decode.c - the choice of a kernel for decode rows (attn_decode.h).
 *
 * The AVX-512 kernel multiplies codes per token and those of 4 and 2 bits per channel, given VNNI; other codes
 * (rotated ones, keys and values that lie differently), and principal components, it would decode first, which costs
 * more than the AVX2 kernel, that multiplies all of them. */
#include "sdk/ops/attn_decode.h"

#include <fovea/engine.h>

/* The AVX-512 kernel has its own way with these codes. */
static bool avx512_takes(const fvi_code_layout *codes, uint32_t dk, uint32_t dv, uint32_t features)
{
    bool vnni = (features & FOVEA_CPU_AVX512_BF16) != 0;
    if (codes->bits == 0) {
        return true;
    }
    if (!vnni || codes->rotated || codes->k_channel != codes->v_channel) {
        return false;
    }
    return codes->k_channel || fvi_avx512_widths(codes->bits, dk, dv);
}

fvi_decode_kernel fvi_decode_kernel_of(const fvi_codec *codec, uint32_t dk, uint32_t dv,
                                       uint32_t features)
{
    bool avx2 = (features & FOVEA_CPU_AVX2) != 0;
    if ((features & FOVEA_CPU_AVX512) != 0 &&
        (!avx2 || (codec->fit_rows == NULL && avx512_takes(&codec->codes, dk, dv, features)))) {
        return FVI_DECODE_AVX512;
    }
    return avx2 ? FVI_DECODE_AVX2 : FVI_DECODE_REFERENCE;
}

static fvi_decode_kernel kernel_of_list(const fvi_list_view *list, uint32_t dk, uint32_t dv,
                                        uint32_t features)
{
    fvi_decode_kernel all = FVI_DECODE_AVX512;
    for (uint32_t i = 0; i < list->n_run; i++) {
        all = FVI_MIN(all, fvi_decode_kernel_of(list->runs[i].codec, dk, dv, features));
    }
    return all;
}

/* What a kernel needs of scratch memory, and the kernel. */
typedef struct decode_entry {
    size_t (*bytes)(const fvi_backend *, const fvi_attn_decode_args *);
    fovea_status (*run)(fvi_backend *, const fvi_attn_decode_args *);
} decode_entry;

static const decode_entry entries[] = {
    [FVI_DECODE_REFERENCE] = {NULL, fvi_ref_attn_decode}, /* never beside another one */
#if FVI_HAVE_AVX2
    [FVI_DECODE_AVX2] = {fvi_avx2_attn_decode_bytes, fvi_avx2_attn_decode},
#endif
#if FVI_HAVE_AVX512
    [FVI_DECODE_AVX512] = {fvi_avx512_attn_decode_bytes, fvi_avx512_attn_decode},
#endif
};

/* The lists from `first` on that one kernel takes, each a row of its own; all of them as they come. */
static fvi_attn_decode_args stretch_from(const fvi_attn_decode_args *a, size_t first,
                                         uint32_t features, fvi_decode_kernel *kernel)
{
    size_t n_list = (size_t)a->n_row * a->n_kv_head, end = first + 1;
    uint32_t group = a->n_head / a->n_kv_head;
    *kernel = kernel_of_list(&a->lists[first], a->dk, a->dv, features);
    while (end < n_list && kernel_of_list(&a->lists[end], a->dk, a->dv, features) == *kernel) {
        end++;
    }
    if (first == 0 && end == n_list) {
        return *a;
    }
    fvi_attn_decode_args part = *a;
    part.q += first * group * a->dk;
    part.lists += first;
    part.out += first * group * a->dv;
    part.lse = a->lse != NULL ? a->lse + first * group : NULL;
    part.mass = a->mass != NULL ? a->mass + first : NULL;
    part.n_row = (uint32_t)(end - first);
    part.n_head = group;
    part.n_kv_head = 1;
    return part;
}

fovea_status fvi_cpu_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args)
{
    size_t n_list = (size_t)args->n_row * args->n_kv_head, n_bytes = 0;
    fvi_decode_kernel kernel;
    fvi_attn_decode_args part = stretch_from(args, 0, backend->features, &kernel);
    if (part.n_row * part.n_kv_head == n_list) {
        return entries[kernel].run(backend, &part);
    }
    /* memory first: a stretch must not fail behind another one */
    for (size_t at = 0; at < n_list; at += part.n_row) {
        part = stretch_from(args, at, backend->features, &kernel);
        size_t some = entries[kernel].bytes(backend, &part);
        n_bytes = FVI_MAX(n_bytes, some);
    }
    if (fvi_cpu_scratch(backend, n_bytes) == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (size_t at = 0; at < n_list; at += part.n_row) {
        part = stretch_from(args, at, backend->features, &kernel);
        FVI_TRY(entries[kernel].run(backend, &part));
    }
    return FOVEA_OK;
}
