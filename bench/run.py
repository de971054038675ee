#!/usr/bin/env python3
"""make bench: kedge's figures on this machine, each beside the limit that was measured between the runs.

    python3 bench/run.py [--only attention,packed,...] [--quick] [--csv FILE]

Prints tables and writes them to bench/results/MACHINE.csv. Needs build/kedge (KEDGE names another one) and nothing else;
windows of real documents also KEDGE_ASSETS (default ../shared/assets: corpus/ and tokenizers/llama2/). Under ten minutes
on a machine that does nothing else; --quick looks whether everything runs, in short shapes, and writes no CSV.
"""
import os
import time
from pathlib import Path

from measure import CORES, ROOT, Failed, Results, Table, about, arguments, attention, bench, machine, main, percent, run, thousands

THREADS = sorted({1, CORES})


def attention_row(results, name, pair, table, *cells):
    """A row of a table of attention, two of the CSV."""
    for line in pair:
        mask = "anchor" if line["anchor"] else "full" if line["documents"] == 1 else "document"
        results.add(bench=name, variant=line["variant"], form=line["direction"], mask=mask,
                    value=line["gflops"], unit="GF/s", limit=line["peak_gflops"],
                    **{key: line.get(key, "") for key in ["tokens", "windows", "documents", "heads", "groups", "size", "threads", "ratio"]})
    forward, backward = pair
    table.row(forward["variant"], thousands(forward["tokens"]), f"{forward['documents']:.4g}", forward["size"], forward["heads"],
              forward["groups"], forward["threads"], forward["gflops"], percent(forward["ratio"]), backward["gflops"],
              percent(backward["ratio"]), forward["peak_gflops"], *cells)


COLUMNS = ["variant:8", "T:5", "N:5", "E:4", "H", "G", "thr", "forward:8", "share:6", "backward:8", "share:6", "peak:6"]


def plain_attention(results, quick):
    table = Table("Attention, causal, one document. GF/s of useful operations, shares of the FMA peak", COLUMNS)
    for threads in THREADS:
        for size in (64, 128):
            for tokens, heads in ((1024, 4), (4096, 2), (16384, 1)) if not quick else ((256, 1), (512, 1)):
                pair = attention("--tokens", tokens, "--heads", heads * threads, "--size", size, "--threads", threads, "--seconds", 0 if quick else 1)
                attention_row(results, "attention", pair, table)


def packed_attention(results, quick):
    """Windows of a pack; without the assets, of documents whose lengths are drawn."""
    assets = Path(os.environ.get("KEDGE_ASSETS", ROOT / "../shared/assets")).resolve()
    tokenizer, corpus = assets / "tokenizers" / "llama2", assets / "corpus" / "train"
    real = tokenizer.is_dir() and corpus.is_dir()
    if not real:
        print(f"\nskipped: windows of real documents: no {corpus} or {tokenizer} (KEDGE_ASSETS); lengths are drawn instead")
    table = Table("Attention, packed windows with an anchor; pairs and time as shares of those of one document, time where it was measured",
                  [*COLUMNS, "pairs:6", "f time:6", "b time:6"])
    for tokens, windows in ((16384, 4), (65536, 1), (131072, 1)) if not quick else ((2048, 2),):
        source = ["--tokens", tokens, "--mean-length", 2048, "--anchor"]
        if real:
            pack = ROOT / "build" / "bench" / f"pack-{thousands(tokens)}"
            run("pack", ROOT / "bench" / "packed.yaml", "--out", pack, "--quiet", "--set", f"tokenizer={tokenizer}", "--set",
                f"data.train=['{corpus}/**/*.jsonl.zst']", "--set", f"window={tokens}")
            source = ["--pack", pack, "--tokenizer", tokenizer, "--windows", windows]
        against = ["--against-full"] if tokens <= 16384 else []
        pair = attention(*source, *against, "--heads", 1, "--seconds", 0)
        attention_row(results, "packed" if real else "drawn lengths", pair, table, percent(pair[0]["pairs_of_full"]),
                      *[percent(line["time_of_full"]) if against else "" for line in pair])


