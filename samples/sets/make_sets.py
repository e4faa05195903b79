"""Draws held-out question sets for fovea-eval: PNG images and JSONL lines.

  make_sets.py FOLDER --sprites SPRITES [--scenes 300] [--name report]

Writes FOLDER/images/*.png and, for mode `same` and mode `next`, one.*.jsonl (one image a prompt),
four.*.jsonl (four images, asked about one of them) and pages.*.jsonl (pages of text only). A line:
{"images": [..], "question": "..", "answers": [".."], "kind": ".."}, and in mode `next` also
"before": {"question", "answer"}: a caption turn that comes first; the question is then one that
the caption leaves open. Paths are relative to the JSONL file; lines about the same images follow
each other, but for further questions of mode `same` at the end of a file: half of the first ones
have a one-token answer, which fovea-eval leaves out. No line comes twice.

--name is the seed: `report` for figures, any other name for tuning recipes. No training seed begins
with `set/`, so no scene here was trained on. Questions are those that need vision tokens: small
things, many of a kind, long numbers, lines of a page, one image of four.
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
# kinds asked, by layout. same: long answers; next: what a caption leaves open
KINDS = {
    "same": {"many": {"caption": 3, "count": 2, "where": 2},
             "signs": {"list": 3, "read": 4, "color": 1},
             "page": {"list": 2, "line": 3, "lookup": 3, "key": 1}},
    "next": {"many": {"where": 4, "corner": 3, "side": 3},
             "signs": {"read": 6, "list": 2, "color": 2, "where": 2},
             "page": {"lookup": 5, "line": 3, "key": 2}},
}


# further questions of mode same, all with long answers: how many an image, group or page
MORE = {"one": 1, "four": 6, "pages": 2}
MORE_KINDS = {"many": {"caption": 1, "where": 2}, "signs": {"list": 1, "read": 3},
              "page": {"list": 1, "line": 3, "lookup": 3}}


def is_long(answer):
    """More than one token in the model's vocabulary, where digits are tokens of their own"""
    return " " in answer or (answer.isdigit() and len(answer) > 1)


class Set:
    """The lines of one set in both modes"""

    def __init__(self, name, seed):
        self.name, self.seed = name, seed
        self.lines = {"same": {}, "next": {}}   # in the order they came

    def ask(self, drawn, images, number):
        """`number` questions a mode about these scenes, dealt over them in turn"""
        for mode in ("same", "next"):
            rng = scenes.generator("set", self.seed, self.name, images[0], mode)
            asked = [[(i, *found) for found in
                      questions.ask(rng, scene, -(-number // len(drawn)) + 1,
                                    KINDS[mode][scene.layout])]
                     for i, scene in enumerate(drawn)]
            dealt = [asked[i][k] for k in range(max(map(len, asked)))
                     for i in range(len(asked)) if k < len(asked[i])]
            for i, kind, question, answer in dealt[:number]:
                self._add(mode, rng, drawn, images, i, kind, question, answer)

    def ask_more(self, drawn, images, number):
        """`number` further questions about these scenes in turn, as far as there are that many"""
        rng = scenes.generator("set", self.seed, self.name, images[0], "more")
        added = 0
        for attempt in range(50 * number):
            if added == number:
                break
            i = attempt % len(drawn)
            kinds, weights = zip(*MORE_KINDS[drawn[i].layout].items())
            kind = rng.choices(kinds, weights)[0]
            found = questions.KINDS[kind](rng, drawn[i])
            if found and is_long(found[1]):
                added += self._add("same", rng, drawn, images, i, kind, *found)

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
        text = json.dumps(line)
        new = text not in self.lines[mode]
        if new:
            self.lines[mode][text] = None
        return new

    def write(self, folder):
        for mode, lines in self.lines.items():
            with open(f"{folder}/{self.name}.{mode}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)


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
    parser.add_argument("--scenes", type=int, default=300, help="images drawn, four a group")
    parser.add_argument("--name", default="report", help="seed")
    parser.add_argument("--one", type=int, default=4, help="questions an image and mode")
    parser.add_argument("--four", type=int, default=14, help="questions a group and mode")
    parser.add_argument("--pages", type=int, default=12, help="questions a page and mode")
    parser.add_argument("--more", type=int, default=1,
                        help="further questions with long answers in mode same, times MORE; 0: none")
    options = parser.parse_args()
    if len(vocabulary.FONTS) < len(vocabulary.FONT_FILES):  # fewer would draw other scenes
        parser.error("fonts are missing: apt-get install fonts-dejavu-core fonts-liberation")
    if not options.sprites:
        parser.error("no sprites: --sprites FOLDER or SPRITES=FOLDER")
    pool = draw_pool(options.folder, scenes.Sprites(options.sprites), options.name, options.scenes)
    one, four, pages = (Set(name, options.name) for name in ("one", "four", "pages"))
    single = [([scene], [name]) for name, scene in pool]
    asked = ((one, single, options.one), (four, groups_of(pool, 4), options.four),
             (pages, [about for about in single if about[0][0].layout == "page"], options.pages))
    for question_set, abouts, number in asked:
        for drawn, names in abouts:
            question_set.ask(drawn, names, number)
        for drawn, names in abouts:
            question_set.ask_more(drawn, names, options.more * MORE[question_set.name])
        question_set.write(options.folder)
        sizes = ", ".join(f"{mode} {len(lines)}" for mode, lines in question_set.lines.items())
        print(f"{question_set.name}: {sizes}")


if __name__ == "__main__":
    main()
