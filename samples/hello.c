/* hello.c - the smallest program that shows a picture to a model: hello MODEL IMAGE QUESTION
 * cc hello.c $(pkg-config --cflags --libs fovea) -o hello */
#include <fovea/fovea.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    fovea_error err = {0};
    fovea_engine *engine = NULL;
    fovea_session *session = NULL;
    fovea_generation *answer = NULL;
    fovea_image *image = NULL;
    fovea_token token;
    fovea_ledger ledger = {.size = sizeof(ledger)};

    if (argc != 4) {
        fprintf(stderr, "usage: hello MODEL IMAGE QUESTION\n");
        return 2;
    }
    fovea_engine_options model = {.size = sizeof(model), .model = argv[1]};
    fovea_session_options cache = {.size = sizeof(cache), .recipe = "vl-cache:bytes=20%"};
    fovea_generate_options greedy = {.size = sizeof(greedy), .max_tokens = 64};

    if (fovea_engine_open(&model, &engine, &err) < 0 ||
        fovea_image_from_file(argv[2], NULL, &image, &err) < 0 ||
        fovea_session_new(engine, &cache, &session, &err) < 0) {
        goto done;
    }
    fovea_part parts[] = {{.image = image}, {.text = argv[3]}};
    if (fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, &err) < 0 ||
        fovea_session_generate(session, &greedy, &answer, &err) < 0) {
        goto done;
    }
    while (fovea_generation_next(answer, -1, &token, &err) == FOVEA_OK) {
        fwrite(token.text, 1, token.n_bytes, stdout);
    }
    if (fovea_generation_ledger(answer, &ledger) == FOVEA_OK) {
        printf("\n%llu of %llu KV bytes\n", (unsigned long long)ledger.realised_bytes,
               (unsigned long long)ledger.full_bytes);
    }
done:
    if (err.code < 0) {
        fprintf(stderr, "hello: %s\n", err.text);
    }
    fovea_generation_free(&answer);
    fovea_session_free(&session);
    fovea_image_free(&image);
    fovea_engine_close(&engine);
    return err.code < 0;
}
