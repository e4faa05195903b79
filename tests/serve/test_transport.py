"""fovead without a model (the double of the engine): start, stop, limits, bad peers, the C client."""
import contextlib
import io
import os
import random
import re
import signal
import socket
import subprocess
import time
import unittest

import grpc

import wire
from wire import control_pb2, health_pb2, image, inference_pb2, png, request, status_of, text

CODE = grpc.StatusCode
HEALTH = health_pb2.HealthCheckResponse


def run(*flags):
    done = subprocess.run([wire.ARGS.server, *flags], capture_output=True, timeout=20, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class CommandLine(unittest.TestCase):
    def test_help_and_version(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        for flag in ("--listen", "--model", "--kv-bytes", "--precision", "--threads", "--max-queue",
                     "--max-message-bytes", "--max-images", "--drain-ms", "--log-level"):
            self.assertIn(flag, out)
        code, out, _ = run("--version")
        self.assertEqual((code, out[:7]), (0, "fovead "))

    def test_usage(self):
        cases = [((), "--model"), (("--model",), "--model"), (("--nonsense", "1"), "--nonsense"),
                 (("--model", "fake", "--kv-bytes", "12parsec"), "--kv-bytes"),
                 (("--model", "fake", "--kv-bytes", "99999999999GiB"), "--kv-bytes"),
                 (("--model", "fake", "--threads=0"), "--threads"),
                 (("--model", "fake", "--threads=-1"), "--threads"),
                 (("--model", "fake", "--precision", "f64"), "--precision"),
                 (("--model", "fake", "--log-level", "loud"), "--log-level"),
                 (("--model", "fake", "--help=1"), "--help"),
                 (("--model", "fake", "--listen", "here"), "--listen here: expected HOST:PORT")]
        for flags, named in cases:
            with self.subTest(flags):
                code, out, err = run(*flags)
                self.assertEqual((code, out), (2, ""))
                self.assertIn("fovead: " + named, err)

    def test_loopback_only(self):
        for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:5000", "example.org:80"):
            code, out, err = run("--model", "fake", "--listen", address)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("TLS and tokens", err)

    def test_port_is_taken(self):
        with wire.Server() as server:
            code, _, err = run("--model", "fake", "--listen", server.address)
            self.assertEqual(code, 1)
            self.assertIn(server.address, err)
            self.assertEqual(server.stop(), 0)

    def test_missing_model(self):
        code, out, err = run("--model", "missing", "--listen", "127.0.0.1:0")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("missing/config.json", err)

    def test_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        with wire.Server("--listen", "[::1]:0") as server:
            client = wire.Client(server.address)
            self.assertEqual(client.stats().running, 0)
            client.close()
            self.assertEqual(server.stop(), 0)


class StartAndStop(unittest.TestCase):
    def free_port(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            return f"127.0.0.1:{taken.getsockname()[1]}"

    def test_loading(self):
        address = self.free_port()
        with wire.Server("--listen", address, model="load=1500", wait=False) as server:
            client = wire.Client(address)
            check = health_pb2.HealthCheckRequest()
            status = client.health.Check(check, timeout=10, wait_for_ready=True).status
            self.assertEqual(status, HEALTH.NOT_SERVING)
            got, details = status_of(lambda: client.inference.Generate(request(text("Hi"))))
            self.assertEqual((got, details), (CODE.UNAVAILABLE, "the model is being loaded"))
            self.assertEqual(status_of(client.stats)[0], CODE.UNAVAILABLE)
            watch = client.health.Watch(check)
            self.assertEqual(next(watch).status, HEALTH.NOT_SERVING)
            self.assertEqual(next(watch).status, HEALTH.SERVING)
            server.wait()
            self.assertEqual(status_of(lambda: client.inference.Generate(request(text("Hi"))))[0],
                             CODE.OK)
            client.close()
            self.assertEqual(server.stop(), 0)
            self.assertIn("loading: 50%", server.read_log())

    def test_stop_while_loading(self):
        with wire.Server(model="load=60000", wait=False) as server:
            time.sleep(0.3)
            begin = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - begin, 5)

    def test_drain(self):
        """What runs is finished, health says so, new calls are refused, the exit code is 0."""
        with wire.Server() as server:
            client = wire.Client(server.address)
            watch = client.health.Watch(health_pb2.HealthCheckRequest())
            self.assertEqual(next(watch).status, HEALTH.SERVING)
            call = client.inference.GenerateStream(request(text("slow"), max_tokens=30))
            next(call)
            server.signal(signal.SIGTERM)
            self.assertEqual(next(watch).status, HEALTH.NOT_SERVING)
            events = list(call)
            self.assertEqual(events[-1].completion.usage.output_tokens, 30)
            self.assertEqual(status_of(lambda: watch)[0], CODE.UNAVAILABLE)
            self.assertEqual(status_of(lambda: client.inference.Generate(request(text("Hi"))))[0],
                             CODE.UNAVAILABLE)
            self.assertEqual(server.process.wait(10), 0)
            client.close()

    def test_drain_limit(self):
        with wire.Server("--drain-ms", "200") as server:
            client = wire.Client(server.address)
            call = client.inference.GenerateStream(request(text("slow"), max_tokens=100000))
            next(call)
            begin = time.monotonic()
            server.signal(signal.SIGINT)
            self.assertIn(status_of(lambda: call)[0], (CODE.CANCELLED, CODE.UNAVAILABLE))
            self.assertEqual(server.process.wait(10), 0)
            self.assertLess(time.monotonic() - begin, 3)
            client.close()

    def test_stop_under_load(self):
        for turn in range(5):
            with wire.Server("--drain-ms", "50") as server:
                client = wire.Client(server.address)
                calls = [client.inference.Generate.future(
                    request(image(), text("slow"), max_tokens=5 + turn)) for _ in range(40)]
                time.sleep(0.02 * turn)
                self.assertEqual(server.stop(), 0, server.read_log())
                for call in calls:
                    call.exception(timeout=10)
                client.close()


class Wire(unittest.TestCase):
    FLAGS = ()

    def setUp(self):
        self.server = wire.Server(*self.FLAGS)
        self.client = wire.Client(self.server.address)

    def tearDown(self):
        self.client.close()
        self.assertEqual(self.server.stop(), 0, self.server.read_log())


class Answers(Wire):
    def test_engine_fails(self):
        got, details = status_of(lambda: self.client.inference.Generate(request(text("fail"))))
        self.assertEqual((got, details), (CODE.INTERNAL, "internal error"))
        self.client.idle()

    def test_floor(self):
        got, details = status_of(lambda: self.client.inference.Generate(request(text("floor"))))
        self.assertEqual(got, CODE.INVALID_ARGUMENT)
        self.assertIn("recipe: bytes=1 is below the floor of 4096", details)

    def test_texts_are_utf8(self):
        reply = self.client.inference.Generate(request(text("nul"), max_tokens=2))
        self.assertEqual(reply.text, "a\ufffdb\ufffdw")

    def test_slow_reader(self):
        """A reader that does not read holds up nobody and costs little; later it gets everything."""
        count = 60000  # with 20 alternatives about 20 MB, more than any flow control window
        body = request(text("burst"), max_tokens=count)
        body.sampling.logprobs = 20
        slow = self.client.inference.GenerateStream(body)
        next(slow)
        begin = time.monotonic()
        for _ in range(20):
            other = wire.Client(self.server.address)
            reply = other.inference.Generate(request(text("Hi"), max_tokens=5), timeout=10)
            self.assertEqual(reply.completion.usage.output_tokens, 5)
            other.close()
        self.assertLess(time.monotonic() - begin, 5)
        self.assertLess(rss_bytes(self.server.process.pid), 150 << 20)
        self.assertEqual(self.client.stats().requests_open, 1)
        got = sum(len(event.delta.tokens) for event in slow)
        self.assertEqual(got, count)
        self.client.idle()

    def test_garbage(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, os.urandom(4096),
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(2000)):
            host, port = self.server.address.split(":")
            with socket.create_connection((host, int(port))) as peer:
                peer.sendall(data)
        self.assertEqual(self.client.stats().running, 0)

    def test_mutated_bodies(self):
        """Whatever bytes come: a status of the known ones, and the server goes on."""
        random.seed(wire.ARGS.seed)
        call = self.client.channel.unary_unary("/fovea.v1.Inference/Generate")
        good = request(image(uuid="u"), text("Hi"), recipe="none", max_tokens=1).SerializeToString()
        seen = set()
        for _ in range(400):
            body = bytearray(good)
            for _ in range(random.randint(1, 4)):
                kind, at = random.randint(0, 2), random.randrange(len(body))
                if kind == 0:
                    body[at] = random.randrange(256)
                elif kind == 1:
                    del body[at:at + random.randint(1, 8)]
                else:
                    body[at:at] = os.urandom(random.randint(1, 8))
            seen.add(status_of(lambda: call(bytes(body), timeout=30))[0])
        self.assertLessEqual(seen, {CODE.OK, CODE.INVALID_ARGUMENT, CODE.RESOURCE_EXHAUSTED})
        self.assertIn(CODE.INVALID_ARGUMENT, seen)
        self.client.idle()

    def test_many_small_fields(self):
        """Two bytes on the wire must not become hundreds in memory without end."""
        call = self.client.channel.unary_unary("/fovea.v1.Inference/Generate")
        before = rss_bytes(self.server.process.pid)
        for body in (b"\x12\x00" * 4000000, b"\x22\x00" * 4000000, b"\xf8\x3f\x00" * 3000000):
            self.assertEqual(status_of(lambda: call(body, timeout=30))[0], CODE.RESOURCE_EXHAUSTED)
        self.assertLess(rss_bytes(self.server.process.pid) - before, 64 << 20)


class Queue(Wire):
    FLAGS = ("--max-queue", "2")

    def test_full(self):
        running = []
        for _ in range(8):
            running.append(self.client.inference.GenerateStream(
                request(text("slow"), max_tokens=1000)))
            next(running[-1])
        waiting = [self.client.inference.Generate.future(request(text("slow")))
                   for _ in range(2)]
        until = time.monotonic() + 5
        while self.client.stats().waiting < 2 and time.monotonic() < until:
            time.sleep(0.01)
        got, details = status_of(lambda: self.client.inference.Generate(request(text("Hi"))))
        self.assertEqual(got, CODE.RESOURCE_EXHAUSTED)
        self.assertIn("queue is full", details)
        for call in running:
            call.cancel()
        for call in waiting:
            self.assertIsNone(call.exception(timeout=10))
        self.client.idle()


class Descriptors(unittest.TestCase):
    def test_run_out(self):
        """gRPC's own listener never accepts again after EMFILE; ours does."""
        with wire.Server(max_fds=96) as server:
            host, port = server.address.split(":")
            peers = [socket.create_connection((host, int(port))) for _ in range(200)]
            time.sleep(0.3)
            for peer in peers:
                peer.close()
            client = wire.Client(server.address)
            reply = client.inference.Generate(request(text("Hi"), max_tokens=3), timeout=20,
                                              wait_for_ready=True)
            self.assertEqual(reply.completion.usage.output_tokens, 3)
            client.close()
            self.assertEqual(server.stop(), 0)


class Readme(Wire):
    def test_example(self):
        """The program in serve/README.md, as it stands there."""
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, "serve", "README.md"), encoding="utf-8") as file:
            program = re.search(r"```python\n(.*?)```", file.read(), re.S).group(1)
        path = os.path.join(wire.FOLDER, "scene.png")
        with open(path, "wb") as file:
            file.write(png())
        program = program.replace("127.0.0.1:50051", self.server.address).replace(
            "scene.png", path)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(program, "README.md", "exec"), {})  # pylint: disable=exec-used
        self.assertRegex(shown.getvalue(), r"^(w|\u00e9)+\n\d+ of \d+ bytes\n$")


