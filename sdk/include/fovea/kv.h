/* kv.h - recipes (what a user asks of the KV cache) and ledgers (what became of it, in bytes).
 *
 * A recipe is one string, the same in C, proto and command line:
 *
 *     none                                  keep everything (the default)
 *     vl-cache:keep=0.1                     a preset with options
 *     vl-cache:bytes=5%,vision=int4         realised bytes; storage kind per modality
 *     score=post-vision,budget=density,keep=0.2,vision=int4,text=f16
 *     vl-cache:text.keep=1,vision.keep=0.05 shares of each modality
 *
 * Grammar: [preset ":"] key "=" value {"," key "=" value}, or a preset alone; what is given beats what the
 * preset says. Keys:
 *   score=, budget=   entries of kvcompress/scorers.def and budgets.def (budget: uniform if not given)
 *   keep=F            share of the prompt's tokens that is kept, 0 < F <= 1: exactly
 *                     floor(F * tokens * lists + 0.5) over all lists, at least one token in each list, and
 *                     what is always kept (sinks, protected tokens)
 *   bytes=P%|N        realised bytes of the prompt: percent of its f16 cache, or absolute with an
 *                     optional KiB, MiB, GiB; only one of keep= and bytes= may stand. Between 0.95 and 1.00
 *                     of it is held after the plan; below a floor that depends on the prompt it is refused.
 *                     Where everything fits, everything stays, and from 100% on nothing is dropped: that
 *                     is the nominal cache, metadata comes on top
 *   kind=K, vision=K, text=K
 *                     storage kind of kept tokens (f32 with f32 precision); may stand alone, then nothing
 *                     is dropped:
 *                       f16; int8, int4, int2: scales per token and 64 channels;
 *                       int4-chan, int2-chan: per channel and 64 to 127 tokens, and per token where a list
 *                         keeps fewer than 32 of the kind: the least error for vision tokens;
 *                       int4-kivi, int2-kivi: keys per channel, values per token;
 *                       int4-rot, int2-rot: per token, rotated before;
 *                       pca-32, -16, -12, -8, -6, -4: so many bits for 16 values, vision only: about 256 tokens
 *                         at a time (an image) by the principal components that they have in common, the bits
 *                         where the variance is; and as int4 where a list keeps too few for that to be less
 *   recent=F          share of each list's budget that always goes to the latest tokens (default 0.1)
 *   protect=all|none|N
 *                     tokens that are always kept beside the prompt's first one: all, or the latest N
 *                     (default none)
 *   merge=M           what evicted tokens leave in kept ones of the same list and modality (default drop:
 *                     nothing); those always kept are never changed:
 *                       average: a kept token becomes the mean of itself and of all whose keys are nearest
 *                         to its own; pivot: these go half the way to it first;
 *                       weighted, d2o: as much as they are similar; d2o drops the less similar;
 *                       cam: values only, added to the next kept tokens, drawn by relative attention
 *   sinks=N           first tokens that are always kept (default 0)
 *   exact=N           first tokens that are always kept, and as they are (f16) whatever vision= and text=
 *                     say (default 0): keys of first tokens stand out, a low kind serves them badly
 *   seed=N            for the scorer `random` and the merger `cam`
 *   while=R, cap=N    evict while decoding (R: an entry of kvcompress/revisers.def): once an answer begins, no list
 *                     ever holds more than N tokens, those of the prompt and of earlier turns among them. For
 *                     each new token the one of least worth goes for good: h2o, the least attended so far
 *                     (recent= is 0.5 then if not given); streaming, the oldest (sinks= is 4 then). A plan
 *                     by keep= comes first; bytes=, protect=, kinds and dotted windows do not go with it
 *   evicted=K         with while=: what goes is kept in K (int8, int4, int2 or a -rot kind) before it is
 *                     gone, the best `blurred=N` tokens of each list (default 4 times cap=) beside those of cap=
 *   prefill.cap=F     a layer of the prompt that is through is cut at once to F times its even share of keep=
 *                     or bytes= (at least 1.25; default 2, but to no less than a fifth of the layer), and the
 *                     plan shares the exact total out under these caps: the prompt is never held whole. none:
 *                     the plan is made only at the end, as it is with while= and where evicted tokens are merged
 *   recall=quest, attend=N
 *                     keep everything and attend to a part while decoding: a list lies in pages of 16 tokens,
 *                     of which each step reads those whose keys may answer its queries best, first and latest
 *                     page always, at most N tokens (default 256, least 64); another step may read others.
 *                     Summaries are 4 bytes for each key channel and page, and count as payload. keep= and
 *                     kinds per token go with it, bytes= and while= do not
 * text.KEY= and vision.KEY= say the same of one modality: kind (vision= stands for vision.kind=), recent (a
 * window of that modality's own latest tokens; text's comes first), protect and merge. They beat KEY=
 * wherever they stand; KEY= beats what a preset says of either.
 *   text.keep=F, vision.keep=F
 *                     share of that modality's tokens, floor(F * tokens * lists + 0.5) over all lists: scores
 *                     compete inside the modality and each has its own window (recent= of its own budget). A
 *                     modality without a share has what keep= or bytes= leaves of the total, and without a
 *                     total everything; both shares and a total do not go together. The floor of bytes= holds
 *                     the share: vl-cache:bytes=10%,text.keep=1 keeps all text and what fits of the image
 * A score needs keep= or bytes= (or shares), and the other way round; a merger needs a score. Equal scores:
 * the lower position stays.
 * Presets: none, streaming, random, vl-cache; fovea (our own; bytes= only, it chooses kinds itself); by
 * published methods: snapkv, h2o, tova, l2, keydiff, expected, criticalkv, fastgen, pyramidkv, adakv, cake,
 * meda, prefixkv, look-m, d2o, quest (kvcompress/recipes.def says what each stands for, kvcompress/README.md
 * what scores and budgets compute and cost).
 *
 * Every size is what is really held: payload, scales, slack of blocks and metadata. `full_bytes`, the
 * f16 cache of the same prompt, is the one nominal figure and is named so.
 *
 * Threads: any. */
