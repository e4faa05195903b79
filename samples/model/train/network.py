"""The model, and what exists only while it learns.

The model is a LLaVA of transformers' own classes; the folder that opens it is ../ (export.py).
Beside it, in training only:
  Heads    read the class of every patch, whether the middle of a thing lies in it, and which one
           of its kind or which word that is, from the encoder's output (dense labels)
  Symbols  stand in for the encoder and projector: they tell the decoder what every patch shows, so
           that it learns to answer before there are eyes to see
Called by train.py, evaluate.py and export.py.
"""
import functools
import math
import os

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import nn
from transformers import (AttentionInterface, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration, SiglipVisionConfig)

from questions import place_name
from vocabulary import (CLASS_DIGIT, CLASS_LETTER, CLASS_NOUN, CLASS_PLATE, CLASSES, COLOUR_NAMES,
                        NOTE_WORD, NOTES, NOUNS, SHAPES, WORDS, shape_class)

MODEL_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAD, BOS, EOS, IMAGE = 0, 1, 2, 3
VOCABULARY, WIDTH, IMAGE_SIZE, PATCH = 1536, 256, 256, 16
ATTENTION_ROWS = 256
MISS_WEIGHT = 4.0       # centres are few: a miss weighs more than a false alarm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# products in bfloat16 where they are in hardware: a processor without emulates them, 70 times as slow
HAS_BF16 = DEVICE.type == "cuda" or torch.cpu._is_avx512_bf16_supported()

tokenizer = Tokenizer.from_file(os.path.join(MODEL_FOLDER, "tokenizer.json"))


def half_products():
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=HAS_BF16)


