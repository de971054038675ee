"""Windows of documents are those of kedge's own trainer, and batches say what they hold. Needs Python alone; batches need PyTorch."""
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
except ImportError:
    torch = None

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(os.environ.get("KEDGE_COMMAND", ROOT / "build/kedge"))
BOS, EOS = 256, 257  # of tokenizer bytes


def documents(count=80, seed=1):
    draw = random.Random(seed)
    return ["".join(draw.choice("abcdefgh ") for _ in range(draw.choice([1, 2, 5, 29, 30, 31, 32, 100]))) for _ in range(count)]


def ids(text):
    return list(text.encode())


class Windows(unittest.TestCase):
    def same(self, got, want):
        for name in ("token", "target", "position", "start", "base"):
            self.assertEqual(getattr(got, name).tolist(), getattr(want, name).tolist())

    @unittest.skipUnless(COMMAND.exists(), "the command is not built")
    def test_are_those_that_the_command_packs(self):
        tokenizer = kedge.Tokenizer("bytes")
        for window, options in ((32, {"mask": "anchor"}), (33, {"mask": "document"}),
                                (32, {"mask": "document", "separator": "both", "truncate": True}),
                                (16, {"mask": "full", "separator": "eos"}), (31, {"mask": "anchor", "separator": "eos", "reset": True}),
                                (64, {"mask": "document", "separator": "none", "truncate": True}),
                                (32, {"mask": "anchor", "anchor_form": "bos"}),
                                (48, {"mask": "anchor", "interleave": True})):
            with self.subTest(window=window, **options), tempfile.TemporaryDirectory() as home:
                home = Path(home)
                (home / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents()))
                (home / "run.yaml").write_text(
                    f"model: {{init: {{arch: llama, preset: 5m, seed: 1}}}}\ntokenizer: bytes\ndata: {{train: {home}/data.jsonl}}\n"
                    f"window: {window}\nmask: {options['mask']}\nlong_documents: {'truncate' if options.get('truncate') else 'continue'}\n"
                    f"positions: {'reset' if options.get('reset') else 'running'}\n"
                    f"interleave: {str(bool(options.get('interleave'))).lower()}\n"
                    + "".join(f"{key}: {options[key]}\n" for key in ("separator", "anchor_form") if key in options) +
                    f"seed: 5\nsteps: 1\noutput: {home}/out\n")
                subprocess.run([COMMAND, "pack", home / "run.yaml", "--out", home / "pack"], check=True, capture_output=True)
                packed = kedge.Windows.of_pack(home / "pack", tokenizer, window=window, seed=5, **options)
                made = kedge.Windows(map(ids, documents()), window, bos=BOS, eos=EOS, seed=5, **options)
                self.assertEqual(len(made), len(packed))
                for i in range(len(made)):
                    self.same(made[i], packed[i])
                for i in (0, 1, len(made), 3 * len(made) + 2):
                    self.same(made.trained(i), packed.trained(i))
                plain = kedge.Windows.of_pack(home / "pack", tokenizer)
                self.assertEqual((len(plain), plain[0].anchors), (len(made), made[0].anchors))

    def test_training_order_is_another_in_every_pass(self):
        made = kedge.Windows(map(ids, documents()), 32, mask="anchor", bos=BOS, seed=3)
        whole = sorted(plan.token.tolist() for plan in made)
        passes = [[made.trained(p * len(made) + i).token.tolist() for i in range(len(made))] for p in range(2)]
        self.assertNotEqual(*passes)
        self.assertEqual([sorted(x) for x in passes], [whole, whole])

    def test_every_token_and_target_is_there_once(self):
        texts = [ids(text) for text in documents()]
        pairs = sorted(pair for text in texts for pair in zip(text, text[1:]))
        for options in ({"mask": "anchor"}, {"mask": "document"}, {"mask": "anchor", "anchor_form": "bos"},
                        {"mask": "document", "reset": True}):
            plans = list(kedge.Windows(texts, 32, bos=BOS, pad=0, **options))
            self.assertEqual({plan.T for plan in plans}, {32})
            self.assertEqual(sorted((int(t), int(y)) for plan in plans for t, y in zip(plan.token, plan.target) if y >= 0), pairs)

    def test_the_last_window_is_padded_or_dropped(self):
        texts = [[1, 2, 3, 4, 5], [6, 7]]
        last = list(kedge.Windows(texts, 6, mask="anchor", bos=9, pad=0))
        self.assertEqual([plan.token.tolist() for plan in last], [[9, 1, 2, 3, 4, 5], [9, 6, 7, 0, 0, 0]])
        self.assertEqual(last[1].target.tolist(), [-1, 7, -1, -1, -1, -1])
        self.assertEqual(last[1].start.tolist(), [1, 3, 6])
        dropped = kedge.Windows(texts, 6, mask="anchor", bos=9)
        self.assertEqual((len(dropped), dropped.dropped), (1, 2))
        with self.assertRaisesRegex(kedge.Error, "whole windows"):
            kedge.Windows(texts, 6, mask="anchor", bos=9, pad=0).trained(0)
        with self.assertRaises(IndexError):
            dropped[1]
        self.assertEqual(len(list(kedge.Windows(texts, 3, mask="anchor", bos=9, truncate=True))), 2)

    def test_padding_is_not_trained_on(self):
        """Whatever stands around documents, and whether they end where a window does."""
        for count in range(1, 14):
            for options in ({"mask": "anchor"}, {"mask": "document"}, {"mask": "document", "separator": "both"}, {"mask": "full"},
                            {"mask": "full", "separator": "eos"}, {"mask": "anchor", "anchor_form": "bos"},
                            {"mask": "document", "separator": "none"}, {"mask": "document", "truncate": True}):
                made = kedge.Windows([range(100, 100 + count), [7, 8]], 6, bos=1, eos=2, pad=99, **options)
                tokens, targets = ([x for plan in made for x in getattr(plan, name).tolist()] for name in ("token", "target"))
                if "truncate" not in options:
                    self.assertEqual([x for x in tokens if x not in (1, 2, 99)], [*range(100, 100 + count), 7, 8])
                self.assertNotIn(99, targets)
                self.assertEqual([y for x, y in zip(tokens, targets) if x == 99 and y >= 0], [])
                if options.get("separator") not in ("eos", "both"):  # an EOS may be all that goes on
                    self.assertTrue(all(set(plan.token.tolist()) - {1, 2, 99} for plan in made), "a window of padding alone")

    def test_a_document_goes_on_with_its_next_token_as_target(self):
        first, second = kedge.Windows([[1, 2, 3, 4, 5, 6]], 4, mask="anchor", bos=9)
        self.assertEqual((first.token.tolist(), first.target.tolist()), ([9, 1, 2, 3], [-1, 2, 3, 4]))
        self.assertEqual((second.token.tolist(), second.target.tolist()), ([9, 4, 5, 6], [-1, 5, 6, -1]))

    def test_full_trains_on_the_whole_window(self):
        plan, = kedge.Windows([[1, 2], [3, 4]], 6, mask="full", bos=9)
        self.assertEqual((plan.token.tolist(), plan.target.tolist()), ([9, 1, 2, 9, 3, 4], [1, 2, 9, 3, 4, -1]))

    def test_what_is_refused(self):
        for options, text in [({"mask": "document", "separator": "eos"}, "EOS"), ({"mask": "anchor"}, "BOS"),
                              ({"mask": "none", "bos": 1}, "mask"), ({"mask": "full", "separator": "sep"}, "separator")]:
            with self.assertRaisesRegex(kedge.Error, text):
                list(kedge.Windows([[1, 2, 3]], 3, **options))
        with self.assertRaisesRegex(kedge.Error, "need 2"):
            list(kedge.Windows([[1]], 1, mask="anchor", bos=1))


