"""Rotation alone, for callers whose attention is another one; kedge's own rotates by itself."""
from ._abi import PRECISIONS, Error, index, library
from ._arrays import array, integers, new
from .context import default_context


def rotate(x, position, rope, *, precision="exact", back=False, out=None, ctx=None):
    """R(position[t]) x[t,h,:]: pairs (x[e], x[e + E/2]) turned by position * inv_freq[e]. rope.scaling is not in it: logits get its square.

    x [T,heads,E], as attention_forward's; position [T] of either sign. precision: what the ladder keeps of it. back: turned by -position
    and not rounded, the gradient of x from that of the result. Returns `out`, which may be x, or a new array."""
    x = array(x, "x")
    view, at = x.heads(), integers(position, "i", "position")
    if len(at) != x.shape[0] or rope.E != x.shape[2]:
        raise Error(f"rotate: {len(at)} positions, heads of {rope.E}, for {list(x.shape)}")
    out, to = new(x.shape, like=x) if out is None else (out, array(out, "out"))
    if to.written().shape != x.shape:
        raise Error(f"out is {list(to.shape)}, x {list(x.shape)}")
    ctx, rung = ctx or default_context(), index(precision, PRECISIONS, "precision")
    with ctx.locked():
        table = ctx.table(rope.inv_freq, rung, 1 + max((abs(p) for p in at), default=0))
        library().kd_rope_rotate(ctx.handle(), to.heads(), view, table, rung, at, x.shape[0], x.shape[1], back)
    return out
