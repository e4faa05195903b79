/* show.c - turns printed as JSON and for people, and the progress bar. */
#include "samples/common/show.h"

#include <math.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH    30
#define BAR_DELAY_MS 300.0
#define BAR_EVERY_MS 100.0
#define REAL_DIGITS  9 /* tells every float apart */

static const char *const finish_names[] = {
    [FOVEA_FINISH_NONE] = "none",           [FOVEA_FINISH_STOP] = "stop",
    [FOVEA_FINISH_LENGTH] = "length",       [FOVEA_FINISH_PLAN] = "plan",
    [FOVEA_FINISH_CANCELLED] = "cancelled", [FOVEA_FINISH_DEADLINE] = "deadline",
    [FOVEA_FINISH_ERROR] = "error",
};

double sample_ms_per_token(const fovea_usage *usage)
{
    return usage->output_tokens > 1 ? usage->decode_ms / (usage->output_tokens - 1) : 0;
}

double sample_kept(const fovea_ledger *ledger, uint64_t n_slot)
{
    uint64_t n_list = (uint64_t)ledger->n_layer * ledger->n_kv_head;

    return n_list > 0 ? (double)n_slot / (double)n_list : 0;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

const char *sample_digits(uint64_t number, char out[SAMPLE_DIGITS])
{
    char *at = out + SAMPLE_DIGITS - 1;
    int n = 0;

    *at = '\0';
    do {
        if (n > 0 && n % 3 == 0) {
            *--at = ',';
        }
        *--at = (char)('0' + number % 10);
        number /= 10;
        n++;
    } while (number > 0);
    return at;
}

/* ---- JSON ---- */

static json_t *ids_json(const int32_t *ids, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_integer(ids[i]));
    }
    return list;
}

static json_t *steps_json(const sample_reply *reply)
{
    json_t *list = json_array();

    for (size_t i = 0; i < reply->n_step; i++) {
        json_array_append_new(list, json_integer(reply->steps[i].id));
    }
    return list;
}

static void append_logprob(json_t *list, int32_t token, float logprob)
{
    json_array_append_new(list,
                          json_pack("{s:i, s:f}", "token", (int)token, "logprob", (double)logprob));
}

/* The most likely tokens of each step, and the chosen one when it is not among them. */
static json_t *logprobs_json(const sample_reply *reply)
{
    json_t *list = json_array();

    for (size_t i = 0; i < reply->n_step; i++) {
        const sample_step *step = &reply->steps[i];
        json_t *top = json_array();
        bool chosen = step->n_top == 0; /* nothing was asked for */
        for (uint32_t k = 0; k < step->n_top; k++) {
            append_logprob(top, step->top[k].token, step->top[k].logprob);
            chosen = chosen || step->top[k].token == step->id;
        }
        if (!chosen) {
            append_logprob(top, step->id, step->logprob);
        }
        json_array_append_new(list, top);
    }
    return list;
}

/* The setters return 0 or -1, so that the results of several can be joined by |. */
static int set_count(json_t *object, const char *name, uint64_t number)
{
    return json_object_set_new(object, name, json_integer((json_int_t)number));
}

static int set_real(json_t *object, const char *name, double number)
{
    return json_object_set_new(object, name, json_real(number));
}

static int set_kv(json_t *root, const fovea_ledger *ledger, const char *recipe)
{
    json_t *kv = json_object(), *bytes = json_object(), *kept = json_object();
    int failed = json_object_set_new(kv, "recipe", json_string(recipe));

    failed |= set_count(kv, "full_bytes", ledger->full_bytes);
    failed |= set_count(kv, "realised_bytes", ledger->realised_bytes);
    failed |= set_count(kv, "peak_bytes", ledger->peak_bytes);
    failed |= set_count(bytes, "text", ledger->text_bytes);
    failed |= set_count(bytes, "vision", ledger->vision_bytes);
    failed |= set_count(bytes, "shared", ledger->shared_bytes);
    failed |= json_object_set_new(kv, "by_modality", bytes);
    failed |= set_real(kept, "text", sample_kept(ledger, ledger->kept_text_slots));
    failed |= set_real(kept, "vision", sample_kept(ledger, ledger->kept_vision_slots));
    failed |= json_object_set_new(kv, "kept_tokens", kept);
    failed |= json_object_set_new(
        kv, "estimated_loss",
        isnan(ledger->estimated_loss) ? json_null() : json_real(ledger->estimated_loss));
    return failed | json_object_set_new(root, "kv", kv);
}

