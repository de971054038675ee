"""Model: logits and losses of a Hugging Face folder by kedge's own forward pass, in float32."""
import os

from ._abi import FRAMES, PRECISIONS, Handle, index, library
from ._arrays import new
from .context import default_context
from .plan import Plan


class Model:
    """A Llama, Mistral or Qwen2 that reads windows of up to `window` tokens. One thread at a time; others wait."""

    def __init__(self, folder, window, *, frame="window", precision="exact", ctx=None):
        self._ctx = ctx or default_context()
        frame, precision = index(frame, FRAMES, "frame"), index(precision, PRECISIONS, "precision")
        with self._ctx.locked():
            arguments = self._ctx.handle(), os.fsencode(folder), window, frame, precision
            self._handle = Handle("kd_model_free", lambda out: library().kd_model_new(out, *arguments), self._ctx)
            self._ctx.outlive(self._handle)

    def __del__(self):
        if hasattr(self, "_handle"):
            with self._ctx.locked():  # which may be at work for another thread
                self._handle.free()

    @property
    def vocabulary(self):
        return library().kd_model_vocabulary(self._handle.value)

    def _read(self, plan):
        plan = plan if isinstance(plan, Plan) else Plan.of([plan], mask="full")
        self._ctx.handle()
        library().kd_model_read(self._handle.value, plan.struct)
        return plan

    def logits(self, plan, start=0, end=None):
        """logits [end - start, V] float32 after tokens start .. end-1 (all, unless given) of a Plan, or of one text's ids."""
        with self._ctx.locked():
            plan = self._read(plan)
            end = plan.T if end is None else end
            out, memory = new((end - start, self.vocabulary))
            library().kd_model_logits(self._handle.value, memory.address, start, end - start)
        return out

    def losses(self, plan):
        """[T] float64: -log p(target) of each token in nats, 0 where it has no target, of a Plan or of one text's ids."""
        with self._ctx.locked():
            plan = self._read(plan)
            out, memory = new((plan.T,), "F64")
            library().kd_model_token_losses(self._handle.value, memory.address)
        return out
