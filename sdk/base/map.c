/* map.c - read-only maps of whole files, and small files read into memory.
 *
 * Weights stay in the page cache and are shared between processes; nothing is written back. */
#include "sdk/base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static fovea_status open_regular(const char *path, int *out_fd, size_t *out_bytes, fovea_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fovea_status code = errno == ENOENT || errno == ENOTDIR ? FOVEA_ERR_NOT_FOUND : FOVEA_ERR_IO;
        return FVI_FAIL(err, code, "%s: %s", path, strerror(errno));
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0) {
        close(fd);
        return FVI_FAIL(err, FOVEA_ERR_IO, "%s: not a regular file", path);
    }
    *out_fd = fd;
    *out_bytes = (size_t)info.st_size;
    return FOVEA_OK;
}

fovea_status fvi_map_open(const char *path, fvi_map *out, fovea_error *err)
{
    int fd;
    size_t n_bytes;
    FVI_TRY(open_regular(path, &fd, &n_bytes, err));
    void *data = NULL;
    if (n_bytes > 0) {
        data = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            int why = errno;
            close(fd);
            return FVI_FAIL(err, FOVEA_ERR_IO, "%s: cannot be mapped: %s", path, strerror(why));
        }
    }
    close(fd);
    *out = (fvi_map){.data = data, .n_bytes = n_bytes};
    return FOVEA_OK;
}

void fvi_map_close(fvi_map *map)
{
    union {
        const uint8_t *in;
        void *out; /* munmap takes a pointer to what it never writes */
    } data = {.in = map->data};
    if (data.out != NULL) {
        munmap(data.out, map->n_bytes);
    }
    *map = (fvi_map){0};
}

fovea_status fvi_file_read(const fovea_alloc *alloc, const char *path, size_t max_bytes, char **data,
                           size_t *n_bytes, fovea_error *err)
{
    int fd;
    size_t size;
    FVI_TRY(open_regular(path, &fd, &size, err));
    fovea_status status = FOVEA_OK;
    char *text = NULL;
    if (size > max_bytes) {
        status = FVI_FAIL(err, FOVEA_ERR_LIMIT, "%s: %zu bytes, more than the %zu allowed", path, size,
                          max_bytes);
        goto done;
    }
    text = fvi_alloc(alloc, size + 1);
    if (text == NULL) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "%s: no memory for %zu bytes", path, size);
        goto done;
    }
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, text + got, size - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            status = FVI_FAIL(err, FOVEA_ERR_IO, "%s: %s", path, n < 0 ? strerror(errno) : "cut short");
            goto done;
        }
        got += (size_t)n;
    }
    text[size] = '\0';
    *data = text;
    *n_bytes = size;
    text = NULL;
done:
    fvi_free(alloc, text);
    close(fd);
    return status;
}
