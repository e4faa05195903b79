/* attn_section.c - where K and V of a run lie (attn_section.h). */
#include "sdk/ops/attn_section.h"

#include "sdk/ops/pca.h"

/* The kind whose rows those of a section per token and without rotation are. */
static fovea_kind row_kind(const fvi_code_layout *codes)
{
    return codes->bits == 8   ? FOVEA_KIND_INT8
           : codes->bits == 4 ? FOVEA_KIND_INT4
                              : FOVEA_KIND_INT2;
}

fvi_section fvi_section_of(const fvi_run_view *run, uint32_t dk, uint32_t dv, bool values)
{
    const fvi_code_layout *codes = &run->codec->codes;
    fvi_section s = {.run = run,
                     .d = values ? dv : dk,
                     .dk = dk,
                     .dv = dv,
                     .values = values,
                     .kind = run->codec->kind,
                     .fitted = fvi_pca_lies(&run->codec->pca, run->capacity, dk, dv)};
    if (codes->bits > 0) {
        fvi_code_sections at = fvi_code_sections_of(codes, run->capacity, dk, dv);
        s.codes = run->data + (values ? at.v : at.k);
        s.affine = run->data + (values ? at.v_affine : at.k_affine);
        s.row_bytes = fvi_code_row(codes->bits, s.d);
        s.groups = fvi_groups(s.d);
        s.channel = values ? at.v_channel : at.k_channel;
        s.kind = s.channel || codes->rotated ? s.kind : row_kind(codes);
    } else if (s.kind == FOVEA_KIND_F32 || s.kind == FOVEA_KIND_F16) {
        size_t size = s.kind == FOVEA_KIND_F32 ? 4 : 2;
        s.codes = run->data + (values ? run->capacity * dk * size : 0);
        s.row_bytes = s.d * size;
    }
    return s;
}
