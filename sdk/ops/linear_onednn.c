/* linear_onednn.c - products with many rows through oneDNN's C API.
 *
 * The library is built with OpenMP, whose busy waiting and our pool would fight; so its primitives run
 * single-threaded inside our pool, one fixed piece of columns each. Weights stay in the file's layout
 * [n, k]; x is rounded to bf16 beside bf16 weights. Where the library has no bf16 for this CPU, a piece's bf16
 * weights are widened to f32, exactly, into memory of its worker: of n x k numbers against n x k x m products,
 * cheap from some tens of rows on, and the weights are resident once. A primitive knows its shape, so primitives are kept by
 * shape in a small table; the one unused for longest makes room. Each worker has scratch memory of its own
 * for each primitive: with the library's own, one primitive run by two threads gives wrong sums.
 *
 * Called through the table of operations (FVI_ROWS_PREFILL). */
#include "sdk/ops/linear_onednn.h"

#include "sdk/ops/cpu_impl.h"

#include <dnnl.h>

#define PIECE   256 /* columns of one part, about */
#define N_ENTRY 64  /* shapes kept */

/* libgomp's, which libdnnl is linked with; its header is not there for every compiler. */
extern void omp_set_num_threads(int n);
extern int omp_get_max_threads(void);

/* What a primitive was made for. */
typedef struct shape {
    uint32_t m, n, k; /* n: of one piece */
    size_t x_stride, y_stride;
    fvi_dtype dtype;
    bool bias, add;
} shape;

/* One worker's handles on the buffers of a call. */
typedef struct views {
    dnnl_memory_t x, w, bias, y, scratch;
    void *scratch_data;
} views;

typedef struct entry {
    shape shape;
    dnnl_primitive_t primitive; /* NULL with a used entry: the library cannot do this shape here */
    views *views;               /* [n_worker] */
    uint64_t last_use;          /* 0: free */
} entry;

struct fvi_onednn {
    const fovea_alloc *alloc;
    uint32_t n_worker;
    bool bf16; /* the library has such products for this CPU */
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* [n_worker] */
    entry entries[N_ENTRY];
    uint64_t clock;
};

static void entry_clear(fvi_onednn *lib, entry *e)
{
    for (uint32_t i = 0; e->views != NULL && i < lib->n_worker; i++) {
        dnnl_memory_destroy(e->views[i].x);
        dnnl_memory_destroy(e->views[i].w);
        dnnl_memory_destroy(e->views[i].y);
        dnnl_memory_destroy(e->views[i].bias);
        dnnl_memory_destroy(e->views[i].scratch);
        fvi_free(lib->alloc, e->views[i].scratch_data);
    }
    fvi_free(lib->alloc, e->views);
    dnnl_primitive_destroy(e->primitive);
    memset(e, 0, sizeof *e);
}

static fovea_status status_of(dnnl_status_t status)
{
    switch (status) {
    case dnnl_success: return FOVEA_OK;
    case dnnl_out_of_memory: return FOVEA_ERR_NOMEM;
    case dnnl_unimplemented: return FOVEA_ERR_UNSUPPORTED;
    default: return FOVEA_ERR_INTERNAL;
    }
}

#define DNNL_TRY(expr)                                                                             \
    do {                                                                                           \
        dnnl_status_t dnnl_try_ = (expr);                                                          \
        if (dnnl_try_ != dnnl_success) {                                                           \
            return status_of(dnnl_try_);                                                           \
        }                                                                                          \
    } while (0)

typedef struct descs {
    dnnl_memory_desc_t x, w, bias, y, scratch;
} descs;

