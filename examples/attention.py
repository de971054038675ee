#!/usr/bin/env python3
"""examples/attention.c from Python, by ctypes alone. Usage: attention.py [libkedge.so.0]"""
import ctypes as c
import math
import sys

kedge = c.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libkedge.so.0")
P = c.POINTER


class PlanOptions(c.Structure):
    _fields_ = [("mask", c.c_int), ("reset", c.c_bool), ("anchor_is_bos", c.c_bool), ("lead_bos", c.c_bool),
                ("predict_boundary", c.c_bool), ("predict_first", c.c_bool), ("bos", c.c_int32), ("offset", c.c_int32)]


class Plan(c.Structure):
    _fields_ = [("T", c.c_int64), ("N", c.c_int64), ("anchors", c.c_int64), ("start", P(c.c_int64)),
                ("position", P(c.c_int32)), ("base", P(c.c_int32)), ("target", P(c.c_int32)), ("token", P(c.c_int32)),
                ("depth", P(c.c_int32))]


class Piece(c.Structure):
    _fields_ = [("tag", P(c.c_int32)), ("tag_count", c.c_int64), ("next", c.c_int32)]


class Chunk(c.Structure):
    _fields_ = [("piece", c.c_int64), ("token", P(c.c_int32)), ("count", c.c_int64), ("loss", P(c.c_uint8))]


class Rope(c.Structure):
    _fields_ = [("E", c.c_int64), ("positions", c.c_int64), ("precision", c.c_int), ("inv_freq", P(c.c_double)),
                ("table", P(c.c_float)), ("exact", P(c.c_float)), ("coarse", P(c.c_double)), ("fine", P(c.c_double))]


class View(c.Structure):
    _fields_ = [("data", P(c.c_float)), ("token_stride", c.c_int64), ("head_stride", c.c_int64), ("type", c.c_int), ("half", P(c.c_uint16))]


class Stretch(c.Structure):
    _fields_ = [("from_", c.c_int64), ("to", c.c_int64)]


class Attn(c.Structure):
    _fields_ = [("plan", P(Plan)), ("position", P(c.c_int32)), ("rope", P(Rope)), ("frame", c.c_int), ("precision", c.c_int),
                ("H", c.c_int64), ("G", c.c_int64), ("E", c.c_int64), ("scale", c.c_float), ("q", View), ("k", View), ("v", View), ("o", View),
                ("lse", P(c.c_float)), ("dout", View), ("dq", View), ("dk", View), ("dv", View),
                ("rows", Stretch), ("keys", Stretch)]


MASK_ANCHOR, FRAME_DOCUMENT, PRECISION_EXACT = 2, 1, 0
kedge.kd_message.restype = c.c_char_p
kedge.kd_plan_pairs.restype = c.c_int64
kedge.kd_ctx_open.argtypes = [P(c.c_void_p), c.c_int64]
kedge.kd_ctx_close.argtypes = [c.c_void_p]
kedge.kd_plan_init.argtypes = [P(Plan), P(PlanOptions), P(Piece), c.c_int64, P(Chunk), c.c_int64]
kedge.kd_plan_pairs.argtypes = kedge.kd_plan_free.argtypes = [P(Plan)]
kedge.kd_rope_init.argtypes = [P(Rope), c.c_void_p, P(c.c_double), c.c_int64, c.c_int64]
kedge.kd_rope_free.argtypes = [P(Rope), c.c_void_p]
kedge.kd_attn_forward.argtypes = kedge.kd_attn_backward.argtypes = [c.c_void_p, P(Attn)]


def must(status):
    if status:
        sys.exit("attention.py: " + kedge.kd_message().decode())


def fill(x, start, end, seed):
    for i in range(start, end):
        x[i] = (((i + seed) * 2654435761 & 0xFFFFFFFF) >> 8) / 16777216 - 0.5


def norm(x, start, end):
    total = 0.0
    for i in range(start, end):
        total += x[i] * x[i]
    return math.sqrt(total)


def heads(count, head_size, tokens):
    """Contiguous [tokens, count, head_size], zero, and a view of it."""
    data = (c.c_float * (tokens * count * head_size))()
    return data, View(c.cast(data, P(c.c_float)), count * head_size, head_size)


H, G, E, BOS = 4, 2, 8, 1
lengths = [6, 4, 9]
texts = [(c.c_int32 * count)(*(100 * (n + 1) + i for i in range(count))) for n, count in enumerate(lengths)]
pieces = (Piece * 3)(*(Piece(None, 0, -1) for _ in texts))
chunks = (Chunk * 3)(*(Chunk(n, text, len(text)) for n, text in enumerate(texts)))
options = PlanOptions(mask=MASK_ANCHOR, bos=BOS)
ctx, plan, rope = c.c_void_p(), Plan(), Rope()
must(kedge.kd_ctx_open(ctx, 0))
must(kedge.kd_plan_init(plan, options, pieces, 3, chunks, 3))
must(kedge.kd_rope_init(rope, ctx, (c.c_double * (E // 2))(1, 0.1, 0.01, 0.001), E, plan.T))

T, start = plan.T, plan.start
(q, vq), (k, vk), (v, vv), (o, vo) = heads(H, E, T), heads(G, E, T), heads(G, E, T), heads(H, E, T)
(dq, vdq), (dk, vdk), (dv, vdv), (dout, vdout) = heads(H, E, T), heads(G, E, T), heads(G, E, T), heads(H, E, T)
lse = (c.c_float * (H * T))()
attn = Attn(c.pointer(plan), None, c.pointer(rope), FRAME_DOCUMENT, PRECISION_EXACT, H, G, E, 0, vq, vk, vv, vo, lse,
            vdout, vdq, vdk, vdv)
for seed, x in enumerate([q, k, v, dout], 1):
    fill(x, 0, len(x), seed)
must(kedge.kd_attn_forward(ctx, attn))
must(kedge.kd_attn_backward(ctx, attn))

print(f"{T} tokens: the anchor and {plan.N} documents; {kedge.kd_plan_pairs(plan)} pairs see each other, "
      f"{T * (T + 1) // 2} if it were one text")
print(f"anchor      |dk| {norm(dk, 0, G * E):.6f}  |dv| {norm(dv, 0, G * E):.6f}: every document sees it")
for n in range(plan.N):
    a, b = start[n], start[n + 1]
    print(f"document {n + 1}  positions {plan.position[a]:2d} to {plan.position[b - 1]:2d}  |o| {norm(o, a * H * E, b * H * E):.6f}  "
          f"|dq| {norm(dq, a * H * E, b * H * E):.6f}  |dk| {norm(dk, a * G * E, b * G * E):.6f}")

before = bytes(o)
fill(k, start[1] * G * E, start[2] * G * E, 99)
fill(v, start[1] * G * E, start[2] * G * E, 77)
must(kedge.kd_attn_forward(ctx, attn))
after, row = bytes(o), H * E * c.sizeof(c.c_float)
said = [f"document {n + 1} " + ("has the same bits" if before[start[n] * row:start[n + 1] * row] == after[start[n] * row:start[n + 1] * row]
                                else "changed") for n in range(plan.N)]
print("document 2 replaced: " + ", ".join(said))
kedge.kd_rope_free(rope, ctx)
kedge.kd_plan_free(plan)
kedge.kd_ctx_close(ctx)
