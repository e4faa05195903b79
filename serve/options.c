/* options.c - flags by table, "--name value" or "--name=value". */
#include "serve/options.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

typedef enum flag_type { TEXT, BYTES, COUNT, PRECISION, LOG_LEVEL, SWITCH } flag_type;

typedef struct flag {
    const char *name;
    flag_type type;
    size_t offset; /* in fvi_serve_options */
    uint64_t min, max;
    const char *value, *help;
} flag;

#define AT(member) offsetof(fvi_serve_options, member)

static const flag flags[] = {
    {"--listen", TEXT, AT(listen), 0, 0, "HOST:PORT", "loopback address; default 127.0.0.1:50051"},
    {"--model", TEXT, AT(model), 0, 0, "DIR", "folder of the model"},
    {"--kv-bytes", BYTES, AT(kv_bytes), 4096, UINT64_MAX, "N",
     "KV pool, e.g. 512MiB; default 256MiB"},
    {"--precision", PRECISION, AT(precision), 0, 0, "P", "bf16 (default) or f32"},
    {"--threads", COUNT, AT(n_thread), 1, 1024, "N", "of the engine; default: cores"},
    {"--max-message-bytes", BYTES, AT(max_message_bytes), 1024, GIB, "N", "default 32MiB"},
    {"--max-images", COUNT, AT(max_images), 1, 1024, "N", "per request; default 64"},
    {"--max-queue", COUNT, AT(max_queue), 1, 65536, "N", "requests that may wait; default 64"},
    {"--drain-ms", COUNT, AT(drain_ms), 0, 3600000, "N",
     "time for running requests after SIGTERM; default 10000"},
    {"--log-level", LOG_LEVEL, AT(log_level), 0, 0, "L", "error, warn, info (default), debug"},
    {"--help", SWITCH, AT(help), 0, 0, "", "this text"},
    {"--version", SWITCH, AT(version), 0, 0, "", "the version"},
};

bool fvi_serve_parse_bytes(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}};
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (errno == 0 && strcmp(end, units[i].name) == 0) {
            if (value > INT64_MAX / units[i].bytes) {
                return false;
            }
            *out = value * units[i].bytes;
            return true;
        }
    }
    return false;
}

static fovea_status fail(fovea_error *err, const char *name, const char *why, const char *value)
{
    if (err != NULL) {
        err->code = FOVEA_ERR_ARG;
        snprintf(err->text, sizeof err->text, "%s: %s%s", name, why, value);
    }
    return FOVEA_ERR_ARG;
}

static bool find_word(const char *const *words, int n, const char *text, int *out)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static fovea_status set_value(const flag *row, const char *value, fvi_serve_options *out,
                              fovea_error *err)
{
    static const char *const precisions[] = {"bf16", "f32"}; /* in the order of the enum */
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    char *field = (char *)out + row->offset;
    uint64_t number = 0;
    int word = 0;
    switch (row->type) {
    case TEXT: memcpy(field, &value, sizeof value); return FOVEA_OK;
    case BYTES:
    case COUNT:
        if (!fvi_serve_parse_bytes(value, &number) || number < row->min || number > row->max ||
            (row->type == COUNT && strspn(value, "0123456789") != strlen(value))) {
            return fail(err, row->name, "not a number in its range: ", value);
        }
        if (row->type == BYTES) {
            memcpy(field, &number, sizeof number);
        } else {
            uint32_t count = (uint32_t)number;
            memcpy(field, &count, sizeof count);
        }
        return FOVEA_OK;
    case PRECISION:
        if (!find_word(precisions, 2, value, &word)) {
            return fail(err, row->name, "expected bf16 or f32, not ", value);
        }
        out->precision = (fovea_precision)word;
        return FOVEA_OK;
    case LOG_LEVEL:
        if (!find_word(levels, 4, value, &word)) {
            return fail(err, row->name, "expected error, warn, info or debug, not ", value);
        }
        out->log_level = (fovea_log_level)word;
        return FOVEA_OK;
    case SWITCH: *(bool *)field = true; return FOVEA_OK;
    }
    return FOVEA_OK;
}

static const flag *find_flag(const char *text, size_t n)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strlen(flags[i].name) == n && memcmp(flags[i].name, text, n) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

fovea_status fvi_serve_options_parse(int argc, char **argv, fvi_serve_options *out,
                                     fovea_error *err)
{
    fvi_serve_options parsed = {.listen = "127.0.0.1:50051",
                                .kv_bytes = 256 * MIB,
                                .max_message_bytes = 32 * MIB,
                                .max_images = 64,
                                .max_queue = 64,
                                .drain_ms = 10000,
                                .log_level = FOVEA_LOG_INFO};
    for (int i = 1; i < argc; i++) {
        size_t n_name = strcspn(argv[i], "=");
        const flag *found = find_flag(argv[i], n_name);
        if (found == NULL) {
            return fail(err, argv[i], "unknown; see --help", "");
        }
        const char *value = argv[i][n_name] == '=' ? argv[i] + n_name + 1 : NULL;
        if (found->type == SWITCH) {
            if (value != NULL) {
                return fail(err, found->name, "takes no value", "");
            }
        } else if (value == NULL) {
            if (++i == argc) {
                return fail(err, found->name, "needs a value, ", found->value);
            }
            value = argv[i];
        }
        fovea_status status = set_value(found, value, &parsed, err);
        if (status < 0) {
            return status;
        }
    }
    if (parsed.model == NULL && !parsed.help && !parsed.version) {
        return fail(err, "--model", "is needed: the folder of a model", "");
    }
    *out = parsed;
    return FOVEA_OK;
}

void fvi_serve_options_help(FILE *stream)
{
    fprintf(stream,
            "fovead --model DIR [options]\n"
            "Serves a vision-language model over gRPC (fovea.v1) on a loopback address.\n\n");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s %s", flags[i].name, flags[i].value);
        fprintf(stream, "  %-24s %s\n", name, flags[i].help);
    }
    fprintf(stream,
            "\nPrints \"listening on HOST:PORT\" when it serves; SIGTERM and SIGINT drain.\n");
}
