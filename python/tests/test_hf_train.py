"""Three steps of transformers with kedge's attention and torch's AdamW, beside three of `kedge train` on the same windows: equal weights.
Needs PyTorch, transformers, the library and the command (KEDGE_COMMAND, or build/kedge)."""
import json
import os
import random
import subprocess
import tempfile
import unittest
from pathlib import Path

import conftest  # noqa: F401
import kedge

try:
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError:
    torch = None
else:
    import kedge.hf
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)

COMMAND = Path(os.environ.get("KEDGE_COMMAND", Path(__file__).resolve().parents[2] / "build/kedge"))
WINDOW, BOS, LR = 64, 256, 1e-3
BETAS, DECAY, CLIP = (0.9, 0.95), 0.1, 1.0  # the run file's defaults
EPS = 1e-6  # not 1e-8: AdamW's first step is g / (|g| + eps), so a gradient that is rounding alone would move its weight by lr
SHAPE = {"vocab_size": 259, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
         "torch_dtype": "float32", "bos_token_id": 256, "eos_token_id": 257, "tie_word_embeddings": False, "initializer_range": 0.05}
MODELS = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "llama, tied": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True, "num_key_value_heads": 4},
    "mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None, "num_key_value_heads": 1},
    "qwen2, tied": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True},
}


def documents():
    draw = random.Random(5)
    return [[draw.randrange(256) for _ in range(draw.choice([1, 3, 9, 30, 70]))] for _ in range(24)]


def train_with_kedge(home, mask, reset, windows):
    """Losses, gradient norms and weights of `kedge train`."""
    (home / "run.yaml").write_text(
        f"model: {{path: {home}/model}}\ntokenizer: bytes\ndata: {{train: {home}/data.jsonl}}\nwindow: {WINDOW}\nmask: {mask}\n"
        f"positions: {'reset' if reset else 'running'}\nbatch: {{windows: {windows}}}\noptim: {{lr: {LR}, eps: {EPS}}}\nsteps: 3\n"
        f"output: {home}/out\n")
    done = subprocess.run([COMMAND, "train", home / "run.yaml"], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    steps = [row for row in map(json.loads, (home / "out/metrics.jsonl").read_text().splitlines()) if "grad_norm" in row]
    return [row["loss"] for row in steps], [row["grad_norm"] for row in steps], load_file(home / "out/step-3/model.safetensors")


def train_with_transformers(home, batch, exact):
    """The same of transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(home / "model", attn_implementation="kedge", dtype=torch.float32).train()
    if exact:
        kedge.hf.exact_rope(model)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}], lr=LR, betas=BETAS,
                                  eps=EPS)
    losses, norms = [], []
    for _ in range(3):
        loss = model(**batch).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)))
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return losses, norms, dict(model.named_parameters())


@unittest.skipUnless(torch, "PyTorch or transformers is not installed")
@unittest.skipUnless(COMMAND.exists(), "the command is not built")
class Steps(unittest.TestCase):
    def test_three_are_those_of_kedge(self):
        kedge.hf.register()
        for n, (name, changes) in enumerate(MODELS.items()):
            with tempfile.TemporaryDirectory() as home:
                home = Path(home)
                (home / "config.json").write_text(json.dumps({**SHAPE, **changes}))
                subprocess.run([COMMAND, "init", home / "model", "--config", home / "config.json"], check=True, capture_output=True)
                (home / "data.jsonl").write_text("".join(json.dumps({"input_ids": text}) + "\n" for text in documents()))
                for mask, reset in (("anchor", False), ("anchor", True), ("document", False), ("document", True)):
                    collator = kedge.PackCollator(WINDOW, mask=mask, bos=BOS, reset=reset)
                    batch = collator(list(collator.rows(documents())))  # a step takes all windows: their order makes no difference
                    for exact in ((False, True) if n == 0 else (False,)):
                        with self.subTest(name, mask=mask, reset=reset, exact=exact):
                            theirs = train_with_kedge(home, mask, reset, len(batch["input_ids"]))
                            self.compare(theirs, train_with_transformers(home, batch, exact))
                        subprocess.run(["rm", "-r", home / "out"], check=True)

    def compare(self, theirs, ours):
        for a, b in zip(theirs[0] + theirs[1], ours[0] + ours[1]):
            self.assertLess(abs(a - b), 1e-5)
        self.assertEqual(len(theirs[0]), 3)
        self.assertEqual(set(theirs[2]), set(ours[2]))
        worst = max(((w - ours[2][name]).abs().max().item(), name) for name, w in theirs[2].items())
        self.assertLess(worst[0], 1e-5, worst[1])
        print(f"weights differ by {worst[0]:.1e} ({worst[1]}), losses {ours[0][0]:.4f} to {ours[0][2]:.4f}")


if __name__ == "__main__":
    unittest.main()