static fovea_status describe(const shape *s, descs *d)
{
    dnnl_data_type_t type = s->dtype == FVI_DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_dims_t x = {s->m, s->k}, x_at = {(dnnl_dim_t)s->x_stride, 1};
    dnnl_dims_t w = {s->k, s->n}, w_at = {1, s->k}; /* the file's [n, k], transposed */
    dnnl_dims_t y = {s->m, s->n}, y_at = {(dnnl_dim_t)s->y_stride, 1};
    dnnl_dims_t bias = {1, s->n}, bias_at = {s->n, 1};
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&d->x, 2, x, type, x_at));
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&d->w, 2, w, type, w_at));
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&d->y, 2, y, dnnl_f32, y_at));
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&d->bias, 2, bias, dnnl_f32, bias_at));
    return FOVEA_OK;
}

static fovea_status make_primitive(fvi_onednn *lib, const shape *s, descs *d, dnnl_primitive_t *out)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t sum = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_matmul_desc_t matmul;
    dnnl_status_t status =
        dnnl_matmul_desc_init(&matmul, &d->x, &d->w, s->bias ? &d->bias : NULL, &d->y);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_create(&attr);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    }
    if (status == dnnl_success && s->add) {
        status = dnnl_post_ops_create(&sum);
        if (status == dnnl_success) {
            status = dnnl_post_ops_append_sum(sum, 1.0f);
        }
        if (status == dnnl_success) {
            status = dnnl_primitive_attr_set_post_ops(attr, sum);
        }
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(&desc, &matmul, attr, lib->engine, NULL);
    }
    if (status == dnnl_success) {
        d->scratch = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        status = dnnl_primitive_create(out, desc);
    }
    dnnl_primitive_desc_destroy(desc);
    dnnl_post_ops_destroy(sum);
    dnnl_primitive_attr_destroy(attr);
    return status_of(status);
}

