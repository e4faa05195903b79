/* observe_rows.c - what the cached keys and values say by themselves, and to queries that are expected.
 *
 * Rows are read back through their codec, so what is measured is what will be attended to.
 * Expected attention (kvpress; papers 8.1): queries of the turn before RoPE are taken as normal with mean mu
 * and covariance S; the mean rotation R over the next positions turns them, and the expected exponential of
 * q.k / sqrt(d) is exp(k.R mu / sqrt(d) + k' R S R' k / 2d), made to sum to 1 over the turn.
 * Bound (CriticalKV): dropping a token changes the layer's output by at most its attention times the L1
 * length of its value behind the output projection.
 * Called by observe.c. */
#include "sdk/engine/observe.h"

#include <math.h>

#define NEEDS_ROWS                                                                                 \
    (FVI_NEED_KEY_NORM | FVI_NEED_KEY_LIKENESS | FVI_NEED_VALUE_NORM | FVI_NEED_VALUE_BOUND |      \
     FVI_NEED_EXPECTED_MASS)

fovea_status fvi_observer_open_rows(fvi_observer *self, const float *inverse_frequency)
{
    const fvi_decoder_config *c = &self->model->config;
    size_t d = c->head_dim, chunk = FVI_OBSERVE_CHUNK;
    bool ok = true;
    if (!fvi_observer_needs(self, NEEDS_ROWS)) {
        return FOVEA_OK;
    }
    self->k = fvi_observer_take(self, chunk * d, sizeof(float), &ok);
    self->v = fvi_observer_take(self, chunk * d, sizeof(float), &ok);
    self->centre = fvi_observer_take(self, d, sizeof(double), &ok);
    self->wide = fvi_observer_take(self, chunk * FVI_MAX(c->hidden, d), sizeof(float), &ok);
    if (fvi_observer_needs(self, FVI_NEED_VALUE_BOUND)) {
        self->slice = fvi_observer_take(self, c->hidden * d, sizeof(float), &ok);
    }
    if (fvi_observer_needs(self, FVI_NEED_EXPECTED_MASS)) {
        self->logits = fvi_observer_take(self, self->obs->n_token, sizeof(float), &ok);
        self->turn = fvi_observer_take(self, d, sizeof(float), &ok);
        self->query_sum = fvi_observer_take(self, c->n_head * d, sizeof(float), &ok);
        self->query_square = fvi_observer_take(self, c->n_head * d * d, sizeof(float), &ok);
        self->moment = fvi_observer_take(self, d + d * d, sizeof(float), &ok);
    }
    for (size_t i = 0; ok && self->turn != NULL && i < d / 2; i++) {
        double cosine = 0, sine = 0;
        for (uint32_t t = 0; t < FVI_OBSERVE_FUTURE; t++) {
            double angle = (double)(self->first_position + self->obs->n_token + t) *
                           (double)inverse_frequency[i];
            cosine += cos(angle);
            sine += sin(angle);
        }
        self->turn[i] = (float)(cosine / FVI_OBSERVE_FUTURE);
        self->turn[d / 2 + i] = (float)(sine / FVI_OBSERVE_FUTURE);
    }
    return ok ? FOVEA_OK : FOVEA_ERR_NOMEM;
}

/* ---- queries ---- */

static void add_query(fvi_observer *self, const float *q, uint32_t head, const float *cosine,
                      const float *sine)
{
    uint32_t d = self->model->config.head_dim, half = d / 2;
    float *plain = self->wide;
    for (uint32_t i = 0; i < half; i++) {
        plain[i] = q[i] * cosine[i] + q[half + i] * sine[i];
        plain[half + i] = q[half + i] * cosine[i] - q[i] * sine[i];
    }
    float *sum = self->query_sum + (size_t)head * d;
    float *square = self->query_square + (size_t)head * d * d;
    for (uint32_t i = 0; i < d; i++) {
        sum[i] += plain[i];
        for (uint32_t j = i; j < d; j++) {
            square[(size_t)i * d + j] += plain[i] * plain[j];
        }
    }
}

