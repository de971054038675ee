"""What needs Python alone, pytest not even: the library found, plans, attention on buffers, errors."""
import os
import random
import re
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import conftest  # noqa: F401
import kedge
from definition import attention
from kedge import _abi

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [[11, 12, 13, 14, 15], [21], [31, 32, 33]]


def heads(T, count, E, seed):
    draw = random.Random(seed)
    x = memoryview(bytearray(4 * T * count * E)).cast("f")
    for i in range(len(x)):
        x[i] = draw.gauss(0, 1)
    return x.cast("B").cast("f", [T, count, E])


def lists(x):
    return memoryview(x).tolist()


def flat(x):
    return [e for token in x for head in token for e in head]


def python(code, **environment):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore", **environment}
    return subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment, stdout=subprocess.PIPE, text=True).stdout


class Interface(unittest.TestCase):
    def test_the_version_is_the_headers(self):
        version = re.search(r'KD_VERSION "(.*)"', (ROOT / "include/kedge.h").read_text())[1]
        self.assertEqual([kedge.__version__, kedge.library().kd_version().decode()], [version, version])

    def test_structures_and_constants_are_the_headers(self):
        text = (ROOT / "tests/golden/abi.txt").read_text()
        self.assertIn(f"KD_ABI {_abi.ABI}\n", text)
        for name, struct in _abi.STRUCTS.items():
            body = re.search(rf"struct {name}: \d+ bytes\n((?: .*\n)+)", text)[1]
            fields = [(field, int(at), int(size)) for field, at, size in re.findall(r"(\w+) +at +(\d+), +(\d+) bytes", body)]
            own = [(f.rstrip("_"), getattr(struct, f).offset, getattr(struct, f).size) for f, _ in struct._fields_]
            self.assertEqual(own, fields, name)
        for enum, prefix, names in (("mask", "MASK_", _abi.MASKS), ("frame", "FRAME_", _abi.FRAMES), ("view_type", "VIEW_", _abi.VIEWS),
                                    ("separator", "SEPARATE_", _abi.SEPARATORS), ("dtype", "", _abi.DTYPES)):
            body = re.search(rf"enum kd_{enum}\n((?: .*\n)+)", text)[1]
            found = [(name, int(value)) for name, value in re.findall(rf" KD_{prefix}(\w+) +(\d+)", body) if name != "DTYPES"]
            self.assertEqual(found, [(name.upper(), i) for i, name in enumerate(names)])

    def test_names_of_precisions_are_the_librarys(self):
        lib = kedge.library()
        lib.kd_precision_name.restype = _abi.c.c_char_p
        self.assertEqual(tuple(lib.kd_precision_name(i).decode() for i in range(len(_abi.PRECISIONS))), _abi.PRECISIONS)
        self.assertIsNone(lib.kd_precision_name(len(_abi.PRECISIONS)))

    def test_a_library_that_is_not_there_is_said(self):
        said = python("import kedge\ntry: kedge.library()\nexcept kedge.Error as error: print(error)", KEDGE_LIBRARY="/nowhere/libkedge.so")
        for text in ("make install", "KEDGE_LIBRARY", "/nowhere"):
            self.assertIn(text, said)


