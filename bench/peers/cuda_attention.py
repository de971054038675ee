#!/usr/bin/env python3
"""Attention on a GPU: kedge beside PyTorch's SDPA (cuDNN's kernel, else FlashAttention's) and FlexAttention, taking turns.

    PYTHON bench/peers/cuda_attention.py

PYTHON has the packages of bench/requirements.txt, torch for CUDA. bf16 in and out; kedge keeps rotated queries and keys as float16. Useful
operations: 4 E for each pair of tokens that see each other and each query head, 2.5 times that backward. kedge turns queries and keys in
the time that is counted; PyTorch gets them turned. The limit is a bf16 product of 8192^3 measured between the runs, and what the anchor
costs is kedge's time with it over that without it.
"""
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Failed, Results, Table, bench, gpu_csv, main, median, need, peer_arguments, percent, thousands
from torch_masks import documents_of, pairs_of, reason, sight_of


def kedge(options, *arguments):
    """(forward, backward) of the device's best variant."""
    lines = bench("attention", "--device", options.device, "--variant", options.variant, "--seconds", 0, *arguments)
    return [next(line for line in lines if line["direction"] == way) for way in ("forward", "backward")]


def peers(torch, document, tokens):
    """name: a function of q, k, v; document None: one document, no anchor."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    found = {}
    if document is None:
        def sdpa(q, k, v):
            with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        found["SDPA causal"] = sdpa

        def sees(b, h, query, key):
            return query >= key
    else:
        sees = sight_of(document.to("cuda"))
    block = create_block_mask(sees, None, None, tokens, tokens, device="cuda")
    flex = torch.compile(flex_attention, dynamic=False)
    found["FlexAttention"] = lambda q, k, v: flex(q, k, v, block_mask=block, enable_gqa=True)
    return found


def seconds(torch, function, inputs, dout, runs=10):
    """(forward, backward) medians of `runs`, by events, after three that are not counted."""
    inputs = [x.detach().requires_grad_(True) for x in inputs]
    took = []
    for _ in range(runs + 3):
        at = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
        at[0].record()
        out = function(*inputs)
        at[1].record()
        torch.autograd.grad(out, inputs, dout)
        at[2].record()
        torch.cuda.synchronize()
        took.append((at[0].elapsed_time(at[1]) / 1e3, at[1].elapsed_time(at[2]) / 1e3))
    return [median(x) for x in zip(*took[3:])]


def measure_shape(torch, tables, results, options, size, tokens, count):
    torch._dynamo.reset()
    heads, groups = options.heads, options.groups
    shape = ["--tokens", tokens, "--heads", heads, "--groups", groups, "--size", size, *(["--documents", count] if count else [])]
    make = torch.Generator(device="cuda").manual_seed(1)
    q, k, v, dout = (torch.randn(1, n, tokens, size, generator=make, device="cuda", dtype=torch.bfloat16) for n in (heads, groups, groups, heads))
    document = documents_of(torch, tokens, count) if count else None
    found, why = peers(torch, document, tokens), {}
    own, plain, took = [], [], {}
    for _ in range(options.rounds):
        own.append(kedge(options, *shape, *(["--anchor"] if count else [])))
        if count:
            plain.append(kedge(options, *shape))
            if abs(own[-1][0]["pairs_of_full"] - pairs_of(document) / (tokens * (tokens + 1) / 2)) > 1e-5:
                raise Failed(f"kedge's documents are not those of the peers: {own[-1][0]['pairs_of_full']} of full attention's pairs")
        for name, function in found.items():
            if name in why:
                continue
            try:
                took.setdefault(name, []).append(seconds(torch, function, (q, k, v), dout))
            except Exception as error:  # what torch.compile and kernels raise depends on where they stop
                why[name] = reason(error)
                torch._dynamo.reset()
    mask = "anchor" if count else "full"
    for way, name in enumerate(("forward", "backward")):
        limit = median([r[way]["peak_gflops"] for r in own])
        mine = median([r[way]["seconds"] for r in own])
        flops = own[0][way]["gflops"] * own[0][way]["seconds"]  # in units of 1e9
        cells = [name, thousands(tokens), count or 1, size, f"{heads}:{groups}"]
        cost = f"{100 * (mine / median([r[way]['seconds'] for r in plain]) - 1):+.1f}%" if count else ""
        tables.row(f"kedge {options.variant}", *cells, flops / mine / 1e3, percent(flops / mine / limit), "", cost)
        row = dict(form=name, mask=mask, tokens=tokens, documents=count or 1, heads=heads, groups=groups, size=size, unit="GF/s", limit=limit)
        results.add(bench="cuda attention", variant=options.variant, value=flops / mine, ratio=flops / mine / limit, **row)
        for peer, rounds in took.items():
            if peer in why:
                continue
            theirs = median([r[way] for r in rounds])
            times = median([r[way] / o[way]["seconds"] for r, o in zip(rounds, own)])
            tables.row(peer, *cells, flops / theirs / 1e3, percent(flops / theirs / limit), f"{times:.2f}", "")
            results.add(bench="peer cuda attention", variant=peer, value=flops / theirs, ratio=flops / theirs / limit, kedge_over_peer=times, **row)
    for peer, text in why.items():
        print(f"{peer}: {text}")


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("--device", default="cuda", help="of kedge; PyTorch takes the first GPU (default %(default)s)")
    parser.add_argument("--variant", default="sm90", help="of kedge: sm90, sm80 (default %(default)s)")
    parser.add_argument("--tokens", default="2K,8K,16K,32K,128K", help="by commas (default %(default)s)")
    parser.add_argument("--sizes", default="128,64", help="of a head, by commas (default %(default)s)")
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--lengths", default="0,1024", help="tokens of the documents, about; 0: one document, no anchor (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-attention-") as folder:
        torch = need("torch", folder, options.threads)
        if not torch.cuda.is_available():
            raise Failed("PyTorch finds no GPU")
        results = Results(options.csv or gpu_csv())
        table = Table(f"Attention, bf16, {torch.cuda.get_device_name()}, torch {torch.__version__}; TFLOP/s of useful operations, share of a bf16 "
                      f"product's rate, medians of {options.rounds} rounds", ["program:16", "what:8", "T:5", "N:4", "E:4", "H:G:5", "TFLOP/s:7",
                                                                              "of limit:8", "kedge over it:13", "anchor:7"])
        for size in map(int, options.sizes.split(",")):
            for length in map(int, options.lengths.split(",")):
                for tokens in (int(t[:-1]) * 1024 if t.endswith("K") else int(t) for t in options.tokens.split(",")):
                    measure_shape(torch, table, results, options, size, tokens, length and max(2, round(tokens / length)))
    results.save()


main(body)
