"""kedge: long-context training without broken positions. AnchorAttention and exact rotary positions by libkedge.

Needs the library alone; numpy, PyTorch (kedge.torch) and transformers (kedge.hf) are used where they are."""
from ._abi import Error, library
from ._version import VERSION as __version__
from .attention import attention_backward, attention_forward
from .collate import PackCollator, windows
from .context import Context, default_context
from .plan import Plan
from .rope import Rope

__all__ = ["Context", "Error", "PackCollator", "Plan", "Rope", "attention_backward", "attention_forward", "default_context", "library", "windows"]
