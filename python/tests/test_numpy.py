"""numpy's arrays, and tensors by DLPack: read and written where they lie."""
import unittest

import conftest  # noqa: F401
import kedge
from definition import attention

try:
    import numpy as np
except ImportError:
    np = None

H, G, E = 4, 2, 8
PLAN = kedge.Plan.of([range(9), range(1), range(12)], mask="anchor", bos=1)
ROPE = kedge.Rope.default(E)


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def inputs(dtype="float32"):
    return draw(PLAN.T, H, E, dtype=dtype), draw(PLAN.T, G, E, dtype=dtype, seed=1), draw(PLAN.T, G, E, dtype=dtype, seed=2)


def bfloat16(x):
    """Its upper halves, rounded to nearest even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


@unittest.skipUnless(np, "numpy is not installed")
class Arrays(unittest.TestCase):
    def test_a_plan_is_numpys_without_copies(self):
        for name in ("start", "position", "base", "target", "token", "depth"):
            x = getattr(PLAN, name)
            self.assertIsInstance(x, np.ndarray)
            self.assertTrue(np.shares_memory(x, getattr(PLAN, name)))
        self.assertEqual(PLAN.start.dtype, np.int64)
        self.assertEqual(PLAN.token.dtype, np.int32)

    def test_results_are_numpys_of_the_type_that_came(self):
        want, _ = attention(*(x.tolist() for x in inputs()), PLAN, ROPE.inv_freq)
        o, lse = kedge.attention_forward(*inputs(), PLAN, ROPE)
        self.assertEqual((o.dtype, o.shape, lse.dtype, lse.shape), (np.float32, (PLAN.T, H, E), np.float32, (H, PLAN.T)))
        self.assertLess(np.abs(o - np.array(want)).max(), 2e-6)
        half, _ = kedge.attention_forward(*inputs(np.float16), PLAN, ROPE)
        self.assertEqual(half.dtype, np.float16)
        self.assertLess(np.abs(half - np.array(want)).max(), 5e-3)
        brain, _ = kedge.attention_forward(*map(bfloat16, inputs()), PLAN, ROPE)
        self.assertEqual(brain.dtype, np.uint16)
        exact, _ = kedge.attention_forward(*(widened(bfloat16(x)) for x in inputs()), PLAN, ROPE)
        self.assertTrue((brain == bfloat16(exact)).all())

    def test_views_are_read_and_written_where_they_lie(self):
        q, k, v = inputs()
        want, want_lse = kedge.attention_forward(q, k, v, PLAN, ROPE)
        fused = np.concatenate([q, k, v], axis=1)  # [T, H + 2 G, E]
        parts = np.split(fused, [H, H + G], axis=1)
        first = [np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2) for x in (q, k, v)]  # heads first in memory
        back = [np.ascontiguousarray(x[::-1])[::-1] for x in (q, k, v)]  # backwards: strides below 0
        for x in (parts, first, back):
            self.assertFalse(x[0].flags.c_contiguous)
            room = np.full((PLAN.T, 3, H, E), 7, np.float32)
            lse = np.empty((H, PLAN.T), np.float32)
            o, same = kedge.attention_forward(*x, PLAN, ROPE, out=room[:, 1], lse=lse)
            self.assertTrue(np.shares_memory(o, room) and same is lse)
            self.assertTrue((room[:, 1] == want).all() and (lse == want_lse).all() and (room[:, ::2] == 7).all())

    def test_gradients_go_where_they_are_wanted(self):
        q, k, v = inputs()
        o, lse = kedge.attention_forward(q, k, v, PLAN, ROPE)
        dout = draw(PLAN.T, H, E, seed=3)
        want = kedge.attention_backward(dout, q, k, v, o, lse, PLAN, ROPE)
        fused = np.zeros((PLAN.T, H + 2 * G, E), np.float32)
        dq, dk, dv = np.split(fused, [H, H + G], axis=1)
        kedge.attention_backward(dout, q, k, v, o, lse, PLAN, ROPE, dq=dq, dk=dk, dv=dv)
        self.assertTrue((fused == np.concatenate(want, axis=1)).all() and (fused != 0).any())

    def test_what_is_read_may_be_read_only_what_is_written_not(self):
        q, k, v = inputs()
        for x in (q, k, v):
            x.flags.writeable = False
        o, _ = kedge.attention_forward(q, k, v, PLAN, ROPE)
        o.flags.writeable = False
        with self.assertRaisesRegex(kedge.Error, "out cannot be written to"):
            kedge.attention_forward(q, k, v, PLAN, ROPE, out=o)

    def test_what_is_refused(self):
        q, k, v = inputs()
        for x, text in [(q.astype(np.float64), "q is F64"), (q.astype(">f4"), ">f4"), (np.asfortranarray(q), "side by side"),
                        (q[0], r"not \[22, heads|not \[23, heads"), (q[:, :, ::2], "side by side|heads, 4")]:
            with self.assertRaisesRegex(kedge.Error, text):
                kedge.attention_forward(x, k, v, PLAN, ROPE)

    def test_bfloat16_of_ml_dtypes(self):
        try:
            import ml_dtypes
        except ImportError:
            self.skipTest("ml_dtypes is not installed")
        x = [a.astype(ml_dtypes.bfloat16) for a in inputs()]
        o, _ = kedge.attention_forward(*x, PLAN, ROPE)
        self.assertEqual(o.dtype, ml_dtypes.bfloat16)
        self.assertTrue((o.view(np.uint16) == kedge.attention_forward(*map(bfloat16, inputs()), PLAN, ROPE)[0]).all())

    def test_tensors_by_dlpack(self):
        try:
            import torch
        except ImportError:
            self.skipTest("PyTorch is not installed")
        want, _ = kedge.attention_forward(*inputs(), PLAN, ROPE)
        fused = torch.from_numpy(np.concatenate(inputs(), axis=1))
        out = torch.zeros(PLAN.T, H, E)
        o, _ = kedge.attention_forward(*fused.split([H, G, G], 1), PLAN, ROPE, out=out)
        self.assertTrue(o is out and (out.numpy() == want).all())
        brain = torch.empty(PLAN.T, H, E, dtype=torch.bfloat16)
        kedge.attention_forward(*fused.bfloat16().split([H, G, G], 1), PLAN, ROPE, out=brain)
        self.assertLess((brain.float() - out).abs().max().item(), 0.05)
        with self.assertRaisesRegex(kedge.Error, "q is F64"):
            kedge.attention_forward(*fused.double().split([H, G, G], 1), PLAN, ROPE)


if __name__ == "__main__":
    unittest.main()
