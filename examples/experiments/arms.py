"""The arms of each part: what an arm changes in base.yaml."""

LONG = {"window": "8K", "batch.windows": 1, "optim.lr": "3e-4", "optim.warmup": 10, "mask": "document", "eval.windows": 24,
        "save.every": 50}
OFFSETS = ("0", "128K", "1M", "4M")
MASKS = {
    "full": {"mask": "full", "boundary": "ignore", "first": "ignore"},
    "document": {"mask": "document"},
    "document, reset": {"mask": "document", "positions": "reset"},
    "anchor": {"mask": "anchor"},
    "anchor, reset": {"mask": "anchor", "positions": "reset"},
}

ARMS = {
    # With exact rotation and frame document these three are one function; a running anchor is another.
    "identity": {
        "document": {"mask": "document"},
        "document, reset": {"mask": "document", "positions": "reset"},
        "a BOS each, reset": {"mask": "anchor", "anchor_form": "bos", "positions": "reset"},
        "a BOS each": {"mask": "anchor", "anchor_form": "bos"},
        "anchor, reset": {"mask": "anchor", "positions": "reset"},
        "anchor": {"mask": "anchor"},
    },
    # Nothing but the rounding of rotated queries and keys differs.
    "rounding": {
        f"{positions}, {precision}": {"positions": positions, "model.rope.precision": precision}
        for positions in ("running", "reset") for precision in ("exact", "bf16-store", "bf16")
    },
    # The same tokens ever further from position 0.
    # bf16-store has float32 angles; f16-store, asked last, has exact ones: what rounding does without them.
    "dose": {
        f"{offset}, {precision}": {"offset": offset, "model.rope.precision": precision}
        for precision, offsets in {**dict.fromkeys(("exact", "f32-angle", "bf16-store"), OFFSETS), "f16-store": ("0", "4M")}.items()
        for offset in offsets
    },
    # What may make a model rest its attention on the first key: steps large enough, a first token that it knows.
    "first-key": {
        f"{lr}, {name}": {"optim.lr": lr, **own} for lr in ("1e-3", "4e-3") for name, own in
        {"continue": {}, "truncate": {"long_documents": "truncate"}, "anchor": {"mask": "anchor"}}.items()
    },
    # What distances training sees: by the mask, and by whether there are long documents.
    "span": {
        f"{documents}, {mask}": {"data.train": f"{documents}.jsonl", **own}
        for documents in ("short", "long") for mask, own in MASKS.items()
    },
    # Arms of `span` on the same documents in other orders; the first and the last are one function.
    "order": {
        f"{order}, {mask}": {"data.train": "long.jsonl", "seed": order, **MASKS[mask]}
        for order in (11, 12, 13) for mask in ("document", "anchor", "anchor, reset")
    },
}

# The arm that an arm is compared with; in other parts the first.
AGAINST = {
    "rounding": lambda arm: arm.split(", ")[0] + ", exact",
    "dose": lambda arm: "0, " + arm.split(", ")[1],
    "span": lambda arm: arm.split(", ")[0] + ", document",
    "order": lambda arm: arm.split(", ")[0] + ", document",
}

FROM_SCRATCH = ("identity", "first-key")  # others continue the base, or
TAUGHT = ("span", "order")  # the base that has learned to recall

COMMON = {
    "identity": {"steps": 20, "window": "2K", "batch.windows": 1, "optim.warmup": 2, "model.rope.frame": "document",
                 "eval.every": 20, "eval.windows": 8},
    "first-key": {"steps": 64, "optim.warmup": 5, "eval.every": 64, "eval.windows": 16, "save.every": 64},
    "rounding": {**LONG, "steps": 250, "eval.every": 125, "model.rope.frame": "window"},
    "dose": {**LONG, "steps": 100, "eval.every": 100, "model.rope.frame": "window"},
}
COMMON["span"] = COMMON["order"] = {**LONG, "steps": 48, "eval.every": 24, "eval.windows": 16,
                                    "model.rope.frame": "document"}

# Before `span` the base learns to recall facts within 1K: first to go on as a line went on before, then among text, then
# from ever farther. Windows of 4K cut few pages.
PAGES = {"steps": 256, "window": "4K", "batch.windows": 2, "long_documents": "truncate", "optim.warmup": 20,
         "eval.every": 64, "eval.windows": 16, "save.every": 64}
TEACH = {
    "repeats": {"steps": 192, "optim.warmup": 20, "eval.every": 96, "eval.windows": 8, "save.every": 96},
    "pages": PAGES,
    "far": {**PAGES, "steps": 160, "optim.schedule": "cosine", "eval.every": 80, "save.every": 80},
}

QUICK = {"window": "512", "steps": 2, "eval.every": 2, "eval.windows": 2, "batch.windows": 2, "optim.warmup": 1}

PROBE = {
    "figure1": ["--random", "--texts", "4", "--length", "1K", "--lengths", "256,512,1K", "--shifts", "0,16,1K,8K",
                "--precisions", "bf16-eager,bf16,bf16-store,f16-store,split,f32-angle,exact"],
    "sink": ["--texts", "4", "--length", "1K", "--shifts", "0,16", "--precisions", "bf16"],
}
