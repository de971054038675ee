#!/usr/bin/env python3
"""One rank and two: seconds of a training step, and where they go.

    make MPI=1 && python3 bench/ranks.py [--window 2K] [--rounds 3] [--csv FILE]

A rank has one thread. Layouts take turns, round by round; medians of the steps but each run's first. Moves are what rank 0
spends in moves between ranks, waiting for the other included; the rest above half of one rank's step (or above one rank's, of
a batch twice as large) is packing, what both compute, and the memory and cores that two ranks share. Two threads on one rank stand beside them:
what the machine gives to two of anything. Texts are this repository's sources, as bytes.
"""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import KEDGE, ROOT, Failed, Results, Table, arguments, main, median, percent

LAYOUTS = [  # name, ranks, settings, work against one rank's
    ("one rank", 1, [], 1),
    ("one rank, two threads", 1, ["threads=2"], 1),
    ("sequence 2", 2, ["parallel.sequence=2"], 1),
    ("data 2", 2, ["parallel.data=2"], 1),
    ("data 2, zero 2", 2, ["parallel.data=2", "parallel.zero=2"], 1),
    ("data 2, zero 3", 2, ["parallel.data=2", "parallel.zero=3"], 1),
    ("data 2, twice the windows", 2, ["parallel.data=2", "batch.windows=8"], 2),
    ("sequence 2, twice the windows", 2, ["parallel.sequence=2", "batch.windows=8"], 2),
]


def train(folder, ranks, settings):
    """Rows of the steps but the first."""
    output = Path(folder, "out")
    words = [KEDGE, "train", f"{folder}/run.yaml", "--quiet", "--set", f"output={output}"]
    for setting in settings:
        words += ["--set", setting]
    if ranks > 1:
        words = ["mpirun.openmpi", "--oversubscribe", "-n", str(ranks), *words]
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_hwloc_base_binding_policy="none")
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", env=env)
    except FileNotFoundError:
        raise Failed(f"no {words[0]}: Open MPI and `make MPI=1` are needed") from None
    if done.returncode:
        raise Failed(f"{' '.join(settings)}: {next((line for line in done.stderr.splitlines() if line.startswith('kedge: ')), 'failed')}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(output)
    return [row for row in rows if "parts" in row][1:]


def body():
    parser = arguments(__doc__)
    parser.add_argument("--window", default="2K", help="tokens (default %(default)s)")
    parser.add_argument("--preset", default="5m", help="of the model (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="each runs every layout (default %(default)s)")
    options = parser.parse_args()
    seen = {name: [] for name, *_ in LAYOUTS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "run.yaml").write_text(
            f"model: {{init: {{arch: llama, preset: {options.preset}}}}}\ntokenizer: bytes\ndata: {{train: ['{ROOT}/src/**/*.[ch]']}}\n"
            f"window: {options.window}\nmask: anchor\nbatch: {{windows: 4, micro: 1}}\nrecompute: none\nsteps: 4\neval: {{every: 0}}\n"
            "threads: 1\noutput: out\n")
        for _ in range(options.rounds):
            for name, ranks, settings, _ in LAYOUTS:
                seen[name] += train(folder, ranks, settings)
    one = median([row["seconds"] for row in seen["one rank"]])
    results = Results(options.csv)
    table = Table(f"Llama of preset {options.preset}, windows of {options.window}, four a step",
                  ["layout:30", "s a step", "efficiency", "moves", "of the step", "MB sent"])
    for name, ranks, _, work in LAYOUTS:
        seconds = median([row["seconds"] for row in seen[name]])
        moves = median([row["parts"].get("moves", 0) for row in seen[name]])
        sent = median([row.get("sent", 0) for row in seen[name]])
        cores = 2 if name != "one rank" else 1
        efficiency = one * work / seconds / cores
        table.row(name, f"{seconds:.3f}", percent(efficiency), f"{moves:.3f}", percent(moves / seconds), f"{sent / 1e6:.1f}")
        results.add(bench="ranks", variant=f"{options.preset} {options.window} {name}", threads=cores // ranks, value=seconds, unit="s", ratio=efficiency)
    results.save()


main(body)
