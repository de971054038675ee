#!/usr/bin/env python3
"""What kedge plan predicts beside what kedge train takes: seconds of a step, and the most memory.

    python3 bench/plan.py [--only 3,7] [--rounds 2] [--csv FILE]

Ten runs of other models, windows, masks and recomputation on real documents. Plan and training take turns; of the rounds the fastest
counts, step by step, because neighbours only ever slow a machine down. The first step of a run is left out: it touches memory for the
first time. What is predicted for attention is taken for the pairs of the steps that are measured.
Texts and tokenizer: KEDGE_ASSETS (default ../shared/assets), else this repository's sources, as bytes. Under eight minutes on a
machine that does nothing else.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import CORES, KEDGE, ROOT, Failed, Results, Table, about, arguments, machine, main, percent, run, thousands

SHORT, PAGES = "{StackExchange: 1}", "{CommonCrawl: 1}"
CASES = [  # preset, vocabulary, window, windows, mask, recompute, mixture (none: books have most of the tokens), steps and the one before
    ("demo", "bytes", 1024, 8, "document", "none", None, 5),
    ("5m", "bytes", 1024, 4, "full", "none", None, 3),
    ("5m", "bytes", 4096, 2, "anchor", "none", PAGES, 3),
    ("5m", "llama2", 4096, 1, "anchor", "layer", None, 3),
    ("5m", "bytes", 16384, 1, "anchor", "layer", PAGES, 3),
    ("10m", "bytes", 2048, 4, "document", "none", SHORT, 3),
    ("10m", "bytes", 8192, 1, "full", "layer", None, 2),
    ("10m", "bytes", 16384, 1, "document", "none", SHORT, 2),
    ("124m", "bytes", 1024, 2, "anchor", "none", None, 2),
    ("demo", "bytes", 65536, 1, "anchor", "layer", PAGES, 2),
]


def sources():
    """(setting of the texts, folder of the tokenizer or None)"""
    assets = Path(os.environ.get("KEDGE_ASSETS", ROOT / "../shared/assets")).resolve()
    tokenizer, corpus = assets / "tokenizers" / "llama2", assets / "corpus" / "train"
    if corpus.is_dir() and tokenizer.is_dir():
        return f"['{corpus}/**/*.jsonl.zst']", tokenizer
    print(f"no {corpus} or {tokenizer} (KEDGE_ASSETS): texts are src/**/*.c, as bytes, whatever the table says")
    return f"['{ROOT}/src/**/*.[ch]']", None


def settings(case, folder):
    preset, tokenizer, window, windows, mask, recompute, mixture, steps = case
    texts, llama2 = sources_found
    if tokenizer == "llama2":
        tokenizer = llama2 or "bytes"
    path = Path(folder, "run.yaml")
    path.write_text(f"model: {{init: {{arch: llama, preset: {preset}}}}}\ntokenizer: {tokenizer}\ndata: {{train: {texts}"
                    + (f", mixture: {mixture}" if mixture and llama2 else "") +
                    f"}}\nwindow: {window}\nmask: {mask}\nbatch: {{windows: {windows}}}\nrecompute: {recompute}\nsteps: {steps}\n"
                    f"eval: {{every: 0}}\noutput: {folder}/out\n")
    return path


def train(path, folder):
    """Rows of the steps, and the most bytes that were resident."""
    shutil.rmtree(Path(folder, "out"), ignore_errors=True)
    child = subprocess.Popen([KEDGE, "train", str(path), "--quiet"], stderr=subprocess.PIPE, encoding="utf-8")
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise Failed(f"kedge train: {(said.strip().splitlines() or ['failed'])[-1]}")
    rows = [json.loads(line) for line in Path(folder, "out", "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(Path(folder, "out"))
    return [row for row in rows if "parts" in row][1:], used.ru_maxrss * 1024


def parts(row):
    """A step's seconds under the names that a plan has for them."""
    own = row["parts"]
    attention, update = own.get("attn_forward", 0) + own.get("attn_backward", 0), own.get("adamw", 0) + own.get("sum_norm", 0) + own.get("sum_loss", 0)
    return {"products": own["matmul"], "attention": attention, "update": update, "other": row["seconds"] - own["matmul"] - attention - update}


def measure(case, rounds, folder):
    """(plan, seconds a step, its parts, bytes), the fastest of the rounds."""
    path, plan, steps, most = settings(case, folder), None, None, 0
    for _ in range(rounds):
        new = json.loads(run("plan", path, "--json"))
        if not plan or new["seconds_per_step"] < plan["seconds_per_step"]:
            plan = new
        rows, bytes_ = train(path, folder)
        most = max(most, bytes_)
        steps = [min(pair, key=lambda row: row["seconds"]) for pair in zip(steps or rows, rows)]
    mean = {name: sum(parts(row)[name] for row in steps) / len(steps) for name in parts(steps[0])}
    own = plan["parts"]["attention"]
    plan["parts"]["attention"] *= sum(row["pairs"] for row in steps) / len(steps) / plan["pairs"]
    plan["seconds_per_step"] += plan["parts"]["attention"] - own
    return plan, sum(row["seconds"] for row in steps) / len(steps), mean, most


def body():
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join(str(i + 1) for i in range(len(CASES))), help="cases, from 1, by commas")
    parser.add_argument("--rounds", type=int, default=2, help="(default %(default)s)")
    options = parser.parse_args()
    global sources_found
    sources_found = sources()
    results, began, worst = Results(options.csv), time.time(), {"time": (1, 0), "memory": (1, 0)}
    print(f"{machine()}; kedge {results.stamp['commit']}; load {os.getloadavg()[0]:.1f}")
    table = Table("Predicted over measured, and the parts of a step in seconds, predicted and measured",
                  ["case", "preset:6", "window:6", "windows", "mask:8", "recompute", "pairs:6", "plan s:7", "train s:7", "ratio", "plan GiB", "train GiB", "ratio",
                   "products:13", "attention:13", "other:11", "update:11"])
    with tempfile.TemporaryDirectory() as folder:
        for number in map(int, options.only.split(",")):
            case = preset, tokenizer, window, windows, mask, recompute, _, _ = CASES[number - 1]
            plan, seconds, mean, most = measure(case, options.rounds, folder)
            predicted = {"time": plan["seconds_per_step"], "memory": plan["memory"]["total"]}
            measured = {"time": seconds, "memory": most}
            ratio = {what: predicted[what] / measured[what] for what in predicted}
            for what, unit in (("time", "s"), ("memory", "bytes")):
                results.add(bench="plan", variant=about()["instruction_set"], form=f"{what}, {preset}, {tokenizer}, recompute {recompute}",
                            mask=mask, tokens=window, windows=windows, threads=CORES, value=float(measured[what]), unit=unit, ratio=ratio[what])
                if abs(ratio[what] - 1) > abs(worst[what][0] - 1):
                    worst[what] = ratio[what], number
            table.row(number, preset, thousands(window), windows, mask, recompute, percent(plan["pairs"] / plan["full_pairs"]),
                      f"{predicted['time']:.3g}", f"{seconds:.3g}", f"{ratio['time']:.2f}", f"{predicted['memory'] / 2**30:.3f}",
                      f"{most / 2**30:.3f}", f"{ratio['memory']:.3f}",
                      *[f"{plan['parts'][name]:.3g} {mean[name]:.3g}" for name in ("products", "attention", "other", "update")])
            results.save()
    print("\nfarthest off: " + ", ".join(f"{what} {ratio:.3g} (case {case})" for what, (ratio, case) in worst.items() if case))
    print(f"{time.time() - began:.0f} s; {results.path}")


main(body)
