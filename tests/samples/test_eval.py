"""Runs fovea-eval on the tiny question sets and looks at its tables, answers and pictures.

    test_eval.py SOURCE_DIR PROGRAM_DIR [unittest arguments]
"""
import csv
import json
import pathlib
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
from programs import IMAGE_TOKENS, TINY, TOKEN_BYTES, asked, main, run, vqa


def plain(text):
    """Independent of score.c: what counts when answers are compared"""
    return re.sub(r"\s+", " ", text).strip().lower().removesuffix(".").strip()


def anls(text, answers):
    """Biten et al. 2019, independent of score.c: a table of edit distances, whole"""
    def similarity(a, b):
        cells = {(i, 0): i for i in range(len(a) + 1)} | {(0, k): k for k in range(len(b) + 1)}
        for i, x in enumerate(a):
            for k, y in enumerate(b):
                cells[i + 1, k + 1] = min(cells[i, k + 1] + 1, cells[i + 1, k] + 1, cells[i, k] + (x != y))
        share = cells[len(a), len(b)] / max(len(a), len(b), 1)
        return 1 - share if share < 0.5 else 0
    return max(similarity(*(" ".join(t.lower().split()) for t in (text, answer))) for answer in answers)


class Sets(unittest.TestCase):
    """samples/sets/report: as many questions as the README says, all of which count"""
    def test_questions_of_the_report(self):
        folder = TINY.parent / "report"
        said = (folder.parent / "README.md").read_text()
        told = {name: [int(n.replace(",", "")) for n in re.findall(r"\| ([\d,]+) (?=\|)", rest)[1:]]
                for name, rest in re.findall(r"^\| (one|four|pages) (\|.*)$", said, re.M)}
        for name, n_image in (("one", 1), ("four", 4), ("pages", 1)):
            for mode, n_line in zip(("same", "next", "blind"), told[name], strict=True):
                lines = [json.loads(line) for line in
                         (folder / f"{name}.{mode}.jsonl").read_text().splitlines()]
                asked = {(*line["images"], line["question"]) for line in lines}
                self.assertEqual((len(lines), len(asked)), (n_line, n_line))    # none comes twice
                if name != "pages":
                    self.assertGreater(n_line, 1000)
                for line in lines:
                    self.assertEqual(len(line["images"]), n_image)
                    self.assertEqual("before" in line, mode == "next")
                    answer = line["answers"][0]     # a digit is a token
                    if mode == "same":
                        self.assertTrue(" " in answer or answer.isdigit() and len(answer) > 1)
        used = {image for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()
                for image in json.loads(line)["images"]}
        self.assertEqual(used, {f"images/{path.name}" for path in (folder / "images").iterdir()})


