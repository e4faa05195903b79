/* preprocess.c - Hugging Face's CLIP, SigLIP and LLaVA image processors.
 *
 * Layout: defaults by processor class, reading the config, running.
 * Config keys that are absent or null take the defaults of the class the config names, as transformers
 * does it. Called by the engine. */
#include "vision/preprocess.h"

#include "sdk/base/json.h"
#include "vision/resize.h"

#include <math.h>

#define MAX_SIDE 4096 /* of what an encoder is given */

/* ---- defaults ---- */

typedef struct processor {
    const char *name; /* image_processor_type, without the endings Fast and Pil */
    fvi_preprocess defaults;
} processor;

/* The classes resize with bicubic; CLIP's means are those of OpenAI's training set. */
#define CLIP_DEFAULTS                                                                              \
    {                                                                                              \
        .shortest_edge = 224, .crop_width = 224, .crop_height = 224,                               \
        .resample = FVI_RESAMPLE_BICUBIC, .do_resize = true, .do_crop = true, .do_rescale = true,  \
        .do_normalize = true, .rescale = 1.0 / 255.0,                                              \
        .mean = {0.48145466f, 0.4578275f, 0.40821073f},                                            \
        .std = {0.26862954f, 0.26130258f, 0.27577711f},                                            \
    }

static const processor processors[] = {
    {"CLIPImageProcessor", CLIP_DEFAULTS},
    {"CLIPFeatureExtractor", CLIP_DEFAULTS},
    {"LlavaImageProcessor", CLIP_DEFAULTS},
    {"SiglipImageProcessor",
     {.resize_width = 224,
      .resize_height = 224,
      .resample = FVI_RESAMPLE_BICUBIC,
      .do_resize = true,
      .do_rescale = true,
      .do_normalize = true,
      .rescale = 1.0 / 255.0,
      .mean = {0.5f, 0.5f, 0.5f},
      .std = {0.5f, 0.5f, 0.5f}}},
};

static const processor *find_processor(const char *name)
{
    for (size_t i = 0; i < FVI_COUNT(processors); i++) {
        const size_t n = strlen(processors[i].name);
        if (strncmp(name, processors[i].name, n) == 0 &&
            (name[n] == '\0' || strcmp(name + n, "Fast") == 0 || strcmp(name + n, "Pil") == 0)) {
            return &processors[i];
        }
    }
    return NULL;
}

/* ---- reading ---- */

/* A size as transformers takes it: N, [height, width], {"height", "width"} or {"shortest_edge"}. A lone N
 * is the shortest edge where `edge` is given, else a square. Leaves the outputs when the key is absent. */
static fovea_status read_size(const json_t *obj, const char *key, uint32_t *width, uint32_t *height,
                              uint32_t *edge, fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        return FOVEA_OK;
    }
    uint32_t w = 0, h = 0, e = 0;
    if (json_is_integer(value)) {
        FVI_TRY(fvi_json_u32(obj, key, 0, 1, MAX_SIDE, &w, err));
        h = w;
        if (edge != NULL) {
            e = w;
            w = h = 0;
        }
    } else if (json_is_object(value)) {
        if (json_object_get(value, "longest_edge") != NULL) {
            return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "\"%s\": \"longest_edge\" is not supported",
                            key);
        }
        FVI_TRY(fvi_json_u32(value, "width", 0, 1, MAX_SIDE, &w, err));
        FVI_TRY(fvi_json_u32(value, "height", 0, 1, MAX_SIDE, &h, err));
        FVI_TRY(fvi_json_u32(value, "shortest_edge", 0, 1, MAX_SIDE, &e, err));
    } else if (json_is_array(value) && json_array_size(value) == 2) {
        json_int_t sides[2];
        for (size_t i = 0; i < 2; i++) {
            const json_t *side = json_array_get(value, i);
            sides[i] = json_is_integer(side) ? json_integer_value(side) : 0;
            if (sides[i] < 1 || sides[i] > MAX_SIDE) {
                return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not [height, width]", key);
            }
        }
        h = (uint32_t)sides[0];
        w = (uint32_t)sides[1];
    }
    const bool exact = w != 0 && h != 0 && e == 0;
    const bool by_edge = w == 0 && h == 0 && e != 0 && edge != NULL;
    if (!exact && !by_edge) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is neither a size nor a shortest edge", key);
    }
    *width = w;
    *height = h;
    if (edge != NULL) {
        *edge = e;
    }
    return FOVEA_OK;
}

/* One number for all channels or three; leaves out when absent. */
static fovea_status read_channels(const json_t *obj, const char *key, bool positive, float out[3],
                                  fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        return FOVEA_OK;
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *channel = json_is_array(value) ? json_array_get(value, i) : value;
        const float x = (float)json_number_value(channel);
        if (!json_is_number(channel) || !isfinite(x) || (positive && x <= 0.0f) ||
            (json_is_array(value) && json_array_size(value) != 3)) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not a number or three%s", key,
                            positive ? ", all positive" : "");
        }
        out[i] = x;
    }
    return FOVEA_OK;
}