class Plans(unittest.TestCase):
    def test_behind_an_anchor(self):
        plan = kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1)
        self.assertEqual((plan.T, plan.N, plan.anchors), (10, 3, 1))
        self.assertEqual(list(plan.start), [1, 6, 7, 10])
        self.assertEqual(list(plan.token), [1, 11, 12, 13, 14, 15, 21, 31, 32, 33])
        self.assertEqual(list(plan.target), [-1, 12, 13, 14, 15, -1, -1, 32, 33, -1])
        self.assertEqual(list(plan.position), list(range(10)))
        self.assertEqual(plan.pairs, 1 + (15 + 5) + (1 + 1) + (6 + 3))
        self.assertEqual(list(kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1, reset=True).position), [0, 1, 2, 3, 4, 5, 1, 1, 2, 3])

    def test_of_each_switch(self):
        plan = kedge.Plan.of(DOCUMENTS, mask="document", bos=7, lead_bos=True, predict_first=True, next=[16, -1, -2])
        self.assertEqual(list(plan.token), [7, 11, 12, 13, 14, 15, 7, 21, 7, 31, 32, 33])
        self.assertEqual(list(plan.target), [11, 12, 13, 14, 15, 16, 21, -1, 31, 32, 33, -1])
        self.assertEqual(kedge.Plan.of(DOCUMENTS, mask="full").pairs, 45)
        self.assertEqual(list(kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1, anchor_form="bos").start), [0, 6, 8, 12])
        self.assertEqual(list(kedge.Plan.of(DOCUMENTS, mask="document", loss=[None, None, [1, 0, 1]]).target)[6:], [-1, 33, -1])

    def test_a_layout_is_the_plan_it_came_from(self):
        for reset in (False, True):
            for form in ("shared", "bos"):
                plan = kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1, reset=reset, anchor_form=form)
                same = kedge.Plan.layout(plan.start, plan.position, plan.anchors)
                for name in ("start", "position", "base"):
                    self.assertEqual(list(getattr(same, name)), list(getattr(plan, name)))
                self.assertEqual((same.T, same.N, same.anchors, same.pairs), (plan.T, plan.N, plan.anchors, plan.pairs))
        self.assertEqual(list(kedge.Plan.layout([0, 2, 2, 3], [0, 1, 2]).start), [0, 2, 3])
        with self.assertRaisesRegex(kedge.Error, "no target"):
            same.target

    def test_memory_outlives_the_plan(self):
        position = kedge.Plan.of([range(1000)], mask="full").position
        kedge.Plan.of([range(1000, 0, -1)], mask="full", offset=5)
        self.assertEqual(list(position), list(range(1000)))

    def test_what_is_refused(self):
        for call, text in [
            (lambda: kedge.Plan.of(DOCUMENTS, mask="anchor"), "bos="),
            (lambda: kedge.Plan.of(DOCUMENTS, mask="causal"), "one of full, document, anchor"),
            (lambda: kedge.Plan.of([[2**31]], mask="full"), "32 bits"),
            (lambda: kedge.Plan.of([[1, 2]], mask="full", loss=[[1]]), "1 of loss"),
            (lambda: kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1, predict_first=True), "no one document"),
            (lambda: kedge.Plan.lengths([3, -4], mask="full"), "a document of -4 tokens"),
            (lambda: kedge.Plan.layout([0, 3, 2], [0, 1]), "must rise"),
            (lambda: kedge.Plan.layout([1, 2], [0, 1]), "must rise"),
            (lambda: kedge.Plan.layout([0, 2], [0, -1]), "below 0"),
        ]:
            with self.assertRaisesRegex(kedge.Error, text) as caught:
                call()
            self.assertEqual(caught.exception.status, "argument")


