"""What the wire tests share: stubs made from the installed .proto files, a server process, pictures.

Runs with Debian's own Python (python3-grpcio); stubs go to a temporary folder. The copy of health.proto
gets another path, since a generated package called "grpc" would hide the real one.
"""
import argparse
import atexit
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import grpc

parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--build", required=True)
parser.add_argument("--protoc", required=True)
parser.add_argument("--plugin", required=True)
parser.add_argument("--health-proto", required=True)
parser.add_argument("--probe", required=True)
parser.add_argument("--model", default="fake")
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--seed", type=int, default=1)
ARGS, REST = parser.parse_known_args()

FOLDER = tempfile.mkdtemp(prefix="fovea-wire-")
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def _make_stubs():
    prefix = os.path.join(FOLDER, "installed")
    stubs = os.path.join(FOLDER, "stubs")
    health = os.path.join(FOLDER, "health_src", "health_v1")
    os.makedirs(stubs)
    os.makedirs(health)
    shutil.copy(os.path.join(ARGS.health_proto, "grpc/health/v1/health.proto"), health)
    subprocess.run(["cmake", "--install", ARGS.build, "--component", "proto", "--prefix", prefix],
                   check=True, stdout=subprocess.DEVNULL)
    proto = os.path.join(prefix, "share/fovea/proto")
    subprocess.run([ARGS.protoc, f"-I{proto}", f"-I{os.path.dirname(health)}",
                    f"--plugin=protoc-gen-grpc_python={ARGS.plugin}",
                    f"--python_out={stubs}", f"--grpc_python_out={stubs}",
                    "fovea/v1/types.proto", "fovea/v1/inference.proto", "fovea/v1/control.proto",
                    "health_v1/health.proto"], check=True)
    sys.path.insert(0, stubs)


_make_stubs()
from fovea.v1 import control_pb2, control_pb2_grpc  # noqa: E402
from fovea.v1 import inference_pb2, inference_pb2_grpc, types_pb2  # noqa: E402
from health_v1 import health_pb2, health_pb2_grpc  # noqa: E402

USER, ASSISTANT = types_pb2.ROLE_USER, types_pb2.ROLE_ASSISTANT
FAKE = ARGS.model == "fake"


class Server:
    """A fovead process; `with Server() as server`."""

    def __init__(self, *flags, model=None, wait=True, max_fds=None):
        self.log_path = tempfile.mktemp(dir=FOLDER)
        self.log = open(self.log_path, "wb")
        limit = None
        if max_fds:
            def limit():
                resource.setrlimit(resource.RLIMIT_NOFILE, (max_fds, max_fds))
        listen = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [ARGS.server, "--model", model or ARGS.model, *listen, *flags],
            stdout=subprocess.PIPE, stderr=self.log, preexec_fn=limit)
        self.address = None
        if wait:
            self.wait()

    def wait(self):
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on "):
            self.process.wait()
            raise RuntimeError(f"fovead did not start: {line!r}\n{self.read_log()}")
        self.address = line.split()[-1]

    def read_log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, timeout=20):
        if self.process.poll() is None:
            self.signal()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.close_files()
        return code

    def close_files(self):
        self.process.stdout.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.close_files()


class Client:
    """Stubs on one connection."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)])
        self.inference = inference_pb2_grpc.InferenceStub(self.channel)
        self.control = control_pb2_grpc.ControlStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def close(self):
        self.channel.close()

    def stats(self):
        return self.control.GetStats(control_pb2.GetStatsRequest(), timeout=10)

    def idle(self, timeout=4 if FAKE else 15):
        """Waits until nothing is held any more; returns the last stats."""
        until = time.monotonic() + timeout
        while True:
            now = self.stats()
            if now.requests_open == now.running == now.waiting == now.kv_used_bytes == 0:
                return now
            if time.monotonic() > until:
                raise AssertionError(f"still held after {timeout} s: {now}")
            time.sleep(0.02)


def png(width=32, height=32, rgb=(200, 40, 40)):
    def chunk(name, data):
        return (struct.pack(">I", len(data)) + name + data
                + struct.pack(">I", zlib.crc32(name + data)))
    row = b"\0" + bytes(rgb) * width
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b""))


def text(words):
    return types_pb2.Part(text=words)


def image(data=None, **fields):
    return types_pb2.Part(media=types_pb2.MediaItem(
        modality=types_pb2.MODALITY_IMAGE, raw_bytes=png() if data is None else data, **fields))


def message(*parts, role=USER):
    return types_pb2.Message(role=role, parts=parts)


def request(*parts, max_tokens=8, ignore_end=False, **fields):
    """A GenerateRequest with one user message."""
    return inference_pb2.GenerateRequest(
        messages=[message(*parts)],
        sampling=types_pb2.Sampling(max_tokens=max_tokens, ignore_end=ignore_end), **fields)


def status_of(call):
    """(code, details) of what call() fails with; OK when it does not."""
    try:
        result = call()
        if hasattr(result, "__next__"):
            for _ in result:
                pass
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""
