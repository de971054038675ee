"""kedge's attention in models of transformers that nobody patched: what transformers computes itself under a dense mask. Needs PyTorch,
transformers and the library."""
import copy
import tempfile
import unittest

import conftest  # noqa: F401
import kedge

try:
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError:
    torch = None
else:
    import kedge.hf
    from kedge import leaks
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)

V, T = 64, 40
STARTS = [[1, 8, 9, 27, T], [1, 20, T, T, T]]


def config(family, **more):
    shape = dict(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return AutoConfig.for_model(family, **{**shape, "initializer_range": 0.2, **more})


def model(family="llama", attention="kedge", dtype=None, **more):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config(family, **more), attn_implementation=attention, dtype=dtype or torch.float32).train()


def window(anchors=1, reset=False, rows=2, offset=0):
    """Ids, starts and positions of a batch."""
    starts = torch.tensor(STARTS, dtype=torch.int32)
    starts[:, 0] = anchors
    position = torch.arange(T).repeat(2, 1)
    if reset:
        for row, at in zip(starts, position):
            for a, b in zip(row[:-1], row[1:]):
                at[a:b] = torch.arange(b - a) + anchors
    ids = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(4))
    return {"input_ids": ids[:rows], "cu_seqlens": starts[:rows], "position_ids": position[:rows] + offset, "anchors": anchors}


def dense(batch, kind=None):
    """The same for attention eager: a mask that is added."""
    sees = leaks._sight(batch["input_ids"], [[int(s) for s in row if s < T] for row in batch["cu_seqlens"]], batch["anchors"])
    kind = kind or torch.float32
    return {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False,
            "attention_mask": torch.zeros(sees.shape, dtype=kind).masked_fill(~sees, torch.finfo(kind).min)}


def run(net, batch):
    """Logits, and the gradient of every weight, of one sum of them."""
    net.zero_grad()
    logits = net(**batch).logits
    (logits.double() * torch.cos(torch.arange(logits.numel()).double()).reshape(logits.shape)).sum().backward()
    return {"logits": logits.detach(), **{name: p.grad.clone() for name, p in net.named_parameters()}}


