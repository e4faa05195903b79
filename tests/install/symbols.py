"""symbols.py - the shared library exports exactly what the public headers declare, both ways.

    symbols.py LIBRARY INCLUDE-FOLDER
"""
import pathlib
import re
import subprocess
import sys


def declared(folder):
    """Names of functions that a header declares with FOVEA_API."""
    names = set()
    for header in sorted(pathlib.Path(folder, "fovea").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", " ", header.read_text(), flags=re.S)
        text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
        for match in re.finditer(r"\bFOVEA_API\b([^;(]*)\(", text):
            names.add(match.group(1).split()[-1].lstrip("*"))
        for match in re.finditer(r"^[a-z][^;{}()=#]*?\b(fovea_\w+)\s*\([^;{}]*\)\s*;", text, flags=re.M):
            if match.group(1) not in names and "typedef" not in match.group(0):
                sys.exit(f"{header.name}: {match.group(1)} is declared without FOVEA_API")
    return names


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def main():
    library, include = sys.argv[1:]
    wanted, found = declared(include), exported(library)
    for name in sorted(wanted - found):
        print(f"declared and not exported: {name}")
    for name in sorted(found - wanted):
        print(f"exported and not declared: {name}")
    print(f"{len(wanted)} declared, {len(found)} exported")
    return 0 if wanted == found and wanted else 1


sys.exit(main())
