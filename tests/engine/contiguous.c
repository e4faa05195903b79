/* contiguous.c - the contiguous cache, and a plain way to run a prompt over it.
 *
 * Compiled with contiguous.h in front, so every name here that looks like the cache's is the test's own. */
#include "harness.h"

#include "kvcompress/codecs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CAPACITY 2048

struct fvi_kv_seq {
    const fvi_kv_geom *geom;
    const fvi_codec *codec;
    uint8_t **data;       /* [n_list] one run of CAPACITY tokens each */
    fvi_run_view *runs;   /* [n_list] */
    fvi_list_view *lists; /* [n_list] */
    uint32_t n_token, n_fresh;
};

static uint32_t list_of(const fvi_kv_seq *seq, uint32_t layer, uint32_t head)
{
    return layer * seq->geom->layers[0].n_kv_head + head;
}

fovea_status fvi_kv_seq_new(const fovea_alloc *alloc, fvi_kv_pool *pool, const fvi_kv_geom *geom,
                            fvi_kv_seq **out)
{
    (void)pool;
    fvi_kv_seq *seq = fvi_calloc(alloc, 1, sizeof *seq);
    uint32_t n_list = fvi_kv_geom_n_list(geom);
    seq->geom = geom;
    seq->codec = fvi_codec_of(geom->base);
    seq->data = fvi_calloc(alloc, n_list, sizeof *seq->data);
    seq->runs = fvi_calloc(alloc, n_list, sizeof *seq->runs);
    seq->lists = fvi_calloc(alloc, n_list, sizeof *seq->lists);
    size_t n_bytes = fvi_codec_bytes(seq->codec, CAPACITY, geom->layers[0].dk, geom->layers[0].dv);
    for (uint32_t i = 0; i < n_list; i++) {
        seq->data[i] = fvi_calloc(alloc, 1, n_bytes);
        assert_non_null(seq->data[i]);
        seq->runs[i] =
            (fvi_run_view){.data = seq->data[i], .codec = seq->codec, .capacity = CAPACITY};
        seq->lists[i] = (fvi_list_view){.runs = &seq->runs[i], .n_run = 1};
    }
    *out = seq;
    return FOVEA_OK;
}

void fvi_kv_seq_free(fvi_kv_seq **out)
{
    fvi_kv_seq *seq = *out;
    for (uint32_t i = 0; i < fvi_kv_geom_n_list(seq->geom); i++) {
        fvi_free(&fvi_alloc_default, seq->data[i]);
    }
    fvi_free(&fvi_alloc_default, seq->data);
    fvi_free(&fvi_alloc_default, seq->runs);
    fvi_free(&fvi_alloc_default, seq->lists);
    fvi_free(&fvi_alloc_default, seq);
    *out = NULL;
}

fovea_status fvi_kv_seq_begin_turn(fvi_kv_seq *seq, const fvi_kv_span *spans, uint32_t n_span,
                                   uint32_t n_generate)
{
    (void)n_generate;
    seq->n_fresh = 0;
    for (uint32_t i = 0; i < n_span; i++) {
        seq->n_fresh += spans[i].n;
    }
    assert_true(seq->n_token + seq->n_fresh <= CAPACITY);
    return FOVEA_OK;
}

uint32_t fvi_kv_seq_n_fresh(const fvi_kv_seq *seq)
{
    return seq->n_fresh;
}

uint32_t fvi_kv_seq_position(const fvi_kv_seq *seq)
{
    return seq->n_token;
}

static void set_length(fvi_kv_seq *seq, uint32_t layer, uint32_t n)
{
    for (uint32_t h = 0; h < seq->geom->layers[0].n_kv_head; h++) {
        uint32_t i = list_of(seq, layer, h);
        seq->runs[i].n_token = seq->lists[i].n_token = n;
    }
}

fovea_status fvi_kv_seq_open_layer(fvi_kv_seq *seq, uint32_t layer)
{
    set_length(seq, layer, seq->n_token + seq->n_fresh);
    return FOVEA_OK;
}

void fvi_kv_seq_write(fvi_kv_seq *seq, uint32_t layer, uint32_t row0, uint32_t n, const float *k,
                      size_t k_stride, const float *v, size_t v_stride)
{
    const fvi_kv_layer_geom *g = &seq->geom->layers[layer];
    for (uint32_t h = 0; h < g->n_kv_head; h++) {
        fvi_codec_encode(seq->codec, seq->data[list_of(seq, layer, h)], CAPACITY, g->dk, g->dv,
                         seq->n_token + row0, n, k + (size_t)h * g->dk, k_stride,
                         v + (size_t)h * g->dv, v_stride);
    }
}

void fvi_kv_seq_end_turn(fvi_kv_seq *seq)
{
    seq->n_token += seq->n_fresh;
}

fovea_status fvi_kv_seq_append(fvi_kv_seq *seq, uint32_t layer, const float *k, const float *v)
{
    const fvi_kv_layer_geom *g = &seq->geom->layers[layer];
    fvi_kv_seq_write(seq, layer, 0, 1, k, (size_t)g->n_kv_head * g->dk, v,
                     (size_t)g->n_kv_head * g->dv);
    set_length(seq, layer, seq->n_token + 1);
    return FOVEA_OK;
}

fovea_status fvi_kv_seq_commit(fvi_kv_seq *seq)
{
    seq->n_token++;
    return FOVEA_OK;
}

float *fvi_kv_seq_mass(const fvi_kv_seq *seq, uint32_t list)
{
    (void)seq;
    (void)list;
    return NULL;
}

const fvi_list_view *fvi_kv_seq_lists(const fvi_kv_seq *seq, uint32_t layer)
{
    return seq->lists + list_of(seq, layer, 0);
}

const fvi_list_view *fvi_kv_seq_attended(const fvi_kv_seq *seq, uint32_t layer, const float *q)
{
    (void)q;
    return fvi_kv_seq_lists(seq, layer);
}
