#!/usr/bin/env python3
"""Writes preprocess/NAME/*.json and preprocess.txt, for tests/vision/test_preprocess.c.

Each line of preprocess.txt: config, width and height of a picture of noise (seed: line number from 1), width
and height of the result, hash of its f32 bytes. The oracle is transformers' image processor on Pillow 13."""
import json
import pathlib

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor

from pixels import fnv1a, noise

HERE = pathlib.Path(__file__).parent
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
CONFIGS = {  # name: (file, content)
    "clip": ("preprocessor_config.json", {
        "crop_size": {"height": 24, "width": 24}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_processor_type": "CLIPImageProcessor",
        "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 24}, **CLIP}),
    "clip_old": ("preprocessor_config.json", {
        "crop_size": 25, "feature_extractor_type": "CLIPFeatureExtractor",
        "size": 30, "resample": 2, **CLIP}),
    "clip_wide": ("preprocessor_config.json", {  # a crop larger than the picture, one number for all channels
        "crop_size": {"height": 31, "width": 44}, "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 20}, "resample": 1, "image_mean": [0.5, 0.25, 0.125], "image_std": [0.5, 2.0, 1.5]}),
    "clip_defaults": ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessorFast"}),
    "siglip": ("processor_config.json", {
        "image_processor": {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
                            "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor",
                            "image_std": [0.5, 0.5, 0.5], "resample": 3, "rescale_factor": 0.00392156862745098,
                            "size": {"height": 30, "width": 26}},
        "image_token": "<image>", "patch_size": 16, "processor_class": "LlavaProcessor"}),
    "plain": ("preprocessor_config.json", {  # neither rescaled nor normalised
        "do_normalize": False, "do_rescale": False, "image_processor_type": "SiglipImageProcessor",
        "resample": 2, "size": {"height": 16, "width": 16}}),
    "scaled": ("preprocessor_config.json", {
        "do_normalize": False, "image_processor_type": "LlavaImageProcessor", "rescale_factor": 0.00784313725490196,
        "do_resize": False, "crop_size": {"height": 20, "width": 20}}),
}
PICTURES = [(1, 1), (37, 500), (500, 37), (64, 48), (48, 64), (24, 24), (25, 24), (20, 33), (7, 5), (120, 119)]


def main():
    lines = []
    for name, (file, content) in CONFIGS.items():
        folder = HERE / "preprocess" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        for width, height in PICTURES:
            pixels = noise(len(lines) + 1, width * height * 3).reshape(height, width, 3)
            out = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
            out = out.astype(np.float32)
            hashed = fnv1a(out.tobytes())
            lines.append(f"{name} {width} {height} {out.shape[2]} {out.shape[1]} {hashed:016x}")
    (HERE / "preprocess.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
