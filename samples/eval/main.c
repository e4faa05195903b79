/* main.c - fovea-eval: how right a model stays under recipes, and what they really hold.
 *
 * items.c reads the questions, run.c and lanes.c ask them, state.c remembers, score.c judges, report.c prints,
 * picture.c draws. */
#include "samples/common/ask.h"
#include "samples/common/show.h"
#include "samples/eval/picture.h"
#include "samples/eval/report.h"
#include "samples/eval/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_JOBS 64
#define MAX_PART 64

static const sample_program program = {
    .name = "fovea-eval",
    .summary = "Asks a set of questions under several recipes of the KV cache; one prefill serves "
               "them all.\n"
               "The table goes to stdout and the CSV to --csv FILE, or without --csv the CSV to "
               "stdout and\n"
               "the table to stderr.",
    .rest = "[MODE=]FILE.jsonl...",
    .epilogue =
        "modes: same - the question stands in the prompt when the plan is made; tokens after the "
        "first\n"
        "              count, and questions with a one-token answer are left out\n"
        "       next - the plan is made for the turn before; every token counts\n"
        "       blind - the plan is made from the images alone; every token counts\n"
        "Every file is asked in every mode of --mode; MODE=FILE asks that file in that mode "
        "alone.\n"
        "right: exact match; ANLS: 1 - edit distance / length, 0 where half or more is wrong, so "
        "that\n"
        "       long answers that are nearly right count nearly; mean over the questions\n"
        "of none: right answers of those that are right with everything kept\n"
        "as none: answers with the same text as under the recipe \"none\", which is always asked "
        "first\n"
        "tokens: tokens of that answer that stay the likeliest, after the same words before them\n"
        "example: fovea-eval next=samples/sets/tiny/one.next.jsonl "
        "blind=samples/sets/tiny/one.blind.jsonl "
        "\\\n"
        "             --recipes \"random; vl-cache; fovea\" --budgets 20%,10% --against fovea \\\n"
        "             --state eval.state --csv eval.csv --picture eval.svg",
};

typedef struct options {
    const char *model, *list, *budgets, *against, *csv, *answers, *picture, *state, *mode;
    sample_texts recipes;
    uint32_t limit, max_tokens, jobs, precision, threads, resample;
    uint64_t kv_bytes;
    bool no_labels, times, own_prefill;
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
        {"budgets", SAMPLE_ARG_TEXT, "B,..",
         "asks every recipe without bytes= and keep= with each of\n"
         "these realised bytes, e.g. 20%,10%,5%",
         &opt->budgets},
        {"against", SAMPLE_ARG_TEXT, "R",
         "compares every recipe with this one, at equal budgets if\n"
         "it has none: points of difference in every share, 95%\n"
         "interval of 10,000 paired resamples of the questions",
         &opt->against},
        {"resample", SAMPLE_ARG_CHOICE, "questions|pictures",
         "of what resamples are drawn; pictures: all questions about\n"
         "the same ones at once, which makes intervals wider",
         &opt->resample},
        {"mode", SAMPLE_ARG_TEXT, "MODE,..", "same (default), next, blind, see below", &opt->mode},
        {"limit", SAMPLE_ARG_UINT, "N", "only the first N questions", &opt->limit},
        {"max-tokens", SAMPLE_ARG_UINT, "N", "longest answer; default 96", &opt->max_tokens},
        {"csv", SAMPLE_ARG_TEXT, "FILE", "where the CSV goes", &opt->csv},
        {"picture", SAMPLE_ARG_TEXT, "FILE",
         "draws score and agreement (with --times, time) against bytes, as SVG", &opt->picture},
        {"state", SAMPLE_ARG_TEXT, "FILE",
         "keeps every outcome here at once and asks nothing that\n"
         "is there already: a run that was interrupted goes on",
         &opt->state},
        {"answers", SAMPLE_ARG_TEXT, "FILE", "writes every answer, one JSON object a question",
         &opt->answers},
        {"no-labels", SAMPLE_ARG_FLAG, NULL, "several images: no \"Image 1: \" in front of them",
         &opt->no_labels},
        {"times", SAMPLE_ARG_FLAG, NULL,
         "a question's recipes one after another, so that times per\n"
         "token are theirs alone; by default all of a question run\n"
         "together, which is faster, and no times are given",
         &opt->times},
        {"own-prefill", SAMPLE_ARG_FLAG, NULL,
         "every recipe prefills by itself, as a session does whose\n"
         "finished layers are cut; by default on one prefill, whole",
         &opt->own_prefill},
        {"jobs", SAMPLE_ARG_UINT, "N", "questions under way at once; default 1, which times best",
         &opt->jobs},
        {"precision", SAMPLE_ARG_CHOICE, "bf16|f32", "of weights and products; default bf16",
         &opt->precision},
        {"kv-bytes", SAMPLE_ARG_BYTES, "N", "size of the KV pool; default 256MiB", &opt->kv_bytes},
        {"threads", SAMPLE_ARG_UINT, "N", "default: all cores", &opt->threads},
    };

    return sample_args_parse(&program, args, SAMPLE_COUNT(args), argc, argv, rest, code);
}

