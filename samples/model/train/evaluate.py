"""Share of answers that are exactly right, by kind of question, on held-out scenes.

An answer is right when every token of it, the end among them, is the most likely one: what greedy
decoding would say. The dense stage is judged by its patches instead.
  evaluate.py CHECKPOINT [--prompts 200] [--images 1]     a checkpoint of train.py
  evaluate.py ../ ...                                      or the exported folder
"""
import argparse
import os
from collections import defaultdict

import torch

import scenes
from data import held_out
from network import DEVICE, Learner, half_products
from vocabulary import CLASS_DIGIT, CLASS_PLATE


class Tally:
    def __init__(self):
        self.right, self.all = defaultdict(int), defaultdict(int)

    def add(self, name, right, count=1):
        self.right[name] += int(right)
        self.all[name] += int(count)

    def line(self):
        return ", ".join(f"{name} {self.right[name] / self.all[name]:.3f}"
                         for name in sorted(self.all) if self.all[name])

    def table(self):
        rows = [f"{name:10s} {self.right[name]:5d} of {self.all[name]:5d}  "
                f"{100 * self.right[name] / self.all[name]:5.1f}%" for name in sorted(self.all)]
        right, everything = sum(self.right.values()), sum(self.all.values())
        return "\n".join(rows + [f"{'all':10s} {right:5d} of {everything:5d}  "
                                 f"{100 * right / everything:5.1f}%"])


def judge_answers(learner, batches, tally, from_symbols=False, prefix=""):
    for batch in batches:
        vision = learner.symbols_of(batch) if from_symbols else \
            learner.project(learner.see(batch.pixels))
        said = learner.model.lm_head(learner.decode(vision, batch)).argmax(-1)
        for row, kind, start, length in batch.answers:
            right = said[row, start - 1:start - 1 + length] == batch.ids[row, start:start + length]
            tally.add(prefix + kind, right.all())


def judge_patches(learner, batches, tally):
    for batch in batches:
        hidden = learner.see(batch.pixels)
        classes = learner.heads.classes(hidden).argmax(-1)
        centres = learner.heads.centre(hidden)[..., 0] > 0
        text = (batch.classes >= CLASS_DIGIT) & (batch.classes < CLASS_PLATE)
        for name, where in (("ground", batch.classes == 0), ("text", text),
                            ("things", (batch.classes > 0) & ~text)):
            tally.add(name, (classes == batch.classes)[where].sum(), where.sum())
        tally.add("centres found", (centres & batch.centres).sum(), batch.centres.sum())
        notes = learner.heads.notes(hidden).argmax(-1) == batch.notes
        tally.add("notes", (notes & batch.centres).sum(), batch.centres.sum())
        tally.add("centres true", (centres & batch.centres).sum(), centres.sum())


def summary(learner, sprites, stage, count):
    """One line for the training log"""
    learner.eval()
    tally = Tally()
    with torch.no_grad(), half_products():
        if stage in ("dense", "map"):
            judge_patches(learner, held_out(sprites, 1, count), tally)
        elif stage == "symbols":
            judge_answers(learner, held_out(sprites, 1, count, want_pixels=False), tally, True)
            judge_answers(learner, held_out(sprites, 4, count // 2, 128, want_pixels=False), tally,
                          True, "4x ")
        else:
            judge_answers(learner, held_out(sprites, 1, count), tally)
            judge_answers(learner, held_out(sprites, 4, count // 4), tally, prefix="4x ")
    learner.train()
    return f"held out: {tally.line()}"


def load(path):
    """A Learner from train.py's checkpoint, or (without heads and symbols) from a model folder"""
    learner = Learner()
    if os.path.isdir(path):
        opened = type(learner.model).from_pretrained(path, dtype=torch.float32)
        learner.model.load_state_dict(opened.state_dict())
    else:
        learner.load_state_dict(torch.load(path, map_location="cpu")["learner"])
    return learner.to(DEVICE).eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", help="checkpoint of train.py, or a model folder")
    parser.add_argument("--sprites", default=os.environ.get("SPRITES"))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--images", type=int, default=1, help="images in every prompt")
    parser.add_argument("--patches", action="store_true", help="judge the dense heads instead")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sprites, tally, learner = scenes.Sprites(options.sprites), Tally(), load(options.model)
    with torch.no_grad():
        batches = held_out(sprites, options.images, options.prompts)
        if options.patches:
            judge_patches(learner, batches, tally)
        else:
            judge_answers(learner, batches, tally)
    print(tally.table())


if __name__ == "__main__":
    main()
