/* test_small.c - the small parts of fovead: UTF-8, base64, arena, addresses, options, lanes. */
#include "serve/address.h"
#include "serve/arena.h"
#include "serve/base64.h"
#include "serve/error.h"
#include "serve/lane.h"
#include "serve/options.h"
#include "serve/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Encodes a code point the long way, without asking whether it is allowed. */
static size_t encode(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(leads[n] | code);
    return n;
}

static void test_utf8_all_code_points(void **state)
{
    (void)state;
    char text[4];
    for (uint32_t code = 0; code < 0x140000; code++) {
        size_t n = encode(code, text);
        bool allowed = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
        if (fvi_wire_utf8_valid(text, n) != allowed) {
            fail_msg("U+%X: expected %d", code, allowed);
        }
        for (size_t cut = 1; cut < n; cut++) {
            assert_false(fvi_wire_utf8_valid(text, cut));
        }
    }
}

static void test_utf8_edges(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",
                                      "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80",
                                      "a\xff",        "\xc3\xc3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(fvi_wire_utf8_valid(bad[i], strlen(bad[i])));
    }
    char out[32];
    assert_int_equal(fvi_wire_utf8_repair("a\0\xc3\xa9\xc3", 5, out), 9);
    assert_string_equal(out, "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd");
    assert_int_equal(fvi_wire_utf8_repair("", 0, out), 0);
    assert_string_equal(out, "");
    assert_int_equal(fvi_wire_utf8_cut("ab\xe2\x82\xac", 5), 5);
    assert_int_equal(fvi_wire_utf8_cut("ab\xe2\x82", 4), 2);
    assert_int_equal(fvi_wire_utf8_cut("ab\xe2", 3), 2);
    assert_int_equal(fvi_wire_utf8_cut("ab", 2), 2);
}

