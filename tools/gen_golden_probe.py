#!/usr/bin/env python3
"""Makes tests/golden/probe.safetensors and dump_small.safetensors: the probe's numbers, straight from their definitions.

D, D_logit: src/probe/probe.h. A pair of shifts has the index b * S + s: shift[s] with a base, b = 0: shift[0], b = 1: 16.
Numbers are F64 where nothing else is said.

Isolated: queries and keys turned at each shift by PyTorch's elementwise operations in the precision's own types; what follows
is in double. L 2, H 4, G 2, T 48, E 32, S 5, the first key six times larger, scale E^-1/2.

  q [L,H,T,E] k [L,G,T,E] F32   inv_freq [E/2] F32: theta 1e4, transformers' own   shifts [S] I64   lengths [4] I64
  for every precision P of the ladder (docs/numerics.md):
  P.d        [L,H,2S]  D
  P.d_signed [L,H,2S]  the same of |sum_i change| / n_j
  P.rows     [L,H,2S]  mean over queries of sum_j |change|
  P.most     [2S]      the largest |change| of a logit, with the scale (bf16-eager: both rounded)
  P.key      [T]       D_j between 0 and 16, layers and heads summed
  P.logit    [4]       D_logit between 0 and 16 by length, layers and heads summed; bf16-eager: of q.k as it is rounded
  P.sink     [L,H]     at shift 0, mean over the queries behind it of the attention on the first key

The dump, a file for `kedge probe --dump`: L 2, H 4, G 2, T 24, E 16, shifts 0 and 16, turned as bf16 is. Its scale, 0.3, is not
E^-1/2, so that who does not read it is found out.

  dump_small.safetensors: layers.l.q.d [H,T,E], layers.l.k.d [G,T,E] BF16; metadata format, model, precision, scale
  dump.d .d_signed .rows .sink [L,H]   dump.key [T]   dump.most [1]   dump.logit [1]: of all T   between 0 and 16, as above

Propagated: the models M = llama-plain and llama-grouped of tests/golden in transformers, eager attention, 64 tokens.

  tokens [64] I32
  M.sink [L,H]  M.d [L,H,2]  M.key [2,T]   float32; d and key between 0 and 16, 0 and 4096
  M.attention [T,T]        float32, widened: layer 1, head 1 at shift 0
  M.exact.sink, M.exact.attention          the same, all in double: exact
  M.angles.d, M.angles.key                 all in double, but cosines and sines those of float32 angles: f32-angle

What may be asked of another program:
- isolated and dump: what is kept of queries and keys is defined to the bit (exact: if the rotation is not fused), and what
  follows is in double, so the numbers come out again to 1e-8 of themselves (exact, whose differences are the smallest: 2e-9 was
  seen; split 2e-11; the rest less). A cosine from another library may round the other way once in 10^8.
- q.k summed in float32 instead, in four orders, moves bf16's D of a head by 5e-6 of itself at most, of all heads by 8e-7. Of
  bf16-eager's q.k about 5 in a million are then rounded the other way; here one, which D does not see. One that it sees moves
  its head's by up to 1e-3.
- M.attention is within 9.2e-7 of M.exact.attention, the same of M.angles within 1.3e-7, so 2e-6 bounds exact and f32-angle
  alike; the sinks are within 2.1e-8.
- M.d is not met again exactly: it holds float32's rounding of everything, which is another one in another order of summation.
  Between 0 and 16 that is most of it (M.d is 2.8 and 4.6 times M.angles.d): its size is all that compares. Between 0 and 4096
  the angles are nearly all of it, and they are the same everywhere: within 2% of M.angles.d by head, 0.5% summed over heads.
  In double exact's D is 2e-14.

    python tools/gen_golden_probe.py

Run with Python 3.11.7, torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8.0, one thread. Two runs on one machine give
the same bytes; another machine or version may change the last bits.
"""
import json
from pathlib import Path
from types import MethodType
from typing import NamedTuple

import torch
from safetensors.torch import save
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils import logging

from gen_golden import BOS, FIRST_WORD, Definition, Window

