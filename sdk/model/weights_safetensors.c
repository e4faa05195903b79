/* weights_safetensors.c - safetensors files mapped read-only, every header checked before use.
 *
 * A file is: u64 header size (little endian), a JSON header {name: {dtype, shape, data_offsets}}, the data.
 * As in the reference reader, the tensors' ranges must follow each other without gap or overlap and end
 * where the file ends. All entries of all shards lie in one array sorted by name; names lie in one buffer.
 * Tensors of a dtype or rank that the SDK cannot use are kept and refused only when they are asked for. */
#include "sdk/model/weights.h"

#include "sdk/base/json.h"
#include "sdk/base/map.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_HEADER  ((uint64_t)100000000) /* the reference reader's cap */
#define MAX_SHARD   1024
#define MAX_TENSOR  ((size_t)1 << 20)
#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE  "model.safetensors.index.json"

typedef struct dtype_info {
    const char *name;
    uint32_t n_bytes; /* of one element */
    int dtype;        /* fvi_dtype, or -1: known but not usable */
} dtype_info;

static const dtype_info dtypes[] = {
    {"F32", 4, FVI_DTYPE_F32},
    {"F16", 2, FVI_DTYPE_F16},
    {"BF16", 2, FVI_DTYPE_BF16},
    {"F64", 8, -1},
    {"I64", 8, -1},
    {"U64", 8, -1},
    {"C64", 8, -1},
    {"I32", 4, -1},
    {"U32", 4, -1},
    {"I16", 2, -1},
    {"U16", 2, -1},
    {"I8", 1, -1},
    {"U8", 1, -1},
    {"BOOL", 1, -1},
    {"F8_E5M2", 1, -1},
    {"F8_E4M3", 1, -1},
};

typedef struct entry {
    const char *name; /* NULL until all names are in place */
    size_t name_at;   /* offset in weights->names */
    const dtype_info *dtype;
    const uint8_t *data;
    uint64_t begin, end; /* offsets in the data part of its file */
    uint64_t shape[FVI_TENSOR_MAX_DIM];
    uint32_t n_dim; /* may be larger than FVI_TENSOR_MAX_DIM */
    uint32_t file;
} entry;

struct fvi_weights {
    const fovea_alloc *alloc;
    fvi_map *maps; /* [n_map] */
    uint32_t n_map;
    entry *entries; /* [n], sorted by name */
    size_t n, capacity;
    fvi_buf names;
};

static const dtype_info *find_dtype(const char *name)
{
    for (size_t i = 0; i < FVI_COUNT(dtypes); i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            return &dtypes[i];
        }
    }
    return NULL;
}

/* ---- one tensor of a header ---- */

static fovea_status read_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return FOVEA_ERR_FORMAT;
    }
    *out = (uint64_t)json_integer_value(value);
    return FOVEA_OK;
}

static fovea_status read_shape(const json_t *shape, entry *e, uint64_t *n_element)
{
    uint64_t n = 1;
    if (!json_is_array(shape) || json_array_size(shape) > 64) {
        return FOVEA_ERR_FORMAT;
    }
    e->n_dim = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < e->n_dim; i++) {
        uint64_t size;
        FVI_TRY(read_u64(json_array_get(shape, i), &size));
        if (__builtin_mul_overflow(n, size, &n)) {
            return FOVEA_ERR_FORMAT;
        }
        if (i < FVI_TENSOR_MAX_DIM) {
            e->shape[i] = size;
        }
    }
    *n_element = n;
    return FOVEA_OK;
}

