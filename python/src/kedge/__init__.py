"""kedge: long-context training without broken positions. AnchorAttention and exact rotary positions by libkedge.

Needs the library alone; numpy, PyTorch (kedge.torch) and transformers (kedge.hf) are used where they are."""
from . import safetensors
from ._abi import Error, library
from ._version import VERSION as __version__
from .attention import attention_backward, attention_forward
from .collate import PackCollator
from .context import Context, default_context
from .model import Model
from .plan import Plan
from .rope import Rope
from .rotate import rotate
from .tokenizer import Tokenizer
from .windows import Windows

__all__ = ["Context", "Error", "Model", "PackCollator", "Plan", "Rope", "Tokenizer", "Windows", "attention_backward", "attention_forward",
           "default_context", "library", "rotate", "safetensors"]