static void test_error_texts(void **state)
{
    (void)state;
    fvi_rpc_error err;
    char text[600];
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof err.text - 3, "\xe2\x82\xac", 3); /* cut in the middle */
    text[sizeof text - 1] = '\0';
    assert_false(fvi_rpc_fail(&err, GRPC_STATUS_INTERNAL, "%s", text));
    assert_int_equal(strlen(err.text), sizeof err.text - 3);
    assert_true(fvi_wire_utf8_valid(err.text, strlen(err.text)));
    fovea_error cause = {.text = "unknown"};
    fvi_rpc_fail_from(&err, "recipe", FOVEA_ERR_ARG, &cause);
    assert_int_equal(err.code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.text, "recipe: unknown");
    fvi_rpc_fail_from(&err, NULL, FOVEA_ERR_FULL, NULL);
    assert_int_equal(err.code, GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(err.text, fovea_status_text(FOVEA_ERR_FULL));
    assert_int_equal(fvi_rpc_code(FOVEA_ERR_DEADLINE), GRPC_STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(fvi_rpc_code(FOVEA_ERR_CLOSED), GRPC_STATUS_UNAVAILABLE);
}

static void test_base64(void **state)
{
    (void)state;
    /* RFC 4648, section 10 */
    static const char *const good[][2] = {{"Zg==", "f"},         {"Zm8=", "fo"},
                                          {"Zm9v", "foo"},       {"Zm9vYg==", "foob"},
                                          {"Zm9vYmE=", "fooba"}, {"Zm9vYmFy", "foobar"}};
    static const char *const bad[] = {"",      "Zg=",  "Zg",   "Z===",     "====",   "Zg==Zg==",
                                      "Zm9\n", "Zm-v", "=m9v", "Zm9vYg=a", "Zm9v Ym"};
    uint8_t out[16];
    size_t n;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(fvi_wire_base64(good[i][0], strlen(good[i][0]), out, &n));
        assert_int_equal(n, strlen(good[i][1]));
        assert_memory_equal(out, good[i][1], n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(fvi_wire_base64(bad[i], strlen(bad[i]), out, &n));
    }
    assert_true(fvi_wire_base64("+/+/", 4, out, &n));
    assert_memory_equal(out, "\xfb\xff\xbf", 3);
}

static void test_arena(void **state)
{
    (void)state;
    fvi_wire_arena arena;
    fvi_wire_arena_init(&arena, 100000);
    uint8_t *before = NULL;
    size_t total = 0;
    for (size_t i = 0; total + 1024 < 100000; i++) {
        size_t n = 1 + i * 37 % 1000;
        uint8_t *block = fvi_wire_arena_alloc(&arena, n);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_true(block != before);
        memset(block, 0xa5, n); /* the sanitizers watch */
        before = block;
        total += (n + 15) / 16 * 16;
    }
    assert_int_equal(arena.total, total);
    assert_null(fvi_wire_arena_alloc(&arena, 100000 - total + 1));
    assert_null(fvi_wire_arena_alloc(&arena, SIZE_MAX));
    assert_null(fvi_wire_arena_calloc(&arena, SIZE_MAX / 2, 4));
    fvi_wire_arena_reset(&arena);
    uint8_t *large = fvi_wire_arena_calloc(&arena, 1, 99984); /* a block of its own */
    assert_non_null(large);
    assert_int_equal(large[0] | large[99983], 0);
    assert_null(fvi_wire_arena_alloc(&arena, 17));
    fvi_wire_arena_reset(&arena);
    assert_non_null(fvi_wire_arena_alloc(&arena, 64));
    fvi_wire_arena_free(&arena);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        fovea_status status;
    } cases[] = {
        {"127.0.0.1:50051", "127.0.0.1", 50051, FOVEA_OK},
        {"127.1.2.3:0", "127.1.2.3", 0, FOVEA_OK},
        {"localhost:80", "127.0.0.1", 80, FOVEA_OK},
        {"[::1]:65535", "[::1]", 65535, FOVEA_OK},
        {"0.0.0.0:80", NULL, 0, FOVEA_ERR_UNSUPPORTED},
        {"128.0.0.1:80", NULL, 0, FOVEA_ERR_UNSUPPORTED},
        {"[::]:80", NULL, 0, FOVEA_ERR_UNSUPPORTED},
        {"[::ffff:127.0.0.1]:80", NULL, 0, FOVEA_ERR_UNSUPPORTED},
        {"example.org:80", NULL, 0, FOVEA_ERR_UNSUPPORTED},
        {"127.0.0.1", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:", NULL, 0, FOVEA_ERR_ARG},
        {":80", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:65536", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:-1", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:+80", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:8o", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1:000080", NULL, 0, FOVEA_ERR_ARG},
        {"::1:80", NULL, 0, FOVEA_ERR_ARG},
        {"[]:80", NULL, 0, FOVEA_ERR_ARG},
        {"", NULL, 0, FOVEA_ERR_ARG},
        {"127.0.0.1111111111111111111111111111111111111111111111:80", NULL, 0, FOVEA_ERR_ARG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fvi_address address = {0};
        fovea_error err = {0};
        assert_int_equal(fvi_address_parse(cases[i].text, &address, &err), cases[i].status);
        if (cases[i].status == FOVEA_OK) {
            assert_string_equal(address.host, cases[i].host);
            assert_int_equal(address.port, cases[i].port);
        } else {
            assert_int_equal(err.code, cases[i].status);
            assert_non_null(strstr(err.text, cases[i].text));
        }
    }
}

static void test_listen(void **state)
{
    (void)state;
    fvi_address first, second;
    fovea_error err = {0};
    int fd = -1, other = -1;
    assert_int_equal(fvi_address_parse("127.0.0.1:0", &first, NULL), FOVEA_OK);
    assert_int_equal(fvi_address_listen(&first, &fd, &err), FOVEA_OK);
    assert_int_not_equal(first.port, 0);
    second = first; /* the port is taken now */
    assert_int_equal(fvi_address_listen(&second, &other, &err), FOVEA_ERR_IO);
    assert_int_equal(other, -1);
    close(fd);
}

static void test_bytes(void **state)
{
    (void)state;
    uint64_t n = 0;
    assert_true(fvi_serve_parse_bytes("0", &n) && n == 0);
    assert_true(fvi_serve_parse_bytes("4096", &n) && n == 4096);
    assert_true(fvi_serve_parse_bytes("3KiB", &n) && n == 3072);
    assert_true(fvi_serve_parse_bytes("2GiB", &n) && n == (uint64_t)2 << 30);
    static const char *const bad[] = {
        "", "KiB", "1kb", "-1", "+1", " 1", "1 KiB", "1KiB ", "0x10", "99999999999GiB", "1.5GiB"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(fvi_serve_parse_bytes(bad[i], &n));
    }
}

static fovea_status parse(int argc, const char *const *words, fvi_serve_options *out)
{
    char copies[8][64], *argv[8] = {0};
    for (int i = 0; i < argc; i++) {
        strcpy(copies[i], words[i]);
        argv[i] = copies[i];
    }
    fovea_status status = fvi_serve_options_parse(argc, argv, out, NULL);
    out->listen = out->model = NULL; /* they point into copies */
    return status;
}

static void test_options(void **state)
{
    (void)state;
    fvi_serve_options options = {0};
    const char *const plain[] = {"fovead", "--model", "m"};
    assert_int_equal(parse(3, plain, &options), FOVEA_OK);
    assert_int_equal(options.kv_bytes, 256 << 20);
    assert_int_equal(options.max_message_bytes, 32 << 20);
    assert_int_equal(options.precision, FOVEA_PRECISION_BF16);
    const char *const full[] = {
        "fovead",      "--model=m", "--kv-bytes=1GiB",  "--precision", "f32",
        "--max-queue", "7",         "--log-level=debug"};
    assert_int_equal(parse(8, full, &options), FOVEA_OK);
    assert_int_equal(options.kv_bytes, 1 << 30);
    assert_int_equal(options.precision, FOVEA_PRECISION_F32);
    assert_int_equal(options.max_queue, 7);
    assert_int_equal(options.log_level, FOVEA_LOG_DEBUG);
    const char *const units[] = {"fovead", "--model", "m", "--threads", "1KiB"};
    assert_int_equal(parse(5, units, &options), FOVEA_ERR_ARG);
}

/* ---- lane ---- */

#define N_NODE 8

typedef struct worker {
    fvi_lane *lane;
    fvi_lane_node node;
    _Atomic uint32_t n_run;
    uint32_t n_more; /* pushes of its own, from inside its run */
} worker;

static void run_worker(void *owner)
{
    worker *self = owner;
    atomic_fetch_add(&self->n_run, 1);
    if (self->n_more > 0) {
        self->n_more--;
        fvi_lane_push(self->lane, &self->node);
    }
}

static void test_lane(void **state)
{
    (void)state;
    fvi_lane lane;
    worker workers[N_NODE] = {0};
    assert_true(fvi_lane_start(&lane, 1));
    for (uint32_t i = 0; i < N_NODE; i++) {
        workers[i].lane = &lane;
        workers[i].node = (fvi_lane_node){.run = run_worker, .owner = &workers[i]};
        workers[i].n_more = i;
    }
    uint32_t pushed[N_NODE] = {0};
    for (int round = 0; round < 1000; round++) {
        uint32_t i = (uint32_t)round % N_NODE;
        pushed[i] += fvi_lane_push(&lane, &workers[i].node);
    }
    fvi_lane_stop(&lane);
    for (uint32_t i = 0; i < N_NODE; i++) {
        uint32_t n_run = atomic_load(&workers[i].n_run);
        /* A push from inside may have found the node queued from outside. */
        assert_true(n_run >= pushed[i] && n_run <= pushed[i] + i);
        assert_int_equal(workers[i].n_more, n_run > i ? 0 : workers[i].n_more);
        assert_false(workers[i].node.queued);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_all_code_points),
        cmocka_unit_test(test_utf8_edges),
        cmocka_unit_test(test_error_texts),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_lane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
