#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_cases.json: small tokenizers, each with one thing turned on, and what the
`tokenizers` package (PyPI) makes of some texts. tests/model/test_tokenizer_cases.c reads it.

    python tests/golden/make_tokenizer_cases.py > tests/golden/tokenizer_cases.json
    python tests/golden/make_tokenizer_cases.py --folders OUT     # a folder for each, for compare_tokenizer.py"""
import argparse
import copy
import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TRAINING = ("the image of the red thing in the picture is on the left the answer is three hundred things 12 123 1234 and "
            "   spaces    don't it's we'll hello helloworld HELLO été naïve élan 日本語の日本 привет приветы \n\n \t x") * 20
TEXTS = [
    "", " ", "   ", "hello world", " hello  world ", "don't DON'T we'll WE'LL ſ'ſ", "the image of 1234 things, 12 or 123.",
    "a1b22c333", "\n\n  x \r\n\t y\n", "x \n", "été naïve e\u0301te\u0301 日本語の日本", "q\u0323\u0307 \u1e69 s\u0307\u0323 \uac01 \u1100\u1161\u11a8",
    "<mask> <mask><mask>x", "x<mask> y", "  <mask>\n ", "word<word>word <word> <word>.", "<both>  <both> a", "E\u0301n e\u0301n én",
    "<a><ab><abc>", "<|end|>\n\n<|end|>", "a-b--c - d", "--", "-a-", "१२३ ٣ Ⅷ ½ ²", "😀👍🏽 ñ", "привет, мир!", "\u180e\u00a0\u3000\u200b x",
    "HELLO hello Hello helloworld", "a\u0338<\u0338mask>",
]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY = {**BYTE_LEVEL, "use_regex": False}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return sequence({"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}, BYTES_ONLY)


def added(token_id, content, **flags):
    token = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    return {**token, **flags}


def variants(base):
    n = len(base["model"]["vocab"])
    merges = [" ".join(pair) for pair in base["model"]["merges"]]
    yield "plain", {}
    yield "merges as strings", {"model": {"merges": merges}}
    yield "merges with version line", {"model": {"merges": ["#version: 0.2", *merges]}}
    yield "ignore_merges", {"model": {"ignore_merges": True, "merges": base["model"]["merges"][:10]}}
    yield "prefix space", {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}}
    yield "prefix space after digits", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True},
                                                                  {**BYTE_LEVEL, "add_prefix_space": True})}
    yield "bytes only", {"pre_tokenizer": BYTES_ONLY}
    yield "digits together", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL)}
    yield "digits one by one", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL)}
    for behavior in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (False, True):
            yield f"split {behavior} invert={invert}", {"pre_tokenizer": split(r"-|\s", behavior, invert)}
        yield f"split text {behavior}", {"pre_tokenizer": split("-", behavior, kind="String")}
    yield "split with empty matches", {"pre_tokenizer": split(r"\s*", "Isolated")}
    yield "split llama3", {"pre_tokenizer": split(LLAMA3)}
    yield "split o200k", {"pre_tokenizer": split(O200K)}
    yield "split at line ends", {"pre_tokenizer": split(r"\s+$|^\s+")}
    yield "split look-behind", {"pre_tokenizer": split(r"(?<=l)l|(?<![a-z])h")}
    yield "split scripts", {"pre_tokenizer": split(r"[\p{Han}\p{Hiragana}]+|[一-龥぀-ゟ゠-ヿ]+|\p{P}|\P{L}")}
    yield "split braces", {"pre_tokenizer": split(r"l{2}|[a-c]{,2}x|\x{65}|[^-a\]é]{3,4}?|\u00e9")}
    yield "split twice", {"pre_tokenizer": sequence(split(r"\s+")["pretokenizers"][0],
                                                    split("e", "MergedWithPrevious", kind="String")["pretokenizers"][0],
                                                    BYTE_LEVEL)}
    yield "NFC", {"normalizer": {"type": "NFC"}}
    yield "NFC in a sequence", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}
    yield "added tokens", {"normalizer": {"type": "NFC"}, "added_tokens": [
        added(n, "<mask>", lstrip=True), added(n + 1, "<word>", single_word=True, special=False),
        added(n + 2, "<both>", lstrip=True, rstrip=True), added(n + 3, "E\u0301n", normalized=True, special=False),
        added(n + 4, "<a>"), added(n + 5, "<ab"), added(n + 6, "<abc>", rstrip=True), added(n + 7, "<|end|>", rstrip=True),
        added(n + 8, "\u0301n", normalized=False, special=False), added(n + 9, "日本", single_word=True, normalized=True)]}
    yield "added tokens of the vocabulary", {"added_tokens": [added(base["model"]["vocab"]["the"], "the", special=False),
                                                              added(base["model"]["vocab"]["x"], "x", single_word=True)]}
    few = {form: i for form, i in base["model"]["vocab"].items() if form not in "qxĊ" or len(form) > 1}
    yield "bytes missing", {"model": {"vocab": few, "merges": [m for m in base["model"]["merges"]
                                                               if all(p in few for p in (*m, "".join(m)))]}}


def make_base():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([TRAINING], trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    base = json.loads(tokenizer.to_str())
    base["pre_tokenizer"] = BYTE_LEVEL
    base["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return base


def apply(base, changes):
    whole = copy.deepcopy(base)
    for key, value in changes.items():
        whole[key] = {**whole[key], **value} if key == "model" else value
    return whole


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folders", type=Path)
    args = parser.parse_args()
    base = make_base()
    cases = []
    for name, changes in variants(base):
        whole = apply(base, changes)
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        texts = []
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            texts.append([text, ids, tokenizer.decode(ids, skip_special_tokens=True)])
        cases.append({"name": name, "changes": changes, "texts": texts})
        if args.folders:
            folder = args.folders / name.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tokenizer.json").write_text(json.dumps(whole))
    if not args.folders:
        lines = (json.dumps(case, ensure_ascii=False) for case in cases)
        print('{"base": ' + json.dumps(base, ensure_ascii=False) + ',\n"cases": [\n' + ",\n".join(lines) + "\n]}")


if __name__ == "__main__":
    main()
