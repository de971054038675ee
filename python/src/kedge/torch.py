"""Attention on PyTorch's tensors: operators of torch.library with gradients and fake tensors, so that torch.compile works.

Tensors are read where they lie, on the host or on a GPU, whose current stream is handed to the library."""
from typing import NamedTuple, Optional, Sequence, Tuple

import torch

from . import _abi
from ._abi import FRAMES, PRECISIONS, Error, index, library
from ._arrays import view
from .attention import run
from .context import default_context
from .plan import Plan

_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # kd_view_type


class Layout(NamedTuple):
    """Plans of B windows of T tokens as torch.compile can carry them: on the host, or they are fetched at each call.

    start [B, N+1] int32: document n of a row is tokens start[n] .. start[n+1]-1, start[0] = anchors; rows of fewer documents end with T
    repeated. position [B, T] int32. anchors: 0 or 1, of every row."""
    start: torch.Tensor
    position: torch.Tensor
    anchors: int


def layout(plans):
    """The Layout of a kedge.Plan, or of several of the same T and anchors, one for each row of a batch."""
    plans = [plans] if isinstance(plans, Plan) else list(plans)
    if len({(plan.T, plan.anchors) for plan in plans}) != 1:
        raise Error("a batch is of plans that are equally long and all have an anchor, or none")
    start = torch.full((len(plans), 1 + max(plan.N for plan in plans)), plans[0].T, dtype=torch.int32)
    for row, plan in zip(start, plans):
        row[:plan.N + 1] = torch.tensor(list(plan.start))
    return Layout(start, torch.tensor([list(plan.position) for plan in plans], dtype=torch.int32), plans[0].anchors)


def attention(q, k, v, plan, rope=None, *, frame="document", precision="exact", scale=None, return_lse=False):
    """Attention of each row's documents, with gradients of q, k and v.

    q [B,H,T,E], k and v [B,G,T,E], any strides; or [T,H,E] and [T,G,E] of one window. float32, bfloat16, float16. plan: a Layout, or a
    Plan or a list of them (not inside torch.compile). rope: a kedge.Rope; None: q and k come rotated. Query head h reads key/value head
    h*G/H. scale: 1/sqrt(E) unless given. Returns o as q; with return_lse also the log-sum-exp of each row's logits, [B,H,T] or
    [H,T] float32, which has no gradient."""
    if not isinstance(plan, Layout):
        plan = layout(plan)
    batched = q.dim() == 4
    q, k, v = (x.transpose(1, 2) if batched else x.unsqueeze(0) for x in (q, k, v))
    if scale is None:
        scale = q.shape[-1] ** -0.5
    inv_freq = None
    if rope is not None:
        inv_freq, scale = rope.inv_freq, scale * rope.scaling ** 2
    o, lse = attention_forward(q, k, v, plan.start, plan.position, plan.anchors, inv_freq, frame, precision, float(scale))
    o, lse = (o.transpose(1, 2), lse) if batched else (o[0], lse[0])
    return (o, lse) if return_lse else o


def _check(start, position, anchors, tensors):
    """Nothing reaches the library that could make it read elsewhere."""
    B, T = tensors[0].shape[:2]
    for x in tensors:
        if x.dim() != 4 or x.shape[:2] != (B, T) or x.shape[3] != tensors[0].shape[3]:
            raise Error(f"attention: tensors of {[list(x.shape) for x in tensors]}, not all [B, T, heads, E]")
        if x.dtype not in _KINDS or x.device != tensors[0].device:
            raise Error(f"attention: {x.dtype} on {x.device}: float32, bfloat16 or float16, all on one device")
    if start.dim() != 2 or start.shape[0] != B or position.shape != (B, T):
        raise Error(f"attention: starts {list(start.shape)} and positions {list(position.shape)} of {B} rows of {T}: [B, N+1] and [B, T]")
    rises = bool((start[:, 0] == anchors).all() and (start[:, -1] == T).all() and (start[:, 1:] >= start[:, :-1]).all())
    if anchors not in (0, 1) or not rises or (T and int(position.min()) < 0):
        raise Error(f"attention: starts of each row must rise from {anchors} (0 or 1 anchors) to {T}, positions must not be negative")


