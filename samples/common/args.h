/* args.h - the command line of every sample: one table of options gives parsing, checks and --help.
 *
 * Options are --name VALUE or --name=VALUE; what is no option is collected as the rest; "--" ends the
 * options. A wrong command line is told on stderr in one line, and the program ends with code 2.
 * Called by caption.c, vqa.c, bench.c and eval/. Threads: one. */
#ifndef FOVEA_SAMPLES_COMMON_ARGS_H
#define FOVEA_SAMPLES_COMMON_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLE_EXIT_OK     0
#define SAMPLE_EXIT_FAILED 1 /* a picture, a model, a request */
#define SAMPLE_EXIT_USAGE  2 /* the command line */

#define SAMPLE_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What `out` of an option points to; it keeps its value when the option is not given. */
typedef enum sample_arg_kind {
    SAMPLE_ARG_FLAG,   /* bool: true when given */
    SAMPLE_ARG_TEXT,   /* const char * */
    SAMPLE_ARG_TEXTS,  /* sample_texts: may be given more than once */
    SAMPLE_ARG_UINT,   /* uint32_t */
    SAMPLE_ARG_SEED,   /* uint64_t */
    SAMPLE_ARG_REAL,   /* float, finite and not negative */
    SAMPLE_ARG_BYTES,  /* uint64_t, with KiB, MiB or GiB */
    SAMPLE_ARG_CHOICE, /* uint32_t: index of the word in `value`, "a|b|c" */
} sample_arg_kind;

typedef struct sample_arg {
    const char *name; /* without the dashes */
    sample_arg_kind kind;
    const char *value; /* how --help names the value; NULL for a flag */
    const char *help;
    void *out;
} sample_arg;

/* Texts of the command line; zero-initialise. The texts belong to argv. */
typedef struct sample_texts {
    const char **items; /* [n] */
    size_t n;
} sample_texts;

typedef struct sample_program {
    const char *name;
    const char *summary;  /* one or more lines for --help */
    const char *rest;     /* how --help names what is no option; NULL: nothing may stand there */
    const char *epilogue; /* behind the options in --help; may be NULL */
} sample_program;

/* True: go on. False: end with *exit_code (0 after --help, 2 after a mistake that was told). */
bool sample_args_parse(const sample_program *program, const sample_arg *args, size_t n_arg,
                       int argc, char **argv, sample_texts *rest, int *exit_code);

/* Tells a mistake in the command line that the table cannot see; returns SAMPLE_EXIT_USAGE. */
int sample_args_refuse(const sample_program *program, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends; false when memory is out. */
bool sample_texts_add(sample_texts *texts, const char *text);
void sample_texts_free(sample_texts *texts);

#endif
