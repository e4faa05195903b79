"""Draws scenes and knows everything in them: each thing, its place, and what every patch shows.

Four layouts:
  plain  one to three kinds of things, large, up to four of a kind, sometimes a sign
  many   four to nine small things (one to nine patches each)
  signs  two to six small coloured signs with numbers up to six digits, or words
  page   a page of text: lines of a word and a number
A scene is drawn from a random.Random alone: the same generator state gives the same scene.
Called by data.py (training), evaluate.py, ../../sets/make_sets.py and ../../images/draw_images.py.
"""
import functools
import json
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vocabulary import (CLASS_DIGIT, CLASS_NOUN, CLASS_PLATE, COLOUR_NAMES, COLOURS, FONTS,
                        NOTE_WORD, NOUNS, SHAPES, SPRITE_NAMES, UNCOUNTABLE, WORDS,
                        character_class, shape_class)

PATCH = 16
STYLES = ("fluent", "noto")
LAYOUTS = ("plain", "many", "signs", "page")
LAYOUT_SHARES = (0.40, 0.20, 0.20, 0.20)
CHARACTER_PITCH = 16  # at least one patch apart, so that every character has a patch of its own
PAPER = {"white": (250, 250, 246), "yellow": (250, 240, 190), "gray": (205, 206, 210)}


@dataclass
class Thing:
    kind: str       # noun, shape, number, word (the last two are signs)
    name: str       # "cat", "red circle"; of a sign: the colour of its plate
    text: str       # what a sign says, else ""
    box: tuple      # x, y, width, height as shares of the image

    @property
    def is_sign(self):
        return self.kind in ("number", "word")

    @property
    def x(self):
        return self.box[0] + self.box[2] / 2

    @property
    def y(self):
        return self.box[1] + self.box[3] / 2


@dataclass
class Scene:
    image: Image.Image
    layout: str
    ground: str | None                          # colour of the ground where it has one
    things: list = field(default_factory=list)
    lines: list = field(default_factory=list)   # of a page: (word, number), top to bottom
    classes: np.ndarray = None                  # int16 [size/16, size/16], vocabulary's classes
    centres: np.ndarray = None                  # bool, same shape: the middle of a thing is here
    notes: np.ndarray = None                    # int16, same shape: which one of its kind, or word


class Sprites:
    """The pictures of vocabulary's nouns, in every style, cropped to what is not transparent."""

    def __init__(self, folder):
        with open(f"{folder}/names.json", encoding="utf-8") as file:
            ids = {entry["name"]: entry["id"] for entry in json.load(file)}
        self.pictures = []
        for name in SPRITE_NAMES:
            fluent = Image.open(f"{folder}/fluent/{ids[name]}.webp").convert("RGBA")
            noto = Image.open(f"{folder}/noto/{ids[name]}.png").convert("RGBA")
            fluent = fluent.resize((144, 144), Image.LANCZOS)
            self.pictures.append([self._crop(fluent), self._crop(noto)])

    @staticmethod
    def _crop(picture):
        solid = picture.getchannel("A").point(lambda alpha: 255 if alpha > 16 else 0)
        return picture.crop(solid.getbbox())


_fonts = {}


def font(path, size):
    if (path, size) not in _fonts:
        _fonts[path, size] = ImageFont.truetype(path, size)
    return _fonts[path, size]


