/* main.c - fovea-eval: how right a model stays under recipes, and what they really hold.
 *
 * items.c reads the questions, run.c asks them, score.c judges, report.c prints. */
#include "samples/common/ask.h"
#include "samples/common/show.h"
#include "samples/eval/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_JOBS 64

static const sample_program program = {
    .name = "fovea-eval",
    .summary = "Asks a set of questions under several recipes of the KV cache; one prefill serves "
               "them all.\n"
               "The table goes to stdout and the CSV to --csv FILE, or without --csv the CSV to "
               "stdout and\n"
               "the table to stderr.",
    .rest = "FILE.jsonl",
    .epilogue =
        "modes: same - the question stands in the prompt when the plan is made; tokens after the "
        "first\n"
        "              count, and questions with a one-token answer are left out\n"
        "       next - the plan is made for the turn before; every token counts\n"
        "       blind - the plan is made from the images alone; every token counts\n"
        "as none: answers with the same text as under the recipe \"none\", which is always asked "
        "first\n"
        "tokens: tokens of that answer that stay the likeliest, after the same words before them\n"
        "example: fovea-eval samples/sets/tiny/one.next.jsonl --mode next \\\n"
        "             --recipes \"none; random:keep=0.1; vl-cache:keep=0.1,vision=int4\"",
};

typedef struct options {
    const char *model, *list, *csv, *answers, *mode;
    sample_texts recipes;
    uint32_t limit, max_tokens, jobs, precision, threads;
    uint64_t kv_bytes;
    bool no_labels;
} options;

static bool parse(options *opt, int argc, char **argv, sample_texts *rest, int *code)
{
    const sample_arg args[] = {
        {"model", SAMPLE_ARG_TEXT, "DIR", "Hugging Face folder; default: the samples' own model",
         &opt->model},
        {"recipes", SAMPLE_ARG_TEXT, "A;B;..",
         "recipes to compare; without a \";\" in it, a comma before a\n"
         "preset's name or \"score=\" separates too",
         &opt->list},
        {"recipe", SAMPLE_ARG_TEXTS, "R", "one more recipe; may be given more than once",
         &opt->recipes},
        {"mode", SAMPLE_ARG_TEXT, "MODE", "same (default), next or blind, see below", &opt->mode},
        {"limit", SAMPLE_ARG_UINT, "N", "only the first N questions", &opt->limit},
        {"max-tokens", SAMPLE_ARG_UINT, "N", "longest answer; default 96", &opt->max_tokens},
        {"csv", SAMPLE_ARG_TEXT, "FILE", "where the CSV goes", &opt->csv},
        {"answers", SAMPLE_ARG_TEXT, "FILE", "writes every answer, one JSON object a question",
         &opt->answers},
        {"no-labels", SAMPLE_ARG_FLAG, NULL, "several images: no \"Image 1: \" in front of them",
         &opt->no_labels},
        {"jobs", SAMPLE_ARG_UINT, "N", "questions under way at once; default 1, which times best",
         &opt->jobs},
        {"precision", SAMPLE_ARG_CHOICE, "bf16|f32", "of weights and products; default bf16",
         &opt->precision},
        {"kv-bytes", SAMPLE_ARG_BYTES, "N", "size of the KV pool; default 256MiB", &opt->kv_bytes},
        {"threads", SAMPLE_ARG_UINT, "N", "default: all cores", &opt->threads},
    };

    return sample_args_parse(&program, args, SAMPLE_COUNT(args), argc, argv, rest, code);
}

/* Mode and recipes; an exit code. */
static int read_choices(const options *opt, eval_job *job, eval_recipes *recipes)
{
    fovea_error err = {0};
    fovea_status status = eval_recipes_begin(recipes, &err);

    for (uint32_t i = 0; (job->mode = eval_mode_at(i)) != NULL; i++) {
        if (strcmp(job->mode->name, opt->mode) == 0) {
            break;
        }
    }
    if (job->mode == NULL) {
        return sample_args_refuse(&program, "--mode: \"%s\" is not same, next or blind", opt->mode);
    }
    if (opt->jobs == 0 || opt->jobs > MAX_JOBS) {
        return sample_args_refuse(&program, "--jobs: from 1 to %d", MAX_JOBS);
    }
    if (status == FOVEA_OK && opt->list != NULL) {
        status = eval_recipes_add_list(recipes, opt->list, &err);
    }
    for (size_t i = 0; status == FOVEA_OK && i < opt->recipes.n; i++) {
        status =
            eval_recipes_add(recipes, opt->recipes.items[i], strlen(opt->recipes.items[i]), &err);
    }
    if (status < 0) {
        return sample_args_refuse(&program, "recipe: %s", err.text);
    }
    return SAMPLE_EXIT_OK;
}