static fovea_status read_entry(const char *file, const char *name, const json_t *value,
                               uint64_t data_bytes, entry *e, fovea_error *err)
{
    const json_t *dtype = json_object_get(value, "dtype");
    const json_t *offsets = json_object_get(value, "data_offsets");
    uint64_t n_element, n_bytes;
    if (!json_is_string(dtype) || read_shape(json_object_get(value, "shape"), e, &n_element) < 0 ||
        json_array_size(offsets) != 2 || read_u64(json_array_get(offsets, 0), &e->begin) < 0 ||
        read_u64(json_array_get(offsets, 1), &e->end) < 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "%s: tensor \"%.100s\" has no valid dtype, shape and "
                        "data_offsets",
                        file, name);
    }
    if (e->begin > e->end || e->end > data_bytes) {
        return FVI_FAIL(
            err, FOVEA_ERR_FORMAT,
            "%s: tensor \"%.100s\" at %llu..%llu lies outside of the %llu bytes of data", file,
            name, (unsigned long long)e->begin, (unsigned long long)e->end,
            (unsigned long long)data_bytes);
    }
    e->dtype = find_dtype(json_string_value(dtype));
    if (e->dtype == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "%s: tensor \"%.100s\" has the unknown dtype \"%.32s\"", file, name,
                        json_string_value(dtype));
    }
    if (__builtin_mul_overflow(n_element, (uint64_t)e->dtype->n_bytes, &n_bytes) ||
        n_bytes != e->end - e->begin) {
        return FVI_FAIL(
            err, FOVEA_ERR_FORMAT,
            "%s: tensor \"%.100s\" holds %llu bytes, its shape and dtype mean another size", file,
            name, (unsigned long long)(e->end - e->begin));
    }
    return FOVEA_OK;
}

/* ---- one file ---- */

static int by_begin(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

/* The entries of one file must tile its data. They are sorted by place afterwards. */
static fovea_status check_tiling(entry *entries, size_t n, const char *file, uint64_t data_bytes,
                                 fovea_error *err)
{
    uint64_t at = 0;
    if (n > 0) {
        qsort(entries, n, sizeof *entries, by_begin);
    }
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: the tensors %s at byte %llu of the data",
                            file, entries[i].begin < at ? "overlap" : "leave a gap",
                            (unsigned long long)at);
        }
        at = entries[i].end;
    }
    if (at != data_bytes) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "%s: the tensors end at byte %llu of %llu bytes of data", file,
                        (unsigned long long)at, (unsigned long long)data_bytes);
    }
    return FOVEA_OK;
}

static fovea_status reserve_entries(fvi_weights *self, size_t n_more, fovea_error *err)
{
    if (n_more > MAX_TENSOR - self->n) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "more than %zu tensors", MAX_TENSOR);
    }
    if (self->n + n_more <= self->capacity) {
        return FOVEA_OK;
    }
    size_t capacity = FVI_MAX(self->n + n_more, 2 * self->capacity);
    entry *grown =
        fvi_grow(self->alloc, self->entries, self->n * sizeof *grown, capacity * sizeof *grown);
    if (grown == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the list of tensors");
    }
    self->entries = grown;
    self->capacity = capacity;
    return FOVEA_OK;
}

static fovea_status add_tensors(fvi_weights *self, json_t *header, const char *file,
                                const uint8_t *data, uint64_t data_bytes, fovea_error *err)
{
    const char *name;
    json_t *value;
    size_t first = self->n;
    if (!json_is_object(header)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: the header is no JSON object", file);
    }
    FVI_TRY(reserve_entries(self, json_object_size(header), err));
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        entry *e = &self->entries[self->n];
        *e = (entry){.name_at = self->names.n, .file = self->n_map - 1};
        FVI_TRY(read_entry(file, name, value, data_bytes, e, err));
        e->data = data + e->begin;
        if (fvi_buf_append(&self->names, name, strlen(name) + 1) < 0) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the names of tensors");
        }
        self->n++;
    }
    /* without a tensor there may be no array to point into */
    return check_tiling(self->n > first ? self->entries + first : NULL, self->n - first, file,
                        data_bytes, err);
}

static fovea_status add_file(fvi_weights *self, const char *dir, const char *file, fovea_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    if (n < 0 || (size_t)n >= sizeof path) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "the path of %.100s is too long", file);
    }
    fvi_map *map = &self->maps[self->n_map];
    FVI_TRY(fvi_map_open(path, map, err));
    self->n_map++;
    if (map->n_bytes < 8) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: %zu bytes are no safetensors file", file,
                        map->n_bytes);
    }
    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; i--) {
        header_bytes = header_bytes << 8 | map->data[i];
    }
    if (header_bytes > MAX_HEADER || header_bytes > map->n_bytes - 8) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: a header of %llu bytes in a file of %zu", file,
                        (unsigned long long)header_bytes, map->n_bytes);
    }
    union {
        const uint8_t *bytes;
        const char *text;
    } head = {.bytes = map->data + 8};
    json_t *header = NULL;
    FVI_TRY(fvi_json_parse(head.text, (size_t)header_bytes, file, &header, err));
    fovea_status status = add_tensors(self, header, file, map->data + 8 + header_bytes,
                                      map->n_bytes - 8 - header_bytes, err);
    json_decref(header);
    return status;
}

