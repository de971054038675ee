"""Leaks that were planted are found and named; masks that hide too much are too. Needs PyTorch; the last class transformers."""
import contextlib
import io
import json
import tempfile
import unittest

import conftest  # noqa: F401

try:
    import torch
    from kedge import leaks
except ImportError:
    torch = None
try:
    import transformers
except ImportError:
    transformers = None

V, T, STARTS = 16, 24, [1, 7, 8, 17]


def sight(starts, anchors=1, T=T):
    """[T, T] who sees whom, if nothing is wrong."""
    document = sum((torch.arange(T) >= start).long() for start in starts)
    return ((document[:, None] == document) | (torch.arange(T) < anchors)).tril()


class Toy(torch.nn.Module if torch else object):
    """Layers of attention under a dense mask."""

    def __init__(self, mask, layers=1):
        super().__init__()
        torch.manual_seed(2)
        self.embedding, self.head, self.mask = torch.nn.Embedding(V, 8), torch.nn.Linear(8, V), mask
        self.layers = torch.nn.ModuleList(torch.nn.Linear(8, 24) for _ in range(layers))

    def forward(self, ids):
        x = self.embedding(ids)
        for layer in self.layers:
            q, k, v = layer(x)[:, None].chunk(3, -1)
            x = x + torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)[:, 0]
        return self.head(x.tanh())


@unittest.skipUnless(torch, "PyTorch is not installed")
class Planted(unittest.TestCase):
    def check(self, mask, starts=STARTS, layers=1, rows=1, gradients=True, **options):
        toy = Toy(mask, layers)
        ids = torch.randint(V, (rows, T), generator=torch.Generator().manual_seed(1))
        return leaks.check(toy, ids, starts, anchors=1, embedding=toy.embedding if gradients else None, vocabulary=V, **options)

    def test_a_right_mask_has_none(self):
        for layers in (1, 3):
            report = self.check(sight(STARTS), layers=layers, rows=2)
            self.assertTrue(report.holds, str(report))
            self.assertEqual(list(report.faults()), [])
            self.assertEqual([(p.row, p.document, p.token) for p in report.rows][:8],
                             [(0, -1, 0), (0, 0, 1), (0, 0, 4), (0, 1, 7), (0, 2, 8), (0, 2, 12), (0, 3, 17), (0, 3, 20)])
            self.assertEqual(report.rows[1].outputs.inside_of, 6)

    def test_one_token_that_one_document_sees_is_found_and_named(self):
        mask = sight(STARTS)
        mask[17:, 3] = True   # document 3 sees a token of document 0 that is not touched
        report = self.check(mask)
        self.assertFalse(report.holds)
        self.assertIn("leak: document 0 moves when token 17 of document 3 is touched: gradients of token 3", list(report.faults()))
        self.assertEqual({p.document for p in report.rows if p.verdict != "holds"}, {3})

    def test_and_by_outputs_alone_where_layers_carry_it_on(self):
        mask = sight(STARTS)
        mask[17:, 3] = True
        report = self.check(mask, layers=2, gradients=False)
        self.assertIn("leak: document 3 moves when token 1 of document 0 is touched: outputs of 7 tokens, 17 to 23", list(report.faults()))

    def test_a_token_that_sees_what_comes_later_is_found(self):
        mask = sight(STARTS)
        mask[9, 12] = True
        said = "leak: document 2 moves when token 12 of document 2 is touched: outputs of token 9"
        self.assertTrue(any(fault.startswith(said) for fault in self.check(mask).faults()))

    def test_an_anchor_that_sees_a_document_is_found(self):
        mask = sight(STARTS)
        mask[0, 8] = True
        said = "leak: the anchor moves when token 8 of document 2 is touched: outputs of token 0"
        self.assertTrue(any(fault.startswith(said) for fault in self.check(mask).faults()))

    def test_a_mask_that_hides_a_document_from_itself_is_found(self):
        report = self.check(torch.eye(T, dtype=torch.bool) | (torch.arange(T) < 1))
        self.assertEqual(report.count("leaks"), 0)
        self.assertIn("blind: document 0 does not move when token 1 of document 0 is touched: outputs of 5 tokens, 2 to 6; "
                      "gradients of 5 tokens, 2 to 6", list(report.faults()))

    def test_an_anchor_that_nobody_sees_is_found(self):
        report = self.check(sight(STARTS, anchors=0))
        self.assertEqual(report.count("leaks"), 0)
        self.assertIn("blind: document 3 does not move when token 0 of the anchor is touched: outputs of 7 tokens, 17 to 23; "
                      "gradients of 7 tokens, 17 to 23", list(report.faults()))

    def test_rows_are_told_apart(self):
        toy, ids = Toy(sight(STARTS)), torch.randint(V, (2, T), generator=torch.Generator().manual_seed(1))
        report = leaks.check(lambda ids: toy(ids) + toy(ids)[:, -1:].sum(0), ids, STARTS, anchors=1, vocabulary=V)
        self.assertTrue(any("of row 1 moves when" in x and "of row 0 is touched" in x for x in report.faults()))

    def test_noise_is_no_leak_but_more_than_it_is(self):
        def noisy(toy):
            draw = torch.Generator().manual_seed(3)
            return lambda ids: toy(ids) + 1e-4 * torch.randn(*ids.shape, V, generator=draw)
        ids, wrong = torch.randint(V, (1, T), generator=torch.Generator().manual_seed(1)), sight(STARTS)
        wrong[17:, 1] = True
        self.assertEqual(leaks.check(noisy(Toy(sight(STARTS))), ids, STARTS, anchors=1, vocabulary=V).count("leaks"), 0)
        self.assertGreater(leaks.check(noisy(Toy(wrong)), ids, STARTS, anchors=1, vocabulary=V).count("leaks"), 0)

    def test_dropout_is_the_same_each_time(self):
        toy, drop = Toy(sight(STARTS)), torch.nn.Dropout(0.5)
        ids = torch.randint(V, (1, T), generator=torch.Generator().manual_seed(1))
        self.assertEqual(leaks.check(lambda ids: drop(toy(ids)), ids, STARTS, anchors=1, vocabulary=V).noise, {"outputs": 0.0})

    def test_what_is_refused(self):
        ids = torch.zeros(1, T, dtype=torch.int64)
        for options, text in (({"starts": [0, 5]}, "ascend from 1"), ({"starts": [[1], [1]]}, "of 2 rows"),
                              ({"starts": [1, 9, 9]}, "ascend")):
            with self.assertRaisesRegex(ValueError, text):
                self.check(sight(STARTS), **options)
        with self.assertRaisesRegex(ValueError, "two different"):
            leaks.check(Toy(sight(STARTS)), ids, STARTS, anchors=1)
        with self.assertRaisesRegex(ValueError, "never calls the embedding"):
            leaks.check(Toy(sight(STARTS)), ids, STARTS, anchors=1, vocabulary=V, embedding=torch.nn.Embedding(1, 1))
        with self.assertRaisesRegex(ValueError, "not finite"):
            leaks.check(lambda ids: torch.full((1, T, 2), float("nan")), ids, STARTS, anchors=1, vocabulary=V)