static int set_loyalty(json_t *root, const fovea_usage *usage)
{
    json_t *loyalty = json_object();
    int failed = set_count(loyalty, "tokens", usage->loyalty_tokens);

    failed |= set_real(loyalty, "share", usage->loyalty_share);
    failed |= set_real(loyalty, "kl_nats", usage->loyalty_kl);
    return failed | json_object_set_new(root, "loyalty", loyalty);
}

static int set_usage(json_t *root, const sample_reply *reply)
{
    const fovea_usage *usage = &reply->usage;
    json_t *tokens = json_object();
    int failed = set_count(tokens, "text_tokens", usage->text_tokens);

    failed |= set_count(tokens, "vision_tokens", usage->vision_tokens);
    failed |= set_count(tokens, "output_tokens", usage->output_tokens);
    if (reply->compared) {
        failed |= set_loyalty(tokens, usage);
    }
    return failed | json_object_set_new(root, "usage", tokens);
}

static int set_times(json_t *root, const sample_reply *reply, double load_ms)
{
    json_t *times = json_object();
    int failed = set_real(times, "load", load_ms);

    failed |= set_real(times, "decode_image", reply->decode_image_ms);
    failed |= set_real(times, "encode", reply->usage.encode_ms);
    failed |= set_real(times, "prefill", reply->usage.prefill_ms);
    failed |= set_real(times, "plan", reply->usage.plan_ms);
    failed |= set_real(times, "per_token", sample_ms_per_token(&reply->usage));
    return failed | json_object_set_new(root, "time_ms", times);
}

fovea_status sample_show_json(const sample_reply *reply, const char *recipe, double load_ms)
{
    const size_t format = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(REAL_DIGITS);
    json_t *root = json_object();
    int failed = json_object_set_new(root, "text", json_stringn(reply->text, reply->n_text));

    failed |= json_object_set_new(root, "prompt_tokens", ids_json(reply->prompt, reply->n_prompt));
    failed |= json_object_set_new(root, "tokens", steps_json(reply));
    failed |= json_object_set_new(root, "logprobs", logprobs_json(reply));
    failed |= json_object_set_new(root, "finish", json_string(finish_names[reply->usage.finish]));
    failed |= set_usage(root, reply);
    failed |= set_kv(root, &reply->ledger, recipe);
    failed |= set_times(root, reply, load_ms);
    failed = failed != 0 || json_dumpf(root, stdout, format) != 0 || putchar('\n') == EOF ||
             fflush(stdout) != 0;
    json_decref(root);
    return failed ? FOVEA_ERR_IO : FOVEA_OK;
}

/* ---- for people ---- */

void sample_show_line(const sample_reply *reply, const char *recipe)
{
    const fovea_usage *usage = &reply->usage;
    const fovea_ledger *ledger = &reply->ledger;
    char realised[SAMPLE_DIGITS], full[SAMPLE_DIGITS];

    fprintf(
        stderr, "  [%s] KV %s of %s bytes (%.1f%%); %u text + %u image tokens, %u out; %.0f ms\n",
        recipe, sample_digits(ledger->realised_bytes, realised),
        sample_digits(ledger->full_bytes, full), share(ledger->realised_bytes, ledger->full_bytes),
        usage->text_tokens, usage->vision_tokens, usage->output_tokens,
        reply->decode_image_ms + usage->encode_ms + usage->prefill_ms + usage->plan_ms +
            usage->decode_ms);
}

void sample_show_loyalty(const fovea_usage *usage)
{
    fprintf(stderr, "  loyalty: the full cache agrees on %.1f%% of %u tokens; KL %.4f nats\n",
            100 * usage->loyalty_share, usage->loyalty_tokens, usage->loyalty_kl);
}

static void show_bytes(const char *name, uint64_t n_bytes, const fovea_ledger *ledger,
                       const char *remark)
{
    char digits[SAMPLE_DIGITS];

    fprintf(stderr, "  %-13s %15s  %6.1f%%  %s\n", name, sample_digits(n_bytes, digits),
            share(n_bytes, ledger->full_bytes), remark);
}