/* ---- all files ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static fovea_status sort_entries(fvi_weights *self, fovea_error *err)
{
    for (size_t i = 0; i < self->n; i++) {
        self->entries[i].name = self->names.data + self->entries[i].name_at;
    }
    if (self->n > 0) {
        qsort(self->entries, self->n, sizeof *self->entries, by_name);
    }
    for (size_t i = 1; i < self->n; i++) {
        if (strcmp(self->entries[i - 1].name, self->entries[i].name) == 0) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, "tensor \"%.100s\" is in two shards",
                            self->entries[i].name);
        }
    }
    return FOVEA_OK;
}

static const entry *find_entry(const fvi_weights *self, const char *name)
{
    entry key = {.name = name};
    return self->n == 0 ? NULL : bsearch(&key, self->entries, self->n, sizeof key, by_name);
}

/* A shard is a file of the folder itself: nothing that names another place. */
static bool is_plain_name(const char *file)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(file);
    return n > strlen(ending) && n <= 255 && file[0] != '.' && strchr(file, '/') == NULL &&
           strchr(file, '\\') == NULL && strcmp(file + n - strlen(ending), ending) == 0;
}

/* Opens each shard once; `shards` collects {file: number}. */
static fovea_status add_shards(fvi_weights *self, const char *dir, const json_t *map,
                               json_t *shards, fovea_error *err)
{
    union {
        const json_t *in;
        json_t *out; /* jansson's iteration takes a pointer to what it never writes */
    } tree = {.in = map};
    const char *name;
    json_t *value;
    json_object_foreach(tree.out, name, value)
    {
        const char *file = json_string_value(value);
        if (file == NULL || !is_plain_name(file)) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                            INDEX_FILE ": tensor \"%.80s\" lies in \"%.80s\", which is no plain "
                                       "*.safetensors file name",
                            name, file != NULL ? file : "");
        }
        if (json_object_get(shards, file) != NULL) {
            continue;
        }
        if (self->n_map == MAX_SHARD) {
            return FVI_FAIL(err, FOVEA_ERR_LIMIT, INDEX_FILE ": more than %d shards", MAX_SHARD);
        }
        if (json_object_set_new(shards, file, json_integer(self->n_map)) != 0) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the list of shards");
        }
        FVI_TRY(add_file(self, dir, file, err));
    }
    return FOVEA_OK;
}

static fovea_status check_index(const fvi_weights *self, const json_t *map, const json_t *shards,
                                fovea_error *err)
{
    union {
        const json_t *in;
        json_t *out;
    } tree = {.in = map};
    const char *name;
    json_t *value;
    json_object_foreach(tree.out, name, value)
    {
        const entry *e = find_entry(self, name);
        const char *file = json_string_value(value);
        if (e == NULL || json_integer_value(json_object_get(shards, file)) != (json_int_t)e->file) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, INDEX_FILE ": tensor \"%.80s\" is not in %.80s",
                            name, file);
        }
    }
    return FOVEA_OK;
}

static fovea_status open_sharded(fvi_weights *self, const char *dir, const json_t *index,
                                 fovea_error *err)
{
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, INDEX_FILE ": no \"weight_map\"");
    }
    json_t *shards = json_object();
    if (shards == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the list of shards");
    }
    fovea_status status = add_shards(self, dir, map, shards, err);
    if (status >= 0) {
        status = sort_entries(self, err);
    }
    if (status >= 0) {
        status = check_index(self, map, shards, err);
    }
    json_decref(shards);
    return status;
}

