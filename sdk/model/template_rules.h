/* template_rules.h - a known chat template as data, and the rendering of its rule.
 *
 * templates.def holds one line per known text and names the rule that renders the same. Called by
 * template.c, and by tests that hold the rules against Jinja's output. Threads: any. */
#ifndef FOVEA_MODEL_TEMPLATE_RULES_H
#define FOVEA_MODEL_TEMPLATE_RULES_H

#include "sdk/model/template.h"

#define FVI_N_ROLE 3

/* A message is: [opening of the conversation] before[role] parts after[role]. */
typedef struct fvi_template_rule {
    const char *name;
    const char
        *opening; /* stands first when the first message is not the system's; NULL: nothing */
    const char *before[FVI_N_ROLE]; /* by fovea_role */
    const char *after[FVI_N_ROLE];
    bool images_first;       /* all images of a message stand before its texts; else as they come */
    const char *after_image; /* behind each image marker */
    const char *before_text; /* around each text part */
    const char *after_text;
    const char *answer;       /* asks the model to answer */
    const char *after_answer; /* behind what the model said, when the conversation goes on */
} fvi_template_rule;

/* The rule of a known text, NULL when it is unknown. FOVEA_ERR_NOMEM is the only error. */
fovea_status fvi_template_recognise(const fovea_alloc *alloc, const char *text, size_t n_bytes,
                                    const fvi_template_rule **out);
/* NULL: no such rule. */
const fvi_template_rule *fvi_template_rule_find(const char *name);
/* Appends one message; see fvi_template_message. */
fovea_status fvi_template_rule_message(const fvi_template_rule *rule, const char *image_token,
                                       uint32_t index, fovea_role role,
                                       const fvi_template_part *parts, uint32_t n_part,
                                       fvi_buf *out);

/* Appends the form by which a text is recognised: inside of {{ }} and {% %} runs of white space are one
 * space, none stands at the ends, and the escape \n in a string is the character. All else is as it is, but
 * for one line end at the end of the file, which Jinja drops too. */
fovea_status fvi_template_normalise(const char *text, size_t n_bytes, fvi_buf *out);
uint64_t fvi_template_hash(const char *text, size_t n_bytes);

#endif