static const eval_mode *find_mode(const char *name, size_t length)
{
    const eval_mode *mode;

    for (uint32_t i = 0; (mode = eval_mode_at(i)) != NULL; i++) {
        if (strlen(mode->name) == length && memcmp(mode->name, name, length) == 0) {
            return mode;
        }
    }
    return NULL;
}

/* What is asked: files and modes. */
typedef struct plan {
    eval_part parts[MAX_PART]; /* [n] */
    size_t n;
} plan;

static int add_part(plan *self, const char *path, const eval_mode *mode)
{
    const char *slash = strrchr(path, '/');

    if (self->n == MAX_PART) {
        return sample_args_refuse(&program, "more than %d files and modes", MAX_PART);
    }
    self->parts[self->n++] =
        (eval_part){.path = path, .name = slash != NULL ? slash + 1 : path, .job = {.mode = mode}};
    return SAMPLE_EXIT_OK;
}

/* MODE=FILE, or a file for every mode of the list; an exit code. */
static int add_file(plan *self, const char *text, const char *modes)
{
    size_t length = strcspn(text, "=");
    const eval_mode *own = text[length] == '=' ? find_mode(text, length) : NULL;
    int code = SAMPLE_EXIT_OK;

    if (own != NULL) {
        return add_part(self, text + length + 1, own);
    }
    while (code == SAMPLE_EXIT_OK && *modes != '\0') {
        size_t width = strcspn(modes, ",");
        const eval_mode *mode = find_mode(modes, width);
        if (mode == NULL) {
            return sample_args_refuse(&program, "--mode: \"%.*s\" is not same, next or blind",
                                      (int)width, modes);
        }
        code = add_part(self, text, mode);
        modes += width + (modes[width] == ',');
    }
    return code;
}

static int read_recipes(const options *opt, eval_recipes *recipes)
{
    fovea_error err = {0};
    fovea_status status = eval_recipes_begin(recipes, opt->budgets, &err);

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
    for (uint32_t i = 0; opt->against != NULL && i < recipes->n; i++) {
        if (eval_recipes_against(recipes, i, opt->against) != EVAL_MAX_RECIPE) {
            return SAMPLE_EXIT_OK;
        }
    }
    return opt->against == NULL
               ? SAMPLE_EXIT_OK
               : sample_args_refuse(&program, "--against: \"%s\" is none of the recipes",
                                    opt->against);
}

/* Files, modes and recipes; an exit code. */
static int read_choices(const options *opt, const sample_texts *files, plan *self,
                        eval_recipes *recipes)
{
    int code = SAMPLE_EXIT_OK;

    if (files->n == 0) {
        return sample_args_refuse(&program, "a question file is needed");
    }
    if (opt->jobs == 0 || opt->jobs > MAX_JOBS) {
        return sample_args_refuse(&program, "--jobs: from 1 to %d", MAX_JOBS);
    }
    for (size_t i = 0; i < files->n && code == SAMPLE_EXIT_OK; i++) {
        code = add_file(self, files->items[i], opt->mode);
    }
    return code == SAMPLE_EXIT_OK ? read_recipes(opt, recipes) : code;
}

static const char *model_of(const options *opt)
{
    return opt->model != NULL ? opt->model : sample_default_model();
}

/* What every answer depends on beside its question: options, and the weights by size and time. */
static fovea_status open_state(const options *opt, eval_state **out, fovea_error *err)
{
    static const char *const files[] = {"model.safetensors", "model.safetensors.index.json",
                                        "config.json", "tokenizer.json"};
    char *setting = NULL;
    size_t n_bytes = 0;
    FILE *text = open_memstream(&setting, &n_bytes);
    fovea_status status;

    if (text == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    fprintf(text, "%s %u %u %d", model_of(opt), opt->max_tokens, opt->precision, opt->no_labels);
    fputs(opt->own_prefill ? " own-prefill" : "", text); /* files from before it stay valid */
    for (size_t i = 0; i < SAMPLE_COUNT(files); i++) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof(path), "%s/%s", model_of(opt), files[i]);
        if (stat(path, &info) == 0) {
            fprintf(text, " %lld %lld", (long long)info.st_size, (long long)info.st_mtime);
        }
    }
    status = fclose(text) == 0 ? eval_state_open(opt->state, setting, out, err)
                               : sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    free(setting);
    return status;
}

