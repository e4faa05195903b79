/* session.h - one conversation: messages with pictures in, tokens and a ledger out.
 *
 * A session collects messages (or one raw prompt), then `fovea_session_generate` submits what has come
 * since the last call as one turn to the engine's scheduler and returns at once with a generation, from
 * which tokens are pulled. The answer becomes part of the session; a next message continues it. At most
 * one generation per session is under way; free it before the next turn.
 *
 * Threads: session - one at a time; generation: next/free - one at a time, cancel - any. Session and
 * generation may be used from different threads than the ones that made them. */
#ifndef FOVEA_SESSION_H
#define FOVEA_SESSION_H

#include <fovea/engine.h>
#include <fovea/image.h>
#include <fovea/kv.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fovea_session fovea_session;
typedef struct fovea_generation fovea_generation;

typedef struct fovea_session_options {
    uint32_t size;      /* sizeof(fovea_session_options) */
    uint32_t flags;     /* fovea_session_flag */
    const char *recipe; /* kv.h; default "none"; copied */
    const fovea_recipe *recipe_fields; /* instead of the string; copied */
    const char *const *fork_recipes; /* [n_fork_recipe] with KEEP_OBSERVATIONS: every recipe that forks will
                                        have, so that nothing else is observed; default: any may come */
    uint32_t n_fork_recipe;
} fovea_session_options;

typedef enum fovea_session_flag {
    /* Keep what scorers may ask of the prompt beside the cache, so that forks can make plans of their
     * own (fovea_session_fork with a recipe); costs bytes, which the ledger shows as activations, and, for
     * recipes that read the attention of every row, time (see fork_recipes). */
    FOVEA_SESSION_KEEP_OBSERVATIONS = 1,
} fovea_session_flag;

/* A piece of a message: either text or an image. */
typedef struct fovea_part {
    const char *text; /* UTF-8, NULL for an image */
    size_t n_bytes;   /* of text; 0: up to the terminator */
    fovea_image *image;
} fovea_part;

typedef struct fovea_generate_options {
    uint32_t size; /* sizeof(fovea_generate_options) */
    uint32_t max_tokens;    /* default 256; see plan_only for none */
    float temperature;      /* default 0: greedy */
    float top_p, min_p;     /* default off */
    uint32_t top_k;         /* default off */
    uint32_t n_logprobs;    /* alternatives reported per token, at most 20; default 0 */
    uint64_t seed;          /* of the sampler; the same request and seed give the same tokens */
    uint64_t deadline_ms;   /* from now; default none */
    const char *const *stop; /* [n_stop] texts that end the answer and are not part of it; copied */
    uint32_t n_stop;        /* at most 16 */
    uint32_t ignore_end;    /* 1: the model's end token is a token like others (benches) */
    uint32_t plan_only;     /* 1: prefill and plan, then finish without a token */
    const char *force;      /* answer with this text instead of sampling (teacher forcing); the tokens
                               are emitted with the log-probabilities the model gives them */
    uint32_t images_only;   /* 1, with plan_only: only up to the turn's last image, so that the plan knows
                               no question; what stands behind it comes with the next generate, of this
                               session or of a fork, before which nothing can be added */
    uint32_t loyalty;       /* 1: compare with the full cache token by token, see fovea_usage; a session's
                               first turn only. Costs: the full cache stays in the pool beside the compressed
                               one and grows with it, each token is computed twice, and no
                               layer is cut during prefill (kv.h) */
} fovea_generate_options;

typedef enum fovea_finish {
    FOVEA_FINISH_NONE = 0, /* still under way */
    FOVEA_FINISH_STOP,     /* end token or stop text */
    FOVEA_FINISH_LENGTH,   /* max_tokens, or the context is full */
    FOVEA_FINISH_PLAN,     /* plan_only */
    FOVEA_FINISH_CANCELLED,
    FOVEA_FINISH_DEADLINE,
    FOVEA_FINISH_ERROR,
} fovea_finish;

typedef struct fovea_logprob {
    int32_t token;
    float logprob; /* natural logarithm, of the distribution before temperature and cuts */
} fovea_logprob;

/* One step of an answer. Texts are whole characters: a token that ends inside one has an empty text and
 * its bytes come with a later one. */
typedef struct fovea_token {
    int32_t id;
    float logprob;
    const char *text; /* belongs to the generation, valid until the next call to next */
    size_t n_bytes;
    const fovea_logprob *top; /* [n_top], highest first; as long as text */
    uint32_t n_top;
} fovea_token;

/* Account of a turn; complete when next has returned FOVEA_DONE or an error. */
typedef struct fovea_usage {
    uint32_t size;
    fovea_finish finish;
    uint32_t text_tokens, vision_tokens, output_tokens; /* of this turn's prompt, and of its answer */
    uint32_t n_image;
    double queue_ms, encode_ms, prefill_ms, plan_ms, decode_ms; /* decode_ms: all tokens after the first */
    uint32_t loyalty_tokens; /* with loyalty: tokens compared, all but the first, which the prefill gives */
    double loyalty_share;    /* of them: those that the full cache finds likeliest too; 0 without any */
    double loyalty_kl;       /* mean over them of KL(full || compressed), in nats */
} fovea_usage;

