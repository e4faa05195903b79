/* fault_engine.h - one engine on the default model and one request with a picture, through the public
 * headers only, with any allocator. Called by test_engine_faults.c and test_steady.c. */
#ifndef FOVEA_TESTS_FAULT_ENGINE_H
#define FOVEA_TESTS_FAULT_ENGINE_H

#include <fovea/fovea.h>

#include <stdlib.h>

#define FAULT_MODEL FOVEA_SOURCE_DIR "/samples/model"
#define FAULT_IMAGE FOVEA_SOURCE_DIR "/samples/images/shapes.png"

static inline fovea_status fault_engine_open(const fovea_alloc *alloc, fovea_engine **out,
                                             fovea_error *err)
{
    fovea_engine_options options = {.size = sizeof options,
                                    .model = FAULT_MODEL,
                                    .n_thread = 2,
                                    .kv_bytes = 64u << 20,
                                    .alloc = alloc};
    return fovea_engine_open(&options, out, err);
}

/* Reads the picture, submits one turn and pulls its tokens; counts them. */
static inline fovea_status fault_engine_ask(fovea_engine *engine, const fovea_alloc *alloc,
                                            const char *recipe, const fovea_generate_options *how,
                                            uint32_t *n_token, fovea_error *err)
{
    fovea_session_options talk = {.size = sizeof talk, .recipe = recipe};
    fovea_image_options decode = {.size = sizeof decode, .alloc = alloc};
    fovea_session *session = NULL;
    fovea_generation *generation = NULL;
    fovea_image *image = NULL;
    fovea_token token;
    *n_token = 0;
    fovea_status status = fovea_image_from_file(FAULT_IMAGE, &decode, &image, err);
    if (status >= 0) {
        status = fovea_session_new(engine, &talk, &session, err);
    }
    if (status >= 0) {
        fovea_part parts[] = {{.image = image}, {.text = "What is in the picture?"}};
        status = fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, err);
    }
    if (status >= 0) {
        status = fovea_session_generate(session, how, &generation, err);
    }
    while (status >= 0 && status != FOVEA_DONE) {
        status = fovea_generation_next(generation, -1, &token, err);
        *n_token += status == FOVEA_OK;
    }
    fovea_generation_free(&generation);
    fovea_session_free(&session);
    fovea_image_free(&image);
    return status < 0 ? status : FOVEA_OK;
}

#endif
