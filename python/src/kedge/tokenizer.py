"""Tokenizer: text to ids and back, the ids of Hugging Face's package."""
import ctypes as c
import os
import threading

from ._abi import Handle, library
from ._arrays import integers

_SPECIALS, _SPECIALS_AS_TEXT, _REPLACE = 1, 2, 4  # kd_encode_flags


class Tokenizer:
    """Of a folder with tokenizer.json, of such a file, or "bytes". Threads may share one."""

    def __init__(self, name):
        self.handle = Handle("kd_tokenizer_free", lambda out: library().kd_tokenizer_new(out, os.fsencode(name)))
        self._of_thread = threading.local()

    bos = property(lambda self: self._id("bos"), doc="The id of BOS, or None.")
    eos = property(lambda self: self._id("eos"), doc="The id of EOS, or None.")

    def _id(self, name):
        found = getattr(library(), f"kd_tokenizer_{name}")(self.handle.value)
        return None if found < 0 else found

    def __len__(self):
        return library().kd_tokenizer_vocabulary(self.handle.value)

    def _encoder(self):
        """This thread's."""
        if not hasattr(self._of_thread, "encoder"):
            self._of_thread.encoder = Handle("kd_encoder_free", lambda out: library().kd_encoder_new(out, self.handle.value), self.handle)
        return self._of_thread.encoder.value

    def encode(self, text, *, specials=False, specials_as_text=False, replace=False):
        """Ids of a str or UTF-8 bytes. specials: with what the post-processor adds, BOS. specials_as_text: "<s>" in a text is three
        characters. replace: what is not UTF-8 becomes U+FFFD instead of an error."""
        data = text.encode() if isinstance(text, str) else bytes(text)
        ids, count = c.POINTER(c.c_int32)(), c.c_int64()
        flags = _SPECIALS * specials | _SPECIALS_AS_TEXT * specials_as_text | _REPLACE * replace
        library().kd_encoder_ids(self._encoder(), ids, count, data, len(data), flags)
        return ids[:count.value]

    def decode(self, ids, *, skip_specials=False):
        """The text of ids; bytes that are not UTF-8 are replaced."""
        return self.decode_bytes(ids, skip_specials=skip_specials).decode(errors="replace")

    def decode_bytes(self, ids, *, skip_specials=False):
        ids, text, size = integers(ids, "i", "ids"), c.c_void_p(), c.c_int64()
        library().kd_encoder_text(self._encoder(), text, size, ids, len(ids), skip_specials)
        return c.string_at(text.value, size.value) if size.value else b""
