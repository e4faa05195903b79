/* rewrite.c - rows of a layer in another form: what stays in a plain kind is copied bit by bit, other rows
 * are decoded and encoded in groups, those that the codec asks for, once it is fitted to them if it
 * wants that. A list whose evicted tokens are merged
 * is decoded whole first and encoded from there: rows that merging leaves alone get the bits they would have
 * had. Called by plan_apply.c and cut.c. */
#include "kvcompress/rewrite.h"

#include "kvcompress/row_fit.h"

#define GROUP FVI_CODEC_ROWS /* rows decoded at a time, at most */

/* One list of a layer, and the kind that is being written. */
typedef struct rewrite {
    fvi_kv_rows from[FOVEA_N_KIND]; /* run by run */
    fvi_kv_rows to;
    uint32_t n_from;
    const uint8_t *kind; /* [n_token] of the list */
    uint8_t *held;       /* [n_token] which of `from` has the token, FVI_KV_DROP: none */
    uint32_t n_token;
    float rope_base;              /* of the geometry */
    float *k, *v;                 /* [GROUP, dk], [GROUP, dv] */
    uint32_t *at;                 /* [FVI_FIT_ROWS] tokens that are fitted */
    void *fit;                    /* fvi_row_fit_bytes */
    const fvi_merge_work *merged; /* all rows of the list; NULL: they are read from `from` */
} rewrite;

/* Copies the rows of `kind`, stretch by stretch, from a list that has one run. */
static void copy_rows(rewrite *self, uint8_t kind)
{
    uint32_t at = 0;
    while (at < self->n_token) {
        uint32_t end = at, n_row = 0;
        bool stays = self->kind[at] == kind;
        while (end < self->n_token && (self->kind[end] == kind) == stays) {
            n_row += self->held[end++] != FVI_KV_DROP;
        }
        if (stays) {
            fvi_kv_rows_copy(&self->to, &self->from[0], n_row);
        } else {
            fvi_kv_rows_skip(&self->from[0], n_row);
        }
        at = end;
    }
}

/* Rows that the next call of encode gets: what the codec asks for, else what lies together. 0: all done. */
static uint32_t next_group(rewrite *self)
{
    const fvi_kv_shape *shape = &self->to.shape;
    uint32_t n_ready = fvi_kv_rows_ready(&self->to, GROUP), n_asked = 0;
    if (n_ready > 0) {
        n_asked = fvi_codec_encode_rows(shape->codec, self->to.piece.n_row, shape->dk, shape->dv,
                                        self->to.row);
    }
    return n_asked > 0 ? n_asked : n_ready;
}

/* The row of a token, which is the next of `rows`. */
static void read_row(const rewrite *self, const fvi_kv_rows *rows, uint32_t token, float *k,
                     float *v)
{
    const fvi_kv_shape *from = &rows->shape;
    if (self->merged != NULL) {
        memcpy(k, self->merged->k + (size_t)token * from->dk, from->dk * sizeof *k);
        memcpy(v, self->merged->v + (size_t)token * from->dv, from->dv * sizeof *v);
    } else {
        fvi_codec_decode(from->codec, rows->piece.data, rows->piece.n_row, from->dk, from->dv,
                         rows->row, 1, k, from->dk, v, from->dv);
    }
}

/* Reads the next rows of `kind`, n at most, from token *at on; returns how many there were. */
static uint32_t read_rows(rewrite *self, uint8_t kind, uint32_t *at, uint32_t n)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t n_read = 0;
    for (; *at < self->n_token && n_read < n; (*at)++) {
        if (self->held[*at] == FVI_KV_DROP) {
            continue;
        }
        fvi_kv_rows *rows = &self->from[self->held[*at]];
        if (fvi_kv_rows_ready(rows, 1) == 0) {
            break;
        }
        if (self->kind[*at] == kind) {
            read_row(self, rows, *at, self->k + (size_t)n_read * to->dk,
                     self->v + (size_t)n_read * to->dv);
            n_read++;
        }
        rows->row++;
    }
    return n_read;
}

/* The next n tokens of `kind`, from token `at` on, to self->at. */
static void find_tokens(const rewrite *self, uint8_t kind, uint32_t at, uint32_t n)
{
    for (uint32_t n_found = 0; at < self->n_token && n_found < n; at++) {
        if (self->kind[at] == kind) {
            self->at[n_found++] = at;
        }
    }
}

