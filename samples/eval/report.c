/* report.c - sums over questions, and how they are printed. */
#include "samples/eval/report.h"

#include "samples/common/show.h"
#include "samples/eval/score.h"

#include <string.h>

#define ALL_KINDS UINT32_MAX

/* Sums over the questions that count. */
typedef struct totals {
    uint64_t n, n_refused;
    uint64_t n_right, n_as_none;
    uint64_t n_token, n_agree;
    uint64_t full_bytes, realised_bytes, peak_bytes;
    double kept_text, kept_vision;
    double decode_ms;
    uint64_t n_decode;
} totals;

static void add_outcome(totals *sum, const eval_outcome *outcome)
{
    if (outcome->refused) {
        sum->n_refused++;
        return;
    }
    sum->n++;
    sum->n_right += outcome->right;
    sum->n_as_none += outcome->as_none;
    sum->n_token += outcome->n_token;
    sum->n_agree += outcome->n_agree;
    sum->full_bytes += outcome->full_bytes;
    sum->realised_bytes += outcome->realised_bytes;
    sum->peak_bytes += outcome->peak_bytes;
    sum->kept_text += outcome->kept_text;
    sum->kept_vision += outcome->kept_vision;
    sum->decode_ms += outcome->decode_ms;
    sum->n_decode += outcome->n_decode;
}

static totals total_of(const eval_job *job, const eval_results *results, uint32_t recipe,
                       uint32_t kind)
{
    totals sum = {0};

    for (size_t i = 0; i < job->set->n; i++) {
        if (results->counts[i] && (kind == ALL_KINDS || job->set->items[i].kind == kind)) {
            add_outcome(&sum, &results->outcomes[i * job->recipes->n + recipe]);
        }
    }
    return sum;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

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

static void print_csv_line(FILE *out, const totals *sum)
{
    double n = (double)sum->n;
    eval_share right = eval_share_of(sum->n_right, sum->n);
    eval_share same = eval_share_of(sum->n_as_none, sum->n);

    fprintf(out, ",%llu,%llu,%llu,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%llu,%.4f",
            (unsigned long long)sum->n, (unsigned long long)sum->n_refused,
            (unsigned long long)sum->n_right, right.share, right.low, right.high, same.share,
            same.low, same.high, (unsigned long long)sum->n_token,
            ratio((double)sum->n_agree, (double)sum->n_token));
    fprintf(out, ",%.0f,%.0f,%.4f,%.0f,%.2f,%.2f,%.3f\n", ratio((double)sum->full_bytes, n),
            ratio((double)sum->realised_bytes, n),
            ratio((double)sum->realised_bytes, (double)sum->full_bytes),
            ratio((double)sum->peak_bytes, n), ratio(sum->kept_text, n), ratio(sum->kept_vision, n),
            ratio(sum->decode_ms, (double)sum->n_decode));
}

void eval_report_csv(FILE *out, const char *set_name, const eval_job *job,
                     const eval_results *results)
{
    fputs("set,mode,recipe,kind,questions,refused,right,accuracy,accuracy_low,accuracy_high,"
          "as_none,as_none_low,as_none_high,tokens,token_agreement,full_bytes,realised_bytes,"
          "realised_share,peak_bytes,kept_text,kept_vision,ms_per_token\n",
          out);
    for (uint32_t r = 0; r < job->recipes->n; r++) {
        for (uint32_t k = 0; k <= job->set->n_kind; k++) {
            totals sum = total_of(job, results, r, k == 0 ? ALL_KINDS : k - 1);
            print_quoted(out, set_name);
            fprintf(out, ",%s,", job->mode->name);
            print_quoted(out, job->recipes->items[r]);
            fputc(',', out);
            print_quoted(out, k == 0 ? "all" : job->set->kinds[k - 1]);
            print_csv_line(out, &sum);
        }
    }
}

static size_t count_items(const eval_job *job, const eval_results *results)
{
    size_t n = 0;

    for (size_t i = 0; i < job->set->n; i++) {
        n += results->counts[i];
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
                         const totals *sum)
{
    double n = (double)sum->n;
    eval_share right = eval_share_of(sum->n_right, sum->n);
    char bytes[SAMPLE_DIGITS];

    fprintf(out, "%2u  %-*s  %5.1f%% (%5.1f to %5.1f)  %6.1f%%  %6.1f%%", index + 1, width, recipe,
            100 * right.share, 100 * right.low, 100 * right.high,
            100 * ratio((double)sum->n_as_none, n),
            100 * ratio((double)sum->n_agree, (double)sum->n_token));
    fprintf(out, "  %11s  %6.1f%%  %6.1f + %-6.1f  %6.2f",
            sample_digits((uint64_t)(ratio((double)sum->realised_bytes, n) + 0.5), bytes),
            100 * ratio((double)sum->realised_bytes, (double)sum->full_bytes),
            ratio(sum->kept_text, n), ratio(sum->kept_vision, n),
            ratio(sum->decode_ms, (double)sum->n_decode));
    if (sum->n_refused > 0) {
        fprintf(out, "  refused %llu times", (unsigned long long)sum->n_refused);
    }
    fputc('\n', out);
}

static void print_kinds(FILE *out, const eval_job *job, const eval_results *results)
{
    fprintf(out, "\nright by kind    questions");
    for (uint32_t r = 0; r < job->recipes->n; r++) {
        fprintf(out, "  %6u", r + 1);
    }
    fputc('\n', out);
    for (uint32_t k = 0; k < job->set->n_kind; k++) {
        totals first = total_of(job, results, 0, k);
        if (first.n == 0) {
            continue;
        }
        fprintf(out, "%-16s %9llu", job->set->kinds[k], (unsigned long long)first.n);
        for (uint32_t r = 0; r < job->recipes->n; r++) {
            totals sum = total_of(job, results, r, k);
            fprintf(out, "  %5.1f%%", 100 * ratio((double)sum.n_right, (double)sum.n));
        }
        fputc('\n', out);
    }
}

void eval_report_table(FILE *out, const eval_job *job, const eval_results *results)
{
    size_t n = count_items(job, results);
    int width = recipe_width(job->recipes);

    fprintf(out, "mode %s: %zu questions", job->mode->name, n);
    if (n < job->set->n) {
        fprintf(out, " (%zu more have a one-token answer, which the prefill gives)",
                job->set->n - n);
    }
    fprintf(out,
            "\n\n    %-*s  right  95%% interval     as none   tokens  KV realised  of full  "
            "kept text+vision  ms/token\n",
            width, "recipe");
    for (uint32_t r = 0; r < job->recipes->n; r++) {
        totals sum = total_of(job, results, r, ALL_KINDS);
        print_recipe(out, r, job->recipes->items[r], width, &sum);
    }
    print_kinds(out, job, results);
}

fovea_status eval_report_answers(FILE *out, const eval_job *job, const eval_results *results)
{
    for (size_t i = 0; i < job->set->n; i++) {
        const eval_item *item = &job->set->items[i];
        json_t *said = json_object();
        json_t *line;
        int failed;
        for (uint32_t r = 0; results->counts[i] && r < job->recipes->n; r++) {
            const char *text = results->outcomes[i * job->recipes->n + r].text;
            json_object_set_new(said, job->recipes->items[r],
                                text != NULL ? json_string(text) : json_null());
        }
        line = json_pack("{s:i, s:s, s:s, s:O, s:o}", "question_number", (int)i + 1, "kind",
                         job->set->kinds[item->kind], "question", item->question, "answers",
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
