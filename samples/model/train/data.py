"""Batches of scenes with questions, endlessly, for train.py and evaluate.py.

A row is `<s>USER: <image>..` and then segments. Each segment is a conversation of its own about the
same images: it sees the images and itself, not the other segments, and its positions go on from
the images' end. So one look at the images teaches many answers, and no answer can be copied from
another one, except within a conversation of more turns, as in use.
"""
import random
from dataclasses import dataclass

import numpy as np
import torch

import questions
import scenes
from network import BOS, COLOUR_TOKEN, EOS, IMAGE, IMAGE_SIZE, PAD, PATCH, encode_text

ROW_TOKENS = 5200       # tokens of a batch: fewer rows where a row is longer
# (image size, images in the prompt): share. Symbols need no full-size picture.
MIX_SYMBOLS = {(128, 1): 8, (192, 1): 10, (256, 1): 42, (128, 2): 5, (192, 2): 8, (256, 2): 5,
               (128, 3): 5, (128, 4): 12, (192, 4): 4, (256, 4): 1}
MIX_PICTURES = {(256, 1): 58, (256, 2): 12, (256, 3): 8, (256, 4): 22}
MIX_DENSE = {(256, 1): 1}
TEXT_TOKENS = {1: 224, 2: 320, 3: 384, 4: 448}      # of a row, by images in the prompt


@dataclass
class Batch:
    pixels: torch.Tensor      # [images, 3, size, size], or empty where pictures are not wanted
    classes: torch.Tensor     # [images, patches]
    centres: torch.Tensor     # [images, patches] bool
    notes: torch.Tensor       # [images, patches]
    ground: torch.Tensor      # [images]: token of the ground's colour or 0
    ids: torch.Tensor         # [B, T]
    labels: torch.Tensor      # [B, T], -100 where nothing is to be said
    positions: torch.Tensor   # [B, T]
    segments: torch.Tensor    # [B, T]: 0 images, 1.. conversations, -1 padding
    answers: list             # (row, kind, start, length) of every answer

    def mask(self, dtype):
        """[B, 1, T, T], added to the scores: a token sees the images and its own segment."""
        rows, columns = self.segments[:, :, None], self.segments[:, None, :]
        order = torch.arange(self.ids.shape[1])
        sees = ((columns == 0) | (rows == columns)) & (order[None, :, None] >= order[None, None, :])
        return torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, -1e4)[:, None]


def to_pixels(image):
    """[3, size, size] from -1 to 1, as the model's image processor gives it"""
    array = np.asarray(image.convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)


def header(images, patches):
    """Token ids of everything before the first question."""
    ids = [BOS]
    for i in range(images):
        number = f"Image {i + 1}: " if images > 1 else ""
        for token in encode_text(f"{'USER: ' if i == 0 else ''}{number}<image>\n"):
            ids += [IMAGE] * patches if token == IMAGE else [token]
    return ids


def all_questions(rng, drawn, number):
    """(kind, question, answer) about one scene, or about each of several"""
    if len(drawn) == 1:
        return questions.ask(rng, drawn[0], number)
    asked = [(kind, questions.in_image(question, i), answer)
             for i, scene in enumerate(drawn)
             for kind, question, answer in questions.ask(rng, scene, number // len(drawn) + 2)]
    rng.shuffle(asked)
    return asked


def row(rng, drawn, text_tokens):
    """ids, labels, positions, segments and answers of one prompt with its conversations"""
    patches = drawn[0].classes.size
    ids = header(len(drawn), patches)
    start = len(ids)
    labels, segments, positions = [-100] * start, [0] * start, list(range(start))
    answers, segment, position = [], 0, start
    for kind, question, answer in all_questions(rng, drawn, 14 if len(drawn) == 1 else 32):
        follows = segment > 0 and rng.random() < 0.25
        asking = encode_text(f"{'USER: ' if follows else ''}{question} ASSISTANT:")
        saying = encode_text(f" {answer}") + [EOS]
        if len(ids) - start + len(asking) + len(saying) > text_tokens:
            continue
        if not follows:
            segment, position = segment + 1, start
        answers.append((kind, len(ids) + len(asking), len(saying)))
        ids += asking + saying
        labels += [-100] * len(asking) + saying
        positions += range(position, position + len(asking) + len(saying))
        position += len(asking) + len(saying)
        segments += [segment] * (len(asking) + len(saying))
    return ids, labels, positions, segments, answers


def make_batch(rng, sprites, size, images, want_pixels, text_tokens=None, rows=None, styles=(0, 1)):
    patches = (size // PATCH) ** 2
    text_tokens = text_tokens or TEXT_TOKENS[images]
    rows = rows or max(1, ROW_TOKENS // (images * (patches + 4) + text_tokens))
    drawn = [[scenes.draw(rng, size, sprites, styles=styles, ground_pixels=want_pixels)
              for _ in range(images)] for _ in range(rows)]
    flat = [scene for group in drawn for scene in group]
    texts = [row(rng, group, text_tokens) for group in drawn]
    longest = max(len(text[0]) for text in texts)

    def padded(part, value):
        return torch.tensor([text[part] + [value] * (longest - len(text[part])) for text in texts])
    return Batch(
        torch.stack([to_pixels(scene.image) for scene in flat]) if want_pixels else torch.empty(0),
        torch.stack([torch.from_numpy(scene.classes).long().flatten() for scene in flat]),
        torch.stack([torch.from_numpy(scene.centres).flatten() for scene in flat]),
        torch.stack([torch.from_numpy(scene.notes).long().flatten() for scene in flat]),
        torch.tensor([COLOUR_TOKEN[scene.ground] if scene.ground else 0 for scene in flat]),
        padded(0, PAD), padded(1, -100), padded(2, 0), padded(3, -1),
        [(i, *answer) for i, text in enumerate(texts) for answer in text[4]])


class Batches(torch.utils.data.IterableDataset):
    """mix: shares of (size, images), as above; name: of the random generator"""

    def __init__(self, name, sprites, mix, want_pixels, text_tokens=None):
        self.name, self.sprites, self.mix = name, sprites, mix
        self.want_pixels, self.text_tokens = want_pixels, text_tokens

    def __iter__(self):
        rng = random.Random(self.name)
        shapes, shares = zip(*self.mix.items())
        while True:
            size, images = rng.choices(shapes, shares)[0]
            yield make_batch(rng, self.sprites, size, images, self.want_pixels, self.text_tokens)


def held_out(sprites, images, count, size=IMAGE_SIZE, want_pixels=True):
    """Scenes that no training seed draws: `count` prompts of `images` images, in small batches."""
    rng = scenes.generator("held", size, images)
    rows = max(1, 8 // images)
    return [make_batch(rng, sprites, size, images, want_pixels, rows=rows)
            for _ in range(max(1, count // rows))]
