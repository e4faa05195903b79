/* test_prompt.c - a prompt's positions and their tags: the first token is protected, each picture is one vision
 * span with its number and grid, text lies between, and the spans cover every token once. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char prompt[] = "USER: Image 1: <image>\nImage 2: <image>\nWhat is in image 2? ASSISTANT:";

static void test_tags(void **state)
{
    (void)state;
    char folder[512], paths[2][512];
    harness h;
    fvi_turn turn = {0};
    harness_path(folder, sizeof folder, "samples/model", "");
    const char *files[] = {
        harness_path(paths[0], sizeof paths[0], "samples/images", "shapes.png"),
        harness_path(paths[1], sizeof paths[1], "samples/images", "signs.png"),
    };
    harness_open(&h, folder, FOVEA_PRECISION_BF16, 0, 256, (size_t)64 << 20);
    harness_turn(&h, prompt, files, 2, &turn);
    uint32_t n_patch = h.model->tokens_per_image, first = 0, n_vision = 0;
    assert_int_equal(turn.n_span, 6); /* first token, text, picture, text, picture, text */
    for (uint32_t i = 0; i < turn.n_span; i++) {
        const fvi_kv_span *span = &turn.spans[i];
        bool is_vision = i == 2 || i == 4;
        assert_int_equal(span->first, first);
        assert_int_equal(span->modality, is_vision ? FOVEA_MODALITY_VISION : FOVEA_MODALITY_TEXT);
        assert_int_equal(span->flags, i == 0 ? FVI_KV_TAG_PROTECTED : 0);
        if (is_vision) {
            assert_int_equal(span->n, n_patch);
            assert_int_equal(span->image, n_vision);
            assert_int_equal(span->grid_width, h.model->grid_width);
            assert_int_equal(turn.images[n_vision].row, first);
            n_vision++;
        }
        for (uint32_t t = first; t < first + span->n; t++) {
            assert_int_equal(turn.ids.data[t] == h.model->image_token, is_vision);
        }
        first += span->n;
    }
    assert_int_equal(turn.spans[0].n, 1);
    assert_int_equal(first, turn.ids.n);
    assert_int_equal(turn.n_vision, 2 * n_patch);
    assert_int_equal(turn.n_text, turn.ids.n - 2 * n_patch);
    fvi_turn_free(&turn);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
