/* place.c - placing runs in a chain of extents, and taking the extents for them.
 *
 * Only the last extent of a chain is ever extended, and only before anything is placed that would break at
 * its end, so that what is placed stays where a later walk finds it. Called by seq.c and its siblings. */
#include "kvcompress/place.h"

size_t fvi_kv_run_bytes(const fvi_kv_shape *shape, uint32_t n_row)
{
    size_t n_bytes = fvi_codec_bytes(shape->codec, n_row, shape->dk, shape->dv);
    if (shape->recall == NULL || n_row == 0) {
        return n_bytes;
    }
    if (n_row > FVI_KV_PAGE) {
        uint32_t n_page = (n_row - 1) / FVI_KV_PAGE;
        return n_page * fvi_round_up(fvi_kv_run_bytes(shape, FVI_KV_PAGE), FVI_RUN_ALIGN) +
               fvi_kv_run_bytes(shape, n_row - n_page * FVI_KV_PAGE);
    }
    return fvi_kv_summary_at(shape, n_row) + shape->recall->summary_bytes(shape->dk);
}

size_t fvi_kv_summary_at(const fvi_kv_shape *shape, uint32_t n_row)
{
    return fvi_round_up(fvi_codec_bytes(shape->codec, n_row, shape->dk, shape->dv), 2);
}

size_t fvi_kv_run_place_bytes(const fvi_kv_shape *shape, uint32_t n_row)
{
    return fvi_round_up(fvi_kv_run_bytes(shape, n_row), FVI_RUN_ALIGN);
}

uint32_t fvi_kv_run_fit(const fvi_kv_shape *shape, uint32_t n_row, size_t room)
{
    if (fvi_kv_run_bytes(shape, n_row) <= room) {
        return n_row;
    }
    uint32_t fits = 0, exceeds = n_row;
    while (exceeds - fits > 1) {
        uint32_t middle = fits + (exceeds - fits) / 2;
        if (fvi_kv_run_bytes(shape, middle) <= room) {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    return fits;
}

uint32_t fvi_kv_run_worst_pieces(const fvi_kv_shape *shape, uint32_t n_row, size_t granule)
{
    uint32_t per_granule = fvi_kv_run_fit(shape, n_row, granule);
    return per_granule == 0 ? 0 : (n_row - 1) / per_granule + 1;
}

size_t fvi_kv_run_worst_bytes(const fvi_kv_shape *shape, uint32_t n_row, size_t granule)
{
    return fvi_kv_run_worst_pieces(shape, n_row, granule) * (granule + sizeof(fvi_kv_extent));
}

bool fvi_kv_place(const fvi_kv_pool *pool, fvi_kv_cursor *at, const fvi_kv_shape *shape,
                  uint32_t n_row, fvi_kv_piece *out)
{
    while (at->extent != NULL) {
        size_t room = fvi_kv_extent_bytes(pool, at->extent) - at->offset;
        uint32_t most = shape->recall != NULL ? FVI_MIN(n_row, FVI_KV_PAGE) : n_row;
        uint32_t n = fvi_kv_run_fit(shape, most, room);
        if (n > 0) {
            *out = (fvi_kv_piece){.data = at->extent->data + at->offset, .n_row = n};
            at->offset += FVI_MIN(fvi_kv_run_place_bytes(shape, n), room);
            return true;
        }
        *at = (fvi_kv_cursor){.extent = at->extent->next};
    }
    return false;
}

/* Lengthens the chain so that at least one more row fits behind the cursor. */
static fovea_status grow_chain(fvi_kv_packer *packer, const fvi_kv_shape *shape, uint32_t n_row,
                               size_t n_behind)
{
    size_t need = fvi_kv_run_place_bytes(shape, n_row) + n_behind;
    size_t room = 0;
    if (packer->last != NULL && packer->at.extent == packer->last) {
        room = fvi_kv_extent_bytes(packer->pool, packer->last) - packer->at.offset;
        fvi_kv_pool_extend(packer->pool, packer->last, need - room);
        room = fvi_kv_extent_bytes(packer->pool, packer->last) - packer->at.offset;
    }
    uint32_t n_fit = fvi_kv_run_fit(shape, n_row, room);
    if (n_fit == n_row) {
        return FOVEA_OK;
    }
    fvi_kv_extent *extent;
    size_t want = fvi_kv_run_place_bytes(shape, n_row - n_fit) + n_behind;
    FVI_TRY(fvi_kv_pool_take(packer->pool, want, FVI_MAX(want, packer->room), &extent));
    if (packer->last == NULL) {
        packer->head = extent;
    } else {
        packer->last->next = extent;
    }
    packer->last = extent;
    if (packer->at.extent == NULL) {
        packer->at.extent = extent;
    }
    return FOVEA_OK;
}

fovea_status fvi_kv_pack_reserve(fvi_kv_packer *packer, const fvi_kv_shape *shape, uint32_t n_row,
                                 size_t n_behind)
{
    while (n_row > 0) {
        bool is_last = packer->at.extent == packer->last;
        size_t room =
            packer->at.extent == NULL
                ? 0
                : fvi_kv_extent_bytes(packer->pool, packer->at.extent) - packer->at.offset;
        if (is_last && fvi_kv_run_bytes(shape, n_row) > room) {
            FVI_TRY(grow_chain(packer, shape, n_row, n_behind));
        }
        fvi_kv_piece piece;
        if (!fvi_kv_place(packer->pool, &packer->at, shape, n_row, &piece)) {
            return FOVEA_ERR_INTERNAL;
        }
        packer->n_piece++;
        packer->room -= FVI_MIN(packer->room, fvi_kv_run_place_bytes(shape, piece.n_row));
        n_row -= piece.n_row;
    }
    return FOVEA_OK;
}
