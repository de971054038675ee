"""kedge's attention inside transformers: Llama, Mistral, Qwen2 and other causal models of its attention registry, none of them patched.

    kedge.hf.register()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="kedge")
    model(input_ids, position_ids=..., cu_seqlens=..., anchors=..., labels=...)

Who sees whom is told, never guessed from position ids. These travel through the model's forward to attention:

    cu_seqlens    [rows, N+1] integers: document n of a row is tokens cu_seqlens[n] .. cu_seqlens[n+1]-1; its first number is `anchors`,
                  its last T; rows of fewer documents repeat T. [N+1] for a batch of one row. "causal": one document a row
    anchors       0 or 1: leading tokens of every row that are of no document and seen by all
    position_ids  the rotary positions, running or reset, as the run wants them

What kedge does not compute (padding, dropout, caches, sliding windows shorter than the window, soft caps) is refused, not ignored."""
import sys

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from ._abi import Error
from .rope import Rope
from .torch import Layout, attention

NAME = "kedge"


def register():
    """Makes attn_implementation="kedge" known to transformers. Calling it again changes nothing."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, no_mask)


def _refuse(what, instead):
    raise Error(f"kedge attention: {what}: {instead}", "not supported")


def no_mask(attention_mask=None, use_vmap=False, **_):
    """What transformers asks for a mask once a forward: there is none to make. Padding is refused here."""
    if use_vmap:
        _refuse("the model asks for a mask of its own", "only documents and an anchor are seen")
    if attention_mask is not None:
        if torch.compiler.is_compiling():
            torch._assert_async(attention_mask.all(), "kedge attention: attention_mask has padding")
        elif not attention_mask.all():
            _refuse("attention_mask has padding", "fill windows, or make padding a document of cu_seqlens with labels of -100")


def _layout(query, cu_seqlens, anchors, position_ids, rotates):
    B, _, T, _ = query.shape
    if cu_seqlens is None:
        raise Error("kedge attention: cu_seqlens is missing: model(..., cu_seqlens=, anchors=) says where documents start; "
                    "\"causal\": each row is one")
    if isinstance(cu_seqlens, str):
        if cu_seqlens != "causal":
            raise Error(f"kedge attention: cu_seqlens {cu_seqlens!r}: a tensor, or \"causal\"")
        anchors = anchors or 0
        cu_seqlens = torch.tensor([[anchors, T]], dtype=torch.int32).expand(B, 2)
    if anchors is None:
        raise Error("kedge attention: anchors is missing: 1 if every row's first token is seen by all of its documents, else 0")
    if cu_seqlens.dim() == 1:
        cu_seqlens = cu_seqlens[None]
    if cu_seqlens.shape[0] != B:
        raise Error(f"kedge attention: cu_seqlens of {cu_seqlens.shape[0]} rows, a batch of {B}")
    if not rotates:  # positions are in q and k
        position = torch.zeros(B, T, dtype=torch.int32)
    elif position_ids is None:
        raise Error("kedge attention: exact_rope needs position_ids where attention is, and this model does not hand them on")
    else:
        position = position_ids.expand(B, T)
    return Layout(cu_seqlens, position, int(anchors))


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, *, cu_seqlens=None, anchors=None, position_ids=None,
           sliding_window=None, softcap=None, s_aux=None, position_bias=None, is_causal=None, output_attentions=False, **_):
    """What transformers calls in every layer. query [B,H,T,E], key and value [B,G,T,E], rotated already unless exact_rope was called.
    Returns o [B,T,H,E], None."""
    T = query.shape[2]
    if attention_mask is not None:
        _refuse("a mask was given", "cu_seqlens and anchors say who sees whom")
    if key.shape[2] != T:
        _refuse(f"{T} queries, {key.shape[2]} keys", "it has no cache; generate with model.set_attn_implementation(\"sdpa\")")
    if dropout:
        _refuse(f"dropout {dropout}", "set attention_dropout to 0")
    if sliding_window is not None and sliding_window < T:
        _refuse(f"a sliding window of {sliding_window}, {T} tokens", "load the model with sliding_window=None to lift it")
    if is_causal is False or not getattr(module, "is_causal", True):
        _refuse("attention that sees what comes later", "it is causal")
    for name, value_of in (("softcap", softcap), ("attention sinks", s_aux), ("a position bias", position_bias)):
        if value_of is not None:
            _refuse(name, "the model's own attention has it")
    if output_attentions:
        _refuse("output_attentions", "probabilities are never stored; kedge probe shows them")
    rope, frame, precision = getattr(module, "kedge_rope", (None, "window", "exact"))
    layout = _layout(query, cu_seqlens, anchors, position_ids, rope is not None)
    # Under autocast queries and keys come back from their rotation wider than values.
    kind = torch.promote_types(query.dtype, value.dtype)
    o = attention(query.to(kind), key.to(kind), value.to(kind), layout, rope, frame=frame, precision=precision, scale=scaling)
    return o.transpose(1, 2), None


# ---- exact rotary positions --------------------------------------------------------------------------------------------


class _Unturned(torch.nn.Module):
    """Stands where a model's rotary embedding stood: cosines of 1, sines of 0."""

    def __init__(self, config, E):
        super().__init__()
        self.config, self.E = config, E

    def forward(self, x, position_ids):
        if self.config._attn_implementation != NAME:
            raise Error(f"exact_rope: attention {self.config._attn_implementation!r} would not rotate: undo exact_rope first")
        shape = (*position_ids.shape, self.E)
        return x.new_ones(()).expand(shape), x.new_zeros(()).expand(shape)


