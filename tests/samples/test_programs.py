"""Runs the sample programs on the default model and looks at what they say.

    test_programs.py SOURCE_DIR PROGRAM_DIR [FOVEAD] [unittest arguments]
"""
import csv
import json
import math
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
import zlib

SOURCE = pathlib.Path(sys.argv[1])
PROGRAMS = pathlib.Path(sys.argv[2])
FOVEAD = sys.argv.pop(3) if len(sys.argv) > 3 and not sys.argv[3].startswith("-") else None
IMAGES = SOURCE / "samples/images"
TINY = SOURCE / "samples/sets/tiny"
KITES, SIGNS, TURNED = (str(IMAGES / name) for name in ("kites.png", "signs.png", "turned.jpg"))
KEYS = ["text", "prompt_tokens", "tokens", "logprobs", "finish", "usage", "kv", "time_ms"]
IMAGE_TOKENS, LISTS, TOKEN_BYTES = 256, 16, 4096    # of the default model: its README


def run(name, *arguments, code=0):
    program = str(PROGRAMS / name)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode != code:
        raise AssertionError(f"{name} {arguments}: {done.returncode}, not {code}: {done.stderr}")
    return done


def asked(name, *arguments):
    """The objects that --json prints"""
    return [json.loads(line) for line in run(name, "--json", *arguments).stdout.splitlines()]


def vqa(question, *arguments, images=(SIGNS,)):
    files = [word for image in images for word in ("--image", image)]
    return asked("fovea-vqa", *files, "--question", question, *arguments)[0]


class Json(unittest.TestCase):
    def check_sums(self, one):
        usage, kv = one["usage"], one["kv"]
        self.assertEqual(list(one), KEYS)
        self.assertEqual(list(usage), ["text_tokens", "vision_tokens", "output_tokens"])
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


def plain(text):
    """Independent of score.c: what counts when answers are compared"""
    return re.sub(r"\s+", " ", text).strip().lower().removesuffix(".").strip()


