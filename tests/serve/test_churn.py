"""Random cancels, deadlines, aborts and disconnects: afterwards nothing is held and the server lives."""
import random
import threading
import time
import unittest

import grpc

import wire
from wire import control_pb2, image, png, request, text

N_THREAD = 8
ALLOWED = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
           grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
RECIPES = ("none", "streaming:keep=0.5", "random:keep=0.3", "vl-cache:keep=0.2")


class Worker(threading.Thread):
    """Makes its share of the requests and ends each of them too early."""

    def __init__(self, address, seed, n_round):
        super().__init__()
        self.address, self.random, self.n_round = address, random.Random(seed), n_round
        self.client = wire.Client(address)
        self.counts, self.wrong = {}, []

    def body(self, request_id):
        rng = self.random
        parts = [text(rng.choice(("What is this?", "Count slow things.", "Say something long.")))]
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            parts.insert(0, image(png(rng.randint(8, 80), rng.randint(8, 80))))
        return request(*parts, max_tokens=rng.randint(1, 200), recipe=rng.choice(RECIPES),
                       ignore_end=True,
                       request_id=request_id)

    def one(self, number):
        rng = self.random
        name = f"{self.name}-{number}"
        how = rng.choice(("cancel", "deadline", "abort", "disconnect", "cancel", "deadline"))
        timeout = rng.uniform(0.001, 0.15) if how == "deadline" else 60
        call = self.client.inference.GenerateStream(self.body(name), timeout=timeout)
        end = time.monotonic() + rng.uniform(0, 0.1)
        if how == "deadline":
            for _ in call:
                pass
            return "finished"
        if rng.random() < 0.5:
            for _ in call:
                if time.monotonic() > end:
                    break
        else:
            time.sleep(max(0, end - time.monotonic()))
        if how == "cancel":
            call.cancel()
        elif how == "abort":
            self.client.control.Abort(control_pb2.AbortRequest(request_id=name), timeout=30)
        else:
            self.client.close()
            self.client = wire.Client(self.address)
        for _ in call:
            pass
        return "finished"

    def run(self):
        for number in range(self.n_round):
            try:
                result = self.one(number)
            except grpc.RpcError as error:
                result = error.code().name
                if error.code() not in ALLOWED:
                    self.wrong.append((error.code(), error.details()))
            except ValueError:  # the channel was closed under the call
                result = "closed"
            self.counts[result] = self.counts.get(result, 0) + 1
        self.client.close()


class Churn(unittest.TestCase):
    def test_churn(self):
        with wire.Server("--kv-bytes", "64MiB") as server:
            client = wire.Client(server.address)
            share = (wire.ARGS.rounds + N_THREAD - 1) // N_THREAD
            workers = [Worker(server.address, wire.ARGS.seed * 1000 + i, share)
                       for i in range(N_THREAD)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            counts = {}
            for worker in workers:
                self.assertEqual(worker.wrong, [])
                for result, n in worker.counts.items():
                    counts[result] = counts.get(result, 0) + n
            stats = client.idle(timeout=30)
            print(f"{sum(counts.values())} requests: {counts}; submitted {stats.submitted_total}, "
                  f"cancelled {stats.cancelled_total}, expired {stats.expired_total}, finished "
                  f"{stats.finished_total}, kv used {stats.kv_used_bytes}", flush=True)
            self.assertEqual(stats.kv_used_bytes, 0)
            self.assertEqual(stats.submitted_total, stats.finished_total + stats.cancelled_total
                             + stats.expired_total + stats.failed_total)
            self.assertGreater(stats.cancelled_total + stats.expired_total, share)
            reply = client.inference.Generate(request(image(), text("Describe the image.")), timeout=60)
            self.assertGreater(reply.completion.usage.output_tokens, 0)
            client.close()
            self.assertEqual(server.stop(), 0, server.read_log())


if __name__ == "__main__":
    unittest.main(argv=[__file__, *wire.REST])