FOVEA_API fovea_status fovea_session_new(fovea_engine *engine, const fovea_session_options *options,
                                         fovea_session **out, fovea_error *err);
/* Cancels what is under way, gives back all KV bytes, sets *session to NULL; accepts NULL. */
FOVEA_API void fovea_session_free(fovea_session **session);

/* Adds a message, rendered with the model's own chat template. Texts are copied, images referenced. */
FOVEA_API fovea_status fovea_session_add_message(fovea_session *session, fovea_role role,
                                                 const fovea_part *parts, uint32_t n_part,
                                                 fovea_error *err);

/* Adds a prompt as it is, without a template: special tokens in it are recognised, and each image
 * marker of the model ("<image>") stands for the next of `images`. The tokenizer's own beginning (a BOS
 * token) is added in front of a session's first turn. */
FOVEA_API fovea_status fovea_session_add_raw(fovea_session *session, const char *prompt, size_t n_bytes,
                                             fovea_image *const *images, uint32_t n_image,
                                             fovea_error *err);

/* Submits the pending turn. FOVEA_ERR_FULL when the queue is full or when the request could never fit
 * the pool (the text says which and names the bytes); FOVEA_ERR_BUDGET below the recipe's floor. */
FOVEA_API fovea_status fovea_session_generate(fovea_session *session,
                                              const fovea_generate_options *options,
                                              fovea_generation **out, fovea_error *err);

/* A copy that shares the cached runs (nothing is copied but an unsealed tail of a few tokens).
 * recipe NULL: as the source, with its plan. Otherwise the source must have been prefilled with recipe
 * "none" and FOVEA_SESSION_KEEP_OBSERVATIONS, with no token generated since, and, if it named
 * fork_recipes, have observed what this one reads: FOVEA_ERR_STATE otherwise. The copy's plan is made at
 * once; without the attention of the question it has no estimated_loss. Between turns only. */
FOVEA_API fovea_status fovea_session_fork(fovea_session *session, const char *recipe,
                                          fovea_session **out, fovea_error *err);

/* The ledger as of now. Not while a generation is under way: use fovea_generation_ledger then. */
FOVEA_API fovea_status fovea_session_ledger(fovea_session *session, fovea_ledger *out);
/* One row per (layer, KV head), layer-major; n_row: in capacity, out rows. */
FOVEA_API fovea_status fovea_session_ledger_rows(fovea_session *session, fovea_ledger_row *rows,
                                                 uint32_t *n_row);
/* How each token is stored in the list of a (layer, KV head): kinds[i] is the fovea_kind of the token at
 * position i of fovea_session_tokens, or FOVEA_KIND_DROPPED. n_token: in capacity, out tokens in the
 * cache, which the last one sampled is not. FOVEA_ERR_ARG: no such layer or head; FOVEA_ERR_LIMIT: too
 * little room, *n_token says how much it takes. */
FOVEA_API fovea_status fovea_session_kept(fovea_session *session, uint32_t layer, uint32_t kv_head,
                                          uint8_t *kinds, uint32_t *n_token);
/* Ids of all tokens of the session so far; an image's marker stands once per vision token. Belongs to
 * the session, valid until it is used again. */
FOVEA_API fovea_status fovea_session_tokens(fovea_session *session, const int32_t **ids, size_t *n_id);
/* Where the images lie; belongs to the session. */
FOVEA_API fovea_status fovea_session_images(fovea_session *session, const fovea_image_span **spans,
                                            uint32_t *n_span);

/* Waits for the next token. FOVEA_OK: *out is filled. FOVEA_DONE: the answer is complete. FOVEA_AGAIN:
 * nothing within timeout_ms (negative: wait for ever). An error ends the generation, except
 * FOVEA_ERR_ARG. */
FOVEA_API fovea_status fovea_generation_next(fovea_generation *generation, int64_t timeout_ms,
                                             fovea_token *out, fovea_error *err);
/* Asks the scheduler to stop; its KV bytes are free within one step. Any thread, any number of times. */
FOVEA_API void fovea_generation_cancel(fovea_generation *generation);
FOVEA_API fovea_status fovea_generation_usage(const fovea_generation *generation, fovea_usage *out);
/* The ledger of the session as the plan left it, growing with what is generated. FOVEA_ERR_STATE before
 * the plan was made. */
FOVEA_API fovea_status fovea_generation_ledger(const fovea_generation *generation, fovea_ledger *out);
/* Calls `fn` whenever next would not block (a token or the end has come); from the scheduler's thread,
 * must be short and not call back. For servers that must not keep a thread per stream. */
FOVEA_API void fovea_generation_notify(fovea_generation *generation, void (*fn)(void *user), void *user);
/* Cancels if still under way, sets *generation to NULL; accepts NULL. */
FOVEA_API void fovea_generation_free(fovea_generation **generation);

#ifdef __cplusplus
}
#endif
#endif