def _plans(start, position, anchors):
    """The kd_plan of each row, and what it borrows."""
    T = position.shape[1]
    for row, at in zip(start, position):
        row = torch.cat([row[:1], row[1:][row[1:] > row[:-1]]])
        first, second, length = at[row[:-1]], at[(row[:-1] + 1).clamp(max=T - 1)], row[1:] - row[:-1]
        base = torch.where((first == 0) & (length > 1), second - 1, first)  # plan._base
        keep = row.contiguous(), at.contiguous(), base.contiguous()
        pointers = (_abi.c.cast(x.data_ptr(), kind) for x, kind in zip(keep, (_abi.P(_abi.c.c_int64),) + 2 * (_abi.P(_abi.c.c_int32),)))
        yield _abi.Plan(T, len(row) - 1, anchors, *pointers), keep


def _view(x):
    return view(x.data_ptr(), x.stride(0), x.stride(1), _KINDS[x.dtype])


def _each_row(function, start, position, anchors, inv_freq, frame, precision, scale, tensors, lse):
    """Calls the library for every row of [B, T, heads, E]; lse [B, H, T] contiguous."""
    start, host = start.to("cpu", torch.int64), position.to("cpu", torch.int32)
    q, k = tensors["q"], tensors["k"]
    _check(start, host, anchors, list(tensors.values()))
    frame, precision = index(frame, FRAMES, "frame"), index(precision, PRECISIONS, "precision")
    if not q.numel():
        return
    # Where the numbers of a head do not stand side by side they are copied; outputs are new and do.
    tensors = {name: x if x.stride(3) == 1 else x.contiguous() for name, x in tensors.items()}
    ctx = default_context(str(q.device) if q.is_cuda else "host", torch.get_num_threads())
    positions = position.to(q.device, torch.int32).contiguous() if q.is_cuda else [None] * len(host)
    with ctx.locked():
        if q.is_cuda:
            library().kd_ctx_use_stream(ctx.handle(), torch.cuda.current_stream(q.device).cuda_stream)
        for row, (plan, keep) in enumerate(_plans(start, host, anchors)):
            views = {name: _view(x[row]) for name, x in tensors.items()}
            run(function, ctx, plan, int(keep[1].max()), inv_freq and tuple(inv_freq), frame, precision, scale,
                (q.shape[2], k.shape[2], q.shape[3]), views, lse[row].data_ptr(), q.is_cuda and positions[row].data_ptr() or None)


# Tensors [B, T, heads, E]; start, position and anchors as in Layout.
@torch.library.custom_op("kedge::attention_forward", mutates_args=())
def attention_forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, start: torch.Tensor, position: torch.Tensor, anchors: int,
                      inv_freq: Optional[Sequence[float]], frame: str, precision: str, scale: float) -> Tuple[torch.Tensor, torch.Tensor]:
    o, lse = _like_forward(q)
    _each_row("kd_attn_forward", start, position, anchors, inv_freq, frame, precision, scale, {"q": q, "k": k, "v": v, "o": o}, lse)
    return o, lse


@torch.library.custom_op("kedge::attention_backward", mutates_args=())
def attention_backward(dout: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, o: torch.Tensor, lse: torch.Tensor,
                       start: torch.Tensor, position: torch.Tensor, anchors: int, inv_freq: Optional[Sequence[float]], frame: str,
                       precision: str, scale: float) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dq, dk, dv = (_new(x) for x in (q, k, v))
    tensors = {"q": q, "k": k, "v": v, "o": o, "dout": dout, "dq": dq, "dk": dk, "dv": dv}
    _each_row("kd_attn_backward", start, position, anchors, inv_freq, frame, precision, scale, tensors, lse.contiguous())
    return dq, dk, dv


def _new(x):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _like_forward(q):
    B, T, H, _ = q.shape
    return _new(q), torch.empty(B, H, T, dtype=torch.float32, device=q.device)


@attention_forward.register_fake
def _(q, k, v, start, position, anchors, inv_freq, frame, precision, scale):
    return _like_forward(q)


@attention_backward.register_fake
def _(dout, q, k, v, o, lse, start, position, anchors, inv_freq, frame, precision, scale):
    return _new(q), _new(k), _new(v)


def _save(ctx, inputs, output):
    q, k, v, start, position, *ctx.rest = inputs
    ctx.save_for_backward(q, k, v, *output, start, position)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, dout, _):
    q, k, v, o, lse, start, position = ctx.saved_tensors
    return (*attention_backward(dout, q, k, v, o, lse, start, position, *ctx.rest), *[None] * 7)


attention_forward.register_autograd(_backward, setup_context=_save)
