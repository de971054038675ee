#!/usr/bin/env python3
"""Makes tests/golden/rope.safetensors: what PyTorch, by transformers' own code for Llama, makes of rotary positions.

For KIND = default (theta 5e6, heads of 128), llama3 (theta 5e5, factor 8, heads of 64), yarn (theta 1e4, factor 32, heads
of 64, attention factor 1), with P positions sampled from 0 .. 131071 and one row of q and k each:

  KIND.positions [P] I32    KIND.inv_freq [E/2] F32     KIND.angles [P,E/2] F32: float32 position times inv_freq
  KIND.cos .sin [P,E/2] F32            of the angles, in float32
  KIND.cos_bf16 .sin_bf16 BF16         the same as a model in bf16 gets them
  KIND.cos_exact .sin_exact F32        of double angles, in double, rounded once
  KIND.q .k [P,E] F32
  KIND.q_f32 .k_f32 F32                apply_rotary_pos_emb in float32
  KIND.q_bf16_store BF16               that, rounded
  KIND.q_f16_store F16                 apply_rotary_pos_emb in float32 with the exact tables, rounded
  KIND.q_high .q_low BF16              the same as a sum of two
  KIND.q_bf16 .k_bf16 BF16             apply_rotary_pos_emb in bf16, q, k and tables rounded before

and of q_bf16, k_bf16, as eager_attention_forward goes on, causal:

  KIND.product BF16 [P,P]   q.k        KIND.logits BF16     times E^-1/2       KIND.probabilities BF16: softmax in float32
  KIND.v BF16 [P,E]                    KIND.out BF16        probabilities times v

    python tools/gen_golden_rope.py

Run with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0, numpy 2.4.6, one thread. Another machine
or version may change the last bits of cosines, sines, products and probabilities; what is elementwise stays.
"""
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

FILE = Path(__file__).resolve().parent.parent / "tests/golden/rope.safetensors"
P, WINDOW = 24, 131072
KINDS = {
    "default": (128, {"rope_type": "default", "rope_theta": 5e6}),
    "llama3": (64, {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    "yarn": (64, {"rope_type": "yarn", "rope_theta": 1e4, "factor": 32.0, "attention_factor": 1.0,
                  "original_max_position_embeddings": 4096}),
}


def sample_positions(generator):
    """The ends, and what lies between by powers of two, ascending."""
    between = [2 ** (i * 17 / (P - 4)) * (0.5 + torch.rand(1, generator=generator).item() / 2) for i in range(1, P - 3)]
    chosen = sorted({0, 1, WINDOW - 2, WINDOW - 1} | {int(x) + 1 for x in between})
    while len(chosen) < P:
        chosen = sorted(set(chosen) | {torch.randint(WINDOW, (1,), generator=generator).item()})
    return torch.tensor(chosen)


def rotate(q, k, cos, sin):
    """transformers' own, on rows: [P, E]"""
    q, k = apply_rotary_pos_emb(q[None, None], k[None, None], cos[None], sin[None])
    return q[0, 0], k[0, 0]


def tables_of(embedding, positions, dtype):
    cos, sin = embedding(torch.zeros(1, dtype=dtype), positions[None])
    assert cos.dtype == dtype
    return cos[0], sin[0]


def make(E, parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    config = LlamaConfig(hidden_size=4 * E, num_attention_heads=4, head_dim=E, max_position_embeddings=WINDOW,
                         rope_parameters=dict(parameters))
    embedding = LlamaRotaryEmbedding(config)
    assert embedding.attention_scaling == 1
    positions = sample_positions(generator)
    q, k, v = (torch.randn(P, E, generator=generator) for _ in range(3))
    k[0] *= 6
    half, out = E // 2, {}
    angles = positions[:, None].float() * embedding.inv_freq
    cos, sin = tables_of(embedding, positions, torch.float32)
    cos16, sin16 = tables_of(embedding, positions, torch.bfloat16)
    exact = positions[:, None].double() * embedding.inv_freq.double()
    cos64, sin64 = (torch.cat([f(exact)] * 2, -1).float() for f in (torch.cos, torch.sin))
    q32, k32 = rotate(q, k, cos, sin)
    q64, _ = rotate(q, k, cos64, sin64)
    qb, kb = rotate(q.bfloat16(), k.bfloat16(), cos16, sin16)
    high = q64.bfloat16()
    out |= {"positions": positions.int(), "inv_freq": embedding.inv_freq, "angles": angles}
    out |= {"cos": cos[:, :half], "sin": sin[:, :half], "cos_bf16": cos16[:, :half], "sin_bf16": sin16[:, :half],
            "cos_exact": cos64[:, :half], "sin_exact": sin64[:, :half]}
    out |= {"q": q, "k": k, "q_f32": q32, "k_f32": k32, "q_bf16_store": q32.bfloat16(), "q_f16_store": q64.half(),
            "q_high": high, "q_low": (q64 - high.float()).bfloat16(), "q_bf16": qb, "k_bf16": kb}
    product = qb @ kb.T
    logits = product * E ** -0.5
    mask = torch.full((P, P), torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16).triu(1)
    probabilities = torch.softmax(logits + mask, dim=-1, dtype=torch.float32).bfloat16()
    v = v.bfloat16()
    return out | {"product": product, "logits": logits, "probabilities": probabilities, "v": v, "out": probabilities @ v}


def main():
    torch.set_num_threads(1)
    tensors = {}
    for seed, (kind, (E, parameters)) in enumerate(KINDS.items(), start=40):
        tensors |= {f"{kind}.{name}": x.contiguous() for name, x in make(E, parameters, seed).items()}
    save_file(tensors, FILE)
    print(f"{FILE}: {len(tensors)} tensors, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
