/* app.c - what someone writes against an installed Fovea: opens a model, shows a picture, prints the answer
 * and the bytes that its prompt holds. app MODEL IMAGE RECIPE */
#include <fovea/fovea.h>

#include <stdio.h>

static int answer(fovea_session *session, fovea_image *image, fovea_error *err)
{
    fovea_part parts[] = {{.image = image}, {.text = "Describe the picture."}};
    fovea_generate_options how = {.size = sizeof how, .max_tokens = 8};
    fovea_generation *generation = NULL;
    fovea_token token;
    fovea_ledger ledger = {.size = sizeof ledger};
    int n_token = 0;
    if (fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, err) < 0 ||
        fovea_session_generate(session, &how, &generation, err) < 0) {
        return 0;
    }
    while (fovea_generation_next(generation, -1, &token, err) == FOVEA_OK) {
        fwrite(token.text, 1, token.n_bytes, stdout);
        n_token++;
    }
    fovea_generation_free(&generation);
    if (fovea_session_ledger(session, &ledger) < 0) {
        return 0;
    }
    printf("\n%d tokens, %llu of %llu bytes\n", n_token, (unsigned long long)ledger.realised_bytes,
           (unsigned long long)ledger.full_bytes);
    return n_token > 0 && ledger.realised_bytes > 0;
}

int main(int argc, char **argv)
{
    fovea_error err = {.code = FOVEA_OK};
    fovea_engine *engine = NULL;
    fovea_session *session = NULL;
    fovea_image *image = NULL;
    int ok = 0;
    if (argc != 4) {
        fprintf(stderr, "app MODEL IMAGE RECIPE\n");
        return 2;
    }
    fovea_engine_options options = {.size = sizeof options, .model = argv[1]};
    fovea_session_options talk = {.size = sizeof talk, .recipe = argv[3]};
    printf("fovea %s\n", fovea_version());
    if (fovea_image_from_file(argv[2], NULL, &image, &err) >= 0 &&
        fovea_engine_open(&options, &engine, &err) >= 0 &&
        fovea_session_new(engine, &talk, &session, &err) >= 0) {
        ok = answer(session, image, &err);
    }
    if (!ok) {
        fprintf(stderr, "app: %s\n", err.text);
    }
    fovea_session_free(&session);
    fovea_engine_close(&engine);
    fovea_image_free(&image);
    return ok ? 0 : 1;
}
