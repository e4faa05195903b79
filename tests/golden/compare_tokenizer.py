#!/usr/bin/env python3
"""Compares the library's tokenizer with the `tokenizers` package (PyPI) on random texts.

    python tests/golden/compare_tokenizer.py [--build build] [--count 20000] [--seed 1] FOLDER...

Each FOLDER holds a tokenizer.json. Needs the program tokenize_stream of the build folder. Compares ids and
the text that decoding gives back; prints the number of differences, which is also what it exits with (0
or 1). --every adds each character of Unicode between two letters; --long a few texts of 1 MB. --write stores
what the reference says, for tests/model/test_tokenizer.c:

    python tests/golden/compare_tokenizer.py samples/model --count 300 --seed 7 --write tests/golden/tokenizer.json"""
import argparse
import json
import random
import struct
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import tokenizers

WORDS = ("the a of image picture two Three red Green QUESTION answer it's don't I'll we're you've he'd I'm "
         "'s 'S 'LL 'Re 'ſ K straße naïve café résumé œuvre Привет мир как дела Ελλάδα שלום مرحبا नमस्ते สวัสดี 你好世界 "
         "日本語 テスト ひらがな 한국어 안녕하세요 ﬁ ﬂ Ⅷ ² ½ ٣ ४ 12 345 6789 3.14 1,000 0x1F a1b2 foo_bar HTTP://x.y/z?q=1 "
         "user@example.com C++ #tag $5 100% ... -- — « » “ ” ‘ ’ ( ) [ ] { } < > / \\ | ~ ` ^ & * + = ; : , .").split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2003", "\u180e", "\u0085",
          "\u200b", "\u2028", "\x0b", "\x0c", "\x1c", "\x1f", "      ", " \t \n  "]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇺🇸🇫🇷", "❤️", "☺", "🫨", "🩷", "✌🏿", "1️⃣", "🧑🏻‍💻"]
MARKS = [chr(c) for c in [*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x64B, 0x660), 0x93C, 0x94D, 0x9BC, 0xE38,
                          0x0F71, 0x0F72, 0x1DC0, 0x20D0, 0x3099, 0x309A, 0xFE20, 0x1D165, 0x1D16D, 0x898, 0x1ABF]]
BLOCKS = [(0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x6FF), (0x900, 0xDFF),
          (0xE00, 0xFFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x2BFF),
          (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFFFD), (0x10000, 0x1FFFF),
          (0x20000, 0x323AF)]


def random_character(rng):
    low, high = rng.choice(BLOCKS)
    return chr(rng.randint(low, high))


def piece(rng, specials):
    kind = rng.random()
    if kind < 0.34:
        return rng.choice(WORDS)
    if kind < 0.52:
        return rng.choice(SPACES) * rng.choice((1, 1, 1, 2, 5))
    if kind < 0.58:
        return rng.choice(EMOJI)
    if kind < 0.66:
        return random_character(rng) + "".join(rng.choices(MARKS, k=rng.choice((1, 1, 2, 3, 6))))
    if kind < 0.72:
        return str(rng.randint(0, 10 ** rng.randint(1, 12)))
    if kind < 0.78:
        special = rng.choice(specials)
        return special if rng.random() < 0.8 else special[:rng.randint(1, len(special))]
    if kind < 0.82:
        return chr(rng.randint(1, 0x1F)) if rng.random() < 0.7 else chr(rng.randint(0x7F, 0x9F))
    if kind < 0.86:
        return unicodedata.normalize("NFD", rng.choice(("é", "ñ", "Å", "한국", "ệ", "が", "ữ", "각")))
    if kind < 0.90:
        return rng.choice("abcdeXYZ,.!?-_/") * rng.randint(1, 30)
    if kind < 0.97:
        return "".join(random_character(rng) for _ in range(rng.randint(1, 8)))
    # NUL-free characters of all planes, unassigned and private ones too
    return "".join(chr(c) for c in (rng.randint(1, 0x10FFFF) for _ in range(4)) if not 0xD800 <= c < 0xE000)


def random_text(rng, specials):
    glue = rng.choice(("", "", " "))
    return glue.join(piece(rng, specials) for _ in range(rng.randint(0, 24)))


def long_texts(rng):
    million = 1 << 20
    return ["a" * million, " " * million, " " * million + "x", "\n" * million, "̖́" * (million // 4), "1" * million,
            "ab" * (million // 2), "日本" * (million // 6), "!?" * (million // 2), "a " * (million // 2),
            "".join(rng.choice(WORDS) + rng.choice(SPACES[:6]) for _ in range(million // 8))]


def run_ours(tool, folder, texts):
    data = b"".join(struct.pack("=I", len(t)) + t for t in (text.encode() for text in texts))
    begin = time.monotonic()
    done = subprocess.run([tool, folder], input=data, stdout=subprocess.PIPE, check=True)
    print(f"  ours: {time.monotonic() - begin:.2f} s for {len(data)} bytes, start included")
    out, at = [], 0
    for _ in texts:
        n = struct.unpack_from("=I", done.stdout, at)[0]
        ids = list(struct.unpack_from(f"={n}i", done.stdout, at + 4))
        at += 4 + 4 * n
        n = struct.unpack_from("=I", done.stdout, at)[0]
        out.append((ids, done.stdout[at + 4:at + 4 + n].decode()))
        at += 4 + n
    return out


def compare(tool, folder, args):
    reference = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    spec = json.loads((Path(folder) / "tokenizer.json").read_text())
    specials = [token["content"] for token in spec["added_tokens"]] or ["<s>"]
    rng = random.Random(args.seed)
    texts = [random_text(rng, specials) for _ in range(args.count)]
    if args.long:
        texts += long_texts(rng)
    if args.every:
        texts += [f"a{chr(c)}b 1{chr(c)} {chr(c)}" for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    ours = run_ours(tool, folder, texts)
    begin = time.monotonic()
    theirs = []
    for i in range(0, len(texts), 10000):
        for encoding in reference.encode_batch(texts[i:i + 10000], add_special_tokens=False):
            theirs.append((encoding.ids, reference.decode(encoding.ids, skip_special_tokens=True)))
    print(f"  reference: {time.monotonic() - begin:.2f} s")
    bad = [i for i in range(len(texts)) if ours[i] != theirs[i]]
    for i in bad[:args.show]:
        print(f"  {texts[i][:200]!r}\n    ours   {ours[i][0][:60]}\n    theirs {theirs[i][0][:60]}")
        if ours[i][0] == theirs[i][0]:
            print(f"    text ours {ours[i][1][:80]!r}, theirs {theirs[i][1][:80]!r}")
    if args.write:
        lines = (json.dumps([text, *answer], ensure_ascii=False) for text, answer in zip(texts, theirs))
        args.write.write_text("[" + ",\n".join(lines) + "]\n")
    n_ids = sum(len(ids) for ids, _ in theirs)
    print(f"{folder}: {len(texts)} texts, {n_ids} tokens, {len(bad)} differences (tokenizers {tokenizers.__version__})")
    return len(bad)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--build", default="build")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="differences to print")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--every", action="store_true")
    args = parser.parse_args()
    tool = Path(args.build) / "tests/model/tokenize_stream"
    sys.exit(1 if sum(compare(tool, folder, args) for folder in args.folders) else 0)


if __name__ == "__main__":
    main()