void fvi_observer_add_queries(fvi_observer *self, const float *q, const float *cosine,
                              const float *sine, uint32_t row, uint32_t m)
{
    const fvi_decoder_config *c = &self->model->config;
    uint32_t n = self->obs->n_token, step = (n + FVI_OBSERVE_QUERIES - 1) / FVI_OBSERVE_QUERIES;
    uint32_t skip = self->first_position == 0 && n > FVI_OBSERVE_SINKS ? FVI_OBSERVE_SINKS : 0;
    if (row == 0) {
        size_t n_sum = (size_t)c->n_head * c->head_dim;
        memset(self->query_sum, 0, n_sum * sizeof(float));
        memset(self->query_square, 0, n_sum * c->head_dim * sizeof(float));
        self->n_query = 0;
    }
    for (uint32_t i = 0; i < m; i++) {
        if (row + i < skip || (n - 1 - row - i) % step != 0) {
            continue;
        }
        for (uint32_t head = 0; head < c->n_head; head++) {
            add_query(self, q + ((size_t)i * c->n_head + head) * c->head_dim, head,
                      cosine + (size_t)i * (c->head_dim / 2), sine + (size_t)i * (c->head_dim / 2));
        }
        self->n_query++;
    }
}

/* Turns columns i and i + half of a row as future positions do on average. */
static void turn_row(const float *turn, uint32_t half, float *row, size_t stride)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = row[i * stride], b = row[(half + i) * stride];
        row[i * stride] = a * turn[i] - b * turn[half + i];
        row[(half + i) * stride] = b * turn[i] + a * turn[half + i];
    }
}

/* Mean and covariance of a query head into self->moment. */
static void find_moments(fvi_observer *self, uint32_t head)
{
    uint32_t d = self->model->config.head_dim;
    const float *sum = self->query_sum + (size_t)head * d;
    const float *square = self->query_square + (size_t)head * d * d;
    float *mean = self->moment, *covariance = self->moment + d, n = (float)self->n_query;
    for (uint32_t i = 0; i < d; i++) {
        mean[i] = sum[i] / n;
    }
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t j = i; j < d; j++) {
            float both = square[(size_t)i * d + j] / n - mean[i] * mean[j];
            covariance[(size_t)i * d + j] = covariance[(size_t)j * d + i] = both;
        }
    }
    turn_row(self->turn, d / 2, mean, 1);
    for (uint32_t i = 0; i < d; i++) {
        turn_row(self->turn, d / 2, covariance + (size_t)i * d, 1);
    }
    for (uint32_t i = 0; i < d; i++) {
        turn_row(self->turn, d / 2, covariance + i, d);
    }
}

/* ---- cached rows ---- */

/* The turn's rows of a list, a chunk at a time. */
typedef struct row_walk {
    const fvi_list_view *list;
    uint32_t run, row; /* the next one */
    uint32_t at;       /* in the turn, of the chunk at hand */
    uint32_t n;        /* rows of the chunk */
    uint32_t left;
} row_walk;

static row_walk walk_turn(const fvi_list_view *list, uint32_t n_token)
{
    row_walk walk = {.list = list, .row = list->n_token - n_token, .left = n_token};
    while (walk.row >= list->runs[walk.run].n_token) {
        walk.row -= list->runs[walk.run++].n_token;
    }
    return walk;
}

static bool walk_next(fvi_observer *self, row_walk *walk)
{
    uint32_t d = self->model->config.head_dim;
    walk->at += walk->n;
    if (walk->left == 0) {
        return false;
    }
    const fvi_run_view *run = &walk->list->runs[walk->run];
    walk->n = FVI_MIN(FVI_MIN(run->n_token - walk->row, walk->left), FVI_OBSERVE_CHUNK);
    fvi_codec_decode(run->codec, run->data, run->capacity, d, d, walk->row, walk->n, self->k, d,
                     self->v, d);
    walk->row += walk->n;
    walk->left -= walk->n;
    if (walk->row == run->n_token) {
        walk->row = 0;
        walk->run++;
    }
    return true;
}

