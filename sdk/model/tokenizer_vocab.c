/* tokenizer_vocab.c - tokens by string, pairs by ids, and the merging of one pre-token.
 *
 * Both tables are open addressed. Merging keeps the symbols in a linked list and the possible merges in a
 * heap ordered by rank and place, so a pre-token of n bytes costs n log n whatever it holds. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/unicode.h"

#define NONE UINT32_MAX

typedef struct fvi_bpe_symbol {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t previous, next;
} fvi_bpe_symbol;

typedef struct fvi_bpe_candidate {
    uint32_t rank;
    uint32_t at; /* symbol on the left */
    int32_t id;  /* what the two would become */
} fvi_bpe_candidate;

/* ---- bytes as characters ---- */

/* Printable bytes stand for themselves, the others are numbered from U+0100 on. */
uint32_t fvi_byte_to_character(uint8_t byte)
{
    if (byte <= 32) {
        return 256u + byte;
    }
    if (byte >= 127 && byte <= 160) {
        return 256u + 33 + (byte - 127u);
    }
    return byte == 173 ? 256u + 67 : byte;
}

int fvi_character_to_byte(uint32_t character)
{
    if (character >= 256) {
        uint32_t n = character - 256;
        return n <= 32 ? (int)n : n <= 66 ? (int)(n - 33 + 127) : n == 67 ? 173 : -1;
    }
    return fvi_byte_to_character((uint8_t)character) == character ? (int)character : -1;
}

/* ---- tokens ---- */

static uint64_t hash_text(const char *text, size_t n_bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n_bytes; i++) {
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    return h ^ h >> 29;
}

static size_t power_above(size_t n)
{
    size_t power = 16;
    while (power < n) {
        power *= 2;
    }
    return power;
}

