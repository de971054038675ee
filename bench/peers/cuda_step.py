#!/usr/bin/env python3
"""A training step on a GPU: kedge beside transformers' model of the same config.json in PyTorch, taking turns, window by window.

    PYTHON bench/peers/cuda_step.py --config examples/scale/llama-3-8b.json

PYTHON has the packages of bench/requirements.txt, torch for CUDA. kedge: bf16 weights and activations over float32 masters and moments
(--moments i8: in 8 bits). transformers: bf16 weights, SDPA, gradient checkpointing, fused AdamW in bf16 (which needs less memory and is
less exact), eager and compiled. Full attention of one document, which is what transformers computes; kedge also with an anchor and
documents of --length tokens. Tokens per second, the most memory of the device that each had, and what failed and why.
"""
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Failed, Results, Table, bench, gpu_csv, main, median, need, peer_arguments, percent, thousands
from torch_masks import reason

GIB = 2**30


class Peer:
    """transformers' model and its optimizer, made when first asked for and dropped before kedge's turn."""

    def __init__(self, torch, transformers, config, compiled):
        self.torch = torch
        config = transformers.AutoConfig.from_pretrained(config)
        config.use_cache = False
        with torch.device("cuda"):
            self.model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model.train()
        self.forward = torch.compile(self.model, dynamic=False) if compiled else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def seconds(self, window, steps):
        torch, took = self.torch, []
        ids = torch.randint(self.model.config.vocab_size, (1, window), device="cuda", generator=torch.Generator("cuda").manual_seed(1))
        for _ in range(steps + 1):
            torch.cuda.synchronize()
            began = time.perf_counter()
            self.forward(input_ids=ids, labels=ids).loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            torch.cuda.synchronize()
            took.append(time.perf_counter() - began)
        return median(took[1:])


def peer_rate(torch, transformers, options, window, compiled):
    """(tokens per second, bytes); what it failed with is raised."""
    peer = None
    try:
        torch.cuda.reset_peak_memory_stats()
        peer = Peer(torch, transformers, options.config, compiled)
        return window / peer.seconds(window, options.steps), torch.cuda.max_memory_allocated()
    finally:
        del peer
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()


def kedge_rate(options, window, mask):
    line, = bench("step", "--device", options.device, "--config", options.config, "--window", window, "--windows", 1, "--leaves", options.leaves,
                  "--recompute", "layer", "--steps", options.steps, "--mask", mask, "--moments", options.moments, *(["--offload"] if options.offload else []),
                  *(["--length", options.length] if mask != "full" else []))
    return line


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("--config", required=True, help="config.json of the model")
    parser.add_argument("--device", default="cuda", help="of kedge; PyTorch takes the first GPU (default %(default)s)")
    parser.add_argument("--windows", default="8K,32K,64K,128K", help="tokens, by commas (default %(default)s)")
    parser.add_argument("--length", type=int, default=4096, help="tokens of a document behind the anchor (default %(default)s)")
    parser.add_argument("--leaves", type=int, default=1)
    parser.add_argument("--moments", default="f32", help="of kedge: f32, i8, or host (default %(default)s)")
    parser.add_argument("--offload", action="store_true", help="of kedge: inputs of layers in the host's memory")
    parser.add_argument("--steps", type=int, default=2, help="timed, after one that is not (default %(default)s)")
    parser.add_argument("--no-peer", action="store_true", help="kedge alone")
    options = parser.parse_args()
    try:
        name = json.loads(Path(options.config).read_text())["model_type"]
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"{options.config} is no config.json of a model: {error}") from None
    with tempfile.TemporaryDirectory(prefix="kedge-step-") as folder:
        torch = transformers = None
        if not options.no_peer:
            torch, transformers = need("torch", folder, options.threads), need("transformers", folder, options.threads)
            if not torch.cuda.is_available():
                raise Failed("PyTorch finds no GPU")
        results = Results(options.csv or gpu_csv())
        table = Table(f"A training step of one window, {options.config}; tokens/s, share of a bf16 product's rate (useful operations), GiB of the device",
                      ["program:26", "mask:8", "T:5", "tokens/s:8", "of limit:8", "GiB:6"])
        for window in (int(t[:-1]) * 1024 if t.endswith("K") else int(t) for t in options.windows.split(",")):
            for mask in ("full", "anchor"):
                try:
                    line = kedge_rate(options, window, mask)
                except Failed as error:
                    print(f"kedge, {mask}, {thousands(window)}: {error}")
                    continue
                table.row("kedge", mask, thousands(window), line["tokens_per_second"], percent(line["share_of_peak"]), line["memory"] / GIB)
                results.add(bench="cuda step", variant=name, form=f"{line['parameters']} parameters", mask=mask, tokens=window, windows=1,
                            value=line["tokens_per_second"], unit="tokens/s", limit=line["peak_gflops"], ratio=line["share_of_peak"],
                            executed=line["executed_share"])
            for compiled in (False, True) if torch else ():
                try:
                    rate, memory = peer_rate(torch, transformers, options, window, compiled)
                except Exception as error:  # out of memory, or what torch.compile raises
                    print(f"transformers{', compiled' if compiled else ''}, {thousands(window)}: {reason(error)}")
                    continue
                table.row("transformers, " + ("compiled" if compiled else "eager"), "full", thousands(window), rate, "", memory / GIB)
                results.add(bench="peer cuda step", variant=f"transformers {name} {'compile' if compiled else 'eager'}", mask="full", tokens=window,
                            windows=1, value=rate, unit="tokens/s")
    results.save()


main(body)
