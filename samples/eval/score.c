/* score.c - comparison of answers, and Wilson's interval. */
#include "samples/eval/score.h"

#include <math.h>
#include <string.h>

#define Z_95 1.959964 /* normal quantile of 97.5% */

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
