/* report.c - how sums and comparisons are printed. */
#include "samples/eval/report.h"

#include "samples/common/show.h"

#include <string.h>

/* A set tells recipes apart where this one loses that much against everything kept. */
#define YARDSTICK  "random:bytes=10%"
#define LEAST_LOSS 0.10

static const char *const measures[EVAL_N_MEASURE] = {[EVAL_RIGHT] = "right",
                                                     [EVAL_TOKENS] = "tokens",
                                                     [EVAL_AS_NONE] = "as none",
                                                     [EVAL_ANLS] = "ANLS"};

/* A field of CSV that may hold commas. */
static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            fputc('"', out);
        }
        fputc(*text, out);
    }
    fputc('"', out);
}

static void print_csv_line(FILE *out, const eval_totals *sum)
{
    double n = (double)sum->n;
    eval_share right = eval_share_of(sum->n_right, sum->n);
    eval_share same = eval_share_of(sum->n_as_none, sum->n);

    fprintf(out, ",%llu,%llu,%llu,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%llu,%.4f",
            (unsigned long long)sum->n, (unsigned long long)sum->n_refused,
            (unsigned long long)sum->n_right, right.share, right.low, right.high, same.share,
            same.low, same.high, (unsigned long long)sum->n_token,
            eval_ratio((double)sum->n_agree, (double)sum->n_token));
    fprintf(out, ",%.0f,%.0f,%.4f,%.0f,%.2f,%.2f,", eval_ratio((double)sum->full_bytes, n),
            eval_ratio((double)sum->realised_bytes, n),
            eval_ratio((double)sum->realised_bytes, (double)sum->full_bytes),
            eval_ratio((double)sum->peak_bytes, n), eval_ratio(sum->kept_text, n),
            eval_ratio(sum->kept_vision, n));
    if (sum->n_decode > 0) {
        fprintf(out, "%.3f", sum->decode_ms / (double)sum->n_decode);
    }
}

/* The recipe that `index` is compared with, EVAL_MAX_RECIPE: none. */
static uint32_t other_of(const eval_part *part, uint32_t index, const char *against)
{
    uint32_t other =
        against != NULL ? eval_recipes_against(part->job.recipes, index, against) : EVAL_MAX_RECIPE;

    return other != index ? other : EVAL_MAX_RECIPE;
}

static fovea_status print_csv_difference(FILE *out, const eval_part *part, uint32_t recipe,
                                         uint32_t kind, const char *against, fovea_error *err)
{
    uint32_t other = other_of(part, recipe, against);
    bool compared = other != EVAL_MAX_RECIPE;
    eval_share more[EVAL_N_MEASURE];

    if (compared && eval_compare(part, recipe, other, kind, more, err) < 0) {
        return FOVEA_ERR_NOMEM;
    }
    fputc(',', out);
    print_quoted(out, compared ? part->job.recipes->items[other] : "");
    for (int m = 0; m < EVAL_N_MEASURE; m++) {
        if (compared) {
            fprintf(out, ",%.4f,%.4f,%.4f", more[m].share, more[m].low, more[m].high);
        } else {
            fputs(",,,", out);
        }
    }
    return FOVEA_OK;
}

/* What came to the table later and so stands behind everything else. */
static fovea_status print_csv_shares(FILE *out, const eval_part *part, uint32_t recipe,
                                     uint32_t kind, fovea_error *err)
{
    eval_share own[EVAL_N_MEASURE];
    fovea_status status = eval_shares_of(part, recipe, kind, own, err);

    if (status == FOVEA_OK) {
        fprintf(out, ",%.4f,%.4f,%.4f,%.4f,%.4f\n", own[EVAL_ANLS].share, own[EVAL_ANLS].low,
                own[EVAL_ANLS].high, own[EVAL_TOKENS].low, own[EVAL_TOKENS].high);
    }
    return status;
}

void eval_report_csv_head(FILE *out)
{
    fputs("set,mode,recipe,kind,questions,refused,right,accuracy,accuracy_low,accuracy_high,"
          "as_none,as_none_low,as_none_high,tokens,token_agreement,full_bytes,realised_bytes,"
          "realised_share,peak_bytes,kept_text,kept_vision,ms_per_token,against,difference,"
          "difference_low,difference_high,token_difference,token_difference_low,"
          "token_difference_high,as_none_difference,as_none_difference_low,as_none_difference_high,"
          "anls_difference,anls_difference_low,anls_difference_high,anls,anls_low,anls_high,"
          "token_agreement_low,token_agreement_high\n",
          out);
}