static double length_of(const float *row, uint32_t d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++) {
        sum += (double)row[i] * row[i];
    }
    return sqrt(sum);
}

/* The mean of the keys at length 1 into self->centre. */
static void find_centre(fvi_observer *self, const fvi_list_view *list)
{
    uint32_t d = self->model->config.head_dim;
    row_walk walk = walk_turn(list, self->obs->n_token);
    memset(self->centre, 0, d * sizeof *self->centre);
    while (walk_next(self, &walk)) {
        for (uint32_t row = 0; row < walk.n; row++) {
            const float *k = self->k + (size_t)row * d;
            double length = length_of(k, d), factor = length > 0 ? 1 / length : 0;
            for (uint32_t i = 0; i < d; i++) {
                self->centre[i] += k[i] * factor;
            }
        }
    }
}

static float cosine_with(const double *centre, const float *k, uint32_t d)
{
    double dot = 0, square = 0, length = length_of(k, d);
    for (uint32_t i = 0; i < d; i++) {
        dot += centre[i] * k[i];
        square += centre[i] * centre[i];
    }
    return length > 0 && square > 0 ? (float)(dot / (length * sqrt(square))) : 0;
}

static void observe_lengths(fvi_observer *self, uint32_t layer, uint32_t head,
                            const fvi_list_view *list)
{
    uint32_t d = self->model->config.head_dim;
    if (fvi_observer_needs(self, FVI_NEED_KEY_LIKENESS)) {
        find_centre(self, list);
    }
    row_walk walk = walk_turn(list, self->obs->n_token);
    while (walk_next(self, &walk)) {
        for (uint32_t row = 0; row < walk.n; row++) {
            const float *k = self->k + (size_t)row * d, *v = self->v + (size_t)row * d;
            uint32_t t = walk.at + row;
            if (fvi_observer_needs(self, FVI_NEED_KEY_NORM)) {
                fvi_observer_plane(self, FVI_PLANE_KEY_NORM, layer, head)[t] =
                    (float)length_of(k, d);
            }
            if (fvi_observer_needs(self, FVI_NEED_VALUE_NORM)) {
                fvi_observer_plane(self, FVI_PLANE_VALUE_NORM, layer, head)[t] =
                    (float)length_of(v, d);
            }
            if (fvi_observer_needs(self, FVI_NEED_KEY_LIKENESS)) {
                fvi_observer_plane(self, FVI_PLANE_KEY_LIKENESS, layer, head)[t] =
                    cosine_with(self->centre, k, d);
            }
        }
    }
}

/* self->wide [m, n] = x [m, head_dim] times w [n, head_dim] */
static fovea_status product(fvi_observer *self, const float *x, const float *w, uint32_t m,
                            uint32_t n)
{
    uint32_t d = self->model->config.head_dim;
    fvi_linear_args args = {.x = x,
                            .x_stride = d,
                            .w = w,
                            .w_dtype = FVI_DTYPE_F32,
                            .y = self->wide,
                            .y_stride = n,
                            .m = m,
                            .n = n,
                            .k = d,
                            .rows = FVI_ROWS_DECODE};
    return self->model->backend->ops.linear(self->model->backend, &args);
}

/* Sum of magnitudes, in four sums that do not wait for each other. */
static float length_l1(const float *x, uint32_t n)
{
    float a = 0, b = 0, c = 0, d = 0;
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += fabsf(x[i]);
        b += fabsf(x[i + 1]);
        c += fabsf(x[i + 2]);
        d += fabsf(x[i + 3]);
    }
    for (; i < n; i++) {
        a += fabsf(x[i]);
    }
    return (a + b) + (c + d);
}

