/* tokenizer_pipeline.h - the parts of tokenizer.json around the model: normalizer, pre-tokenizer,
 * post-processor, decoder. Called by tokenizer_load.c alone. Threads: one. */
#ifndef FOVEA_MODEL_TOKENIZER_PIPELINE_H
#define FOVEA_MODEL_TOKENIZER_PIPELINE_H

#include "sdk/base/json.h"
#include "sdk/model/tokenizer_impl.h"

/* The "type" of a part; "" when it has none. */
const char *fvi_pipeline_type(const json_t *part);

/* Each fills its fields of the tokenizer or refuses by name; a part that is absent or null is "none". */
fovea_status fvi_pipeline_read_normalizer(fvi_tokenizer *self, const json_t *part,
                                          fovea_error *err);
fovea_status fvi_pipeline_read_pre_tokenizer(fvi_tokenizer *self, const json_t *part,
                                             fovea_error *err);
fovea_status fvi_pipeline_read_post_processor(fvi_tokenizer *self, const json_t *part,
                                              fovea_error *err);
fovea_status fvi_pipeline_check_decoder(const json_t *part, fovea_error *err);

#endif
