#!/usr/bin/env python3
"""Goes on training a causal language model of transformers with AnchorAttention, on the CPU or a GPU, and saves it.

    python examples/python/hf_train.py MODEL DATA... --out DIR [--window 4096] [--steps 3] [--mask anchor] [--exact-rope]

MODEL: a folder or a name that transformers opens. DATA: JSON lines with "text" or "input_ids", or plain text files, one document each.
Needs torch, transformers and libkedge. The loop is plain PyTorch; with transformers' Trainer the collator is the same (docs/python.md)."""
import argparse
import itertools
import json
from pathlib import Path

import kedge
import kedge.hf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def documents(paths, tokenizer):
    """Token ids of each document, without a BOS: the windows have the anchor."""
    for path in map(Path, paths):
        lines = map(json.loads, path.open()) if path.suffix == ".jsonl" else [{"text": path.read_text()}]
        for line in lines:
            yield line["input_ids"] if "input_ids" in line else tokenizer(line["text"], add_special_tokens=False)["input_ids"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=1, help="windows in a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--mask", default="anchor", choices=("full", "document", "anchor"))
    parser.add_argument("--reset", action="store_true", help="positions from 0 in each document")
    parser.add_argument("--exact-rope", action="store_true", help="kedge rotates queries and keys, exactly")
    options = parser.parse_args()

    kedge.hf.register()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(options.model, attn_implementation="kedge", dtype=torch.float32).to(device).train()
    if options.exact_rope:
        kedge.hf.exact_rope(model)
    texts = [path for path in options.data if not path.endswith(".jsonl") or "input_ids" not in json.loads(next(open(path)))]
    tokenizer = AutoTokenizer.from_pretrained(options.model) if texts else None
    bos = model.config.bos_token_id if model.config.bos_token_id is not None else model.config.eos_token_id

    collator = kedge.PackCollator(options.window, mask=options.mask, bos=bos, reset=options.reset)
    rows = list(collator.rows(documents(options.data, tokenizer)))
    if len(rows) < options.batch:
        raise SystemExit(f"hf_train.py: the documents fill {len(rows)} windows of {options.window}, a step takes {options.batch}")
    loader = torch.utils.data.DataLoader(rows, batch_size=options.batch, shuffle=True, drop_last=True, collate_fn=collator,
                                         generator=torch.Generator().manual_seed(1))
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=options.lr,
                                  betas=(0.9, 0.95))
    for step, batch in enumerate(itertools.islice(batches, options.steps), 1):
        # cu_seqlens stays on the host, where it is read
        batch = {name: x.to(device) if torch.is_tensor(x) and name != "cu_seqlens" else x for name, x in batch.items()}
        loss = model(**batch).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}  loss {loss:.4f}  gradient norm {norm:.3f}")
    model.save_pretrained(options.out)
    if tokenizer:
        tokenizer.save_pretrained(options.out)
    print(f"saved: {options.out}")


if __name__ == "__main__":
    main()
