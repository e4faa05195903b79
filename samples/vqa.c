/* vqa.c - fovea-vqa: answers a question about one or several pictures.
 *
 * Everything it does with the library stands in common/local.c (or common/remote.c with --server). */
#include "samples/common/ask.h"

static const sample_program program = {
    .name = "fovea-vqa",
    .summary =
        "Answers a question about pictures (PNG or JPEG). The answer goes to stdout, the account\n"
        "to stderr. Several pictures are \"image 1\", \"image 2\" and so on, in the order given.",
    .epilogue =
        "heat map: sharp where tokens stand as they were (f16, f32), one bluish colour a token "
        "where they\n"
        "are coarser (int8, int4, int2), dark where they were dropped; mixed by the share of the "
        "lists\n"
        "example: fovea-vqa --image samples/images/signs.png --question \"Read all signs.\"",
};

int main(int argc, char **argv)
{
    sample_ask ask = {.program = &program, .heatmap = {NULL, SAMPLE_ALL, SAMPLE_ALL}};
    sample_arg args[SAMPLE_N_ASK_ARG + 5];
    size_t n_arg = sample_ask_args(&ask, args);
    const char *question = NULL;
    sample_texts images = {0};
    int code = SAMPLE_EXIT_OK;

    args[n_arg++] = (sample_arg){"image", SAMPLE_ARG_TEXTS, "FILE",
                                 "a picture; may be given more than once", &images};
    args[n_arg++] = (sample_arg){"question", SAMPLE_ARG_TEXT, "TEXT",
                                 "the question, or the whole prompt with --raw", &question};
    args[n_arg++] =
        (sample_arg){"heatmap", SAMPLE_ARG_TEXT, "OUT.png",
                     "draws what the cache kept of the picture, see below; with several\n"
                     "pictures OUT-1.png and so on",
                     &ask.heatmap.path};
    args[n_arg++] = (sample_arg){"heatmap-layer", SAMPLE_ARG_UINT, "N",
                                 "of this layer alone, from 0; default: all", &ask.heatmap.layer};
    args[n_arg++] = (sample_arg){"heatmap-head", SAMPLE_ARG_UINT, "N",
                                 "of this KV head alone, from 0; default: all", &ask.heatmap.head};
    if (!sample_args_parse(&program, args, n_arg, argc, argv, NULL, &code)) {
        goto done;
    }
    if (question == NULL) {
        code = sample_args_refuse(&program, "what is the --question?");
        goto done;
    }
    code = sample_ask_open(&ask);
    if (code == SAMPLE_EXIT_OK) {
        code = sample_ask_run(&ask, NULL, question, images.items, images.n);
    }
done:
    sample_ask_close(&ask);
    sample_texts_free(&images);
    return code;
}
