#!/usr/bin/env python3
"""A small language model whose attention is kedge's, trained on packed windows with PyTorch, as it is and compiled: one graph, the same losses.

    python examples/python/attention_torch.py [--backend inductor] [--device cpu]

backend: torch.compile's; "aot_eager" needs no compiler."""
import argparse

import torch
from torch import nn

import kedge
from kedge.torch import Layout, attention

C, H, G, E, V = 64, 4, 2, 16, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(C), nn.RMSNorm(C)])
        self.qkv, self.out = nn.Linear(C, (H + 2 * G) * E, bias=False), nn.Linear(H * E, C, bias=False)
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.SiLU(), nn.Linear(4 * C, C))
        self.rope = kedge.Rope.default(E)

    def forward(self, x, layout):
        # [B, H, T, E], all views of one projection: nothing is copied on the way in.
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (-1, E)).transpose(1, 2).split([H, G, G], 1)
        x = x + self.out(attention(q, k, v, layout, self.rope).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.blocks, self.norm = nn.Embedding(V + 1, C), nn.ModuleList(Block() for _ in range(2)), nn.RMSNorm(C)
        nn.init.normal_(self.embedding.weight, std=0.1)  # of the head too

    def forward(self, ids, target, layout):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, layout)
        logits = self.norm(x) @ self.embedding.weight.T
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)


def train(batches, device, backend=None):
    torch.manual_seed(1)
    model = Model().to(device)
    step = torch.compile(model, backend=backend, fullgraph=True) if backend else model
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for b in batches:
        # Document starts and positions stay on the host: the plan is read there.
        loss = step(b["input_ids"].to(device), b["shift_labels"].to(device), Layout(b["cu_seqlens"], b["position_ids"], b["anchors"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


options = argparse.ArgumentParser()
options.add_argument("--backend", default="inductor")
options.add_argument("--device", default="cpu")
options = options.parse_args()

# The lines of this program are the documents, their bytes the tokens.
documents = [list(line) for line in open(__file__, "rb").read().splitlines() if line]
windows = kedge.Windows(documents, 256, mask="anchor", bos=V)
collator = kedge.PackCollator()
batches = [collator([windows.trained(2 * step), windows.trained(2 * step + 1)]) for step in range(24)]  # the order that kedge trains in
eager, compiled = train(batches, options.device), train(batches, options.device, options.backend)
print(f"loss of {len(eager)} steps: {eager[0]:.4f} to {eager[-1]:.4f}; compiled: {compiled[0]:.4f} to {compiled[-1]:.4f}")
assert eager[-1] < eager[0] and max(abs(a - b) for a, b in zip(eager, compiled)) < 1e-3
