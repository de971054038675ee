#!/usr/bin/env python3
"""Makes tests/golden/decode.safetensors: what Hugging Face transformers writes and thinks of texts, with models of tests/golden.

For each FAMILY of llama-plain, llama-grouped, mistral (its sliding window taken away) and qwen2, in float32 with eager attention:
    FAMILY.prompt [20] I32     FAMILY.greedy [64] I32, what generate() writes behind it with a cache, EOS a token like others
    FAMILY.margin [64] F32     by how much each of these is likelier than the next best, in logits
    FAMILY.tokens [4096] I32   FAMILY.logprobs [4095] F32, of each next token, log_softmax in double of float32 logits

    python tools/gen_golden_decode.py

Made with torch 2.15.0, transformers 5.24.0, safetensors 0.8.0.
"""
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
FAMILIES = ["llama-plain", "llama-grouped", "mistral", "qwen2"]
PROMPT, WRITTEN, LONG = 20, 64, 4096


def main():
    torch.set_num_threads(1)
    out = {}
    for seed, family in enumerate(FAMILIES, 300):
        config = AutoConfig.from_pretrained(GOLDEN / family)
        if family == "mistral":
            config.sliding_window = None
        model = AutoModelForCausalLM.from_pretrained(GOLDEN / family, config=config, dtype=torch.float32, attn_implementation="eager").eval()
        model.generation_config.eos_token_id = None
        random = torch.Generator().manual_seed(seed)
        tokens = torch.randint(3, config.vocab_size, (1, LONG), generator=random)
        tokens[0, 0] = 1
        with torch.no_grad():
            made = model.generate(tokens[:, :PROMPT], attention_mask=torch.ones(1, PROMPT, dtype=torch.long), max_new_tokens=WRITTEN, do_sample=False,
                                  return_dict_in_generate=True, output_logits=True, pad_token_id=0)
            logits = model(tokens).logits[0, :-1].double()
        best = torch.stack([step[0].topk(2).values for step in made.logits])
        out[f"{family}.prompt"] = tokens[0, :PROMPT].int()
        out[f"{family}.greedy"] = made.sequences[0, PROMPT:].int()
        out[f"{family}.margin"] = (best[:, 0] - best[:, 1]).float()
        out[f"{family}.tokens"] = tokens[0].int()
        out[f"{family}.logprobs"] = logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0].float()
        print(f"{family}: {made.sequences[0, PROMPT:].unique().numel()} different tokens, the least margin {(best[:, 0] - best[:, 1]).min():.2e}")
    save_file({k: v.contiguous() for k, v in out.items()}, GOLDEN / "decode.safetensors")


if __name__ == "__main__":
    main()
