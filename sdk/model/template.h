/* template.h - the chat templates this library knows, recognised by their whole text.
 *
 * chat_template.jinja, or "chat_template" in chat_template.json / tokenizer_config.json / processor
 * files. No Jinja is run: templates.def lists known templates, each with the rule that renders the same
 * text; one that is not listed is refused with its first line in the text, never guessed.
 * Called by the engine. Threads: any after open. */
#ifndef FOVEA_MODEL_TEMPLATE_H
#define FOVEA_MODEL_TEMPLATE_H

#include "sdk/base/base.h"

#include <fovea/types.h>

typedef struct fvi_template fvi_template;

/* A piece of a message for rendering: text, or an image (text NULL). */
typedef struct fvi_template_part {
    const char *text;
    size_t n_bytes;
} fvi_template_part;

/* An unknown or absent template is no error here; rendering with it is. */
fovea_status fvi_template_open(const fovea_alloc *alloc, const char *dir, const char *image_token,
                               fvi_template **out, fovea_error *err);
void fvi_template_close(fvi_template **self);

/* Appends what a message adds to the conversation, image markers in it. `index`: number of messages
 * before it in the session. FOVEA_ERR_UNSUPPORTED: unknown template, the text names it and says that raw
 * prompts work. */
fovea_status fvi_template_message(const fvi_template *self, uint32_t index, fovea_role role,
                                  const fvi_template_part *parts, uint32_t n_part, fvi_buf *out,
                                  fovea_error *err);
/* Appends what asks the model to answer. */
fovea_status fvi_template_answer(const fvi_template *self, fvi_buf *out, fovea_error *err);
/* What the template puts behind an answer (after the end token the model produced, whose text may be
 * part of it) when the conversation goes on; belongs to the template. For "..</s>" it is "</s>". */
const char *fvi_template_after_answer(const fvi_template *self);

#endif