static void show_rows(const sample_reply *reply)
{
    const fovea_ledger *ledger = &reply->ledger;

    fprintf(stderr, "  layer  tokens kept per KV head, text + vision\n");
    for (uint32_t i = 0; i < reply->n_row; i++) {
        const fovea_ledger_row *row = &reply->rows[i];
        if (row->kv_head == 0) {
            fprintf(stderr, "  %5u ", row->layer);
        }
        fprintf(stderr, " %u+%u", row->n_text, row->n_vision);
        if (row->kv_head + 1 == ledger->n_kv_head) {
            fputc('\n', stderr);
        }
    }
}

void sample_show_ledger(const sample_reply *reply, const char *recipe)
{
    const fovea_ledger *ledger = &reply->ledger;
    char remark[96];

    fprintf(stderr, "  KV cache with \"%s\"\n  %-13s %15s  of full\n", recipe, "", "bytes");
    snprintf(remark, sizeof(remark), "nominal: f16, %llu text + %llu vision tokens",
             (unsigned long long)ledger->text_tokens, (unsigned long long)ledger->vision_tokens);
    show_bytes("full", ledger->full_bytes, ledger, remark);
    show_bytes("realised", ledger->realised_bytes, ledger, "held for the prompt after the plan");
    snprintf(remark, sizeof(remark), "%.1f tokens kept per list",
             sample_kept(ledger, ledger->kept_text_slots));
    show_bytes("  text", ledger->text_bytes, ledger, remark);
    snprintf(remark, sizeof(remark), "%.1f tokens kept per list",
             sample_kept(ledger, ledger->kept_vision_slots));
    show_bytes("  vision", ledger->vision_bytes, ledger, remark);
    snprintf(remark, sizeof(remark), "metadata %llu, slack %llu",
             (unsigned long long)ledger->metadata_bytes, (unsigned long long)ledger->slack_bytes);
    show_bytes("  shared", ledger->shared_bytes, ledger, remark);
    show_bytes("generated", ledger->generated_bytes, ledger, "held for the answer");
    show_bytes("peak", ledger->peak_bytes, ledger, "most KV bytes at once, prefill included");
    show_bytes("activations", ledger->activation_peak_bytes, ledger, "most beside it");
    show_bytes("floor", ledger->floor_bytes, ledger, "the least that bytes= may ask for");
    if (isnan(ledger->estimated_loss)) {
        fprintf(stderr, "  %-13s %15s\n", "loss", "not observed");
    } else {
        fprintf(stderr, "  %-13s %14.1f%%  estimated change of the attention output\n", "loss",
                100 * ledger->estimated_loss);
    }
    show_rows(reply);
}

void sample_show_error(const char *program, const char *what, fovea_status status,
                       const fovea_error *err)
{
    fprintf(stderr, "%s: %s%s%s (%s)\n", program, what != NULL ? what : "",
            what != NULL ? ": " : "",
            err != NULL && err->text[0] != '\0' ? err->text : fovea_status_text(status),
            fovea_status_name(status));
}

/* ---- progress ---- */

void sample_bar_begin(sample_bar *bar, const char *label)
{
    bar->label = label;
    bar->started_ms = sample_now_ms();
    bar->drawn_ms = bar->started_ms + BAR_DELAY_MS - BAR_EVERY_MS;
    bar->on = isatty(STDERR_FILENO) == 1;
    bar->drawn = false;
}

void sample_bar_update(sample_bar *bar, uint64_t done, uint64_t total)
{
    double now = sample_now_ms();
    double part = total > 0 ? (double)done / (double)total : 0;
    int filled = (int)(part * BAR_WIDTH);
    double left = part > 0 ? (now - bar->started_ms) * (1 - part) / part / 1e3 : 0;

    if (!bar->on || now - bar->drawn_ms < BAR_EVERY_MS) {
        return;
    }
    bar->drawn_ms = now;
    bar->drawn = true;
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%  %.0f s left ", bar->label, filled,
            "##############################", BAR_WIDTH - filled, "", 100 * part, left);
    fflush(stderr);
}

void sample_bar_end(sample_bar *bar)
{
    if (bar->drawn) {
        fprintf(stderr, "\r\033[K");
    }
}
