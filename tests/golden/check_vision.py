#!/usr/bin/env python3
"""Holds the vision path against transformers on a whole model folder.

    check_vision.py VISION_DUMP MODEL_DIR IMAGE...

Runs the built tests/vision/vision_dump and transformers (in f32) on each image and prints how far pixel
values, features and projected rows are apart. Fails above 1e-4 (f32), 3e-2 (bf16), or where pixel values
differ at all from the processor's on Pillow."""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, LlavaForConditionalGeneration

LIMITS = {"f32": 1e-4, "bf16": 3e-2}


def relative(got, want):
    return float(np.abs(got - want).max() / np.abs(want).max())


def main():
    dump, folder, images = sys.argv[1], sys.argv[2], sys.argv[3:]
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    bad = 0
    for image in images:
        picture = ImageOps.exif_transpose(Image.open(image)).convert("RGB")
        pixels = processor(picture, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            out = model.model.get_image_features(pixels, output_hidden_states=True)
        rows = out.hidden_states[model.config.vision_feature_layer][0].numpy()
        rows = rows[1:] if model.config.vision_feature_select_strategy == "default" else rows
        want = [pixels[0].numpy().ravel(), rows.ravel(), out.pooler_output[0].numpy().ravel()]
        for precision, limit in LIMITS.items():
            with tempfile.TemporaryDirectory() as scratch:
                path = pathlib.Path(scratch) / "out"
                text = subprocess.run([dump, folder, image, precision, path], check=True, capture_output=True, text=True)
                got = np.fromfile(path, np.float32)
            said = json.loads(text.stdout)
            ends = np.cumsum([said["pixels"], said["features"], said["projected"]])
            assert ends[2] == got.size and [w.size for w in want] == [said[k] for k in ("pixels", "features", "projected")]
            got = np.split(got, ends[:2])
            n_differ = int((got[0] != want[0]).sum())
            errors = [relative(g, w) for g, w in zip(got[1:], want[1:])]
            ok = n_differ == 0 and max(errors) <= limit
            bad += not ok
            print(f"{pathlib.Path(image).name:20} {precision:4} pixels differing {n_differ}, features {errors[0]:.2e}, "
                  f"projected {errors[1]:.2e}, encode {said['encode_ms']} ms, {said['backend']}{'' if ok else '  BAD'}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
