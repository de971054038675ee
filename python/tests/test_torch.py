"""The operators of PyTorch against the definition in double by PyTorch's own autograd: outputs, gradients, strides, torch.compile."""
import kedge
import pytest

torch = pytest.importorskip("torch")
import kedge.torch as kt  # noqa: E402

DOCUMENTS = [range(5), range(1), range(11), range(3)]
EPS = {torch.float32: 2**-24, torch.bfloat16: 2**-9, torch.float16: 2**-12}


def plans(mask="anchor", **options):
    """Two windows of one length, of other documents."""
    return [kedge.Plan.of(d, mask=mask, bos=1, **options) for d in (DOCUMENTS, [range(20)])]


def tensors(B, T, H, G, E, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(B, heads, T, E, generator=draw).to(dtype).requires_grad_() for heads in (H, G, G)]


def definition(q, k, v, plan, rope, scale=None):
    """q [H,T,E], k and v [G,T,E] of one window, in double: an explicit mask, softmax."""
    H, T, E = q.shape
    q, k, v = q.double(), k.double().repeat_interleave(H // k.shape[0], 0), v.double().repeat_interleave(H // k.shape[0], 0)
    start, at = torch.tensor(list(plan.start)), torch.arange(T)
    document = torch.bucketize(at, start, right=True)
    sees = (document[:, None] == document) & (at[:, None] >= at) | (at < plan.anchors)
    sees &= at[:, None] >= at
    if rope is not None:
        angle = torch.tensor(list(plan.position)).double()[:, None] * torch.tensor(rope.inv_freq, dtype=torch.float64)
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)
        q, k = (x * cos + torch.cat([-x[..., E // 2:], x[..., :E // 2]], -1) * sin for x in (q, k))
    logits = (q @ k.transpose(1, 2) * (E ** -0.5 if scale is None else scale)).masked_fill(~sees, -torch.inf)
    return logits.softmax(-1) @ v, logits.logsumexp(-1)


def both(B, H, G, E, plan, rope, dtype=torch.float32, **options):
    """Outputs and gradients by kedge and by the definition."""
    q, k, v = tensors(B, plan[0].T, H, G, E, dtype)
    o, lse = kt.attention(q, k, v, plan, rope, return_lse=True, **options)
    dout = torch.randn(o.shape, generator=torch.Generator().manual_seed(7))
    got = [o, lse, *torch.autograd.grad(o, (q, k, v), dout.to(dtype))]
    each = [definition(q[b], k[b], v[b], plan[b], rope) for b in range(B)]
    want_o, want_lse = (torch.stack(x) for x in zip(*each))
    return got, [want_o, want_lse, *torch.autograd.grad(want_o, (q, k, v), dout.to(dtype).double())]


@pytest.mark.parametrize("mask, reset", [("full", False), ("document", True), ("anchor", False), ("anchor", True)])
@pytest.mark.parametrize("rope", [kedge.Rope.default(16), None], ids=["rope", "rotated"])
def test_outputs_and_gradients_are_the_definitions(mask, reset, rope):
    for H, G in ((1, 1), (4, 2), (6, 1)):
        for got, want in zip(*both(2, H, G, 16, plans(mask, reset=reset), rope)):
            # float32: an error of some ulps in each of T+E steps.
            most = float(want.detach().abs().max())
            torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=200 * EPS[torch.float32] * most)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_rounded_once(dtype):
    got, want = both(2, 4, 2, 16, plans(), kedge.Rope.default(16), dtype)
    assert got[0].dtype == dtype and got[1].dtype == torch.float32 and all(x.dtype == dtype for x in got[2:])
    for x, y in zip(got, want):  # o is rounded before the backward reads it
        torch.testing.assert_close(x.double(), y.double(), rtol=4 * EPS[dtype], atol=4 * EPS[dtype] * float(y.detach().abs().max()))


@pytest.mark.filterwarnings("ignore:.*not a double precision")
def test_gradcheck_on_tiny_shapes():
    plan = kt.layout(kedge.Plan.of([range(2), range(3)], mask="anchor", bos=1))
    x = [t.detach()[0].transpose(0, 1).requires_grad_() for t in tensors(1, 6, 2, 1, 4)]
    # Differences of float32: an error of eps 2^-24/step, and step^2 of the third derivative.
    assert torch.autograd.gradcheck(lambda *x: kt.attention(*x, plan, kedge.Rope.default(4)), x, eps=1e-2, atol=2e-3, rtol=1e-3)


def test_strides_are_read_where_they_lie():
    """A fused projection [B, T, (H + 2 G) E], heads or tokens first, elements apart: the same bits."""
    B, H, G, E, plan, rope = 2, 4, 2, 8, plans(), kedge.Rope.default(8)
    T = plan[0].T
    fused = torch.randn(B, T, (H + 2 * G) * E, generator=torch.Generator().manual_seed(3))
    parts = [x.unflatten(-1, (-1, E)) for x in fused.split([H * E, G * E, G * E], -1)]
    want = kt.attention(*(x.transpose(1, 2).contiguous() for x in parts), plan, rope)
    assert torch.equal(kt.attention(*(x.transpose(1, 2) for x in parts), plan, rope), want)
    apart = [torch.stack([x, x], -1)[..., 0].transpose(1, 2) for x in parts]
    assert apart[0].stride(-1) == 2 and torch.equal(kt.attention(*apart, plan, rope), want)
    for b in range(B):  # a window alone, tokens first
        assert torch.equal(kt.attention(*(x[b] for x in parts), plan[b], rope), want[b].transpose(0, 1))
    # The gradient of a sum is one number, expanded.
    leaf = [x.transpose(1, 2).detach().requires_grad_() for x in parts]
    dq, = torch.autograd.grad(kt.attention(*leaf, plan, rope).sum(), leaf[:1])
    same, = torch.autograd.grad(kt.attention(*leaf, plan, rope), leaf[:1], torch.ones_like(want))
    assert torch.equal(dq, same)


def test_frames_scale_and_scaling():
    plan, rope = plans(), kedge.Rope.default(16)
    q, k, v = (x.detach() for x in tensors(2, plan[0].T, 2, 2, 16))
    o = kt.attention(q, k, v, plan, rope)
    torch.testing.assert_close(kt.attention(q, k, v, plan, rope, frame="window"), o, rtol=0, atol=2e-6)
    torch.testing.assert_close(kt.attention(q, k, v, plan, kedge.Rope(rope.inv_freq, 2.0), scale=0.0625), o, rtol=0, atol=0)
    assert (kt.attention(q, k, v, plan, rope, precision="bf16") - o).abs().max() > 1e-4


def test_what_is_refused():
    plan = kt.layout(plans())
    q, k, v = (x.detach() for x in tensors(2, 21, 2, 1, 8))
    T = plan.position.shape[1]
    bad = plan.start.clone()
    bad[0, 1] = T + 5
    for arguments, text in [
        ((q.double(), k, v, plan), "float64"),
        ((q, k[:, :, :5], v, plan), "not all"),
        ((q[:1], k[:1], v[:1], plan), r"\[B, N\+1\]"),
        ((q, k, v, plan._replace(start=bad)), "must rise"),
        ((q, k, v, plan._replace(anchors=0)), "must rise"),
        ((q, k, v, plan._replace(position=plan.position - 1)), "negative"),
        ((q, k, v, plans()[:1] + [kedge.Plan.of([range(21)], mask="full")]), "equally long"),
    ]:
        with pytest.raises(kedge.Error, match=text):
            kt.attention(*arguments)


def test_operators_keep_pytorchs_rules():
    plan = kt.layout(plans())
    q, k, v = (x.detach().transpose(1, 2).requires_grad_() for x in tensors(2, 21, 2, 1, 8))
    rest = (plan.start, plan.position, plan.anchors, list(kedge.Rope.default(8).inv_freq), "document", "exact", 0.3)
    torch.library.opcheck(kt.attention_forward, (q, k, v, *rest))
    torch.library.opcheck(kt.attention_forward, (q, k, v, *rest[:3], None, *rest[4:]))
    o, lse = kt.attention_forward(q, k, v, *rest)
    x = [t.detach() for t in (torch.ones_like(o), q, k, v, o, lse)]
    torch.library.opcheck(kt.attention_backward, (*x, *rest))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_layer_is_one_graph_and_the_same(backend):
    plan, rope, layer = plans(), kedge.Rope.default(8), torch.nn.Linear(16, (4 + 2 + 2) * 8)

    def step(x, plan):
        q, k, v = layer(x).unflatten(-1, (-1, 8)).transpose(1, 2).split([4, 2, 2], 1)
        return kt.attention(q, k, v, plan, rope).square().sum()

    compiled = torch.compile(step, backend=backend, fullgraph=True)
    for seed, pair in enumerate((plan, plans("document", lead_bos=False))):
        x = torch.randn(2, pair[0].T, 16, generator=torch.Generator().manual_seed(seed))
        found = []
        for f in (step, compiled):
            layer.zero_grad()
            loss = f(x, kt.layout(pair))
            loss.backward()
            found.append((loss.detach(), layer.weight.grad.clone()))
        for a, b in zip(*found):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_same_bits_for_any_threads():
    import threading
    plan, rope = kedge.Plan.lengths([300, 17, 400], mask="anchor"), kedge.Rope.default(32)
    q, k, v = (x.detach()[0].transpose(0, 1).requires_grad_() for x in tensors(1, plan.T, 4, 2, 32))
    found, was = {}, torch.get_num_threads()

    def work(threads):  # a thread's context is opened at its first call
        torch.set_num_threads(threads)
        o = kt.attention(q, k, v, plan, rope)
        found[threads] = [o, *torch.autograd.grad(o.square().sum(), (q, k, v))]

    for threads in (1, 3):
        thread = threading.Thread(target=work, args=[threads])
        thread.start()
        thread.join()
    torch.set_num_threads(was)
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[3]))
