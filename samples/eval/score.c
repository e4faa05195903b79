/* score.c - comparison of answers, Wilson's interval and the bootstrap. */
#include "samples/eval/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANLS_LEAST 0.5 /* a similarity has to be above it */
#define N_RESAMPLE 10000
#define N_TAIL     (N_RESAMPLE / 40) /* 2.5% */
#define Z_95       1.959964          /* normal quantile of 97.5% */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

/* The next character as it is compared, 0 at the end: blanks count once, none at either end, nor, without
 * `stop`, a last full stop. */
static int next_char(const char **at, bool *begun, bool stop)
{
    const char *c = *at;
    int gap = 0;

    while (is_blank(*c)) {
        c++;
        gap = ' ';
    }
    if (!stop && *c == '.' && c[1 + strspn(c + 1, " \t\n\r")] == '\0') {
        c += strlen(c);
    }
    if (*c == '\0' || (gap != 0 && *begun)) {
        *at = c;
        return *c == '\0' ? 0 : gap;
    }
    *begun = true;
    *at = c + 1;
    return lower(*c);
}

bool eval_same_text(const char *a, const char *b)
{
    bool begun_a = false, begun_b = false;
    int x, y;

    do {
        x = next_char(&a, &begun_a, false);
        y = next_char(&b, &begun_b, false);
    } while (x == y && x != 0);
    return x == y;
}

bool eval_is_right(const char *text, const json_t *answers)
{
    size_t i;
    json_t *answer;

    json_array_foreach(answers, i, answer)
    {
        if (eval_same_text(text, json_string_value(answer))) {
            return true;
        }
    }
    return false;
}

/* Whether `byte` continues the code point whose bytes so far are `begun`: as many as its first byte says. */
static bool continues(int byte, int first, size_t n_begun)
{
    size_t n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;

    return (byte & 0xC0) == 0x80 && n_begun > 0 && n_begun < n;
}

/* The code points of a text as it is compared, each its bytes in a row, so that equal ones are equal.
 * points: [strlen(text)]. */
static size_t read_points(const char *text, uint32_t *points)
{
    bool begun = false;
    size_t n = 0, n_byte = 0;
    int byte, first = 0;

    while ((byte = next_char(&text, &begun, true)) != 0) {
        if (continues(byte, first, n_byte)) {
            points[n - 1] = points[n - 1] << 8 | (uint32_t)byte;
            n_byte++;
        } else {
            points[n++] = (uint32_t)byte;
            first = byte;
            n_byte = 1;
        }
    }
    return n;
}

/* Levenshtein's distance. row: [n_b + 1] to work in. */
static size_t distance(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b, size_t *row)
{
    for (size_t k = 0; k <= n_b; k++) {
        row[k] = k;
    }
    for (size_t i = 0; i < n_a; i++) {
        size_t corner = row[0]; /* of the row before, one to the left */
        row[0] = i + 1;
        for (size_t k = 0; k < n_b; k++) {
            size_t above = row[k + 1];
            size_t least = above < row[k] ? above + 1 : row[k] + 1;
            size_t changed = corner + (a[i] != b[k]);
            row[k + 1] = changed < least ? changed : least;
            corner = above;
        }
    }
    return row[n_b];
}

/* False: memory is out. */
static bool similarity(const char *a, const char *b, double *out)
{
    size_t n_byte_a = strlen(a), n_byte_b = strlen(b);
    uint32_t *points = calloc(n_byte_a + n_byte_b + 1, sizeof(*points));
    size_t *row = calloc(n_byte_b + 1, sizeof(*row));
    bool done = points != NULL && row != NULL;

    if (done) {
        size_t n_a = read_points(a, points), n_b = read_points(b, points + n_byte_a);
        size_t longer = n_a > n_b ? n_a : n_b;
        size_t apart = distance(points, n_a, points + n_byte_a, n_b, row);
        double alike = longer > 0 ? 1 - (double)apart / (double)longer : 1;
        *out = alike > ANLS_LEAST ? alike : 0;
    }
    free(points);
    free(row);
    return done;
}

bool eval_anls(const char *text, const json_t *answers, double *out)
{
    double best = 0;
    size_t i;
    json_t *answer;

    json_array_foreach(answers, i, answer)
    {
        double alike;
        if (!similarity(text, json_string_value(answer), &alike)) {
            return false;
        }
        best = fmax(best, alike);
    }
    *out = best;
    return true;
}

eval_share eval_share_of(uint64_t n_right, uint64_t n)
{
    double p = n > 0 ? (double)n_right / (double)n : 0;
    double z2 = Z_95 * Z_95 / (double)(n > 0 ? n : 1);
    double middle = (p + z2 / 2) / (1 + z2);
    double reach = sqrt(p * (1 - p) * z2 + z2 * z2 / 4) / (1 + z2);

    if (n == 0) {
        return (eval_share){0, 0, 0};
    }
    return (eval_share){p, fmax(middle - reach, 0), fmin(middle + reach, 1)};
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int compare_shares(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void add_terms(eval_terms *sum, const eval_terms *terms)
{
    for (int m = 0; m < EVAL_N_MEASURE; m++) {
        sum->gain[m] += terms->gain[m];
        sum->of[m] += terms->of[m];
    }
}

static double share_of_terms(const eval_terms *sum, int measure)
{
    return sum->of[measure] > 0 ? sum->gain[measure] / sum->of[measure] : 0;
}

bool eval_bootstrap(const eval_terms *terms, size_t n, uint64_t seed,
                    eval_share out[EVAL_N_MEASURE])
{
    double(*shares)[N_RESAMPLE] = calloc(EVAL_N_MEASURE, sizeof(*shares));
    eval_terms whole = {0};

    if (n > UINT32_MAX || shares == NULL) {
        free(shares);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        add_terms(&whole, &terms[i]);
    }
    for (size_t k = 0; k < N_RESAMPLE; k++) {
        eval_terms sum = {0};
        for (size_t i = 0; i < n; i++) { /* a number below n without a division */
            add_terms(&sum, &terms[((next_random(&seed) >> 32) * n) >> 32]);
        }
        for (int m = 0; m < EVAL_N_MEASURE; m++) {
            shares[m][k] = share_of_terms(&sum, m);
        }
    }
    for (int m = 0; m < EVAL_N_MEASURE; m++) {
        qsort(shares[m], N_RESAMPLE, sizeof(*shares[m]), compare_shares);
        out[m] = (eval_share){share_of_terms(&whole, m), shares[m][N_TAIL],
                              shares[m][N_RESAMPLE - 1 - N_TAIL]};
    }
    free(shares);
    return true;
}
