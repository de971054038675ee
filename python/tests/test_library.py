"""Tokenizer, safetensors, models and rotation from Python, against the files that transformers made (tests/golden). Needs Python alone."""
import array
import json
import math
import random
import tempfile
import threading
import unittest
from pathlib import Path

import conftest  # noqa: F401
import kedge
from definition import rotate

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden"


def flat(x):
    return memoryview(x).cast("B").cast("f").tolist()


def grid(*shape, seed=1):
    draw = random.Random(seed)
    x = memoryview(bytearray(4 * math.prod(shape))).cast("f")
    for i in range(len(x)):
        x[i] = draw.gauss(0, 1)
    return x.cast("B").cast("f", list(shape))


class Tokenizers(unittest.TestCase):
    def test_ids_are_hugging_faces(self):
        for name in ("llama2", "llama3", "qwen", "mistral"):
            tokenizer = kedge.Tokenizer(GOLDEN / "tokenizers" / name)
            with open(GOLDEN / "tokenizers" / name / "vectors.jsonl", encoding="utf-8") as lines:
                vectors = [json.loads(line) for _, line in zip(range(300), lines)]
            for x in (x for x in vectors if "text" in x):
                ids = x.get("before", []) + x["ids"] + x.get("after", [])
                self.assertEqual(tokenizer.encode(x["text"], specials=True), ids, x["text"])
                self.assertEqual(tokenizer.encode(x["text"]), x["ids"], x["text"])
                self.assertEqual((tokenizer.decode(ids), tokenizer.decode(ids, skip_specials=True)), (x["decoded"], x["plain"]))

    def test_bytes_go_there_and_back(self):
        tokenizer = kedge.Tokenizer("bytes")
        self.assertEqual((len(tokenizer), tokenizer.bos, tokenizer.eos), (259, 256, 257))
        text = "Gezeiten, 潮汐\n"
        ids = tokenizer.encode(text)
        self.assertEqual(ids, list(text.encode()))
        self.assertEqual(tokenizer.decode(ids), text)
        self.assertEqual(tokenizer.decode_bytes([256, 255, 104], skip_specials=True), b"\xffh")
        self.assertEqual((tokenizer.encode(""), tokenizer.decode([])), ([], ""))
        with self.assertRaisesRegex(kedge.Error, "259|300"):
            tokenizer.decode([300])

    def test_threads_share_one(self):
        tokenizer, found = kedge.Tokenizer("bytes"), []

        def work(n):
            found.append([tokenizer.encode(f"{n}" * 50) for _ in range(100)] == [[48 + n] * 50] * 100)

        threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [True] * 4)

    def test_what_is_refused(self):
        with self.assertRaisesRegex(kedge.Error, "nowhere"):
            kedge.Tokenizer("nowhere")


class Files(unittest.TestCase):
    def test_written_and_read(self):
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / "x.safetensors"
            tensors = {"b": grid(2, 3), "a": array.array("q", [1, -2, 3]), "none": memoryview(bytearray(0)).cast("f")}
            kedge.safetensors.save(path, tensors, {"by": "a test"})
            found = kedge.safetensors.Tensors(path)
            self.assertEqual((sorted(found), len(found), found.metadata), (["a", "b", "none"], 3, {"format": "pt", "by": "a test"}))
            self.assertEqual((found.describe("b"), found.describe("a")), (("F32", (2, 3)), ("I64", (3,))))
            self.assertEqual((flat(found["b"]), memoryview(found["a"]).tolist()), (flat(grid(2, 3)), [1, -2, 3]))
            self.assertIn("a", found)
            with self.assertRaises(KeyError):
                found["c"]
            with self.assertRaises(kedge.Error):
                found.float32("a")

    def test_a_folder_in_shards(self):
        found = kedge.safetensors.Tensors(GOLDEN / "llama-linear")
        self.assertIn("model.embed_tokens.weight", found)
        dtype, shape = found.describe("model.embed_tokens.weight")
        self.assertEqual(len(flat(found["model.embed_tokens.weight"])), math.prod(shape))
        self.assertEqual(dtype, "F32")


