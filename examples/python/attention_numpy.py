#!/usr/bin/env python3
"""An anchor and three documents in one window, on numpy's arrays: attention forward and backward, then the second document replaced.

    python examples/python/attention_numpy.py"""
import numpy as np

import kedge

H, G, E = 8, 2, 64  # query heads, key/value heads, head size
documents = [range(100, 148), range(200, 217), range(300, 363)]
plan = kedge.Plan.of(documents, mask="anchor", bos=1)
rope = kedge.Rope.default(E, theta=500000.0)
print(f"{plan.T} tokens: the anchor and {plan.N} documents; {plan.pairs} pairs see each other, {plan.T * (plan.T + 1) // 2} if it were one text")

# One array, as a fused projection makes it: q, k and v are views of it, and so are their gradients.
draw = np.random.default_rng(0)
fused = draw.standard_normal((plan.T, H + 2 * G, E), dtype=np.float32)
gradient = np.empty_like(fused)
q, k, v = np.split(fused, [H, H + G], axis=1)
dq, dk, dv = np.split(gradient, [H, H + G], axis=1)

o, lse = kedge.attention_forward(q, k, v, plan, rope)
dout = draw.standard_normal(o.shape, dtype=np.float32)
kedge.attention_backward(dout, q, k, v, o, lse, plan, rope, dq=dq, dk=dk, dv=dv)
for n, (start, end) in enumerate(zip(plan.start, plan.start[1:]), 1):
    print(f"document {n}: tokens {start} to {end - 1}, |o| {np.linalg.norm(o[start:end]):.4f}, |dv| {np.linalg.norm(dv[start:end]):.4f}")

before = o.copy()
start, end = plan.start[1], plan.start[2]
fused[start:end, H:] = draw.standard_normal((end - start, 2 * G, E))
kedge.attention_forward(q, k, v, plan, rope, out=o)
said = ["has the same bits" if (o[a:b] == before[a:b]).all() else "changed" for a, b in zip(plan.start, plan.start[1:])]
print("document 2 replaced: " + ", ".join(f"document {n} {what}" for n, what in enumerate(said, 1)))
