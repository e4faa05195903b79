#!/usr/bin/env python3
"""Compares the library's rendering of chat templates with Jinja's, as transformers runs it.

    python tests/golden/compare_template.py [--build build] [--write tests/golden/templates.json] FOLDER...

Each FOLDER has a chat template in one of the files where transformers looks for it. Needs the program
render_template of the build folder, and transformers with jinja2. Of an unknown template it prints the line
that templates.def would need. --write stores what Jinja rendered, for tests/model/test_template.c."""
import argparse
import json
import subprocess
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template


def text(words):
    return {"type": "text", "text": words}


IMAGE = {"type": "image"}


def message(role, *content):
    return {"role": role, "content": list(content)}


CONVERSATIONS = [
    [message("user", text("Hello!"))],
    [message("user", IMAGE, text("What is in the picture?"))],
    [message("user", text("What is in the picture?"), IMAGE)],
    [message("user", text("Image 1: "), IMAGE, text("Image 2: "), IMAGE, text("In image 2, what colour is it?"))],
    [message("user", IMAGE, IMAGE, IMAGE)],
    [message("system", text("Be brief.")), message("user", IMAGE, text("Caption?"))],
    [message("user", IMAGE, text("How many?")), message("assistant", text("Two.")), message("user", text("Where?"))],
    [message("system", text("Be brief.")), message("user", IMAGE, text("How many?")), message("assistant", text("Two.")),
     message("user", text("And here?"), IMAGE), message("assistant", text("Three dogs,"), text(" one cat.")),
     message("user", text("Sure?"))],
    [message("user", text("  spaces \n and {{ braces }} and <image> kept\n")), message("assistant", text("ok"))],
    [message("user", text("日本語 😀 ñ")), message("assistant")],
    [message("user", text(""))],
]


def find_template(folder):
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text()
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            template = json.loads((folder / name).read_text()).get("chat_template")
            if isinstance(template, list):
                template = next((t["template"] for t in template if t["name"] == "default"), None)
            if template is not None:
                return template
    sys.exit(f"{folder}: no chat template")


def render(template, conversation, ask):
    def as_strings(content):
        return "".join(part.get("text", "<image>") for part in content)

    compiled = _compile_jinja_template(template)
    try:
        return compiled.render(messages=conversation, add_generation_prompt=ask)
    except TypeError:  # a template over plain strings
        strings = [{"role": m["role"], "content": as_strings(m["content"])} for m in conversation]
        return compiled.render(messages=strings, add_generation_prompt=ask)


def compare(tool, folder):
    template = find_template(folder)
    request = json.dumps({"text": template, "conversations": CONVERSATIONS})
    done = subprocess.run([tool, folder], input=request, stdout=subprocess.PIPE, text=True, check=True)
    answer = json.loads(done.stdout)
    if answer["rule"] is None:
        print(f"{folder}: unknown\nFVI_TEMPLATE_TEXT(?, {answer['bytes']}, {answer['hash']})")
        return 1, None
    golden = [{"messages": c, "text": render(template, c, False), "prompt": render(template, c, True)}
              for c in CONVERSATIONS]
    bad = 0
    for theirs, ours in zip(golden, answer["rendered"], strict=True):
        for key in ("text", "prompt"):
            if theirs[key] != ours[key]:
                bad += 1
                print(f"  {key}: ours {ours[key]!r}\n  {key}: Jinja {theirs[key]!r}")
    print(f"{folder}: rule {answer['rule']}, {len(golden)} conversations, {bad} differences")
    return bad, {"rule": answer["rule"], "conversations": golden}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--build", default="build")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    results = [compare(Path(args.build) / "tests/model/render_template", folder) for folder in args.folders]
    if args.write:
        golden = {entry["rule"]: entry["conversations"] for _, entry in results if entry}
        args.write.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")
    sys.exit(1 if any(bad for bad, _ in results) else 0)


if __name__ == "__main__":
    main()