fovea_status eval_report_csv(FILE *out, const eval_part *part, const char *against,
                             fovea_error *err)
{
    const eval_recipes *recipes = part->job.recipes;
    fovea_status status = FOVEA_OK;

    for (uint32_t r = 0; r < recipes->n; r++) {
        for (uint32_t k = 0; k <= part->set.n_kind && status == FOVEA_OK; k++) {
            uint32_t kind = k == 0 ? EVAL_ALL_KINDS : k - 1;
            eval_totals sum = eval_total_of(part, r, kind);
            print_quoted(out, part->name);
            fprintf(out, ",%s,", part->job.mode->name);
            print_quoted(out, recipes->items[r]);
            fputc(',', out);
            print_quoted(out, k == 0 ? "all" : part->set.kinds[k - 1]);
            print_csv_line(out, &sum);
            status = print_csv_difference(out, part, r, kind, against, err);
            if (status == FOVEA_OK) {
                status = print_csv_shares(out, part, r, kind, err);
            }
        }
    }
    return status;
}

static size_t count_items(const eval_part *part)
{
    size_t n = 0;

    for (size_t i = 0; i < part->set.n; i++) {
        n += part->results.counts[i];
    }
    return n;
}

static int recipe_width(const eval_recipes *recipes)
{
    size_t width = strlen("recipe");

    for (uint32_t r = 0; r < recipes->n; r++) {
        size_t length = strlen(recipes->items[r]);
        width = length > width ? length : width;
    }
    return (int)width;
}

static void print_recipe(FILE *out, uint32_t index, const char *recipe, int width,
                         const eval_totals *sum, const eval_share *own, double right_of_none)
{
    double n = (double)sum->n;
    eval_share right = eval_share_of(sum->n_right, sum->n);
    char bytes[SAMPLE_DIGITS];

    fprintf(
        out,
        "%2u  %-*s  %5.1f%% (%5.1f to %5.1f)  %5.1f%% (%5.1f to %5.1f)  %6.1f%%  %6.1f%%  %6.1f%%",
        index + 1, width, recipe, 100 * right.share, 100 * right.low, 100 * right.high,
        100 * own[EVAL_ANLS].share, 100 * own[EVAL_ANLS].low, 100 * own[EVAL_ANLS].high,
        100 * eval_ratio(right.share, right_of_none), 100 * eval_ratio((double)sum->n_as_none, n),
        100 * eval_ratio((double)sum->n_agree, (double)sum->n_token));
    fprintf(out, "  %11s  %6.1f%%  %6.1f + %-6.1f",
            sample_digits((uint64_t)(eval_ratio((double)sum->realised_bytes, n) + 0.5), bytes),
            100 * eval_ratio((double)sum->realised_bytes, (double)sum->full_bytes),
            eval_ratio(sum->kept_text, n), eval_ratio(sum->kept_vision, n));
    if (sum->n_decode > 0) {
        fprintf(out, "  %8.2f", sum->decode_ms / (double)sum->n_decode);
    } else {
        fprintf(out, "  %8s", "-");
    }
}

static void print_points(FILE *out, const eval_share *more)
{
    char interval[48];

    snprintf(interval, sizeof(interval), "(%+.1f to %+.1f)", 100 * more->low, 100 * more->high);
    fprintf(out, "  %+6.1f %-18s %-6s", 100 * more->share, interval,
            more->low > 0    ? "better"
            : more->high < 0 ? "worse"
                             : "");
}

/* What every recipe has more than the one it is compared with, in every measure. */
static fovea_status print_differences(FILE *out, const eval_part *part, const char *against,
                                      int width, fovea_error *err)
{
    const eval_recipes *recipes = part->job.recipes;
    eval_share more[EVAL_N_MEASURE];

    fprintf(out, "\npoints against %s, 95%% interval of a paired bootstrap of %s\n    %-*s",
            against, part->by_pictures ? "pictures" : "questions", width, "recipe");
    for (int m = 0; m < EVAL_N_MEASURE; m++) {
        fprintf(out, "  %-32s", measures[m]);
    }
    fputc('\n', out);
    for (uint32_t r = 0; r < recipes->n; r++) {
        uint32_t other = other_of(part, r, against);
        if (other == EVAL_MAX_RECIPE) {
            continue;
        }
        if (eval_compare(part, r, other, EVAL_ALL_KINDS, more, err) < 0) {
            return FOVEA_ERR_NOMEM;
        }
        fprintf(out, "%2u  %-*s", r + 1, width, recipes->items[r]);
        for (int m = 0; m < EVAL_N_MEASURE; m++) {
            print_points(out, &more[m]);
        }
        fputc('\n', out);
    }
    return FOVEA_OK;
}

static double right_of(const eval_totals *sum)
{
    return eval_ratio((double)sum->n_right, (double)sum->n);
}

static double anls_of(const eval_totals *sum)
{
    return eval_ratio(sum->anls, (double)sum->n);
}

