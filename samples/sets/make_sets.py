"""Draws held-out question sets for fovea-eval: PNG images and JSONL lines.

  make_sets.py FOLDER --sprites SPRITES [--scenes 288] [--name report]

Writes FOLDER/images/*.png and, for each mode of fovea-eval, one.MODE.jsonl (one image a prompt),
four.MODE.jsonl (four images, asked about one of them) and pages.MODE.jsonl (pages of text only). A
line: {"images": [..], "question": "..", "answers": [".."], "kind": ".."}, and in mode `next` also
"before": {"question", "answer"}: a caption turn that comes first; the question is then one that
the caption leaves open. Paths are relative to the JSONL file; lines about the same images follow
each other. Answers in mode `same` have two tokens at least: the first one comes before the plan.

--name is the seed: `report` for figures, any other name for tuning recipes. No training seed begins
with `set/`, so no scene here was trained on. Questions are those that need vision tokens and that the
default model answers with all of them; README.md says how the kinds were chosen.
"""
import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "model", "train"))

import questions   # noqa: E402  (the generator lives beside the model)
import scenes      # noqa: E402
import vocabulary  # noqa: E402

SIZE = 256
LAYOUTS = ("page", "signs", "many", "signs", "page", "many")   # over and over, one a scene
# kinds asked, by layout, and how often; in mode `same` only those with a long answer come through
KINDS = {
    "many": {"caption": 2, "count": 2, "corner": 2, "side": 2, "where": 2, "color": 1},
    "signs": {"caption": 1, "corner": 1, "side": 1, "where": 2, "read": 3, "list": 2},
    "page": {"line": 4, "list": 1},
}
MODES = ("same", "next", "blind")


def is_long(answer):
    """More than one token in the model's vocabulary, where digits are tokens of their own"""
    return " " in answer or (answer.isdigit() and len(answer) > 1)


class Set:
    """The lines of one set in all modes"""

    def __init__(self, name, seed):
        self.name, self.seed = name, seed
        self.lines = {mode: {} for mode in MODES}   # by images and question, in the order they came

    def ask(self, drawn, images, number):
        """`number` questions a mode about these scenes, dealt over them in turn"""
        for mode in MODES:
            rng = scenes.generator("set", self.seed, self.name, images[0], mode)
            asked = [[(i, *found) for found in
                      questions.ask(rng, scene, -(-number // len(drawn)) + 1,
                                    KINDS[scene.layout])
                      if mode != "same" or is_long(found[2])]
                     for i, scene in enumerate(drawn)]
            dealt = [asked[i][k] for k in range(max(map(len, asked)))
                     for i in range(len(asked)) if k < len(asked[i])]
            for i, kind, question, answer in dealt[:number]:
                self._add(mode, rng, drawn, images, i, kind, question, answer)

    def _add(self, mode, rng, drawn, images, index, kind, question, answer):
        several = len(drawn) > 1
        line = {"images": [f"images/{image}" for image in images],
                "question": questions.in_image(question, index) if several else question,
                "answers": [answer], "kind": kind}
        if mode == "next":
            before = rng.randrange(len(drawn))   # often another image: the plan cannot foresee
            first, caption = questions.caption(rng, drawn[before])
            line["before"] = {"question": questions.in_image(first, before) if several else first,
                              "answer": caption}
        self.lines[mode].setdefault((*images, line["question"]), json.dumps(line))

    def write(self, folder):
        for mode, lines in self.lines.items():
            with open(f"{folder}/{self.name}.{mode}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines.values())


def draw_pool(folder, sprites, seed, count):
    os.makedirs(f"{folder}/images", exist_ok=True)
    pool = []
    for i in range(count):
        rng = scenes.generator("set", seed, "scene", i)
        scene = scenes.draw(rng, SIZE, sprites, LAYOUTS[i % len(LAYOUTS)], calm=True)
        name = f"{i:04d}.png"
        scene.image.save(f"{folder}/images/{name}", optimize=True)
        pool.append((name, scene))
    return pool


def groups_of(pool, size):
    """(scenes, names) of each `size` of the pool that follow each other"""
    groups = (zip(*pool[i:i + size]) for i in range(0, len(pool) - size + 1, size))
    return [(drawn, names) for names, drawn in groups]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder")
    parser.add_argument("--sprites", default=os.environ.get("SPRITES"))
    parser.add_argument("--scenes", type=int, default=288, help="images drawn, four a group")
    parser.add_argument("--name", default="report", help="seed")
    parser.add_argument("--one", type=int, default=4, help="questions an image and mode")
    parser.add_argument("--four", type=int, default=16, help="questions a group and mode")
    parser.add_argument("--pages", type=int, default=6, help="questions a page and mode")
    options = parser.parse_args()
    if len(vocabulary.FONTS) < len(vocabulary.FONT_FILES):  # fewer would draw other scenes
        parser.error("fonts are missing: apt-get install fonts-dejavu-core fonts-liberation")
    if not options.sprites:
        parser.error("no sprites: --sprites FOLDER or SPRITES=FOLDER")
    pool = draw_pool(options.folder, scenes.Sprites(options.sprites), options.name, options.scenes)
    one, pages, four = (Set(name, options.name) for name in ("one", "pages", "four"))
    single = [([scene], [name]) for name, scene in pool]
    for about in single:
        one.ask(*about, options.one)
        if about[0][0].layout == "page":
            pages.ask(*about, options.pages)
    for drawn, names in groups_of(pool, 4):
        four.ask(drawn, names, options.four)
    for question_set in (one, four, pages):
        question_set.write(options.folder)
        sizes = ", ".join(f"{mode} {len(lines)}" for mode, lines in question_set.lines.items())
        print(f"{question_set.name}: {sizes}")


if __name__ == "__main__":
    main()
