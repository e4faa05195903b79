/* tokenizer_added.c - finds added tokens in a text: leftmost, and of those the longest.
 *
 * The tokens are sorted, so the ones that agree with the text so far are a range that narrows with every
 * byte. The order of steps (what is skipped, where the search goes on, who takes the spaces) is that of
 * the reference. Called by tokenizer.c. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/unicode.h"

#include <stdlib.h>

static int by_content(const void *a, const void *b)
{
    const fvi_added *x = a, *y = b;
    int order = memcmp(x->content, y->content, FVI_MIN(x->n_bytes, y->n_bytes));
    return order != 0 ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

void fvi_added_set_sort(fvi_added_set *self)
{
    if (self->n > 0) {
        qsort(self->tokens, self->n, sizeof *self->tokens, by_content);
    }
    for (size_t i = 0; i < self->n; i++) {
        self->first[(unsigned char)self->tokens[i].content[0]] = true;
    }
}

/* The first token in [low, high) whose byte at `depth` is not below `byte`; all of them agree before it. A
 * token that ends there counts as below. */
static size_t lower_bound(const fvi_added_set *self, size_t low, size_t high, size_t depth,
                          int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const fvi_added *token = &self->tokens[middle];
        int have = token->n_bytes > depth ? (unsigned char)token->content[depth] : -1;
        if (have < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest token that begins at text[0], or NULL. */
static const fvi_added *longest_at(const fvi_added_set *self, const char *text, size_t n_bytes)
{
    const fvi_added *best = NULL;
    size_t low = 0, high = self->n;
    for (size_t depth = 0; depth < n_bytes && low < high; depth++) {
        int byte = (unsigned char)text[depth];
        low = lower_bound(self, low, high, depth, byte);
        high = lower_bound(self, low, high, depth, byte + 1);
        if (low < high && self->tokens[low].n_bytes == depth + 1) {
            best = &self->tokens[low];
        }
    }
    return best;
}

static bool is_single_word(const char *text, size_t n_bytes, size_t begin, size_t end)
{
    size_t at = begin;
    if (begin > 0 && fvi_unicode_is_word(fvi_utf8_previous(text, &at))) {
        return false;
    }
    at = end;
    return end == n_bytes || !fvi_unicode_is_word(fvi_utf8_next(text, &at));
}

static size_t skip_spaces_back(const char *text, size_t at)
{
    while (at > 0) {
        size_t before = at;
        if (!fvi_unicode_is_space(fvi_utf8_previous(text, &before))) {
            break;
        }
        at = before;
    }
    return at;
}

static size_t skip_spaces(const char *text, size_t n_bytes, size_t at)
{
    while (at < n_bytes) {
        size_t behind = at;
        if (!fvi_unicode_is_space(fvi_utf8_next(text, &behind))) {
            break;
        }
        at = behind;
    }
    return at;
}

int32_t fvi_added_set_next(const fvi_added_set *self, const char *text, size_t n_bytes,
                           size_t taken, size_t *at, size_t *begin, size_t *end)
{
    for (size_t i = *at; self->n > 0 && i < n_bytes;) {
        const fvi_added *token =
            self->first[(unsigned char)text[i]] ? longest_at(self, text + i, n_bytes - i) : NULL;
        if (token == NULL) {
            i++;
            continue;
        }
        size_t stop = i + token->n_bytes;
        if (token->single_word && !is_single_word(text, n_bytes, i, stop)) {
            i = stop;
            continue;
        }
        *begin = token->lstrip ? FVI_MAX(skip_spaces_back(text, i), taken) : i;
        *end = token->rstrip ? skip_spaces(text, n_bytes, stop) : stop;
        *at = stop;
        return token->id;
    }
    *at = n_bytes;
    return -1;
}
