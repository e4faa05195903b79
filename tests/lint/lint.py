"""lint.py - the rules of the house that a machine can hold.

    lint.py ROOT RULE...     prints findings as file:line: text; exit status 1 when there is one
    lint.py ROOT --list      names of the rules

allow.txt beside this file lists exceptions, one a line: `rule file[:name]  reason`. An exception that is
no longer needed is a finding too, so the list cannot outlive its reasons. test_lint.py plants a breach of
every rule in a scratch tree and sees it found.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED_FOLDERS = {"build", "out", ".git", "__pycache__", ".cache"}
LIBRARY = ("sdk/", "vision/", "kvcompress/", "cuda/")
SKIP = 77  # a tool that a rule needs is not installed

# who may include whom: the first entry whose folder a file is in; fovea/ is what stands in sdk/include
LAYERS = [
    ("sdk/include/", ()),
    ("sdk/base/", ("sdk/base/",)),
    ("sdk/ops/", ("sdk/ops/", "sdk/base/")),
    ("sdk/model/", ("sdk/model/", "sdk/base/")),
    ("vision/", ("vision/", "sdk/model/", "sdk/ops/", "sdk/base/")),
    ("kvcompress/", ("kvcompress/", "sdk/model/", "sdk/ops/", "sdk/base/")),
    ("sdk/engine/", ("sdk/engine/", "vision/", "kvcompress/", "sdk/model/", "sdk/ops/", "sdk/base/")),
    ("serve/", ("serve/",)),
    ("samples/", ("samples/", "serve/client/")),
]

# headers of other projects, and the only folders that may see them
FOREIGN = {
    "grpc/": ("serve/", "tests/serve/"),
    "protobuf-c/": ("serve/", "tests/serve/", "tests/fuzz/"),
    "dnnl": ("sdk/ops/", "samples/bench"),
    "png.h": ("vision/", "samples/common/", "tests/vision/", "tests/fuzz/"),
    "jpeglib.h": ("vision/", "tests/vision/"),
    "pcre2.h": ("sdk/model/",),
    "cuda": ("cuda/",),
}

# table -> prefix of the file that each of its lines needs; None: its lines are data
TABLES = {
    "sdk/engine/families.def": "sdk/engine/family_",
    "vision/encoders.def": "vision/encoder_",
    "kvcompress/scorers.def": "kvcompress/score_",
    "kvcompress/budgets.def": "kvcompress/budget_",
    "kvcompress/codecs.def": "kvcompress/codec_",
    "kvcompress/mergers.def": "kvcompress/merge_",
    "kvcompress/revisers.def": "kvcompress/revise_",
    "kvcompress/recalls.def": "kvcompress/recall_",
    "kvcompress/planes.def": None,
    "kvcompress/recipes.def": None,
    "sdk/model/templates.def": None,
    "sdk/model/unicode_new.def": None,
}

# what the library must not call: it neither ends the process nor prints, nor reads the environment, and
# its heap memory comes through fovea_alloc
FORBIDDEN_CALLS = re.compile(
    r"(?<![\w.>])(abort|exit|_exit|quick_exit|printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|"
    r"getenv|setenv|system|malloc|calloc|realloc|strdup|strndup|aligned_alloc|posix_memalign|free|"
    r"strcpy|strcat|sprintf|gets|strtok|rand|srand)\s*\(")

MAX_FILE_LINES, WARN_FILE_LINES = 800, 600
MAX_FUNCTION_LINES, WARN_FUNCTION_LINES = 80, 60


class Tree:
    """The files of a checkout, read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.texts, self.codes, self.names = {}, {}, None

    def files(self, *suffixes):
        if self.names is None:
            self.names = []
            for folder, folders, names in os.walk(self.root):
                folders[:] = sorted(name for name in folders
                                    if name not in SKIPPED_FOLDERS and not name.startswith("build"))
                relative = pathlib.Path(folder).relative_to(self.root)
                self.names += [(relative / name).as_posix() for name in sorted(names)]
        return [name for name in self.names if name.endswith(suffixes)]

    def text(self, name):
        if name not in self.texts:
            self.texts[name] = (self.root / name).read_text(encoding="utf-8")
        return self.texts[name]

    def code(self, name, quotes=False):
        """The text without comments, and without what stands in quotes; lines keep their numbers."""
        def blank(match):
            word = match.group(0)
            if word[0] in "\"'":
                return word if quotes else word[0] + word[-1]
            return re.sub(r"[^\n]", " ", word)
        if (name, quotes) not in self.codes:
            self.codes[name, quotes] = re.sub(
                r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, self.text(name),
                flags=re.S)
        return self.codes[name, quotes]


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def includes(tree):
    """Folder law: includes go one way; foreign headers stay where they belong; no .c is included."""
    for name in tree.files(".c", ".h"):
        layer = next((entry for entry in LAYERS if name.startswith(entry[0])), None)
        for match in re.finditer(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', tree.text(name), flags=re.M):
            quoted, target = match.group(1) == '"', match.group(2)
            where = f"{name}:{line_of(tree.text(name), match.start(2))}"
            if target.endswith(".c"):
                yield where, f"includes the source file {target}"
            for foreign, folders in FOREIGN.items():
                if not quoted and target.startswith(foreign) and not name.startswith(folders):
                    yield where, f"<{target}> is for {', '.join(folders)} only"
            if not quoted or layer is None:
                continue
            if not (tree.root / target).exists():
                if not target.endswith((".pb-c.h", ".inc.h")):
                    yield where, f'"{target}" is not a path from the root'
            elif not target.startswith(layer[1]):
                yield where, f'{layer[0]} must not include "{target}"'


def tables(tree):
    """Every line of a .def table has its file and every such file its line."""
    for table in tree.files(".def"):
        if table not in TABLES:
            yield table, "unknown table: name it in TABLES of tests/lint/lint.py"
    for table, prefix in TABLES.items():
        if prefix is None or not (tree.root / table).exists():
            continue
        entries = re.findall(r"^[A-Z_]+\(\s*([a-z0-9_]+)", tree.text(table), flags=re.M)
        sources = {name[len(prefix):-2] for name in tree.files(".c") if name.startswith(prefix)}
        for entry in entries:
            if entry not in sources:
                yield table, f"{entry} has no file {prefix}{entry}.c"
        for source in sorted(sources - set(entries)):
            yield f"{prefix}{source}.c", f"has no line in {table}"
        if len(entries) != len(set(entries)):
            yield table, "an entry stands twice"


def calls(tree):
    """The library neither ends the process nor prints, and takes memory from its allocator."""
    for name in tree.files(".c", ".h"):
        if name.startswith(LIBRARY):
            code = tree.code(name)
            for match in FORBIDDEN_CALLS.finditer(code):
                yield f"{name}:{line_of(code, match.start())}", f"calls {match.group(1)}", match.group(1)


def functions(code):
    """(name, first line, number of lines) of each function; braces of functions stand in column 0."""
    lines = code.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            j = i - 1
            while j > 0 and lines[j].strip() and not re.match(r"[\w#/]", lines[j]):
                j -= 1
            head = " ".join(lines[j:i])
            match = re.search(r"(\w+)\s*\(", head)
            start = (match.group(1) if match else "?", j + 1)
        elif line.startswith("}") and start is not None:
            yield start[0], start[1], i + 1 - start[1] + 1
            start = None


def sizes(tree):
    """Files of at most 800 lines, functions of at most 80."""
    for name in tree.files(".c", ".h", ".py"):
        n_line = tree.text(name).count("\n")
        if n_line > MAX_FILE_LINES:
            yield name, f"{n_line} lines, more than {MAX_FILE_LINES}"
        elif n_line > WARN_FILE_LINES:
            print(f"note: {name}: {n_line} lines")
        if name.endswith(".py"):
            continue
        for function, line, length in functions(tree.code(name)):
            if length > MAX_FUNCTION_LINES:
                yield (f"{name}:{line}", f"{function} has {length} lines, more than {MAX_FUNCTION_LINES}",
                       function)
            elif length > WARN_FUNCTION_LINES:
                print(f"note: {name}:{line}: {function} has {length} lines")


def switches(tree):
    """A family, an encoder, a scorer, a budget or a reviser is named in its own file only, a kind only by
    codecs and kernels: adding one is one file and one line."""
    owners = {}  # scorers, budgets and revisers may share a name (cake, h2o)
    for table in ("sdk/engine/families.def", "vision/encoders.def", "kvcompress/scorers.def",
                  "kvcompress/budgets.def", "kvcompress/revisers.def", "kvcompress/recalls.def"):
        if (tree.root / table).exists():
            for entry in re.findall(r"^[A-Z_]+\(\s*([a-z0-9_]+)", tree.text(table), flags=re.M):
                owners.setdefault(entry, []).append(f"{TABLES[table]}{entry}.c")
    for entry, own in owners.items():
        pattern = re.compile(r'"%s"|\b\w*_%s\b\s*(?:==|!=)|(?:==|!=)\s*&?\w*_%s\b' % (
            entry.replace("_", "[-_]"), entry, entry), re.I)
        for name in tree.files(".c", ".h"):
            if name.startswith(LIBRARY) and name not in own:
                text = tree.code(name, quotes=True)
                for match in pattern.finditer(text):
                    yield (f"{name}:{line_of(text, match.start())}",
                           f"names {entry}, which is {own[0]}'s own", entry)
    for name in tree.files(".c", ".h"):
        if name.startswith(LIBRARY) and not name.startswith(("sdk/ops/", "kvcompress/codec_")):
            code = tree.code(name)
            for match in re.finditer(r"\bcase\s+FOVEA_KIND_\w+", code):
                yield f"{name}:{line_of(code, match.start())}", "switches on a storage kind"


def heads(tree):
    """A file opens with `/* name - what it is for`, and file names are unique in the library."""
    seen = {}
    for name in tree.files(".c", ".h"):
        base = name.rsplit("/", 1)[-1]
        if not tree.text(name).startswith(f"/* {base} - "):
            yield f"{name}:1", f"does not open with `/* {base} - ...`"
        if name.startswith(LIBRARY):
            if base in seen:
                yield name, f"has the name of {seen[base]}"
            seen[base] = name


def words(tree):
    """No marks of unfinished work, no code that is switched off, no private paths."""
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|/wor" r"k/|#\s*if\s+0\b")
    for name in tree.files(".c", ".h", ".py", ".sh", ".txt", ".cmake", ".md", ".proto", ".def"):
        for match in marks.finditer(tree.text(name)):
            yield f"{name}:{line_of(tree.text(name), match.start())}", f"`{match.group(0)}`"


def readme(tree):
    """The C example of README.md is samples/hello.c, word for word, and at most 60 lines."""
    hello = next((name for name in tree.files(".c") if name.endswith("/hello.c")), None)
    if hello is None:
        yield "samples", "hello.c is missing"
        return
    source = tree.text(hello)
    if source.count("\n") > 60:
        yield hello, f"{source.count(chr(10))} lines, more than 60"
    blocks = re.findall(r"^```c\n(.*?)^```", tree.text("README.md"), flags=re.M | re.S)
    body = re.sub(r"\A/\*.*?\*/\s*", "", source, flags=re.S)
    if not any(block.strip() in (source.strip(), body.strip()) for block in blocks):
        yield "README.md", f"no C block equals {hello}"


def style(tree):
    """clang-format 14 would change nothing (other versions disagree in details, so they are not asked)."""
    tool = shutil.which("clang-format-14")
    if tool is None:
        print("clang-format-14 is not installed")
        sys.exit(SKIP)
    for name in tree.files(".c", ".h"):
        done = subprocess.run([tool, "--dry-run", "-Werror", name], cwd=tree.root, capture_output=True,
                              text=True)
        if done.returncode != 0:
            first = re.search(r":(\d+):\d+: error", done.stderr)
            yield f"{name}:{first.group(1) if first else 1}", "clang-format-14 would change this"


RULES = {rule.__name__: rule for rule in
         (includes, tables, calls, sizes, switches, heads, words, readme, style)}


def allowed(tree):
    """allow.txt as {(rule, file or file:name)}."""
    path = tree.root / "tests/lint/allow.txt"
    entries = set()
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.strip() and not line.startswith("#"):
            rule, place, reason = line.split(None, 2)
            assert reason.strip(), line
            entries.add((rule, place))
    return entries


def check(tree, rule):
    """Findings of one rule that no exception covers, and exceptions that cover nothing."""
    exceptions = {place for name, place in allowed(tree) if name == rule}
    used, findings = set(), []
    for where, text, *key in RULES[rule](tree):
        file = where.split(":")[0]
        cover = {file, f"{file}:{key[0]}"} if key else {file}
        if cover & exceptions:
            used |= cover & exceptions
        else:
            findings.append(f"{where}: {text}")
    findings += [f"tests/lint/allow.txt: `{rule} {place}` is needed no more"
                 for place in sorted(exceptions - used)]
    return findings


def main():
    root, *rules = sys.argv[1:]
    if rules == ["--list"]:
        print("\n".join(RULES))
        return 0
    tree = Tree(root)
    findings = [finding for rule in rules for finding in check(tree, rule)]
    for finding in findings:
        print(finding)
    print(f"{', '.join(rules)}: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
