"""libkedge as ctypes sees it: where it is found, the structures of include/kedge.h field by field, the functions.

library() loads it at the first use, so that importing the package needs nothing."""
import ctypes as c
import functools
import os
import sys
from pathlib import Path

P = c.POINTER
ABI = 0  # KD_ABI of the header that this file was written from
MASKS = ("full", "document", "anchor")
FRAMES = ("window", "document")
PRECISIONS = ("exact", "f32-angle", "split", "f16-store", "bf16-store", "bf16", "bf16-eager")
VIEWS = ("F32", "BF16", "F16")
SEPARATORS = ("none", "bos", "eos", "both")
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


class Error(Exception):
    """A kedge function failed. `status` is what kd_status_name calls its status, such as "argument"; the message has the values."""

    def __init__(self, message, status="argument"):
        super().__init__(message)
        self.status = status


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
    _fields_ = [("data", c.c_void_p), ("token_stride", c.c_int64), ("head_stride", c.c_int64), ("type", c.c_int),
                ("half", c.c_void_p)]


class Stretch(c.Structure):
    _fields_ = [("from_", c.c_int64), ("to", c.c_int64)]


class Attn(c.Structure):
    _fields_ = [("plan", P(Plan)), ("position", c.c_void_p), ("rope", P(Rope)), ("frame", c.c_int), ("precision", c.c_int),
                ("H", c.c_int64), ("G", c.c_int64), ("E", c.c_int64), ("scale", c.c_float), ("q", View), ("k", View),
                ("v", View), ("o", View), ("lse", c.c_void_p), ("dout", View), ("dq", View), ("dk", View), ("dv", View),
                ("rows", Stretch), ("keys", Stretch)]


class TensorSpec(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_int), ("rank", c.c_int64), ("shape", c.c_int64 * 8)]


class WindowOptions(c.Structure):
    _fields_ = [("window", c.c_int64), ("mask", c.c_int), ("reset", c.c_bool), ("anchor_is_bos", c.c_bool), ("interleave", c.c_bool),
                ("tag", c.c_bool), ("truncate", c.c_bool), ("predict_boundary", c.c_bool), ("predict_first", c.c_bool),
                ("separator", c.c_int), ("offset", c.c_int64), ("shortest", c.c_int64), ("seed", c.c_uint64)]


STRUCTS = {"kd_plan_options": PlanOptions, "kd_plan": Plan, "kd_piece": Piece, "kd_chunk": Chunk, "kd_rope": Rope, "kd_view": View,
           "kd_stretch": Stretch, "kd_attn": Attn, "kd_tensor_spec": TensorSpec, "kd_window_options": WindowOptions}


class _Status(c.c_int):
    """kd_status, told from other integers."""


# name: (result, arguments); a result of kd_status is checked.
_HANDLE = P(c.c_void_p)  # of what is opened or new
_IDS = P(c.c_int32)
_FUNCTIONS = {
    "kd_version": (c.c_char_p, []),
    "kd_abi": (c.c_int64, []),
    "kd_struct_bytes": (c.c_int64, [c.c_char_p]),
    "kd_message": (c.c_char_p, []),
    "kd_status_name": (c.c_char_p, [c.c_int]),
    "kd_ctx_open_device": (_Status, [_HANDLE, c.c_char_p, c.c_int64]),
    "kd_ctx_close": (None, [c.c_void_p]),
    "kd_ctx_use_stream": (_Status, [c.c_void_p, c.c_void_p]),
    "kd_ctx_finish": (_Status, [c.c_void_p]),
    "kd_plan_init": (_Status, [P(Plan), P(PlanOptions), P(Piece), c.c_int64, P(Chunk), c.c_int64]),
    "kd_plan_free": (None, [P(Plan)]),
    "kd_plan_pairs": (c.c_int64, [P(Plan)]),
    "kd_rope_init_for": (_Status, [P(Rope), c.c_void_p, c.c_int, P(c.c_double), c.c_int64, c.c_int64]),
    "kd_rope_free": (None, [P(Rope), c.c_void_p]),
    "kd_rope_rotate": (_Status, [c.c_void_p, P(View), P(View), P(Rope), c.c_int, _IDS, c.c_int64, c.c_int64, c.c_bool]),
    "kd_attn_forward": (_Status, [c.c_void_p, P(Attn)]),
    "kd_attn_backward": (_Status, [c.c_void_p, P(Attn)]),
    "kd_tokenizer_new": (_Status, [_HANDLE, c.c_char_p]),
    "kd_tokenizer_free": (None, [c.c_void_p]),
    "kd_tokenizer_bos": (c.c_int32, [c.c_void_p]),
    "kd_tokenizer_eos": (c.c_int32, [c.c_void_p]),
    "kd_tokenizer_vocabulary": (c.c_int64, [c.c_void_p]),
    "kd_encoder_new": (_Status, [_HANDLE, c.c_void_p]),
    "kd_encoder_free": (None, [c.c_void_p]),
    "kd_encoder_ids": (_Status, [c.c_void_p, P(_IDS), P(c.c_int64), c.c_char_p, c.c_int64, c.c_int]),
    "kd_encoder_text": (_Status, [c.c_void_p, P(c.c_void_p), P(c.c_int64), _IDS, c.c_int64, c.c_bool]),
    "kd_tensors_new": (_Status, [_HANDLE, c.c_char_p]),
    "kd_tensors_free": (None, [c.c_void_p]),
    "kd_tensors_count": (c.c_int64, [c.c_void_p]),
    "kd_tensors_at": (c.c_void_p, [c.c_void_p, c.c_int64]),
    "kd_tensors_find": (c.c_void_p, [c.c_void_p, c.c_char_p]),
    "kd_tensors_metadata": (c.c_char_p, [c.c_void_p]),
    "kd_tensor_describe": (None, [P(TensorSpec), c.c_void_p]),
    "kd_tensor_read": (_Status, [c.c_void_p, c.c_void_p, c.c_int64, c.c_int64]),
    "kd_tensor_read_f32": (_Status, [c.c_void_p, c.c_void_p, c.c_int64, c.c_int64]),
    "kd_tensors_write": (_Status, [c.c_char_p, P(TensorSpec), _HANDLE, c.c_int64, P(c.c_char_p), c.c_int64]),
    "kd_windows_new": (_Status, [_HANDLE, P(WindowOptions), _IDS, P(c.c_uint8), P(c.c_int64), c.c_int64, c.c_int32, c.c_int32]),
    "kd_windows_of_pack": (_Status, [_HANDLE, c.c_char_p, c.c_char_p, c.c_void_p, P(WindowOptions)]),
    "kd_windows_free": (None, [c.c_void_p]),
    "kd_windows_count": (c.c_int64, [c.c_void_p]),
    "kd_windows_dropped": (c.c_int64, [c.c_void_p]),
    "kd_windows_plan": (_Status, [P(Plan), c.c_void_p, c.c_int64, c.c_bool]),
    "kd_model_new": (_Status, [_HANDLE, c.c_void_p, c.c_char_p, c.c_int64, c.c_int, c.c_int]),
    "kd_model_free": (None, [c.c_void_p]),
    "kd_model_vocabulary": (c.c_int64, [c.c_void_p]),
    "kd_model_read": (_Status, [c.c_void_p, P(Plan)]),
    "kd_model_logits": (_Status, [c.c_void_p, c.c_void_p, c.c_int64, c.c_int64]),
    "kd_model_token_losses": (_Status, [c.c_void_p, c.c_void_p]),
}


