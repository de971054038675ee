#!/usr/bin/env python3
"""The table of docs/leaks.md: which ways to feed packed documents to models of transformers leak, on this machine's CPU.

    python examples/python/leak_table.py [--attention sdpa,eager,flex_attention,kedge] [--families llama,mistral,qwen2] [--rows 1,2]

Tiny models with random weights. Needs torch and transformers; FlexAttention a C++ compiler, kedge its library. A cell tells how much of
what lies outside the touched documents moved, in a batch of one row; and where another family or number of rows has another answer."""
import argparse
import sys

import torch
import transformers
from kedge import leaks
from transformers import AutoConfig, AutoModelForCausalLM

T, DOCUMENTS = 32, 3


def model(family, attention):
    config = AutoConfig.for_model(family, vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                  num_key_value_heads=2, head_dim=8, initializer_range=0.2, pad_token_id=0)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).train()


def answer(net, packing, rows, cache):
    """(verdict, how much)."""
    forward = {} if cache else {"use_cache": False}
    for gradients in (True, False):
        try:
            report = leaks.check_model(net, packing, rows=rows, T=T, documents=DOCUMENTS, gradients=gradients, **forward)
            break
        except Exception as error:  # what the peer raises is its answer
            why = (str(error).strip() or type(error).__name__).splitlines()[0].replace("|", "\\|")[:80]
    else:
        return "refused", why
    alone = "" if gradients else ", no backward"
    if report.holds:
        return "nothing leaks" + alone, ""
    share = {}
    for kind in report.noise:
        moved = [getattr(row, kind) for row in report.rows]
        share[kind] = sum(m.outside for m in moved) / sum(m.outside_of for m in moved)
    earlier = any(position < row.row * T + row.token for row in report.rows for position in row.outputs.leaks)
    verdict = ("**leaks, also backwards in time**" if earlier else "**leaks**" if report.count("leaks") else "**blind**") + alone
    return verdict, ", ".join(f"{x:.0%} of {kind}" for kind, x in share.items())


def cell(answers):
    """answers: {(family, rows): (verdict, how much)}."""
    first = next(iter(answers.values()))
    text = ": ".join(x for x in first if x)
    for (family, rows), (verdict, _) in answers.items():
        if verdict != first[0]:
            text += f"; {family}, {rows} rows: {verdict}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attention", default="sdpa,eager,flex_attention,kedge")
    parser.add_argument("--families", default="llama,mistral,qwen2")
    parser.add_argument("--rows", default="1,2")
    parser.add_argument("--packing", default=",".join(leaks.PACKINGS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}; rows of {T} tokens and {DOCUMENTS} documents: {options.rows}; "
          f"{options.families}\n")
    print("| attention | what the model is told | `use_cache` not said | `use_cache=False` |\n|---|---|---|---|")
    for attention in options.attention.split(","):
        if attention == "kedge":
            import kedge.hf
            kedge.hf.register()
        nets = {family: model(family, attention) for family in options.families.split(",")}
        for packing in options.packing.split(","):
            if (packing == "kedge") != (attention == "kedge") or (packing == "blockmask" and attention != "flex_attention"):
                continue
            cells = []
            for cache in (True, False):
                answers = {(family, rows): answer(net, packing, rows, cache) for rows in map(int, options.rows.split(","))
                           if rows == 1 or packing != "cu_seqlens" for family, net in nets.items()}
                cells.append(cell(answers))
                print(attention, packing, cache, answers, file=sys.stderr)
            print(f"| {attention} | {leaks.PACKINGS[packing][0]} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
