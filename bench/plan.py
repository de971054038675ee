#!/usr/bin/env python3
"""What kedge plan predicts beside what kedge train takes: seconds of a step, and the most memory.

    python3 bench/plan.py [--only 3,7] [--rounds 4] [--figure6] [--csv FILE]

Ten runs of other models, windows, masks and recomputation on real documents. Plan and training take turns; of up to --rounds the fastest
counts, step by step, because neighbours only ever slow a machine down; one round is enough where they took little. The first step of a run is left out: it touches memory for the
first time. What is predicted for attention is taken for the pairs of the steps that are measured.
--figure6: instead, a small model under the windows of the paper's figure 6, full and anchor, beside `kedge plan --windows`.
Texts and tokenizer: KEDGE_ASSETS (default ../shared/assets), else this repository's sources, as bytes. Under eight minutes on a
machine that does nothing else.
"""
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from measure import CORES, KEDGE, ROOT, Failed, Results, Table, about, arguments, machine, main, percent, run, thousands

QUIET = 0.03  # of the cores, taken by others: a round that is not repeated
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


@functools.cache
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
    texts, llama2 = sources()
    if tokenizer == "llama2":
        tokenizer = llama2 or "bytes"
    path = Path(folder, "run.yaml")
    path.write_text(f"model: {{init: {{arch: llama, preset: {preset}}}}}\ntokenizer: {tokenizer}\ndata: {{train: {texts}"
                    + (f", mixture: {mixture}" if mixture and llama2 else "") +
                    f"}}\nwindow: {window}\nmask: {mask}\nbatch: {{windows: {windows}}}\nrecompute: {recompute}\nsteps: {steps}\n"
                    f"eval: {{every: 0}}\noutput: {folder}/out\n")
    return path


