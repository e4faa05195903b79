"""Batches of scenes with questions, endlessly, for train.py and evaluate.py.

A row is `<s>USER: <image>..` and then segments. Each segment is a conversation of its own about the
same images: it sees the images and itself, not the other segments, and its positions go on from
the images' end. So one look at the images teaches many answers, and no answer can be copied from
another one, except within a conversation of more turns, as in use.
"""
import random
from dataclasses import dataclass, fields

import numpy as np
import torch

import questions
import scenes
from network import BOS, COLOUR_TOKEN, DEVICE, EOS, IMAGE, IMAGE_SIZE, PAD, PATCH, encode_text

BATCH_TOKENS = 5200     # of a CPU's batch: fewer rows where a row is longer
# (image size, images in the prompt): share. Symbols need no full-size picture.
MIX_SYMBOLS = {(128, 1): 8, (192, 1): 10, (256, 1): 42, (128, 2): 5, (192, 2): 8, (256, 2): 5,
               (128, 3): 5, (128, 4): 12, (192, 4): 4, (256, 4): 1}
MIX_PICTURES = {(256, 1): 46, (256, 2): 8, (256, 3): 6, (256, 4): 40}
MIX_DENSE = {(256, 1): 1}
TEXT_TOKENS = {1: 224, 2: 320, 3: 384, 4: 448}      # of a row, by images in the prompt
LAYOUTS = {"plain": 25, "many": 25, "signs": 25, "page": 25}    # share; pages take the longest
LENGTH_STEP = 64        # rows are padded to a multiple: few different shapes


@dataclass
class Batch:
    pixels: torch.Tensor      # [images, 3, size, size] bytes, or empty without pictures
    classes: torch.Tensor     # [images, patches]
    centres: torch.Tensor     # [images, patches] bool
    notes: torch.Tensor       # [images, patches]
    ground: torch.Tensor      # [images]: token of the ground's colour or 0
    ids: torch.Tensor         # [B, T]
    labels: torch.Tensor      # [B, T], -100 where nothing is to be said
    positions: torch.Tensor   # [B, T]
    segments: torch.Tensor    # [B, T]: 0 images, 1.. conversations, -1 padding
    answers: list             # (row, kind, start, length) of every answer

    def mask(self):
        """[B, 1, T, T], True: seen. A token sees the images and its own segment."""
        rows, columns = self.segments[:, :, None], self.segments[:, None, :]
        order = torch.arange(self.ids.shape[1], device=self.ids.device)
        sees = ((columns == 0) | (rows == columns)) & (order[None, :, None] >= order[None, None, :])
        return sees[:, None]

    def moved(self, move):
        """A batch of what `move` makes of every tensor"""
        parts = [getattr(self, field.name) for field in fields(self)]
        return Batch(*(move(part) if torch.is_tensor(part) else part for part in parts))

    def to(self, device):
        return self.moved(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self):
        """Called by DataLoader"""
        return self.moved(torch.Tensor.pin_memory)


def to_bytes(image):
    """[3, size, size]"""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


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


def draw_scenes(rng, sprites, size, count, want_pixels):
    layouts, shares = zip(*LAYOUTS.items())
    return [scenes.draw(rng, size, sprites, rng.choices(layouts, shares)[0],
                        ground_pixels=want_pixels) for _ in range(count)]


def rows_of(tokens, size, images, text_tokens):
    """How many rows a batch of `tokens` has"""
    return max(1, tokens // (images * ((size // PATCH) ** 2 + 4) + text_tokens))


def make_batch(rng, drawn, images, want_pixels, text_tokens=None):
    """A row for each `images` of the scenes in `drawn` that follow each other"""
    flat = drawn[:len(drawn) - len(drawn) % images]
    texts = [row(rng, flat[i:i + images], text_tokens or TEXT_TOKENS[images])
             for i in range(0, len(flat), images)]
    longest = max(len(text[0]) for text in texts)
    longest += -longest % LENGTH_STEP

    def padded(part, value):
        table = np.full((len(texts), longest), value, np.int64)
        for line, text in zip(table, texts):
            line[:len(text[part])] = text[part]
        return torch.from_numpy(table)
    return Batch(
        torch.stack([to_bytes(scene.image) for scene in flat]) if want_pixels else torch.empty(0),
        torch.stack([torch.from_numpy(scene.classes).long().flatten() for scene in flat]),
        torch.stack([torch.from_numpy(scene.centres).flatten() for scene in flat]),
        torch.stack([torch.from_numpy(scene.notes).long().flatten() for scene in flat]),
        torch.tensor([COLOUR_TOKEN[scene.ground] if scene.ground else 0 for scene in flat]),
        padded(0, PAD), padded(1, -100), padded(2, 0), padded(3, -1),
        [(i, *answer) for i, text in enumerate(texts) for answer in text[4]])


class Batches(torch.utils.data.IterableDataset):
    """mix: shares of (size, images), as above; name: of the random generator; tokens: of a batch;
    views: batches in which a scene comes, each time with other questions and other scenes"""

    def __init__(self, name, sprites, mix, want_pixels, text_tokens=None, tokens=BATCH_TOKENS,
                 views=1):
        self.name, self.sprites, self.mix, self.tokens, self.views = \
            name, sprites, mix, tokens, views
        self.want_pixels, self.text_tokens = want_pixels, text_tokens

    def _shape(self, rng):
        """size, images and scenes of a batch"""
        shapes, shares = zip(*self.mix.items())
        size, images = rng.choices(shapes, shares)[0]
        return size, images, images * rows_of(self.tokens, size, images,
                                              self.text_tokens or TEXT_TOKENS[images])

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(f"{self.name}/{worker.id if worker else 0}")
        while True:
            size, *first = self._shape(rng)
            views = [first]
            while len(views) < self.views:
                other, *view = self._shape(rng)
                if other == size:
                    views.append(view)
            drawn = draw_scenes(rng, self.sprites, size, max(count for _, count in views),
                                self.want_pixels)
            for images, count in views:
                rng.shuffle(drawn)
                yield make_batch(rng, drawn[:count], images, self.want_pixels, self.text_tokens)


def held_out(sprites, images, count, size=IMAGE_SIZE, want_pixels=True):
    """Scenes that no training seed draws: `count` prompts of `images` images, in small batches."""
    rng = scenes.generator("held", size, images)
    rows = max(1, 8 // images)
    return [make_batch(rng, draw_scenes(rng, sprites, size, rows * images, want_pixels), images,
                       want_pixels).to(DEVICE) for _ in range(max(1, count // rows))]