def _candidates():
    """Where the library may lie, likeliest first."""
    here = Path(__file__).resolve().parent
    yield from sorted(here.glob("libkedge.so*"))
    # A checkout that the package sits in: the newest build.
    for folder in here.parents:
        if (folder / "include" / "kedge.h").exists():
            built = [path for path in folder.glob("build/*/lib/libkedge.so.*") if "-" not in path.parents[1].name]
            yield from sorted(built, key=lambda path: path.stat().st_mtime, reverse=True)
    yield f"libkedge.so.{ABI}"
    # Where `make install PREFIX=` puts it and the linker may not look.
    for prefix in (sys.prefix, "/usr/local", Path.home() / ".local"):
        yield Path(prefix) / "lib" / f"libkedge.so.{ABI}"


def _open():
    asked = os.environ.get("KEDGE_LIBRARY")
    tried = []
    for path in [asked] if asked else _candidates():
        try:
            return c.CDLL(str(path))
        except OSError as error:
            tried.append(str(error))
    raise Error("libkedge.so is not found: run `make install` in kedge's sources, or name it in KEDGE_LIBRARY. Tried: "
                + "; ".join(tried), "io")


def _checked(status, function, arguments):
    if status.value:
        lib = library()
        raise Error(lib.kd_message().decode(errors="replace"), lib.kd_status_name(status).decode())


@functools.lru_cache(None)
def library():
    """The library, its binary interface checked. Raises Error that says how to get it."""
    lib = _open()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name, None)
        if function is None:
            raise Error(f"{lib._name} has no {name}: it is older than this package", "not supported")
        function.restype, function.argtypes = result, arguments
        if result is _Status:
            function.errcheck = _checked
    if lib.kd_abi() != ABI:
        raise Error(f"{lib._name} has the binary interface {lib.kd_abi()}, this package is written for {ABI}", "not supported")
    for name, struct in STRUCTS.items():
        if lib.kd_struct_bytes(name.encode()) != c.sizeof(struct):
            raise Error(f"{lib._name}: {name} has {lib.kd_struct_bytes(name.encode())} bytes, {c.sizeof(struct)} in this package",
                        "not supported")
    return lib


def index(name, names, what):
    """The number of a name in an enum of the header."""
    if name not in names:
        raise Error(f"{what} {name!r}: one of {', '.join(names)}")
    return names.index(name)


class Handle:
    """Something of the library's that is freed with this object. make(out) puts it there; keep is what it borrows."""

    def __init__(self, free, make, keep=None):
        self.value, self._free, self._keep = c.c_void_p(), getattr(library(), free), keep
        make(self.value)

    def free(self):
        if self.value:
            self._free(self.value)
            self.value = None

    def __del__(self):
        if getattr(self, "_free", None):
            self.free()
