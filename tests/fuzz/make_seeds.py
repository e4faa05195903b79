"""make_seeds.py - writes tests/fuzz/seeds: small files of every sort that the readers know.

Only this script needs Pillow (for JPEG); the seeds are committed.
"""
import io
import json
import pathlib
import random
import struct
import zlib

from PIL import Image

HERE = pathlib.Path(__file__).parent
SEEDS = HERE / "seeds"
MODEL = HERE.parent.parent / "samples/model"
WIDTH, HEIGHT = 13, 9


def write(folder, name, data):
    path = SEEDS / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour, depth, interlaced=False, extra=b""):
    """A PNG with random rows in any colour type, depth and order; Pillow writes too few sorts."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = random.Random(colour * 100 + depth)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x0, y0, dx, dy in passes:
        width = (WIDTH - x0 + dx - 1) // dx
        height = (HEIGHT - y0 + dy - 1) // dy
        for _ in range(height if width else 0):
            raw += bytes([rows.randrange(5)]) + rows.randbytes((width * channels * depth + 7) // 8)
    palette = chunk(b"PLTE", rows.randbytes(3 << min(depth, 8))) if colour == 3 else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlaced))
            + palette + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def images():
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            write("images", f"c{colour}d{depth}.png", png(colour, depth))
    write("images", "interlaced-rgba16.png", png(6, 16, True))
    write("images", "interlaced-palette4.png", png(3, 4, True, chunk(b"tRNS", b"\x00\x80\xff")))
    write("images", "transparent-gray.png", png(0, 8, False, chunk(b"tRNS", b"\x00\x07") + chunk(b"gAMA", b"\x00\x00\xb1\x8f")))
    noise = Image.frombytes("RGB", (19, 14), random.Random(1).randbytes(19 * 14 * 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image, how in (
            ("baseline.jpg", noise, {}), ("progressive.jpg", noise, {"progressive": True}),
            ("gray.jpg", noise.convert("L"), {}), ("cmyk.jpg", noise.convert("CMYK"), {}),
            ("turned.jpg", noise, {"exif": exif.tobytes()}), ("s420.jpg", noise, {"subsampling": 2}),
            ("restart.jpg", noise, {"restart_marker_blocks": 1})):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=60, **how)
        write("images", name, out.getvalue())


def weights():
    def file(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    tensor = lambda dtype, shape, begin, end: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    write("weights", "three.safetensors", file(
        {"__metadata__": {"format": "pt"}, "a.weight": tensor("F32", [2, 3], 0, 24),
         "b": tensor("F16", [4], 24, 32), "c.bias": tensor("BF16", [2, 2, 1, 2], 32, 48)}, bytes(range(48))))
    write("weights", "odd.safetensors", file(
        {"scalar": tensor("F32", [], 0, 4), "empty": tensor("F32", [0, 5], 4, 4), "i": tensor("I64", [1], 4, 12),
         "deep": tensor("U8", [1, 1, 1, 1, 1, 4], 12, 16)}, bytes(16)))
    write("weights", "none.safetensors", file({}, b""))
    names = {f"model-0000{i}-of-00002.safetensors": name for i, name in ((1, "a"), (2, "b"))}
    write("shards", "two.json", json.dumps({"metadata": {"total_size": 8}, "weight_map": {v: k for k, v in names.items()}}))
    write("shards", "one.json", json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))


def configs():
    write("configs", "default.json", (MODEL / "config.json").read_text())
    write("configs", "generation.json", (MODEL / "generation_config.json").read_text())
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
              "num_attention_heads": 4, "image_size": 28, "patch_size": 14, "hidden_act": "quick_gelu"}
    text = {"model_type": "qwen2", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 300,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 1000000.0, "rms_norm_eps": 1e-06,
            "max_position_embeddings": 512, "tie_word_embeddings": True, "use_sliding_window": False}
    write("configs", "qwen2.json", json.dumps({
        "model_type": "llava", "image_token_index": 299, "vision_feature_layer": -2, "projector_hidden_act": "gelu",
        "vision_feature_select_strategy": "default", "text_config": text, "vision_config": vision}))
    write("configs", "text.json", json.dumps(text))
    write("configs", "vision.json", json.dumps(vision))
    write("preprocessor", "default.json", (MODEL / "processor_config.json").read_text())
    write("preprocessor", "clip.json", json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True, "do_normalize": True,
        "do_rescale": True, "rescale_factor": 1 / 255, "resample": 3, "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28}, "image_mean": [0.48, 0.45, 0.41], "image_std": [0.27, 0.26, 0.28],
        "do_convert_rgb": True}))
    write("preprocessor", "old.json", json.dumps({"size": 24, "crop_size": 20, "resample": 2, "image_mean": [0.5] * 3,
                                                  "image_std": [0.5] * 3, "feature_extractor_type": "CLIPFeatureExtractor"}))


def tokenizers():
    whole = json.loads((MODEL / "tokenizer.json").read_text())
    byte_tokens = {token: index for token, index in whole["model"]["vocab"].items() if index < 300}
    merges = [merge for merge in whole["model"]["merges"]
              if "".join(merge if isinstance(merge, list) else merge.split(" ")) in byte_tokens]
    whole["model"].update(vocab=byte_tokens, merges=merges)
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < 300]
    write("tokenizer", "default.json", json.dumps(whole))
    small = {"version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "NFC"},
             "added_tokens": [{"id": 6, "content": "<s>", "special": True, "lstrip": False, "rstrip": True,
                               "single_word": False, "normalized": False}],
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                 {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+(?!\S)|[^\p{L}]+"}, "behavior": "Isolated", "invert": False},
                 {"type": "Digits", "individual_digits": True},
                 {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
             "post_processor": None, "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "\u0120": 5},
                       "merges": [["a", "b"], ["ab", "c"]], "ignore_merges": True, "byte_fallback": False}}
    write("tokenizer", "small.json", json.dumps(small))


def recipes():
    for i, text in enumerate((
            "none", "vl-cache:keep=0.1", "vl-cache:bytes=5%,vision=int4,text=f16", "streaming:keep=0.25,sinks=4",
            "random:bytes=1.5MiB,seed=7,recent=0.2", "score=post-vision,budget=density,keep=0.2,vision=int4",
            "vl-cache:bytes=20000,vision=int8,recent=0")):
        write("recipe", f"{i}.txt", text)


for make in (images, weights, configs, tokenizers, recipes):
    make()