static fovea_status read_resample(const json_t *obj, fvi_resample *out, fovea_error *err)
{
    uint32_t number;
    FVI_TRY(fvi_json_u32(obj, "resample", (uint32_t)*out, 0, 1000, &number, err));
    if (number != FVI_RESAMPLE_BILINEAR && number != FVI_RESAMPLE_BICUBIC &&
        number != FVI_RESAMPLE_LANCZOS) {
        return FVI_FAIL(
            err, FOVEA_ERR_UNSUPPORTED,
            "\"resample\" is %u; bilinear (2), bicubic (3) and Lanczos (1) are supported", number);
    }
    *out = (fvi_resample)number;
    return FOVEA_OK;
}

static fovea_status read_rescale(const json_t *obj, double *out, fovea_error *err)
{
    const json_t *value = json_object_get(obj, "rescale_factor");
    if (value == NULL || json_is_null(value)) {
        return FOVEA_OK;
    }
    if (!json_is_number(value) || !isfinite((float)json_number_value(value))) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"rescale_factor\" is not a finite number");
    }
    *out = json_number_value(value);
    return FOVEA_OK;
}

/* The size of the result must follow from the config alone: an encoder takes one size. */
static fovea_status find_result_size(fvi_preprocess *self, fovea_error *err)
{
    if (self->do_crop && self->crop_width != 0) {
        self->width = self->crop_width;
        self->height = self->crop_height;
        return FOVEA_OK;
    }
    if (self->do_crop) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"do_center_crop\" without a \"crop_size\"");
    }
    if (!self->do_resize || self->shortest_edge != 0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "pictures would keep their own %s: set \"crop_size\" or an exact \"size\"",
                        self->do_resize ? "shape" : "size");
    }
    self->width = self->resize_width;
    self->height = self->resize_height;
    return FOVEA_OK;
}

static fovea_status read_config(const json_t *obj, fvi_preprocess *out, fovea_error *err)
{
    const char *name = NULL;
    FVI_TRY(fvi_json_text(obj, "image_processor_type", &name, err));
    if (name == NULL) {
        FVI_TRY(fvi_json_text(obj, "feature_extractor_type", &name, err));
    }
    const processor *kind = name != NULL ? find_processor(name) : NULL;
    if (kind == NULL) {
        return FVI_FAIL(
            err, FOVEA_ERR_UNSUPPORTED,
            "image processor \"%.64s\" is not supported (CLIP's, SigLIP's and LLaVA's are)",
            name != NULL ? name : "(none named)");
    }
    fvi_preprocess self = kind->defaults;
    bool do_pad;
    FVI_TRY(fvi_json_bool(obj, "do_pad", false, &do_pad, err));
    if (do_pad) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "\"do_pad\" is not supported");
    }
    FVI_TRY(fvi_json_bool(obj, "do_resize", self.do_resize, &self.do_resize, err));
    FVI_TRY(fvi_json_bool(obj, "do_center_crop", self.do_crop, &self.do_crop, err));
    FVI_TRY(fvi_json_bool(obj, "do_rescale", self.do_rescale, &self.do_rescale, err));
    FVI_TRY(fvi_json_bool(obj, "do_normalize", self.do_normalize, &self.do_normalize, err));
    FVI_TRY(
        read_size(obj, "size", &self.resize_width, &self.resize_height, &self.shortest_edge, err));
    FVI_TRY(read_size(obj, "crop_size", &self.crop_width, &self.crop_height, NULL, err));
    FVI_TRY(read_resample(obj, &self.resample, err));
    FVI_TRY(read_rescale(obj, &self.rescale, err));
    FVI_TRY(read_channels(obj, "image_mean", false, self.mean, err));
    FVI_TRY(read_channels(obj, "image_std", true, self.std, err));
    FVI_TRY(find_result_size(&self, err));
    *out = self;
    return FOVEA_OK;
}

/* *out is `key` of dir/file, or the whole file with key NULL; NULL when there is neither. */
static fovea_status load_object(const fovea_alloc *alloc, const char *dir, const char *file,
                                const char *key, json_t **out, fovea_error *err)
{
    *out = NULL;
    json_t *root = NULL;
    fovea_status status = fvi_json_load(alloc, dir, file, &root, err);
    if (fvi_is_absent(status, err)) {
        return FOVEA_OK;
    }
    FVI_TRY(status);
    json_t *obj = key != NULL ? json_object_get(root, key) : root;
    if (obj != NULL && !json_is_object(obj)) {
        status = FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: %s is not an object", file,
                          key != NULL ? key : "the file");
    } else if (obj != NULL) {
        *out = json_incref(obj);
    }
    json_decref(root);
    return status;
}

