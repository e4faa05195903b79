/* regex.h - the regular expressions of tokenizer.json, run by PCRE2 with the meaning that the reference
 * tokenizer's engine (Oniguruma) gives them.
 *
 * What the two engines understand alike is passed on, what can be said in PCRE2's words is translated,
 * the rest is refused by name. Called by the pre-tokenizers. Threads: new/free - one; the rest - any, with
 * an own fvi_regex_run each. */
#ifndef FOVEA_MODEL_REGEX_H
#define FOVEA_MODEL_REGEX_H

#include "sdk/base/base.h"

typedef struct fvi_regex fvi_regex;

/* FOVEA_ERR_UNSUPPORTED: names the construct; FOVEA_ERR_FORMAT: PCRE2 refuses the pattern. */
fovea_status fvi_regex_new(const fovea_alloc *alloc, const char *pattern, fvi_regex **out,
                           fovea_error *err);
void fvi_regex_free(fvi_regex **regex);

/* The working memory of one thread's searches with one regex. */
typedef struct fvi_regex_run fvi_regex_run;
fovea_status fvi_regex_run_new(const fovea_alloc *alloc, const fvi_regex *regex,
                               fvi_regex_run **out);
void fvi_regex_run_free(fvi_regex_run **run);

/* The next match at or behind `from` in text (well-formed UTF-8; the whole text is looked at by
 * look-behind). FOVEA_DONE: none. FOVEA_ERR_LIMIT: the pattern needs too many steps. */
fovea_status fvi_regex_find(fvi_regex_run *run, const char *text, size_t n_bytes, size_t from,
                            size_t *begin, size_t *end);

/* Appends the PCRE2 form of an Oniguruma pattern, terminated. */
fovea_status fvi_regex_translate(const char *pattern, fvi_buf *out, fovea_error *err);

#endif
