/* score.c - comparison of answers, Wilson's interval and the bootstrap. */
#include "samples/eval/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* The next character as it is compared, 0 at the end: blanks count once, none at either end, nor a last
 * full stop. */
static int next_char(const char **at, bool *begun)
{
    const char *c = *at;
    int gap = 0;

    while (is_blank(*c)) {
        c++;
        gap = ' ';
    }
    if (*c == '.' && c[1 + strspn(c + 1, " \t\n\r")] == '\0') {
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
        x = next_char(&a, &begun_a);
        y = next_char(&b, &begun_b);
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
