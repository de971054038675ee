#!/usr/bin/env python3
"""What windows documents are packed into, and what a batch of them says. Python alone; the batch with PyTorch.

    python examples/python/pack.py"""
import kedge

BOS = 1
documents = [range(100, 106), range(200, 203), range(300, 311), range(400, 402)]

for mask in ("full", "document", "anchor"):
    print(f"mask {mask}:")
    for plan in kedge.Windows(documents, 12, mask=mask, bos=BOS, pad=0):
        spans = [f"{a}..{b - 1}" for a, b in zip(plan.start.tolist(), plan.start.tolist()[1:])]
        print(f"  documents at {', '.join(spans):20}  {plan.pairs} pairs")
        print("    tokens   ", *(f"{x:4d}" for x in plan.token))
        print("    positions", *(f"{x:4d}" for x in plan.position))
        print("    targets  ", *(f"{x:4d}" if x >= 0 else "   ." for x in plan.target))

try:
    import torch  # noqa: F401
except ImportError:
    print("a batch needs PyTorch")
else:
    for name, x in kedge.PackCollator(12, mask="anchor", bos=BOS, pad=0)(documents).items():
        print(f"{name}: {x.tolist() if hasattr(x, 'tolist') else x}")
