/* caption.c - fovea-caption: what is in each picture.
 *
 * Everything it does with the library stands in common/local.c (or common/remote.c with --server). */
#include "samples/common/ask.h"

#define QUESTION "Describe the image."

static const sample_program program = {
    .name = "fovea-caption",
    .summary =
        "Says what is in each picture (PNG or JPEG). Answers go to stdout, accounts to stderr.",
    .rest = "IMAGE...",
    .epilogue = "example: fovea-caption --recipe vl-cache:bytes=10% samples/images/kites.png",
};

int main(int argc, char **argv)
{
    sample_ask ask = {.program = &program};
    sample_arg args[SAMPLE_N_ASK_ARG + 1];
    size_t n_arg = sample_ask_args(&ask, args);
    const char *prompt = NULL;
    sample_texts images = {0};
    int code = SAMPLE_EXIT_OK;

    args[n_arg++] = (sample_arg){"prompt", SAMPLE_ARG_TEXT, "TEXT",
                                 "what is asked; default \"" QUESTION "\"", &prompt};
    if (!sample_args_parse(&program, args, n_arg, argc, argv, &images, &code)) {
        goto done;
    }
    if (images.n == 0) {
        code = sample_args_refuse(&program, "which picture?");
        goto done;
    }
    if (ask.raw && prompt == NULL) {
        code = sample_args_refuse(&program, "--raw needs --prompt, with one image marker in it");
        goto done;
    }
    code = sample_ask_open(&ask);
    if (code != SAMPLE_EXIT_OK) {
        goto done;
    }
    for (size_t i = 0; i < images.n; i++) {
        int one = sample_ask_run(&ask, images.n > 1 ? images.items[i] : NULL,
                                 prompt != NULL ? prompt : QUESTION, &images.items[i], 1);
        code = one != SAMPLE_EXIT_OK ? one : code;
    }
done:
    sample_ask_close(&ask);
    sample_texts_free(&images);
    return code;
}