def _turns_by_halves(rotary, E):
    """Whether the model pairs x[e] with x[e + E/2], as kedge does: its own function, on numbers."""
    turn = getattr(sys.modules[type(rotary).__module__], "apply_rotary_pos_emb", None)
    if turn is None:
        return False
    at = rotary.inv_freq.device
    x, position = torch.linspace(-1, 1, 3 * E, device=at).reshape(1, 1, 3, E), torch.arange(3, device=at)[None]
    angle = position[0, :, None] * rotary.inv_freq
    a, b, cos, sin = *x.chunk(2, -1), angle.cos(), angle.sin()
    own = torch.cat([a * cos - b * sin, b * cos + a * sin], -1) * rotary.attention_scaling
    return torch.allclose(turn(x, x, *rotary(x, position))[0], own, atol=1e-5)


def exact_rope(model, precision="exact", frame="document"):
    """Lets kedge rotate queries and keys inside attention, at a precision of its ladder, instead of the model before it: positions survive
    long windows and bf16. Nothing of the model's class changes: the one rotary module of this model is replaced by one that leaves
    queries and keys as they are, and attention layers are told the frequencies. Returns the function that undoes it.

    frame: "document": inside a document positions count from its start, and only the anchor's logit knows the window's; "window": every key
    is rotated by its position (docs/numerics.md). Weights and folders that are saved do not change."""
    found = [(name, x) for name, x in model.named_modules() if hasattr(x, "inv_freq") and hasattr(x, "attention_scaling")]
    layers = [module for module in model.modules() if hasattr(module, "num_key_value_groups") and hasattr(module, "head_dim")]
    if len(found) != 1 or not layers:
        raise Error(f"exact_rope: {len(found)} rotary modules and {len(layers)} attention layers: a model with one rotary module is wanted "
                    "(and exact_rope is called once)", "not supported")
    name, rotary = found[0]
    E = 2 * len(rotary.inv_freq)
    if getattr(rotary, "rope_type", "default") in ("dynamic", "longrope"):
        raise Error(f"exact_rope: rope type {rotary.rope_type}: its frequencies depend on the length", "not supported")
    if rotary.inv_freq.dtype != torch.float32:
        raise Error(f"exact_rope: the model's inv_freq were cast to {rotary.inv_freq.dtype}: load it with dtype=, without .to(dtype)")
    if any(layer.head_dim != E for layer in layers) or not _turns_by_halves(rotary, E):
        raise Error("exact_rope: this model does not turn all of a head by halves", "not supported")
    parent = model.get_submodule(name.rpartition(".")[0])
    leaf = name.rpartition(".")[2]
    told = (Rope(rotary.inv_freq.tolist(), rotary.attention_scaling), frame, precision)
    for layer in layers:
        layer.kedge_rope = told
    setattr(parent, leaf, _Unturned(rotary.config, E))

    def undo():
        setattr(parent, leaf, rotary)
        for layer in layers:
            layer.__dict__.pop("kedge_rope", None)
    return undo
