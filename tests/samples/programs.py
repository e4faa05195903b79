"""What the tests of the sample programs share: where things are, running a program, asking a question.

Scripts are called with SOURCE_DIR PROGRAM_DIR, then arguments for unittest.
"""
import json
import pathlib
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(sys.argv[1])
PROGRAMS = pathlib.Path(sys.argv[2])
IMAGES = SOURCE / "samples/images"
TINY = SOURCE / "samples/sets/tiny"
KITES, SIGNS, TURNED = (str(IMAGES / name) for name in ("kites.png", "signs.png", "turned.jpg"))
IMAGE_TOKENS, LISTS, TOKEN_BYTES = 256, 16, 4096    # of the default model: its README


def run(name, *arguments, code=0):
    program = str(PROGRAMS / name)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode != code:
        raise AssertionError(f"{name} {arguments}: {done.returncode}, not {code}: {done.stderr}")
    return done


def asked(name, *arguments):
    """The objects that --json prints"""
    return [json.loads(line) for line in run(name, "--json", *arguments).stdout.splitlines()]


def vqa(question, *arguments, images=(SIGNS,)):
    files = [word for image in images for word in ("--image", image)]
    return asked("fovea-vqa", *files, "--question", question, *arguments)[0]


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
