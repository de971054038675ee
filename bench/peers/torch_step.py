#!/usr/bin/env python3
"""A training step of transformers' LlamaForCausalLM on PyTorch beside kedge's, taking turns: eager, and torch.compile.

    PYTHON bench/peers/torch_step.py

PYTHON has the packages of bench/requirements.txt; torch.compile needs a C++ compiler. Both train the model that `kedge init
--preset 124m` makes, in float32: forward, backward, gradients clipped to 1, AdamW (fused where this PyTorch has it), on 4
windows of 1024 random tokens; PyTorch's attention is SDPA.
"""
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Failed, Results, Table, bench, main, median, need, peer_arguments, percent, run


class Peer:
    def __init__(self, torch, transformers, folder, options):
        self.torch = torch
        transformers.utils.logging.disable_progress_bar()
        self.model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        self.model.config.use_cache = False
        self.model.train()
        self.parameters = sum(p.numel() for p in self.model.parameters())
        groups = {"lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}
        try:
            self.optimizer, self.how = torch.optim.AdamW(self.model.parameters(), fused=True, **groups), "fused AdamW"
        except (RuntimeError, ValueError):
            self.optimizer, self.how = torch.optim.AdamW(self.model.parameters(), **groups), "AdamW"
        self.ids = torch.randint(self.model.config.vocab_size, (options.windows, options.window), generator=torch.Generator().manual_seed(1))
        self.forward = {"eager": self.model, "compile": torch.compile(self.model, dynamic=False)}

    def seconds(self, how, steps):
        """Median of `steps` steps, after one that is not counted."""
        took = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            loss = self.forward[how](input_ids=self.ids, labels=self.ids, use_cache=False).loss
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            took.append(time.perf_counter() - began)
        if not loss.isfinite():
            raise Failed(f"the loss of transformers' model is {loss.item()}")
        return median(took[1:])


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("--preset", default="124m", help="of kedge init (default %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--window", type=int, default=1024, help="tokens (default %(default)s)")
    parser.add_argument("--windows", type=int, default=4, help="of a step (default %(default)s)")
    parser.add_argument("--steps", type=int, default=1, help="of each in a round, after one that is not counted (default %(default)s)")
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    options = parser.parse_args()
    shape = ["--preset", options.preset, "--vocabulary", options.vocabulary]
    with tempfile.TemporaryDirectory(prefix="kedge-step-") as folder:
        torch, transformers = need("torch", folder, options.threads), need("transformers", folder, options.threads)
        run("init", f"{folder}/model", *shape, "--window", options.window)
        peer = Peer(torch, transformers, f"{folder}/model", options)
        ways, own = {"eager": []} if options.no_compile else {"eager": [], "compile": []}, []
        for _ in range(options.rounds):
            own += bench("step", *shape, "--window", options.window, "--windows", options.windows, "--steps", options.steps, "--threads", options.threads)
            for how, took in list(ways.items()):
                try:
                    took.append(peer.seconds(how, options.steps))
                except torch._dynamo.exc.TorchDynamoException as error:
                    print(f"torch.compile: {str(error).strip().splitlines()[0]}")
                    del ways[how]
    if peer.parameters != own[0]["parameters"]:
        raise Failed(f"transformers' model has {peer.parameters} parameters, kedge's {own[0]['parameters']}")
    tokens, kedge = options.window * options.windows, median([line["seconds"] for line in own])
    share, peak = median([line["share_of_peak"] for line in own]), median([line["peak_gflops"] for line in own])
    table = Table(f"A training step, float32, {peer.parameters} parameters, {options.windows} x {options.window} tokens, {options.threads} threads; "
                  f"medians of {options.rounds} rounds", ["program:40", "seconds:8", "tokens/s:8", "of peak:7", "kedge over it:13"])
    table.row("kedge", f"{kedge:.2f}", tokens / kedge, percent(share))
    results = Results(options.csv)
    for how, took in ways.items():
        seconds, times = median(took), median([theirs / line["seconds"] for theirs, line in zip(took, own)])
        name = f"torch {torch.__version__.split('+')[0]}, {how}, {peer.how}"
        table.row(name, f"{seconds:.2f}", tokens / seconds, percent(share * kedge / seconds), f"{times:.2f}")
        results.add(bench="peer step", variant=f"transformers {how}", form=f"{peer.parameters} parameters", mask="full", tokens=options.window,
                    windows=options.windows, threads=options.threads, value=tokens / seconds, unit="tokens/s", limit=peak,
                    ratio=share * kedge / seconds, kedge_over_peer=times)
    results.save()


main(body)