fovea_status fvi_weights_open(const fovea_alloc *alloc, const char *dir, fvi_weights **out,
                              fovea_error *err)
{
    json_t *index = NULL;
    fovea_status status = FOVEA_OK;
    fvi_weights *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the weights");
    }
    self->alloc = self->names.alloc = alloc;
    self->maps = fvi_calloc(alloc, MAX_SHARD, sizeof *self->maps);
    if (self->maps == NULL) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the weights");
        goto done;
    }
    status = add_file(self, dir, SINGLE_FILE, err);
    if (fvi_is_absent(status, err)) {
        status = fvi_json_load(alloc, dir, INDEX_FILE, &index, err);
        if (status == FOVEA_ERR_NOT_FOUND) {
            status = FVI_FAIL(err, FOVEA_ERR_NOT_FOUND,
                              "%.120s: neither " SINGLE_FILE " nor " INDEX_FILE, dir);
        } else if (status >= 0) {
            status = open_sharded(self, dir, index, err);
        }
    } else if (status >= 0) {
        status = sort_entries(self, err);
    }
done:
    json_decref(index);
    if (status < 0) {
        fvi_weights_close(&self);
        return status;
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_weights_close(fvi_weights **weights)
{
    fvi_weights *self = *weights;
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < self->n_map; i++) {
        fvi_map_close(&self->maps[i]);
    }
    fvi_free(self->alloc, self->maps);
    fvi_free(self->alloc, self->entries);
    fvi_buf_free(&self->names);
    fvi_free(self->alloc, self);
    *weights = NULL;
}

/* ---- access ---- */

static fovea_status export_entry(const entry *e, fvi_tensor *out, fovea_error *err)
{
    if (e->dtype->dtype < 0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "tensor \"%.100s\": dtype %s is not supported",
                        e->name, e->dtype->name);
    }
    if (e->n_dim > FVI_TENSOR_MAX_DIM) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "tensor \"%.100s\": %u dimensions, more than %d", e->name, e->n_dim,
                        FVI_TENSOR_MAX_DIM);
    }
    if (e->end > e->begin && (uintptr_t)e->data % e->dtype->n_bytes != 0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "tensor \"%.100s\" is not aligned in its file",
                        e->name);
    }
    *out = (fvi_tensor){.name = e->name,
                        .data = e->data,
                        .dtype = (fvi_dtype)e->dtype->dtype,
                        .n_dim = e->n_dim,
                        .n_bytes = (size_t)(e->end - e->begin)};
    memcpy(out->shape, e->shape, sizeof out->shape);
    return FOVEA_OK;
}

/* "[2, 3]" */
static void print_shape(const uint64_t *shape, uint32_t n_dim, char text[96])
{
    size_t at = (size_t)snprintf(text, 96, "[");
    for (uint32_t i = 0; i < n_dim && i < FVI_TENSOR_MAX_DIM; i++) {
        at += (size_t)snprintf(text + at, 96 - at, i == 0 ? "%llu" : ", %llu",
                               (unsigned long long)shape[i]);
    }
    snprintf(text + at, 96 - at, "]");
}

fovea_status fvi_weights_find(const fvi_weights *weights, const char *name, uint32_t n_dim,
                              const uint64_t *shape, fvi_tensor *out, fovea_error *err)
{
    const entry *e = find_entry(weights, name);
    if (e == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOT_FOUND, "the checkpoint has no tensor \"%.160s\"", name);
    }
    fvi_tensor tensor;
    FVI_TRY(export_entry(e, &tensor, err));
    if (n_dim > 0 &&
        (n_dim != tensor.n_dim || memcmp(shape, tensor.shape, n_dim * sizeof *shape) != 0)) {
        char want[96], have[96];
        print_shape(shape, n_dim, want);
        print_shape(tensor.shape, tensor.n_dim, have);
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "tensor \"%.100s\" has shape %s, the config means %s", name, have, want);
    }
    *out = tensor;
    return FOVEA_OK;
}

bool fvi_weights_has(const fvi_weights *weights, const char *name)
{
    return find_entry(weights, name) != NULL;
}

uint32_t fvi_weights_count(const fvi_weights *weights)
{
    return (uint32_t)weights->n;
}

fovea_status fvi_weights_at(const fvi_weights *weights, uint32_t index, fvi_tensor *out)
{
    if (index >= weights->n) {
        return FOVEA_ERR_ARG;
    }
    return export_entry(&weights->entries[index], out, NULL);
}

uint64_t fvi_weights_bytes(const fvi_weights *weights)
{
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < weights->n; i++) {
        n_bytes += weights->entries[i].end - weights->entries[i].begin;
    }
    return n_bytes;
}
