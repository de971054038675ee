"""Other people's memory as views of the C interface, without copies: numpy's __array_interface__, DLPack, the buffer protocol."""
import ctypes as c
import math

from . import _abi
from ._abi import VIEWS, Error

try:
    import numpy
except ImportError:
    numpy = None

# By the names of safetensors, what numpy and the buffer protocol call them.
_TYPES = {"F64": ("f8", "d"), "F32": ("f4", "f"), "F16": ("f2", "e"), "BF16": ("u2", "H"),
          "I64": ("i8", "q"), "I32": ("i4", "i"), "I16": ("i2", "h"), "I8": ("i1", "b"),
          "U64": ("u8", "Q"), "U32": ("u4", "I"), "U16": ("u2", "H"), "U8": ("u1", "B"), "BOOL": ("b1", "?")}
_OF_NUMPY = {typestr: name for name, (typestr, _) in _TYPES.items()}
_OF_FORMAT = {"l": "I64", "L": "U64", **{letter: name for name, (_, letter) in _TYPES.items()}}
_OF_DLPACK = {0: "I", 1: "U", 2: "F", 4: "BF"}


def size_of(dtype):
    return int(_TYPES[dtype][0][1:])


class _DLTensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("device_type", c.c_int32), ("device_id", c.c_int32), ("ndim", c.c_int32), ("code", c.c_uint8),
                ("bits", c.c_uint8), ("lanes", c.c_uint16), ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64)),
                ("byte_offset", c.c_uint64)]


_capsule = c.pythonapi.PyCapsule_GetPointer
_capsule.restype, _capsule.argtypes = c.c_void_p, [c.py_object, c.c_char_p]


class Array:
    """An array of another package: address, shape, strides in elements, its type by safetensors' name; `keep` holds its memory."""

    def __init__(self, name, address, shape, strides, dtype, readonly, keep):
        self.name, self.address, self.shape, self.dtype, self.readonly, self.keep = name, address, tuple(shape), dtype, readonly, keep
        packed = tuple(math.prod(self.shape[i + 1:]) for i in range(len(self.shape)))
        self.strides = packed if strides is None else tuple(strides)
        self.contiguous = all(a == b or n == 1 for a, b, n in zip(self.strides, packed, self.shape)) or 0 in self.shape

    def heads(self, tokens=None, E=None):
        """The view of [T, heads, E]. uint16 stands for bfloat16, which numpy and the buffer protocol do not have."""
        dtype = "BF16" if self.dtype == "U16" else self.dtype
        if dtype not in VIEWS:
            raise Error(f"{self.name} is {self.dtype}: F32, F16 or BF16 (uint16)")
        if len(self.shape) != 3 or (tokens is not None and self.shape[0] != tokens) or (E is not None and self.shape[2] != E):
            raise Error(f"{self.name} is {list(self.shape)}, not [{'T' if tokens is None else tokens}, heads, {'E' if E is None else E}]")
        if self.strides[2] != 1 and self.shape[2] > 1:
            raise Error(f"{self.name}: numbers of a head must stand side by side; their stride is {self.strides[2]}")
        return view(self.address, self.strides[0], self.strides[1], VIEWS.index(dtype))

    def written(self):
        if self.readonly:
            raise Error(f"{self.name} cannot be written to")
        return self


def view(address, token_stride, head_stride, kind):
    return _abi.View(None if kind else address, token_stride, head_stride, kind, address if kind else None)


def array(x, name):
    """An Array of x: numpy's arrays and what has their interface, tensors by DLPack, writable buffers."""
    interface = getattr(x, "__array_interface__", None)
    if interface is not None:
        return _of_interface(x, interface, name)
    if hasattr(x, "__dlpack__"):
        return _of_dlpack(x, name)
    return _of_buffer(x, name)