fovea_status fvi_vocab_init(fvi_vocab *self, const fovea_alloc *alloc, uint32_t n_token,
                            size_t n_merge)
{
    *self = (fvi_vocab){.alloc = alloc, .text = {.alloc = alloc}, .n_token = n_token};
    self->n_slot = (uint32_t)power_above(2 * (size_t)n_token);
    self->n_merge_slot = power_above(2 * n_merge);
    self->tokens = fvi_calloc(alloc, FVI_MAX(n_token, 1u), sizeof *self->tokens);
    self->slots = fvi_calloc(alloc, self->n_slot, sizeof *self->slots);
    self->merges = fvi_calloc(alloc, self->n_merge_slot, sizeof *self->merges);
    if (self->tokens == NULL || self->slots == NULL || self->merges == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (size_t i = 0; i < self->n_merge_slot; i++) {
        self->merges[i].pair = UINT64_MAX;
    }
    return FOVEA_OK;
}

void fvi_vocab_free(fvi_vocab *self)
{
    if (self->alloc != NULL) {
        fvi_buf_free(&self->text);
        fvi_free(self->alloc, self->tokens);
        fvi_free(self->alloc, self->slots);
        fvi_free(self->alloc, self->merges);
    }
    *self = (fvi_vocab){0};
}

/* The slot that holds the form, or the empty one where it would go. */
static uint32_t *find_slot(const fvi_vocab *self, const char *form, size_t n_bytes)
{
    size_t at = hash_text(form, n_bytes) & (self->n_slot - 1);
    while (self->slots[at] != 0) {
        const fvi_token *token = &self->tokens[self->slots[at] - 1];
        if (token->form_n == n_bytes &&
            memcmp(self->text.data + token->form_at, form, n_bytes) == 0) {
            break;
        }
        at = (at + 1) & (self->n_slot - 1);
    }
    return &self->slots[at];
}

int32_t fvi_vocab_find(const fvi_vocab *self, const char *form, size_t n_bytes)
{
    return (int32_t)*find_slot(self, form, n_bytes) - 1;
}

/* Appends the bytes a form stands for. False when a character of it stands for none: then, as in the
 * reference, the form itself is the token's text. */
static fovea_status append_raw(fvi_buf *out, const char *form, size_t n_bytes, bool *mapped)
{
    *mapped = true;
    for (size_t at = 0; at < n_bytes;) {
        int byte = fvi_character_to_byte(fvi_utf8_next(form, &at));
        if (byte < 0) {
            *mapped = false;
            return FOVEA_OK;
        }
        char raw = (char)byte;
        FVI_TRY(fvi_buf_append(out, &raw, 1));
    }
    return FOVEA_OK;
}

fovea_status fvi_vocab_add(fvi_vocab *self, int32_t id, const char *form, size_t n_bytes)
{
    uint32_t *slot = find_slot(self, form, n_bytes);
    fvi_token *token = &self->tokens[id];
    bool mapped;
    if (*slot != 0 || token->present) {
        return FOVEA_ERR_FORMAT;
    }
    if (n_bytes > UINT32_MAX / 4 - self->text.n) {
        return FOVEA_ERR_LIMIT;
    }
    token->form_at = token->raw_at = (uint32_t)self->text.n;
    token->form_n = token->raw_n = (uint32_t)n_bytes;
    FVI_TRY(fvi_buf_append_text(&self->text, form, n_bytes));
    size_t raw_at = self->text.n;
    FVI_TRY(append_raw(&self->text, form, n_bytes, &mapped));
    if (mapped) {
        token->raw_at = (uint32_t)raw_at;
        token->raw_n = (uint32_t)(self->text.n - raw_at);
    } else {
        self->text.n = raw_at;
    }
    token->present = true;
    *slot = (uint32_t)id + 1;
    return FOVEA_OK;
}

void fvi_vocab_link_bytes(fvi_vocab *self)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t c = fvi_byte_to_character((uint8_t)byte);
        char form[2] = {(char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        self->byte_id[byte] = fvi_vocab_find(self, form, c < 0x80 ? 1 : 2);
    }
}

/* ---- merges ---- */

static fvi_merge *find_merge(const fvi_vocab *self, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t mixed = pair * 0x9E3779B97F4A7C15u;
    size_t at = (mixed ^ mixed >> 32) & (self->n_merge_slot - 1);
    while (self->merges[at].pair != pair && self->merges[at].pair != UINT64_MAX) {
        at = (at + 1) & (self->n_merge_slot - 1);
    }
    return &self->merges[at];
}

void fvi_vocab_add_merge(fvi_vocab *self, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    /* a pair that comes twice has its last rank, as in the reference */
    fvi_merge *merge = find_merge(self, left, right);
    *merge = (fvi_merge){
        .pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, .rank = rank, .id = id};
}

/* ---- one pre-token ---- */

void fvi_bpe_free(fvi_bpe *self)
{
    fvi_free(self->alloc, self->symbols);
    fvi_free(self->alloc, self->heap);
    fvi_buf_free(&self->form);
}

static bool is_before(const fvi_bpe_candidate *a, const fvi_bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static fovea_status push(fvi_bpe *self, fvi_bpe_candidate candidate)
{
    if (self->n_heap == self->heap_capacity) {
        size_t capacity = FVI_MAX(2 * self->heap_capacity, (size_t)64);
        fvi_bpe_candidate *grown = fvi_grow(self->alloc, self->heap, self->n_heap * sizeof *grown,
                                            capacity * sizeof *grown);
        if (grown == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        self->heap = grown;
        self->heap_capacity = capacity;
    }
    size_t at = self->n_heap++;
    for (; at > 0 && is_before(&candidate, &self->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        self->heap[at] = self->heap[(at - 1) / 2];
    }
    self->heap[at] = candidate;
    return FOVEA_OK;
}

static fvi_bpe_candidate pop(fvi_bpe *self)
{
    fvi_bpe_candidate top = self->heap[0];
    fvi_bpe_candidate last = self->heap[--self->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= self->n_heap) {
            break;
        }
        if (child + 1 < self->n_heap && is_before(&self->heap[child + 1], &self->heap[child])) {
            child++;
        }
        if (!is_before(&self->heap[child], &last)) {
            break;
        }
        self->heap[at] = self->heap[child];
        at = child;
    }
    self->heap[at] = last;
    return top;
}

/* Puts the merge of the symbols at `left` and right of it into the heap if there is one. */
static fovea_status propose(fvi_bpe *self, const fvi_vocab *vocab, uint32_t left)
{
    if (left == NONE || self->symbols[left].next == NONE) {
        return FOVEA_OK;
    }
    const fvi_merge *merge =
        find_merge(vocab, self->symbols[left].id, self->symbols[self->symbols[left].next].id);
    if (merge->pair == UINT64_MAX) {
        return FOVEA_OK;
    }
    return push(self, (fvi_bpe_candidate){.rank = merge->rank, .at = left, .id = merge->id});
}

static fovea_status merge_all(fvi_bpe *self, const fvi_vocab *vocab)
{
    while (self->n_heap > 0) {
        fvi_bpe_candidate top = pop(self);
        fvi_bpe_symbol *left = &self->symbols[top.at];
        if (left->id < 0 || left->next == NONE) {
            continue;
        }
        fvi_bpe_symbol *right = &self->symbols[left->next];
        const fvi_merge *now = find_merge(vocab, left->id, right->id);
        if (now->pair == UINT64_MAX || now->id != top.id) {
            continue; /* one of the two was merged with another meanwhile */
        }
        left->id = top.id;
        left->next = right->next;
        right->id = -1;
        if (left->next != NONE) {
            self->symbols[left->next].previous = top.at;
        }
        FVI_TRY(propose(self, vocab, left->previous));
        FVI_TRY(propose(self, vocab, top.at));
    }
    return FOVEA_OK;
}

static fovea_status split_bytes(fvi_bpe *self, const fvi_vocab *vocab, const char *piece,
                                size_t n_bytes, uint32_t *n_symbol)
{
    if (n_bytes > self->symbol_capacity) {
        size_t capacity = FVI_MAX(n_bytes, 2 * self->symbol_capacity);
        fvi_bpe_symbol *grown = fvi_grow(self->alloc, self->symbols, 0, capacity * sizeof *grown);
        if (grown == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        self->symbols = grown;
        self->symbol_capacity = capacity;
    }
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        int32_t id = vocab->byte_id[(unsigned char)piece[i]];
        if (id >= 0) { /* without an unknown token the reference drops what it lacks */
            self->symbols[n] =
                (fvi_bpe_symbol){.id = id, .previous = n > 0 ? n - 1 : NONE, .next = n + 1};
            n++;
        }
    }
    if (n > 0) {
        self->symbols[n - 1].next = NONE;
    }
    *n_symbol = n;
    return FOVEA_OK;
}

/* With ignore_merges a pre-token that is a token is that token. */
static fovea_status find_whole(fvi_bpe *self, const fvi_vocab *vocab, const char *piece,
                               size_t n_bytes, int32_t *id)
{
    self->form.alloc = self->alloc;
    self->form.n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        uint32_t c = fvi_byte_to_character((uint8_t)piece[i]);
        char form[2] = {(char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        FVI_TRY(fvi_buf_append(&self->form, form, c < 0x80 ? 1 : 2));
    }
    *id = fvi_vocab_find(vocab, self->form.data, self->form.n);
    return FOVEA_OK;
}

fovea_status fvi_bpe_encode(fvi_bpe *self, const fvi_vocab *vocab, const char *piece,
                            size_t n_bytes, fvi_ids *ids)
{
    uint32_t n_symbol;
    if (n_bytes == 0) {
        return FOVEA_OK;
    }
    if (vocab->ignore_merges) {
        int32_t id;
        FVI_TRY(find_whole(self, vocab, piece, n_bytes, &id));
        if (id >= 0) {
            return fvi_ids_append(ids, id);
        }
    }
    FVI_TRY(split_bytes(self, vocab, piece, n_bytes, &n_symbol));
    self->n_heap = 0;
    for (uint32_t i = 0; i < n_symbol; i++) {
        FVI_TRY(propose(self, vocab, i));
    }
    FVI_TRY(merge_all(self, vocab));
    for (uint32_t i = 0; n_symbol > 0 && i != NONE; i = self->symbols[i].next) {
        FVI_TRY(fvi_ids_append(ids, self->symbols[i].id));
    }
    return FOVEA_OK;
}
