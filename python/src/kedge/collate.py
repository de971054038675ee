"""Documents to windows and windows to batches: the same windows, positions and targets as kedge's own trainer makes of them, before
it shuffles them (src/data/windows.h). Document starts and anchors are arguments of their own in every batch."""
from ._abi import Error
from .plan import Plan

SEPARATORS = ("none", "bos", "eos", "both")
IGNORED = -100  # what PyTorch and transformers do not train on


def segments(lengths, window, *, anchors=0, head=0, truncate=False):
    """What each window takes of documents of `lengths` tokens: lists of (document, from, count). The document that crosses a window's
    end goes on in the next one, or with `truncate` its rest is dropped. head: tokens placed before each, its BOS.
    The last list may not fill its window; count 0 is a BOS that fills the last token of one."""
    found, room = [], window - anchors
    space = room
    for document, length in enumerate(lengths):
        start = 0
        while start < length:
            count = max(min(space - head, length - start), 0)
            found.append((document, start, count))
            start += count
            space -= head + count if count else space
            if space:
                continue
            if count and truncate:
                start = length
            yield found
            found, space = [], room
    if found:
        yield found


def windows(documents, window, *, mask, bos=None, eos=None, separator="bos", reset=False, anchor_form="shared", predict_boundary=None,
            predict_first=None, truncate=False, pad=None):
    """The Plan of each window of `window` tokens, in the order of the documents, each a sequence of token ids.

    separator: "bos" | "eos" | "both" | "none": what stands before and behind each document; with mask "anchor" the anchor, or each
    document's own with anchor_form "bos", takes the place of the BOS. predict_boundary, predict_first: as Plan.of; mask
    "full", whose window is one text, trains both unless told otherwise. truncate: what a window's end cuts off is dropped, not gone on
    with. pad: id that fills the last window, as a document of its own that nothing is trained on; None: the window that is not
    full is dropped, as kedge's trainer does."""
    if separator not in SEPARATORS:
        raise Error(f"separator {separator!r}: one of {', '.join(SEPARATORS)}")
    leads = separator in ("bos", "both") if mask != "anchor" else anchor_form == "bos"
    anchors = int(mask == "anchor" and anchor_form == "shared")
    ends = separator in ("eos", "both")
    if ends and eos is None:
        raise Error(f"separator {separator!r} needs eos=")
    if window < anchors + leads + 1:
        raise Error(f"a window of {window}: anchor, BOS and a token of text need {anchors + leads + 1}")
    boundary = mask == "full" if predict_boundary is None else predict_boundary
    first = mask == "full" and leads if predict_first is None else predict_first
    options = dict(mask=mask, bos=bos, reset=reset, anchor_form=anchor_form, lead_bos=leads and mask != "anchor", predict_boundary=boundary,
                   predict_first=first)
    text = {}  # of the documents that windows still need

    def lengths():
        for n, document in enumerate(documents):
            text[n] = document.tolist() if hasattr(document, "tolist") else list(document)
            text[n] += [eos] * ends
            yield len(text[n])

    for found in segments(lengths(), window, anchors=anchors, head=leads, truncate=truncate):
        pieces = [text[d][start:start + count] for d, start, count in found]
        follows = [text[d][start + count] if count and start + count < len(text[d]) else -1 for d, start, count in found]
        loss = [None] * len(pieces)
        empty = window - anchors - sum(map(len, pieces)) - leads * len(pieces)
        for n in [n for n in text if n < found[-1][0]]:
            del text[n]
        if empty:
            if pad is None:
                return
            pieces.append([pad] * (empty - leads))
            follows.append(-1)
            loss.append([0] * (empty - leads))
        yield Plan.of(pieces, next=follows, loss=loss, **options)


def row(plan):
    """A window as lists, for datasets and worker processes: what a batch has of each, without the rows' common length."""
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
    """A collator for data loaders and transformers' Trainer (remove_unused_columns=False): PackCollator(window, mask=..., bos=...), with
    the arguments of windows().

    It takes documents (sequences of ids, or dicts with input_ids), which it packs into as many windows as they need, padded with `pad`; or
    rows that were packed before: collator.rows(documents), which cut no document but at a window's end."""

    def __init__(self, window, **options):
        self.window, self.options = window, options

    def rows(self, documents):
        """A row for each window that the documents fill, lazily: examples of a dataset."""
        documents = (d["input_ids"] if isinstance(d, dict) else d for d in documents)
        return map(row, windows(documents, self.window, **self.options))

    def __call__(self, features):
        if not (isinstance(features[0], dict) and "cu_seqlens" in features[0]):
            count, features = len(features), list(self.rows(features))
            if not features:
                raise Error(f"{count} documents do not fill a window of {self.window}: more of them, or pad=")
        return batch(features)
