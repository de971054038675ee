#!/usr/bin/env python3
"""A prompt read and tokens written by transformers on PyTorch beside kedge, the two taking turns on one folder.

    PYTHON bench/peers/torch_decode.py --model DIR

PYTHON has the packages of bench/requirements.txt; DIR is a Hugging Face folder, for example of bench/random_model.py. transformers
computes in bf16, as the weights are stored, and in float32 where twice the weights fit into memory; kedge computes in float32 with
weights as they are stored, and keeps keys and values in float32. Attention is SDPA; the cache is transformers' own.
"""
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from measure import Results, Table, bench, main, median, need, peer_arguments, percent


class Peer:
    def __init__(self, torch, transformers, folder, dtype, prompt):
        transformers.utils.logging.disable_progress_bar()
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval()
        self.ids = torch.randint(self.model.config.vocab_size, (1, prompt), generator=torch.Generator().manual_seed(1))

    def read(self, sequences):
        """Seconds of the prompt in each of the sequences, and its cache."""
        ids = self.ids.expand(sequences, -1)
        began = time.perf_counter()
        out = self.model(ids, use_cache=True, logits_to_keep=1)
        return time.perf_counter() - began, out

    def seconds(self, sequences, tokens):
        """Of one prompt, and the median step of so many sequences at once."""
        with self.torch.inference_mode():
            took, out = self.read(1)
            if sequences > 1:
                _, out = self.read(sequences)
            steps = []
            for _ in range(tokens):
                began = time.perf_counter()
                out = self.model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
                steps.append(time.perf_counter() - began)
        return took, median(steps)


def body():
    parser = peer_arguments(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", type=int, default=512, help="tokens (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=12, help="written (default %(default)s)")
    parser.add_argument("--batch", default="1,8", help="sequences at once (default %(default)s)")
    parser.add_argument("--dtype", default="bfloat16,float32", help="of transformers (default %(default)s)")
    options = parser.parse_args()
    batches = [int(n) for n in options.batch.split(",")]
    with tempfile.TemporaryDirectory(prefix="kedge-decode-") as folder:
        torch, transformers = need("torch", folder, options.threads), need("transformers", folder, options.threads)
        peers = {dtype: Peer(torch, transformers, options.model, dtype, options.prompt) for dtype in options.dtype.split(",")}
        own, theirs = [], {(dtype, n): [] for dtype in peers for n in batches}
        for _ in range(options.rounds):
            own += bench("decode", "--model", options.model, "--prompt", options.prompt, "--tokens", options.tokens, "--batch", options.batch,
                         "--threads", options.threads)
            for dtype, n in theirs:
                theirs[dtype, n].append(peers[dtype].seconds(n, options.tokens))
    peak, memory = median([line["peak_gflops"] for line in own]), median([line["peak_gbytes"] for line in own])
    table = Table(f"{own[0]['parameters']} parameters, a prompt of {options.prompt}, {options.threads} threads; FMA peak {peak:.0f} GF/s, memory "
                  f"{memory:.1f} GB/s; medians of {options.rounds} rounds",
                  ["program:26", "prompt tokens/s:15", "of peak:7", "sequences:9", "tokens/s:9", "of memory:9", "kedge over it, prompt:21", "writing:7"])
    read = median([line["prompt_seconds"] for line in own])
    results = Results(options.csv)
    steps = {}
    for i, n in enumerate(batches):
        steps[n] = [line["steps"][i]["seconds"] for line in own]
        share = median([line["steps"][i]["share_of_bandwidth"] for line in own])
        table.row("kedge", options.prompt / read, percent(median([line["gflops"] / line["peak_gflops"] for line in own])), n, n / median(steps[n]), percent(share))
        results.add(bench="decode", variant="kedge", form=f"{own[0]['parameters']} parameters", tokens=options.prompt, windows=n, threads=options.threads,
                    value=n / median(steps[n]), unit="tokens/s", limit=memory, ratio=share)
    for (dtype, n), took in theirs.items():
        prompt, step = median([line[0] for line in took]), median([line[1] for line in took])
        over = [median([t[k] / o for t, o in zip(took, mine)]) for k, mine in enumerate(([line["prompt_seconds"] for line in own], steps[n]))]
        table.row(f"transformers, {dtype}", options.prompt / prompt, "", n, n / step, "", f"{over[0]:.2f}", f"{over[1]:.2f}")
        for k, (what, value) in enumerate([("prompt", options.prompt / prompt), ("writing", n / step)]):
            results.add(bench="peer decode", variant=f"transformers {dtype} {what}", form=f"{own[0]['parameters']} parameters", tokens=options.prompt,
                        windows=n, threads=options.threads, value=value, unit="tokens/s", limit=memory, kedge_over_peer=over[k])
    results.save()


main(body)