GOLDEN = Path(__file__).resolve().parent.parent / "tests/golden"
AGAINST = 16
SHIFTS, LENGTHS = [0, 5, AGAINST, 1000, 131072], [8, 16, 32, 48]
PRECISIONS = ["exact", "f32-angle", "split", "f16-store", "bf16-store", "bf16", "bf16-eager"]
MODELS, MODEL_SHIFTS, MODEL_T, LAYER, HEAD = ["llama-plain", "llama-grouped"], [0, AGAINST, 4096], 64, 1, 1
DUMP_SCALE = 0.3


# ---- the ladder ---------------------------------------------------------------------------------------------------

def tables(precision, inv_freq, positions):
    """Cosines and sines [T,E/2] in the type that the rotation multiplies in."""
    if precision in ("exact", "split", "f16-store"):
        angles = positions[:, None].double() * inv_freq.double()
    else:
        angles = (positions[:, None].float() * inv_freq).double()
    kind = torch.bfloat16 if precision in ("bf16", "bf16-eager") else torch.float32
    return angles.cos().float().to(kind), angles.sin().float().to(kind)


def turned(x, cos, sin):
    """Every product and every sum is rounded to x's type: PyTorch fuses nothing here."""
    assert x.dtype == cos.dtype == sin.dtype
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def kept(precision, x, inv_freq, positions):
    """What the precision keeps of x [..,T,E] at these positions: one tensor, split: two."""
    cos, sin = tables(precision, inv_freq, positions)
    y = turned(x.to(cos.dtype), cos, sin)
    if precision == "split":
        high = y.bfloat16()
        return high, (y - high.float()).bfloat16()
    return y.to({"f16-store": torch.float16, "bf16-store": torch.bfloat16}.get(precision, y.dtype)),


# ---- attention from what is kept, and how two differ ----------------------------------------------------------------

class Attention(NamedTuple):
    product: torch.Tensor      # [L,H,T,T] q.k
    logits: torch.Tensor       # [L,H,T,T] that times the scale
    probability: torch.Tensor  # [L,H,T,T]


def sum_in_double(q, k):
    """[..,T,T] q.k"""
    return q.double() @ k.double().mT


def multiplied(queries, keys, dot):
    """split leaves out low.low"""
    if len(queries) == 1:
        return dot(queries[0], keys[0])
    (q, q_low), (k, k_low) = queries, keys
    return dot(q, k) + dot(q, k_low) + dot(q_low, k)


def attention(queries, keys, scale, eager=False, dot=sum_in_double):
    """queries: tensors [L,H,T,E] whose sum they are; keys: [L,G,T,E]. eager: rounded as eager PyTorch does in bf16."""
    H, G = queries[0].shape[1], keys[0].shape[1]
    read = torch.arange(H) * G // H
    product = multiplied(queries, [k[:, read] for k in keys], dot)
    if eager:
        product = product.to(torch.bfloat16)
        logits = (product * scale).double()  # a bf16 tensor times a number: in float32, then rounded
        product = product.double()
    else:
        product = product.double()
        logits = product * scale
    T = logits.shape[-1]
    unseen = torch.ones(T, T, dtype=torch.bool).triu(1)
    probability = logits.masked_fill(unseen, -torch.inf).softmax(-1)
    if eager:
        probability = probability.to(torch.bfloat16).double()
    return Attention(product, logits, probability)


def d_by_key(p, other, signed=False):
    """D_j [L,H,T] between two attentions [L,H,T,T]. Key j is seen by the T - j queries from it on."""
    T = p.shape[-1]
    change = p - other
    total = change.sum(-2).abs() if signed else change.abs().sum(-2)
    return total / torch.arange(T, 0, -1)


def between(one, other):
    """{name: number} of one pair"""
    p, r = one.probability, other.probability
    seen = torch.ones(p.shape[-2:], dtype=torch.bool).tril()
    return {"d": d_by_key(p, r).sum(-1), "d_signed": d_by_key(p, r, signed=True).sum(-1),
            "rows": (p - r).abs().sum(-1).mean(-1), "most": (one.logits - other.logits)[..., seen].abs().max()}


