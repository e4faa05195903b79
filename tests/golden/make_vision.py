#!/usr/bin/env python3
"""Writes vision/NAME/{config.json,model.safetensors}, for tests/vision/test_encoder.c.

Random weights of the real architectures, as LlavaForConditionalGeneration has them, without the decoder.
The same file holds golden.pixels and, for each layer and strategy listed in CASES,
golden.LAYER.STRATEGY.features (the encoder's rows) and .projected (the projector's), all from transformers
in f32."""
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

HERE = pathlib.Path(__file__).parent
CASES = [(-1, "full"), (-2, "default"), (-2, "full"), (1, "default"), (0, "full")]
TEXT = LlamaConfig(vocab_size=32, hidden_size=20, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
# name: vision config, projector's bias and activation, names as saved
TOWERS = {
    "clip": (CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                              image_size=28, patch_size=7, projection_dim=8),
             True, "gelu", {"model.vision_tower.": "vision_tower.vision_model.",
                            "model.multi_modal_projector.": "multi_modal_projector."}),
    "siglip": (SiglipVisionConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                                  image_size=30, patch_size=7, vision_use_head=False),
               False, "quick_gelu", {}),
}


def make(name, vision, bias, act, renames):
    torch.manual_seed(len(name))
    config = LlavaConfig(vision_config=vision, text_config=TEXT, projector_hidden_act=act,
                         multimodal_projector_bias=bias, image_token_index=3)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from the tiny values of an untrained network
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.5))
    pixels = torch.randn(1, 3, vision.image_size, vision.image_size)
    tensors = {"golden.pixels": pixels[0]}
    projector = model.model.multi_modal_projector
    for layer, strategy in CASES:
        with torch.no_grad():
            out = model.model.get_image_features(pixels, vision_feature_layer=layer,
                                                 vision_feature_select_strategy=strategy,
                                                 output_hidden_states=True)
            rows = out.hidden_states[layer][0]
            rows = rows[1:] if strategy == "default" else rows
            projected = out.pooler_output[0]
            assert torch.allclose(projector(rows), projected, atol=1e-5)
        tensors[f"golden.{layer}.{strategy}.features"] = rows
        tensors[f"golden.{layer}.{strategy}.projected"] = projected
    for key, value in model.state_dict().items():
        if "vision_tower" in key or "projector" in key:
            for old, new in renames.items():
                key = new + key[len(old):] if key.startswith(old) else key
            tensors[key] = value
    folder = HERE / "vision" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    text = {k: v for k, v in vision.to_diff_dict().items() if k != "transformers_version"}
    text["model_type"] = vision.model_type
    (folder / "config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    for tower, settings in TOWERS.items():
        make(tower, *settings)
