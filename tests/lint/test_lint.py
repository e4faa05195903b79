"""test_lint.py - each rule of lint.py finds its planted breach and nothing in a clean tree."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lint

LONG_FUNCTION = "/* long.c - x */\nint f(void)\n{\n" + "    g();\n" * 90 + "}\n"
HELLO = '/* hello.c - x */\n#include <fovea/fovea.h>\nint main(void)\n{\n    return 0;\n}\n'
CLEAN = {
    "README.md": "# x\n```c\n" + HELLO + "```\n",
    "samples/hello.c": HELLO,
    "sdk/base/base.h": "/* base.h - x */\n",
    "sdk/ops/ops.h": '/* ops.h - x */\n#include "sdk/base/base.h"\n',
    "kvcompress/scorers.def": "FVI_SCORER(random)\n",
    "kvcompress/score_random.c": '/* score_random.c - x */\n#include "sdk/ops/ops.h"\n'
                                 'const char *name = "random"; /* never call abort() here */\n',
}


class Rules(unittest.TestCase):
    def findings(self, rule, files, allow=""):
        with tempfile.TemporaryDirectory() as root:
            for name, text in {**CLEAN, "tests/lint/allow.txt": allow, **files}.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return lint.check(lint.Tree(root), rule)

    def test_clean(self):
        for rule in lint.RULES:
            if rule != "style":
                self.assertEqual(self.findings(rule, {}), [], rule)

    def breach(self, rule, name, text, words):
        found = self.findings(rule, {name: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_includes(self):
        self.breach("includes", "vision/v.c", '#include "kvcompress/pool.h"\n', "not a path")
        for name, target in (("vision/v.c", "kvcompress/score_random.c"), ("sdk/base/b.c", "sdk/ops/ops.h"),
                             ("serve/s.c", "sdk/base/base.h")):
            self.assertTrue(any("must not include" in text for text in
                                self.findings("includes", {name: f'#include "{target}"\n'})), name)
        self.breach("includes", "kvcompress/k.c", "#include <grpc/grpc.h>\n", "serve/")
        self.breach("includes", "tests/t.c", '#include "kvcompress/score_random.c"\n', "source file")

    def test_tables(self):
        self.breach("tables", "kvcompress/scorers.def", "FVI_SCORER(random)\nFVI_SCORER(mine)\n", "no file")
        self.breach("tables", "kvcompress/score_lost.c", "/* score_lost.c - x */\n", "no line")
        self.breach("tables", "sdk/base/new.def", "X(a)\n", "unknown table")

    def test_calls(self):
        self.breach("calls", "vision/v.c", "void f(void)\n{\n    abort();\n}\n", "v.c:3: calls abort")
        self.breach("calls", "sdk/base/b.h", "p = malloc(3);\n", "calls malloc")
        self.assertEqual(self.findings("calls", {"serve/s.c": "exit(1);\n"}), [])
        self.assertEqual(self.findings("calls", {"vision/v.c": "x->free(y); fvi_free(z);\n"}), [])

    def test_sizes(self):
        self.breach("sizes", "sdk/base/long.c", LONG_FUNCTION, "f has 93 lines")
        self.breach("sizes", "sdk/base/big.c", "int a;\n" * 801, "801 lines")

    def test_switches(self):
        self.breach("switches", "sdk/engine/e.c", 'if (is(name, "random")) {\n', "names random")
        self.breach("switches", "sdk/engine/e.c", "case FOVEA_KIND_INT4: return 1;\n", "storage kind")

    def test_heads(self):
        self.breach("heads", "sdk/base/b.c", "int a;\n", "does not open")
        self.breach("heads", "vision/ops.h", "/* ops.h - x */\n", "has the name of")

    def test_words(self):
        self.breach("words", "sdk/base/b.c", "/* TO" + "DO later */\n", "b.c:1")
        self.breach("words", "sdk/base/b.c", "#if " + "0\n", "b.c:1")

    def test_readme(self):
        self.breach("readme", "README.md", "```c\nint main(void);\n```\n", "no C block")

    def test_allow(self):
        allow = "calls vision/v.c:abort because\n"
        self.assertEqual(self.findings("calls", {"vision/v.c": "abort();\n"}, allow), [])
        self.assertIn("needed no more", self.findings("calls", {}, allow)[0])


if __name__ == "__main__":
    unittest.main()
