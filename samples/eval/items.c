/* items.c - reading of question sets. */
#include "samples/eval/items.h"

#include "samples/common/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void eval_set_free(eval_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        eval_item *item = &set->items[i];
        for (size_t k = 0; item->images != NULL && k < item->n_image; k++) {
            free(item->images[k]);
        }
        free(item->images);
        json_decref(item->root);
    }
    free(set->items);
    free(set->kinds);
    memset(set, 0, sizeof(*set));
}

static bool are_strings(const json_t *list)
{
    size_t i;
    json_t *value;

    if (!json_is_array(list)) {
        return false;
    }
    json_array_foreach(list, i, value)
    {
        if (!json_is_string(value)) {
            return false;
        }
    }
    return true;
}

/* `name` in the folder of the file `path`. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL && name[0] != '/' ? (int)(slash - path) + 1 : 0;
    char *joined = NULL;

    return asprintf(&joined, "%.*s%s", folder, path, name) < 0 ? NULL : joined;
}

static fovea_status take_images(eval_item *item, const json_t *list, const char *path)
{
    item->n_image = json_array_size(list);
    item->images = calloc(item->n_image + 1, sizeof(*item->images));
    for (size_t i = 0; item->images != NULL && i < item->n_image; i++) {
        item->images[i] = beside(path, json_string_value(json_array_get(list, i)));
        if (item->images[i] == NULL) {
            return FOVEA_ERR_NOMEM;
        }
    }
    return item->images != NULL ? FOVEA_OK : FOVEA_ERR_NOMEM;
}

static bool same_images(const eval_item *a, const eval_item *b)
{
    size_t i = 0;

    while (i < a->n_image && i < b->n_image && strcmp(a->images[i], b->images[i]) == 0) {
        i++;
    }
    return i == a->n_image && i == b->n_image;
}

/* The group of the last line: that of an earlier one, or a new one. */
static void find_group(eval_set *set)
{
    eval_item *last = &set->items[set->n - 1];

    for (size_t i = set->n - 1; i-- > 0;) { /* such lines mostly follow each other */
        if (same_images(&set->items[i], last)) {
            last->group = set->items[i].group;
            return;
        }
    }
    last->group = set->n_group++;
}

static fovea_status find_kind(eval_set *set, const char *name, uint32_t *kind)
{
    const char **grown;

    for (*kind = 0; *kind < set->n_kind; ++*kind) {
        if (strcmp(set->kinds[*kind], name) == 0) {
            return FOVEA_OK;
        }
    }
    grown = realloc(set->kinds, (set->n_kind + 1) * sizeof(*grown));
    if (grown == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    set->kinds = grown;
    set->kinds[set->n_kind++] = name;
    return FOVEA_OK;
}

/* What is wrong with the line, or NULL. */
static const char *fault_of(const json_t *root, bool with_before)
{
    const json_t *before = json_object_get(root, "before");
    const json_t *answers = json_object_get(root, "answers");

    if (!are_strings(json_object_get(root, "images"))) {
        return "\"images\" should be a list of paths";
    }
    if (!json_is_string(json_object_get(root, "question"))) {
        return "\"question\" should be a text";
    }
    if (!are_strings(answers) || json_array_size(answers) == 0) {
        return "\"answers\" should be a list of texts";
    }
    if (!json_is_string(json_object_get(root, "kind"))) {
        return "\"kind\" should be a text";
    }
    if ((before != NULL || with_before) && (!json_is_string(json_object_get(before, "question")) ||
                                            !json_is_string(json_object_get(before, "answer")))) {
        return "\"before\" should have the texts \"question\" and \"answer\"";
    }
    return NULL;
}

static fovea_status take_line(eval_set *set, const char *path, size_t number, const char *line,
                              size_t n_bytes, bool with_before, fovea_error *err)
{
    eval_item *items = realloc(set->items, (set->n + 1) * sizeof(*items));
    json_error_t why;
    const char *fault;
    eval_item *item;
    const json_t *before;
    fovea_status status;

    if (items == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    set->items = items;
    item = &items[set->n];
    memset(item, 0, sizeof(*item));
    item->root = json_loadb(line, n_bytes, JSON_REJECT_DUPLICATES, &why);
    if (item->root == NULL) {
        return sample_fail(err, FOVEA_ERR_FORMAT, "%s:%zu: %s", path, number, why.text);
    }
    set->n++; /* eval_set_free now frees what the item has */
    fault = fault_of(item->root, with_before);
    if (fault != NULL) {
        return sample_fail(err, FOVEA_ERR_FORMAT, "%s:%zu: %s", path, number, fault);
    }
    before = json_object_get(item->root, "before");
    item->question = json_string_value(json_object_get(item->root, "question"));
    item->answers = json_object_get(item->root, "answers");
    item->before_question = json_string_value(json_object_get(before, "question"));
    item->before_answer = json_string_value(json_object_get(before, "answer"));
    status = take_images(item, json_object_get(item->root, "images"), path);
    if (status == FOVEA_OK) {
        status =
            find_kind(set, json_string_value(json_object_get(item->root, "kind")), &item->kind);
        find_group(set);
    }
    return status < 0 ? sample_fail(err, status, "memory is out") : FOVEA_OK;
}

fovea_status eval_set_read(const char *path, size_t limit, bool with_before, eval_set *out,
                           fovea_error *err)
{
    FILE *file = fopen(path, "r");
    fovea_status status = FOVEA_OK;
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;

    memset(out, 0, sizeof(*out));
    if (file == NULL) {
        return sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, strerror(errno));
    }
    while (status == FOVEA_OK && (limit == 0 || out->n < limit) &&
           (length = getline(&line, &capacity, file)) > 0) {
        number++;
        if (strspn(line, " \t\r\n") < (size_t)length) {
            status = take_line(out, path, number, line, (size_t)length, with_before, err);
        }
    }
    if (status == FOVEA_OK && ferror(file)) {
        status = sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (status == FOVEA_OK && out->n == 0) {
        status = sample_fail(err, FOVEA_ERR_FORMAT, "%s: no question in it", path);
    }
    free(line);
    fclose(file);
    if (status < 0) {
        eval_set_free(out);
    }
    return status;
}
