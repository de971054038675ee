#!/usr/bin/env python3
"""A training step of llm.c's train_gpt2.c beside kedge's, the two taking turns.

    python3 bench/peers/llmc_step.py LLM.C

LLM.C is a checkout of karpathy/llm.c. It is copied to a temporary folder, built there by its own Makefile and run on files
that are made here: GPT-2 124M with random weights, random tokens. Two shapes: its own, 4 sequences of 64 tokens, and 1 of
1024. kedge trains a Llama of the same layers, width and vocabulary on as many tokens. The shares count 6 operations for
each parameter and token, and for kedge attention too. Needs a C compiler, make, 1 GB of disk, 5 GB of memory, and no
Python package.
"""
import array
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Failed, Results, Table, bench, main, median, peer_arguments, percent

LAYERS, HEADS, C, POSITIONS, V, PADDED = 12, 12, 768, 1024, 50257, 50304
# The tensors of its checkpoint in order: how many numbers, and their value; None: random.
TENSORS = [(PADDED * C, None), (POSITIONS * C, None), (LAYERS * C, 1), (LAYERS * C, 0), (LAYERS * 3 * C * C, None), (LAYERS * 3 * C, 0),
           (LAYERS * C * C, None), (LAYERS * C, 0), (LAYERS * C, 1), (LAYERS * C, 0), (LAYERS * 4 * C * C, None), (LAYERS * 4 * C, 0),
           (LAYERS * 4 * C * C, None), (LAYERS * C, 0), (C, 1), (C, 0)]
PARAMETERS = sum(count for count, _ in TENSORS) - (PADDED - V) * C


def header(*numbers):
    return struct.pack("<256i", *numbers, *[0] * (256 - len(numbers)))


def write_checkpoint(path):
    """Random weights: a million draws again and again, a length that no row of a tensor divides."""
    draw = random.Random(1)
    block = array.array("f", (draw.gauss(0, 0.02) for _ in range(999_983)))
    with open(path, "wb") as file:
        file.write(header(20240326, 3, POSITIONS, V, LAYERS, HEADS, C, PADDED))
        for count, value in TENSORS:
            numbers = block if value is None else array.array("f", [value]) * count
            for at in range(0, count, len(numbers)):
                numbers[:count - at].tofile(file)


def write_tokens(path):
    draw = random.Random(2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(header(20240520, 1, 65536))
        array.array("H", (draw.randrange(V) for _ in range(65536))).tofile(file)


def build(folder, original, B, T, steps):
    """Its program for one shape, without most of its validation; it ends after `steps` steps and the first, which is not counted."""
    source = original
    for old, new in (("int B = 4;", f"int B = {B};"), ("int T = 64;", f"int T = {T};"), ("step <= 40;", f"step <= {steps};"),
                     ("int val_num_batches = 5;", "int val_num_batches = 1;")):
        if source.count(old) != 1:
            raise Failed(f'train_gpt2.c has "{old}" {source.count(old)} times, not once: a version that this script does not know')
        source = source.replace(old, new)
    (folder / "train_gpt2.c").write_text(source)
    made = subprocess.run(["make", "-C", folder, "--always-make", "train_gpt2"], capture_output=True, encoding="utf-8")
    if made.returncode:
        raise Failed(f"make train_gpt2: {made.stderr.strip() or made.stdout.strip()}")
    return (folder / "train_gpt2").rename(folder / f"train_gpt2_{B}x{T}")


def seconds_a_step(program, threads):
    done = subprocess.run([program], cwd=program.parent, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, encoding="utf-8")
    took = [float(ms) / 1000 for ms in re.findall(r"train loss .* \(took (.*) ms\)", done.stdout)]
    if done.returncode or len(took) < 2:
        raise Failed(f"train_gpt2 ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return median(took[1:])


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("checkout", type=Path, metavar="LLM.C")
    parser.add_argument("--shapes", default="4x64,1x1024", help="sequences x tokens, by commas (default %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="of a run, after one that is not counted (default %(default)s)")
    options = parser.parse_args()
    if not (options.checkout / "train_gpt2.c").exists():
        raise Failed(f"no train_gpt2.c in {options.checkout}: it is a checkout of karpathy/llm.c")
    results = Results(options.csv)
    table = Table(f"A training step, float32, {options.threads} threads; medians of {options.rounds} rounds",
                  ["program:14", "parameters:10", "B x T:8", "seconds:8", "tokens/s:8", "of peak:7", "kedge over it:13"])
    with tempfile.TemporaryDirectory(prefix="llm.c-") as name:
        folder = Path(name) / "llm.c"
        shutil.copytree(options.checkout, folder, ignore=shutil.ignore_patterns(".git", "*.bin"))
        write_checkpoint(folder / "gpt2_124M.bin")
        for part in ("train", "val"):
            write_tokens(folder / f"dev/data/tinyshakespeare/tiny_shakespeare_{part}.bin")
        original = (folder / "train_gpt2.c").read_text()
        for shape in options.shapes.split(","):
            B, T = map(int, shape.split("x"))
            program = build(folder, original, B, T, options.steps)
            peer, own = [], []
            for _ in range(options.rounds):
                own += bench("step", "--preset", "124m", "--vocabulary", V, "--window", T, "--windows", B, "--steps", options.steps,
                             "--threads", options.threads)
                peer.append(seconds_a_step(program, options.threads))
            tokens, peak = B * T, median([line["peak_gflops"] for line in own])
            times = median([theirs / line["seconds"] for theirs, line in zip(peer, own)])
            kedge, llmc = median([line["seconds"] for line in own]), median(peer)
            share = 6 * PARAMETERS * tokens / llmc / peak / 1e9
            table.row("kedge", own[0]["parameters"], shape, f"{kedge:.2f}", tokens / kedge, percent(median([line["share_of_peak"] for line in own])))
            table.row("llm.c", PARAMETERS, shape, f"{llmc:.2f}", tokens / llmc, percent(share), f"{times:.1f}")
            results.add(bench="peer step", variant="llm.c", form=f"{PARAMETERS} parameters", mask="full", tokens=T, windows=B, threads=options.threads,
                        value=tokens / llmc, unit="tokens/s", limit=peak, ratio=share, kedge_over_peer=times)
    results.save()


main(body)
