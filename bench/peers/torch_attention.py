#!/usr/bin/env python3
"""PyTorch's attention on the CPU beside kedge's, taking turns: SDPA (causal; with a dense mask of documents and anchor) and
FlexAttention (torch.compile; with a block mask of the same).

    PYTHON bench/peers/torch_attention.py

PYTHON has the packages of bench/requirements.txt; torch.compile needs a C++ compiler. float32. Useful operations: 4 E for each
pair of tokens that see each other and each head, 2.5 times that backward. kedge rotates queries and keys in the time that is
counted; PyTorch gets them rotated.
"""
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Failed, Results, Table, attention, main, median, need, peer_arguments, percent, thousands
from torch_masks import documents_of, pairs_of, reason, sight_of


def peers(torch, document, dense_most):
    """name: a function of q, k, v; document None: one document, no anchor."""
    flash = torch.nn.functional.scaled_dot_product_attention
    if document is None:
        return {"SDPA causal": lambda q, k, v: flash(q, k, v, is_causal=True)}
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    tokens, sees = document.numel(), sight_of(document)
    found = {}
    if tokens <= dense_most:
        at = torch.arange(tokens)
        dense = sees(0, 0, at[:, None], at[None, :])
        found["SDPA dense mask"] = lambda q, k, v: flash(q, k, v, attn_mask=dense)
    block = create_block_mask(sees, None, None, tokens, tokens, device="cpu")
    flex = torch.compile(flex_attention, dynamic=False)
    found["FlexAttention"] = lambda q, k, v: flex(q, k, v, block_mask=block)
    return found


def seconds(torch, function, inputs, dout, backward):
    """Median of three after one that is not counted, as kedge's; with `backward` both directions."""
    took, inputs = [], [x.detach().requires_grad_(backward) for x in inputs]
    for _ in range(4):
        began = time.perf_counter()
        out = function(*inputs)
        if backward:
            torch.autograd.grad(out, inputs, dout)
        took.append(time.perf_counter() - began)
    return median(took[1:])


def check(found, inputs, why):
    """The peers that run agree with each other."""
    outs = {}
    for name, function in found.items():
        try:
            outs[name] = function(*inputs)
        except Exception as error:  # what torch.compile raises depends on where it stops
            why[name, False] = why[name, True] = reason(error)
    for out in outs.values():
        difference = (out - next(iter(outs.values()))).abs().max()
        if difference > 1e-3:
            raise Failed(f"{' and '.join(outs)} differ by {difference:.2g}")


def measure_shape(torch, table, results, options, size, tokens, count):
    torch._dynamo.reset()
    heads = options.heads
    *inputs, dout = (torch.randn(1, heads, tokens, size, generator=torch.Generator().manual_seed(i)) for i in range(4))
    document = documents_of(torch, tokens, count) if count else None
    found, why = peers(torch, document, options.dense_most), {}
    check(found, inputs, why)
    took, own = {}, {False: [], True: []}
    for _ in range(options.rounds):
        forward, back = attention("--tokens", tokens, "--heads", heads, "--size", size, "--threads", options.threads, "--seconds", 0,
                                  *(["--documents", count, "--anchor"] if count else []))
        if count and abs(forward["pairs_of_full"] - pairs_of(document) / (tokens * (tokens + 1) / 2)) > 1e-5:
            raise Failed(f"kedge's documents are not those of the peers: {forward['pairs_of_full']} of full attention's pairs")
        own[False].append(forward["seconds"])
        own[True].append(forward["seconds"] + back["seconds"])
        for name, function in found.items():
            for backward in (False, True):
                if (name, backward) in why:
                    continue
                try:
                    took.setdefault((name, backward), []).append(seconds(torch, function, inputs, dout, backward))
                except Exception as error:
                    why[name, backward] = reason(error)
                    torch._dynamo.reset()  # or what has failed to compile once runs uncompiled from then on
    peak = forward["peak_gflops"]
    for backward in (False, True):
        way = "forward+backward" if backward else "forward"
        flops = forward["gflops"] * forward["seconds"] * (3.5 if backward else 1)
        cells = [thousands(tokens), count or 1, size, heads, options.threads]
        ours = flops / median(own[backward])
        table.row("kedge", way, *cells, ours, percent(ours / peak))
        for name in found:
            if (name, backward) in why:
                table.row(name, way, *cells, "none", "", "")
                continue
            theirs = took[name, backward]
            rate, times = flops / median(theirs), median([t / o for t, o in zip(theirs, own[backward])])
            table.row(name, way, *cells, rate, percent(rate / peak), f"{times:.2f}")
            results.add(bench="peer attention", variant=name, form=way, mask="anchor" if count else "full", tokens=tokens, documents=count or 1,
                        heads=heads, groups=heads, size=size, threads=options.threads, value=rate, unit="GF/s", limit=peak, ratio=rate / peak,
                        kedge_over_peer=times)
    for (name, backward), text in why.items():
        print(f"{name}, {'forward+backward' if backward else 'forward'}: {text}")


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("--tokens", default="1024,4096,8192", help="by commas (default %(default)s)")
    parser.add_argument("--sizes", default="128,64", help="of a head, by commas (default %(default)s)")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lengths", default="0,500", help="tokens of the documents, about; 0: one document, no anchor (default %(default)s)")
    parser.add_argument("--dense-most", type=int, default=8192, help="no dense mask of more tokens (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-attention-") as folder:
        torch = need("torch", folder, options.threads)
        results = Results(options.csv)
        table = Table(f"Attention, float32, torch {torch.__version__.split('+')[0]}; GF/s of useful operations, share of the FMA peak, medians of "
                      f"{options.rounds} rounds", ["program:16", "what:16", "T:5", "N:4", "E:4", "H", "thr", "GF/s:7", "of peak:7", "kedge over it:13"])
        for size in map(int, options.sizes.split(",")):
            for length in map(int, options.lengths.split(",")):
                for tokens in map(int, options.tokens.split(",")):
                    measure_shape(torch, table, results, options, size, tokens, length and max(2, round(tokens / length)))
    results.save()


main(body)