class Models(unittest.TestCase):
    def test_logits_and_losses_are_transformers(self):
        for name in ("llama-grouped", "mistral", "qwen2"):
            expected = kedge.safetensors.Tensors(GOLDEN / name / "expected.safetensors")
            tokens = memoryview(expected["tokens"]).tolist()
            model = kedge.Model(GOLDEN / name, len(tokens))
            self.assertEqual(expected.describe("logits")[1], (len(tokens), model.vocabulary))
            want, got = flat(expected["logits"]), flat(model.logits(tokens))
            self.assertLess(max(abs(a - b) for a, b in zip(got, want)), 2e-5)
            self.assertEqual(flat(model.logits(tokens, 7, 9)), got[7 * model.vocabulary:9 * model.vocabulary])
            losses = memoryview(model.losses(tokens)).tolist()
            for t in (0, len(tokens) // 2):
                row = got[t * model.vocabulary:(t + 1) * model.vocabulary]
                self.assertAlmostEqual(losses[t], math.log(sum(map(math.exp, row))) - row[tokens[t + 1]], places=5)
            self.assertEqual(losses[-1], 0)

    def test_a_plan_keeps_documents_apart(self):
        with kedge.Context(threads=1) as ctx:
            model = kedge.Model(GOLDEN / "llama-plain", 32, ctx=ctx, frame="document")
            plans = [kedge.Plan.of([[5, 6, 7, n], [8, 9, 10]], mask="document", bos=1) for n in (3, 4)]
            a, b = (memoryview(model.losses(plan)).tolist() for plan in plans)
            self.assertEqual(a[4:], b[4:])
            self.assertNotEqual(a[:4], b[:4])
            with self.assertRaises(kedge.Error):
                model.logits(plans[0], 5, 9)
            with self.assertRaises(kedge.Error):
                model.losses(range(33))
        with self.assertRaisesRegex(kedge.Error, "closed"):  # its context is, and the model with it
            model.losses(plans[0])


class Rotation(unittest.TestCase):
    def test_is_by_pairs(self):
        x, rope = grid(5, 2, 8), kedge.Rope.default(8)
        at = [0, 1, 700, -3, -90000]
        got = memoryview(kedge.rotate(x, at, rope)).tolist()
        for t, rows in enumerate(memoryview(x).tolist()):
            for h, row in enumerate(rows):
                for a, b in zip(got[t][h], rotate(row, at[t], rope.inv_freq)):
                    self.assertAlmostEqual(a, b, delta=1e-6)
        back = flat(kedge.rotate(memoryview(kedge.rotate(x, at, rope)), at, rope, back=True))
        self.assertLess(max(abs(a - b) for a, b in zip(back, flat(x))), 1e-6)
        kedge.rotate(x, at, rope, out=x)
        self.assertEqual(memoryview(x).tolist(), got)

    def test_attention_of_what_comes_rotated(self):
        plan, rope = kedge.Plan.of([range(9), range(5)], mask="document", reset=True), kedge.Rope.default(8)
        q, k, v = (grid(plan.T, 2, 8, seed=seed) for seed in range(3))
        turned = [memoryview(kedge.rotate(x, plan.position, rope)) for x in (q, k)]
        inside, outside = flat(kedge.attention_forward(q, k, v, plan, rope)[0]), flat(kedge.attention_forward(*turned, v, plan)[0])
        self.assertLess(max(abs(a - b) for a, b in zip(inside, outside)), 2e-6)

    def test_what_is_refused(self):
        x, rope = grid(5, 2, 8), kedge.Rope.default(8)
        for arguments, text in [((x, [1, 2], rope), "2 positions"), ((x, range(5), kedge.Rope.default(6)), "heads of 6"),
                                ((x, [0.5] * 5, rope), "integers")]:
            with self.assertRaisesRegex(kedge.Error, text):
                kedge.rotate(*arguments)


if __name__ == "__main__":
    unittest.main()