class CClient(Wire):
    def probe(self, *args, address=None):
        done = subprocess.run([wire.ARGS.probe, address or self.server.address, *args],
                              capture_output=True, timeout=20, check=False)
        lines = [line.split(" ", 1) for line in done.stdout.decode().splitlines()]
        return done.returncode, dict(lines)

    def test_answer(self):
        path = os.path.join(wire.FOLDER, "probe.png")
        with open(path, "wb") as file:
            file.write(png())
        code, out = self.probe("generate", "Hello", path)
        same = self.client.inference.Generate(request(text("Hello"), image(), max_tokens=8))
        ledger = same.completion.ledger
        self.assertEqual((code, out["tokens"], out["output"], out["text"]), (0, "8", "8", same.text))
        self.assertEqual((out["vision"], out["full_bytes"]), ("16", str(ledger.full_bytes)))
        code, out = self.probe("plan", "Hello", path)
        self.assertEqual((code, out["tokens"], out["finish"]), (0, "0", "3"))

    def test_errors(self):
        self.assertEqual(self.probe("generate", "floor")[1]["error"].split()[0], "FOVEA_ERR_ARG")
        self.assertEqual(self.probe("cancel", "slow")[1]["error"].split()[0], "FOVEA_ERR_CANCELLED")
        self.client.idle()
        code, out = self.probe("generate", "Hello", address="127.0.0.1:1")
        self.assertEqual((code, out["error"].split()[0]), (1, "FOVEA_ERR_CLOSED"))


if __name__ == "__main__":
    unittest.main(argv=[__file__, *wire.REST])
