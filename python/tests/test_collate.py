"""Windows of documents are those of kedge's own trainer, and batches say what they hold. Needs Python alone; batches need PyTorch."""
import json
import os
import random
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import conftest  # noqa: F401
import kedge
from kedge.collate import row

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


def tensors(path):
    """Integers of a safetensors file by name."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    code = {"I64": "q", "U8": "B"}
    return {name: memoryview(data[8 + size + x["data_offsets"][0]:8 + size + x["data_offsets"][1]]).cast(code[x["dtype"]]).tolist()
            for name, x in header.items() if name != "__metadata__"}


class Windows(unittest.TestCase):
    @unittest.skipUnless(COMMAND.exists(), "the command is not built")
    def test_are_those_that_the_command_packs(self):
        for window, mask, separator, truncate in ((32, "anchor", "none", False), (33, "document", "bos", False), (32, "document", "both", True),
                                                  (16, "full", "eos", False), (31, "anchor", "eos", False), (64, "document", "none", True)):
            with tempfile.TemporaryDirectory() as home:
                home = Path(home)
                (home / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents()))
                (home / "run.yaml").write_text(
                    f"model: {{init: {{arch: llama, preset: 5m, seed: 1}}}}\ntokenizer: bytes\ndata: {{train: {home}/data.jsonl}}\n"
                    f"window: {window}\nmask: {mask}\nseparator: {separator}\nlong_documents: {'truncate' if truncate else 'continue'}\n"
                    f"steps: 1\noutput: {home}/out\n")
                subprocess.run([COMMAND, "pack", home / "run.yaml", "--out", home / "pack"], check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
                packed = tensors(home / "pack/train.safetensors")
            anchor, ends = mask == "anchor", separator in ("eos", "both")
            lengths = [len(text) + ends for text in documents()]
            found = kedge.collate.segments(lengths, window, anchors=int(anchor), head=int(not anchor and separator in ("bos", "both")),
                                           truncate=truncate)
            whole = [w for _, w in zip(packed["first"][1:], found)]
            self.assertEqual([0] + [sum(map(len, whole[:n + 1])) for n in range(len(whole))], packed["first"])
            self.assertEqual([s for w in whole for s in w], list(zip(packed["document"], packed["from"], packed["count"])))

    def test_every_token_and_target_is_there_once(self):
        texts = [ids(text) for text in documents()]
        pairs = sorted(pair for text in texts for pair in zip(text, text[1:]))
        for options in ({"mask": "anchor"}, {"mask": "document"}, {"mask": "anchor", "anchor_form": "bos"}, {"mask": "document", "reset": True}):
            plans = list(kedge.windows(texts, 32, bos=BOS, pad=0, **options))
            self.assertEqual({plan.T for plan in plans}, {32})
            self.assertEqual(sorted((int(t), int(y)) for plan in plans for t, y in zip(plan.token, plan.target) if y >= 0), pairs)

    def test_the_last_window_is_padded_or_dropped(self):
        texts = [[1, 2, 3, 4, 5], [6, 7]]
        last = list(kedge.windows(texts, 6, mask="anchor", bos=9, pad=0))
        self.assertEqual([plan.token.tolist() for plan in last], [[9, 1, 2, 3, 4, 5], [9, 6, 7, 0, 0, 0]])
        self.assertEqual(last[1].target.tolist(), [-1, 7, -1, -1, -1, -1])
        self.assertEqual(last[1].start.tolist(), [1, 3, 6])
        self.assertEqual(len(list(kedge.windows(texts, 6, mask="anchor", bos=9))), 1)
        self.assertEqual(len(list(kedge.windows(texts, 3, mask="anchor", bos=9, truncate=True))), 2)

    def test_a_document_goes_on_with_its_next_token_as_target(self):
        first, second = kedge.windows([[1, 2, 3, 4, 5, 6]], 4, mask="anchor", bos=9)
        self.assertEqual((first.token.tolist(), first.target.tolist()), ([9, 1, 2, 3], [-1, 2, 3, 4]))
        self.assertEqual((second.token.tolist(), second.target.tolist()), ([9, 4, 5, 6], [-1, 5, 6, -1]))

    def test_full_trains_on_the_whole_window(self):
        plan, = kedge.windows([[1, 2], [3, 4]], 6, mask="full", bos=9)
        self.assertEqual((plan.token.tolist(), plan.target.tolist()), ([9, 1, 2, 9, 3, 4], [1, 2, 9, 3, 4, -1]))

    def test_what_is_refused(self):
        for options, text in [({"mask": "document", "separator": "eos"}, "eos="), ({"mask": "anchor"}, "bos="), ({"mask": "none", "bos": 1}, "mask"),
                              ({"mask": "full", "separator": "sep"}, "separator")]:
            with self.assertRaisesRegex(kedge.Error, text):
                list(kedge.windows([[1, 2, 3]], 3, **options))
        with self.assertRaisesRegex(kedge.Error, "need 2"):
            list(kedge.windows([[1]], 1, mask="anchor", bos=1))


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
        rows = list(collator.rows(map(ids, documents())))
        self.assertEqual(rows, [row(plan) for plan in kedge.windows(map(ids, documents()), 32, mask="anchor", bos=BOS, reset=True)])
        loader = torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=collator, num_workers=1)
        self.assertTrue(torch.equal(torch.cat([made["input_ids"] for made in loader]), torch.tensor([r["input_ids"] for r in rows])))

    def test_of_other_lengths_or_too_little_are_refused(self):
        collator = kedge.PackCollator(32, mask="document", separator="none")
        with self.assertRaisesRegex(kedge.Error, "do not fill"):
            collator([[1, 2, 3]])
        short = next(kedge.PackCollator(16, mask="document", separator="none").rows([range(16)]))
        long = next(collator.rows([range(32)]))
        with self.assertRaisesRegex(kedge.Error, "equally long"):
            collator([short, long])


if __name__ == "__main__":
    unittest.main()