static fovea_status open_engine(const options *opt, fovea_engine **out, fovea_error *err)
{
    const fovea_engine_options engine = {
        .size = sizeof(engine),
        .precision = (fovea_precision)opt->precision,
        .model = opt->model != NULL ? opt->model : sample_default_model(),
        .n_thread = opt->threads,
        .kv_bytes = opt->kv_bytes,
    };

    if (engine.model == NULL) {
        return sample_fail(err, FOVEA_ERR_NOT_FOUND, "the samples' model is not here: use --model");
    }
    return fovea_engine_open(&engine, out, err);
}

static fovea_status open_output(const char *path, FILE **out, fovea_error *err)
{
    if (path != NULL) {
        *out = fopen(path, "w");
        if (*out == NULL) {
            return sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, strerror(errno));
        }
    }
    return FOVEA_OK;
}

static fovea_status close_output(FILE *file, const char *path, fovea_status status,
                                 fovea_error *err)
{
    if (file != NULL && (ferror(file) || fclose(file) != 0) && status == FOVEA_OK) {
        return sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, strerror(errno));
    }
    return status;
}

/* Asks everything and prints it; the files are opened first, so that a long run cannot end in vain. */
static fovea_status evaluate(const options *opt, const char *path, eval_job *job, fovea_error *err)
{
    const char *slash = strrchr(path, '/');
    FILE *csv = NULL, *answers = NULL;
    eval_results results = {0};
    fovea_status status = open_output(opt->csv, &csv, err);

    if (status == FOVEA_OK) {
        status = open_output(opt->answers, &answers, err);
    }
    if (status == FOVEA_OK) {
        status = eval_run(job, &results, err);
    }
    if (status == FOVEA_OK) {
        eval_report_table(csv != NULL ? stdout : stderr, job, &results);
        eval_report_csv(csv != NULL ? csv : stdout, slash != NULL ? slash + 1 : path, job,
                        &results);
        status = answers != NULL ? eval_report_answers(answers, job, &results) : FOVEA_OK;
    }
    status = close_output(csv, opt->csv, status, err);
    status = close_output(answers, opt->answers, status, err);
    eval_results_free(&results, job);
    return status;
}

int main(int argc, char **argv)
{
    options opt = {.mode = "same", .max_tokens = 96, .jobs = 1};
    eval_recipes recipes = {0};
    eval_set set = {0};
    eval_job job = {.recipes = &recipes, .set = &set};
    sample_texts files = {0};
    fovea_error err = {0};
    fovea_status status;
    int code = SAMPLE_EXIT_OK;

    if (!parse(&opt, argc, argv, &files, &code)) {
        goto done;
    }
    code = files.n == 1 ? read_choices(&opt, &job, &recipes)
                        : sample_args_refuse(&program, "one question file is needed");
    if (code != SAMPLE_EXIT_OK) {
        goto done;
    }
    job.max_tokens = opt.max_tokens;
    job.jobs = opt.jobs;
    job.label = !opt.no_labels;
    status = eval_set_read(files.items[0], opt.limit, job.mode->before, &set, &err);
    if (status == FOVEA_OK) {
        status = open_engine(&opt, &job.engine, &err);
    }
    if (status == FOVEA_OK) {
        status = evaluate(&opt, files.items[0], &job, &err);
    }
    if (status < 0) {
        sample_show_error(program.name, NULL, status, &err);
        code = SAMPLE_EXIT_FAILED;
    }
done:
    fovea_engine_close(&job.engine);
    eval_set_free(&set);
    eval_recipes_free(&recipes);
    sample_texts_free(&opt.recipes);
    sample_texts_free(&files);
    return code;
}