fovea_status fvi_preprocess_load(const fovea_alloc *alloc, const char *dir, fvi_preprocess *out,
                                 fovea_error *err)
{
    json_t *obj = NULL;
    FVI_TRY(load_object(alloc, dir, "processor_config.json", "image_processor", &obj, err));
    if (obj == NULL) {
        FVI_TRY(load_object(alloc, dir, "preprocessor_config.json", NULL, &obj, err));
    }
    if (obj == NULL) {
        return FVI_FAIL(
            err, FOVEA_ERR_NOT_FOUND,
            "%.160s: neither processor_config.json nor preprocessor_config.json says how to "
            "prepare pictures",
            dir);
    }
    fovea_status status = read_config(obj, out, err);
    json_decref(obj);
    return status;
}

/* ---- running ---- */

/* The whole resized picture, of which the crop may show a part only. */
static fovea_status find_resized(const fvi_preprocess *self, uint32_t width, uint32_t height,
                                 uint32_t *out_width, uint32_t *out_height, fovea_error *err)
{
    *out_width = width;
    *out_height = height;
    if (!self->do_resize) {
        return FOVEA_OK;
    }
    if (self->shortest_edge == 0) {
        *out_width = self->resize_width;
        *out_height = self->resize_height;
        return FOVEA_OK;
    }
    const uint32_t shorter = FVI_MIN(width, height);
    const double longer = (double)FVI_MAX(width, height) * self->shortest_edge / shorter;
    if (longer > FVI_RESIZE_MAX_SIDE) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "a picture of %u x %u pixels is too narrow", width,
                        height);
    }
    *out_width = width <= height ? self->shortest_edge : (uint32_t)longer;
    *out_height = width <= height ? (uint32_t)longer : self->shortest_edge;
    return FOVEA_OK;
}

/* Centre crop of one axis: `from` of the picture goes to `to` of the result, `n` pixels; what the picture
 * does not cover stays black. */
static void crop_axis(uint32_t n_picture, uint32_t n_result, uint32_t *from, uint32_t *to,
                      uint32_t *n)
{
    *from = n_picture > n_result ? (n_picture - n_result) / 2 : 0;
    *to = n_result > n_picture ? (n_result - n_picture + 1) / 2 : 0;
    *n = FVI_MIN(n_picture, n_result);
}

/* Where the result of one axis begins and ends in the picture, as shares of it. */
static void part_of_axis(uint32_t n_picture, uint32_t n_result, float *begin, float *end)
{
    uint32_t from, to, n;
    crop_axis(n_picture, n_result, &from, &to, &n);
    double first = (double)from - (double)to;
    *begin = (float)(first / n_picture);
    *end = (float)((first + n_result) / n_picture);
}

void fvi_preprocess_part(const fvi_preprocess *self, uint32_t width, uint32_t height, float part[4])
{
    uint32_t resized_width, resized_height;
    part[0] = part[1] = 0;
    part[2] = part[3] = 1;
    if (self->do_crop &&
        find_resized(self, width, height, &resized_width, &resized_height, NULL) == FOVEA_OK) {
        part_of_axis(resized_width, self->crop_width, &part[0], &part[2]);
        part_of_axis(resized_height, self->crop_height, &part[1], &part[3]);
    }
}

/* The value of every byte in every channel, with numpy's roundings. */
static void fill_values(const fvi_preprocess *self, float values[3][256])
{
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            float x = self->do_rescale ? (float)(byte * self->rescale) : (float)byte;
            values[c][byte] = self->do_normalize ? (x - self->mean[c]) / self->std[c] : x;
        }
    }
}

fovea_status fvi_preprocess_run(const fvi_preprocess *self, const fovea_alloc *alloc,
                                const fovea_image *image, float *out, fovea_error *err)
{
    const uint32_t src_width = fovea_image_width(image), src_height = fovea_image_height(image);
    uint32_t width, height, to_x, to_y;
    fvi_window window;
    FVI_TRY(find_resized(self, src_width, src_height, &width, &height, err));
    crop_axis(width, self->width, &window.x, &to_x, &window.width);
    crop_axis(height, self->height, &window.y, &to_y, &window.height);
    const size_t n_pixel = (size_t)self->width * self->height;
    uint8_t *rgb = fvi_calloc(alloc, n_pixel, 3); /* [height, width, 3] */
    if (rgb == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory to prepare a picture");
    }
    const size_t stride = (size_t)self->width * 3;
    fovea_status status = fvi_resize_rgb_window(alloc, self->resample, fovea_image_pixels(image),
                                                src_width, src_height, width, height, window,
                                                rgb + to_y * stride + (size_t)to_x * 3, stride);
    if (status != FOVEA_OK) {
        status = FVI_FAIL(err, status, "resizing %u x %u pixels to %u x %u: %s", src_width,
                          src_height, width, height, fovea_status_text(status));
        goto done;
    }
    float values[3][256];
    fill_values(self, values);
    for (size_t i = 0; i < n_pixel; i++) {
        for (unsigned c = 0; c < 3; c++) {
            out[c * n_pixel + i] = values[c][rgb[3 * i + c]];
        }
    }
done:
    fvi_free(alloc, rgb);
    return status;
}
