"""What the benchmarks share: kedge's own figures, medians, tables, and the CSV of this machine."""
import argparse
import csv
import datetime
import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEDGE = os.environ.get("KEDGE", str(ROOT / "build" / "kedge"))
CORES = len(os.sched_getaffinity(0))

SHAPE = ["form", "mask", "tokens", "windows", "documents", "heads", "groups", "size", "m", "n", "k", "threads"]
FIELDS = ["date", "commit", "bench", "variant", *SHAPE, "value", "unit", "limit", "ratio", "executed", "kedge_over_peer"]

peaks = {}  # threads: every FMA peak that kedge measured


class Failed(Exception):
    """One line that says what is missing or went wrong."""


def run(*arguments):
    """The output of a kedge command."""
    try:
        done = subprocess.run([KEDGE, *map(str, arguments)], capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise Failed(f"no {KEDGE}: run make, or set KEDGE") from None
    if done.returncode:
        raise Failed(f"kedge {' '.join(map(str, arguments))}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def bench(*arguments):
    """The objects of `kedge bench ARGUMENTS --json`."""
    lines = [json.loads(line) for line in run("bench", *arguments, "--json").splitlines()]
    for line in lines:
        peaks.setdefault(line["threads"], []).append(line["peak_gflops"])
    return lines


def say_disturbed():
    """A peak that varies by more than a tenth says that something else ran."""
    for threads, limit in sorted(peaks.items()):
        if min(limit) < 0.9 * max(limit):
            print(f"\ndisturbed: the FMA peak of {threads} threads went from {max(limit):.0f} down to {min(limit):.0f} GF/s")


@functools.cache
def about():
    return json.loads(run("--version", "--json"))


def attention(*arguments):
    """(forward, backward) of the fastest variant."""
    both = {line["direction"]: line for line in bench("attention", "--variant", about()["instruction_set"], *arguments)}
    return both["forward"], both["backward"]


def machine():
    """CPU model, cores and instruction set as one word: the name of this machine's CSV."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", text)
    name = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", model[1].lower()) if model else os.uname().machine
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {CORES} cores {about()['instruction_set']}").strip("-")


def gpu_csv():
    """The CSV of this machine's first GPU."""
    gpus = about().get("gpus")
    if not isinstance(gpus, list):
        raise Failed(f"kedge finds no GPU: {gpus or 'it was built without CUDA'}")
    return ROOT / "bench" / "results" / (re.sub(r"[^a-z0-9]+", "-", gpus[0].split(",")[0].lower()).strip("-") + ".csv")


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def thousands(n):
    return f"{n // 1024}K" if n >= 1024 and n % 1024 == 0 else str(n)


class Table:
    """Rows that are printed as they come. A column is "name" or "name:width"; the first is aligned left."""

    def __init__(self, title, columns):
        split = [column.partition(":") for column in columns]
        self.widths = [max(int(width or 0), len(name)) for name, _, width in split]
        print(f"\n{title}\n")
        self.row(*[name for name, _, _ in split])

    def row(self, *cells):
        text = [cell if isinstance(cell, str) else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        print("  ".join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(text, self.widths))).rstrip(), flush=True)


def percent(share):
    return f"{100 * share:.1f}%"


class Results:
    """bench/results/MACHINE.csv: a new row takes the place of the old one of the same bench, variant and shape."""

    def __init__(self, path=None):
        about_kedge = about()
        self.path = Path(path) if path else ROOT / "bench" / "results" / f"{machine()}.csv"
        self.stamp = {"date": datetime.date.today().isoformat(), "commit": about_kedge["commit"]}
        self.rows = {}
        if self.path.exists():
            with open(self.path, newline="") as file:
                for row in csv.DictReader(file):
                    self.rows[self.key(row)] = row

    @staticmethod
    def key(row):
        return tuple(str(row.get(field, "")) for field in ["bench", "variant", *SHAPE])

    def add(self, **row):
        row = {**self.stamp, **{k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}}
        self.rows[self.key(row)] = row

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="") as file:
            out = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
            out.writeheader()
            out.writerows(self.rows[key] for key in sorted(self.rows))


def need(package, folder, threads):
    """A package of bench/requirements.txt on so many threads; what torch.compile makes goes to `folder`."""
    os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), TORCHINDUCTOR_CACHE_DIR=f"{folder}/compiled",
                      TORCHINDUCTOR_COMPILE_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise Failed(f"{error}: run with a Python that has bench/requirements.txt") from None
    if package == "torch":
        module.set_num_threads(threads)
    return module


def arguments(doc):
    """What every script has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", metavar="FILE", help="instead of bench/results/MACHINE.csv; /dev/null: none")
    return parser


def peer_arguments(doc):
    parser = arguments(doc)
    parser.add_argument("--threads", type=int, default=CORES, help="of both (default: all, %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="each runs all (default %(default)s)")
    return parser


def main(body):
    """Runs a script's body and says what disturbed it; what is missing ends it with one line."""
    try:
        body()
        say_disturbed()
    except Failed as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
