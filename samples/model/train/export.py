"""Writes the Hugging Face folder of a checkpoint and answers fresh scenes from that folder alone.

  export.py CHECKPOINT FOLDER [--sprites FOLDER] [--scenes 20]

Weights are bfloat16. The tokenizer is the one beside this folder (../tokenizer.json): it is never
trained again, or older checkpoints would stop to fit. With sprites, transformers alone opens what
was written and answers held-out scenes, as a user would.
"""
import argparse
import os

import torch
from transformers import (AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor,
                          PreTrainedTokenizerFast, SiglipImageProcessor)

import questions
import scenes
from evaluate import Tally, load
from network import BOS, EOS, IMAGE_SIZE, MODEL_FOLDER, PAD, PATCH

# `USER: <image>\nQUESTION ASSISTANT: ANSWER</s>USER: ..`; of several images each is announced by
# the text before it: `Image 1: <image>\nImage 2: <image>\n..`
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}"
    "{% if m['role'] == 'user' %} {% else %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}")


def write(learner, folder):
    model = learner.model
    generation = model.generation_config
    generation.bos_token_id, generation.eos_token_id, generation.pad_token_id = BOS, EOS, PAD
    model.to(torch.bfloat16).save_pretrained(folder)
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=os.path.join(MODEL_FOLDER, "tokenizer.json"), bos_token="<s>",
        eos_token="</s>", pad_token="<pad>", additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False)
    images = SiglipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, resample=3,
                                  image_mean=[0.5] * 3, image_std=[0.5] * 3)
    LlavaProcessor(image_processor=images, tokenizer=tokenizer, patch_size=PATCH,
                   vision_feature_select_strategy="full", num_additional_image_tokens=0,
                   chat_template=CHAT_TEMPLATE).save_pretrained(folder)


def answer(model, processor, image, question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}],
                                           add_generation_prompt=True)
    inputs = processor(images=image, text=prompt, return_tensors="pt").to(torch.bfloat16)
    output = model.generate(**inputs, max_new_tokens=80, do_sample=False)
    start = inputs["input_ids"].shape[1]
    return processor.decode(output[0, start:], skip_special_tokens=True).strip()


def check(folder, sprite_folder, count):
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16).eval()
    sprites, rng, tally = scenes.Sprites(sprite_folder), scenes.generator("export"), Tally()
    for i in range(count):
        scene = scenes.draw(rng, IMAGE_SIZE, sprites)
        for kind, question, truth in questions.ask(rng, scene, 3):
            said = answer(model, processor, scene.image, question)
            tally.add(kind, said == truth)
            if i < 4:
                print(f"{question!r}: {said!r}, truth {truth!r}")
    print(tally.table())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--sprites", default=os.environ.get("SPRITES"))
    parser.add_argument("--scenes", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(2)
    write(load(options.checkpoint), options.folder)
    if options.sprites and options.scenes:
        check(options.folder, options.sprites, options.scenes)


if __name__ == "__main__":
    main()