static void print_kinds(FILE *out, const eval_part *part, const char *title,
                        double (*share_of)(const eval_totals *sum))
{
    const eval_recipes *recipes = part->job.recipes;

    fprintf(out, "\n%-16s questions", title);
    for (uint32_t r = 0; r < recipes->n; r++) {
        fprintf(out, "  %6u", r + 1);
    }
    fputc('\n', out);
    for (uint32_t k = 0; k < part->set.n_kind; k++) {
        eval_totals first = eval_total_of(part, 0, k);
        if (first.n == 0) {
            continue;
        }
        fprintf(out, "%-16s %9llu", part->set.kinds[k], (unsigned long long)first.n);
        for (uint32_t r = 0; r < recipes->n; r++) {
            eval_totals sum = eval_total_of(part, r, k);
            fprintf(out, "  %5.1f%%", 100 * share_of(&sum));
        }
        fputc('\n', out);
    }
}

/* Pictures are so redundant that an easy set looks the same under anything. */
static void print_check(FILE *out, const eval_part *part)
{
    uint32_t yardstick = eval_recipes_against(part->job.recipes, 0, YARDSTICK);
    eval_totals none = eval_total_of(part, 0, EVAL_ALL_KINDS), random;
    double loss;

    if (yardstick == EVAL_MAX_RECIPE) {
        fprintf(out, "\nwhether this set tells recipes apart was not checked: ask %s too\n",
                YARDSTICK);
        return;
    }
    random = eval_total_of(part, yardstick, EVAL_ALL_KINDS);
    loss = right_of(&none) - right_of(&random);
    fprintf(out, "\n%s loses %.1f points of right against none, %.1f of ANLS: this set %s\n",
            YARDSTICK, 100 * loss, 100 * (anls_of(&none) - anls_of(&random)),
            loss >= LEAST_LOSS ? "counts" : "does not count, it takes at least 10 of right");
}

fovea_status eval_report_table(FILE *out, const eval_part *part, const char *against,
                               fovea_error *err)
{
    const eval_recipes *recipes = part->job.recipes;
    eval_totals none = eval_total_of(part, 0, EVAL_ALL_KINDS);
    fovea_status status = FOVEA_OK;
    size_t n = count_items(part);
    int width = recipe_width(recipes);

    fprintf(out, "%s, mode %s%s: %zu questions", part->name, part->job.mode->name,
            part->job.own_prefill ? ", each recipe with a prefill of its own" : "", n);
    if (n < part->set.n) {
        fprintf(out, " (%zu more have a one-token answer, which the prefill gives)",
                part->set.n - n);
    }
    fprintf(out,
            "\n\n    %-*s  right  95%% interval     ANLS  95%% interval    of none  as none   "
            "tokens  KV realised  of full  "
            "kept text+vision  ms/token\n",
            width, "recipe");
    for (uint32_t r = 0; r < recipes->n && status == FOVEA_OK; r++) {
        eval_totals sum = eval_total_of(part, r, EVAL_ALL_KINDS);
        eval_share own[EVAL_N_MEASURE];
        status = eval_shares_of(part, r, EVAL_ALL_KINDS, own, err);
        if (status < 0) {
            break;
        }
        print_recipe(out, r, recipes->items[r], width, &sum, own, right_of(&none));
        if (sum.n_refused > 0) {
            fprintf(out, "  refused %llu times", (unsigned long long)sum.n_refused);
        }
        fputc('\n', out);
    }
    if (status == FOVEA_OK && against != NULL) {
        status = print_differences(out, part, against, width, err);
    }
    print_kinds(out, part, "right by kind", right_of);
    print_kinds(out, part, "ANLS by kind", anls_of);
    print_check(out, part);
    return status;
}

fovea_status eval_report_answers(FILE *out, const eval_part *part)
{
    const eval_recipes *recipes = part->job.recipes;

    for (size_t i = 0; i < part->set.n; i++) {
        const eval_item *item = &part->set.items[i];
        json_t *said = json_object();
        json_t *line;
        int failed;
        for (uint32_t r = 0; part->results.counts[i] && r < recipes->n; r++) {
            const char *text = part->results.outcomes[i * recipes->n + r].text;
            json_object_set_new(said, recipes->items[r],
                                text != NULL ? json_string(text) : json_null());
        }
        line = json_pack("{s:s, s:s, s:i, s:s, s:s, s:O, s:o}", "set", part->name, "mode",
                         part->job.mode->name, "question_number", (int)i + 1, "kind",
                         part->set.kinds[item->kind], "question", item->question, "answers",
                         item->answers, "said", said);
        failed =
            line == NULL || json_dumpf(line, out, JSON_COMPACT) != 0 || fputc('\n', out) == EOF;
        json_decref(line);
        if (failed) {
            return FOVEA_ERR_IO;
        }
    }
    return FOVEA_OK;
}
