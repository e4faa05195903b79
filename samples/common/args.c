/* args.c - parsing of a command line against a table of options, and its --help. */
#include "samples/common/args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 28

bool sample_texts_add(sample_texts *texts, const char *text)
{
    const char **items = realloc(texts->items, (texts->n + 1) * sizeof(*items));

    if (items == NULL) {
        return false;
    }
    texts->items = items;
    texts->items[texts->n++] = text;
    return true;
}

void sample_texts_free(sample_texts *texts)
{
    free(texts->items);
    texts->items = NULL;
    texts->n = 0;
}

int sample_args_refuse(const sample_program *program, const char *fmt, ...)
{
    va_list list;

    fprintf(stderr, "%s: ", program->name);
    va_start(list, fmt);
    vfprintf(stderr, fmt, list);
    va_end(list);
    fprintf(stderr, " (see %s --help)\n", program->name);
    return SAMPLE_EXIT_USAGE;
}

static void print_help(const sample_program *program, const sample_arg *args, size_t n_arg)
{
    printf("usage: %s [options]%s%s\n\n%s\n\noptions:\n", program->name, program->rest ? " " : "",
           program->rest ? program->rest : "", program->summary);
    for (size_t i = 0; i < n_arg; i++) {
        int width = printf("  --%s%s%s", args[i].name, args[i].value ? " " : "",
                           args[i].value ? args[i].value : "");
        if (width >= HELP_COLUMN) {
            putchar('\n');
            width = 0;
        }
        printf("%*s", HELP_COLUMN - width, "");
        for (const char *c = args[i].help; *c != '\0'; c++) {
            putchar(*c);
            if (*c == '\n') {
                printf("%*s", HELP_COLUMN, "");
            }
        }
        putchar('\n');
    }
    printf("  --help%*sthis text\n", HELP_COLUMN - 8, "");
    if (program->epilogue != NULL) {
        printf("\n%s\n", program->epilogue);
    }
}

static bool parse_unsigned(const char *text, uint64_t max, const char **end, uint64_t *out)
{
    char *stop = NULL;

    if (*text < '0' || *text > '9') { /* strtoull takes signs and blanks */
        return false;
    }
    errno = 0;
    *out = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0 && *out <= max;
}

static bool parse_bytes(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    const char *end = NULL;

    if (!parse_unsigned(text, UINT64_MAX, &end, out)) {
        return false;
    }
    for (size_t i = 0; i < SAMPLE_COUNT(units); i++) {
        if (strcmp(end, units[i].name) == 0) {
            uint64_t scaled = *out << units[i].shift;
            bool fits = scaled >> units[i].shift == *out;
            *out = scaled;
            return fits;
        }
    }
    return false;
}

static bool parse_real(const char *text, float *out)
{
    char *end = NULL;

    *out = strtof(text, &end);
    return end != text && *end == '\0' && isfinite(*out) && *out >= 0;
}

static bool parse_choice(const char *text, const char *choices, uint32_t *out)
{
    size_t length = strlen(text);

    for (uint32_t index = 0; *choices != '\0'; index++) {
        size_t width = strcspn(choices, "|");
        if (width == length && memcmp(choices, text, width) == 0) {
            *out = index;
            return true;
        }
        choices += width + (choices[width] == '|');
    }
    return false;
}

/* NULL when the value fits the option, else what it should have been. */
static const char *take_value(const sample_arg *arg, const char *text)
{
    const char *end = "";
    uint64_t number = 0;

    switch (arg->kind) {
    case SAMPLE_ARG_FLAG: break;
    case SAMPLE_ARG_TEXT: *(const char **)arg->out = text; break;
    case SAMPLE_ARG_TEXTS:
        return sample_texts_add(arg->out, text) ? NULL : "given less often: memory is out";
    case SAMPLE_ARG_UINT:
        if (!parse_unsigned(text, UINT32_MAX, &end, &number) || *end != '\0') {
            return "a whole number below 2^32";
        }
        *(uint32_t *)arg->out = (uint32_t)number;
        break;
    case SAMPLE_ARG_SEED:
        if (!parse_unsigned(text, UINT64_MAX, &end, &number) || *end != '\0') {
            return "a whole number below 2^64";
        }
        *(uint64_t *)arg->out = number;
        break;
    case SAMPLE_ARG_REAL:
        return parse_real(text, arg->out) ? NULL : "a number that is not negative";
    case SAMPLE_ARG_BYTES:
        return parse_bytes(text, arg->out) ? NULL
                                           : "a number of bytes such as 65536, 64KiB or 2GiB";
    case SAMPLE_ARG_CHOICE: return parse_choice(text, arg->value, arg->out) ? NULL : arg->value;
    }
    return NULL;
}

static const sample_arg *find_arg(const sample_arg *args, size_t n_arg, const char *name,
                                  size_t length)
{
    for (size_t i = 0; i < n_arg; i++) {
        if (strncmp(args[i].name, name, length) == 0 && args[i].name[length] == '\0') {
            return &args[i];
        }
    }
    return NULL;
}

/* Takes argv[*at], and the next one when it is its value. 0, or the exit code. */
static int take_option(const sample_program *program, const sample_arg *args, size_t n_arg,
                       int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    const sample_arg *arg = find_arg(args, n_arg, name, length);
    const char *wanted;

    if (arg == NULL) {
        return sample_args_refuse(program, "there is no option --%.*s", (int)length, name);
    }
    if (arg->kind == SAMPLE_ARG_FLAG) {
        if (value != NULL) {
            return sample_args_refuse(program, "--%s takes no value", arg->name);
        }
        *(bool *)arg->out = true;
        return 0;
    }
    if (value == NULL) {
        if (*at + 1 >= argc) {
            return sample_args_refuse(program, "--%s needs a value: %s", arg->name, arg->value);
        }
        value = argv[++*at];
    }
    wanted = take_value(arg, value);
    return wanted == NULL
               ? 0
               : sample_args_refuse(program, "--%s: \"%s\" should be %s", arg->name, value, wanted);
}

bool sample_args_parse(const sample_program *program, const sample_arg *args, size_t n_arg,
                       int argc, char **argv, sample_texts *rest, int *exit_code)
{
    bool options = true;

    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strcmp(argv[i], "--help") == 0) {
            print_help(program, args, n_arg);
            *exit_code = SAMPLE_EXIT_OK;
            return false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            *exit_code = take_option(program, args, n_arg, argc, argv, &i);
            if (*exit_code != 0) {
                return false;
            }
        } else if (program->rest == NULL || rest == NULL) {
            *exit_code = sample_args_refuse(program, "\"%s\" is no option", argv[i]);
            return false;
        } else if (!sample_texts_add(rest, argv[i])) {
            *exit_code = SAMPLE_EXIT_FAILED;
            return false;
        }
    }
    return true;
}