#ifndef FOVEA_KV_H
#define FOVEA_KV_H

#include <fovea/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FOVEA_RECIPE_MAX_BYTES 1024       /* of a recipe's text, its end included */
#define FOVEA_RECIPE_ALL       UINT32_MAX /* protect: all tokens of the modality */

/* Bits of `zeros`: the field is 0 and meant so, which beats what the preset says. */
typedef enum fovea_recipe_zero {
    FOVEA_RECIPE_ZERO_RECENT = 1, /* of a part */
    FOVEA_RECIPE_ZERO_PROTECT = 2,
    FOVEA_RECIPE_ZERO_SINKS = 4, /* of the recipe */
    FOVEA_RECIPE_ZERO_EXACT = 8,
    FOVEA_RECIPE_ZERO_SEED = 16,
    FOVEA_RECIPE_ZERO_PREFILL_CAP = 32, /* none */
} fovea_recipe_zero;

/* What a recipe says of both modalities, of text, of vision: the keys without and with a dot. */
typedef struct fovea_recipe_part {
    const char *kind;     /* vision=, text= */
    double keep;
    double recent;
    uint32_t protect;     /* tokens, or FOVEA_RECIPE_ALL */
    uint32_t zeros;
    const char *merge;
    uint64_t reserved[3]; /* 0 */
} fovea_recipe_part;