/* Mean over the group's heads of |W_o v|_1. */
static fovea_status observe_bound(fvi_observer *self, uint32_t layer, uint32_t head,
                                  const fvi_list_view *list)
{
    const fvi_decoder_config *c = &self->model->config;
    const fvi_decoder_params *params = &self->model->decoder;
    const uint8_t *o = params->layers[layer].o.w;
    size_t element = fvi_dtype_bytes(params->dtype), width = (size_t)c->n_head * c->head_dim;
    uint32_t group = c->n_head / c->n_kv_head;
    float *bound = fvi_observer_plane(self, FVI_PLANE_VALUE_BOUND, layer, head);
    for (uint32_t g = 0; g < group; g++) {
        size_t column = (size_t)(head * group + g) * c->head_dim;
        for (uint32_t row = 0; row < c->hidden; row++) {
            fvi_convert(self->slice + (size_t)row * c->head_dim, FVI_DTYPE_F32,
                        o + (row * width + column) * element, params->dtype, c->head_dim);
        }
        row_walk walk = walk_turn(list, self->obs->n_token);
        while (walk_next(self, &walk)) {
            FVI_TRY(product(self, self->v, self->slice, walk.n, c->hidden));
            for (uint32_t row = 0; row < walk.n; row++) {
                float sum = length_l1(self->wide + (size_t)row * c->hidden, c->hidden);
                bound[walk.at + row] += sum / (float)group;
            }
        }
    }
    return FOVEA_OK;
}

/* logits [n_token] of one query head, whose moments are at hand. */
static fovea_status expected_logits(fvi_observer *self, const fvi_list_view *list, float *logits)
{
    uint32_t d = self->model->config.head_dim;
    float scale = 1.0f / sqrtf((float)d);
    row_walk walk = walk_turn(list, self->obs->n_token);
    while (walk_next(self, &walk)) {
        FVI_TRY(product(self, self->k, self->moment + d, walk.n, d));
        for (uint32_t row = 0; row < walk.n; row++) {
            const float *k = self->k + (size_t)row * d, *s = self->wide + (size_t)row * d;
            float linear = 0, square = 0;
            for (uint32_t i = 0; i < d; i++) {
                linear += k[i] * self->moment[i];
                square += k[i] * s[i];
            }
            logits[walk.at + row] = linear * scale + 0.5f * square * scale * scale;
        }
    }
    return FOVEA_OK;
}

static fovea_status observe_expected(fvi_observer *self, uint32_t layer, uint32_t head,
                                     const fvi_list_view *list)
{
    const fvi_decoder_config *c = &self->model->config;
    uint32_t group = c->n_head / c->n_kv_head, n = self->obs->n_token;
    float *to = fvi_observer_plane(self, FVI_PLANE_EXPECTED_MASS, layer, head);
    for (uint32_t g = 0; g < group; g++) {
        float *logits = self->logits, most = -INFINITY;
        find_moments(self, head * group + g);
        FVI_TRY(expected_logits(self, list, logits));
        double sum = 0;
        for (uint32_t t = 0; t < n; t++) {
            most = FVI_MAX(most, logits[t]);
        }
        for (uint32_t t = 0; t < n; t++) {
            sum += exp((double)logits[t] - most);
        }
        for (uint32_t t = 0; t < n; t++) {
            to[t] += (float)(exp((double)logits[t] - most) / sum / group);
        }
    }
    return FOVEA_OK;
}

fovea_status fvi_observer_cached_rows(fvi_observer *self, uint32_t layer,
                                      const fvi_list_view *lists)
{
    for (uint32_t head = 0; head < self->model->config.n_kv_head; head++) {
        if (fvi_observer_needs(self,
                               FVI_NEED_KEY_NORM | FVI_NEED_KEY_LIKENESS | FVI_NEED_VALUE_NORM)) {
            observe_lengths(self, layer, head, &lists[head]);
        }
        if (fvi_observer_needs(self, FVI_NEED_VALUE_BOUND)) {
            FVI_TRY(observe_bound(self, layer, head, &lists[head]));
        }
        if (fvi_observer_needs(self, FVI_NEED_EXPECTED_MASS)) {
            FVI_TRY(observe_expected(self, layer, head, &lists[head]));
        }
    }
    return FOVEA_OK;
}
