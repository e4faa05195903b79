"""A foreign client (Python's grpcio) against fovead: every answer and every refusal with its status.

Runs with the double of the engine and with the real one; the word "slow" makes the double slow.
"""
import base64
import threading
import time
import unittest

import grpc

import wire
from wire import (ASSISTANT, control_pb2, health_pb2, image, inference_pb2, message, png, request,
                  status_of, text, types_pb2)

CODE = grpc.StatusCode
MAX_MESSAGE = 4 << 20
MAX_IMAGES = 4
LONG = 4000  # more tokens than are made while a test looks away
QUESTION = "What is in the picture? slow"


class WireTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = wire.Server("--max-message-bytes", str(MAX_MESSAGE), "--max-images",
                                 str(MAX_IMAGES), "--kv-bytes", "64MiB")
        cls.client = wire.Client(cls.server.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        code = cls.server.stop()
        if code != 0:
            raise AssertionError(f"fovead ended with {code}\n{cls.server.read_log()}")

    def generate(self, *args, **fields):
        return self.client.inference.Generate(request(*args, **fields), timeout=60)

    def refused(self, code, begin, body, method="Generate"):
        got, details = status_of(lambda: getattr(self.client.inference, method)(body, timeout=60))
        self.assertEqual((got, details[:len(begin)]), (code, begin), details)


class Answers(WireTest):
    def check_accounts(self, prompt, completion, vision):
        usage, ledger = completion.usage, completion.ledger
        self.assertEqual(ledger.realised_bytes,
                         ledger.text_bytes + ledger.vision_bytes + ledger.shared_bytes)
        self.assertEqual(sum(kind.payload_bytes for kind in ledger.kinds),
                         ledger.text_bytes + ledger.vision_bytes)
        self.assertGreater(ledger.full_bytes, 0)
        self.assertGreater(usage.text_tokens, 0)
        self.assertEqual(usage.vision_tokens, sum(m.vision_tokens for m in prompt.media))
        self.assertEqual(usage.vision_tokens > 0, vision)
        self.assertEqual((prompt.text_tokens, prompt.vision_tokens),
                         (usage.text_tokens, usage.vision_tokens))
        self.assertAlmostEqual(prompt.kept_vision_tokens,
                               ledger.kept_vision_slots / (ledger.layers * ledger.kv_heads))

    def test_text(self):
        reply = self.generate(text("Say something."))
        self.assertLessEqual(reply.completion.usage.output_tokens, 8)
        self.assertNotEqual(reply.completion.finish_reason, types_pb2.FINISH_REASON_UNSPECIFIED)
        self.assertTrue(reply.prompt.request_id)
        self.assertEqual(reply.prompt.recipe, "none")
        self.check_accounts(reply.prompt, reply.completion, vision=False)

    def test_one_image(self):
        reply = self.generate(image(uuid="first"), text(QUESTION))
        self.check_accounts(reply.prompt, reply.completion, vision=True)
        self.assertEqual([m.uuid for m in reply.prompt.media], ["first"])
        grid = reply.prompt.media[0]
        self.assertEqual(grid.grid_width_tokens * grid.grid_height_tokens, grid.vision_tokens)

    def test_two_images(self):
        reply = self.generate(image(uuid="a"), image(png(40, 20), uuid="b"), text(QUESTION))
        self.check_accounts(reply.prompt, reply.completion, vision=True)
        first, second = reply.prompt.media
        self.assertEqual((first.uuid, second.uuid), ("a", "b"))
        self.assertGreaterEqual(second.first_token, first.first_token)
        self.assertEqual(reply.completion.usage.images, 2)

    def test_second_turn(self):
        once = self.generate(image(), text(QUESTION))
        body = inference_pb2.GenerateRequest(
            messages=[message(image(), text(QUESTION)), message(text("A box."), role=ASSISTANT),
                      message(text("Which colour?"))],
            sampling=types_pb2.Sampling(max_tokens=8))
        twice = self.client.inference.Generate(body, timeout=60)
        self.check_accounts(twice.prompt, twice.completion, vision=True)
        self.assertGreater(twice.prompt.text_tokens, once.prompt.text_tokens)
        self.assertEqual(twice.prompt.vision_tokens, once.prompt.vision_tokens)

    def test_raw_prompt(self):
        body = inference_pb2.GenerateRequest(
            raw_prompt="<image> A picture of", media=[image().media],
            sampling=types_pb2.Sampling(max_tokens=4))
        reply = self.client.inference.Generate(body, timeout=60)
        self.check_accounts(reply.prompt, reply.completion, vision=True)

    def test_stream(self):
        body = request(image(), text(QUESTION), max_tokens=12, return_tokens=True,
                       return_prompt_token_ids=True)
        whole = self.client.inference.Generate(body, timeout=60)
        events = list(self.client.inference.GenerateStream(body, timeout=60))
        kinds = [event.WhichOneof("event") for event in events]
        self.assertEqual((kinds[0], kinds[-1]), ("prompt", "completion"))
        self.assertEqual(set(kinds[1:-1]), {"delta"})
        deltas = [event.delta for event in events[1:-1]]
        tokens = [token for delta in deltas for token in delta.tokens]
        self.assertEqual("".join(delta.text for delta in deltas), whole.text)
        self.assertEqual("".join(token.text for token in tokens), whole.text)
        self.assertEqual([t.id for t in tokens], [t.id for t in whole.tokens])
        self.check_accounts(events[0].prompt, events[-1].completion, vision=True)
        ids = list(whole.completion.prompt_token_ids)
        self.assertEqual(list(events[-1].completion.prompt_token_ids), ids)
        if not wire.FAKE:
            self.assertEqual(len(ids), whole.prompt.text_tokens + whole.prompt.vision_tokens)

    def test_logprobs(self):
        body = request(text("Say something."), max_tokens=3, ignore_end=True)
        body.sampling.logprobs = 5
        reply = self.client.inference.Generate(body, timeout=60)
        self.assertGreater(len(reply.tokens), 0)
        for token in reply.tokens:
            row = [top.logprob for top in token.top]
            self.assertEqual(len(row), 5)
            self.assertEqual(row, sorted(row, reverse=True))
            self.assertLessEqual(max(row), 0)

    def test_plan(self):
        reply = self.client.inference.Plan(request(image(), text(QUESTION)), timeout=60)
        self.assertEqual(reply.completion.finish_reason, types_pb2.FINISH_REASON_PLAN)
        self.assertEqual(reply.completion.usage.output_tokens, 0)
        self.check_accounts(reply.prompt, reply.completion, vision=True)

    def test_recipe(self):
        reply = self.generate(image(), text(QUESTION), recipe="vl-cache:keep=0.5")
        self.assertEqual(reply.prompt.recipe, "vl-cache:keep=0.5")
        self.check_accounts(reply.prompt, reply.completion, vision=True)
        if not wire.FAKE:
            full = self.generate(image(), text(QUESTION))
            self.assertLess(reply.completion.ledger.realised_bytes,
                            full.completion.ledger.realised_bytes)

    def test_recipe_fields(self):
        if wire.FAKE:
            return
        part = types_pb2.RecipePart
        asked = [(types_pb2.Recipe(preset="vl-cache", bytes_percent=12.5, seed=0,
                                   both=part(recent=0), text=part(protect_all=True, kind="int8"),
                                   vision=part(kind="int4")),
                  "vl-cache:bytes=12.5%,text=int8,vision=int4,recent=0,text.protect=all,seed=0"),
                 (types_pb2.Recipe(score="random", budget="uniform", sink_tokens=2, exact_tokens=0,
                                   text=part(keep=1, protect_tokens=0), vision=part(keep=0.05)),
                  "score=random,budget=uniform,text.keep=1,vision.keep=0.05,text.protect=0,sinks=2,exact=0"),
                 (types_pb2.Recipe(preset="random", bytes=300000), "random:bytes=300000"),
                 (types_pb2.Recipe(preset="random", both=part(keep=0.5), vision=part(merge="d2o")),
                  "random:keep=0.5,vision.merge=d2o"),
                 (types_pb2.Recipe(reviser="h2o", cap_tokens=256, evicted_kind="int2"),
                  "while=h2o,cap=256,evicted=int2"),
                 (types_pb2.Recipe(preset="quest", attend_tokens=128), "quest:attend=128"),
                 (types_pb2.Recipe(recall="quest"), "recall=quest"),
                 (types_pb2.Recipe(preset="vl-cache", bytes_percent=20, prefill_cap=0),
                  "vl-cache:bytes=20%,prefill.cap=none"),
                 (types_pb2.Recipe(preset="vl-cache", bytes_percent=20, prefill_cap=3),
                  "vl-cache:bytes=20%,prefill.cap=3"),
                 (types_pb2.Recipe(), "none")]
        for fields, recipe in asked:
            reply = self.generate(image(), text(QUESTION), recipe_fields=fields)
            self.assertEqual(reply.prompt.recipe, recipe)
            same = self.generate(image(), text(QUESTION), recipe=recipe)
            self.assertEqual(str(reply.completion.ledger), str(same.completion.ledger))
            self.assertEqual(reply.text, same.text)
            self.check_accounts(reply.prompt, reply.completion, vision=True)

    def test_loyalty(self):
        lossy = "streaming:keep=0.1,prefill.cap=none"    # which loyalty implies
        long = {"max_tokens": 12, "ignore_end": True}
        plain = self.generate(image(), text(QUESTION), recipe=lossy, **long)
        self.assertFalse(plain.completion.usage.HasField("loyalty"))
        for recipe in ("none", lossy):
            body = request(image(), text(QUESTION), recipe=recipe, loyalty=True, **long)
            reply = self.client.inference.Generate(body, timeout=60)
            usage = reply.completion.usage
            self.assertTrue(usage.HasField("loyalty"))
            loyalty = usage.loyalty
            self.assertEqual(loyalty.tokens, 11)
            if wire.FAKE:
                self.assertEqual((loyalty.share, loyalty.kl_nats), (0.75, 0.125))
            elif recipe == "none":
                self.assertEqual((loyalty.share, loyalty.kl_nats), (1, 0))
            else:
                self.assertEqual(reply.text, plain.text)
                self.assertTrue(0 <= loyalty.share <= 1)
                self.assertGreater(loyalty.kl_nats, 0)
            *_, last = self.client.inference.GenerateStream(body, timeout=60)
            self.assertEqual(last.completion.usage, usage)
        short = self.generate(image(), text(QUESTION), loyalty=True, max_tokens=1)
        self.assertEqual(short.completion.usage.loyalty, types_pb2.Loyalty(
            **({"share": 0.75, "kl_nats": 0.125} if wire.FAKE else {})))
        self.assertTrue(short.completion.usage.HasField("loyalty"))

    def test_data_uri(self):
        uri = "data:image/png;base64," + base64.b64encode(png()).decode()
        body = request(types_pb2.Part(media=types_pb2.MediaItem(data_uri=uri)), text(QUESTION))
        same = self.generate(image(), text(QUESTION))
        reply = self.client.inference.Generate(body, timeout=60)
        self.assertEqual(reply.text, same.text)

    def test_later_fields(self):
        """A client of a later revision sends fields that this server does not know."""
        known = request(text("Say something."), max_tokens=2, ignore_end=True).SerializeToString()
        call = self.client.channel.unary_unary("/fovea.v1.Inference/Generate")
        unknown = b"\xfa\x3f\x04abcd" + b"\xf8\x3f\x07"
        reply = inference_pb2.GenerateResponse.FromString(call(unknown + known, timeout=60))
        self.assertGreater(reply.completion.usage.output_tokens, 0)


class Refusals(WireTest):
    def test_broken_image(self):
        path = "messages[0].parts[1].media.raw_bytes: "
        for data in (b"GIF89a" + bytes(64), png()[:40] if not wire.FAKE else b"\x89PNG", b""):
            self.refused(CODE.INVALID_ARGUMENT, path, request(text("Look:"), image(data)))

    def test_media(self):
        def media(**fields):
            return request(types_pb2.Part(media=types_pb2.MediaItem(**fields)))
        at = "messages[0].parts[0].media"
        bad = CODE.INVALID_ARGUMENT
        self.refused(bad, at + ".url: this server fetches nothing", media(url="http://localhost/a"))
        self.refused(bad, at + ": raw_bytes or data_uri", media())
        self.refused(bad, at + ".modality: ", media(modality=7, raw_bytes=png()))
        self.refused(bad, at + ".mime_type: ", media(mime_type="video/mp4", raw_bytes=png()))
        self.refused(bad, at + ".data_uri: expected", media(data_uri="data:text/plain,hello"))
        self.refused(bad, at + ".data_uri: the base64", media(
            data_uri="data:image/png;base64,====AAAA"))
        self.refused(bad, at + ".uuid: ", media(uuid="x" * 200, raw_bytes=png()))

    def test_recipe(self):
        for recipe in ("nonsense", "nonsense:keep=0.1", "none:"):
            self.refused(CODE.INVALID_ARGUMENT, "recipe: ", request(text("Hi"), recipe=recipe))
        if not wire.FAKE:
            body = request(image(), text(QUESTION), recipe="vl-cache:bytes=1")
            self.refused(CODE.INVALID_ARGUMENT, "recipe: ", body)
            self.refused(CODE.INVALID_ARGUMENT, "recipe: ", body, "Plan")

    def test_loyalty(self):
        self.refused(CODE.INVALID_ARGUMENT, "loyalty: compares tokens",
                     request(text("Hi"), loyalty=True), "Plan")

    def test_recipe_fields(self):
        recipe, part = types_pb2.Recipe, types_pb2.RecipePart
        both = request(text("Hi"), recipe="none", recipe_fields=recipe())
        self.refused(CODE.INVALID_ARGUMENT, "recipe_fields: stands beside recipe", both)
        bad = [(recipe(preset="random", text=part(keep=0)), "recipe_fields.text.keep: must be above 0"),
               (recipe(preset="random", bytes_percent=0), "recipe_fields.bytes_percent: must be above 0"),
               (recipe(preset="nonsense"), "recipe_fields: ")]
        if not wire.FAKE:
            bad += [(recipe(preset="random", vision=part(keep=1.5)), "recipe_fields: recipe: vision.keep=1.5"),
                    (recipe(preset="random", both=part(keep=float("nan"))), "recipe_fields: recipe: keep=nan"),
                    (recipe(preset="random"), "recipe_fields: recipe: score 'random' needs keep="),
                    (recipe(preset=""), "recipe_fields: "),
                    (recipe(preset="random,keep=0.5:"), "recipe_fields: "),
                    (recipe(preset="random", bytes=1e6, both=part(keep=0.5)),
                     "recipe_fields: recipe: keep= and bytes= exclude"),
                    (recipe(vision=part(kind="int3")), "recipe_fields: recipe: vision=int3")]
        for fields, words in bad:
            self.refused(CODE.INVALID_ARGUMENT, words, request(text("Hi"), recipe_fields=fields))

    def test_fields(self):
        def sampling(**fields):
            body = request(text("Hi"))
            body.sampling.MergeFrom(types_pb2.Sampling(**fields))
            return body
        both = request(text("Hi"))
        both.raw_prompt = "Hi"
        stray = request(text("Hi"))
        stray.media.append(image().media)
        cases = [
            (inference_pb2.GenerateRequest(), "messages: at least one"),
            (both, "raw_prompt: stands beside messages"),
            (stray, "media: belongs to raw_prompt"),
            (inference_pb2.GenerateRequest(raw_prompt=""), "raw_prompt: is empty"),
            (inference_pb2.GenerateRequest(raw_prompt="<image>"), "raw_prompt: "),
            (inference_pb2.GenerateRequest(messages=[message(text("Hi"), role=0)]),
             "messages[0].role: "),
            (inference_pb2.GenerateRequest(messages=[message(text("Hi")), message()]),
             "messages[1].parts: "),
            (request(text("Hi"), types_pb2.Part()), "messages[0].parts[1]: text or media"),
            (request(text("a\0b")), "messages[0].parts[0].text: a NUL"),
            (request(text("Hi"), request_id=""), "request_id: "),
            (request(text("Hi"), request_id="x" * 129), "request_id: "),
            (sampling(temperature=float("nan")), "sampling.temperature: "),
            (sampling(temperature=-1), "sampling.temperature: "),
            (sampling(top_p=0), "sampling.top_p: "),
            (sampling(top_p=1.5), "sampling.top_p: "),
            (sampling(min_p=-0.1), "sampling.min_p: "),
            (sampling(max_tokens=0), "sampling.max_tokens: "),
            (sampling(logprobs=21), "sampling.logprobs: "),
            (sampling(stop=["x"] * 17), "sampling.stop: "),
            (sampling(stop=["x", ""]), "sampling.stop[1]: "),
        ]
        for body, begin in cases:
            with self.subTest(begin):
                self.refused(CODE.INVALID_ARGUMENT, begin, body)

    def test_not_utf8(self):
        body = request(text("Hi??")).SerializeToString().replace(b"??", b"\xff\xfe")
        call = self.client.channel.unary_unary("/fovea.v1.Inference/Generate")
        self.assertEqual(status_of(lambda: call(body, timeout=60)),
                         (CODE.INVALID_ARGUMENT,
                          "messages[0].parts[0].text: the text is not UTF-8"))

    def test_oversize(self):
        got, details = status_of(lambda: self.generate(image(png() + bytes(MAX_MESSAGE))))
        self.assertEqual(got, CODE.RESOURCE_EXHAUSTED)
        self.assertIn(str(MAX_MESSAGE), details)
        self.refused(CODE.RESOURCE_EXHAUSTED, "messages[0].parts[0].text: ",
                     request(text("a" * (MAX_MESSAGE // 2))))

    def test_too_many_images(self):
        parts = [image() for _ in range(MAX_IMAGES + 1)]
        self.refused(CODE.RESOURCE_EXHAUSTED, f"messages[0].parts[{MAX_IMAGES}].media",
                     request(*parts))

    def test_compressed(self):
        got, _ = status_of(lambda: self.client.inference.Generate(
            request(text("Hi")), timeout=60, compression=grpc.Compression.Gzip))
        self.assertEqual(got, CODE.UNIMPLEMENTED)

    def test_unknown_method(self):
        call = self.client.channel.unary_unary("/fovea.v1.Inference/Nothing")
        self.assertEqual(status_of(lambda: call(b"", timeout=10))[0], CODE.UNIMPLEMENTED)

    def test_deadline(self):
        body = request(image(), text(QUESTION), max_tokens=LONG, ignore_end=True)
        for method in ("Generate", "GenerateStream"):
            begin = time.monotonic()
            call = getattr(self.client.inference, method)
            got, _ = status_of(lambda: call(body, timeout=0.05))
            self.assertEqual(got, CODE.DEADLINE_EXCEEDED)
            self.assertLess(time.monotonic() - begin, 5)
            self.client.idle()


class Running(WireTest):
    def start(self, **fields):
        """A long stream, up to its first delta."""
        call = self.client.inference.GenerateStream(
            request(image(), text(QUESTION), max_tokens=LONG, ignore_end=True,
                    **fields), timeout=60)
        first = next(call)
        self.assertEqual(first.WhichOneof("event"), "prompt")
        self.assertEqual(next(call).WhichOneof("event"), "delta")
        return call, first.prompt.request_id

    def test_cancel(self):
        before = self.client.idle()
        call, _ = self.start()
        call.cancel()
        self.assertEqual(status_of(lambda: call)[0], CODE.CANCELLED)
        after = self.client.idle()
        self.assertEqual(after.cancelled_total, before.cancelled_total + 1)

    def test_disconnect(self):
        other = wire.Client(self.server.address)
        call = other.inference.GenerateStream(
            request(text(QUESTION), max_tokens=LONG, ignore_end=True), timeout=60)
        next(call)
        other.close()
        self.client.idle()

    def test_abort(self):
        call, given = self.start(request_id="mine")
        self.assertEqual(given, "mine")
        state = control_pb2.AbortResponse
        self.refused(CODE.ALREADY_EXISTS, "request_id: ", request(text("Hi"), request_id="mine"))
        self.assertEqual(self.abort("mine"), state.STATE_ABORTED)
        self.assertEqual(status_of(lambda: call), (CODE.CANCELLED, "stopped by Control.Abort"))
        self.client.idle()
        self.assertEqual(self.abort("mine"), state.STATE_NOT_RUNNING)
        self.assertEqual(self.abort("never seen"), state.STATE_NOT_RUNNING)
        self.assertEqual(status_of(lambda: self.abort(""))[0], CODE.INVALID_ARGUMENT)

    def abort(self, request_id):
        return self.client.control.Abort(
            control_pb2.AbortRequest(request_id=request_id), timeout=10).state

    def test_made_ids(self):
        (one, first), (two, second) = self.start(), self.start()
        self.assertNotEqual(first, second)
        self.abort(first)
        self.assertEqual(status_of(lambda: one)[0], CODE.CANCELLED)
        self.assertEqual(next(two).WhichOneof("event"), "delta")
        two.cancel()
        self.client.idle()

    def test_stats(self):
        before = self.client.idle()
        call, _ = self.start()
        now = self.client.stats()
        self.assertEqual((now.running, now.requests_open), (1, 1))
        self.assertGreater(now.kv_used_bytes, 0)
        self.assertGreater(now.kv_capacity_bytes, now.kv_used_bytes)
        call.cancel()
        after = self.client.idle()
        self.assertEqual(after.submitted_total, before.submitted_total + 1)
        self.assertGreater(after.kv_peak_bytes, 0)

    def test_company(self):
        """Eight at once give what one alone gives."""
        body = request(image(), text(QUESTION), max_tokens=10)
        alone = self.client.inference.Generate(body, timeout=60).text
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(
            self.client.inference.Generate(body, timeout=60).text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [alone] * 8)
        self.client.idle()

    def test_info(self):
        info = self.client.control.GetServerInfo(control_pb2.GetServerInfoRequest(), timeout=10)
        self.assertEqual((info.max_message_bytes, info.max_images), (MAX_MESSAGE, MAX_IMAGES))
        self.assertGreaterEqual(info.schema_revision, info.minimum_client_revision)
        self.assertIn("none", info.recipe_presets)
        model = self.client.control.GetModel(control_pb2.GetModelRequest(), timeout=10)
        self.assertGreater(model.layers * model.kv_heads * model.tokens_per_image, 0)

    def test_health(self):
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", "fovea.v1.Inference", "fovea.v1.Control"):
            reply = self.client.health.Check(
                health_pb2.HealthCheckRequest(service=service), timeout=10)
            self.assertEqual(reply.status, serving)
        unknown = health_pb2.HealthCheckRequest(service="nothing")
        self.assertEqual(status_of(lambda: self.client.health.Check(unknown, timeout=10))[0],
                         CODE.NOT_FOUND)
        watch = self.client.health.Watch(unknown)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        watch.cancel()


if __name__ == "__main__":
    unittest.main(argv=[__file__, *wire.REST])