class Attention(unittest.TestCase):
    def close(self, got, want, least):
        self.assertEqual(len(got), len(want))
        self.assertLess(max(abs(a - b) for a, b in zip(got, want)), least)

    def test_is_its_definition(self):
        H, G, E = 4, 2, 8
        for mask, reset in (("full", False), ("document", True), ("anchor", False), ("anchor", True)):
            plan = kedge.Plan.of(DOCUMENTS, mask=mask, bos=1, reset=reset)
            q, k, v = heads(plan.T, H, E, 1), heads(plan.T, G, E, 2), heads(plan.T, G, E, 3)
            for rope, freq in ((kedge.Rope.default(E), kedge.Rope.default(E).inv_freq), (None, [0] * (E // 2))):
                want_o, want_lse = attention(lists(q), lists(k), lists(v), plan, freq)
                for frame in ("document", "window"):
                    o, lse = kedge.attention_forward(q, k, v, plan, rope, frame=frame)
                    self.close(flat(lists(o)), flat(want_o), 2e-6)
                    self.close(sum(lists(lse), []), sum(want_lse, []), 2e-6)

    def test_gradients_are_slopes(self):
        """The slope of sum(o * dout) along a random direction, by differences of the definition."""
        H, G, E, step = 2, 1, 4, 1e-5
        plan, rope = kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1), kedge.Rope.default(E)
        q, k, v, dout = (heads(plan.T, n, E, seed) for seed, n in enumerate((H, G, G, H)))
        o, lse = kedge.attention_forward(q, k, v, plan, rope)
        gradients = kedge.attention_backward(dout, q, k, v, o, lse, plan, rope)
        for which, gradient in enumerate(gradients):
            way, ends = heads(plan.T, (H, G, G)[which], E, 9), []
            for sign in (1, -1):
                x = [lists(q), lists(k), lists(v)]
                for token, move in zip(x[which], lists(way)):
                    for head, by in zip(token, move):
                        head[:] = [a + sign * step * b for a, b in zip(head, by)]
                ends.append(sum(a * b for a, b in zip(flat(attention(*x, plan, rope.inv_freq)[0]), flat(lists(dout)))))
            slope = sum(a * b for a, b in zip(flat(lists(gradient)), flat(lists(way))))
            self.close([slope], [(ends[0] - ends[1]) / (2 * step)], 1e-4 * max(1, abs(slope)))

    def test_a_document_does_not_move_another(self):
        plan, rope = kedge.Plan.of(DOCUMENTS, mask="anchor", bos=1), kedge.Rope.default(8)
        q, k, v = (heads(plan.T, 2, 8, seed) for seed in range(3))
        before = lists(kedge.attention_forward(q, k, v, plan, rope)[0])
        v[6, 0, 0] += 1
        after = lists(kedge.attention_forward(q, k, v, plan, rope)[0])
        self.assertEqual([t for t in range(plan.T) if before[t] != after[t]], [6])

    def test_what_is_refused(self):
        plan, q = kedge.Plan.lengths([3, 4], mask="document"), heads(7, 2, 8, 1)
        for arguments, options, text in [
            ((q, q, heads(6, 2, 8, 1), plan), {}, r"v is \[6, 2, 8\], not \[7, heads, 8\]"),
            ((q, heads(7, 3, 8, 1), heads(7, 3, 8, 1), plan), {}, "2 query heads on 3"),
            ((q, q, q, plan), {"frame": "page"}, "window, document"),
            ((q, q, q, plan), {"precision": "f64"}, "bf16-eager"),
            ((q, q, q, plan, kedge.Rope.default(4)), {}, "2 frequencies, heads of 8 have 4"),
            ((bytes(7 * 2 * 8 * 4), q, q, plan), {}, "writable"),
            (([1.0], q, q, plan), {}, "q is a list"),
            ((q, q, q, plan), {"out": heads(7, 2, 6, 1)}, r"out is \[7, 2, 6\]"),
            ((q, q, q, plan), {"lse": heads(7, 2, 1, 1)}, r"lse is \[7, 2, 1\]"),
            ((q, q, q, plan), {"scale": -1.0}, "scale"),
        ]:
            with self.assertRaisesRegex(kedge.Error, text):
                kedge.attention_forward(*arguments, **options)

    def test_scaling_is_of_queries_and_keys(self):
        plan, rope, q = kedge.Plan.lengths([9], mask="full"), kedge.Rope.default(8), heads(9, 2, 8, 1)
        scaled = kedge.attention_forward(q, q, q, plan, kedge.Rope(rope.inv_freq, scaling=2.0), scale=0.1)[0]
        self.close(flat(lists(scaled)), flat(lists(kedge.attention_forward(q, q, q, plan, rope, scale=0.4)[0])), 1e-6)

    def test_rope_of_a_config(self):
        want = kedge.Rope.default(8, 5e5).inv_freq
        self.assertEqual(kedge.Rope.from_config({"head_dim": 8, "rope_theta": 5e5}).inv_freq, want)
        split = {"hidden_size": 32, "num_attention_heads": 4, "rope_parameters": {"rope_theta": 5e5}}
        self.assertEqual(kedge.Rope.from_config(split).inv_freq, want)
        with self.assertRaisesRegex(kedge.Error, "inv_freq"):
            kedge.Rope.from_config({"head_dim": 8, "rope_scaling": {"rope_type": "yarn"}})


class Contexts(unittest.TestCase):
    def test_are_closed_once_and_say_so(self):
        plan, q = kedge.Plan.lengths([4], mask="full"), heads(4, 1, 2, 1)
        with kedge.Context(threads=1) as ctx:
            for E in range(1, 8):  # more tables than it keeps
                x = heads(4, 1, 2 * E, 1)
                kedge.attention_forward(x, x, x, plan, kedge.Rope.default(2 * E), ctx=ctx)
        ctx.close()
        with self.assertRaisesRegex(kedge.Error, "closed"):
            kedge.attention_forward(q, q, q, plan, ctx=ctx)
        with self.assertRaisesRegex(kedge.Error, "abacus"):
            kedge.Context("abacus")

    def test_threads_have_their_own_and_may_share_one(self):
        plan, rope, found = kedge.Plan.lengths([200, 50], mask="document"), kedge.Rope.default(16), []
        q, shared = heads(250, 2, 16, 1), kedge.Context(threads=2)
        want = lists(kedge.attention_forward(q, q, q, plan, rope)[0])

        def work(ctx):
            found.append((kedge.default_context(), lists(kedge.attention_forward(q, q, q, plan, rope, ctx=ctx)[0]) == want))

        threads = [threading.Thread(target=work, args=[ctx]) for ctx in (None, None, shared, shared, shared)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([same for _, same in found], [True] * 5)
        self.assertEqual(len({id(ctx) for ctx, _ in found}), 5)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_of_a_fork_opens_its_own(self):
        said = python("""if True:
            import os, kedge
            plan = kedge.Plan.lengths([300], mask="full")
            x = memoryview(bytearray(300 * 64 * 4)).cast("f", [300, 2, 32])
            ctx = kedge.Context(threads=2)
            kedge.attention_forward(x, x, x, plan)
            child = os.fork()
            if not child:
                kedge.attention_forward(x, x, x, plan)
                try:
                    kedge.attention_forward(x, x, x, plan, ctx=ctx)
                except kedge.Error as error:
                    os._exit(7 if "fork" in str(error) else 1)
                os._exit(2)
            assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
            kedge.attention_forward(x, x, x, plan, ctx=ctx)
            print("done")
        """)
        self.assertEqual(said, "done\n")


if __name__ == "__main__":
    unittest.main()
