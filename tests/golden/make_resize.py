#!/usr/bin/env python3
"""Writes resize.txt: hashes of what Pillow makes of noise, for tests/vision/test_resize.c.

Needs Pillow 13 or later (before, the passes had another order for some shapes) and numpy.
Each line: filter, width, height, new width, new height, hash of the resized RGB bytes."""
import pathlib

import numpy as np
import PIL
from PIL import Image

from pixels import fnv1a, noise

SHAPES = [
    (1, 1, 5, 7), (5, 7, 1, 1), (2, 3, 9, 8), (16, 16, 16, 16), (40, 30, 40, 11), (40, 30, 13, 30),
    (64, 48, 32, 24), (33, 57, 100, 90), (57, 33, 24, 24), (37, 500, 32, 32), (500, 37, 32, 32),
    (120, 90, 48, 48), (120, 90, 121, 91), (3, 200, 50, 20), (200, 3, 20, 50), (90, 120, 80, 5),
    (101, 77, 99, 73), (101, 77, 99, 72), (31, 29, 255, 3), (8, 8, 8, 9),
]


def main():
    assert int(PIL.__version__.split(".")[0]) >= 13
    lines = []
    for index, (width, height, to_width, to_height) in enumerate(SHAPES):
        pixels = noise(index + 1, width * height * 3).reshape(height, width, 3)
        for number in (Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
            out = np.array(Image.fromarray(pixels).resize((to_width, to_height), number))
            lines.append(f"{int(number)} {width} {height} {to_width} {to_height} {fnv1a(out.tobytes()):016x}")
    path = pathlib.Path(__file__).with_name("resize.txt")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