@functools.lru_cache(1 << 16)
def encode_text(text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def block_attention(_module, query, key, value, attention_mask, scaling=None, **_options):
    """Attention in blocks of rows, each over the columns up to its own end, all in the inputs'
    type: the same sums as transformers' eager attention, and a training step on a CPU takes 1.5
    (one image) to 3.5 times (four images) less.
    query [B, heads, T, D], key and value [B, KV heads, T, D]"""
    groups, length = query.shape[1] // key.shape[1], query.shape[2]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is None:      # the encoder: everything sees everything
        output = torch.softmax(query @ key.transpose(2, 3), -1) @ value
        return output.transpose(1, 2).contiguous(), None
    blocks = []
    for start in range(0, length, ATTENTION_ROWS):
        end = min(length, start + ATTENTION_ROWS)
        scores = query[:, :, start:end] @ key[:, :, :end].transpose(2, 3)
        scores = scores.masked_fill(~attention_mask[:, :, start:end, :end], -1e4)
        blocks.append(torch.softmax(scores, -1) @ value[:, :, :end])
    return torch.cat(blocks, 2).transpose(1, 2).contiguous(), None


def fused_attention(_module, query, key, value, attention_mask, scaling=None, **_options):
    """The same on a GPU: torch's fused kernels, which take the mask (True: seen) as it is."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    output = F.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register("training", fused_attention if DEVICE.type == "cuda" else
                            block_attention)


def new_model():
    vision = SiglipVisionConfig(hidden_size=WIDTH, intermediate_size=768, num_hidden_layers=6,
                                num_attention_heads=4, image_size=IMAGE_SIZE, patch_size=PATCH,
                                vision_use_head=False)
    text = LlamaConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=640,
                       num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2,
                       head_dim=64, max_position_embeddings=4096, tie_word_embeddings=True,
                       bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, rms_norm_eps=1e-5)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE,
                         vision_feature_layer=-1, vision_feature_select_strategy="full",
                         projector_hidden_act="gelu", tie_word_embeddings=True)
    for part in (config, vision, text):
        part._attn_implementation = "training"
    return LlavaForConditionalGeneration._from_config(config)


def first(text):
    """The first token of a text"""
    return encode_text(text)[0]


def class_words():
    """Two token ids for every class, IMAGE where there is none: what it is, and its colour."""
    kind = torch.full((CLASSES,), IMAGE)
    colour = torch.full((CLASSES,), IMAGE)
    for i, noun in enumerate(NOUNS):
        kind[CLASS_NOUN + i] = first(f" {noun}")
    for i, name in enumerate(COLOUR_NAMES):
        for shape in SHAPES:
            kind[shape_class(shape, name)] = first(f" {shape}")
            colour[shape_class(shape, name)] = first(f" {name}")
        kind[CLASS_PLATE + i] = first(" sign")
        colour[CLASS_PLATE + i] = first(f" {name}")
    for i in range(10):
        kind[CLASS_DIGIT + i] = first(str(i))
    for i in range(26):
        kind[CLASS_LETTER + i] = first(f" {chr(65 + i)}")
    return kind, colour


def note_words():
    """The token id of every note, IMAGE for none"""
    digits = [first(str(i)) for i in range(1, NOTE_WORD)]
    return torch.tensor([IMAGE, *digits, *(first(f" {word}") for word in WORDS)])


@functools.cache
def place_words(count):
    """[count, 2]: the one or two words for the place of every patch, IMAGE for a missing second"""
    side = math.isqrt(count)
    names = [place_name((column + 0.5) / side, (row + 0.5) / side).split()
             for row in range(side) for column in range(side)]
    return torch.tensor([[first(f" {name[0]}"), first(f" {name[1]}") if name[1:] else IMAGE]
                         for name in names], device=DEVICE)


COLOUR_TOKEN = {name: encode_text(f" {name}")[0] for name in COLOUR_NAMES}


def patch_places(count):
    """[count, 2]: row and column of every patch of a square grid, from -1 to 1."""
    line = torch.linspace(-1, 1, math.isqrt(count), device=DEVICE)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.Linear(WIDTH, CLASSES)
        self.centre = nn.Linear(WIDTH, 1)
        self.notes = nn.Linear(WIDTH, NOTES)

    def loss(self, hidden, batch):
        """hidden [B, N, WIDTH]"""
        by_class = F.cross_entropy(self.classes(hidden).float().flatten(0, 1),
                                   batch.classes.flatten())
        by_centre = F.binary_cross_entropy_with_logits(
            self.centre(hidden).float()[..., 0], batch.centres.float(),
            pos_weight=torch.full((), MISS_WEIGHT, device=hidden.device))
        # and what stands in them counts again, by itself
        middles, classes = hidden[batch.centres], batch.classes[batch.centres]
        again = F.cross_entropy(self.classes(middles).float(), classes)
        by_note = F.cross_entropy(self.notes(middles).float(), batch.notes[batch.centres])
        return by_class + by_centre + 0.3 * again + 0.3 * by_note


class Symbols(nn.Module):
    GROUND, NAMED_GROUND, THING, CHARACTER, CENTRE = range(5)

    def __init__(self):
        super().__init__()
        self.place = nn.Linear(16, WIDTH)
        self.role = nn.Embedding(5, WIDTH)
        self.read_place = nn.Linear(WIDTH, 2)
        self.read_centre = nn.Linear(WIDTH, 1)
        nn.init.normal_(self.role.weight, 0, 0.02)
        kind, colour = class_words()
        self.register_buffer("kind_word", kind, persistent=False)
        self.register_buffer("colour_word", colour, persistent=False)
        self.register_buffer("note_word", note_words(), persistent=False)

    def words(self, batch):
        """[B, N, 5] token ids, IMAGE where there is none: what a patch shows, its colour, its note,
        and for things the one or two words of its place"""
        shape = batch.classes.shape
        kind = torch.where(batch.classes == 0, batch.ground[:, None].expand(shape),
                           self.kind_word[batch.classes])
        kind = torch.where(kind == 0, IMAGE, kind)
        places = place_words(shape[1])[None].expand(*shape, 2)
        places = torch.where(batch.classes[..., None] > 0, places, IMAGE)
        return torch.cat([torch.stack([kind, self.colour_word[batch.classes],
                                       self.note_word[batch.notes]], -1), places], -1)

    def forward(self, batch, embedding):
        classes, ground = batch.classes, batch.ground
        angles = patch_places(classes.shape[1]) * (math.pi / 2)
        waves = torch.cat([f(angles * k) for f in (torch.sin, torch.cos) for k in (1, 2, 3, 4)], -1)
        is_text = (classes >= CLASS_DIGIT) & (classes < CLASS_PLATE)
        role = torch.where(is_text, self.CHARACTER,
                           torch.where(batch.centres, self.CENTRE, self.THING))
        role = torch.where(classes == 0, (ground[:, None] > 0).long().expand_as(classes), role)
        words = self.words(batch)
        shown = (embedding(words) * (words != IMAGE)[..., None]).sum(2)
        return shown + self.place(waves)[None] + self.role(role)

    def pull(self, projected, batch, embedding):
        """Projected patches shall point at the words of what they show, and tell their place and
        whether they are the middle of something."""
        direction = F.layer_norm(projected.float(), (WIDTH,))
        words = self.words(batch)
        known = words != IMAGE
        told = known.any(-1)
        scores = 2 * direction[told] @ F.normalize(embedding.weight.float(), dim=-1).T
        chances = scores.log_softmax(-1).gather(1, words[told])
        toward = -(chances * known[told]).sum() / known[told].sum()
        places = (self.read_place(direction) - patch_places(words.shape[1])).square().mean()
        middle = F.binary_cross_entropy_with_logits(
            self.read_centre(direction)[..., 0], batch.centres.float(),
            pos_weight=torch.full((), MISS_WEIGHT, device=direction.device))
        return toward + 2 * places + middle


class Learner(nn.Module):
    """The model with its training parts; what a checkpoint of train.py holds."""

    def __init__(self):
        super().__init__()
        self.model, self.heads, self.symbols = new_model(), Heads(), Symbols()

    @property
    def embedding(self):
        return self.model.get_input_embeddings()

    def see(self, pixels):
        """pixels [B, 3, 256, 256], bytes -> the encoder's output [B, 256, WIDTH]"""
        tower = self.model.model.vision_tower
        pixels = pixels.float().div_(127.5).sub_(1)     # as the model's image processor gives them
        return tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]

    def project(self, hidden):
        return self.model.model.multi_modal_projector(hidden)

    def symbols_of(self, batch):
        return self.symbols(batch, self.embedding)

    def decode(self, vision, batch):
        """vision [images, N, WIDTH] -> hidden states of the whole rows [B, T, WIDTH]"""
        inputs = self.embedding(batch.ids)
        places = (batch.ids == IMAGE)[..., None].expand_as(inputs)
        inputs = inputs.masked_scatter(places, vision.to(inputs.dtype))
        return self.model.model.language_model(
            inputs_embeds=inputs, attention_mask=batch.mask(),
            position_ids=batch.positions).last_hidden_state
