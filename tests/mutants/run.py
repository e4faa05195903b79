"""run.py - breaks one mechanism at a time and demands that a test falls.

    run.py [--jobs N] [NAME...]
    run.py --fit                 only whether every patch still applies; part of the quick tests

NAME.patch opens with two lines: `mechanism: what is broken` and `tests: MODULE.test_name ...`, the tests of
which at least one has to fail; `needs: FLAG` skips it on a CPU without that flag in /proc/cpuinfo, `lacks:
FLAG` on one with it. Everything happens in a copy of the tree (build/mutants); the named tests must pass in
it before anything is broken. A patch that does not apply or build is a failure too: it has to follow the
code it breaks. What needs AVX-512 is broken in a build that emulates it (tests/emulated) where the CPU has AVX2
only. The last line counts: "mutants: N killed, N alive".
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/mutants"
WORK = ROOT / "build/mutants"
SOURCE = WORK / "source"
EMULATED = ("-DFOVEA_EMULATE_AVX512=ON", "-DFOVEA_ONEDNN=OFF", "-DFOVEA_SERVE=OFF", "-DFOVEA_SAMPLES=OFF")


class Mutant:
    def __init__(self, path):
        self.name, self.path = path.stem, path
        text = path.read_text()
        self.mechanism = re.search(r"^mechanism: (.+)$", text, re.M).group(1)
        self.tests = re.search(r"^tests: (.+)$", text, re.M).group(1).split()
        needs, lacks = (re.search(rf"^{word}: (\w+)$", text, re.M) for word in ("needs", "lacks"))
        self.needs = needs.group(1) if needs else None
        self.lacks = lacks.group(1) if lacks else None
        self.files = re.findall(r"^\+\+\+ b/(\S+)", text, re.M)


def copy_tree():
    """The sources as they are now; files that did not change keep their time, so builds stay incremental."""
    listed = [path.relative_to(ROOT) for top in ROOT.iterdir() if top.name not in ("build", ".git", "out")
              and not top.name.startswith("build")
              for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    for name in listed:
        target = SOURCE / name
        if not target.exists() or target.read_bytes() != (ROOT / name).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            shutil.copymode(ROOT / name, target)
    wanted = set(listed)
    for path in SOURCE.rglob("*"):
        if path.is_file() and path.relative_to(SOURCE) not in wanted:
            path.unlink()


def run(*command, **more):
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, errors="replace", **more)


def build(folder, jobs, tests):
    """Builds what the tests need. A test MODULE.NAME is the program NAME; scripts need everything."""
    known = set(re.findall(r"^([\w-]+): phony$", run("ninja", "-C", folder, "-t", "targets", "all").stdout, re.M))
    targets = [test.split(".")[1] for test in tests]
    return run("ninja", "-C", folder, "-j", jobs, *(targets if set(targets) <= known else ["all"]))


def test(folder, tests):
    pattern = "^(" + "|".join(re.escape(name) for name in tests) + ")$"
    return run("ctest", "--test-dir", folder, "-R", pattern, "--no-tests=error", "--timeout", 120,
               "--stop-on-failure")


def fit(mutants):
    """How many patches do not apply to the tree."""
    n_stale = 0
    for mutant in mutants:
        tried = run("patch", "-p1", "--dry-run", "--force", "-d", ROOT, "-i", mutant.path)
        if tried.returncode != 0:
            n_stale += 1
            print(f"{mutant.name}: {tried.stdout.strip().splitlines()[-1]}")
    return n_stale


def fate(mutant, folder, jobs):
    """(killed, what happened)"""
    before = {name: (SOURCE / name).read_bytes() for name in mutant.files if (SOURCE / name).exists()}
    applied = run("patch", "-p1", "--no-backup-if-mismatch", "-r", "-", "-d", SOURCE, "-i", mutant.path)
    try:
        if applied.returncode != 0:
            return False, "does not apply: " + applied.stdout.strip().splitlines()[-1]
        if all((SOURCE / name).read_bytes() == text for name, text in before.items()):
            return False, "changes nothing"
        built = build(folder, jobs, mutant.tests)
        if built.returncode != 0:
            wrong = re.search(r"error: .*", built.stdout)
            return False, "does not build: " + (wrong.group(0) if wrong else "")
        done = test(folder, mutant.tests)
        if done.returncode == 0:
            return False, "no test falls"
        fallen = re.findall(r"Test +#\d+: (\S+) [ .]*(?:Subprocess aborted)?\*\*\*(\w+)", done.stdout)
        return bool(fallen), ", ".join(name for name, _ in fallen) or "no test ran"
    finally:
        for name, text in before.items():
            (SOURCE / name).write_bytes(text)


def kill(mutants, folder, arguments, jobs):
    """How many are killed in a build of the copied tree."""
    configured = run("cmake", "-S", SOURCE, "-B", folder, "-G", "Ninja", *arguments)
    tests = sorted({name for mutant in mutants for name in mutant.tests})
    whole = build(folder, jobs, tests) if configured.returncode == 0 else configured
    sound = test(folder, tests) if whole.returncode == 0 else whole
    if sound.returncode != 0:
        print("\n".join(sound.stdout.splitlines()[-30:]))
        print("the unbroken tree does not pass")
        return 0
    n_killed = 0
    for mutant in mutants:
        start = time.monotonic()
        killed, what = fate(mutant, folder, jobs)
        n_killed += killed
        print(f"{'killed' if killed else 'ALIVE '}  {mutant.name:<28} {time.monotonic() - start:5.1f} s  "
              f"{mutant.mechanism}: {what}", flush=True)
    return n_killed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--fit", action="store_true")
    options.add_argument("names", nargs="*")
    asked = options.parse_args()
    mutants = [Mutant(path) for path in sorted(HERE.glob("*.patch"))
               if not asked.names or path.stem in asked.names]
    if asked.fit:
        return 1 if fit(mutants) > 0 or not mutants else 0
    flags = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    here, emulated = [], []
    for mutant in mutants:
        if mutant.lacks in flags:
            print(f"skipped {mutant.name}: the CPU has {mutant.lacks}")
        elif not mutant.needs or mutant.needs in flags:
            here.append(mutant)
        elif mutant.needs.startswith("avx512") and "avx2" in flags:
            emulated.append(mutant)
        else:
            print(f"skipped {mutant.name}: the CPU has no {mutant.needs}")
    copy_tree()
    n_killed, n_all = 0, len(here) + len(emulated)
    if here:
        n_killed += kill(here, WORK / "build", (), asked.jobs)
    if emulated:
        n_killed += kill(emulated, WORK / "emulated", EMULATED, asked.jobs)
    print(f"mutants: {n_killed} killed, {max(n_all - n_killed, n_all == 0)} alive")
    return 0 if 0 < n_all == n_killed else 1


if __name__ == "__main__":
    sys.exit(main())
