/* show.h - what a turn looks like: one line of JSON, the account for people, and a progress bar.
 *
 * Answers and JSON go to stdout; accounts, bars and errors to stderr, so that answers can be piped.
 * Called by ask.c and eval/. Threads: one. */
#ifndef FOVEA_SAMPLES_COMMON_SHOW_H
#define FOVEA_SAMPLES_COMMON_SHOW_H

#include "samples/common/turn.h"

/* One object on a line of its own on stdout. kept_tokens are means over the (layer, KV head) lists. */
fovea_status sample_show_json(const sample_reply *reply, const char *recipe, double load_ms);

/* One line: tokens, time, realised bytes of full bytes. */
void sample_show_line(const sample_reply *reply, const char *recipe);
/* One line: how much of the answer the full cache would have said. */
void sample_show_loyalty(const fovea_usage *usage);
/* The whole ledger, and its rows per layer when the reply has them. */
void sample_show_ledger(const sample_reply *reply, const char *recipe);

/* "program: what: text of the error" on stderr; what may be NULL. */
void sample_show_error(const char *program, const char *what, fovea_status status,
                       const fovea_error *err);

/* "1,114,112"; the text lies in `out`. */
#define SAMPLE_DIGITS 32
const char *sample_digits(uint64_t number, char out[SAMPLE_DIGITS]);

double sample_ms_per_token(const fovea_usage *usage);
/* Tokens kept per (layer, KV head) list. */
double sample_kept(const fovea_ledger *ledger, uint64_t n_slot);

/* A bar on stderr when that is a terminal; it appears after a moment, so that short work shows none. */
typedef struct sample_bar {
    const char *label;
    double started_ms, drawn_ms;
    bool on, drawn;
} sample_bar;

void sample_bar_begin(sample_bar *bar, const char *label);
void sample_bar_update(sample_bar *bar, uint64_t done, uint64_t total);
void sample_bar_end(sample_bar *bar);

#endif
