#!/usr/bin/env python3
"""Writes what a causal language model of Hugging Face makes of queries and keys at two or more places, for kedge probe --dump.

    dump_qk.py MODEL OUT.safetensors [--text FILE] [--length 1024] [--shifts 0 16] [--dtype bfloat16] [--isolated]

MODEL is a folder or a name that transformers opens, in its own dtype if none is said, on a GPU if there is one. For attention
layer l and shift d, positions d, d + 1, .. of the whole network:

    layers.l.q.d [H,T,E], layers.l.k.d [G,T,E]   after rotation, in the dtype they have
    metadata: format, model, precision, scale (what the model multiplies q.k with)

They are caught where the model hands them to attention, so every model of transformers 4.48 or later will do that has
rotary positions and calls attention by its registry. --isolated: each attention layer gets the input that it has at the
first shift, so that what changes is the rotation alone. Without --text the tokens are random, a BOS before them if the model
has one.

Needs torch, transformers, safetensors.
"""
import argparse
import inspect
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

GLANCE = 16  # tokens of the run that finds attention layers


class Refusal(Exception):
    """One line for people."""


class Catcher:
    """Stands in the registry where attention by PyTorch's sdpa stood, keeps what comes and calls that."""

    def __init__(self, registry):
        self.sdpa = registry["sdpa"]
        registry["sdpa"] = self.attend
        self.start()

    def start(self):
        self.rotated = {}  # attention module: (q [H,T,E], k [G,T,E])
        self.scales = set()

    def attend(self, module, query, key, value, attention_mask, **more):
        T, E = query.shape[-2:]
        where = f"attention layer {len(self.rotated)}"
        if module in self.rotated:
            raise Refusal(f"{where} attends twice in one run: its queries are not one tensor")
        for name in ("softcap", "s_aux", "position_bias"):
            if more.get(name) is not None:
                raise Refusal(f"{where} has {name}: it is more than the softmax of q.k, which the probe computes")
        window = more.get("sliding_window") or T
        if window < T:
            raise Refusal(f"{where} sees {window} tokens back, the probe all: --length {window} at most")
        scaling = more.get("scaling")
        self.scales.add(E ** -0.5 if scaling is None else float(scaling))
        self.rotated[module] = tuple(x[0].to("cpu", copy=True) for x in (query, key))
        return self.sdpa(module, query, key, value, attention_mask, **more)


class Inputs:
    """The hidden states that attention layers get: kept in one run, given back in another."""

    def __init__(self, modules):
        self.kept, self.give_back = {}, False
        self.hooks = [module.register_forward_pre_hook(self.met, with_kwargs=True) for module in modules]

    def met(self, module, args, kwargs):
        in_args = bool(args)
        if not in_args and "hidden_states" not in kwargs:
            raise Refusal(f"{type(module).__name__} gets no hidden_states: what it computes from cannot be kept")
        if not self.give_back:
            self.kept[module] = args[0] if in_args else kwargs["hidden_states"]
        elif in_args:
            args = (self.kept[module], *args[1:])
        else:
            kwargs = {**kwargs, "hidden_states": self.kept[module]}
        return args, kwargs

    def remove(self):
        for hook in self.hooks:
            hook.remove()


def version():
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in transformers.__version__.split(".")[:2])