class Eval(unittest.TestCase):
    RECIPES = "random:keep=0.1,vl-cache:bytes=10%,vision=int4"

    def evaluate(self, mode, name="one", *arguments):
        with tempfile.TemporaryDirectory() as folder:
            table, answers = f"{folder}/table.csv", f"{folder}/answers.jsonl"
            done = run("fovea-eval", str(TINY / f"{name}.{mode}.jsonl"), "--mode", mode, "--recipes",
                       self.RECIPES, "--csv", table, "--answers", answers, *arguments)
            with open(table, encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            with open(answers, encoding="utf-8") as file:
                return rows, [json.loads(line) for line in file], done.stdout

    def check_rows(self, mode, rows, answers):
        recipes = ["none", "random:keep=0.1", "vl-cache:bytes=10%,vision=int4"]
        counted = [answer for answer in answers if answer["said"]]
        totals = [row for row in rows if row["kind"] == "all"]
        self.assertEqual([row["recipe"] for row in totals], recipes)
        for row in totals:
            said = [(answer["said"][row["recipe"]], answer) for answer in counted]
            right = sum(plain(text) in map(plain, answer["answers"]) for text, answer in said)
            same = sum(text == answer["said"]["none"] for text, answer in said)
            self.assertEqual(row["mode"], mode)
            self.assertEqual(int(row["questions"]), len(counted))
            self.assertEqual(int(row["right"]), right)
            self.assertAlmostEqual(float(row["as_none"]), same / len(counted), places=3)
            self.assertLessEqual(float(row["accuracy_low"]), float(row["accuracy"]))
            self.assertGreaterEqual(float(row["accuracy_high"]), float(row["accuracy"]))
            kinds = [other for other in rows
                     if other["recipe"] == row["recipe"] and other["kind"] != "all"]
            self.assertEqual(sum(int(other["right"]) for other in kinds), right)
        none, random, small = totals
        self.assertEqual(float(none["as_none"]), 1)
        self.assertEqual(float(none["token_agreement"]), 1)
        self.assertLess(float(random["realised_bytes"]), 0.25 * float(none["realised_bytes"]))
        self.assertLessEqual(float(small["realised_share"]), 0.1)
        self.assertGreaterEqual(float(small["realised_share"]), 0.095)

    def test_next(self):
        rows, answers, table = self.evaluate("next")
        self.assertEqual(len(answers), 4)
        self.assertTrue(all(answer["said"] for answer in answers))
        self.check_rows("next", rows, answers)
        self.assertIn("one.next.jsonl, mode next: 4 questions", table)

    def test_same(self):
        rows, answers, _ = self.evaluate("same")
        self.check_rows("same", rows, answers)
        for answer in answers:      # digits are tokens of their own: a single one does not count
            if re.fullmatch(r"\d", answer["answers"][0]):
                self.assertFalse(answer["said"])

    def test_answers_are_those_of_a_conversation(self):
        """What fovea-eval forks and forces is what the plain way gives."""
        _, answers, _ = self.evaluate("same")
        line = json.loads((TINY / "one.same.jsonl").read_text().splitlines()[0])
        image = str(TINY / line["images"][0])
        for recipe, text in answers[0]["said"].items():
            self.assertEqual(vqa(line["question"], "--recipe", recipe, images=(image,))["text"], text)
        _, answers, _ = self.evaluate("next")
        line = json.loads((TINY / "one.next.jsonl").read_text().splitlines()[0])
        before = line["before"]
        raw = (f"USER: <image>\n{before['question']} ASSISTANT: {before['answer']}</s>"
               f"USER: {line['question']} ASSISTANT:")
        one = vqa(raw, "--raw", images=(str(TINY / line["images"][0]),))
        self.assertEqual(one["text"], answers[0]["said"]["none"])

    def test_blind(self):
        """The same questions as in mode next, with plans from the images alone."""
        path = str(TINY / "four.next.jsonl")
        with tempfile.TemporaryDirectory() as folder:
            table = f"{folder}/table.csv"
            run("fovea-eval", path, "--mode", "blind", "--recipes", "vl-cache:bytes=20%", "--csv",
                table)
            with open(table, encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["kind"] == "all"]
        line = json.loads((TINY / "four.next.jsonl").read_text().splitlines()[0])
        whole = vqa(line["question"], "--plan", images=[str(TINY / name) for name in line["images"]])
        self.assertEqual([row["questions"] for row in rows], ["4", "4"])
        self.assertEqual(float(rows[0]["token_agreement"]), 1)
        self.assertLess(float(rows[1]["token_agreement"]), 1)
        self.assertEqual(float(rows[0]["kept_vision"]), 4 * IMAGE_TOKENS)
        # what the plan saw ends with the last image
        marker = max(set(whole["prompt_tokens"]), key=whole["prompt_tokens"].count)
        behind = whole["prompt_tokens"][::-1].index(marker)
        self.assertEqual(float(rows[0]["full_bytes"]),
                         (len(whole["prompt_tokens"]) - behind) * TOKEN_BYTES)

    def test_parts_budgets_and_picture(self):
        one, four = str(TINY / "one.next.jsonl"), str(TINY / "four.next.jsonl")
        with tempfile.TemporaryDirectory() as folder:
            table, picture = f"{folder}/table.csv", f"{folder}/picture.svg"
            done = run("fovea-eval", one, f"blind={four}", "--mode", "next,blind", "--recipes",
                       "random;vl-cache:vision=int4;streaming:keep=0.5", "--budgets", "20%,10%",
                       "--against", "random", "--csv", table, "--picture", picture, "--times")
            with open(table, encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["kind"] == "all"]
            drawn = xml.etree.ElementTree.parse(picture)
        recipes = ["none", "random:bytes=20%", "random:bytes=10%", "vl-cache:vision=int4,bytes=20%",
                   "vl-cache:vision=int4,bytes=10%", "streaming:keep=0.5"]
        parts = [("one.next.jsonl", "next"), ("one.next.jsonl", "blind"), ("four.next.jsonl", "blind")]
        self.assertEqual([(row["set"], row["mode"], row["recipe"]) for row in rows],
                         [(*part, recipe) for part in parts for recipe in recipes])
        self.assertEqual([row["against"] for row in rows[:6]],
                         ["", "", "", "random:bytes=20%", "random:bytes=10%", ""])
        for row in rows:
            if row["against"]:
                other = next(r for r in rows if r["recipe"] == row["against"] and
                             (r["set"], r["mode"]) == (row["set"], row["mode"]))
                difference = float(row["difference"])
                self.assertAlmostEqual(difference, float(row["accuracy"]) - float(other["accuracy"]),
                                       places=3)
                self.assertLessEqual(float(row["difference_low"]), difference)
                self.assertGreaterEqual(float(row["difference_high"]), difference)
        self.assertEqual(done.stdout.count("loses"), 3)
        name = "{http://www.w3.org/2000/svg}"
        self.assertEqual(len(drawn.findall(f"{name}polyline")), 3 * 3 * len(parts))
        texts = [text.text for text in drawn.iter(f"{name}text")]
        for text in ("random", "vl-cache:vision=int4", "mode blind: four.next.jsonl", "ms per token"):
            self.assertIn(text, texts)

    def test_an_interrupted_run_goes_on(self):
        path = str(TINY / "one.next.jsonl")
        with tempfile.TemporaryDirectory() as folder:
            state = pathlib.Path(folder) / "state.jsonl"

            def ask(*arguments):
                return run("fovea-eval", path, "--mode", "next", "--recipes",
                           "random:keep=0.1;vl-cache:bytes=10%", "--state", str(state), "--times",
                           *arguments).stdout

            whole = ask()
            lines = state.read_bytes().splitlines(keepends=True)
            self.assertEqual(len(lines), 4 * 3)
            self.assertEqual(ask(), whole)      # times too: nothing was asked again
            self.assertEqual(state.read_bytes(), b"".join(lines))
            state.write_bytes(b"".join(lines[:7]) + lines[7][:30])      # broke off inside a line
            rows = [list(csv.DictReader(text.splitlines())) for text in (whole, ask())]
            for row in rows[0] + rows[1]:
                row.pop("ms_per_token")
            self.assertEqual(*rows)
            self.assertEqual(len(state.read_bytes().splitlines()), 4 * 3 + 1)
            forged = state.read_text().replace('"right":false', '"right":true')
            state.write_text(forged)            # what is there is what counts
            row = next(csv.DictReader(ask().splitlines()))
            self.assertEqual(row["right"], row["questions"])
            ask("--max-tokens", "7")            # another setting is asked anew
            self.assertEqual(len(state.read_bytes().splitlines()), 4 * 3 + 1 + 4 * 3)

    def test_jobs_change_nothing(self):
        rows = [self.evaluate("next", "four", "--jobs", jobs)[0] for jobs in ("1", "3")]
        for row in rows[0] + rows[1]:
            row.pop("ms_per_token")
        self.assertEqual(*rows)

    def test_together_or_one_after_another(self):
        """Recipes side by side answer as they do alone, in as many groups as fit the pool, without times."""
        large = [word for keep in (0.9, 0.85, 0.8) for word in ("--recipe", f"random:keep={keep}")]
        done = [self.evaluate("next", "four", "--limit", "1", *large, *more) for more in (
            ("--times",), (), ("--kv-bytes", "14MiB"))]
        for rows, answers, table in done[1:]:
            self.assertEqual(answers, done[0][1])
            self.assertEqual([row["ms_per_token"] for row in rows], [""] * len(rows))
        self.assertGreater(float(done[0][0][0]["ms_per_token"]), 0)
        for rows, _, _ in done:
            for row in rows:
                row.pop("ms_per_token")
        self.assertEqual(done[0][0], done[1][0])
        self.assertEqual(done[0][0], done[2][0])

    def test_a_refused_recipe_is_told(self):
        """A budget below the floor ends neither the run nor the question."""
        path = str(TINY / "one.same.jsonl")
        with tempfile.TemporaryDirectory() as folder:
            table, picture = f"{folder}/table.csv", f"{folder}/picture.svg"
            done = run("fovea-eval", path, "--recipes", "vl-cache:bytes=1KiB;random:keep=0.1", "--csv",
                       table, "--picture", picture)
            with open(table, encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["kind"] == "all"]
            drawn = xml.etree.ElementTree.parse(picture)
        self.assertEqual([(int(row["questions"]) > 0, int(row["refused"]) > 0) for row in rows],
                         [(True, False), (False, True), (True, False)])
        self.assertEqual(rows[1]["refused"], rows[0]["questions"])
        self.assertIn(f"refused {rows[1]['refused']} times", done.stdout)
        texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("right answers, %", texts)
        self.assertNotIn("ms per token", texts)     # nothing was timed

    def test_limit(self):
        _, answers, _ = self.evaluate("next", "one", "--limit", "2")
        self.assertEqual(len(answers), 2)

    def test_mistakes(self):
        path = str(TINY / "one.same.jsonl")
        for code, words, arguments in (
                (2, "question file", ()),
                (2, "other", (path, "--mode", "other")),
                (2, "nonsense", (path, "--recipes", "nonsense")),
                (2, "--jobs", (path, "--jobs", "0")),
                (2, "--against", (path, "--recipes", "random:keep=0.1", "--against", "h2o")),
                (1, "no/state", (path, "--state", "no/state")),
                (1, "before", (path, "--mode", "next")),
                (1, "gone", ("gone.jsonl",))):
            self.assertIn(words, run("fovea-eval", *arguments, code=code).stderr)

    def test_broken_lines(self):
        good = {"images": ["a.png"], "question": "x", "answers": ["y"], "kind": "z"}
        for line, words in (("{", ":2: "), ("[]", "images"),
                            (json.dumps({**good, "answers": []}), "answers"),
                            (json.dumps({**good, "images": "a.png"}), "images"),
                            (json.dumps({**good, "kind": 1}), "kind"),
                            (json.dumps({**good, "before": {}}), "before")):
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
                file.write(json.dumps(good) + "\n" + line + "\n")
                file.flush()
                said = run("fovea-eval", file.name, code=1).stderr
                self.assertIn(words, said)
                self.assertIn(":2: ", said)


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
        self.check_same("fovea-vqa", "--image", SIGNS, "--question", "x", "--temperature", "3",
                        "--seed", "5", "--max-tokens", "9", "--stop", "zz")

    def test_errors_come_back(self):
        ask = ("--server", self.address, "--question", "x", "--image")
        self.assertIn("FOVEA_ERR", run("fovea-vqa", *ask, str(IMAGES / "README.md"), code=1).stderr)
        self.assertIn("gone.png", run("fovea-vqa", *ask, "gone.png", code=1).stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