def train(path):
    """Rows of the steps but the first, and the most bytes that were resident."""
    output = path.parent / "out"
    child = subprocess.Popen([KEDGE, "train", str(path), "--quiet"], stderr=subprocess.PIPE, encoding="utf-8")
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise Failed(f"kedge train: {(said.strip().splitlines() or ['failed'])[-1]}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(output)
    return [row for row in rows if "parts" in row][1:], used.ru_maxrss * 1024


def parts(row):
    """A step's seconds under the names that a plan has for them."""
    own = row["parts"]
    attention, update = own.get("attn_forward", 0) + own.get("attn_backward", 0), own.get("adamw", 0) + own.get("sum_squares", 0) + own.get("sum_norm", 0) + own.get("sum_loss", 0)
    return {"products": own["matmul"], "attention": attention, "update": update, "other": row["seconds"] - own["matmul"] - attention - update}


class Others:
    """The share of this machine's cores that others took since it was made."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        user, nice, system, _, _, irq, softirq, steal = [int(n) for n in Path("/proc/stat").read_text().split()[1:9]]
        own = os.times()
        return time.time(), (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own.children_user - own.children_system - own.user - own.system

    def share(self):
        seconds, busy = (b - a for a, b in zip(self.before, self.now()))
        return busy / seconds / os.cpu_count()


def measure(path, rounds):
    """(plan, seconds a step, its parts, bytes, the least that others took of a round)."""
    plan, steps, most, least = None, None, 0, 1
    for _ in range(rounds):
        others = Others()
        new = json.loads(run("plan", path, "--json"))
        if plan and plan["memory"]["total"] > new["memory"]["total"]:
            new["memory"] = plan["memory"]
        if plan and plan["seconds_per_step"] < new["seconds_per_step"]:
            plan["memory"], new = new["memory"], plan
        plan = new
        rows, bytes_ = train(path)
        most = max(most, bytes_)
        steps = [min(pair, key=lambda row: row["seconds"]) for pair in zip(steps or rows, rows)]
        least = min(least, others.share())
        if least < QUIET:
            break
    mean = {name: sum(parts(row)[name] for row in steps) / len(steps) for name in parts(steps[0])}
    own = plan["parts"]["attention"]
    plan["parts"]["attention"] *= sum(row["pairs"] for row in steps) / len(steps) / plan["pairs"]
    plan["seconds_per_step"] += plan["parts"]["attention"] - own
    return plan, sum(row["seconds"] for row in steps) / len(steps), mean, most, least


def measured_cases(results, only, rounds):
    worst = {"time": (1, 0), "memory": (1, 0)}
    table = Table("Predicted over measured, and the parts of a step in seconds, predicted and measured",
                  ["case", "preset:6", "window:6", "windows", "mask:8", "recompute", "pairs:6", "plan s:7", "train s:7", "ratio", "plan GiB", "train GiB", "ratio",
                   "others", "products:13", "attention:13", "other:11", "update:11"])
    for number in only:
        preset, tokenizer, window, windows, mask, recompute, _, _ = case = CASES[number - 1]
        with tempfile.TemporaryDirectory() as folder:
            plan, seconds, mean, most, others = measure(settings(case, folder), rounds)
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
                  f"{most / 2**30:.3f}", f"{ratio['memory']:.3f}", percent(others),
                  *[f"{plan['parts'][name]:.3g} {mean[name]:.3g}" for name in ("products", "attention", "other", "update")])
        results.save()
    print("\nothers: what they took of the cores in the quietest round. Farthest off: " + ", ".join(f"{what} {ratio:.3g} (case {case})" for what, (ratio, case) in worst.items() if case))


def figure6(results, rounds):
    """Windows are one a step; they end where a step of full attention takes minutes."""
    windows = 8192, 16384, 32768
    texts, llama2 = sources()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.yaml")
        text = Path(ROOT, "examples", "figure6", "figure6.yaml").read_text()
        for key, value in (("model", "{init: {arch: llama, preset: demo}}"), ("tokenizer", llama2 or "bytes"), ("batch", "{windows: 1}"), ("steps", 2), ("output", f"{folder}/out")):
            text = re.sub(f"(?m)^{key}: .*", f"{key}: {value}", text)
        text = re.sub(r"(?m)^  train: .*", f"  train: {texts}", text)
        path.write_text((text if llama2 else re.sub(r"(?m)^  mixture: .*\n", "", text)) + "eval: {every: 0}\n")
        table = Table("Hours for a billion tokens, preset demo, one window a step: predicted, measured", ["window", "mask:8", "pairs:6", "plan:8", "train:8", "ratio"])
        for window in windows:
            for j, mask in enumerate(("full", "anchor")):
                path.write_text(re.sub("(?m)^window: .*", f"window: {window}", re.sub("(?m)^mask: .*", "mask: anchor", path.read_text())))
                own = Path(folder, "own.yaml")
                own.write_text(re.sub("(?m)^mask: .*", f"mask: {mask}", path.read_text()))
                sides, rows = [], []
                for _ in range(rounds):
                    others = Others()
                    sides += [json.loads(run("plan", path, "--windows", window, "--json"))["windows"][0]["masks"][j]]
                    rows += train(own)[0]
                    if others.share() < QUIET:
                        break
                side, row = min(sides, key=lambda side: side["seconds_per_step"]), min(rows, key=lambda row: row["seconds"])
                pairs = row["pairs"] / (window * (window + 1) / 2)
                seconds = side["seconds_per_step"] + side["parts"]["attention"] * (pairs / side["pairs_of_full"] - 1)
                table.row(thousands(window), mask, percent(pairs), *[f"{s / window * 1e9 / 3600:.4g}" for s in (seconds, row["seconds"])], f"{seconds / row['seconds']:.2f}")
                results.add(bench="plan windows", variant=about()["instruction_set"], form="time, demo, recompute layer", mask=mask, tokens=window, windows=1, threads=CORES,
                            value=row["seconds"], unit="s", ratio=seconds / row["seconds"])
                results.save()


def body():
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join(str(i + 1) for i in range(len(CASES))), help="cases, from 1, by commas")
    parser.add_argument("--rounds", type=int, default=4, help="at most (default %(default)s)")
    parser.add_argument("--figure6", action="store_true", help="a small model under the windows of figure 6 instead")
    options = parser.parse_args()
    results, began = Results(options.csv), time.time()
    print(f"{machine()}; kedge {results.stamp['commit']}; load {os.getloadavg()[0]:.1f}")
    if options.figure6:
        figure6(results, options.rounds)
    else:
        measured_cases(results, map(int, options.only.split(",")), options.rounds)
    print(f"{time.time() - began:.0f} s; {results.path}")


main(body)