class Painter:
    """Draws one scene: the image, and beside it which class every pixel shows."""

    def __init__(self, rng, size, sprites, styles, ground_pixels=True, calm=False):
        self.rng, self.size, self.sprites, self.styles = rng, size, sprites, styles
        self.ground_pixels, self.calm = ground_pixels, calm
        self.pixel_classes = np.zeros((size, size), np.int16)
        self.middles = []       # (x, y, class, note) in pixels, of things and characters
        self.taken = []         # boxes in pixels
        self.image = None
        self.ground = None

    # -- grounds ---------------------------------------------------------------------------------

    def paint_ground(self):
        """Plain, graded or blotchy; only the first two have a colour that can be asked for."""
        rng, size = self.rng, self.size
        choice, name = rng.random(), rng.choice(COLOUR_NAMES)
        shift, steps = rng.gauss(0, 12), rng.choice((3, 5, 9))
        noise = np.random.RandomState(rng.randrange(1 << 30))
        vertical, dim, grain = rng.random() < 0.5, rng.random(), rng.uniform(-10, 10)
        if self.calm:
            choice, grain = choice * 0.6, 0
        self.ground = name if choice < 0.6 else None
        if not self.ground_pixels:
            self.image = Image.new("RGB", (size, size))
            return
        colour = np.clip(np.array(COLOURS[name], np.float32) + shift, 0, 255)
        if choice < 0.35:
            pixels = np.broadcast_to(colour, (size, size, 3))
        elif choice < 0.6:
            ramp = np.linspace(0, 1, size, dtype=np.float32)
            ramp = ramp[:, None, None] if vertical else ramp[None, :, None]
            pixels = colour * (1 - 0.35 * ramp) + np.zeros((size, size, 1), np.float32)
        else:
            coarse = Image.fromarray(noise.randint(0, 256, (steps, steps, 3)).astype(np.uint8))
            pixels = np.asarray(coarse.resize((size, size), Image.BICUBIC), np.float32)
            if dim < 0.5:
                pixels = pixels * 0.5 + 128 * dim
        if grain > 0:
            pixels = pixels + noise.standard_normal((size, size, 1)).astype(np.float32) * grain
        self.image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    def paint_paper(self):
        self.ground = self.rng.choice(list(PAPER))
        colour = tuple(min(255, v + self.rng.randrange(-6, 7)) for v in PAPER[self.ground])
        self.image = Image.new("RGB", (self.size, self.size), colour)

    # -- places ----------------------------------------------------------------------------------

    def find_place(self, width, height, gap=0, tries=12):
        """A free place for a box, or None; gap < 0 lets boxes overlap a little."""
        if width >= self.size - 4 or height >= self.size - 4:
            return None
        for _ in range(tries):
            x = self.rng.randrange(0, self.size - width)
            y = self.rng.randrange(0, self.size - height)
            if all(x >= left + w + gap or left >= x + width + gap or
                   y >= top + h + gap or top >= y + height + gap
                   for left, top, w, h in self.taken):
                self.taken.append((x, y, width, height))
                return x, y
        return None

    def share_of_image(self, x, y, width, height):
        return (x / self.size, y / self.size, width / self.size, height / self.size)

    # -- things ----------------------------------------------------------------------------------

    def paint_noun(self, index, style, x, y, width):
        rng = self.rng
        sprite = self.sprites.pictures[index][style]
        longest = max(sprite.size)
        stretch = rng.uniform(0.72, 1.0) if rng.random() < 0.25 else 1.0
        fit = [max(1, side * width // longest) for side in sprite.size]
        fit[rng.randrange(2)] *= stretch
        sprite = sprite.resize((max(1, int(fit[0])), max(1, int(fit[1]))), Image.BILINEAR)
        if rng.random() < 0.5:
            sprite = sprite.transpose(Image.FLIP_LEFT_RIGHT)
        if rng.random() < 0.4:
            sprite = sprite.rotate(rng.uniform(-18, 18), Image.BILINEAR)
        left, top = x + (width - sprite.size[0]) // 2, y + (width - sprite.size[1]) // 2
        self.image.paste(sprite, (left, top), sprite)
        solid = np.asarray(sprite.getchannel("A")) > 100
        self._mark(left, top, solid, CLASS_NOUN + index)
        self.middles.append((x + width / 2, y + width / 2, CLASS_NOUN + index, 0))

    def paint_shape(self, shape, colour, x, y, width):
        fill = tuple(int(min(255, max(0, v + self.rng.gauss(0, 8)))) for v in COLOURS[colour])
        side = width * 2
        mask = Image.new("L", (side, side), 0)
        pen = ImageDraw.Draw(mask)
        if shape == "circle":
            pen.ellipse((2, 2, side - 3, side - 3), fill=255)
        elif shape == "square":
            pen.rectangle((side * 0.08, side * 0.08, side * 0.92, side * 0.92), fill=255)
        elif shape == "triangle":
            pen.polygon([(side / 2, 2), (2, side - 3), (side - 3, side - 3)], fill=255)
        elif shape == "diamond":
            pen.polygon([(side / 2, 0), (side * 0.9, side / 2), (side / 2, side - 1),
                         (side * 0.1, side / 2)], fill=255)
        else:
            pen.rectangle((side * 0.36, 0, side * 0.64, side - 1), fill=255)
            pen.rectangle((0, side * 0.36, side - 1, side * 0.64), fill=255)
        mask = mask.resize((width, width), Image.BILINEAR)
        self.image.paste(fill, (x, y), mask)
        patch_class = shape_class(shape, colour)
        self._mark(x, y, np.asarray(mask) > 100, patch_class)
        self.middles.append((x + width / 2, y + width / 2, patch_class, 0))

    def paint_sign(self, text, colour, x, y, width, height, path, font_size):
        fill = tuple(int(min(255, max(0, v + self.rng.gauss(0, 6)))) for v in COLOURS[colour])
        bright = fill[0] * 0.3 + fill[1] * 0.59 + fill[2] * 0.11 > 140
        ink = (15, 15, 20) if bright else (250, 250, 250)
        ImageDraw.Draw(self.image).rounded_rectangle((x, y, x + width, y + height), 4, fill=fill)
        plate = np.ones((height, width), bool)
        self._mark(x, y, plate, CLASS_PLATE + COLOUR_NAMES.index(colour))
        pitch = self.pitch(path, font_size)
        left = x + (width - pitch * len(text)) / 2
        self.paint_text(text, left, y + height / 2, path, font_size, ink)

    @staticmethod
    @functools.cache
    def pitch(path, font_size):
        widest = max(font(path, font_size).getlength(c) for c in "0235689")
        return max(CHARACTER_PITCH, widest * 1.06)

    def paint_text(self, text, left, middle, path, font_size, ink):
        """A word or number, its characters `pitch` apart, each known by its middle."""
        pen, face, pitch = ImageDraw.Draw(self.image), font(path, font_size), \
            self.pitch(path, font_size)
        note = NOTE_WORD + WORDS.index(text) if text in WORDS else 0
        for i, character in enumerate(text):
            x = left + pitch * (i + 0.5)
            pen.text((x, middle), character, font=face, fill=ink, anchor="mm")
            self.middles.append((x, middle, character_class(character), note))

    def _mark(self, left, top, solid, patch_class):
        height, width = solid.shape
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.size, left + width), min(self.size, top + height)
        part = solid[y0 - top:y1 - top, x0 - left:x1 - left]
        self.pixel_classes[y0:y1, x0:x1][part] = patch_class

    # -- labels ----------------------------------------------------------------------------------

    def patch_labels(self):
        """classes, centres, notes: a patch shows the class that covers most of it (ground unless
        it covers 20%), and the patch that holds the middle of a thing or of a character shows just
        that, with its note"""
        grid = self.size // PATCH
        tiles = self.pixel_classes.reshape(grid, PATCH, grid, PATCH).transpose(0, 2, 1, 3)
        tiles = tiles.reshape(grid, grid, PATCH * PATCH)
        classes = np.zeros((grid, grid), np.int16)
        covered = np.zeros((grid, grid), np.int32)
        for patch_class in np.flatnonzero(np.bincount(self.pixel_classes.ravel())[1:]) + 1:
            pixels = (tiles == patch_class).sum(-1)
            take = (pixels > covered) & (pixels >= PATCH * PATCH // 5)
            classes[take], covered[take] = patch_class, pixels[take]
        centres, notes = np.zeros((grid, grid), bool), np.zeros((grid, grid), np.int16)
        seen = {}
        for row, column, patch_class, note in sorted(
                (min(grid - 1, int(y // PATCH)), min(grid - 1, int(x // PATCH)), *what)
                for x, y, *what in self.middles):
            classes[row, column], centres[row, column] = patch_class, True
            if patch_class < CLASS_DIGIT:
                seen[patch_class] = note = min(NOTE_WORD - 1, seen.get(patch_class, 0) + 1)
            notes[row, column] = note
        return classes, centres, notes


def random_number(rng, digits):
    return str(rng.randrange(10 ** (digits - 1), 10 ** digits))


def _sign_text(rng, longest, number_share):
    if rng.random() < number_share:
        return "number", random_number(rng, rng.randint(1, longest))
    return "word", rng.choice([word for word in WORDS if len(word) <= longest])


def _place_sign(painter, text, colour, font_size, tries):
    path = painter.rng.choice(FONTS)
    pitch = painter.pitch(path, font_size)
    width = int(pitch * len(text)) + max(16, font_size // 2)
    height = max(int(font_size * 1.4), PATCH * 2 + 4)
    place = painter.find_place(width, height, 2, tries)
    if place is None:
        return None
    painter.paint_sign(text, colour, *place, width, height, path, font_size)
    return painter.share_of_image(*place, width, height)


def _place_things(painter, kind, count, width_range, gap):
    """Paints up to `count` of one noun (index) or shape (shape, colour); returns the things."""
    rng, found = painter.rng, []
    style = rng.choice(painter.styles)
    for _ in range(count):
        width = int(rng.uniform(*width_range))
        place = painter.find_place(width, width, gap)
        if place is None:
            continue
        if isinstance(kind, int):
            painter.paint_noun(kind, style, *place, width)
            thing = ("noun", NOUNS[kind])
        else:
            painter.paint_shape(*kind, *place, width)
            thing = ("shape", f"{kind[1]} {kind[0]}")
        found.append(Thing(*thing, "", painter.share_of_image(*place, width, width)))
    return found


def _random_kind(painter, noun_share):
    rng = painter.rng
    if rng.random() < noun_share:
        return rng.randrange(len(NOUNS))
    return rng.choice(SHAPES), rng.choice([c for c in COLOUR_NAMES if c != painter.ground])


def _plain(painter):
    rng, size, things = painter.rng, painter.size, []
    painter.paint_ground()
    kinds = rng.choices((1, 2, 3), (0.25, 0.40, 0.35))[0]
    used = set()
    for _ in range(kinds):
        if rng.random() < 0.14:
            if "sign" in used:
                continue
            used.add("sign")
            font_size = int(max(22, size * rng.uniform(0.09, 0.19)))
            kind, text = _sign_text(rng, 3 if font_size > size * 0.12 else 5, 0.65)
            colour = rng.choice([c for c in COLOUR_NAMES if c != painter.ground])
            box = _place_sign(painter, text, colour, font_size, 12)
            if box:
                things.append(Thing(kind, colour, text, box))
            continue
        kind = _random_kind(painter, 0.79)
        if kind in used:
            continue
        used.add(kind)
        count = rng.choices((1, 2, 3, 4), (0.58, 0.21, 0.12, 0.09))[0]
        if isinstance(kind, int) and NOUNS[kind] in UNCOUNTABLE:
            count = 1
        widths = (0.2, 0.34) if count > 1 or kinds > 2 else (0.24, 0.5)
        gap = -int(size * 0.02)
        things += _place_things(painter, kind, count, [f * size for f in widths], gap)
    return things, []


def _many(painter):
    rng, things, used = painter.rng, [], set()
    painter.paint_ground()
    room = max(3, min(9, painter.size // 26))
    total, kinds = rng.randint(min(4, room), room), rng.choices((1, 2, 3, 4), (1, 2, 3, 2))[0]
    for i in range(kinds):
        kind = _random_kind(painter, 0.5)
        if kind in used or total <= 0:
            continue
        used.add(kind)
        count = total if i == kinds - 1 else rng.randint(1, total)
        if isinstance(kind, int) and NOUNS[kind] in UNCOUNTABLE:
            count = 1
        widths = (32, 52) if isinstance(kind, int) else (20, 44)
        found = _place_things(painter, kind, min(count, 9), widths, 3)
        things, total = things + found, total - len(found)
    return things, []


def _signs(painter):
    rng, things = painter.rng, []
    painter.paint_ground()
    longest = max(2, min(6, (painter.size - 40) // 24))
    colours = [c for c in COLOUR_NAMES if c != painter.ground]
    for colour in rng.sample(colours, rng.randint(2, 6)):
        kind, text = _sign_text(rng, longest, 0.75)
        if any(other.text == text for other in things):
            continue
        box = _place_sign(painter, text, colour, rng.randint(22, 28), 25)
        if box:
            things.append(Thing(kind, colour, text, box))
    return things, []


def _page(painter):
    rng, size, lines = painter.rng, painter.size, []
    painter.paint_paper()
    path, font_size = rng.choice(FONTS), rng.randint(20, 25)
    pitch = painter.pitch(path, font_size)
    columns = int((size - 4) // pitch)
    key_width = 5 if columns >= 11 else 4
    digits = max(2, min(6, columns - key_width - 1))
    leading = rng.uniform(PATCH * 1.9, PATCH * 2.6)
    count = rng.randint(min(3, int(size // leading)), min(7, int((size - 8) // leading)))
    top = rng.uniform(leading / 2 + 2, size - leading * (count - 0.5) - 2)
    left = rng.uniform(2, size - pitch * (key_width + 1 + digits) - 1)
    ink = rng.choice(((15, 15, 20), (20, 30, 90), (90, 20, 20)))
    words = rng.sample([word for word in WORDS if len(word) <= key_width], count)
    for i, word in enumerate(words):
        number = random_number(rng, rng.randint(2, digits))
        if any(number == other for _, other in lines):
            number = random_number(rng, digits)
        lines.append((word, number))
        second = left + pitch * (key_width + 1)
        painter.paint_text(word, left, top + i * leading, path, font_size, ink)
        painter.paint_text(number, second, top + i * leading, path, font_size, ink)
    return [], lines


_LAYOUTS = {"plain": _plain, "many": _many, "signs": _signs, "page": _page}


def draw(rng, size, sprites, layout=None, styles=(0, 1), ground_pixels=True, calm=False):
    """One scene of size x size pixels. Below 192 px a page has no room and becomes `plain`.
    ground_pixels=False leaves the ground black (for training on labels alone, which do not change);
    calm=True has only plain and graded grounds without grain (small files)."""
    layout = layout or rng.choices(LAYOUTS, LAYOUT_SHARES)[0]
    if layout == "page" and size < 192:
        layout = "plain"
    painter = Painter(rng, size, sprites, styles, ground_pixels, calm)
    things, lines = _LAYOUTS[layout](painter)
    return Scene(painter.image, layout, painter.ground, things, lines, *painter.patch_labels())


def generator(*names):
    """A random generator by name: training, held-out scenes and question sets never share one."""
    return random.Random("/".join(str(name) for name in names))
