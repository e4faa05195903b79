/* loyalty.c - the shadow of a request and the account of its comparisons. */
#include "sdk/engine/loyalty.h"

#include "sdk/engine/sampler.h"

fovea_status fvi_loyalty_begin(fvi_loyalty *self, const fvi_kv_seq *seq)
{
    FVI_TRY(fvi_kv_seq_fork(seq, &self->full));
    fvi_kv_seq_attend_all(self->full);
    return FOVEA_OK;
}

void fvi_loyalty_add(fvi_loyalty *self, int32_t id, const float *full, const float *held,
                     uint32_t vocab)
{
    self->n_token++;
    self->n_same += id == fvi_argmax(full, vocab);
    self->divergence += fvi_divergence(full, held, vocab);
}

void fvi_loyalty_report(const fvi_loyalty *self, fovea_usage *out)
{
    double n = FVI_MAX(self->n_token, 1u);
    out->loyalty_tokens = self->n_token;
    out->loyalty_share = self->n_same / n;
    out->loyalty_kl = self->divergence / n;
}
