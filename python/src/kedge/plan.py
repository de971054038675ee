"""Plan: one window of documents, who sees whom. Token i sees token j iff j is of i's document and j <= i, or j is the anchor."""
import ctypes as c

from . import _abi
from ._abi import MASKS, Error, index, library
from ._arrays import as_array, integers


class Plan:
    """Three ways to make one: of documents' tokens (Plan.of), of their lengths (Plan.lengths), of a window that is laid out
    already (Plan.layout). T tokens, N documents; start [N+1] int64, position, target, token, depth [T] int32 are what
    include/kedge.h says of kd_plan, as numpy arrays (memoryviews without numpy) that share the plan's memory."""

    def __init__(self, struct, keep):
        self.struct, self._keep = struct, keep
        self.max_position = max(self._raw("position"), default=0)

    @classmethod
    def of(cls, documents, *, mask, bos=None, reset=False, anchor_form="shared", lead_bos=False, predict_boundary=False,
           predict_first=False, offset=0, next=None, loss=None):
        """A window of these documents, each a sequence of token ids.

        mask: "full" | "document" | "anchor". bos: the id of BOS and anchor, wanted where one is placed.
        reset: positions from 0 in every document (from 1 behind an anchor). anchor_form: "shared" or "bos", one for each
        document. lead_bos: a BOS leads every document (masks full and document). predict_boundary: a document's last
        token is trained on the window's next. predict_first: a BOS is trained on its document's first token.
        next: for each document the token that follows its share in its text, -1: none, -2: one that is no target.
        loss: for each document None or a sequence that is 0 where a token is never a target."""
        if anchor_form not in ("shared", "bos"):
            raise Error(f"anchor_form {anchor_form!r}: shared or bos")
        if bos is None and (mask == "anchor" or lead_bos):
            raise Error("a plan with an anchor or a BOS needs its id: bos=")
        texts = [integers(document, "i", "a document") for document in documents]
        losses = [None if x is None else integers(x, "B", "loss") for x in (loss or [None] * len(texts))]
        follows = [-1] * len(texts) if next is None else [int(x) for x in next]
        if len(losses) != len(texts) or len(follows) != len(texts):
            raise Error(f"{len(texts)} documents, {len(follows)} of next, {len(losses)} of loss")
        for text, no_target in zip(texts, losses):
            if no_target is not None and len(no_target) != len(text):
                raise Error(f"a document of {len(text)} tokens, {len(no_target)} of loss")
        pieces = (_abi.Piece * len(texts))(*(_abi.Piece(None, 0, x) for x in follows))
        chunks = (_abi.Chunk * len(texts))(*(
            _abi.Chunk(n, text, len(text), no_target) for n, (text, no_target) in enumerate(zip(texts, losses))))
        options = _abi.PlanOptions(index(mask, MASKS, "mask"), reset, anchor_form == "bos", lead_bos, predict_boundary, predict_first,
                                   -1 if bos is None else bos, offset)
        return cls._made(lambda struct: library().kd_plan_init(struct, options, pieces, len(texts), chunks, len(texts)))

    @classmethod
    def _made(cls, make):
        """What a function of the library puts into a kd_plan."""
        struct = _abi.Plan()
        make(struct)
        return cls(struct, _Free(struct))

    @classmethod
    def lengths(cls, lengths, *, mask, **options):
        """A window of documents of so many tokens, ids all 0: for attention, which does not read them. A shared anchor and BOS
        come on top."""
        lengths = list(lengths)
        if min(lengths, default=0) < 0:
            raise Error(f"a document of {min(lengths)} tokens")
        return cls.of(([0] * n for n in lengths), mask=mask, **{"bos": 0, **options})

    @classmethod
    def layout(cls, start, position, anchors=0):
        """A window as it lies: document n is tokens start[n] .. start[n+1]-1, start[0] = anchors, start[N] = T; position [T].
        Documents of no tokens are left out. target, token and depth are not there."""
        at, where = integers(start, "q", "start"), integers(position, "i", "position")
        T = len(where)
        if not len(at) or at[0] != anchors or at[-1] != T or any(b < a for a, b in zip(at, at[1:])) or anchors not in (0, 1):
            raise Error(f"a layout of {T} tokens, {anchors} anchors: {list(at[:4])}..{list(at[-1:])} must rise from {anchors} to {T}")
        if min(where, default=0) < 0:
            raise Error("positions below 0")
        kept = [at[0]] + [b for a, b in zip(at, at[1:]) if b > a]
        begins = (c.c_int64 * len(kept))(*kept)
        base = (c.c_int32 * max(len(kept) - 1, 1))(*(_base(where, a, b) for a, b in zip(kept, kept[1:])))
        struct = _abi.Plan(T, len(kept) - 1, anchors, begins, where, base)
        return cls(struct, (begins, where, base))

    def _raw(self, name):
        """A field as a ctypes array that keeps the plan's memory alive."""
        pointer = getattr(self.struct, name)
        if not pointer:
            if name in ("target", "token", "depth"):
                raise Error(f"a plan made by Plan.layout has no {name}")
            return (pointer._type_ * 0)()
        count = {"start": self.N + 1, "base": self.N}.get(name, self.T)
        array = (pointer._type_ * count).from_address(c.addressof(pointer.contents))
        array.plan = self._keep
        return array

    T = property(lambda self: self.struct.T)
    N = property(lambda self: self.struct.N)
    anchors = property(lambda self: self.struct.anchors)
    start = property(lambda self: as_array(self._raw("start")))
    position = property(lambda self: as_array(self._raw("position")))
    base = property(lambda self: as_array(self._raw("base")))
    target = property(lambda self: as_array(self._raw("target")))
    token = property(lambda self: as_array(self._raw("token")))
    depth = property(lambda self: as_array(self._raw("depth")))

    @property
    def pairs(self):
        """Query/key pairs that see each other: what attention computes for one head."""
        return library().kd_plan_pairs(self.struct)

    def __repr__(self):
        return f"Plan(T={self.T}, N={self.N}, anchors={self.anchors})"


def _base(position, start, end):
    """kd_plan.base of a document, as kd_plan_init sets it: a first token at 0 whose text runs on from elsewhere is a BOS that lies where
    the second token puts it."""
    return position[start + 1] - 1 if end - start > 1 and position[start] == 0 else position[start]


class _Free:
    """Owns what kd_plan_init allocated."""

    def __init__(self, struct):
        self.struct, self.free = struct, library().kd_plan_free

    def __del__(self):
        self.free(self.struct)