class Prefill(unittest.TestCase):
    def test_prefills_of_their_own(self):
        """Layers are cut on the way then, and what is held and said is what a user's session holds and says."""
        for mode, name in (("same", "same"), ("next", "next"), ("blind", "next")):
            path = str(TINY / f"four.{name}.jsonl")
            done = {}
            for own in ((), ("--own-prefill",)):
                with tempfile.TemporaryDirectory() as folder:
                    answers = f"{folder}/answers.jsonl"
                    text = run("fovea-eval", path, "--mode", mode, "--recipe", "fovea:bytes=10%",
                               "--limit", "1", "--answers", answers, *own).stdout
                    said = json.loads(pathlib.Path(answers).read_text())["said"]
                none, fovea = (row for row in csv.DictReader(text.splitlines()) if row["kind"] == "all")
                done[own] = said["none"], none["tokens"]
                peak = float(fovea["peak_bytes"]) / float(fovea["full_bytes"])
                self.assertLessEqual(float(fovea["realised_share"]), 0.1)
                if own:     # README: 31% of the full cache for 4,000 tokens
                    self.assertLess(peak, 0.4)
                    self.assertGreater(float(none["peak_bytes"]), float(none["full_bytes"]))
                else:       # all of it, and the plan beside it
                    self.assertGreater(peak, 1.05)
                if own and mode == "same":
                    line = json.loads(pathlib.Path(path).read_text().splitlines()[0])
                    plain = vqa(line["question"], "--recipe", "fovea:bytes=10%",
                                images=[str(TINY / image) for image in line["images"]])
                    self.assertEqual(said["fovea:bytes=10%"], plain["text"])
                    self.assertAlmostEqual(float(fovea["peak_bytes"]) / plain["kv"]["peak_bytes"], 1,
                                           delta=0.002)    # that one reserves for its answer, too
            self.assertEqual(done[()], done[("--own-prefill",)])    # nothing is cut of none


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
            near = sum(anls(text, answer["answers"]) for text, answer in said) / len(said)
            self.assertAlmostEqual(float(row["anls"]), near, places=3)
            for share in ("anls", "token_agreement"):
                self.assertLessEqual(float(row[f"{share}_low"]), float(row[share]))
                self.assertGreaterEqual(float(row[f"{share}_high"]), float(row[share]))
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
        """Plans from the images alone: a turn before the question is left out."""
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
                for share, prefix in (("accuracy", ""), ("token_agreement", "token_"),
                                      ("as_none", "as_none_"), ("anls", "anls_")):
                    more = float(row[f"{prefix}difference"])
                    self.assertAlmostEqual(more, float(row[share]) - float(other[share]), delta=2e-4)
                    self.assertLessEqual(float(row[f"{prefix}difference_low"]), more)
                    self.assertGreaterEqual(float(row[f"{prefix}difference_high"]), more)
        self.assertEqual(done.stdout.count("loses"), 3)
        name = "{http://www.w3.org/2000/svg}"
        self.assertEqual(len(drawn.findall(f"{name}polyline")), 3 * 3 * len(parts))
        texts = [text.text for text in drawn.iter(f"{name}text")]
        for text in ("random", "vl-cache:vision=int4", "mode blind: four.next.jsonl", "ms per token"):
            self.assertIn(text, texts)

    def test_resamples_of_pictures(self):
        """Four questions about one group of pictures are one draw, about four pictures four."""
        rows = {}
        for name in ("one", "four"):
            for unit in ("questions", "pictures"):
                text = run("fovea-eval", str(TINY / f"{name}.next.jsonl"), "--mode", "next", "--recipes",
                           "random:bytes=10%", "--against", "none", "--resample", unit).stdout
                rows[name, unit] = [row for row in csv.DictReader(text.splitlines())
                                    if row["kind"] == "all"][1]
        self.assertEqual(rows["one", "questions"], rows["one", "pictures"])
        for share in ("token_agreement", "anls", "token_difference", "as_none_difference"):
            row = rows["four", "pictures"]
            self.assertEqual({row[share]}, {row[f"{share}_low"], row[f"{share}_high"]})
            self.assertEqual(row[share], rows["four", "questions"][share])
        self.assertLess(float(rows["four", "questions"]["token_difference_low"]),
                        float(rows["four", "questions"]["token_difference_high"]))

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
            ask("--own-prefill")
            self.assertEqual(len(state.read_bytes().splitlines()), 4 * 3 + 1 + 2 * 4 * 3)

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
        recipes = ("--recipes", "vl-cache:bytes=1KiB;random:keep=0.1")
        with tempfile.TemporaryDirectory() as folder:
            table, picture = f"{folder}/table.csv", f"{folder}/picture.svg"
            own = run("fovea-eval", path, *recipes, "--own-prefill").stderr
            done = run("fovea-eval", path, *recipes, "--csv", table, "--picture", picture)
            with open(table, encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if row["kind"] == "all"]
            drawn = xml.etree.ElementTree.parse(picture)
        self.assertEqual([(int(row["questions"]) > 0, int(row["refused"]) > 0) for row in rows],
                         [(True, False), (False, True), (True, False)])
        self.assertEqual(rows[1]["refused"], rows[0]["questions"])
        self.assertIn(f"refused {rows[1]['refused']} times", done.stdout)
        self.assertIn(f"refused {rows[1]['refused']} times", own)
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


if __name__ == "__main__":
    main()
