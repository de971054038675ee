"""Rope: the frequencies that queries and keys turn by. The tables made from them are each context's own."""
import struct

from ._abi import Error


def _f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


class Rope:
    """inv_freq [E/2]: radians that the pair (x[e], x[e + E/2]) turns by at each position; float32 numbers, as checkpoints are trained with.

    scaling: what cosines and sines are multiplied by (yarn's and longrope's attention factor); logits get its square."""

    def __init__(self, inv_freq, scaling=1.0):
        self.inv_freq = tuple(float(f) for f in inv_freq)
        self.scaling = float(scaling)
        if not 1 <= len(self.inv_freq) <= 128:
            raise Error(f"rope: {len(self.inv_freq)} frequencies, a head of E numbers has E/2 of them and at most 256 numbers")

    @classmethod
    def default(cls, E, theta=10000.0):
        """inv_freq[e] = theta^(-2e/E), rounded to float32 where transformers rounds: rope type "default"."""
        return cls(_f32(1 / _f32(_f32(theta) ** _f32(2 * e / E))) for e in range(E // 2))

    @classmethod
    def from_config(cls, config):
        """Of a Hugging Face config (an object or a dict) whose rope type is "default". Other types: give the model's own
        inv_freq and attention_scaling, as its rotary embedding has them."""
        get = config.get if isinstance(config, dict) else lambda key, other=None: getattr(config, key, other)
        rope = get("rope_parameters") or get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise Error(f"rope type {kind}: pass inv_freq and attention_scaling of the model's rotary embedding to Rope", "not supported")
        E = get("head_dim") or get("hidden_size") // get("num_attention_heads")
        return cls.default(E, rope.get("rope_theta") or get("rope_theta") or 10000.0)

    @property
    def E(self):
        return 2 * len(self.inv_freq)

    def __repr__(self):
        return f"Rope(E={self.E}, inv_freq[0]={self.inv_freq[0]:g}, inv_freq[-1]={self.inv_freq[-1]:g}, scaling={self.scaling:g})"