@unittest.skipUnless(torch, "PyTorch is not installed")
class Batches(unittest.TestCase):
    def test_say_what_they_hold(self):
        collator = kedge.PackCollator(6, mask="anchor", bos=9, pad=0)
        made = collator([[1, 2, 3, 4, 5, 6], {"input_ids": torch.tensor([7, 8])}])
        self.assertEqual({name: x.tolist() if torch.is_tensor(x) else x for name, x in made.items()}, {
            "input_ids": [[9, 1, 2, 3, 4, 5], [9, 6, 7, 8, 0, 0]],
            "labels": [[-100, -100, 2, 3, 4, 5], [-100, -100, -100, 8, -100, -100]],
            "shift_labels": [[-100, 2, 3, 4, 5, 6], [-100, -100, 8, -100, -100, -100]],
            "position_ids": [[0, 1, 2, 3, 4, 5]] * 2,
            "cu_seqlens": [[1, 6, 6, 6], [1, 2, 4, 6]],
            "anchors": 1})
        self.assertEqual((made["cu_seqlens"].dtype, made["input_ids"].dtype), (torch.int32, torch.int64))

    def test_of_rows_packed_before_and_in_workers(self):
        collator = kedge.PackCollator(32, mask="anchor", bos=BOS, reset=True)
        rows = collator.rows(map(ids, documents()))
        plans = kedge.Windows(map(ids, documents()), 32, mask="anchor", bos=BOS, reset=True)
        self.assertEqual(rows, [kedge.collate.row(plan) for plan in plans])
        for dataset in (rows, plans):
            loader = torch.utils.data.DataLoader(dataset, batch_size=4, collate_fn=collator, num_workers=1)
            self.assertTrue(torch.equal(torch.cat([made["input_ids"] for made in loader]), torch.tensor([r["input_ids"] for r in rows])))

    def test_of_other_lengths_or_too_little_are_refused(self):
        collator = kedge.PackCollator(32, mask="document", separator="none")
        with self.assertRaisesRegex(kedge.Error, "not one window"):
            collator([[1, 2, 3]])
        short, = kedge.PackCollator(16, mask="document", separator="none").rows([range(16)])
        long, = collator.rows([range(32)])
        with self.assertRaisesRegex(kedge.Error, "equally long"):
            collator([short, long])


if __name__ == "__main__":
    unittest.main()