def _of_interface(x, interface, name):
    order, typestr = interface["typestr"][0], interface["typestr"][1:]
    dtype = "BF16" if str(getattr(x, "dtype", "")) == "bfloat16" else _OF_NUMPY.get(typestr)  # ml_dtypes' is to numpy two bytes of anything
    if dtype is None or order == ">":
        raise Error(f"{name} is {getattr(x, 'dtype', typestr)}, which is not a type of little-endian numbers that kedge has")
    strides = interface.get("strides")
    if strides and any(s % size_of(dtype) for s in strides):
        raise Error(f"{name}: strides of {list(strides)} bytes are not of whole elements")
    address, readonly = interface["data"]
    return Array(name, address, interface["shape"], strides and [s // size_of(dtype) for s in strides], dtype, readonly, x)


def _of_dlpack(x, name):
    device = int(x.__dlpack_device__()[0])
    if device != 1:
        raise Error(f"{name} is on a device of DLPack type {device}, not in the host's memory; GPUs: kedge.torch", "not supported")
    capsule = x.__dlpack__()
    tensor = _DLTensor.from_address(_capsule(capsule, b"dltensor"))
    dtype = "BOOL" if tensor.code == 6 else f"{_OF_DLPACK.get(tensor.code)}{tensor.bits}"
    if dtype not in _TYPES or tensor.lanes != 1:
        raise Error(f"{name}: {tensor.lanes} times {tensor.bits} bits of DLPack code {tensor.code} are no type that kedge has")
    # The capsule is held, not consumed: its destructor gives the memory back.
    return Array(name, (tensor.data or 0) + tensor.byte_offset, tensor.shape[:tensor.ndim],
                 tensor.strides[:tensor.ndim] if tensor.strides else None, dtype, False, (x, capsule))


def _of_buffer(x, name):
    try:
        m = memoryview(x)
    except TypeError:
        raise Error(f"{name} is a {type(x).__name__}: neither __array_interface__, DLPack nor a buffer") from None
    dtype = _OF_FORMAT.get(m.format.lstrip("<@="))
    if dtype is None or m.readonly or not m.c_contiguous:
        raise Error(f"{name}: a buffer must be writable and contiguous, of a format of numbers; this one is of {m.format}")
    held = (c.c_char * m.nbytes).from_buffer(m) if m.nbytes else None
    return Array(name, c.addressof(held) if held is not None else 0, m.shape, None, dtype, False, held)


def new(shape, dtype="F32", like=None):
    """Memory for a result, numpy's, or a memoryview without numpy; of the type of an input (`like`, an Array) where one is given. Returns
    what the caller gets and its Array."""
    dtype = like.dtype if like is not None else dtype
    if numpy is not None:
        own = getattr(like.keep, "dtype", None) if like is not None else None
        out = numpy.empty(shape, own if isinstance(own, numpy.dtype) else _TYPES[dtype][0])
    else:
        out = memoryview(bytearray(math.prod(shape) * size_of(dtype))).cast(_TYPES[dtype][1], tuple(shape))
    return out, array(out, "result")


def integers(x, letter, name):
    """A ctypes array of the integers of x: "i" int32, "q" int64, "B" uint8. Copied: they are few."""
    kind = {"i": c.c_int32, "q": c.c_int64, "B": c.c_uint8}[letter]
    if hasattr(x, "tolist"):
        x = x.tolist()
    try:
        values = list(x)
        out = (kind * len(values))(*values)
    except TypeError:
        raise Error(f"{name} must be a sequence of integers") from None
    bits = 8 * c.sizeof(kind)
    low, high = (0, 2**bits) if letter == "B" else (-2**(bits - 1), 2**(bits - 1))
    if values and not (low <= min(values) and max(values) < high):
        raise Error(f"{name}: {min(values)}..{max(values)} are not all in {bits} bits")
    return out


def as_array(x):
    """A ctypes array as numpy's, or a memoryview of plain format."""
    if numpy is not None:
        return numpy.ctypeslib.as_array(x) if len(x) else numpy.empty(0, numpy.dtype(x._type_))
    return memoryview(x).cast("B").cast({4: "i", 8: "q"}[c.sizeof(x._type_)])
