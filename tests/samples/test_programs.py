"""Runs the sample programs on the default model and looks at what they say.

    test_programs.py SOURCE_DIR PROGRAM_DIR [FOVEAD] [unittest arguments]
"""
import math
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.dont_write_bytecode = True
from programs import (IMAGES, IMAGE_TOKENS, KITES, LISTS, SIGNS, SOURCE, TOKEN_BYTES, TURNED, asked, main,
                      run, vqa)

FOVEAD = sys.argv.pop(3) if len(sys.argv) > 3 and not sys.argv[3].startswith("-") else None
KEYS = ["text", "prompt_tokens", "tokens", "logprobs", "finish", "usage", "kv", "time_ms"]


class Json(unittest.TestCase):
    def check_sums(self, one, loyalty=False):
        usage, kv = one["usage"], one["kv"]
        self.assertEqual(list(one), KEYS)
        self.assertEqual(list(usage), ["text_tokens", "vision_tokens", "output_tokens"] +
                         ["loyalty"] * loyalty)
        self.assertEqual(list(kv), ["recipe", "full_bytes", "realised_bytes", "peak_bytes",
                                    "by_modality", "kept_tokens", "estimated_loss"])
        self.assertEqual(list(kv["by_modality"]), ["text", "vision", "shared"])
        self.assertEqual(list(kv["kept_tokens"]), ["text", "vision"])
        self.assertEqual(list(one["time_ms"]),
                         ["load", "decode_image", "encode", "prefill", "plan", "per_token"])
        n_prompt = usage["text_tokens"] + usage["vision_tokens"]
        self.assertEqual(len(one["prompt_tokens"]), n_prompt)
        self.assertEqual(len(one["tokens"]), usage["output_tokens"])
        self.assertEqual(len(one["logprobs"]), usage["output_tokens"])
        self.assertEqual(sum(kv["by_modality"].values()), kv["realised_bytes"])
        self.assertEqual(kv["full_bytes"], n_prompt * TOKEN_BYTES)
        self.assertGreaterEqual(kv["peak_bytes"], kv["realised_bytes"])

    def test_everything_kept(self):
        one = vqa("Read all signs.")
        self.check_sums(one)
        kept = one["kv"]["kept_tokens"]
        self.assertEqual(one["usage"]["vision_tokens"], IMAGE_TOKENS)
        self.assertEqual(kept["vision"], IMAGE_TOKENS)
        self.assertEqual(kept["text"], one["usage"]["text_tokens"])
        self.assertGreaterEqual(one["kv"]["realised_bytes"], one["kv"]["full_bytes"])
        self.assertEqual(one["finish"], "stop")
        self.assertTrue(one["text"].strip())
        marker = max(set(one["prompt_tokens"]), key=one["prompt_tokens"].count)
        self.assertEqual(one["prompt_tokens"].count(marker), IMAGE_TOKENS)

    def test_budgets(self):
        for recipe in ("vl-cache", "random", "streaming"):
            one = vqa("Read all signs.", "--recipe", f"{recipe}:bytes=20%")
            self.check_sums(one)
            share = one["kv"]["realised_bytes"] / one["kv"]["full_bytes"]
            self.assertLessEqual(share, 0.2)
            self.assertGreaterEqual(share, 0.2 * 0.95)
            loss = one["kv"]["estimated_loss"]
            self.assertTrue(0 < loss < 1 if recipe == "vl-cache" else loss is None)
            one = vqa("Read all signs.", "--recipe", f"{recipe}:keep=0.25")
            slots = sum(one["kv"]["kept_tokens"].values()) * LISTS
            self.assertLess(abs(slots - 0.25 * len(one["prompt_tokens"]) * LISTS), 1)

    def test_loyalty(self):
        question, lossy = "Describe the image.", ("--recipe", "streaming:keep=0.1,prefill.cap=none")
        none = vqa(question, "--loyalty", images=(KITES,))
        self.check_sums(none, loyalty=True)
        n = none["usage"]["output_tokens"]
        self.assertEqual(none["usage"]["loyalty"], {"tokens": n - 1, "share": 1, "kl_nats": 0})
        plain, one = (vqa(question, *lossy, *more, images=(KITES,)) for more in ((), ("--loyalty",)))
        self.check_sums(one, loyalty=True)
        self.assertEqual(one["tokens"], plain["tokens"])
        loyalty = one["usage"]["loyalty"]
        self.assertEqual(list(loyalty), ["tokens", "share", "kl_nats"])
        self.assertEqual(loyalty["tokens"], one["usage"]["output_tokens"] - 1)
        self.assertGreater(loyalty["kl_nats"], 0)
        n_same = loyalty["share"] * loyalty["tokens"]
        self.assertTrue(0 < loyalty["share"] < 1)
        self.assertAlmostEqual(n_same, round(n_same), places=6)
        captions = asked("fovea-caption", KITES, *lossy, "--loyalty")
        self.assertEqual(captions[0]["usage"], one["usage"])

    def test_logprobs(self):
        one = vqa("Read all signs.", "--logprobs", "5")
        for token, top in zip(one["tokens"], one["logprobs"]):
            values = [entry["logprob"] for entry in top]
            self.assertEqual(len(top), 5)
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertLessEqual(sum(map(math.exp, values)), 1.0001)
            self.assertEqual(top[0]["token"], token)

    def test_chosen_token_has_a_logprob(self):
        one = vqa("Read all signs.", "--logprobs", "1", "--temperature", "20", "--seed", "3",
                  "--max-tokens", "12")
        for token, top in zip(one["tokens"], one["logprobs"]):
            self.assertIn(token, [entry["token"] for entry in top])
        self.assertTrue(any(len(top) == 2 for top in one["logprobs"]))

    def test_sampling_follows_the_seed(self):
        said = [vqa("Read all signs.", "--temperature", "3", "--seed", seed, "--max-tokens", "12")
                for seed in ("7", "7", "8")]
        self.assertEqual(said[0]["tokens"], said[1]["tokens"])
        self.assertNotEqual(said[0]["tokens"], said[2]["tokens"])

    def test_ends(self):
        question = ("Describe the image.",)
        whole = vqa(*question, images=(KITES,))
        short = vqa(*question, "--max-tokens", "2", images=(KITES,))
        self.assertGreater(len(whole["tokens"]), 3)
        self.assertEqual(short["tokens"], whole["tokens"][:2])
        self.assertEqual((whole["finish"], short["finish"]), ("stop", "length"))
        stop = whole["text"].strip()[4:7]
        ended = vqa(*question, "--stop", stop, images=(KITES,))
        self.assertEqual(ended["text"], whole["text"][:whole["text"].index(stop)])
        self.assertEqual(ended["finish"], "stop")

    def test_plan(self):
        one = vqa("Read all signs.", "--plan", "--recipe", "vl-cache:keep=0.1")
        self.check_sums(one)
        self.assertEqual((one["finish"], one["text"], one["tokens"]), ("plan", "", []))
        full = vqa("Read all signs.", "--recipe", "vl-cache:keep=0.1")
        self.assertEqual(one["kv"]["by_modality"], full["kv"]["by_modality"])

    def test_raw_is_the_template(self):
        plain = vqa("Read all signs.")
        raw = vqa("USER: <image>\nRead all signs. ASSISTANT:", "--raw")
        self.assertEqual(raw["prompt_tokens"], plain["prompt_tokens"])
        self.assertEqual(raw["tokens"], plain["tokens"])

    def test_several_images(self):
        both = (KITES, SIGNS)
        question = "In image 2, what number is on the purple sign?"
        labelled = vqa(question, images=both)
        raw = vqa(f"USER: Image 1: <image>\nImage 2: <image>\n{question} ASSISTANT:", "--raw",
                  images=both)
        bare = vqa(question, "--no-labels", images=both)
        self.check_sums(labelled)
        self.assertEqual(labelled["usage"]["vision_tokens"], 2 * IMAGE_TOKENS)
        self.assertEqual(labelled["prompt_tokens"], raw["prompt_tokens"])
        self.assertLess(len(bare["prompt_tokens"]), len(labelled["prompt_tokens"]))

    def test_precision(self):
        one = vqa("Read all signs.", "--precision", "f32", "--max-tokens", "4")
        self.assertEqual(one["kv"]["full_bytes"], len(one["prompt_tokens"]) * TOKEN_BYTES)
        self.assertGreaterEqual(one["kv"]["realised_bytes"], 2 * one["kv"]["full_bytes"])

    def test_captions(self):
        both = asked("fovea-caption", KITES, TURNED)
        self.assertEqual(len(both), 2)
        for one, image in zip(both, (KITES, TURNED)):
            self.check_sums(one)
            alone = vqa("Describe the image.", images=(image,))
            self.assertEqual(one["tokens"], alone["tokens"])