@unittest.skipUnless(torch and transformers, "transformers is not installed")
class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        config = transformers.LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                                          num_key_value_heads=2)
        torch.manual_seed(1)
        transformers.LlamaForCausalLM(config).save_pretrained(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = leaks.main([self.folder.name, "--length", "24", "--documents", "3", *arguments])
        return code, out.getvalue(), err.getvalue()

    def test_exit_codes_and_json(self):
        code, out, _ = self.run_("--packing", "none")
        self.assertEqual((code, "leak: document 1 moves when token 0 of document 0 is touched" in out), (1, True))
        code, out, _ = self.run_("--packing", "position_ids", "--cache", "off", "--json")
        report = json.loads(out)
        self.assertEqual((code, report["holds"], report["faults"], report["tokens"], len(report["rows"]) > 3), (0, True, [], 24, True))
        code, out, _ = self.run_("--packing", "mask4d", "--anchor", "--rows", "2", "--outputs-only")
        self.assertEqual((code, "nothing leaks" in out), (0, True))
        code, _, err = self.run_("--packing", "position_ids", "--anchor")
        self.assertEqual((code, "has no anchor" in err), (2, True))
        code, _, err = self.run_("--attention", "nonsense")
        self.assertEqual((code, err.startswith("kedge.leaks: ")), (2, True))


if __name__ == "__main__":
    unittest.main()
