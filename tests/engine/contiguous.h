/* contiguous.h - a KV cache that never heard of compression: one growing array per list.
 *
 * Force-included when the engine's decoder.c is compiled a second time for tests: the same arithmetic, with
 * another cache beneath it and other names for everything. What `none` computes must be bit-identical. */
#ifndef FOVEA_TESTS_ENGINE_CONTIGUOUS_H
#define FOVEA_TESTS_ENGINE_CONTIGUOUS_H

#define fvi_kv_seq contiguous_seq
#define fvi_kv_seq_n_fresh contiguous_n_fresh
#define fvi_kv_seq_position contiguous_position
#define fvi_kv_seq_open_layer contiguous_open_layer
#define fvi_kv_seq_write contiguous_write
#define fvi_kv_seq_lists contiguous_lists
#define fvi_kv_seq_mass contiguous_mass
#define fvi_kv_seq_attended contiguous_attended

#define fvi_kv_seq_end_turn contiguous_end_turn
#define fvi_kv_seq_append contiguous_append
#define fvi_kv_seq_begin_turn contiguous_begin_turn
#define fvi_kv_seq_commit contiguous_commit
#define fvi_kv_seq_new contiguous_new
#define fvi_kv_seq_free contiguous_free

#define fvi_decoder contiguous_decoder
#define fvi_decoder_new contiguous_decoder_new
#define fvi_decoder_free contiguous_decoder_free
#define fvi_decoder_bytes contiguous_decoder_bytes
#define fvi_decoder_embed contiguous_decoder_embed
#define fvi_decoder_logits contiguous_decoder_logits
#define fvi_prefill_begin contiguous_prefill_begin
#define fvi_prefill_end contiguous_prefill_end
#define fvi_prefill_step contiguous_prefill_step
#define fvi_decode_step contiguous_decode_step
#define fvi_decode_row contiguous_decode_row
#define fvi_prefill contiguous_prefill

/* the harness once more, over this cache */
#define harness contiguous_harness
#define harness_path contiguous_harness_path
#define harness_open contiguous_harness_open
#define harness_close contiguous_harness_close
#define harness_turn contiguous_harness_turn
#define harness_prefill contiguous_harness_prefill
#define harness_decode contiguous_harness_decode
#define harness_argmax contiguous_harness_argmax

#endif
