"""Context: a device, its threads, and the tables of rotations made on it."""
import collections
import ctypes as c
import os
import threading
import weakref

from . import _abi
from ._abi import Error, library

TABLES = 4  # of rotations that a context keeps


class Context:
    """A device by its name ("host", "cuda", "cuda:N") and so many host threads (0: one for each core).

    Calls on one context from several threads wait for each other. It does not survive a fork. Close it, or use `with`."""

    def __init__(self, device="host", threads=0):
        self._open = None
        self._lock = threading.RLock()
        self._tables = collections.OrderedDict()
        self._models = weakref.WeakSet()
        self._process = os.getpid()
        self.device = device
        handle = c.c_void_p()
        library().kd_ctx_open_device(handle, device.encode(), threads)
        self._open = handle

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def __del__(self):
        # A child of a fork has the memory, but not the threads that closing would wait for.
        if getattr(self, "_open", None) and self._process == os.getpid():
            self.close()

    def close(self):
        with self._lock:
            if self._open:
                for model in list(self._models):
                    model.free()
                while self._tables:
                    library().kd_rope_free(self._tables.popitem()[1], self._open)
                library().kd_ctx_close(self._open)
                self._open = None

    def locked(self):
        """The lock under which handle() and table() are used."""
        return self._lock

    def handle(self):
        if not self._open:
            raise Error("the context is closed")
        if self._process != os.getpid():
            raise Error("the context was opened before this process was forked: open another")
        return self._open

    def outlive(self, model):
        """Frees this Handle, if it is still there, before the context is closed."""
        self._models.add(model)

    def table(self, inv_freq, precision, positions):
        """The kd_rope of these frequencies that serves at least so many positions, made at most once."""
        key = inv_freq, precision
        table = self._tables.pop(key, None)
        if table is None or table.positions < positions:
            if table is not None:
                library().kd_rope_free(table, self.handle())
            table = _abi.Rope()
            # Room to grow: the next power of two, so that lengths that vary make few tables.
            room = min(1 << max(positions - 1, 0).bit_length(), 1 << 24)
            library().kd_rope_init_for(table, self.handle(), precision, (c.c_double * len(inv_freq))(*inv_freq), 2 * len(inv_freq),
                                       max(room, positions))
        self._tables[key] = table
        while len(self._tables) > TABLES:
            library().kd_rope_free(self._tables.popitem(last=False)[1], self.handle())
        return table


_of_thread = threading.local()


def default_context(device="host", threads=0):
    """This thread's own context on a device, opened at its first use."""
    contexts = _of_thread.__dict__.setdefault("contexts", {})
    context = contexts.get(device)
    if context is None or context._process != os.getpid() or not context._open:
        context = contexts[device] = Context(device, threads)
    return context
