/* unicode.c - UTF-8, character classes, canonical composition.
 *
 * utf8proc gives categories, decompositions and pair compositions. The ordering of combining marks is done
 * here: utf8proc's own is quadratic in the length of a run of marks, and the text is hostile input. */
#include "sdk/model/unicode.h"

#include <utf8proc.h>

#define MAX_DECOMPOSED 32 /* characters one decomposes to; 4 in Unicode 15 */

typedef struct range {
    uint32_t first, last;
} range;

static const range more_numeric[] = {
#define FVI_UNICODE_NUMERIC(first, last) {first, last},
#include "sdk/model/unicode_new.def"
};

static const range no_mark[] = {
#define FVI_UNICODE_NO_MARK(first, last) {first, last},
#include "sdk/model/unicode_new.def"
};

/* Letters by the property Alphabetic alone: circled and squared ones. */
static const range other_alphabetic[] = {
    {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

static bool in_ranges(const range *ranges, size_t n, uint32_t character)
{
    for (size_t i = 0; i < n; i++) {
        if (character >= ranges[i].first && character <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* ---- UTF-8 ---- */

/* The bytes that may follow a first byte: E0, ED, F0 and F4 narrow the second one (no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
static bool is_second(unsigned char first, unsigned char second)
{
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

uint32_t fvi_utf8_need(const unsigned char *bytes, uint32_t n)
{
    unsigned char first = bytes[0];
    uint32_t need = first < 0x80                     ? 1
                    : first >= 0xC2 && first <= 0xDF ? 2
                    : first >= 0xE0 && first <= 0xEF ? 3
                    : first >= 0xF0 && first <= 0xF4 ? 4
                                                     : 0;
    if (n > need || (n > 1 && !is_second(first, bytes[1]))) {
        return 0;
    }
    for (uint32_t i = 2; i < n; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return need;
}

bool fvi_utf8_check(const char *text, size_t n_bytes, size_t *bad_at)
{
    size_t at = 0;
    while (at < n_bytes) {
        unsigned char bytes[4] = {(unsigned char)text[at]};
        if (bytes[0] < 0x80) {
            at++;
            continue;
        }
        uint32_t need = fvi_utf8_need(bytes, 1);
        if (need == 0 || need > n_bytes - at) {
            *bad_at = at;
            return false;
        }
        memcpy(bytes, text + at, need);
        if (fvi_utf8_need(bytes, need) != need) {
            *bad_at = at;
            return false;
        }
        at += need;
    }
    return true;
}

uint32_t fvi_utf8_next(const char *text, size_t *at)
{
    unsigned char first = (unsigned char)text[(*at)++];
    if (first < 0x80) {
        return first;
    }
    uint32_t n_more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    uint32_t character = first & (0x3Fu >> n_more);
    for (uint32_t i = 0; i < n_more; i++) {
        character = character << 6 | ((unsigned char)text[(*at)++] & 0x3Fu);
    }
    return character;
}

uint32_t fvi_utf8_previous(const char *text, size_t *at)
{
    do {
        (*at)--;
    } while (*at > 0 && ((unsigned char)text[*at] & 0xC0) == 0x80);
    size_t start = *at;
    return fvi_utf8_next(text, &start);
}

/* ---- classes ---- */

static utf8proc_category_t category(uint32_t character)
{
    return utf8proc_category((utf8proc_int32_t)character);
}

bool fvi_unicode_is_space(uint32_t character)
{
    utf8proc_category_t c;
    if (character < 0x80) {
        return character == ' ' || (character >= '\t' && character <= '\r');
    }
    c = category(character);
    return character == 0x85 || (c >= UTF8PROC_CATEGORY_ZS && c <= UTF8PROC_CATEGORY_ZP);
}

bool fvi_unicode_is_numeric(uint32_t character)
{
    if (character < 0x80) {
        return character >= '0' && character <= '9';
    }
    utf8proc_category_t c = category(character);
    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) ||
           in_ranges(more_numeric, FVI_COUNT(more_numeric), character);
}

bool fvi_unicode_is_word(uint32_t character)
{
    utf8proc_category_t c = category(character);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
           character == 0x200C || character == 0x200D ||
           in_ranges(other_alphabetic, FVI_COUNT(other_alphabetic), character);
}

/* ---- canonical composition ---- */

static uint8_t combining_class(uint32_t character)
{
    if (character < 0x300 || in_ranges(no_mark, FVI_COUNT(no_mark), character)) {
        return 0;
    }
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)character)->combining_class;
}

/* Characters with their combining classes; both arrays [capacity]. */
typedef struct characters {
    const fovea_alloc *alloc;
    utf8proc_int32_t *code;
    uint8_t *mark; /* combining class */
    size_t n, capacity;
} characters;

static fovea_status reserve(characters *self, size_t n_more)
{
    if (self->n + n_more <= self->capacity) {
        return FOVEA_OK;
    }
    size_t capacity = FVI_MAX(self->n + n_more, 2 * self->capacity);
    utf8proc_int32_t *code =
        fvi_grow(self->alloc, self->code, self->n * sizeof *code, capacity * sizeof *code);
    if (code == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    self->code = code;
    uint8_t *mark = fvi_grow(self->alloc, self->mark, self->n, capacity);
    if (mark == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    self->mark = mark;
    self->capacity = capacity;
    return FOVEA_OK;
}

static fovea_status decompose(const char *text, size_t n_bytes, characters *out)
{
    for (size_t at = 0; at < n_bytes;) {
        utf8proc_int32_t parts[MAX_DECOMPOSED];
        int boundary = 0;
        utf8proc_int32_t character = (utf8proc_int32_t)fvi_utf8_next(text, &at);
        utf8proc_ssize_t n = 1;
        parts[0] = character;
        /* below U+00C0 nothing decomposes; the reference's data has no U+11938 yet */
        if (character >= 0xC0 && character != 0x11938) {
            n = utf8proc_decompose_char(character, parts, MAX_DECOMPOSED,
                                        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
        }
        if (n < 0 || n > MAX_DECOMPOSED) {
            return FOVEA_ERR_INTERNAL;
        }
        FVI_TRY(reserve(out, (size_t)n));
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            out->code[out->n] = parts[i];
            out->mark[out->n++] = combining_class((uint32_t)parts[i]);
        }
    }
    return FOVEA_OK;
}

/* Sorts one run of marks by class, stably, by counting; scratch holds n characters. */
static void sort_run(utf8proc_int32_t *code, uint8_t *mark, size_t n, utf8proc_int32_t *scratch)
{
    size_t first[257] = {0};
    for (size_t i = 0; i < n; i++) {
        first[mark[i] + 1]++;
    }
    for (size_t c = 1; c <= 256; c++) {
        first[c] += first[c - 1];
    }
    for (size_t i = 0; i < n; i++) {
        scratch[first[mark[i]]++] = code[i];
    }
    /* first[c] is now where class c ends */
    for (size_t i = 0, c = 0; i < n; i++) {
        while (first[c] <= i) {
            c++;
        }
        code[i] = scratch[i];
        mark[i] = (uint8_t)c;
    }
}

static void sort_marks(characters *text, utf8proc_int32_t *scratch)
{
    for (size_t i = 0; i < text->n;) {
        size_t end = i;
        bool sorted = true;
        while (end < text->n && text->mark[end] != 0) {
            sorted = sorted && (end == i || text->mark[end - 1] <= text->mark[end]);
            end++;
        }
        if (!sorted) {
            sort_run(text->code + i, text->mark + i, end - i, scratch);
        }
        i = end + 1;
    }
}

/* The primary composite of two characters, or 0. */
static utf8proc_int32_t compose_pair(utf8proc_int32_t a, utf8proc_int32_t b)
{
    utf8proc_int32_t pair[2] = {a, b};
    if (b < 0x300 || a == 0x11935 ||
        utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1) {
        return 0;
    }
    return pair[0];
}

/* Composes in place: a character joins the last starter unless something of its class or higher, or a
 * starter, stands between. */
static void compose(characters *text)
{
    size_t n = 0, starter = SIZE_MAX;
    for (size_t i = 0; i < text->n; i++) {
        utf8proc_int32_t code = text->code[i];
        uint8_t mark = text->mark[i];
        if (starter != SIZE_MAX) {
            bool adjacent = starter + 1 == n;
            bool open = adjacent || (text->mark[n - 1] != 0 && text->mark[n - 1] < mark);
            utf8proc_int32_t both = open ? compose_pair(text->code[starter], code) : 0;
            if (both != 0) {
                text->code[starter] = both;
                continue;
            }
        }
        if (mark == 0) {
            starter = n;
        }
        text->code[n] = code;
        text->mark[n++] = mark;
    }
    text->n = n;
}

fovea_status fvi_unicode_nfc(const char *text, size_t n_bytes, fvi_buf *out)
{
    characters chars = {.alloc = out->alloc};
    utf8proc_int32_t *scratch = NULL;
    fovea_status status = reserve(&chars, n_bytes + 1);
    if (status >= 0) {
        status = decompose(text, n_bytes, &chars);
    }
    if (status >= 0) {
        scratch = fvi_alloc(out->alloc, (chars.n + 1) * sizeof *scratch);
        status = scratch == NULL ? FOVEA_ERR_NOMEM : FOVEA_OK;
    }
    if (status >= 0) {
        sort_marks(&chars, scratch);
        compose(&chars);
    }
    for (size_t i = 0; status >= 0 && i < chars.n; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n = utf8proc_encode_char(chars.code[i], bytes);
        status = fvi_buf_append(out, bytes, (size_t)n);
    }
    fvi_free(out->alloc, scratch);
    fvi_free(out->alloc, chars.code);
    fvi_free(out->alloc, chars.mark);
    return status;
}

bool fvi_unicode_may_change(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if ((unsigned char)text[i] >= 0xCC) { /* U+0300 and above */
            return true;
        }
    }
    return false;
}
