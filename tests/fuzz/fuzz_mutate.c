/* fuzz_mutate.c - the mutations: bits, bytes, sizes that programs get wrong, pieces moved, doubled, cut or
 * taken from another seed, and for texts words of a dictionary and odd numbers. Called by fuzz.c. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

uint32_t fuzz_next(fuzz_random *random)
{
    /* splitmix64 */
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(z >> 32);
}

uint32_t fuzz_below(fuzz_random *random, uint32_t n)
{
    return (uint32_t)((uint64_t)fuzz_next(random) * n >> 32);
}

static const uint64_t odd_sizes[] = {0,          1,          2,          7,          0x7f,
                                     0x80,       0xff,       0x100,      0x7fff,     0x8000,
                                     0xffff,     0x10000,    0x7fffffff, 0x80000000, 0xffffffff,
                                     0x40000000, 0xfffffff0, 1u << 24,   0x10001,    0x3fffffff};

static const char *const odd_numbers[] = {
    "0",   "-1",    "1",     "2147483647", "2147483648", "4294967295", "4294967296",
    "1e9", "1e400", "-0.0",  "0.5",        "1e-300",     "65535",      "9223372036854775807",
    "3",   "100000", "18446744073709551615", "18446744073709551616", "99999999999999999999999"};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

/* Makes room for n bytes at `at`; fewer when the input is full. */
static size_t open_gap(fuzz_bytes *input, size_t at, size_t n)
{
    size_t room = FUZZ_MAX_BYTES - input->n;
    n = n < room ? n : room;
    memmove(input->data + at + n, input->data + at, input->n - at);
    input->n += n;
    return n;
}

static void remove_piece(fuzz_bytes *input, size_t at, size_t n)
{
    memmove(input->data + at, input->data + at + n, input->n - at - n);
    input->n -= n;
}

static void insert_text(fuzz_bytes *input, size_t at, const char *text)
{
    size_t n = open_gap(input, at, strlen(text));
    memcpy(input->data + at, text, n);
}

static void put_odd_size(fuzz_bytes *input, size_t at, fuzz_random *random)
{
    uint64_t value = odd_sizes[fuzz_below(random, COUNT(odd_sizes))];
    size_t width = (size_t)1 << fuzz_below(random, 4);
    int big_endian = (int)fuzz_below(random, 2);
    for (size_t i = 0; i < width && at + i < input->n; i++) {
        size_t shift = big_endian ? width - 1 - i : i;
        input->data[at + i] = (uint8_t)(value >> (8 * shift));
    }
}

/* Replaces the number at or behind `at` by an odd one. */
static void put_odd_number(fuzz_bytes *input, size_t at, fuzz_random *random)
{
    while (at < input->n && (input->data[at] < '0' || input->data[at] > '9')) {
        at++;
    }
    size_t end = at;
    while (end < input->n && ((input->data[end] >= '0' && input->data[end] <= '9') ||
                              input->data[end] == '.' || input->data[end] == 'e')) {
        end++;
    }
    remove_piece(input, at, end - at);
    insert_text(input, at, odd_numbers[fuzz_below(random, COUNT(odd_numbers))]);
}

static void put_word(fuzz_bytes *input, size_t at, const char *const *words, fuzz_random *random)
{
    uint32_t n = 0;
    while (words[n] != NULL) {
        n++;
    }
    insert_text(input, at, words[fuzz_below(random, n)]);
}

static void double_piece(fuzz_bytes *input, size_t at, size_t n)
{
    n = open_gap(input, at + n, n);
    memcpy(input->data + at + n, input->data + at, n);
}

static void splice(fuzz_bytes *input, size_t at, const fuzz_bytes *other, fuzz_random *random)
{
    if (other->n == 0) {
        return;
    }
    size_t from = fuzz_below(random, (uint32_t)other->n);
    size_t n = 1 + fuzz_below(random, (uint32_t)(other->n - from));
    n = n < 256 ? n : 256;
    n = n < input->n - at ? n : input->n - at;
    memcpy(input->data + at, other->data + from, n);
}

static void mutate_once(fuzz_bytes *input, const fuzz_bytes *other, const char *const *words,
                        fuzz_random *random)
{
    if (input->n == 0) {
        open_gap(input, 0, 1);
    }
    size_t at = fuzz_below(random, (uint32_t)input->n);
    size_t longest = input->n - at < 64 ? input->n - at : 64;
    size_t piece = 1 + fuzz_below(random, (uint32_t)longest);
    /* texts are hurt most where they are still parsed: words and numbers take half of the changes */
    uint32_t kind = fuzz_below(random, words != NULL ? 16 : 8);
    switch (kind) {
    case 0: input->data[at] ^= (uint8_t)(1u << fuzz_below(random, 8)); break;
    case 1: input->data[at] = (uint8_t)fuzz_next(random); break;
    case 2: put_odd_size(input, at, random); break;
    case 3: remove_piece(input, at, piece); break;
    case 4: double_piece(input, at, piece); break;
    case 5: splice(input, at, other, random); break;
    case 6: input->n = fuzz_below(random, 16) == 0 ? at : input->n; break;
    case 7: put_odd_size(input, fuzz_below(random, (uint32_t)(input->n < 64 ? input->n : 64)), random); break;
    case 8:
    case 9:
    case 10: put_word(input, at, words, random); break;
    default: put_odd_number(input, at, random); break;
    }
}

void fuzz_mutate(fuzz_bytes *input, const fuzz_bytes *other, const char *const *words,
                 fuzz_random *random)
{
    uint32_t n = 1 + fuzz_below(random, 1 + fuzz_below(random, 8));
    for (uint32_t i = 0; i < n; i++) {
        mutate_once(input, other, words, random);
    }
}
