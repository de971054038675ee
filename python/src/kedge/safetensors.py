"""Tensors of safetensors files and of model folders, as numpy arrays (memoryviews without numpy), and files written."""
import ctypes as c
import json
import os
from collections.abc import Mapping

from . import _abi
from ._abi import DTYPES, Error, Handle, library
from ._arrays import array, new


class Tensors(Mapping):
    """The tensors of a file, or of a folder with its shards, by name: data is read when it is asked for. bfloat16 comes as uint16;
    float32(name) widens it. Threads may share one."""

    def __init__(self, path):
        self._handle = Handle("kd_tensors_free", lambda out: library().kd_tensors_new(out, os.fsencode(path)))

    def _find(self, name):
        tensor = library().kd_tensors_find(self._handle.value, name.encode())
        if not tensor:
            raise KeyError(name)
        return tensor

    def _spec(self, tensor):
        spec = _abi.TensorSpec()
        library().kd_tensor_describe(spec, tensor)
        return spec

    def __len__(self):
        return library().kd_tensors_count(self._handle.value)

    def __iter__(self):
        return (self._spec(library().kd_tensors_at(self._handle.value, i)).name.decode() for i in range(len(self)))

    def describe(self, name):
        """Its type, such as "BF16", and shape."""
        spec = self._spec(self._find(name))
        return DTYPES[spec.dtype], tuple(spec.shape[:spec.rank])

    def _read(self, name, function, dtype=None):
        own, shape = self.describe(name)
        out, memory = new(shape, dtype or own)
        count = 1
        for n in shape:
            count *= n
        getattr(library(), function)(memory.address, self._find(name), 0, count)
        return out

    def __getitem__(self, name):
        return self._read(name, "kd_tensor_read")

    def float32(self, name):
        """Widened or rounded to float32, of any type of floating-point numbers."""
        return self._read(name, "kd_tensor_read_f32", "F32")

    @property
    def metadata(self):
        """The first file's __metadata__."""
        found = library().kd_tensors_metadata(self._handle.value)
        return json.loads(found) if found else {}


def save(path, tensors, metadata=None):
    """Writes a file of tensors, by name: contiguous arrays of numpy, tensors by DLPack, buffers. Whole or not at all. metadata: strings by
    strings, beside {"format": "pt"}."""
    arrays = {name: array(x, name) for name, x in tensors.items()}
    specs, data = (_abi.TensorSpec * len(arrays))(), (c.c_void_p * len(arrays))()
    for i, (name, x) in enumerate(arrays.items()):
        if not x.contiguous or len(x.shape) > 8:
            raise Error(f"{name}: {list(x.shape)} with strides {list(x.strides)}: contiguous, at most 8 dimensions")
        specs[i] = _abi.TensorSpec(name.encode(), DTYPES.index(x.dtype), len(x.shape), x.shape)
        data[i] = x.address
    pairs = [word.encode() for pair in (metadata or {}).items() for word in pair]
    library().kd_tensors_write(os.fsencode(path), specs, data, len(arrays), (c.c_char_p * len(pairs))(*pairs), len(pairs) // 2)
