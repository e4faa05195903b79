"""Adds the scorer of CONTRIBUTING.md to a copy of the tree, as it says there: one file and one line.

    test_scorer.py SOURCE_DIR WORK_DIR

Without the line its recipe is refused and lint misses it; with the line it is a word of recipes, the contract
test walks it, and lint has nothing to say. Nothing but libfovea and the contract test is built.
"""
import pathlib
import re
import shutil
import subprocess
import sys

SOURCE, WORK = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
TREE, BUILD = WORK / "source", WORK / "build"
LEFT_OUT = {".git", "out", "samples", "serve"}  # the last two are options, off here

# the status of a recipe and the names of all scores, by the public functions
PROBE = """
import ctypes, sys
fovea = ctypes.CDLL(sys.argv[1])
fovea.fovea_recipe_name.restype = ctypes.c_char_p
names, i = [], 0
while name := fovea.fovea_recipe_name(b"scores", ctypes.c_uint32(i)):
    names.append(name.decode())
    i += 1
print(fovea.fovea_recipe_check(sys.argv[2].encode(), None), *names)
"""


def run(*command, code=0, **more):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}, not {code}\n{done.stdout[-6000:]}")
    return done.stdout


def copy_tree():
    def left_out(folder, names):
        top = pathlib.Path(folder) == SOURCE
        return [name for name in names
                if name == "__pycache__" or top and (name in LEFT_OUT or name.startswith("build"))]
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(SOURCE, TREE, ignore=left_out)


def example():
    """(name of the file, its text, the line of scorers.def, the recipe) as CONTRIBUTING.md gives them"""
    part = (SOURCE / "CONTRIBUTING.md").read_text().split("## Adding a scorer\n")[1].split("\n## ")[0]
    text, = re.findall(r"^```c\n(.*?)^```$", part, re.M | re.S)
    line, = re.findall(r"^```\n(FVI_SCORER\(\w+\)\n)```$", part, re.M)
    recipe, = re.findall(r"`(score=[^`]*)` works now", part)
    return re.match(r"/\* (score_\w+\.c) - ", text).group(1), text, line, recipe


def build(*targets):
    run("ninja", "-C", BUILD, *targets)


def probe(recipe):
    library = BUILD / "libfovea.so"
    status, *names = run(sys.executable, "-c", PROBE, library, recipe).split()
    return int(status), names


def lint(code=0):
    return run(sys.executable, TREE / "tests/lint/lint.py", TREE, "tables", "calls", "sizes",
               "switches", "heads", "words", code=code)


def main():
    name, text, line, recipe = example()
    copy_tree()
    run("cmake", "-S", TREE, "-B", BUILD, "-G", "Ninja", "-DFOVEA_SERVE=OFF", "-DFOVEA_SAMPLES=OFF",
        "-DFOVEA_WERROR=ON")
    build("libfovea.so")
    status, before = probe(recipe)
    assert status < 0, "an unknown scorer was taken"
    lint()

    (TREE / "kvcompress" / name).write_text(text)
    assert "has no line in kvcompress/scorers.def" in lint(code=1)
    build("libfovea.so")
    assert probe(recipe) == (status, before), "a file without a line was taken"

    with open(TREE / "kvcompress/scorers.def", "a") as table:
        table.write(line)
    build("libfovea.so", "tests/contract/test_tables")
    added, = re.findall(r"score=([\w-]+)", recipe)
    assert probe(recipe) == (0, [*before, added])
    lint()
    if shutil.which("clang-format-14"):
        run("clang-format-14", "--dry-run", "-Werror", TREE / "kvcompress" / name)
    said = run(BUILD / "tests/contract/test_tables")
    assert re.search(r"\[  PASSED  \] \d+ test", said), said
    print(f"{name}, {line.strip()}: {recipe} works; the contract holds")


main()
