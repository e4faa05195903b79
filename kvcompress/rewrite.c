/* rewrite.c - rows of a layer in another form: what stays in a plain kind is copied bit by bit, other rows
 * are decoded and encoded, those at a time that the codec is fitted to or asks for. A list whose evicted tokens are merged
 * is decoded whole first and encoded from there: rows that merging leaves alone get the bits they would have
 * had. Runs are shared out among workers, those that are fitted part by part, but where tokens are merged, which takes
 * space that is booked. Called by plan_apply.c and cut.c. */
#include "kvcompress/rewrite.h"

#include "kvcompress/row_fit.h"

#define GROUP  FVI_CODEC_ROWS /* rows encoded at a time, at most */
#define ROWS   FVI_FIT_ROWS   /* rows decoded at a time, at most */
#define FEWEST 128            /* rows of a portion, but for what a run ends with */

/* One list of a layer, and the kind that is being written. */
typedef struct rewrite {
    fvi_kv_rows from[FOVEA_N_KIND]; /* run by run */
    fvi_kv_rows to;
    uint32_t n_from;
    const uint8_t *kind; /* [n_token] of the list */
    const uint8_t *held; /* [n_token] which of `from` has the token, FVI_KV_DROP: none */
    uint32_t n_token;
    float rope_base;              /* of the geometry */
    float *k, *v;                 /* [ROWS, dk], [ROWS, dv] */
    uint32_t *at;                 /* [ROWS] tokens that are fitted */
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

/* How many rows of `kind` lie one behind the other, from token *at on, n at most; *at moves behind them. */
static uint32_t stretch(const rewrite *self, uint8_t kind, uint32_t *at, uint32_t n)
{
    const uint8_t held = self->held[*at];
    uint32_t n_row = 0;
    for (; *at < self->n_token && n_row < n; (*at)++) {
        if (self->held[*at] == FVI_KV_DROP) {
            continue;
        }
        if (self->held[*at] != held || self->kind[*at] != kind) {
            break;
        }
        n_row++;
    }
    return n_row;
}

/* The next n rows of `rows`, which are those from token `token` on. */
static void read_stretch(const rewrite *self, const fvi_kv_rows *rows, uint32_t token, uint32_t n,
                         float *k, float *v)
{
    const fvi_kv_shape *from = &rows->shape;
    if (self->merged == NULL) {
        fvi_codec_decode(from->codec, rows->piece.data, rows->piece.n_row, from->dk, from->dv,
                         rows->row, n, k, from->dk, v, from->dv);
        return;
    }
    for (uint32_t i = 0; i < n; token++) {
        if (self->held[token] != FVI_KV_DROP) {
            memcpy(k + (size_t)i * from->dk, self->merged->k + (size_t)token * from->dk,
                   from->dk * sizeof *k);
            memcpy(v + (size_t)i * from->dv, self->merged->v + (size_t)token * from->dv,
                   from->dv * sizeof *v);
            i++;
        }
    }
}

/* Reads the next rows of `kind`, n at most, from token *at on; returns how many there were. */
static uint32_t read_rows(rewrite *self, uint8_t kind, uint32_t *at, uint32_t n)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t n_read = 0;
    while (*at < self->n_token && n_read < n) {
        if (self->held[*at] == FVI_KV_DROP) {
            (*at)++;
            continue;
        }
        fvi_kv_rows *rows = &self->from[self->held[*at]];
        uint32_t token = *at, n_row = fvi_kv_rows_ready(rows, n - n_read);
        if (n_row == 0) {
            break;
        }
        if (self->kind[token] == kind) {
            n_row = stretch(self, kind, at, n_row);
            read_stretch(self, rows, token, n_row, self->k + (size_t)n_read * to->dk,
                         self->v + (size_t)n_read * to->dv);
            n_read += n_row;
        } else {
            n_row = 1;
            (*at)++;
        }
        rows->row += n_row;
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

/* Fits the n rows that were read, which are those from token `at` on, and writes the fit. */
static void settle_rows(const rewrite *self, uint8_t kind, uint32_t at, uint32_t n)
{
    const fvi_kv_shape *to = &self->to.shape;
    fvi_row_fit fit;
    fvi_row_fit_in(&fit, self->fit, to->dk, to->dv);
    find_tokens(self, kind, at, n);
    fvi_row_fit_turn(&fit, self->rope_base, n, self->at);
    fvi_row_fit_add(&fit, n, self->k, to->dk, self->v, to->dv);
    fvi_row_fit_solve(&fit);
    fvi_row_fit_span(&fit, n, self->k, to->dk, self->v, to->dv);
    fvi_codec_settle(to->codec, &fit, self->to.piece.data, self->to.piece.n_row, to->dk, to->dv,
                     self->to.row);
}

/* Passes the first n rows of `kind`; returns the token behind them. */
static uint32_t skip_rows(rewrite *self, uint8_t kind, uint32_t n)
{
    uint32_t at = 0;
    for (; n > 0 && at < self->n_token; at++) {
        if (self->held[at] != FVI_KV_DROP) {
            fvi_kv_rows_skip(&self->from[self->held[at]], 1);
            n -= self->kind[at] == kind;
        }
    }
    return at;
}

/* Reads the next rows of `kind`: those that have a fit in common, which is made, else n_group. Returns how many there are,
 * 0: too few. */
static uint32_t take_rows(rewrite *self, uint8_t kind, uint32_t *at, uint32_t n_group)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t first = *at, n_fitted = fvi_codec_fit_rows(to->codec, self->to.piece.n_row, to->dk,
                                                        to->dv, self->to.row);
    uint32_t n = n_fitted > 0 ? n_fitted : n_group;
    if (read_rows(self, kind, at, n) < n) {
        return 0;
    }
    if (n_fitted > 0) {
        settle_rows(self, kind, first, n);
    }
    return n;
}

/* Decodes n rows of `kind`, from token `at` on, and encodes them anew. */
static void convert_rows(rewrite *self, uint8_t kind, uint32_t at, uint32_t n)
{
    const fvi_kv_shape *to = &self->to.shape;
    uint32_t n_group, n_read = 0, n_done = 0; /* of the rows that were read */
    for (; n > 0 && (n_group = next_group(self)) > 0; n -= n_group) {
        if (n_done == n_read) {
            n_read = take_rows(self, kind, &at, n_group);
            n_done = 0;
        }
        n_group = FVI_MIN(n_group, n_read - n_done);
        if (n_group == 0) {
            return;
        }
        fvi_codec_encode(to->codec, self->to.piece.data, self->to.piece.n_row, to->dk, to->dv,
                         self->to.row, n_group, self->k + (size_t)n_done * to->dk, to->dk,
                         self->v + (size_t)n_done * to->dv, to->dv);
        self->to.row += n_group;
        n_done += n_group;
    }
}

/* Runs of a list from `at` on; the cursor behind them is returned. rows: their first rows, or NULL. */
static fvi_kv_cursor open_runs(const fvi_kv_pool *pool, const fvi_kv_side *side, uint32_t list,
                               fvi_kv_cursor at, fvi_kv_rows *rows)
{
    for (uint32_t nth = 0; nth < fvi_kv_block_n_run(side->block); nth++) {
        fvi_kv_shape shape = fvi_kv_block_shape(side->geom, side->block, side->layer, nth);
        fvi_kv_rows own =
            fvi_kv_rows_of(pool, at, shape, fvi_kv_block_rows(side->block, list, nth));
        if (rows != NULL) {
            rows[nth] = own;
        }
        fvi_kv_rows_skip(&own, UINT32_MAX);
        at = own.at;
    }
    return at;
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

/* ---- a layer ---- */

/* Rows of a run in `to` that are written by themselves: all of them, or those that have a fit in common. */
typedef struct portion {
    uint32_t head, nth; /* the nth run of the list */
    uint32_t first, n;  /* rows */
    fvi_kv_cursor to;   /* where the run begins */
} portion;

/* All lists of a layer; what it points to lies in the scratch. */
typedef struct layer_job {
    const fvi_kv_pool *pool;
    fvi_kv_side from, to;
    uint32_t first_from, first_to; /* lists */
    const uint8_t *kind;           /* [n_head, n_token] */
    uint32_t n_head, n_token, n_portion;
    portion *portions; /* [n_portion] list by list */
    fvi_kv_cursor *at; /* [n_head] where the lists begin in `from` */
    uint8_t *own;      /* [n_worker, own_bytes] rows, tokens and fit */
    size_t own_bytes;
    uint8_t *held;                /* [n_head, n_token] */
    const fvi_merge_work *merged; /* of the list that is being written, or NULL */
} layer_job;

static size_t own_bytes_of(const fvi_kv_layer_geom *g)
{
    size_t n =
        (ROWS * ((size_t)g->dk + g->dv + 1)) * sizeof(float) + fvi_row_fit_bytes(g->dk, g->dv);
    return fvi_round_up(n, 64); /* workers do not share lines */
}

static size_t most_portions(uint32_t n_head, uint32_t n_token)
{
    return n_head * ((size_t)n_token / FEWEST + FOVEA_N_KIND);
}

static uint32_t worker_count(const fvi_kv_pool *pool)
{
    return fvi_pool_n_thread(fvi_kv_pool_workers(pool));
}

/* Writes a portion. */
static void portion_part(void *arg, uint32_t index, uint32_t worker)
{
    const layer_job *job = arg;
    const portion *p = &job->portions[index];
    const fvi_kv_side *from = &job->from, *to = &job->to;
    fvi_kv_shape shape = fvi_kv_block_shape(to->geom, to->block, to->layer, p->nth);
    uint8_t kind = (uint8_t)shape.codec->kind;
    rewrite self = {.n_from = fvi_kv_block_n_run(from->block),
                    .kind = job->kind + (size_t)p->head * job->n_token,
                    .held = job->held + (size_t)p->head * job->n_token,
                    .n_token = job->n_token,
                    .rope_base = to->geom->rope_base,
                    .merged = job->merged};
    self.k = (float *)(void *)(job->own + worker * job->own_bytes);
    self.v = self.k + (size_t)ROWS * shape.dk;
    self.at = (uint32_t *)(void *)(self.v + (size_t)ROWS * shape.dv);
    self.fit = self.at + ROWS;
    open_runs(job->pool, from, job->first_from + p->head, job->at[p->head], self.from);
    self.to = fvi_kv_rows_of(job->pool, p->to, shape,
                             fvi_kv_block_rows(to->block, job->first_to + p->head, p->nth));
    if (self.n_from == 1 && shape.codec == self.from[0].shape.codec && kind == to->geom->base &&
        self.merged == NULL) {
        copy_rows(&self, kind);
        return;
    }
    fvi_kv_rows_skip(&self.to, p->first);
    uint32_t at = skip_rows(&self, kind, p->first);
    convert_rows(&self, kind, at, p->n);
}

/* How many rows of a run from `first` on make a portion. */
static uint32_t portion_rows(const fvi_kv_rows *run, uint32_t n_row, uint32_t first)
{
    const fvi_kv_shape *shape = &run->shape;
    fvi_kv_rows rows = *run;
    uint32_t n = 0, n_fitted;
    if (fvi_kv_rows_ready(&rows, 1) == 0 || rows.piece.n_row < n_row) { /* broken */
        return n_row - first;
    }
    while (n < FEWEST && first + n < n_row) {
        n_fitted = fvi_codec_fit_rows(shape->codec, n_row, shape->dk, shape->dv, first + n);
        n = n_fitted > 0 ? n + n_fitted : n_row - first;
    }
    return n;
}

/* The portions of a list whose runs in `to` begin at `at`; returns where they end. */
static fvi_kv_cursor find_portions(layer_job *job, uint32_t head, fvi_kv_cursor at)
{
    const fvi_kv_side *to = &job->to;
    for (uint32_t nth = 0; nth < fvi_kv_block_n_run(to->block); nth++) {
        uint32_t n_row = fvi_kv_block_rows(to->block, job->first_to + head, nth);
        fvi_kv_shape shape = fvi_kv_block_shape(to->geom, to->block, to->layer, nth);
        fvi_kv_rows rows = fvi_kv_rows_of(job->pool, at, shape, n_row);
        for (uint32_t first = 0, n; first < n_row; first += n) {
            n = portion_rows(&rows, n_row, first);
            job->portions[job->n_portion++] = (portion){head, nth, first, n, at};
        }
        fvi_kv_rows_skip(&rows, UINT32_MAX);
        at = rows.at;
    }
    return at;
}

/* What there is to write, and which runs in `from` have which tokens. */
static void find_lists(layer_job *job)
{
    fvi_kv_cursor at =
        fvi_kv_block_start(job->pool, job->from.geom, job->from.block, job->from.layer);
    fvi_kv_cursor at_to = fvi_kv_block_start(job->pool, job->to.geom, job->to.block, job->to.layer);
    for (uint32_t head = 0; head < job->n_head; head++) {
        job->at[head] = at;
        at = open_runs(job->pool, &job->from, job->first_from + head, at, NULL);
        at_to = find_portions(job, head, at_to);
    }
    memset(job->held, FVI_KV_DROP, (size_t)job->n_head * job->n_token);
    /* a side that is read is fresh or has one layer, so its tokens can be counted from here */
    fvi_kv_turn_iter held = {
        .turn = job->from.block->turn, .list = job->first_from, .token = UINT32_MAX};
    while (fvi_kv_turn_next(&held) && held.list < job->first_from + job->n_head) {
        job->held[(size_t)(held.list - job->first_from) * job->n_token + held.token] =
            (uint8_t)held.nth;
    }
}

/* Merges what the list evicts, where there is any. */
static const fvi_merge_work *merge_evicted(const layer_job *job, const fvi_merging *merging,
                                           uint32_t head, void *space, fvi_merge_work *work)
{
    const fvi_kv_side *from = &job->from;
    const fvi_kv_layer_geom *geom = &from->geom->layers[from->layer];
    const fvi_merge_list list = {.layer = from->layer,
                                 .head = head,
                                 .list = job->first_from + head,
                                 .n_token = job->n_token,
                                 .dk = geom->dk,
                                 .dv = geom->dv,
                                 .kind = job->kind + (size_t)head * job->n_token};
    if (!fvi_merge_has_work(merging, &list)) {
        return NULL;
    }
    fvi_kv_rows rows[FOVEA_N_KIND];
    open_runs(job->pool, from, list.list, job->at[head], rows);
    *work = fvi_merge_work_in(space, job->n_token, geom->dk, geom->dv);
    merge_list(merging, &list, rows[0], work);
    return work;
}

void fvi_kv_rewrite(const fvi_kv_pool *pool, fvi_kv_side from, fvi_kv_side to, const uint8_t *kind,
                    const fvi_merging *merging, void *scratch, void *merge_space)
{
    const fvi_kv_layer_geom *geom = &to.geom->layers[to.layer];
    layer_job job = {.pool = pool,
                     .from = from,
                     .to = to,
                     .first_from = fvi_kv_geom_first_list(from.geom, from.layer),
                     .first_to = fvi_kv_geom_first_list(to.geom, to.layer),
                     .kind = kind,
                     .n_head = geom->n_kv_head,
                     .n_token = to.block->turn->n_token,
                     .own = scratch,
                     .own_bytes = own_bytes_of(geom)};
    job.portions = (portion *)(void *)(job.own + worker_count(pool) * job.own_bytes);
    job.at = (fvi_kv_cursor *)(void *)(job.portions + most_portions(job.n_head, job.n_token));
    job.held = (uint8_t *)(job.at + job.n_head);
    find_lists(&job);
    if (merge_space == NULL) {
        fvi_pool_run(fvi_kv_pool_workers(pool), job.n_portion, portion_part, &job);
        return;
    }
    fvi_merge_work work;
    for (uint32_t i = 0; i < job.n_portion; i++) {
        uint32_t head = job.portions[i].head;
        if (i == 0 || head != job.portions[i - 1].head) {
            job.merged = merge_evicted(&job, merging, head, merge_space, &work);
        }
        portion_part(&job, i, 0);
    }
}

size_t fvi_kv_rewrite_bytes(const fvi_kv_pool *pool, const fvi_kv_geom *geom, uint32_t n_token)
{
    size_t own = 0;
    uint32_t n_head = fvi_kv_geom_max_kv_head(geom);
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        own = FVI_MAX(own, own_bytes_of(&geom->layers[layer]));
    }
    return worker_count(pool) * own + most_portions(n_head, n_token) * sizeof(portion) +
           n_head * (sizeof(fvi_kv_cursor) + n_token);
}
