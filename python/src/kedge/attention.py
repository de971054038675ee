"""Attention forward and backward on arrays in the host's memory: numpy's, and any other that shares its memory."""
import ctypes as c

from . import _abi
from ._abi import FRAMES, PRECISIONS, Error, index, library
from ._arrays import array, new
from .context import default_context


def run(function, ctx, plan, max_position, rope, frame, precision, scale, shape, views, lse, position=None):
    """One call of kd_attn_forward or kd_attn_backward. plan: an _abi.Plan; rope: inv_freq, or None: q and k come rotated;
    shape: (H, G, E); views: by their names in kd_attn; position: where a GPU reads them."""
    H, G, E = shape
    if rope is not None and len(rope) != E // 2:
        raise Error(f"rope: {len(rope)} frequencies, heads of {E} have {E // 2}")
    with ctx.locked():
        table = rope and c.pointer(ctx.table(rope, precision, max_position + 1))
        attn = _abi.Attn(plan=c.pointer(plan), position=position, rope=table, frame=frame, precision=precision,
                         H=H, G=G, E=E, scale=scale, lse=lse, **views)
        getattr(library(), function)(ctx.handle(), attn)


def _shape(q, k):
    return q.shape[1], k.shape[1], q.shape[2]


def _call(function, plan, rope, frame, precision, scale, ctx, q, k, views, lse):
    if scale is None:
        scale = q.shape[2] ** -0.5
    if rope is not None:
        scale *= rope.scaling ** 2
    run(function, ctx or default_context(), plan.struct, plan.max_position, rope and rope.inv_freq, index(frame, FRAMES, "frame"),
        index(precision, PRECISIONS, "precision"), scale, _shape(q, k), views, lse.address)


def _lse(lse, H, T):
    lse = array(lse, "lse").written()
    if lse.shape != (H, T) or lse.dtype != "F32" or not lse.contiguous:
        raise Error(f"lse is {list(lse.shape)}: contiguous float32 of [{H}, {T}]")
    return lse


def attention_forward(q, k, v, plan, rope=None, *, frame="document", precision="exact", scale=None, out=None, lse=None, ctx=None):
    """Attention of the plan's documents. q [T,H,E], k and v [T,G,E], not rotated; rope=None: they come rotated.

    Query head h reads key/value head h*G/H. float32, float16, bfloat16 (of ml_dtypes, or uint16), any strides with the
    numbers of a head side by side; nothing is copied. scale: 1/sqrt(E) unless given. ctx: this thread's own unless given.
    Returns o [T,H,E], of q's type unless `out` is given, and lse [H,T] float32, log-sum-exp of each row's logits."""
    q, k, v = array(q, "q"), array(k, "k"), array(v, "v")
    views = {"q": q.heads(plan.T)}
    E = q.shape[2]
    views.update(k=k.heads(plan.T, E), v=v.heads(plan.T, E))
    if k.shape != v.shape:
        raise Error(f"k is {list(k.shape)}, v {list(v.shape)}")
    out, o = new(q.shape, like=q) if out is None else (out, array(out, "out"))
    if o.shape != q.shape:
        raise Error(f"out is {list(o.shape)}, q {list(q.shape)}")
    lse = new((q.shape[1], plan.T))[0] if lse is None else lse
    views["o"] = o.written().heads()
    _call("kd_attn_forward", plan, rope, frame, precision, scale, ctx, q, k, views, _lse(lse, q.shape[1], plan.T))
    return out, lse


def attention_backward(dout, q, k, v, o, lse, plan, rope=None, *, frame="document", precision="exact", scale=None, dq=None, dk=None,
                       dv=None, ctx=None):
    """The gradients of q, k and v from that of the output, and attention_forward's arguments and results. Overwrites dq, dk and dv
    where they are given. Returns dq [T,H,E], dk and dv [T,G,E]."""
    x = {"dout": array(dout, "dout"), "q": array(q, "q"), "k": array(k, "k"), "v": array(v, "v"), "o": array(o, "o")}
    given = {"dq": dq, "dk": dk, "dv": dv}
    for name in given:
        like = x[name[1]]
        given[name], x[name] = new(like.shape, like=like) if given[name] is None else (given[name], array(given[name], name))
        x[name].written()
    views = {name: a.heads(plan.T, x["q"].shape[-1]) for name, a in x.items()}
    for name, like in (("dout", "q"), ("o", "q"), ("dq", "q"), ("v", "k"), ("dk", "k"), ("dv", "k")):
        if x[name].shape != x[like].shape:
            raise Error(f"{name} is {list(x[name].shape)}, {like} {list(x[like].shape)}")
    _call("kd_attn_backward", plan, rope, frame, precision, scale, ctx, x["q"], x["k"], views, _lse(lse, x["q"].shape[1], plan.T))
    return given["dq"], given["dk"], given["dv"]
