#!/usr/bin/env python3
"""Makes tests/golden: tiny random models and what Hugging Face transformers computes with them.

Each folder is a model as transformers saves it (config.json is then put into the dialect of one version or another),
with one or two more files that say what is to be expected of it:

  expected.safetensors         one window under plain causal attention (mask full)
    tokens  [T] I32     targets [T] I32, -1: no loss     inv_freq [E/2] F32, attention_factor [1] F64: of this window
    logits  [T,V] F32   loss [1] F64, the mean over targets
    grad.NAME F32       of that loss, one for every tensor NAME of the model; tied embeddings have one, of both uses
    adamw_losses [10] F64, adamw_grad_norms [10] F64    before each of ten steps on this window, norms before clipping
  expected_packed.safetensors  one window of four (interleaved: two) documents for each mask, in window order
    MASK.tokens, MASK.targets, MASK.positions [T] I32
    MASK.document [T] I32, -1: the shared anchor         MASK.role [T] I32, 0: BOS or anchor, 1: tag, 2: text
    MASK.logits [T,V] F32   MASK.loss [1] F64   MASK.grad.NAME F32 for the tensors of PACKED_GRADIENTS

rope_frequencies.json holds what transformers makes of configurations of every RoPE type at several lengths:
    {"config": config.json's part, "head": E, "length", "inv_freq": [E/2], "attention_factor"}, one a line

Everything is float32 on one thread, except that the loss is taken from the logits in double. Beside it stands a
definition in double, written here from the papers: the report says how far float32 is from it, and how far the logits
move when a part of the model is taken away, which is what makes a file worth testing against.

    python tools/gen_golden.py                     all of tests/golden
    python tools/gen_golden.py --only qwen2        one folder of it; --only frequencies: rope_frequencies.json

Run with Python 3.11.7, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6. The same seed gives the same
random numbers; the last bits of what is computed belong to the machine and the versions.
"""
import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils import logging