/* A recipe field by field, as the string says it key by key: 0 and NULL stand for a key that is not given. */
typedef struct fovea_recipe {
    uint32_t size; /* sizeof(fovea_recipe) */
    uint32_t zeros;
    const char *preset; /* NULL: none */
    const char *score, *budget;
    double percent, bytes; /* bytes=P% and bytes=N; at most one of them and both.keep */
    uint32_t sinks, exact;
    uint64_t seed;
    fovea_recipe_part both, text, vision;
    const char *revise; /* while= */
    const char *evicted;
    uint32_t cap, blurred;
    double prefill_cap;
    const char *recall;
    uint32_t attend;
    uint32_t reserved; /* 0 */
} fovea_recipe;

/* The text as a struct; names are static memory. */
FOVEA_API fovea_status fovea_recipe_parse(const char *text, fovea_recipe *out, fovea_error *err);
/* The struct as text, for everything that takes a recipe; parsing it gives the same struct. Numbers are
 * written with up to 15 digits. FOVEA_RECIPE_MAX_BYTES are always enough; FOVEA_ERR_LIMIT: n are not. */
FOVEA_API fovea_status fovea_recipe_format(const fovea_recipe *recipe, char *text, size_t n,
                                           fovea_error *err);

/* Checks a recipe without a model. FOVEA_ERR_ARG with a text that names the word at fault. */
FOVEA_API fovea_status fovea_recipe_check(const char *recipe, fovea_error *err);

/* Lists the names in a table, one call per name: table is "presets", "scores", "budgets", "kinds",
 * "revisers", "mergers", "recalls".
 * NULL when the table is unknown or index is past its end. Static memory. */
FOVEA_API const char *fovea_recipe_name(const char *table, uint32_t index);

/* The account of one session. Prompt figures are those after the plan; generated tokens stand apart.
 *     realised_bytes == text_bytes + vision_bytes + shared_bytes
 *                    == sum of the rows of fovea_ledger_rows + shared_bytes */
typedef struct fovea_ledger {
    uint32_t size; /* sizeof(fovea_ledger), set by the caller */
    uint32_t n_layer, n_kv_head;

    uint64_t full_bytes;      /* nominal: the f16 cache of the prompt without any overhead */
    uint64_t realised_bytes;  /* held for the prompt now */
    uint64_t text_bytes;      /* payload (codes and scales) of text tokens */
    uint64_t vision_bytes;    /* payload of vision tokens */
    uint64_t shared_bytes;    /* metadata_bytes + slack_bytes */
    uint64_t metadata_bytes;  /* descriptors, bitmaps, tags */
    uint64_t slack_bytes;     /* allocated and unused: alignment, last blocks */
    uint64_t kind_bytes[FOVEA_N_KIND];   /* payload by storage kind */

    uint64_t generated_bytes; /* held for generated tokens, their tail included */
    uint64_t peak_bytes;      /* most KV bytes this session held at once, prefill included */
    uint64_t activation_peak_bytes; /* most bytes of activations and observations beside them */

    uint64_t text_tokens, vision_tokens; /* of the prompt */
    /* Tokens kept, counted once per (layer, KV head): divide by n_layer * n_kv_head for a mean. */
    uint64_t kept_text_slots, kept_vision_slots;
    uint64_t kind_slots[FOVEA_N_KIND];
    uint64_t floor_bytes;     /* the least that bytes= may ask for this prompt and recipe */
    /* The plan's own estimate of how much it changes the attention output, relative to it:
     * sqrt(sum (w e)^2 / sum w^2) over lists and tokens; w: attention of the text behind the last image, e:
     * measured error of the token's kind in its list, 1 when dropped or merged; what goes while decoding
     * is not in it. 0: nothing was changed;
     * NaN: the recipe's score and budget do not observe that attention (random, streaming, h2o, ..). */
    double estimated_loss;
} fovea_ledger;

/* One row per (layer, KV head). */
typedef struct fovea_ledger_row {
    uint32_t layer, kv_head;
    uint32_t n_text, n_vision;        /* tokens kept */
    uint64_t text_bytes, vision_bytes; /* payload */
} fovea_ledger_row;

#ifdef __cplusplus
}
#endif
#endif