def d_logit(one, other, length):
    change = (one.product - other.product)[..., :length, 0].abs()  # causal: a prefix has the text's own logits
    return change.sum() / length


def sink(probability):
    return probability[..., 1:, 0].mean(-1)


def main_pair(zero, against, lengths):
    """What is told of the pair 0 and 16 alone, and of 0."""
    return {"key": d_by_key(zero.probability, against.probability).sum((0, 1)), "sink": sink(zero.probability),
            "logit": torch.stack([d_logit(zero, against, length) for length in lengths])}


# ---- isolated ---------------------------------------------------------------------------------------------------------

def random_heads(L, H, G, T, E, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(L, H, T, E, generator=generator), torch.randn(L, G, T, E, generator=generator)
    k[:, :, 0] *= 6
    return q, k


def frequencies(E):
    return LlamaRotaryEmbedding(LlamaConfig(hidden_size=4 * E, num_attention_heads=4, head_dim=E,
                                            rope_parameters={"rope_type": "default", "rope_theta": 1e4})).inv_freq


def isolated_runs(precision, q, k, inv_freq, dot=sum_in_double):
    """{shift: Attention}"""
    T, E = q.shape[-2:]
    runs = {}
    for shift in SHIFTS:
        positions = torch.arange(T) + shift
        runs[shift] = attention(kept(precision, q, inv_freq, positions), kept(precision, k, inv_freq, positions), E ** -0.5,
                                eager=precision == "bf16-eager", dot=dot)
    return runs


def every_pair(runs):
    pairs = [between(runs[base], runs[shift]) for base in (SHIFTS[0], AGAINST) for shift in SHIFTS]
    return {name: torch.stack([pair[name] for pair in pairs], dim=-1) for name in pairs[0]}


def make_isolated():
    q, k = random_heads(L=2, H=4, G=2, T=48, E=32, seed=60)
    inv_freq = frequencies(32)
    out = {"q": q, "k": k, "inv_freq": inv_freq, "shifts": torch.tensor(SHIFTS), "lengths": torch.tensor(LENGTHS)}
    for precision in PRECISIONS:
        runs = isolated_runs(precision, q, k, inv_freq)
        numbers = every_pair(runs) | main_pair(runs[0], runs[AGAINST], LENGTHS)
        out |= {f"{precision}.{name}": x for name, x in numbers.items()}
        print(f"  {precision:11s} D from 0 to " +
              ", ".join(f"{s}: {d:.3g}" for s, d in zip(SHIFTS, numbers["d"].sum((0, 1)).tolist()) if s) +
              f"; largest change of a logit {numbers['most'].max():.2g}; first key {numbers['key'][0]:.2g}, "
              f"median {numbers['key'].median():.2g}")
    return out


# ---- how much the order of summation is worth ---------------------------------------------------------------------------

def sum_in_order(q, k, order):
    """q.k in float32, one product after another: each is exact where both are bf16."""
    q, k = q.float(), k.float()
    total = torch.zeros(*q.shape[:-1], k.shape[-2])
    for e in order:
        total += q[..., :, e, None] * k[..., None, :, e]
    return total


def sum_by_halves(q, k):
    """The same as a tree."""
    terms = q.float()[..., :, None, :] * k.float()[..., None, :, :]
    while terms.shape[-1] > 1:
        a, b = terms.chunk(2, dim=-1)
        terms = a + b
    return terms[..., 0]


def say_order_of_summation(q, k, inv_freq):
    E = q.shape[-1]
    orders = {"ascending": lambda a, b: sum_in_order(a, b, range(E)), "a tree": sum_by_halves,
              "descending": lambda a, b: sum_in_order(a, b, range(E - 1, -1, -1)),
              "PyTorch's matmul": lambda a, b: a.float() @ b.float().mT, "PyTorch's in bf16": lambda a, b: a @ b.mT}
    for precision in ("bf16", "bf16-eager"):
        want = isolated_runs(precision, q, k, inv_freq)
        for name, dot in orders.items():
            if precision == "bf16" and "bf16" in name:
                continue  # it rounds what bf16 does not
            got = isolated_runs(precision, q, k, inv_freq, dot)
            differ = sum((got[s].product != want[s].product).sum().item() for s in SHIFTS)
            d, exact = every_pair(got)["d"], every_pair(want)["d"]
            print(f"  {precision}, q.k in float32, {name}: {differ} of {len(SHIFTS) * want[0].product.numel()} products differ, "
                  f"D of a head moves by {moved(d, exact):.1e} of itself at most, summed over heads by "
                  f"{moved(d.sum((0, 1)), exact.sum((0, 1))):.1e}")


def moved(x, want):
    """The largest |x - want| / want, but of a shift beside itself, which has neither."""
    return ((x - want).abs() / want.where(want > 0, 1)).max().item()


# ---- a dump -------------------------------------------------------------------------------------------------------------

def file_bytes(tensors, metadata):
    """safetensors' own, but with metadata in one order: the library's is another one each time."""
    made = save({name: x.contiguous() for name, x in tensors.items()}, metadata=metadata)
    length = int.from_bytes(made[:8], "little")
    header = json.loads(made[8:8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= length
    return made[:8] + text.ljust(length) + made[8 + length:]


def make_dump():
    """The dump's tensors, and what is to be expected of it."""
    L, T, E = 2, 24, 16
    q, k = random_heads(L=L, H=4, G=2, T=T, E=E, seed=61)
    dump, runs = {}, {}
    for shift in (0, AGAINST):
        queries, keys = (kept("bf16", x, frequencies(E), torch.arange(T) + shift)[0] for x in (q, k))
        runs[shift] = attention([queries], [keys], DUMP_SCALE)
        for layer in range(L):
            dump |= {f"layers.{layer}.q.{shift}": queries[layer], f"layers.{layer}.k.{shift}": keys[layer]}
    numbers = between(runs[0], runs[AGAINST]) | main_pair(runs[0], runs[AGAINST], [T])
    return dump, {f"dump.{name}": x.reshape(1) if x.ndim == 0 else x for name, x in numbers.items()}


# ---- propagated -----------------------------------------------------------------------------------------------------------

def attend_in_double(module, query, key, value, attention_mask, scaling, **kwargs):
    """transformers' eager attention takes the softmax in float32 whatever the model is in."""
    key, value = (x.repeat_interleave(module.num_key_value_groups, dim=1) for x in (key, value))
    T = query.shape[-2]
    unseen = torch.ones(T, T, dtype=torch.bool).triu(1)
    p = (query @ key.mT * scaling).masked_fill(unseen, -torch.inf).softmax(-1)
    return (p @ value).transpose(1, 2).contiguous(), p


AttentionInterface.register("double", attend_in_double)


def norm_in_double(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotary_in_double(float32_angles):
    def forward(self, x, position_ids):
        angles = position_ids[..., None].double() * self.inv_freq.double()
        if float32_angles:
            angles = angles.float().double()  # the product is exact in double, so it is rounded once
        cos, sin = (torch.cat([f, f], dim=-1) for f in (angles.cos(), angles.sin()))
        return (cos.float().double(), sin.float().double()) if float32_angles else (cos, sin)
    return forward


def open_model(name, kind):
    """kind: "float32": as it is; "exact", "angles": what goes to float32 by itself is replaced."""
    model = AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32,
                                                 attn_implementation="eager" if kind == "float32" else "double")
    if kind != "float32":
        model.double()
        for module in model.modules():
            if type(module).__name__.endswith("RMSNorm"):
                module.forward = MethodType(norm_in_double, module)
        rotary = model.model.rotary_emb
        assert rotary.attention_scaling == 1
        rotary.forward = MethodType(rotary_in_double(kind == "angles"), rotary)
    return model


@torch.no_grad()
def model_runs(model, tokens):
    """{shift: probabilities [L,H,T,T] in double} and logits; positions are looked for where they are turned by."""
    runs, met = {}, []
    hook = model.model.rotary_emb.register_forward_hook(lambda module, args, kwargs, out: met.append((args, kwargs, out)),
                                                        with_kwargs=True)
    for shift in MODEL_SHIFTS:
        positions = torch.arange(MODEL_T) + shift
        out = model(input_ids=tokens[None], position_ids=positions[None], output_attentions=True, use_cache=False)
        args, kwargs, (cos, _) = met.pop()
        assert torch.equal(kwargs.get("position_ids", args[-1])[0], positions)
        want = (positions[:, None] * model.model.rotary_emb.inv_freq.double()).cos()
        assert (cos[0, :, :want.shape[-1]].double() - want).abs().max() < 5e-4
        p = torch.stack([layer[0] for layer in out.attentions]).double()
        assert p.triu(1).abs().max() == 0 and (p.sum(-1) - 1).abs().max() < 1e-6
        runs[shift] = p
        logits = out.logits[0]
    hook.remove()
    return runs, logits


def check_against_definition(name, tokens, last_logits):
    """gen_golden's definition in double knows nothing of transformers: the same logits, at the last shift."""
    T = torch.arange(MODEL_T)
    define = Definition.of(open_model(name, "float32"))
    want = define.logits(Window(tokens, T, T + MODEL_SHIFTS[-1], torch.zeros_like(T), T)).detach()
    assert (last_logits - want).abs().max() < 1e-11 * want.abs().max()


def make_propagated():
    tokens = torch.randint(FIRST_WORD, 97, (MODEL_T,), generator=torch.Generator().manual_seed(62))
    tokens[0] = BOS
    out = {"tokens": tokens.int()}
    for name in MODELS:
        d, runs = {}, {}
        for kind in ("float32", "exact", "angles"):
            runs[kind], logits = model_runs(open_model(name, kind), tokens)
            zero = runs[kind][0]
            by_key = torch.stack([d_by_key(zero, runs[kind][shift]) for shift in MODEL_SHIFTS[1:]])  # [2,L,H,T]
            d[kind] = by_key.sum(-1).permute(1, 2, 0)
            prefix = name if kind == "float32" else f"{name}.{kind}"
            if kind != "exact":
                out |= {f"{prefix}.d": d[kind], f"{prefix}.key": by_key.sum((1, 2))}
            if kind != "angles":
                out |= {f"{prefix}.sink": sink(zero), f"{prefix}.attention": zero[LAYER, HEAD]}
            if kind == "exact":
                check_against_definition(name, tokens, logits)
        say_propagated(name, d, runs)
    return out


def say_propagated(name, d, runs):
    for kind in ("float32", "angles"):
        apart = (runs[kind][0] - runs["exact"][0]).abs()
        print(f"  {name}: attention at shift 0, {kind} against double: {apart.max():.1e}, of layer {LAYER}, head {HEAD} "
              f"{apart[LAYER, HEAD].max():.1e}, sink {(sink(runs[kind][0]) - sink(runs['exact'][0])).abs().max():.1e}")
    for i, shift in enumerate(MODEL_SHIFTS[1:]):
        exact, float32, angles = (d[kind][..., i] for kind in ("exact", "float32", "angles"))
        print(f"    0 and {shift}: D float32 {float32.sum():.4g}, angles alone {angles.sum():.4g}, ratio "
              f"{float32.sum() / angles.sum():.5f}, by head {(float32 / angles).min():.4f} to {(float32 / angles).max():.4f}; "
              f"double {exact.sum():.1e}")
        assert exact.max() < 1e-11


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print("isolated")
    out = make_isolated()
    say_order_of_summation(out["q"], out["k"], out["inv_freq"])
    print("propagated")
    out |= make_propagated()
    dump, expected = make_dump()
    out |= expected
    files = {"probe.safetensors": (out, {"format": "pt"}),
             "dump_small.safetensors": (dump, {"format": "pt", "model": "random", "precision": "bfloat16 (PyTorch)",
                                               "scale": repr(DUMP_SCALE)})}
    for name, (tensors, metadata) in files.items():
        path = GOLDEN / name
        path.write_bytes(file_bytes(tensors, metadata))
        print(f"{path.stat().st_size:8d}  {name}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
