#!/usr/bin/env python3
"""AnchorAttention inside transformers' Llama: kedge, FlexAttention with a compiled block mask, SDPA and eager with the same dense mask.
Outputs and gradients beside the same model in float64, its angles too; seconds.

    PYTHON bench/peers/hf_attention.py [--tokens 2048] [--documents 8] [--device cpu] [--dtype float32]

PYTHON has the packages of bench/requirements.txt. Errors are the largest difference as a share of the largest value, of logits, of the
gradient of the embeddings, and of the first layer's query weights.
"kedge, exact" rotates inside attention (kedge.hf.exact_rope); the others get queries and keys that transformers has rotated in float32.
Each model takes its turn in every round; medians after one round that is not counted.
"""
import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python/src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
import transformers
from torch_masks import documents_of, reason, sight_of


def make(options, attention, dtype):
    """The same weights in any dtype; frequencies stay float32, which a cast of the whole model would not leave them."""
    C = options.heads * options.size
    config = transformers.LlamaConfig(vocab_size=512, hidden_size=C, intermediate_size=2 * C, num_hidden_layers=options.layers,
                                      num_attention_heads=options.heads, num_key_value_heads=options.kv_heads,
                                      max_position_embeddings=options.tokens, initializer_range=0.05)
    torch.manual_seed(1)
    weights = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).state_dict()
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    model.load_state_dict(weights)
    return model.to(options.device).train()


def sight(options):
    """[1, 1, T, T] who sees whom."""
    at, sees = torch.arange(options.tokens), sight_of(documents_of(torch, options.tokens, options.documents))
    return sees(0, 0, at[:, None], at[None, :])[None, None].to(options.device)


def added(sees, dtype):
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def in_double(options, ids):
    """Logits and gradients of the same model, all of it in float64, its angles too."""
    model = make(options, "eager", torch.float64)
    rotary = model.model.rotary_emb

    def turn(x, position_ids):
        angle = position_ids[..., None].double() * rotary.inv_freq.double()
        angle = torch.cat([angle, angle], -1)
        return angle.cos(), angle.sin()

    rotary.forward = turn
    return step(model, ids, {"attention_mask": added(sight(options), torch.float64)})[0]


def models(options, dtype):
    """name: (model, arguments of its forward that say who sees whom)."""
    import kedge.hf
    kedge.hf.register()
    T, document, dense = options.tokens, documents_of(torch, options.tokens, options.documents), sight(options)
    starts = torch.cat([torch.tensor([1]), document.bincount()[1:].cumsum(0) + 1]).to(torch.int32)
    told = {"cu_seqlens": starts, "anchors": 1}
    exact = make(options, "kedge", dtype)
    kedge.hf.exact_rope(exact)

    def block():
        from torch.nn.attention.flex_attention import create_block_mask
        return {"attention_mask": create_block_mask(sight_of(document.to(options.device)), None, None, T, T, device=options.device)}

    return {"kedge": (make(options, "kedge", dtype), lambda: told), "kedge, exact": (exact, lambda: told),
            "FlexAttention": (make(options, "flex_attention", dtype), block),
            "SDPA, dense mask": (make(options, "sdpa", dtype), lambda: {"attention_mask": dense}),
            "eager, dense mask": (make(options, "eager", dtype), lambda: {"attention_mask": added(dense, dtype)})}


def step(model, ids, told, backward=True):
    """Logits and gradients, seconds of the forward and of both."""
    position = torch.arange(ids.shape[1], device=ids.device)[None]
    wait = torch.cuda.synchronize if ids.is_cuda else lambda: None
    model.zero_grad()
    wait()
    began = time.perf_counter()
    with torch.set_grad_enabled(backward):
        logits = model(input_ids=ids, position_ids=position, use_cache=False, **told).logits
    wait()
    forward = time.perf_counter() - began
    if not backward:
        return {"logits": logits}, (forward, None)
    weight = torch.cos(torch.arange(logits.shape[-1], device=ids.device)).to(logits.dtype)
    ((logits @ weight) * torch.sin(position.to(logits.dtype))).sum().backward()
    wait()
    whole = time.perf_counter() - began
    return {"logits": logits.detach(), "embeddings": model.get_input_embeddings().weight.grad,
            "q weights": model.model.layers[0].self_attn.q_proj.weight.grad}, (forward, whole)


def error(x, truth):
    return float((x.double() - truth).abs().max() / truth.abs().max())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("tokens", 2048), ("documents", 8), ("heads", 8), ("kv_heads", 2), ("size", 64), ("layers", 2), ("rounds", 3),
                        ("threads", 0)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--without", default="", help="names to leave out, with commas")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    ids = torch.randint(512, (1, options.tokens), generator=torch.Generator().manual_seed(1)).to(options.device)
    peers = {name: x for name, x in models(options, getattr(torch, options.dtype)).items() if name not in options.without.split(",")}
    truth = in_double(options, ids)
    seen, took, why = {}, {}, {}
    for turn in range(options.rounds + 1):
        for name, (model, told) in peers.items():
            for backward in (True, False):
                if (name, backward) in why:
                    continue
                try:
                    seen[name], times = step(model, ids, told(), backward)
                except Exception as failure:  # what torch.compile raises depends on where it stops
                    why[name, backward] = reason(failure)
                    torch._dynamo.reset()
                    continue
                if turn:
                    took.setdefault(name, []).append(times)
                break

    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {options.device}, {options.dtype}, {torch.get_num_threads()} "
          f"threads; {options.tokens} tokens, {options.documents} documents, {options.layers} layers of {options.heads} heads ({options.kv_heads}) "
          f"of {options.size}\n\n"
          "| attention | logits | embeddings' gradient | query weights' gradient | forward, s | forward and backward, s |\n|---|---|---|---|---|---|")
    for name, x in seen.items():
        errors = [f"{error(x[kind], truth[kind]):.1e}" if kind in x else "-" for kind in ("logits", "embeddings", "q weights")]
        forward, whole = ([t[i] for t in took.get(name, []) if t[i] is not None] for i in (0, 1))
        times = [f"{statistics.median(t):.3f}" if t else "-" for t in (forward, whole)]
        print(f"| {name} | {' | '.join(errors + times)} |")
    for (name, backward), text in why.items():
        print(f"\n{name}: no {'backward' if backward else 'forward'}: {text}")


if __name__ == "__main__":
    main()
