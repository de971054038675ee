"""Other people's memory as views of the C interface, without copies: numpy's __array_interface__, DLPack, the buffer protocol."""
import ctypes as c
import math

from . import _abi
from ._abi import BF16, F16, F32, Error

try:
    import numpy
except ImportError:
    numpy = None

_BYTES = {F32: 4, BF16: 2, F16: 2}
# uint16 stands for bfloat16, which numpy and the buffer protocol do not have.
_TYPESTR = {"<f4": F32, "<f2": F16, "<u2": BF16}
_FORMAT = {"f": F32, "e": F16, "H": BF16}


class _DLTensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("device_type", c.c_int32), ("device_id", c.c_int32), ("ndim", c.c_int32), ("code", c.c_uint8),
                ("bits", c.c_uint8), ("lanes", c.c_uint16), ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64)),
                ("byte_offset", c.c_uint64)]


_DLPACK = {(2, 32): F32, (2, 16): F16, (4, 16): BF16, (1, 16): BF16}  # (code, bits)
_capsule = c.pythonapi.PyCapsule_GetPointer
_capsule.restype, _capsule.argtypes = c.c_void_p, [c.py_object, c.c_char_p]


class Array:
    """An array of another package: address, shape, strides in elements, kd_view_type; `keep` holds its memory."""

    def __init__(self, name, address, shape, strides, kind, readonly, keep):
        self.name, self.address, self.shape, self.kind, self.readonly, self.keep = name, address, tuple(shape), kind, readonly, keep
        if strides is None:
            strides = [math.prod(self.shape[i + 1:]) for i in range(len(self.shape))]
        self.strides = tuple(strides)

    def heads(self, tokens=None, E=None):
        """The view of [T, heads, E]."""
        if len(self.shape) != 3 or (tokens is not None and self.shape[0] != tokens) or (E is not None and self.shape[2] != E):
            raise Error(f"{self.name} is {list(self.shape)}, not [{'T' if tokens is None else tokens}, heads, {'E' if E is None else E}]")
        if self.strides[2] != 1 and self.shape[2] > 1:
            raise Error(f"{self.name}: numbers of a head must stand side by side; their stride is {self.strides[2]}")
        return view(self.address, self.strides[0], self.strides[1], self.kind)

    def written(self):
        if self.readonly:
            raise Error(f"{self.name} cannot be written to")
        return self


def view(address, token_stride, head_stride, kind):
    return _abi.View(address if kind == F32 else None, token_stride, head_stride, kind, None if kind == F32 else address)


def array(x, name):
    """An Array of x: numpy's arrays and what has their interface, tensors by DLPack, writable buffers of format f, e or H."""
    interface = getattr(x, "__array_interface__", None)
    if interface is not None:
        return _of_interface(x, interface, name)
    if hasattr(x, "__dlpack__"):
        return _of_dlpack(x, name)
    return _of_buffer(x, name)


def _of_interface(x, interface, name):
    bfloat16 = str(getattr(x, "dtype", "")) == "bfloat16"  # of ml_dtypes: to numpy two bytes of anything
    kind = BF16 if bfloat16 else _TYPESTR.get(interface["typestr"])
    if kind is None:
        raise Error(f"{name} is {getattr(x, 'dtype', interface['typestr'])}: float32, float16, or bfloat16 (uint16)")
    strides = interface.get("strides")
    if strides and any(s % _BYTES[kind] for s in strides):
        raise Error(f"{name}: strides of {list(strides)} bytes are not of whole elements")
    address, readonly = interface["data"]
    return Array(name, address, interface["shape"], strides and [s // _BYTES[kind] for s in strides], kind, readonly, x)


def _of_dlpack(x, name):
    device = x.__dlpack_device__()[0]
    if int(device) != 1:
        raise Error(f"{name} is on a device of DLPack type {int(device)}, not in the host's memory; GPUs: kedge.torch", "not supported")
    capsule = x.__dlpack__()
    tensor = _DLTensor.from_address(_capsule(capsule, b"dltensor"))
    kind = _DLPACK.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if kind is None:
        raise Error(f"{name}: {tensor.bits} bits of DLPack code {tensor.code}: float32, float16, or bfloat16")
    # The capsule is held, not consumed: its destructor gives the memory back.
    return Array(name, (tensor.data or 0) + tensor.byte_offset, tensor.shape[:tensor.ndim], tensor.strides[:tensor.ndim] if tensor.strides else None,
                 kind, False, (x, capsule))


def _of_buffer(x, name):
    try:
        m = memoryview(x)
    except TypeError:
        raise Error(f"{name} is a {type(x).__name__}: neither __array_interface__, DLPack nor a buffer") from None
    kind = _FORMAT.get(m.format.lstrip("<@="))
    if kind is None or m.readonly or not m.c_contiguous:
        raise Error(f"{name}: a buffer must be writable, contiguous and of format f, e or H; this one is of {m.format}")
    held = (c.c_char * m.nbytes).from_buffer(m) if m.nbytes else None
    return Array(name, c.addressof(held) if held is not None else 0, m.shape, None, kind, False, held)


def new(shape, like=None):
    """Memory for a result: of the type of an input (`like`, an Array), or float32; numpy's, or a memoryview without numpy.
    Returns what the caller gets and its Array."""
    kind = like.kind if like is not None else F32
    if numpy is not None:
        dtype = getattr(like.keep, "dtype", None) if like is not None else None
        if not isinstance(dtype, numpy.dtype):
            dtype = {F32: numpy.float32, F16: numpy.float16, BF16: numpy.uint16}[kind]
        out = numpy.empty(shape, dtype)
    else:
        letter = next(letter for letter, k in _FORMAT.items() if k == kind)
        out = memoryview(bytearray(math.prod(shape) * _BYTES[kind])).cast(letter, shape)
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