def short_documents(results, quick):
    table = Table("Attention, equal documents without an anchor and with one; the time that the anchor adds",
                  [*COLUMNS, "f anchor:8", "b anchor:8"])
    for tokens, length in ((16384, 128), (16384, 512), (65536, 2048)) if not quick else ((1024, 128),):
        shape = ["--tokens", tokens, "--documents", tokens // length, "--heads", 4, "--groups", 1, "--seconds", 0 if quick else 1]
        none, anchor = attention(*shape), attention(*shape, "--anchor")
        attention_row(results, "attention", none, table)
        attention_row(results, "attention", anchor, table, *[f"{100 * (b['seconds'] / a['seconds'] - 1):+.1f}%" for a, b in zip(none, anchor)])


def products(results, quick):
    table = Table("Matrix products y = x w' (NT), dx = dy w (NN), dw = dy' x (TN). GF/s, shares of the FMA peak",
                  ["variant:8", "M:6", "N:6", "K:6", "thr", "NT:6", "share:6", "NN:6", "share:6", "TN:6", "share:6", "peak:6"])
    M, N, K = (2048, 5632, 2048) if not quick else (64, 256, 128)
    for variant in (about()["instruction_set"], "cblas"):
        for threads in THREADS:
            try:
                lines = bench("gemm", "--m", M, "--n", N, "--k", K, "--threads", threads, "--variant", variant)
            except Failed as error:
                if variant != "cblas":
                    raise
                print(f"skipped: {error}")
                break
            for line in lines:
                results.add(bench="gemm", variant=variant, form=line["form"], m=M, n=N, k=K, threads=threads, value=line["gflops"],
                            unit="GF/s", limit=line["peak_gflops"], ratio=line["ratio"])
            table.row(variant, M, N, K, threads, *[cell for line in lines for cell in (line["gflops"], percent(line["ratio"]))],
                      lines[0]["peak_gflops"])


STEPS = [  # options, quick options
    (["--preset", "124m", "--window", 1024, "--windows", 4, "--steps", 3],
     ["--preset", "demo", "--window", 256, "--windows", 2, "--steps", 1]),
    (["--preset", "10m", "--vocabulary", 258, "--window", 65536, "--windows", 1, "--mask", "anchor", "--length", 2048, "--recompute", "layer", "--steps", 1],
     ["--preset", "demo", "--window", 2048, "--windows", 1, "--mask", "anchor", "--length", 256, "--recompute", "layer", "--steps", 1]),
]


def training_steps(results, quick):
    for options in STEPS:
        line, = bench("step", *options[quick])
        table = Table(f"A training step, {line['parameters'] / 1e6:.1f}M parameters. Shares of the FMA peak of {line['peak_gflops']:.0f} GF/s; executed: "
                      "with what is computed again",
                      ["variant:8", "parameters:10", "T:5", "windows", "mask:8", "recompute", "thr", "seconds:7", "tokens/s:8", "useful:7", "executed:8"])
        table.row(line["isa"], line["parameters"], thousands(line["window"]), line["windows"], line["mask"], line["recompute"], line["threads"],
                  f"{line['seconds']:.2f}", f"{line['tokens_per_second']:.0f}", percent(line["share_of_peak"]), percent(line["executed_share"]))
        results.add(bench="step", variant=line["isa"], form=f"{line['parameters']} parameters, recompute {line['recompute']}", mask=line["mask"],
                    tokens=line["window"], windows=line["windows"], documents=line["documents"],
                    threads=line["threads"], value=line["tokens_per_second"], unit="tokens/s", limit=line["peak_gflops"],
                    ratio=line["share_of_peak"], executed=line["executed_share"])
        parts, table = line["parts"], Table("What its parts take", ["part:20", "seconds:8", "share:6"])
        for part, seconds in list(parts.items())[:8]:
            table.row(part, f"{seconds:.3f}", percent(seconds / sum(parts.values())))


SECTIONS = {"attention": plain_attention, "packed": packed_attention, "documents": short_documents, "gemm": products, "step": training_steps}


def body():
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}; several by commas")
    parser.add_argument("--quick", action="store_true", help="short shapes; no CSV unless --csv")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if set(chosen) - set(SECTIONS):
        parser.error(f"--only {options.only}: it is of {', '.join(SECTIONS)}")
    results, began = Results(options.csv or ("/dev/null" if options.quick else None)), time.time()
    print(f"{machine()}; kedge {results.stamp['commit']}; load {os.getloadavg()[0]:.1f}")
    for name in chosen:
        SECTIONS[name](results, options.quick)
        results.save()
    print(f"\n{time.time() - began:.0f} s; {results.path}")


main(body)
