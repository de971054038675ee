"""Windows: documents, or what `kedge pack` wrote, to the windows that kedge's own trainer reads."""
import array as arrays
import ctypes as c
import os
import threading
from collections.abc import Sequence

from . import _abi
from ._abi import MASKS, SEPARATORS, Error, Handle, index, library
from .plan import Plan


class Windows(Sequence):
    """The Plan of each window, in the order of the documents; a dataset for PyTorch's loaders. trained(i) is in training order."""

    def __init__(self, documents, window, *, mask, bos=None, eos=None, separator="bos", anchor_form="shared", loss=None, pad=None,
                 **switches):
        """Documents are sequences of ids without BOS and EOS; every window holds `window` tokens.

        mask: "full" | "document" | "anchor". separator: "bos" | "eos" | "both" | "none": what stands before and behind each document;
        with mask "anchor" the anchor, or each document's own with anchor_form "bos", takes the place of the BOS. loss: for each document
        None or a sequence that is 0 where a token is never a target. switches, with their defaults:
        truncate=False: a document that crosses a window's end is cut there; else it goes on in the next window, the last token before the
            end trained on the token that follows. shortest=1: what is left of it and shorter is not gone on with.
        interleave=False: documents are cut into chunks, which are shuffled. seed=0: of the chunks and of the training order.
        predict_boundary=None, predict_first=None: as Plan.of; mask "full", whose window is one text, trains both unless told otherwise.
        reset=False, offset=0: as Plan.of.
        pad: id that fills the last window, as a document that nothing is trained on; None: the window that is not full is
        dropped, as kedge's trainer does; `dropped` counts its tokens."""
        options = _options(window, mask, separator, anchor_form, **switches)
        try:
            token, keep, start = _joined(documents, loss)
        except OverflowError:
            raise Error("ids of documents must be integers of 32 bits") from None
        leads = anchor_form == "bos" if mask == "anchor" else separator in ("bos", "both")
        room = window - (leads or mask == "anchor")  # for one document's text
        if pad is not None:  # a last document that just fits into a window
            if options.interleave:
                raise Error("pad fills windows of whole documents, not of chunks that are shuffled")
            count = max(room - (separator in ("eos", "both")), 0)
            token.extend([pad] * count)
            keep.extend([0] * count)
            start.append(len(token))
        bos, eos = (-1 if x is None else x for x in (bos, eos))
        pointer = lambda kind, x: (kind * len(x)).from_buffer(x)  # noqa: E731
        self._open(lambda out: library().kd_windows_new(
            out, options, pointer(c.c_int32, token), pointer(c.c_uint8, keep), pointer(c.c_int64, start), len(start) - 1, bos, eos))
        if pad is not None:
            self._padded = self._count - 1
            if self._plan(self._padded, False).depth[-1] == room - 1:  # it got a window of its own
                self._count, self._padded = self._padded, None

    def _open(self, make, keep=None):
        self._lock, self._padded = threading.Lock(), None
        self._handle = Handle("kd_windows_free", make, keep)
        self._count = library().kd_windows_count(self._handle.value)

    @classmethod
    def of_pack(cls, folder, tokenizer, part="train", *, window=None, mask=None, separator="bos", anchor_form="shared", **switches):
        """Those of a folder that `kedge pack` wrote, with the Tokenizer that made it. mask None: as they were filled, with mask "anchor"
        where they have one, else "document". Otherwise window, separator, anchor_form, truncate, shortest and tag (=False, the name of
        each document's source before it) must be those that they were filled with; the rest may be chosen."""
        options = mask and _options(window, mask, separator, anchor_form, **switches)
        made = cls.__new__(cls)
        made._open(lambda out: library().kd_windows_of_pack(out, os.fsencode(folder), part.encode(), tokenizer.handle.value, options),
                   tokenizer.handle)
        return made

    @property
    def dropped(self):
        """Tokens of text at the end that fill no window."""
        return library().kd_windows_dropped(self._handle.value)

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        if not -self._count <= i < self._count:
            raise IndexError(f"window {i} of {self._count}")
        plan = self._plan(i % self._count, False)
        if i % self._count == self._padded:
            for t in range(plan.T - plan.depth[-1] - 1, plan.T):
                plan.target[t] = -1  # the EOS behind the padding
        return plan

    def trained(self, i):
        """Window i, from 0, in the order that kedge trains in: another one in every pass over all of them."""
        if self._padded is not None or self._count != library().kd_windows_count(self._handle.value):
            raise Error("kedge trains on whole windows: no pad")
        return self._plan(i, True)

    def _plan(self, i, shuffled):
        with self._lock:
            return Plan._made(lambda struct: library().kd_windows_plan(struct, self._handle.value, i, shuffled))


def _options(window, mask, separator, anchor_form, *, reset=False, interleave=False, tag=False, truncate=False, predict_boundary=None,
             predict_first=None, offset=0, shortest=1, seed=0):
    if anchor_form not in ("shared", "bos"):
        raise Error(f"anchor_form {anchor_form!r}: shared or bos")
    full = mask == "full"
    leads = separator in ("bos", "both")
    return _abi.WindowOptions(window, index(mask, MASKS, "mask"), reset, anchor_form == "bos", interleave, tag, truncate,
                              full if predict_boundary is None else predict_boundary,
                              full and leads if predict_first is None else predict_first, index(separator, SEPARATORS, "separator"), offset,
                              shortest, seed)


def _joined(documents, loss):
    """Documents end to end: token, loss, and where each starts."""
    token, keep, start = arrays.array("i"), bytearray(), arrays.array("q", [0])
    losses = iter(loss) if loss is not None else None
    for document in documents:
        token.extend(document.tolist() if hasattr(document, "tolist") else document)
        counts = next(losses) if losses else None
        count = len(token) - start[-1]
        keep.extend([1] * count if counts is None else (int(bool(x)) for x in counts))
        if len(keep) != len(token):
            raise Error(f"document {len(start) - 1}: {count} tokens, {count + len(keep) - len(token)} of loss")
        start.append(len(token))
    return token, keep, start