static fovea_status open_engine(const options *opt, eval_job *common, fovea_error *err)
{
    const fovea_engine_options engine = {
        .size = sizeof(engine),
        .precision = (fovea_precision)opt->precision,
        .model = model_of(opt),
        .n_thread = opt->threads,
        .max_queue = opt->jobs * EVAL_MAX_RECIPE,
        .max_running = opt->times ? opt->jobs : opt->jobs * EVAL_MAX_RECIPE,
        .kv_bytes = opt->kv_bytes,
    };
    fovea_engine_stats stats = {.size = sizeof(stats)};
    fovea_status status;

    if (engine.model == NULL) {
        return sample_fail(err, FOVEA_ERR_NOT_FOUND, "the samples' model is not here: use --model");
    }
    status = fovea_engine_open(&engine, &common->engine, err);
    if (status == FOVEA_OK) {
        status = fovea_engine_get_stats(common->engine, &stats);
        common->kv_bytes = stats.kv_capacity_bytes;
    }
    return status;
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

typedef struct outputs {
    FILE *csv, *answers, *picture; /* NULL: not asked for */
} outputs;

static fovea_status ask_part(const options *opt, eval_part *part, const outputs *out,
                             fovea_error *err)
{
    FILE *csv = out->csv != NULL ? out->csv : stdout;
    fovea_status status = eval_run(&part->job, &part->results, err);

    if (status == FOVEA_OK) {
        status = eval_report_table(out->csv != NULL ? stdout : stderr, part, opt->against, err);
    }
    if (status == FOVEA_OK) {
        status = eval_report_csv(csv, part, opt->against, err);
    }
    if (status == FOVEA_OK && out->answers != NULL) {
        status = eval_report_answers(out->answers, part);
    }
    return status;
}

/* Asks everything and prints it; the files are opened first, so that a long run cannot end in vain. */
static fovea_status evaluate(const options *opt, plan *self, fovea_error *err)
{
    outputs out = {0};
    fovea_status status = open_output(opt->csv, &out.csv, err);

    if (status == FOVEA_OK) {
        status = open_output(opt->answers, &out.answers, err);
    }
    if (status == FOVEA_OK) {
        status = open_output(opt->picture, &out.picture, err);
    }
    if (status == FOVEA_OK) {
        eval_report_csv_head(out.csv != NULL ? out.csv : stdout);
    }
    for (size_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        status = ask_part(opt, &self->parts[i], &out, err);
    }
    if (status == FOVEA_OK && out.picture != NULL) {
        eval_picture(out.picture, self->parts, self->n, opt->against);
    }
    status = close_output(out.csv, opt->csv, status, err);
    status = close_output(out.answers, opt->answers, status, err);
    return close_output(out.picture, opt->picture, status, err);
}

/* Reads every question before the first is asked. */
static fovea_status prepare(const options *opt, plan *self, const eval_job *common,
                            fovea_error *err)
{
    fovea_status status = FOVEA_OK;

    for (size_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        eval_part *part = &self->parts[i];
        const eval_mode *mode = part->job.mode;
        part->job = *common;
        part->job.mode = mode;
        part->job.set = &part->set;
        part->by_pictures = opt->resample != 0;
        status = eval_set_read(part->path, opt->limit, mode->before, &part->set, err);
    }
    return status;
}

static void free_plan(plan *self)
{
    for (size_t i = 0; i < self->n; i++) {
        eval_results_free(&self->parts[i].results, &self->parts[i].job);
        eval_set_free(&self->parts[i].set);
    }
}

int main(int argc, char **argv)
{
    static plan all;
    options opt = {.mode = "same", .max_tokens = 96, .jobs = 1};
    eval_recipes recipes = {0};
    eval_job common = {.recipes = &recipes};
    sample_texts files = {0};
    fovea_error err = {0};
    fovea_status status;
    int code = SAMPLE_EXIT_OK;

    if (!parse(&opt, argc, argv, &files, &code)) {
        goto done;
    }
    code = read_choices(&opt, &files, &all, &recipes);
    if (code != SAMPLE_EXIT_OK) {
        goto done;
    }
    common.max_tokens = opt.max_tokens;
    common.jobs = opt.jobs;
    common.label = !opt.no_labels;
    common.times = opt.times;
    common.own_prefill = opt.own_prefill;
    status = open_engine(&opt, &common, &err);
    if (status == FOVEA_OK) {
        status = open_state(&opt, &common.state, &err);
    }
    if (status == FOVEA_OK) {
        status = prepare(&opt, &all, &common, &err);
    }
    if (status == FOVEA_OK) {
        status = evaluate(&opt, &all, &err);
    }
    if (status == FOVEA_OK) {
        status = eval_state_close(&common.state, &err);
    }
    if (status < 0) {
        sample_show_error(program.name, NULL, status, &err);
        code = SAMPLE_EXIT_FAILED;
    }
done:
    free_plan(&all);
    eval_state_close(&common.state, NULL);
    fovea_engine_close(&common.engine);
    eval_recipes_free(&recipes);
    sample_texts_free(&opt.recipes);
    sample_texts_free(&files);
    return code;
}
