"""Windows to batches for PyTorch and transformers. Where documents start and whether there is an anchor are arguments of their own."""
from ._abi import Error
from .plan import Plan
from .windows import Windows

IGNORED = -100  # what PyTorch and transformers do not train on


def row(plan):
    """A window as lists: what a batch has of each, for datasets that are stored."""
    target = [t if t >= 0 else IGNORED for t in plan.target.tolist()]
    return {"input_ids": plan.token.tolist(), "labels": [IGNORED] + target[:-1], "shift_labels": target,
            "position_ids": plan.position.tolist(), "cu_seqlens": plan.start.tolist(), "anchors": plan.anchors}


def batch(rows):
    """PyTorch's tensors of rows of one length.

    input_ids, position_ids [B,T] int64. shift_labels [B,T]: the target of each token, -100: none. labels: the same one token later, for
    losses that shift them, which lose the last token's. cu_seqlens [B, N+1] int32: document n of a row is tokens cu_seqlens[n] ..
    cu_seqlens[n+1]-1, from `anchors` to T; rows of fewer documents end with T repeated. anchors: 0 or 1, of every row."""
    import torch
    if len({(len(r["input_ids"]), r["anchors"]) for r in rows}) != 1:
        raise Error("a batch is of windows that are equally long and all have an anchor, or none")
    most = max(len(r["cu_seqlens"]) for r in rows)
    starts = [list(r["cu_seqlens"]) + [len(r["input_ids"])] * (most - len(r["cu_seqlens"])) for r in rows]
    made = {name: torch.tensor([list(r[name]) for r in rows]) for name in ("input_ids", "labels", "shift_labels", "position_ids")}
    return {**made, "cu_seqlens": torch.tensor(starts, dtype=torch.int32), "anchors": int(rows[0]["anchors"])}


class PackCollator:
    """A collator for data loaders and transformers' Trainer: PackCollator(window, mask=..., bos=...), the arguments of Windows.

    It takes Plans, as Windows gives them; rows of them (row(), Trainer(remove_unused_columns=False)); or documents, sequences of ids or
    dicts with input_ids, which it packs into as many windows as they need, the last filled up with `pad`."""

    def __init__(self, window=None, **options):
        self.window, self.options = window, options

    def windows(self, documents):
        return Windows((d["input_ids"] if isinstance(d, dict) else d for d in documents), self.window, **self.options)

    def rows(self, documents):
        """The rows of a corpus, to be stored or trained on."""
        return list(map(row, self.windows(documents)))

    def __call__(self, features):
        first = features[0]
        if isinstance(first, dict) and "cu_seqlens" in first:
            return batch(features)
        return batch([row(plan) for plan in (features if isinstance(first, Plan) else self.windows(features))])