class People(unittest.TestCase):
    def test_answer_and_account_are_apart(self):
        done = run("fovea-vqa", "--image", SIGNS, "--question", "Read all signs.")
        self.assertEqual(done.stdout.strip(), vqa("Read all signs.")["text"].strip())
        self.assertEqual(done.stdout.count("\n"), 1)
        self.assertRegex(done.stderr, r"\[none\] KV [\d,]+ of [\d,]+ bytes \(\d+\.\d%\)")

    def test_loyalty(self):
        arguments = ("--image", SIGNS, "--question", "Read all signs.", "--recipe", "streaming:keep=0.1")
        self.assertNotIn("loyalty", run("fovea-vqa", *arguments).stderr)
        loyalty = asked("fovea-vqa", *arguments, "--loyalty")[0]["usage"]["loyalty"]
        words = (f"{100 * loyalty['share']:.1f}% of {loyalty['tokens']} tokens; "
                 f"KL {loyalty['kl_nats']:.4f} nats")
        for more in ((), ("--ledger",)):
            self.assertIn(words, run("fovea-vqa", *arguments, "--loyalty", *more).stderr)

    def test_captions_are_titled(self):
        done = run("fovea-caption", KITES, SIGNS)
        lines = done.stdout.splitlines()
        self.assertEqual([line.split(": ")[0] for line in lines], [KITES, SIGNS])

    def test_ledger(self):
        arguments = ("--image", SIGNS, "--question", "Read all signs.", "--plan", "--recipe",
                     "vl-cache:keep=0.1")
        done = run("fovea-vqa", *arguments)
        self.assertEqual(done.stdout, "")
        kv = asked("fovea-vqa", *arguments)[0]["kv"]
        self.assertRegex(done.stderr, rf"realised +{kv['realised_bytes']:,}")
        self.assertRegex(done.stderr, rf"loss +{100 * kv['estimated_loss']:.1f}%")
        rows = re.findall(r"^ +\d+ ((?: \d+\+\d+)+)$", done.stderr, flags=re.M)
        kept = [tuple(map(int, pair.split("+"))) for row in rows for pair in row.split()]
        self.assertEqual(len(kept), LISTS)
        self.assertAlmostEqual(sum(vision for _, vision in kept) / LISTS,
                               kv["kept_tokens"]["vision"], places=6)

    def test_help_names_every_option(self):
        for name in ("fovea-caption", "fovea-vqa", "fovea-eval"):
            said = run(name, "--help").stdout
            self.assertIn(f"usage: {name}", said)
            self.assertIn("--model DIR", said)
            self.assertLessEqual(max(map(len, said.splitlines())), 100)

    def test_hello(self):
        done = run("hello", str(SOURCE / "samples/model"), SIGNS, "Read all signs.")
        answer, account = done.stdout.splitlines()
        one = vqa("Read all signs.", "--recipe", "vl-cache:bytes=20%")
        self.assertEqual(answer.strip(), one["text"].strip())
        self.assertEqual(account, f"{one['kv']['realised_bytes']} of {one['kv']['full_bytes']} KV bytes")