@unittest.skipUnless(torch, "PyTorch or transformers is not installed")
class Hf(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kedge.hf.register()
        kedge.hf.register()

    def close(self, got, want, tolerance):
        for name, x in want.items():
            error = ((got[name].double() - x.double()).abs().max() / x.double().abs().max()).item()
            self.assertLess(error, tolerance, name)

    def test_is_what_transformers_computes_under_a_dense_mask(self):
        for family in ("llama", "mistral", "qwen2"):
            ours, theirs = model(family), model(family, "eager")
            for anchors, reset, rows in ((1, False, 2), (1, True, 1), (0, False, 1), (0, True, 2)):
                batch = window(anchors, reset, rows)
                with self.subTest(family=family, anchors=anchors, reset=reset):
                    self.close(run(ours, batch), run(theirs, dense(batch)), 5e-6)

    def test_other_families_are_computed_or_refused(self):
        batch = window()
        for family in ("qwen3", "phi3", "olmo2", "mixtral"):
            with self.subTest(family):
                ours, want = model(family), run(model(family, "eager"), dense(batch))
                self.close(run(ours, batch), want, 1e-5)
                kedge.hf.exact_rope(ours)
                self.close(run(ours, batch), want, 1e-5)
        with self.assertRaisesRegex(kedge.Error, "softcap"):
            model("gemma2")(**batch)

    def test_one_row_may_have_plain_starts_and_causal_is_said(self):
        ours, batch = model(), window(rows=1)
        one = run(ours, batch)
        plain = run(ours, {**batch, "cu_seqlens": batch["cu_seqlens"][0].long()})
        self.assertTrue(all(torch.equal(x, one[name]) for name, x in plain.items()))
        ids = window()["input_ids"]
        self.close(run(ours, {"input_ids": ids, "cu_seqlens": "causal"}), run(model(attention="sdpa"), {"input_ids": ids}), 5e-6)

    def test_nothing_leaks(self):
        for exact in (False, True):
            ours = model()
            if exact:
                kedge.hf.exact_rope(ours)
            for rows, anchors in ((1, 1), (2, 0)):
                report = leaks.check_model(ours, "kedge", rows=rows, T=24, documents=3, anchors=anchors)
                self.assertTrue(report.holds, str(report))

    def test_what_it_does_not_compute_is_refused(self):
        ours, batch = model(), window()
        ones = torch.ones_like(batch["input_ids"])
        padded = ones.clone()
        padded[0, -3:] = 0
        for change, text in (({"cu_seqlens": None}, "cu_seqlens is missing"), ({"anchors": None}, "anchors is missing"),
                             ({"anchors": 0}, "must rise from 0"), ({"cu_seqlens": batch["cu_seqlens"][:1]}, "of 1 rows, a batch of 2"),
                             ({"cu_seqlens": batch["cu_seqlens"][:, :-1]}, "must rise"), ({"cu_seqlens": "guess"}, "causal"),
                             ({"attention_mask": padded}, "padding"), ({"attention_mask": dense(batch)["attention_mask"]}, "a mask was given"),
                             ({"output_attentions": True}, "output_attentions"), ({"is_causal": False}, "later")):
            with self.subTest(text), self.assertRaisesRegex(kedge.Error, text):
                ours(**{**batch, **change})
        self.assertTrue(torch.equal(ours(**batch, attention_mask=ones).logits, ours(**batch).logits))
        for family, more, text in (("llama", {"attention_dropout": 0.1}, "dropout 0.1"),
                                   ("mistral", {"sliding_window": T - 1}, "sliding window of 39")):
            with self.assertRaisesRegex(kedge.Error, text):
                model(family, **more)(**batch)
        model("mistral", sliding_window=T)(**batch)
        with self.assertRaisesRegex(kedge.Error, "cu_seqlens is missing"):
            ours.eval().generate(batch["input_ids"][:1], attention_mask=ones[:1], max_new_tokens=2)
        out = ours(**batch, use_cache=True)
        cache = getattr(out, "cache", None) or out.past_key_values
        with self.assertRaisesRegex(kedge.Error, "no cache"):
            ours(input_ids=batch["input_ids"][:, :1], cu_seqlens="causal", past_key_values=cache)

    def test_checkpointed_layers_have_the_same_gradients(self):
        ours, batch = model(), window()
        plain = run(ours, batch)
        for reentrant in (False, True):
            ours.gradient_checkpointing_enable({"use_reentrant": reentrant})
            self.assertTrue(all(torch.equal(x, plain[name]) for name, x in run(ours, batch).items()))

    def test_compiled_whole_it_is_the_same(self):
        batch = {**window(), "use_cache": False}
        for exact in (False, True):
            ours = model()
            if exact:
                kedge.hf.exact_rope(ours)
            whole = torch.compile(ours, backend="aot_eager", fullgraph=True)
            want = run(ours, batch)
            ours.zero_grad()
            logits = whole(**batch).logits
            (logits.double() * torch.cos(torch.arange(logits.numel()).double()).reshape(logits.shape)).sum().backward()
            self.close({"logits": logits.detach(), **{name: p.grad for name, p in ours.named_parameters()}}, want, 1e-6)

    def test_bf16_and_autocast(self):
        batch, want = window(), run(model(attention="eager"), dense(window()))
        self.close({"logits": run(model(dtype=torch.bfloat16), batch)["logits"]}, {"logits": want["logits"]}, 0.1)
        with torch.autocast("cpu", torch.bfloat16):
            self.close({"logits": run(model(), batch)["logits"]}, {"logits": want["logits"]}, 0.1)

    def test_exact_rope_is_exact_and_can_be_undone(self):
        for family, more in (("llama", {}), ("qwen2", {}), ("llama", {"rope_parameters": {
                "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}})):
            batch = window()
            ours, truth = model(family, **more), model(family, "eager", **more)
            plain = run(ours, batch)
            undo = kedge.hf.exact_rope(ours)
            self.close(run(ours, batch), run(truth, dense(batch)), 5e-6)
            self.assertEqual(set(ours.state_dict()), set(truth.state_dict()))
            ours.set_attn_implementation("sdpa")
            with self.assertRaisesRegex(kedge.Error, "would not rotate"):
                ours(**dense(batch))
            ours.set_attn_implementation("kedge")
            with self.assertRaisesRegex(kedge.Error, "called once"):
                kedge.hf.exact_rope(ours)
            run(copy.deepcopy(ours), batch)
            undo()
            self.assertTrue(all(torch.equal(x, plain[name]) for name, x in run(ours, batch).items()))

    def test_exact_rope_far_out_where_float32_is_not(self):
        batch, far = window(0), window(0, offset=2_000_000)
        ours = model()
        drift = (ours(**far).logits - ours(**batch).logits).abs().max().item()
        kedge.hf.exact_rope(ours)
        self.assertGreater(drift, 1e-3)
        self.assertTrue(torch.equal(ours(**far).logits, ours(**batch).logits))

    def test_models_that_turn_otherwise_are_refused(self):
        with self.assertRaisesRegex(kedge.Error, "depend on the length"):
            kedge.hf.exact_rope(model(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}))
        with self.assertRaisesRegex(kedge.Error, "were cast"):
            kedge.hf.exact_rope(model().to(torch.bfloat16))
        cohere = transformers.CohereConfig(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
                                           num_key_value_heads=2)
        with self.assertRaisesRegex(kedge.Error, "by halves"):
            kedge.hf.exact_rope(AutoModelForCausalLM.from_config(cohere))

    def test_the_trainer_trains_with_the_collator(self):
        try:
            import accelerate  # noqa: F401
        except ImportError:
            self.skipTest("accelerate is not installed")
        collator = kedge.PackCollator(T, mask="anchor", bos=1)
        texts = [[2 + (n * i) % (V - 2) for i in range(5 + 3 * n)] for n in range(12)]
        rows = list(collator.rows(texts))
        with tempfile.TemporaryDirectory() as folder:
            options = transformers.TrainingArguments(
                folder, max_steps=3, per_device_train_batch_size=2, learning_rate=1e-2, lr_scheduler_type="constant", weight_decay=0.1,
                remove_unused_columns=False, report_to=[], save_strategy="no", logging_steps=1, use_cpu=True, disable_tqdm=True, seed=1)
            trainer = transformers.Trainer(model(), options, train_dataset=rows, data_collator=collator)
            trainer.train()
            losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
            self.assertEqual(len(losses), 3)
            self.assertLess(losses[-1], losses[0])
            trainer.save_model(folder)
            AutoModelForCausalLM.from_pretrained(folder)


if __name__ == "__main__":
    unittest.main()
