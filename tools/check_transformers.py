#!/usr/bin/env python3
"""Asks Hugging Face transformers about a model folder that kedge wrote: does it open, and are the logits the same?

    python tools/check_transformers.py FOLDER LOGITS.safetensors    tokens [T] I32 and kedge's logits [T,V] F32
    python tools/check_transformers.py --make DIR                   fresh folders as transformers writes them, to try
                                                                    kedge on: the shapes of tests/golden in two dtypes,
                                                                    with a vocabulary that holds all bytes

The folder is opened in float32 whatever it is stored in, and run under plain causal attention. Printed is
max|difference| / max|logits|; the exit status is 1 if that is over 2e-5 or if a tensor is missing or not asked for
(transformers by itself would fill it at random, or leave it). Run with the versions that gen_golden.py names.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from gen_golden import CASES, make_model

TOLERANCE = 2e-5


def make(out):
    for name, case in CASES.items():
        for dtype in (torch.float32, torch.bfloat16):
            folder = out / f"{name}-{str(dtype).removeprefix('torch.')}"
            wide = replace(case, shape={**case.shape, "vocab_size": 320})
            make_model(wide).to(dtype).save_pretrained(folder, max_shard_size=case.max_shard_size)
            print(folder)
    return 0


def check(folder, logits_file):
    stored = load_file(logits_file)
    tokens, logits = stored["tokens"].long(), stored["logits"]
    model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                          output_loading_info=True)
    with torch.no_grad():
        expected = model(input_ids=tokens[None], use_cache=False).logits[0]
    if logits.shape != expected.shape:
        print(f"{logits_file}: logits {list(logits.shape)}, transformers has {list(expected.shape)}")
        return 1
    wrong = {what: sorted(map(str, names)) for what, names in loading.items() if names}
    for what, names in wrong.items():
        print(f"{folder}: {what.replace('_', ' ')}: {', '.join(names)}")
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    print(f"{folder}: {len(tokens)} tokens, max|difference| / max|logits| = {difference:.2e}, at most {TOLERANCE:.0e}")
    return 0 if difference <= TOLERANCE and not wrong else 1  # a NaN is not <= anything


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="a Hugging Face model folder")
    parser.add_argument("logits", nargs="?", help="a safetensors file with tokens and logits")
    parser.add_argument("--make", type=Path, metavar="DIR", help="write fresh folders there instead")
    options = parser.parse_args()
    if (options.make is None) == (options.logits is None) or (options.make and options.folder):
        parser.error("either FOLDER and LOGITS.safetensors, or --make DIR")
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    return make(options.make) if options.make else check(options.folder, options.logits)


if __name__ == "__main__":
    sys.exit(main())
