/* state.h - outcomes kept in a file, so that a run that was interrupted goes on where it stopped.
 *
 * JSONL: one outcome a line, under a key made of the question, the mode and everything else that an
 * answer depends on (the model's files by size and time; not the library's own version: after a change
 * there, begin a new file). Called by run.c. Threads: any after open. */
#ifndef FOVEA_SAMPLES_EVAL_STATE_H
#define FOVEA_SAMPLES_EVAL_STATE_H

#include "samples/eval/run.h"

#define EVAL_KEY_BYTES 17

/* path NULL: a state that holds nothing. `setting`: what all answers depend on. */
fovea_status eval_state_open(const char *path, const char *setting, eval_state **out,
                             fovea_error *err);
fovea_status eval_state_close(eval_state **state, fovea_error *err);

/* The key of a question in a mode. */
fovea_status eval_state_key(const eval_state *state, const char *mode, const eval_item *item,
                            char out[EVAL_KEY_BYTES], fovea_error *err);
/* True: *out is filled from the file; its text belongs to the caller. */
bool eval_state_find(eval_state *state, const char *key, const char *recipe, eval_outcome *out);
/* Writes an outcome to the file at once. */
fovea_status eval_state_add(eval_state *state, const char *key, const char *recipe,
                            const eval_outcome *outcome, fovea_error *err);

#endif