class Mistakes(unittest.TestCase):
    def check(self, code, words, name, *arguments):
        done = run(name, *arguments, code=code)
        self.assertEqual(done.stdout, "")
        self.assertTrue(done.stderr.startswith(name + ": "), done.stderr)
        self.assertIn(words, done.stderr)

    def test_usage(self):
        ask = ("--image", SIGNS, "--question", "x")
        self.check(2, "picture", "fovea-caption")
        self.check(2, "--question", "fovea-vqa", "--image", SIGNS)
        self.check(2, "--nonsense", "fovea-vqa", "--nonsense", *ask)
        self.check(2, "stray", "fovea-vqa", *ask, "stray")
        self.check(2, "needs a value", "fovea-vqa", *ask, "--recipe")
        self.check(2, "takes no value", "fovea-vqa", *ask, "--json=yes")
        for value in ("-1", "1.5", "4294967296", "", "7x"):
            self.check(2, "whole number", "fovea-vqa", *ask, f"--max-tokens={value}")
        for value in ("nan", "inf", "-0.5", "x", "1,5"):
            self.check(2, "not negative", "fovea-vqa", *ask, f"--temperature={value}")
        for value in ("64K", "-1", "99999999999GiB", "MiB"):
            self.check(2, "bytes", "fovea-vqa", *ask, f"--kv-bytes={value}")
        self.check(2, "bf16|f32", "fovea-vqa", *ask, "--precision", "f16")
        self.check(2, "at most 20", "fovea-vqa", *ask, "--logprobs", "21")
        self.check(2, "nonsense", "fovea-vqa", *ask, "--recipe", "nonsense:keep=0.1")
        self.check(2, "--prompt", "fovea-caption", "--raw", SIGNS)
        self.check(2, "--loyalty", "fovea-vqa", *ask, "--loyalty", "--plan")

    def test_pictures_and_models(self):
        with tempfile.TemporaryDirectory() as folder:
            self.check(1, "README.md", "fovea-caption", str(IMAGES / "README.md"))
            self.check(1, "gone.png", "fovea-caption", str(IMAGES / "gone.png"))
            self.check(1, "http://", "fovea-caption", "http://127.0.0.1/a.png")
            self.check(1, "config.json", "fovea-caption", "--model", folder, SIGNS)

    def test_prompts(self):
        self.check(1, "1 image", "fovea-vqa", "--image", SIGNS, "--raw", "--question", "no marker")
        self.check(1, "FOVEA_ERR_BUDGET", "fovea-vqa", "--image", SIGNS, "--question", "x",
                   "--recipe", "vl-cache:bytes=100")
        self.check(1, "FOVEA_ERR_FULL", "fovea-vqa", "--image", SIGNS, "--question", "x",
                   "--kv-bytes", "64KiB")

    def test_one_bad_picture_of_two(self):
        done = run("fovea-caption", "--json", str(IMAGES / "README.md"), SIGNS, code=1)
        self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_nobody_serves(self):
        self.check(1, "FOVEA_ERR_CLOSED", "fovea-vqa", "--server", "127.0.0.1:1", "--image", SIGNS,
                   "--question", "x")