def open_model(name, dtype):
    if version() < (4, 48):
        raise Refusal(f"transformers is {transformers.__version__}: 4.48 or later has a registry of attention functions")
    dtype = "auto" if dtype is None else getattr(torch, dtype)
    word = "dtype" if version() >= (4, 56) else "torch_dtype"
    try:
        model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="sdpa", **{word: dtype})
    except Exception as error:  # not found, not a model, no sdpa: transformers raises many kinds
        raise Refusal(f"{name}: {first_line(error)}") from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def first_line(error):
    """transformers' messages run to paragraphs: their first sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]


def tokens_of_text(name, config, path, length):
    try:
        text = path.read_text(errors="replace")[:64 * length]
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        raise Refusal(f"--text {path}: {first_line(error)}") from error
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = bos + tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) < length:
        raise Refusal(f"--text {path}: {len(ids)} tokens, --length is {length}")
    if max(ids[:length]) >= config.vocab_size:
        raise Refusal(f"--text {path}: token {max(ids[:length])}, the model has {config.vocab_size}: not its tokenizer")
    return torch.tensor(ids[:length])


def random_tokens(config, length):
    ids = torch.randint(config.vocab_size, (length,), generator=torch.Generator().manual_seed(0))
    if config.bos_token_id is not None and config.bos_token_id < config.vocab_size:
        ids[0] = config.bos_token_id
    return ids


@torch.no_grad()
def run(model, catcher, ids, shift):
    """{attention module: (q, k)}, in the order in which they are called"""
    catcher.start()
    positions = torch.arange(len(ids), device=model.device) + shift
    try:
        model.base_model(input_ids=ids[None].to(model.device), position_ids=positions[None], use_cache=False)
    except Refusal:
        raise
    except Exception as error:  # positions beyond a table, memory, what the model cannot do
        raise Refusal(f"{len(ids)} tokens from position {shift}: {type(error).__name__}: {first_line(error)}") from error
    return catcher.rotated


def same(one, other):
    return all(torch.equal(a, b) for module in one for a, b in zip(one[module], other[module]))


def attention_layers(model, catcher, ids, shifts):
    """The modules that attend; refuses a model that they are not to be had from, or whose rotation does not follow positions."""
    if "position_ids" not in inspect.signature(model.base_model.forward).parameters:
        raise Refusal("this model takes no position_ids: it has no rotary positions, or keeps them to itself")
    first = run(model, catcher, ids[:GLANCE], shifts[0])
    if not first:
        raise Refusal("this model does not call attention by transformers' registry, so nothing was caught")
    inputs = Inputs(first)
    run(model, catcher, ids[:GLANCE], shifts[0])
    inputs.give_back = True
    fixed = same(first, run(model, catcher, ids[:GLANCE], shifts[-1]))
    inputs.remove()
    if fixed:
        raise Refusal("this model has no rotary positions: with the same input, queries and keys are the same at every position")
    shapes = {tuple(x.shape[::2] for x in pair) for pair in first.values()}
    if len(shapes) > 1:
        raise Refusal(f"attention layers differ in heads or their size: {sorted(shapes)}")
    return list(first)


def dump(model, catcher, ids, shifts, isolated):
    """{name: tensor}, scale"""
    layers, tensors, scales = attention_layers(model, catcher, ids, shifts), {}, set()
    inputs = Inputs(layers) if isolated else None
    for shift in shifts:
        rotated = run(model, catcher, ids, shift)
        scales |= catcher.scales
        for layer, module in enumerate(layers):
            for name, x in zip("qk", rotated[module]):
                tensors[f"layers.{layer}.{name}.{shift}"] = x.contiguous()
        if isolated:
            inputs.give_back = True
    if len(scales) > 1:
        raise Refusal(f"attention layers scale differently: {sorted(scales)}")
    return tensors, scales.pop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("out", metavar="OUT.safetensors", type=Path)
    parser.add_argument("--text", metavar="FILE", type=Path, help="what is read; else random tokens")
    parser.add_argument("--length", type=int, default=1024, help="tokens (1024)")
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 16], help="where positions begin, ascending (0 16)")
    parser.add_argument("--dtype", choices=["bfloat16", "float32", "float16"], help="else the model's own")
    parser.add_argument("--isolated", action="store_true", help="what rotation does alone, without what layers make of it")
    options = parser.parse_args()
    if options.length < 2:
        raise Refusal(f"--length {options.length}: two tokens at least")
    if len(options.shifts) < 2 or options.shifts != sorted(set(options.shifts)) or options.shifts[0] < 0:
        raise Refusal(f"--shifts {' '.join(map(str, options.shifts))}: two at least, ascending, from 0")
    return options


def main():
    options = parse()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = open_model(options.model, options.dtype)
    catcher = Catcher(transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS)
    config = model.config.get_text_config()
    ids = (tokens_of_text(options.model, config, options.text, options.length) if options.text
           else random_tokens(config, options.length))
    tensors, scale = dump(model, catcher, ids, options.shifts, options.isolated)
    kind = str(tensors[f"layers.0.q.{options.shifts[0]}"].dtype).removeprefix("torch.")
    metadata = {"format": "pt", "model": Path(options.model).name if Path(options.model).is_dir() else options.model,
                "precision": f"{kind} (transformers{', isolated' if options.isolated else ''})", "scale": repr(scale)}
    try:
        save_file(tensors, options.out, metadata=metadata)
    except Exception as error:
        raise Refusal(f"{options.out}: {first_line(error)}") from error
    q, k = (tensors[f"layers.0.{name}.{options.shifts[0]}"] for name in "qk")
    print(f"{options.out}: {len(tensors) // (2 * len(options.shifts))} layers, {len(q)} heads on {len(k)}, heads of "
          f"{q.shape[-1]}, {len(ids)} tokens, shifts {' '.join(map(str, options.shifts))}, {metadata['precision']}, scale {scale:.6g}")


if __name__ == "__main__":
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"dump_qk.py: {refusal}")