/* Fits the next n rows, which are those from token `at` on, and writes the fit. */
static void settle_rows(const rewrite *self, uint8_t kind, uint32_t at, uint32_t n)
{
    const fvi_kv_shape *to = &self->to.shape;
    fvi_row_fit fit;
    fvi_row_fit_in(&fit, self->fit, to->dk, to->dv);
    find_tokens(self, kind, at, n);
    fvi_row_fit_turn(&fit, self->rope_base, n, self->at);
    for (uint32_t walk = 0; walk < 2; walk++) {
        rewrite ahead = *self;
        uint32_t token = at, n_left = n, n_read;
        while ((n_read = read_rows(&ahead, kind, &token, FVI_MIN(n_left, GROUP))) > 0) {
            (walk == 0 ? fvi_row_fit_add : fvi_row_fit_span)(&fit, n_read, self->k, to->dk, self->v,
                                                             to->dv);
            n_left -= n_read;
        }
        if (walk == 0) {
            fvi_row_fit_solve(&fit);
        }
    }
    fvi_codec_settle(to->codec, &fit, self->to.piece.data, self->to.piece.n_row, to->dk, to->dv,
                     self->to.row);
}

/* Decodes the rows of `kind` and encodes them anew. */
static void convert_rows(rewrite *self, uint8_t kind)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t at = 0, n_group, n_fitted = 0; /* rows that are fitted and not yet encoded */
    while ((n_group = next_group(self)) > 0) {
        if (n_fitted == 0) {
            n_fitted =
                fvi_codec_fit_rows(to->codec, self->to.piece.n_row, to->dk, to->dv, self->to.row);
            if (n_fitted > 0) {
                settle_rows(self, kind, at, n_fitted);
            }
        }
        n_group = n_fitted > 0 ? FVI_MIN(n_group, n_fitted) : n_group;
        if (read_rows(self, kind, &at, n_group) < n_group) {
            return;
        }
        fvi_codec_encode(to->codec, self->to.piece.data, self->to.piece.n_row, to->dk, to->dv,
                         self->to.row, n_group, self->k, to->dk, self->v, to->dv);
        self->to.row += n_group;
        n_fitted -= FVI_MIN(n_fitted, n_group);
    }
}

/* The list's runs in `from`, from their first rows on; the cursor behind them is returned. */
static fvi_kv_cursor open_runs(const fvi_kv_pool *pool, const fvi_kv_side *from, uint32_t list,
                               fvi_kv_cursor at, rewrite *self)
{
    for (uint32_t nth = 0; nth < self->n_from; nth++) {
        fvi_kv_shape shape = fvi_kv_block_shape(from->geom, from->block, from->layer, nth);
        self->from[nth] =
            fvi_kv_rows_of(pool, at, shape, fvi_kv_block_rows(from->block, list, nth));
        fvi_kv_rows rows = self->from[nth];
        fvi_kv_rows_skip(&rows, UINT32_MAX);
        at = rows.at;
    }
    return at;
}

/* Where the tokens of `list` lie; *at and *more go on from list to list. */
static void find_held(fvi_kv_turn_iter *at, bool *more, uint32_t list, rewrite *self)
{
    memset(self->held, FVI_KV_DROP, self->n_token);
    for (; *more && at->list <= list; *more = fvi_kv_turn_next(at)) {
        if (at->list == list) {
            self->held[at->token] = (uint8_t)at->nth;
        }
    }
}

/* Decodes all rows of a list, from the start of `rows` on, and merges them. */
static void merge_list(const fvi_merging *merging, const fvi_merge_list *list, fvi_kv_rows rows,
                       const fvi_merge_work *work)
{
    const fvi_codec *codec = rows.shape.codec;
    for (uint32_t t = 0; t < list->n_token;) {
        uint32_t n = fvi_kv_rows_ready(&rows, list->n_token - t);
        if (n == 0) {
            return;
        }
        fvi_codec_decode(codec, rows.piece.data, rows.piece.n_row, list->dk, list->dv, rows.row, n,
                         work->k + (size_t)t * list->dk, list->dk, work->v + (size_t)t * list->dv,
                         list->dv);
        rows.row += n;
        t += n;
    }
    fvi_merge_rows(merging, list, work);
}