static fovea_status fill_entry(fvi_onednn *lib, entry *e)
{
    const shape *s = &e->shape;
    descs d;
    FVI_TRY(describe(s, &d));
    FVI_TRY(make_primitive(lib, s, &d, &e->primitive));
    e->views = fvi_calloc(lib->alloc, lib->n_worker, sizeof *e->views);
    if (e->views == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < lib->n_worker; i++) {
        views *v = &e->views[i];
        DNNL_TRY(dnnl_memory_create(&v->x, &d.x, lib->engine, DNNL_MEMORY_NONE));
        DNNL_TRY(dnnl_memory_create(&v->w, &d.w, lib->engine, DNNL_MEMORY_NONE));
        DNNL_TRY(dnnl_memory_create(&v->y, &d.y, lib->engine, DNNL_MEMORY_NONE));
        DNNL_TRY(dnnl_memory_create(&v->bias, &d.bias, lib->engine, DNNL_MEMORY_NONE));
        size_t n_scratch = dnnl_memory_desc_get_size(&d.scratch);
        v->scratch_data = n_scratch > 0 ? fvi_alloc(lib->alloc, n_scratch) : NULL;
        if (n_scratch > 0 && v->scratch_data == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        DNNL_TRY(dnnl_memory_create(&v->scratch, &d.scratch, lib->engine, v->scratch_data));
    }
    return FOVEA_OK;
}

static bool same_shape(const shape *a, const shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->x_stride == b->x_stride &&
           a->y_stride == b->y_stride && a->dtype == b->dtype && a->bias == b->bias &&
           a->add == b->add;
}

/* The entry for a shape, made if needed. *keep is not thrown out. */
static fovea_status find_entry(fvi_onednn *lib, const shape *s, const entry *keep, entry **out)
{
    entry *oldest = NULL;
    for (uint32_t i = 0; i < N_ENTRY; i++) {
        entry *e = &lib->entries[i];
        if (e->last_use != 0 && same_shape(&e->shape, s)) {
            e->last_use = ++lib->clock;
            *out = e;
            return FOVEA_OK;
        }
        if (e != keep && (oldest == NULL || e->last_use < oldest->last_use)) {
            oldest = e;
        }
    }
    entry_clear(lib, oldest);
    oldest->shape = *s;
    fovea_status status = fill_entry(lib, oldest);
    if (status < 0 && status != FOVEA_ERR_UNSUPPORTED) {
        entry_clear(lib, oldest);
        return status;
    }
    oldest->last_use = ++lib->clock;
    *out = oldest;
    return FOVEA_OK;
}

/* One product: pieces of `width` columns by `wide`, a narrower last one by `rest`. */
typedef struct product {
    fvi_onednn *lib;
    const fvi_linear_args *args;
    const void *x; /* [m, k] in the type of the product */
    float *panels; /* [n_worker, width, k] for widened weights, or NULL */
    entry *wide, *rest;
    uint32_t width, n_wide;
    _Atomic(int) failed; /* a dnnl_status_t */
} product;

static void product_part(void *arg, uint32_t part, uint32_t worker)
{
    product *p = arg;
    const fvi_linear_args *a = p->args;
    entry *e = part < p->n_wide ? p->wide : p->rest;
    views *v = &e->views[worker];
    size_t column = (size_t)part * p->width;
    const void *w = (const uint8_t *)a->w + column * a->k * fvi_dtype_bytes(a->w_dtype);
    if (p->panels != NULL) {
        float *panel = p->panels + (size_t)worker * p->width * a->k;
        fvi_convert(panel, FVI_DTYPE_F32, w, a->w_dtype, (size_t)e->shape.n * a->k);
        w = panel;
    }
    union {
        const void *in;
        void *handle; /* the library's type for inputs too */
    } x = {.in = p->x}, weights = {.in = w}, bias = {.in = a->bias};
    if (bias.in != NULL) {
        bias.in = a->bias + column;
    }
    dnnl_memory_set_data_handle(v->x, x.handle);
    dnnl_memory_set_data_handle(v->w, weights.handle);
    dnnl_memory_set_data_handle(v->y, a->y + column);
    dnnl_memory_set_data_handle(v->bias, bias.handle);
    dnnl_exec_arg_t buffers[] = {{DNNL_ARG_SRC, v->x},
                                 {DNNL_ARG_WEIGHTS, v->w},
                                 {DNNL_ARG_DST, v->y},
                                 {DNNL_ARG_SCRATCHPAD, v->scratch},
                                 {DNNL_ARG_BIAS, v->bias}};
    int n_thread = omp_get_max_threads(); /* this thread may be the application's */
    omp_set_num_threads(1);
    dnnl_status_t status = dnnl_primitive_execute(e->primitive, p->lib->streams[worker],
                                                  a->bias != NULL ? 5 : 4, buffers);
    omp_set_num_threads(n_thread);
    if (status != dnnl_success) {
        p->failed = (int)status;
    }
}

/* Finds the product's primitives; `type` is that of x and the weights in them. */
static fovea_status find_primitives(product *p, fvi_dtype type)
{
    const fvi_linear_args *args = p->args;
    shape s = {.m = args->m,
               .n = p->width,
               .k = args->k,
               .x_stride = args->w_dtype == FVI_DTYPE_F32 ? args->x_stride : args->k,
               .y_stride = args->y_stride,
               .dtype = type,
               .bias = args->bias != NULL,
               .add = args->add};
    int n_thread = omp_get_max_threads();
    omp_set_num_threads(1); /* a primitive is made for as many threads as there are now */
    fovea_status status = FOVEA_OK;
    if (p->n_wide > 0) {
        status = find_entry(p->lib, &s, NULL, &p->wide);
    }
    s.n = args->n % p->width;
    if (status == FOVEA_OK && s.n > 0) {
        status = find_entry(p->lib, &s, p->wide, &p->rest);
    }
    omp_set_num_threads(n_thread);
    FVI_TRY(status);
    if ((p->wide != NULL && p->wide->primitive == NULL) ||
        (p->rest != NULL && p->rest->primitive == NULL)) {
        return FOVEA_ERR_UNSUPPORTED;
    }
    return FOVEA_OK;
}

/* x as the product takes it beside bf16 weights, and the room for widened ones. */
static fovea_status prepare(product *p, fvi_backend *backend, bool widen)
{
    const fvi_linear_args *args = p->args;
    size_t n_x = (size_t)args->m * args->k;
    size_t n_panel = widen ? (size_t)p->lib->n_worker * p->width * args->k : 0;
    size_t x_bytes = widen ? sizeof(float) : sizeof(uint16_t);
    uint8_t *x = fvi_cpu_scratch(backend, n_panel * sizeof(float) + n_x * x_bytes);
    if (x == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    p->panels = widen ? (float *)(void *)x : NULL;
    p->x = x + n_panel * sizeof(float);
    return widen ? fvi_cpu_widen_rows(backend, args, p->panels + n_panel)
                 : fvi_cpu_round_rows(backend, args, (uint16_t *)(void *)x);
}

fovea_status fvi_onednn_linear(fvi_onednn *lib, fvi_backend *backend, const fvi_linear_args *args)
{
    uint32_t n_piece = FVI_MAX(2u, (args->n + PIECE - 1) / PIECE);
    uint32_t width = (uint32_t)fvi_round_up((args->n + n_piece - 1) / n_piece, 16);
    product p = {.lib = lib, .args = args, .x = args->x, .width = width, .n_wide = args->n / width};
    bool widen = args->w_dtype == FVI_DTYPE_BF16 && !lib->bf16;
    FVI_TRY(find_primitives(&p, widen ? FVI_DTYPE_F32 : args->w_dtype));
    if (args->w_dtype == FVI_DTYPE_BF16) {
        FVI_TRY(prepare(&p, backend, widen));
    }
    fvi_pool_run(backend->pool, p.n_wide + (p.rest != NULL), product_part, &p);
    return status_of((dnnl_status_t)p.failed);
}

/* Whether the library has products of bf16 for this CPU, by asking for one. */
static fovea_status probe_bf16(fvi_onednn *lib)
{
    const shape s = {
        .m = 16, .n = 16, .k = 16, .x_stride = 16, .y_stride = 16, .dtype = FVI_DTYPE_BF16};
    descs d;
    dnnl_primitive_t primitive = NULL;
    FVI_TRY(describe(&s, &d));
    fovea_status status = make_primitive(lib, &s, &d, &primitive);
    dnnl_primitive_destroy(primitive);
    lib->bf16 = status == FOVEA_OK;
    return status == FOVEA_ERR_UNSUPPORTED ? FOVEA_OK : status;
}

fovea_status fvi_onednn_open(const fovea_alloc *alloc, uint32_t n_worker, fvi_onednn **out)
{
    fvi_onednn *lib = fvi_calloc(alloc, 1, sizeof *lib);
    if (lib == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    lib->alloc = alloc;
    lib->n_worker = n_worker;
    lib->streams = fvi_calloc(alloc, n_worker, sizeof *lib->streams);
    dnnl_status_t status =
        lib->streams != NULL ? dnnl_engine_create(&lib->engine, dnnl_cpu, 0) : dnnl_out_of_memory;
    for (uint32_t i = 0; status == dnnl_success && i < n_worker; i++) {
        status = dnnl_stream_create(&lib->streams[i], lib->engine, dnnl_stream_default_flags);
    }
    fovea_status opened = status_of(status);
    if (opened == FOVEA_OK) {
        opened = probe_bf16(lib);
    }
    if (opened < 0) {
        fvi_onednn_close(&lib);
        return opened;
    }
    *out = lib;
    return FOVEA_OK;
}

void fvi_onednn_close(fvi_onednn **out)
{
    fvi_onednn *lib = *out;
    if (lib == NULL) {
        return;
    }
    for (uint32_t i = 0; i < N_ENTRY; i++) {
        entry_clear(lib, &lib->entries[i]);
    }
    for (uint32_t i = 0; lib->streams != NULL && i < lib->n_worker; i++) {
        dnnl_stream_destroy(lib->streams[i]);
    }
    dnnl_engine_destroy(lib->engine);
    fvi_free(lib->alloc, lib->streams);
    fvi_free(lib->alloc, lib);
    *out = NULL;
}
