/* regex.c - PCRE2 behind fvi_regex: compiled once, JIT where the machine has it, searched with step limits.
 *
 * All memory but the JIT's machine code comes from the caller's allocator. Called by the pre-tokenizers. */
#include "sdk/model/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PATTERN   65536
#define BASE_STEPS    10000000u /* PCRE2's own default */
#define STEPS_A_BYTE  16u       /* a greedy run may be given back once for each byte of the text */
#define MAX_HEAP_KIB  (64u << 10)
#define JIT_STACK_MIN (32u << 10)
#define JIT_STACK_MAX (8u << 20)

struct fvi_regex {
    const fovea_alloc *alloc;
    pcre2_general_context *general;
    pcre2_code *code;
};

struct fvi_regex_run {
    const fovea_alloc *alloc;
    const fvi_regex *regex;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL: no JIT */
};

static void *pcre_alloc(size_t n_bytes, void *user)
{
    return fvi_alloc(user, n_bytes);
}

static void pcre_release(void *memory, void *user)
{
    fvi_free(user, memory);
}

static fovea_status compile(fvi_regex *self, const char *pattern, fovea_error *err)
{
    fovea_status status = FOVEA_ERR_NOMEM;
    int why = 0;
    PCRE2_SIZE at = 0;
    union {
        const char *text;
        PCRE2_SPTR units;
    } source = {.text = pattern};
    pcre2_compile_context *context = pcre2_compile_context_create(self->general);
    if (context == NULL) {
        goto done;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    self->code = pcre2_compile(source.units, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE |
                                   PCRE2_NEVER_BACKSLASH_C,
                               &why, &at, context);
    if (self->code == NULL) {
        PCRE2_UCHAR text[128] = "";
        pcre2_get_error_message(why, text, sizeof text);
        status = why == PCRE2_ERROR_HEAP_FAILED
                     ? FOVEA_ERR_NOMEM
                     : FVI_FAIL(err, FOVEA_ERR_FORMAT, "regex: %s (near \"%.40s\")",
                                (const char *)text, at < strlen(pattern) ? pattern + at : "");
        goto done;
    }
    /* where there is no JIT the interpreter runs: slower, the same matches */
    if (pcre2_jit_compile(self->code, PCRE2_JIT_COMPLETE) == PCRE2_ERROR_NOMEMORY) {
        goto done;
    }
    status = FOVEA_OK;
done:
    pcre2_compile_context_free(context);
    return status;
}

fovea_status fvi_regex_new(const fovea_alloc *alloc, const char *pattern, fvi_regex **out,
                           fovea_error *err)
{
    if (strlen(pattern) > MAX_PATTERN) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "regex: longer than %d bytes", MAX_PATTERN);
    }
    union {
        const fovea_alloc *in;
        void *out; /* PCRE2 hands it back to pcre_alloc */
    } user = {.in = alloc};
    fvi_buf text = {.alloc = alloc};
    fovea_status status = FOVEA_ERR_NOMEM;
    fvi_regex *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        goto done;
    }
    self->alloc = alloc;
    self->general = pcre2_general_context_create(pcre_alloc, pcre_release, user.out);
    if (self->general == NULL) {
        goto done;
    }
    status = fvi_regex_translate(pattern, &text, err);
    if (status >= 0) {
        status = compile(self, text.data, err);
    }
done:
    fvi_buf_free(&text);
    if (status < 0) {
        fvi_regex_free(&self);
        return status == FOVEA_ERR_NOMEM ? FVI_FAIL(err, status, "no memory for a regex") : status;
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_regex_free(fvi_regex **regex)
{
    fvi_regex *self = *regex;
    if (self == NULL) {
        return;
    }
    pcre2_code_free(self->code);
    pcre2_general_context_free(self->general);
    fvi_free(self->alloc, self);
    *regex = NULL;
}

fovea_status fvi_regex_run_new(const fovea_alloc *alloc, const fvi_regex *regex,
                               fvi_regex_run **out)
{
    fvi_regex_run *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    self->alloc = alloc;
    self->regex = regex;
    self->match = pcre2_match_data_create(1, regex->general);
    self->context = pcre2_match_context_create(regex->general);
    if (self->match == NULL || self->context == NULL) {
        fvi_regex_run_free(&self);
        return FOVEA_ERR_NOMEM;
    }
    pcre2_set_heap_limit(self->context, MAX_HEAP_KIB);
    size_t jit_bytes = 0;
    (void)pcre2_pattern_info(regex->code, PCRE2_INFO_JITSIZE, &jit_bytes);
    if (jit_bytes > 0) {
        self->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, regex->general);
        if (self->stack == NULL) {
            fvi_regex_run_free(&self);
            return FOVEA_ERR_NOMEM;
        }
        pcre2_jit_stack_assign(self->context, NULL, self->stack);
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_regex_run_free(fvi_regex_run **run)
{
    fvi_regex_run *self = *run;
    if (self == NULL) {
        return;
    }
    pcre2_jit_stack_free(self->stack);
    pcre2_match_context_free(self->context);
    pcre2_match_data_free(self->match);
    fvi_free(self->alloc, self);
    *run = NULL;
}

fovea_status fvi_regex_find(fvi_regex_run *run, const char *text, size_t n_bytes, size_t from,
                            size_t *begin, size_t *end)
{
    union {
        const char *text;
        PCRE2_SPTR units;
    } subject = {.text = text};
    size_t steps = BASE_STEPS + STEPS_A_BYTE * FVI_MIN(n_bytes, (size_t)1 << 26);
    pcre2_set_match_limit(run->context, (uint32_t)steps);
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(run->regex->code, subject.units, n_bytes, from, options, run->match,
                         run->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(run->regex->code, subject.units, n_bytes, from, options | PCRE2_NO_JIT,
                         run->match, run->context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) {
        return FOVEA_DONE;
    }
    if (rc < 0) {
        return rc == PCRE2_ERROR_NOMEMORY                                    ? FOVEA_ERR_NOMEM
               : rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT ? FOVEA_ERR_LIMIT
               : rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT
                   ? FOVEA_ERR_LIMIT
                   : FOVEA_ERR_INTERNAL;
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(run->match);
    if (place[0] > place[1] || place[0] < from) { /* \K could do that; it is not let through */
        return FOVEA_ERR_INTERNAL;
    }
    *begin = place[0];
    *end = place[1];
    return FOVEA_OK;
}