def pixels(path):
    """(width, height, RGB bytes) of an 8-bit PNG with any of libpng's filters, nothing but the format"""
    data, rows = pathlib.Path(path).read_bytes(), b""
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    step = {2: 3, 6: 4}[kind]
    at = 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        rows += data[at + 8:at + 8 + size] if name == b"IDAT" else b""
        at += 12 + size
    raw, before, out = zlib.decompress(rows), bytearray(width * step), bytearray()
    for y in range(height):
        start = y * (width * step + 1)
        line = bytearray(raw[start + 1:start + 1 + width * step])
        for x, value in enumerate(line):
            left = line[x - step] if x >= step else 0
            up, corner = before[x], before[x - step] if x >= step else 0
            near = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
            line[x] = value + (0, left, up, (left + up) // 2, near)[raw[start]] & 255
        before = line
        out += b"".join(line[x:x + 3] for x in range(0, len(line), step))
    return width, height, bytes(out)


class HeatMap(unittest.TestCase):
    def draw(self, *arguments, images=(SIGNS,), code=0, out="map.png"):
        with tempfile.TemporaryDirectory() as folder:
            files = [word for image in images for word in ("--image", image)]
            done = run("fovea-vqa", *files, "--question", "Read all signs.", "--plan", "--heatmap",
                       f"{folder}/{out}", *arguments, code=code)
            return done.stderr, {path.name: pixels(path) for path in pathlib.Path(folder).iterdir()}

    def cells(self, drawn, plain):
        """Brightness of each of the 16 x 16 cells against the picture's own"""
        (width, height, drawn), (_, _, plain) = drawn, plain
        sums = [[0, 0] for _ in range(IMAGE_TOKENS)]
        for y in range(height):
            for x in range(width):
                cell = sums[y * 16 // height * 16 + x * 16 // width]
                at = 3 * (y * width + x)
                cell[0] += sum(drawn[at:at + 3])
                cell[1] += sum(plain[at:at + 3])
        return [a / b for a, b in sums if b > 0]

    def test_everything_kept_is_the_picture(self):
        self.assertEqual(self.draw()[1]["map.png"], pixels(SIGNS))

    def test_dropped_is_dark(self):
        _, files = self.draw("--recipe", "random:keep=0.5", "--heatmap-layer", "3",
                             "--heatmap-head", "1")
        cells = self.cells(files["map.png"], pixels(SIGNS))
        kept = sum(cell > 0.9 for cell in cells)
        self.assertEqual(kept + sum(cell < 0.3 for cell in cells), IMAGE_TOKENS)
        self.assertTrue(0.35 * IMAGE_TOKENS < kept < 0.65 * IMAGE_TOKENS, kept)
        _, summed = self.draw("--recipe", "random:keep=0.5")
        self.assertNotEqual(summed["map.png"], files["map.png"])
        mean = sum(self.cells(summed["map.png"], pixels(SIGNS))) / IMAGE_TOKENS
        self.assertTrue(0.45 < mean < 0.7, mean)        # half of it kept, half dark

    def test_blurred_is_flat_and_bluish(self):
        width, height, drawn = self.draw("--recipe", "vision=int4")[1]["map.png"]
        for cell in range(0, IMAGE_TOKENS, 7):
            at = [3 * ((cell // 16 * height // 16 + y) * width + cell % 16 * width // 16 + x)
                  for y in range(height // 16) for x in range(width // 16)]
            self.assertEqual(len({drawn[i:i + 3] for i in at}), 1)
        _, _, plain = pixels(SIGNS)
        self.assertGreater(sum(drawn[2::3]) - sum(drawn[0::3]), sum(plain[2::3]) - sum(plain[0::3]))

    def test_several_pictures(self):
        _, files = self.draw(images=(SIGNS, KITES))
        self.assertEqual(sorted(files), ["map-1.png", "map-2.png"])
        self.assertEqual(files["map-2.png"], pixels(KITES))

    def test_mistakes(self):
        self.assertIn("layer", self.draw("--heatmap-layer", "99", code=1)[0])
        self.assertIn("picture", self.draw(images=(), code=1)[0])
        self.assertIn("No such", self.draw(out="gone/map.png", code=1)[0])
        self.assertIn("server", self.draw("--server", "127.0.0.1:1", code=2)[0])


class Readme(unittest.TestCase):
    def test_recipes_work(self):
        table = (SOURCE / "README.md").read_text().split("## The recipe string")[1].split("\n## ")[0]
        recipes = re.findall(r"^\| `([^`]+)` \|", table, flags=re.M)
        self.assertGreaterEqual(len(recipes), 6)
        for recipe in recipes:
            self.assertEqual(vqa("x", "--plan", "--recipe", recipe)["kv"]["recipe"], recipe)


@unittest.skipIf(FOVEAD is None, "the server is not built")
class Server(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [FOVEAD, "--listen", "127.0.0.1:0", "--model", str(SOURCE / "samples/model"),
             "--kv-bytes", "64MiB"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in cls.server.stdout:
            found = re.search(r"listening on (\S+)", line)
            if found:
                cls.address = found.group(1)
                return
        raise AssertionError("fovead did not start")

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.communicate(timeout=30)
        if cls.server.returncode != 0:
            raise AssertionError(f"fovead ended with {cls.server.returncode}")

    def check_same(self, name, *arguments):
        local, remote = (asked(name, *arguments, *more)[0]
                         for more in ((), ("--server", self.address)))
        for one in (local, remote):
            self.assertGreater(one["time_ms"]["prefill"], 0)
            one.pop("time_ms")
            one["kv"].pop("peak_bytes")     # depends on the size of a step's blocks
        self.assertEqual(local, remote)

    def test_remote_is_local(self):
        self.check_same("fovea-caption", KITES)
        self.check_same("fovea-caption", TURNED, "--recipe", "vl-cache:bytes=10%,vision=int4")
        self.check_same("fovea-vqa", "--image", KITES, "--image", SIGNS, "--question",
                        "In image 2, read all signs.", "--logprobs", "3", "--max-tokens", "9")
        self.check_same("fovea-vqa", "--image", SIGNS, "--raw", "--question",
                        "USER: <image>\nRead all signs. ASSISTANT:")
        self.check_same("fovea-vqa", "--image", SIGNS, "--question", "x", "--plan", "--recipe",
                        "streaming:keep=0.5")
        self.check_same("fovea-caption", KITES, "--recipe", "streaming:keep=0.1", "--loyalty")
        self.check_same("fovea-vqa", "--image", SIGNS, "--question", "x", "--temperature", "3",
                        "--seed", "5", "--max-tokens", "9", "--stop", "zz")

    def test_errors_come_back(self):
        ask = ("--server", self.address, "--question", "x", "--image")
        self.assertIn("FOVEA_ERR", run("fovea-vqa", *ask, str(IMAGES / "README.md"), code=1).stderr)
        self.assertIn("gone.png", run("fovea-vqa", *ask, "gone.png", code=1).stderr)


if __name__ == "__main__":
    main()
