/* test_precision.c - bf16 weights and products with an f16 cache against f32 throughout: how often the most
 * likely next token is the same, over 200 prompts of the default model and 8 tokens of each answer.
 *
 * The f32 path is held against transformers by test_golden. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_PROMPT 200
#define N_STEP 8
#define LEAST_SHARE 0.99

static const char *const pictures[] = {"samples/images/shapes.png", "samples/images/kites.png",
                                       "samples/images/many.png", "samples/images/signs.png",
                                       "samples/images/wide.jpg", "tests/golden/models/images/photo.png",
                                       "tests/golden/models/images/tall.png",
                                       "tests/golden/models/images/gray.png"};
static const char *const questions[] = {"Describe the image.", "What is in the image?",
                                        "What color is the background?", "How many circles are there?",
                                        "Is there a dog?"};
static const char *const forms[][2] = {
    {"Where is the", ""}, {"How many", "s are there"}, {"What color is the", ""}, {"Is there a", ""}};
static const char *const things[] = {"circle", "dog", "cat", "house", "star"};

static void prompt_of(uint32_t i, char *text, size_t n, char *path, size_t n_path, const char **file)
{
    uint32_t n_picture = FVI_COUNT(pictures);
    harness_path(path, n_path, "", pictures[i % n_picture]);
    *file = path;
    uint32_t q = i / n_picture;
    if (q < FVI_COUNT(questions)) {
        snprintf(text, n, "USER: <image>\n%s ASSISTANT:", questions[q]);
    } else {
        const char *const *form = forms[q % FVI_COUNT(forms)];
        char question[64];
        snprintf(question, sizeof question, "%s %s%s?", form[0], things[q / 4 % FVI_COUNT(things)],
                 form[1]);
        snprintf(text, n, "USER: <image>\n%s ASSISTANT:", question);
    }
}

/* Most likely tokens of prompt and forced answer; the f32 run chooses the answer. */
static void run(harness *h, uint32_t i, bool choose, int32_t *answer, int32_t *best)
{
    char text[128], path[512];
    const char *file;
    fvi_turn turn = {0};
    fvi_kv_seq *seq = NULL;
    prompt_of(i, text, sizeof text, path, sizeof path, &file);
    harness_turn(h, text, &file, 1, &turn);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h->pool, &h->model->geom, &seq), FOVEA_OK);
    harness_prefill(h, seq, &turn, NULL);
    for (uint32_t t = 0; t < N_STEP; t++) {
        best[t] = harness_argmax(h->logits, h->model->config.vocab);
        if (choose) {
            answer[t] = best[t];
        }
        harness_decode(h, &seq, &answer[t], 1);
    }
    fvi_kv_seq_free(&seq);
    fvi_turn_free(&turn);
}

static void test_top1_agreement(void **state)
{
    (void)state;
    static int32_t answer[N_PROMPT][N_STEP], best[2][N_PROMPT][N_STEP];
    char model[512];
    harness_path(model, sizeof model, "samples", "model");
    for (int pass = 0; pass < 2; pass++) {
        harness h;
        harness_open(&h, model, pass == 0 ? FOVEA_PRECISION_F32 : FOVEA_PRECISION_BF16, 0, 256,
                     (size_t)8 << 20);
        for (uint32_t i = 0; i < N_PROMPT; i++) {
            run(&h, i, pass == 0, answer[i], best[pass][i]);
        }
        harness_close(&h);
    }
    uint32_t n_first = 0, n_all = 0;
    for (uint32_t i = 0; i < N_PROMPT; i++) {
        n_first += best[0][i][0] == best[1][i][0];
        for (uint32_t t = 0; t < N_STEP; t++) {
            n_all += best[0][i][t] == best[1][i][t];
        }
    }
    print_message("bf16 against f32: first token %u of %u, all tokens %u of %u\n", n_first, N_PROMPT, n_all,
                  N_PROMPT * N_STEP);
    assert_true(n_first >= LEAST_SHARE * N_PROMPT);
    assert_true(n_all >= LEAST_SHARE * N_PROMPT * N_STEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_top1_agreement)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
