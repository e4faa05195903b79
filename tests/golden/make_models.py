"""make_models.py [OUT]: small random-weight LLaVA checkpoints and what transformers makes of them.

Writes OUT/<name>/ (a Hugging Face folder, float32; tokenizer and template are links to the default model's)
and OUT/<name>/expected/model.safetensors: pixel values, encoder features, prompt ids, logits of the last prompt
row, and 64 greedy tokens for each case of cases(). tests/engine/test_golden.c reads them; the default model
gets its expected values only. Run it only when the reference is to change; it is deterministic.
Needs torch, transformers, pillow, safetensors from PyPI; the outputs are committed.
"""
import os
import sys

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (AutoTokenizer, CLIPImageProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration, Qwen2Config, SiglipImageProcessor,
                          SiglipVisionConfig, AutoImageProcessor)

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT = os.path.join(HERE, "../../samples/model")
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "models")
IMAGE_TOKEN = 3
N_GREEDY = 64


def llama(**more):
    return LlamaConfig(vocab_size=1536, hidden_size=48, intermediate_size=80, num_hidden_layers=2,
                       max_position_embeddings=1024, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                       pad_token_id=0, **more)


def clip(**more):
    return CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=3,
                            num_attention_heads=2, image_size=32, patch_size=8, **more)


MODELS = {
    "clip-llama-mha": dict(
        text=llama(num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False),
        vision=clip(), layer=-2, select="default",
        processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32},
                                     resample=3)),
    "siglip-qwen2-gqa": dict(
        text=Qwen2Config(vocab_size=1536, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=1024,
                         rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
                         pad_token_id=0),
        vision=SiglipVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                  num_attention_heads=2, image_size=32, patch_size=8,
                                  vision_use_head=False),
        layer=-1, select="full",
        processor=SiglipImageProcessor(size={"height": 32, "width": 32}, resample=2,
                                       image_mean=[.5] * 3, image_std=[.5] * 3)),
    "clip-llama-mqa": dict(
        text=llama(num_attention_heads=3, num_key_value_heads=1, head_dim=32, attention_bias=True,
                   mlp_bias=True, tie_word_embeddings=False),
        vision=clip(hidden_act="gelu"), layer=-2, select="default",
        processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32},
                                     resample=3)),
}


def pictures():
    """name -> file; drawn once, without chance."""
    os.makedirs(os.path.join(OUT, "images"), exist_ok=True)
    y, x = numpy.mgrid[0:480, 0:640]
    photo = numpy.stack([x * 255 // 639, y * 255 // 479, (x // 40 + y // 40) % 2 * 200], -1)
    tall = numpy.stack([x[:37, :500].T * 7 % 256, y[:37, :500].T * 5 % 256, x[:37, :500].T // 2], -1)
    alpha = numpy.concatenate([photo[:60, :90], (x[:60, :90, None] * 3) % 256], -1)
    made = {"dot": Image.fromarray(numpy.array([[[200, 30, 90]]], "uint8")),
            "tall": Image.fromarray(tall.astype("uint8")),
            "photo": Image.fromarray(photo.astype("uint8")),
            "gray": Image.fromarray(((x + y)[:50, :70] % 256).astype("uint8")),
            "alpha": Image.fromarray(alpha.astype("uint8"), "RGBA")}
    for name, image in made.items():
        image.save(os.path.join(OUT, "images", name + ".png"), optimize=True)
    return made


def cases():
    one = "USER: <image>\nDescribe the image. ASSISTANT:"
    for name in ("dot", "tall", "photo", "gray", "alpha"):
        yield name, one, [name]
    yield "two", "USER: Image 1: <image>\nImage 2: <image>\nWhat is in image 2? ASSISTANT:", ["photo", "tall"]
    yield "text", "USER: What color is the sky? ASSISTANT:", []


def run(model, processor, tokenizer, made, n_image_token, greedy, pixels):
    out = {}
    for name, prompt, names in cases():
        ids = tokenizer(prompt)["input_ids"]
        wide = []
        for token in ids:
            wide += [token] * (n_image_token if token == IMAGE_TOKEN else 1)
        inputs = {"input_ids": torch.tensor([wide]), "attention_mask": torch.ones(1, len(wide), dtype=torch.long)}
        if names:
            values = processor([made[n].convert("RGB") for n in names], return_tensors="pt")["pixel_values"]
            inputs["pixel_values"] = values.float()
            if pixels:
                out[name + ".pixels"] = values.float()
            features = model.model.get_image_features(
                pixel_values=values.float(), vision_feature_layer=model.config.vision_feature_layer,
                vision_feature_select_strategy=model.config.vision_feature_select_strategy)
            features = getattr(features, "pooler_output", features)
            features = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
            if pixels:
                out[name + ".features"] = features.reshape(-1, features.shape[-1]).contiguous()
        logits = model(**inputs).logits[0, -1]
        tokens = model.generate(**inputs, max_new_tokens=greedy, do_sample=False, eos_token_id=None,
                                pad_token_id=0)[0, len(wide):]
        out[name + ".ids"] = torch.tensor(wide, dtype=torch.float32)
        out[name + ".logits"] = logits.float().contiguous()
        out[name + ".greedy"] = tokens.to(torch.float32)
    return out


def link(target, path):
    if os.path.lexists(path):
        os.remove(path)
    os.symlink(os.path.relpath(target, os.path.dirname(path)), path)


def save(values, folder):
    os.makedirs(os.path.join(folder, "expected"), exist_ok=True)
    save_file(values, os.path.join(folder, "expected", "model.safetensors"))


@torch.no_grad()
def main():
    made = pictures()
    tokenizer = AutoTokenizer.from_pretrained(DEFAULT)
    for index, (name, spec) in enumerate(MODELS.items()):
        torch.manual_seed(100 + index)
        folder = os.path.join(OUT, name)
        config = LlavaConfig(vision_config=spec["vision"], text_config=spec["text"],
                             image_token_index=IMAGE_TOKEN, vision_feature_layer=spec["layer"],
                             vision_feature_select_strategy=spec["select"], projector_hidden_act="gelu",
                             tie_word_embeddings=spec["text"].tie_word_embeddings)
        model = LlavaForConditionalGeneration(config).float().eval()
        for parameter in model.parameters():  # the usual start is so small that every row looks alike
            parameter.copy_(torch.randn_like(parameter) * (0.25 if parameter.dim() > 1 else 0.1)
                            + (0.0 if parameter.dim() > 1 else 1.0 * (parameter.mean() > 0.5)))
        model.save_pretrained(folder)
        spec["processor"].save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            link(os.path.join(DEFAULT, file), os.path.join(folder, file))
        for extra in ("generation_config.json",):
            if os.path.exists(os.path.join(folder, extra)):
                os.remove(os.path.join(folder, extra))
        save(run(model, spec["processor"], tokenizer, made, 16, N_GREEDY, True), folder)
    model = LlavaForConditionalGeneration.from_pretrained(DEFAULT, dtype=torch.float32).eval()
    save(run(model, AutoImageProcessor.from_pretrained(DEFAULT), tokenizer, made, 256, N_GREEDY, False),
         os.path.join(OUT, "default"))


main()
