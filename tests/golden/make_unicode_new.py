#!/usr/bin/env python3
"""Writes sdk/model/unicode_new.def: where PCRE2 10.42 and utf8proc 2.8 (Unicode 14 and 15) differ from
the characters that the `tokenizers` package (PyPI) knows.

    python tests/golden/make_unicode_new.py > sdk/model/unicode_new.def

Needs tokenizers, libpcre2-8 and libutf8proc of the machine that builds the library."""
import ctypes
import unicodedata

from tokenizers import Regex, __version__
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import Digits, Split

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf").split()
SCRIPTS = ("Han Hiragana Katakana Hangul Bopomofo Latin Cyrillic Greek Arabic Hebrew Thai Devanagari").split()
EVERY = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def reference(regex):
    """The characters that the reference's regex engine finds in a class."""
    split = Split(Regex(regex), "removed", invert=True)
    found = set()
    for i in range(0, len(EVERY), 4096):
        for text, _ in split.pre_tokenize_str("".join(map(chr, EVERY[i:i + 4096]))):
            found.update(map(ord, text))
    return found


class Pcre:
    """The characters that this machine's PCRE2 finds in a class."""

    def __init__(self):
        self.lib = ctypes.CDLL("libpcre2-8.so.0")
        for name in ("compile", "match_data_create"):
            getattr(self.lib, f"pcre2_{name}_8").restype = ctypes.c_void_p
        self.lib.pcre2_match_data_create_8.argtypes = [ctypes.c_uint32, ctypes.c_void_p]
        self.lib.pcre2_match_8.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t,
                                           ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p]
        self.data = self.lib.pcre2_match_data_create_8(2, None)

    def members(self, regex):
        error, at = ctypes.c_int(), ctypes.c_size_t()
        pattern = regex.encode()
        utf_ucp = 0x00080000 | 0x00020000
        code = self.lib.pcre2_compile_8(ctypes.c_char_p(pattern), ctypes.c_size_t(len(pattern)), utf_ucp,
                                        ctypes.byref(error), ctypes.byref(at), None)
        assert code, regex
        code = ctypes.c_void_p(code)
        found = set()
        for c in EVERY:
            text = chr(c).encode()
            if self.lib.pcre2_match_8(code, text, len(text), 0, 0, self.data, None) > 0:
                found.add(c)
        return found


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def emit(macro, codes, name=None):
    for first, last in ranges(codes):
        print(f"{macro}({name + ', ' if name else ''}0x{first:X}, 0x{last:X})")


def unknown_marks():
    """Marks whose combining class the reference's normalizer takes for 0."""
    nfc, found = NFC(), set()
    for c in EVERY:
        for y in (0x323, 0x301, 0x334, 0x5B0, 0x3099):
            text = "a" + chr(y) + chr(c) + chr(y)
            if nfc.normalize_str(text) != unicodedata.normalize("NFC", text):
                found.add(c)
    return found


def main():
    print(f"""/* unicode_new.def - characters that PCRE2 10.42 (Unicode 14) and utf8proc 2.8 (Unicode 15) see otherwise
 * than the reference tokenizer ({__version__}). Made by tests/golden/make_unicode_new.py; read by regex.c and
 * unicode.c. A newer PCRE2 knows the first list itself, which does no harm.
 *
 * FVI_UNICODE_NEW(class, first, last): belongs to the general category or script.
 * FVI_UNICODE_NUMERIC(first, last): is numeric for the pre-tokenizer Digits.
 * FVI_UNICODE_NO_MARK(first, last): has combining class 0 for the reference's normalizer. */
#ifndef FVI_UNICODE_NEW
#define FVI_UNICODE_NEW(class, first, last)
#endif
#ifndef FVI_UNICODE_NUMERIC
#define FVI_UNICODE_NUMERIC(first, last)
#endif
#ifndef FVI_UNICODE_NO_MARK
#define FVI_UNICODE_NO_MARK(first, last)
#endif""")
    pcre = Pcre()
    for name in CATEGORIES + SCRIPTS:
        # a script alone means its extensions too in PCRE2
        ours = pcre.members(rf"\p{{sc:{name}}}" if name in SCRIPTS else rf"\p{{{name}}}")
        theirs = reference(rf"\p{{{name}}}")
        for first, last in ranges(ours - theirs):
            print(f"/* PCRE2 counts {first:X}-{last:X} as {name}, the reference no longer does */")
        emit("FVI_UNICODE_NEW", theirs - ours, name)

    utf8proc = ctypes.CDLL("libutf8proc.so.2")
    digits = Digits(individual_digits=True)
    numeric = {c for c in EVERY if len(digits.pre_tokenize_str("a" + chr(c) + "a")) > 1}
    ours = {c for c in EVERY if 9 <= utf8proc.utf8proc_category(c) <= 11}
    assert not ours - numeric
    emit("FVI_UNICODE_NUMERIC", numeric - ours)
    emit("FVI_UNICODE_NO_MARK", unknown_marks())
    print("#undef FVI_UNICODE_NEW\n#undef FVI_UNICODE_NUMERIC\n#undef FVI_UNICODE_NO_MARK")


if __name__ == "__main__":
    main()
