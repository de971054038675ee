#!/usr/bin/env python3
"""A window of two documents behind an anchor through cffi, whose declarations are kedge.h itself.
Usage: cffi_attention.py /usr/local/include/kedge.h [libkedge.so.0]"""
import re
import sys

from cffi import FFI

ffi = FFI()
with open(sys.argv[1]) as header:
    ffi.cdef(re.sub(r"^#.*$|\bKD_API\b", "", header.read(), flags=re.M))
kedge = ffi.dlopen(sys.argv[2] if len(sys.argv) > 2 else "libkedge.so.0")


def must(status):
    if status != kedge.KD_OK:
        sys.exit("cffi_attention.py: " + ffi.string(kedge.kd_message()).decode())


H, G, E, T = 2, 1, 4, 8
texts = [ffi.new("int32_t[]", text) for text in ([11, 12, 13], [21, 22, 23, 24])]
pieces = ffi.new("kd_piece[]", [{"next": -1} for _ in texts])
chunks = ffi.new("kd_chunk[]", [{"piece": n, "token": text, "count": len(text)} for n, text in enumerate(texts)])
ctx, plan, rope = ffi.new("kd_ctx **"), ffi.new("kd_plan *"), ffi.new("kd_rope *")
must(kedge.kd_ctx_open(ctx, 1))
options = ffi.new("kd_plan_options *", {"mask": kedge.KD_MASK_ANCHOR, "bos": 1})
must(kedge.kd_plan_init(plan, options, pieces, len(texts), chunks, len(texts)))
must(kedge.kd_rope_init(rope, ctx[0], [1, 0.01], E, plan.T))

q, k, v, o = (ffi.new("float[]", plan.T * heads * E) for heads in (H, G, G, H))
for x in (q, k, v):
    for i in range(len(x)):
        x[i] = i % 5 - 2
lse = ffi.new("float[]", H * plan.T)
attn = ffi.new("kd_attn *", {"plan": plan, "rope": rope, "frame": kedge.KD_FRAME_DOCUMENT, "H": H, "G": G, "E": E, "lse": lse,
                             "q": kedge.kd_view_heads(q, H, E), "k": kedge.kd_view_heads(k, G, E), "v": kedge.kd_view_heads(v, G, E),
                             "o": kedge.kd_view_heads(o, H, E)})
must(kedge.kd_attn_forward(ctx[0], attn))
assert ffi.sizeof("kd_attn") == kedge.kd_struct_bytes(b"kd_attn") and plan.T == T
assert list(o[0:E]) == list(v[0:E]), "the anchor sees itself alone"
for n in range(plan.N):
    rows = " ".join(f"{o[t * H * E]:.6f}" for t in range(plan.start[n], plan.start[n + 1]))
    print(f"document {n + 1}: {rows}")
kedge.kd_rope_free(rope, ctx[0])
kedge.kd_plan_free(plan)
kedge.kd_ctx_close(ctx[0])