/* Merges what the list evicts, where there is any. */
static void merge_evicted(const fvi_merging *merging, const fvi_kv_side *from, uint32_t head,
                          void *space, fvi_merge_work *work, rewrite *self)
{
    const fvi_kv_layer_geom *geom = &from->geom->layers[from->layer];
    const fvi_merge_list list = {.layer = from->layer,
                                 .head = head,
                                 .list = fvi_kv_geom_first_list(from->geom, from->layer) + head,
                                 .n_token = self->n_token,
                                 .dk = geom->dk,
                                 .dv = geom->dv,
                                 .kind = self->kind};
    if (space != NULL && fvi_merge_has_work(merging, &list)) {
        *work = fvi_merge_work_in(space, self->n_token, geom->dk, geom->dv);
        merge_list(merging, &list, self->from[0], work);
        self->merged = work;
    }
}

void fvi_kv_rewrite(const fvi_kv_pool *pool, fvi_kv_side from, fvi_kv_side to, const uint8_t *kind,
                    const fvi_merging *merging, void *scratch, void *merge_space)
{
    const fvi_kv_layer_geom *geom = &to.geom->layers[to.layer];
    uint32_t n_token = to.block->turn->n_token;
    uint32_t first_from = fvi_kv_geom_first_list(from.geom, from.layer);
    uint32_t first_to = fvi_kv_geom_first_list(to.geom, to.layer);
    fvi_kv_cursor at_from = fvi_kv_block_start(pool, from.geom, from.block, from.layer);
    fvi_kv_cursor at_to = fvi_kv_block_start(pool, to.geom, to.block, to.layer);
    /* a side that is read is fresh or has one layer, so its tokens can be counted from here */
    fvi_kv_turn_iter held = {.turn = from.block->turn, .list = first_from, .token = UINT32_MAX};
    rewrite self = {.n_from = fvi_kv_block_n_run(from.block),
                    .n_token = n_token,
                    .rope_base = to.geom->rope_base};
    self.k = scratch;
    self.v = self.k + (size_t)GROUP * geom->dk;
    self.at = (uint32_t *)(void *)(self.v + (size_t)GROUP * geom->dv);
    self.fit = self.at + FVI_FIT_ROWS;
    self.held = (uint8_t *)self.fit + fvi_row_fit_bytes(geom->dk, geom->dv);
    bool more = fvi_kv_turn_next(&held);
    for (uint32_t head = 0; head < geom->n_kv_head; head++) {
        fvi_merge_work work;
        self.kind = kind + (size_t)head * n_token;
        self.merged = NULL;
        find_held(&held, &more, first_from + head, &self);
        fvi_kv_cursor behind = open_runs(pool, &from, first_from + head, at_from, &self);
        merge_evicted(merging, &from, head, merge_space, &work, &self);
        for (uint32_t nth = 0; nth < to.block->turn->n_kind; nth++) {
            fvi_kv_shape shape = fvi_kv_block_shape(to.geom, to.block, to.layer, nth);
            open_runs(pool, &from, first_from + head, at_from, &self);
            self.to = fvi_kv_rows_of(pool, at_to, shape,
                                     fvi_kv_block_rows(to.block, first_to + head, nth));
            bool is_copy = self.n_from == 1 && shape.codec == self.from[0].shape.codec &&
                           shape.codec->kind == to.geom->base && self.merged == NULL;
            (is_copy ? copy_rows : convert_rows)(&self, (uint8_t)shape.codec->kind);
            fvi_kv_rows_skip(&self.to, UINT32_MAX);
            at_to = self.to.at;
        }
        at_from = behind;
    }
}

size_t fvi_kv_rewrite_bytes(const fvi_kv_geom *geom, uint32_t n_token)
{
    size_t most = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        const fvi_kv_layer_geom *g = &geom->layers[layer];
        most = FVI_MAX(most, (GROUP * ((size_t)g->dk + g->dv) + FVI_FIT_ROWS) * sizeof(float) +
                                 fvi_row_fit_bytes(g->dk, g->dv));
    }
    return most + n_token;
}