BOS, EOS, FIRST_WORD = 1, 2, 3
PACKED_T = 50  # no multiple of any block
PACKED_GRADIENTS = ["model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                    "model.layers.0.input_layernorm.weight"]


# ---- the models -------------------------------------------------------------------------------------------------

@dataclass
class Case:
    seed: int
    window: int                 # T of the plain window
    family: type
    shape: dict                 # what the configuration is made with
    edit: callable              # what is rewritten in config.json, so that every dialect is met
    max_shard_size: str = "1GB"
    packed: bool = False
    twists: list = field(default_factory=list)  # more ways to be wrong, for the report


def as_llama_2(config):
    """Llama 2's own config.json: no theta (the default holds), no head size, torch_dtype."""
    del config["rope_parameters"], config["head_dim"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")


def as_version_4(config):
    """transformers 4: theta on top, rope_scaling beside it, torch_dtype."""
    config["rope_scaling"] = config.pop("rope_parameters")
    config["rope_theta"] = config["rope_scaling"].pop("rope_theta")
    config["torch_dtype"] = config.pop("dtype")


def as_early_version_4(config):
    """The same with "type", as before 4.43."""
    as_version_4(config)
    config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")


def as_version_5(config):
    """transformers 5 as it is: rope_parameters with theta inside, dtype."""


def with_unused_window(config):
    """Published Qwen2 models keep the window that use_sliding_window: false turns off; the library drops it."""
    config["sliding_window"] = 16


def rope(theta, **scaling):
    return {"rope_theta": theta, "rope_type": "default", **scaling}


# Heads of 16, whose pairs are enough to see a ramp.
ROPE_SHAPE = dict(vocab_size=61, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=True)

CASES = {
    "llama-plain": Case(
        seed=1, window=96, family=LlamaForCausalLM, edit=as_llama_2,
        shape=dict(vocab_size=97, hidden_size=32, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=False, max_position_embeddings=128,
                   rope_parameters=rope(1e4))),
    "llama-grouped": Case(
        seed=2, window=211, family=LlamaForCausalLM, edit=as_version_4, packed=True,
        shape=dict(vocab_size=131, hidden_size=48, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
                   num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True,
                   max_position_embeddings=512,
                   rope_parameters=rope(5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                        original_max_position_embeddings=64)),
        twists=["scaling ignored", "head h reads group h mod G"]),
    "llama-linear": Case(
        seed=3, window=96, family=LlamaForCausalLM, edit=as_version_5, max_shard_size="40KB",
        shape=dict(vocab_size=97, hidden_size=32, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4,
                   num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False, max_position_embeddings=512,
                   rope_parameters=rope(1e4, rope_type="linear", factor=4.0)),
        twists=["scaling ignored", "head h reads group h mod G"]),
    "qwen2": Case(
        seed=4, window=96, family=Qwen2ForCausalLM, edit=with_unused_window, packed=True,
        shape=dict(vocab_size=101, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=True, max_position_embeddings=256,
                   use_sliding_window=False, max_window_layers=1, rope_parameters=rope(1e6)),
        twists=["head h reads group h mod G", "no biases", "a window of 16"]),
    "mistral": Case(  # the widest sliding window that hides something would be 79
        seed=5, window=80, family=MistralForCausalLM, edit=as_version_4,
        shape=dict(vocab_size=61, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                   num_key_value_heads=1, head_dim=12, rms_norm_eps=1e-5, tie_word_embeddings=False,
                   max_position_embeddings=256, sliding_window=80, rope_parameters=rope(1e4)),
        twists=["a window of 16", "a window one short"]),
    "rope-dynamic": Case(
        seed=6, window=80, family=LlamaForCausalLM, edit=as_early_version_4,
        shape=dict(ROPE_SHAPE, max_position_embeddings=32, rope_parameters=rope(1e4, rope_type="dynamic", factor=4.0)),
        twists=["scaling ignored"]),
    "rope-yarn": Case(
        seed=7, window=80, family=LlamaForCausalLM, edit=as_version_5, packed=True,
        shape=dict(ROPE_SHAPE, max_position_embeddings=512,
                   rope_parameters=rope(1e4, rope_type="yarn", factor=8.0, original_max_position_embeddings=64)),
        twists=["scaling ignored", "attention factor ignored"]),
    "rope-longrope": Case(
        seed=9, window=80, family=LlamaForCausalLM, edit=as_version_4,
        shape=dict(ROPE_SHAPE, max_position_embeddings=256,
                   rope_parameters=rope(1e4, rope_type="longrope", original_max_position_embeddings=64,
                                        short_factor=[1.0, 1.0, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                                        long_factor=[1.0, 1.1, 1.3, 1.7, 2.3, 3.0, 3.6, 4.0])),
        twists=["scaling ignored", "attention factor ignored"]),
}

# Published settings, and what absent numbers are filled in with.
LONG = {"rope_type": "longrope", "short_factor": [1 + i / 64 for i in range(48)], "long_factor": [1.1 + i for i in range(48)]}
FREQUENCIES = [  # E, max_position_embeddings, rope_parameters, lengths
    (128, 4096, rope(1e4), [64]),
    (64, 4096, rope(5e6, rope_type="linear", factor=8.0), [64]),
    (128, 131072, rope(5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=8192), [64]),
    (128, 4096, rope(1e4, rope_type="dynamic", factor=2.0), [4096, 4097, 65536]),
    (16, 32, rope(1e4, rope_type="dynamic", factor=4.0), [31, 80, 131072]),
    (128, 131072, rope(1e4, rope_type="yarn", factor=32.0, original_max_position_embeddings=4096), [65536]),
    (128, 32768, rope(1e6, rope_type="yarn", factor=4.0), [65536]),
    (64, 163840, rope(1e4, rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, beta_fast=32,
                      beta_slow=1, mscale=1.0, mscale_all_dim=0.707), [4096]),
    (64, 131072, rope(15e4, rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, beta_fast=32.0,
                      beta_slow=1.0, truncate=False), [4096]),
    (32, 64, rope(1e4, rope_type="yarn", factor=2.0, original_max_position_embeddings=8, attention_factor=0.5,
                  beta_fast=2.0, beta_slow=2.0), [4096]),
    (96, 131072, rope(1e4, original_max_position_embeddings=4096, **LONG), [4096, 4097]),
    (96, 131072, rope(1e4, original_max_position_embeddings=4096, factor=8.0, **LONG), [65536]),
    (96, 4096, rope(1e4, attention_factor=1.25, **LONG), [4096]),
]


def make_model(case):
    """A model whose logits and attention are not flat: an initialisation as for training would hide mistakes."""
    config_type = {LlamaForCausalLM: LlamaConfig, MistralForCausalLM: MistralConfig, Qwen2ForCausalLM: Qwen2Config}[case.family]
    model = case.family(config_type(bos_token_id=BOS, eos_token_id=EOS, attn_implementation="eager", **case.shape))
    random = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=random)
            if name.endswith("bias"):
                weight.copy_(0.1 * noise)
            elif weight.ndim == 1:
                weight.copy_(1 + 0.2 * noise)
            else:
                weight.copy_((0.3 if "embed" in name or "lm_head" in name else 0.2) * noise)
    return model


def save_and_reload(case, folder):
    """What is computed with is what was read back from the rewritten folder, and it is what was made."""
    made = make_model(case)
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.json"), *folder.glob("*.safetensors")]:
        old.unlink()
    made.save_pretrained(folder, max_shard_size=case.max_shard_size)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    case.edit(config)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    read = dict(model.named_parameters())
    assert all(torch.equal(read[name], weight) for name, weight in made.named_parameters())
    assert torch.equal(model.model.rotary_emb.inv_freq, made.model.rotary_emb.inv_freq)
    return model


# ---- windows ----------------------------------------------------------------------------------------------------

@dataclass
class Window:
    tokens: torch.Tensor     # [T]
    targets: torch.Tensor    # [T]
    positions: torch.Tensor  # [T]
    document: torch.Tensor   # [T]
    role: torch.Tensor       # [T]

    def sees(self):
        """[T,T]: token i sees token j iff j is of i's document and j <= i, or j is the anchor."""
        d, order = self.document, torch.arange(len(self.document))
        earlier = order[:, None] >= order[None, :]
        return earlier & ((d[:, None] == d[None, :]) | (d[None, :] < 0))


def plain_window(case):
    vocabulary, T = case.shape["vocab_size"], case.window
    text = torch.randint(FIRST_WORD, vocabulary, (T,), generator=torch.Generator().manual_seed(100 + case.seed))
    text[0] = BOS
    targets = torch.cat([text[1:], torch.tensor([-1])])
    targets[[5, T // 2, T // 2 + 1]] = -1
    zeros = torch.zeros(T, dtype=torch.long)
    return Window(text, targets, torch.arange(T), zeros, torch.full_like(zeros, 2))


def lay_out(texts, chunks, anchor=False, reset=False, tags=None):
    """One window of PACKED_T tokens from chunks (document, count) in window order. A document without an anchor is led
    by its own BOS, then by its tag if it has one; neither is trained. The last chunk is cut where the window ends."""
    rows, taken = [], [0] * len(texts)  # rows: token, target, position, document, role
    count = [0] * len(texts)            # the document's tokens so far, BOS and tag included

    def put(token, target, d, role):
        position = count[d] + anchor if reset else len(rows)
        rows.append((token, target, position, d, role))
        count[d] += 1

    if anchor:
        rows.append((BOS, -1, 0, -1, 0))
    for d, length in chunks:
        if count[d] == 0:
            if not anchor:
                put(BOS, -1, d, 0)
            for token in tags[d] if tags else []:
                put(token, -1, d, 1)
        for i in range(taken[d], taken[d] + length):
            put(texts[d][i], texts[d][i + 1] if i + 1 < len(texts[d]) else -1, d, 2)
        taken[d] += length
    assert len(rows) >= PACKED_T and len(rows) - PACKED_T < chunks[-1][1]
    return Window(*(torch.tensor(column) for column in zip(*rows[:PACKED_T])))


def packed_windows(case):
    random = torch.Generator().manual_seed(200 + case.seed)
    texts = [torch.randint(FIRST_WORD, case.shape["vocab_size"], (n,), generator=random).tolist()
             for n in (14, 1, 20, 40)]
    in_order = [(d, len(text)) for d, text in enumerate(texts)]
    long = [texts[2], texts[3]]
    shuffled = [(1, 6), (0, 9), (1, 1), (1, 10), (0, 4), (1, 7), (0, 7), (1, 16)]
    return {
        "document": lay_out(texts, in_order),
        "reset": lay_out(texts, in_order, reset=True),
        "interleaved": lay_out(long, shuffled),
        "anchor": lay_out(texts, in_order, anchor=True),
        "anchor_reset": lay_out(texts, in_order, anchor=True, reset=True),
        "anchor_tag": lay_out(texts, in_order, anchor=True, tags=[[5], [6, 7], [5], [8, 9, 10]]),
        "anchor_interleaved": lay_out(long, shuffled, anchor=True),
    }


# ---- what transformers computes -----------------------------------------------------------------------------------

def loss_of(logits, targets):
    return F.cross_entropy(logits.double(), targets, ignore_index=-1)


def transformers_logits(model, window, explicit):
    """explicit: positions and an additive mask of our own; else the library's own causal attention."""
    more = {}
    if explicit:
        mask = torch.zeros(window.sees().shape).masked_fill(~window.sees(), torch.finfo(torch.float32).min)
        more = dict(attention_mask=mask[None, None], position_ids=window.positions[None])
    return model(input_ids=window.tokens[None], use_cache=False, **more).logits[0]


def transformers_run(model, window, explicit):
    """logits, loss and {name: gradient}"""
    model.zero_grad()
    logits = transformers_logits(model, window, explicit)
    loss = loss_of(logits, window.targets)
    loss.backward()
    return logits.detach(), loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}


def ten_steps(parameters, loss_now, decay_all=False, clip=1.0):
    """The losses before ten AdamW steps, and the norms of the gradients before clipping."""
    decayed = [p for p in parameters if p.ndim >= 2 or decay_all]
    others = [p for p in parameters if not (p.ndim >= 2 or decay_all)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for _ in range(10):
        optimizer.zero_grad()
        loss = loss_now()
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, clip).item())
        optimizer.step()
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(norms, dtype=torch.float64)


# ---- the definition in double -------------------------------------------------------------------------------------

@dataclass
class Definition:
    """The model once more, in double, from its own formulas; sines and cosines of double angles."""
    weights: dict
    inv_freq: torch.Tensor  # [E/2]
    heads: int
    groups: int
    eps: float
    attention_factor: float  # of cosines and sines alike
    group_of: torch.Tensor = None  # [H] the key/value head that each query head reads

    @staticmethod
    def of(model):
        c = model.config
        weights = {n: p.detach().double().requires_grad_() for n, p in model.named_parameters()}
        return Definition(weights, model.model.rotary_emb.inv_freq.double(), c.num_attention_heads,
                          c.num_key_value_heads, c.rms_norm_eps, float(model.model.rotary_emb.attention_scaling))

    def linear(self, x, name):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weights[name + ".weight"]

    def rotate(self, x, angles):
        a, b = x.chunk(2, dim=-1)
        cos, sin = self.attention_factor * angles.cos(), self.attention_factor * angles.sin()
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def attention(self, x, layer, angles, sees):
        q, k, v = (self.linear(x, f"{layer}.self_attn.{p}_proj").unflatten(-1, (n, -1)).transpose(0, 1)
                   for p, n in (("q", self.heads), ("k", self.groups), ("v", self.groups)))
        read = self.group_of
        if read is None:
            read = torch.arange(self.heads) * self.groups // self.heads
        q, k, v = self.rotate(q, angles), self.rotate(k, angles)[read], v[read]
        s = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~sees, -math.inf)
        return self.linear((s.softmax(-1) @ v).transpose(0, 1).flatten(1), f"{layer}.self_attn.o_proj")

    def logits(self, window, sees=None):
        w, layers = self.weights, 0
        angles = window.positions[:, None].double() * self.inv_freq
        sees = window.sees() if sees is None else sees
        x = w["model.embed_tokens.weight"][window.tokens]
        while (layer := f"model.layers.{layers}") + ".input_layernorm.weight" in w:
            x = x + self.attention(self.norm(x, f"{layer}.input_layernorm"), layer, angles, sees)
            y = self.norm(x, f"{layer}.post_attention_layernorm")
            gate, up = self.linear(y, f"{layer}.mlp.gate_proj"), self.linear(y, f"{layer}.mlp.up_proj")
            x = x + self.linear(F.silu(gate) * up, f"{layer}.mlp.down_proj")
            layers += 1
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return F.linear(self.norm(x, "model.norm"), head)

    def run(self, window):
        logits = self.logits(window)
        loss = loss_of(logits, window.targets)
        names, weights = zip(*self.weights.items())
        return logits.detach(), loss.item(), dict(zip(names, torch.autograd.grad(loss, weights)))


# ---- the report -----------------------------------------------------------------------------------------------------

def distance(a, b):
    """max|a - b| / max|b|"""
    return ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()


def say_precision(what, got, want):
    """How far float32 is from the definition in double: the noise that every tolerance must stand above."""
    (logits, loss, grads), (logits64, loss64, grads64) = got, want
    worst = max(((grads[n].double() - g).norm() / g.norm()).item() for n, g in grads64.items())
    print(f"  {what:20s} float32 against double: logits {distance(logits, logits64):.1e}, "
          f"loss {abs(loss / loss64 - 1):.1e}, worst gradient {worst:.1e}")
    assert distance(logits, logits64) < 2e-6 and worst < 1e-5


@torch.no_grad()
def say_sensitivity(case, define, window):
    """How far the logits of the plain window move when the model is wrong in one way."""
    full = define.logits(window)

    def changed(sees=None, **fields):
        return distance(Definition(**{**vars(define), **fields}).logits(window, sees), full)

    E, T = 2 * len(define.inv_freq), case.window
    theta = case.shape["rope_parameters"]["rope_theta"]
    unscaled = 1.0 / (theta ** (torch.arange(0, E, 2, dtype=torch.float) / E)).double()
    swap = torch.arange(E).reshape(E // 2, 2).T.flatten()  # even places, then odd ones: neighbours become halves
    pairs = {n: w.unflatten(0, (-1, E))[:, swap].flatten(0, 1) if ".q_proj" in n or ".k_proj" in n else w
             for n, w in define.weights.items()}
    near = (torch.arange(T)[:, None] - torch.arange(T)[None, :]) < 16
    every = {
        "no rotation": lambda: changed(inv_freq=torch.zeros(E // 2)),
        "neighbours rotated, not halves": lambda: changed(weights=pairs),
        "no causal mask": lambda: changed(sees=torch.ones(T, T, dtype=torch.bool)),
        "eps ten times larger": lambda: changed(eps=10 * define.eps),
        "scaling ignored": lambda: changed(inv_freq=unscaled),
        "head h reads group h mod G": lambda: changed(group_of=torch.arange(define.heads) % define.groups),
        "no biases": lambda: changed(weights={n: w for n, w in define.weights.items() if not n.endswith("bias")}),
        "a window of 16": lambda: changed(sees=window.sees() & near),
        "a window one short": lambda: changed(sees=window.sees() & (near | (torch.arange(T)[:, None] < T - 1) |
                                                                    (torch.arange(T)[None, :] > 0))),
        "attention factor ignored": lambda: changed(attention_factor=1.0),
    }
    for name in [*list(every)[:4], *case.twists]:
        print(f"    {name + ':':36s} logits move by {every[name]():.1e}")


@torch.no_grad()
def say_packed_sensitivity(define, name, window):
    right, T = define.logits(window), PACKED_T
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    running = Window(**{**vars(window), "positions": torch.arange(T)})
    no_anchor = window.sees() & ((window.document >= 0)[None, :] | torch.eye(T, dtype=torch.bool))
    figures = [f"plain causal {distance(define.logits(window, causal), right):.1e}"]
    if not torch.equal(running.positions, window.positions):
        figures.append(f"running positions {distance(define.logits(running), right):.1e}")
    if (window.document < 0).any():
        figures.append(f"anchor unseen {distance(define.logits(window, no_anchor), right):.1e}")
    if "interleaved" in name:
        joined = window.positions.clone()
        for d in (0, 1):
            mine = window.document == d
            joined[mine] = torch.arange(int(mine.sum())) + window.positions[mine][0]
        without_jumps = Window(**{**vars(window), "positions": joined})
        figures.append(f"positions without jumps {distance(define.logits(without_jumps), right):.1e}")
    print(f"    {name + ':':36s} logits move by " + ", ".join(figures))


# ---- the files ------------------------------------------------------------------------------------------------------

def i32(x):
    return x.to(torch.int32).contiguous()


def f64(*x):
    return torch.tensor(x, dtype=torch.float64)


def write_plain(case, model, define, folder):
    window = plain_window(case)
    got = logits, loss, grads = transformers_run(model, window, explicit=False)
    say_precision("plain window", got, define.run(window))
    again = transformers_logits(model, window, explicit=True).detach()
    assert distance(again, logits) < 1e-6, "the library's causal attention is not ours"
    say_sensitivity(case, define, window)

    def steps(**wrong):
        copy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        return ten_steps(list(copy.parameters()),
                         lambda: loss_of(transformers_logits(copy, window, False), window.targets), **wrong)

    losses, norms = steps()
    twin = Definition.of(model)
    losses64, norms64 = ten_steps(list(twin.weights.values()), lambda: loss_of(twin.logits(window), window.targets))
    print(f"  ten AdamW steps      {losses[0]:.4f} -> {losses[-1]:.4f}, gradient norms {norms.min():.2f} .. "
          f"{norms.max():.2f}; float32 against double: losses {distance(losses, losses64):.1e}, "
          f"norms {distance(norms, norms64):.1e}")
    print(f"    losses move by {distance(steps(decay_all=True)[0], losses):.1e} when norms and biases decay too, "
          f"by {distance(steps(clip=1e9)[0], losses):.1e} without clipping")
    save_file({"tokens": i32(window.tokens), "targets": i32(window.targets), "logits": logits, "loss": f64(loss),
               "inv_freq": define.inv_freq.float(), "attention_factor": f64(define.attention_factor), "adamw_losses": losses, "adamw_grad_norms": norms,
               **{"grad." + name: g for name, g in grads.items()}}, folder / "expected.safetensors")


def write_packed(case, model, define, folder):
    tensors = {}
    for name, window in packed_windows(case).items():
        got = logits, loss, grads = transformers_run(model, window, explicit=True)
        say_precision(name, got, define.run(window))
        say_packed_sensitivity(define, name, window)
        tensors |= {f"{name}.{key}": i32(value) for key, value in vars(window).items()}
        tensors |= {f"{name}.logits": logits, f"{name}.loss": f64(loss)}
        tensors |= {f"{name}.grad.{key}": grads[key] for key in PACKED_GRADIENTS}
    save_file(tensors, folder / "expected_packed.safetensors")


def write_frequencies(path):
    """The length is a tensor, as it is when a model computes them: dynamic's base is float32 then."""
    lines = []
    for E, max_positions, parameters, lengths in FREQUENCIES:
        said = dict(max_position_embeddings=max_positions, rope_parameters=parameters)
        config = LlamaConfig(hidden_size=2 * E, num_attention_heads=2, **json.loads(json.dumps(said)))
        compute = ROPE_INIT_FUNCTIONS.get(parameters["rope_type"], LlamaRotaryEmbedding.compute_default_rope_parameters)
        for length in lengths:
            inv_freq, attention_factor = compute(config, device="cpu", seq_len=torch.tensor(length))
            lines.append(json.dumps(dict(config=said, head=E, length=length, attention_factor=attention_factor,
                                         inv_freq=[float(f"{f:.9g}") for f in inv_freq.tolist()])))
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"  {path.stat().st_size:8d}  {path.name}")
    return path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests" / "golden")
    parser.add_argument("--only", choices=[*CASES, "frequencies"], action="append", help="make this one; may be repeated")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    total = 0
    if "frequencies" in (options.only or ["frequencies"]):
        total += write_frequencies(options.out / "rope_frequencies.json")
    for name in options.only or CASES:
        if name == "frequencies":
            continue
        case, folder = CASES[name], options.out / name
        print(f"{name}, seed {case.seed}")
        model = save_and_reload(case, folder)
        with torch.no_grad():
            transformers_logits(model, plain_window(case), explicit=False)  # frequencies that follow the length do so now
        define = Definition.of(model)
        write_plain(case, model, define, folder)
        if case.packed:
            write_packed(case, model, define, folder)
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)  # the library keeps its files private
            print(f"  {path.stat().st_size:8d}  {path.name}")
            total += path.stat().st_size
    print(f"{total} bytes in {options.out}")


if __name__ == "__main__":
    main()
