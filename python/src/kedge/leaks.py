"""Does attention leak between packed documents? One token is touched, that is, changed, and what moves is counted.

    report = kedge.leaks.check(step, input_ids, starts, anchors=1, embedding=model.get_input_embeddings())
    print(report); assert report.holds

`step` is any callable from ids to logits: a model of any stack, fed as in training. A token of a document is touched; outputs (logits) and
gradients (of the embeddings, for one fixed sum of all logits) that move outside that document are leaks. What moves inside is counted too: a
mask that is blind, that hides a document from itself, is as wrong, and would pass otherwise. Outputs that move say who sees the document,
gradients that move say whom the document sees, token by token: so one touched token a document finds every pair of documents that see each
other.

    python -m kedge.leaks MODEL --attention sdpa --packing position_ids    # exit code 1: a leak

The words, and the keys of --json, are those of `kedge check mask`. Needs torch; a model's name or folder transformers too.
"""
from __future__ import annotations

import dataclasses
import json
import sys

import torch

LISTED = 12  # faults that the table names one by one


@dataclasses.dataclass
class Moved:
    """What moved of one kind when one token was touched. Positions count tokens of the batch: row * T + token."""
    inside: int             # that moved and must,
    inside_of: int          # of so many
    outside: int            # that moved and must not,
    outside_of: int         # of so many
    leaks: list             # positions of `outside`
    blind: list             # positions that must have moved and did not; of 16-bit numbers only where more than half did not


@dataclasses.dataclass
class Row:
    """One touched token."""
    row: int                # of the batch
    document: int           # of its row, from 0; -1: the anchor
    token: int              # of its row
    outputs: Moved
    gradients: Moved | None = None

    def moved(self):
        return [(name, moved) for name, moved in (("outputs", self.outputs), ("gradients", self.gradients)) if moved]

    @property
    def verdict(self):
        leaks, blind = (any(getattr(moved, fault) for _, moved in self.moved()) for fault in ("leaks", "blind"))
        return "leak" if leaks else "blind" if blind else "holds"


@dataclasses.dataclass
class Report:
    T: int                  # tokens of a row
    starts: list            # [rows][documents] first token of each
    anchors: int
    noise: dict             # largest difference of two runs of the same ids, by kind: only four times that counts as a move
    rows: list              # a Row for each touched token

    @property
    def holds(self):
        return all(row.verdict == "holds" for row in self.rows)

    def count(self, fault):
        """Positions at fault ("leaks" or "blind") over all touched tokens, outputs and gradients."""
        return sum(len(getattr(moved, fault)) for row in self.rows for _, moved in row.moved())

    def _name(self, row, document):
        where = "the anchor" if document < 0 else f"document {document}"
        return where + (f" of row {row}" if len(self.starts) > 1 else "")

    def _spread(self, positions):
        """Positions by their document: {(row, document): [token]}."""
        spread = {}
        for position in positions:
            row, token = divmod(position, self.T)
            spread.setdefault((row, sum(token >= start for start in self.starts[row]) - 1), []).append(token)
        return spread

    def faults(self):
        """One line for each touched token and document that moves and must not, or does not move and must."""
        for row in self.rows:
            for fault, verb in (("leaks", "leak: {} moves"), ("blind", "blind: {} does not move")):
                found = {}   # (row, document): what of it
                for kind, moved in row.moved():
                    for place, tokens in self._spread(getattr(moved, fault)).items():
                        which = f"token {tokens[0]}" if len(tokens) == 1 else f"{len(tokens)} tokens, {tokens[0]} to {tokens[-1]}"
                        found.setdefault(place, []).append(f"{kind} of {which}")
                for place, what in found.items():
                    touched = f"token {row.token} of {self._name(row.row, row.document)}"
                    yield f"{verb.format(self._name(*place))} when {touched} is touched: {'; '.join(what)}"

    def table(self):
        title = f"{'touched':28}" + "".join(f"  {kind + ' inside':>16}  {'outside':>11}" for kind, _ in self.rows[0].moved()) + "  verdict"
        lines = [title]
        for row in self.rows:
            line = f"{f'token {row.token} of {self._name(row.row, row.document)}':28}"
            for _, moved in row.moved():
                line += f"  {f'{moved.inside}/{moved.inside_of}':>16}  {f'{moved.outside}/{moved.outside_of}':>11}"
            lines.append(line + "  " + {"holds": "holds"}.get(row.verdict, row.verdict.upper()))
        return "\n".join(lines)

    def __str__(self):
        faults = list(self.faults())
        lines = [self.table()] + faults[:LISTED]
        if len(faults) > LISTED:
            lines.append(f"and {len(faults) - LISTED} more")
        noise = ", ".join(f"{kind} {size:.1e}" for kind, size in self.noise.items() if size)
        if noise:
            lines.append(f"two runs of the same ids differ: {noise}; only four times that counts")
        lines.append(f"{len(self.rows)} tokens touched: " + ("nothing leaks" if self.holds else
                                                             f"{self.count('leaks')} positions leak, {self.count('blind')} are blind"))
        return "\n".join(lines)

    def as_dict(self):
        rows = [{"row": row.row, "document": row.document, "token": row.token, "verdict": row.verdict,
                 **{f"{kind}_moved": dataclasses.asdict(moved) for kind, moved in row.moved()}} for row in self.rows]
        return {"check": "mask", "holds": self.holds, "tokens": self.T, "starts": self.starts, "anchors": self.anchors, "noise": self.noise,
                "faults": list(self.faults()), "rows": rows}


class _Embedded:
    """While it is entered, what the embedding hands out is a leaf whose gradient can be asked for."""

    def __init__(self, module):
        self.module, self.leaf = module, None

    def __enter__(self):
        self.handle = self.module.register_forward_hook(self._hook) if self.module is not None else None
        return self

    def __exit__(self, *_):
        if self.handle:
            self.handle.remove()

    def _hook(self, module, args, output):
        if self.leaf is not None:
            raise ValueError("leaks: the embedding is called twice in one step: whose gradient is meant?")
        self.leaf = output.detach().requires_grad_()
        return self.leaf


def _run(step, ids, embedding, seed):
    """One step, with the same random numbers each time: {"outputs": [rows, T, V], "gradients": [rows, T, C]}, and whether outputs are of 16
    bits."""
    with torch.random.fork_rng(), _Embedded(embedding) as embedded:
        torch.manual_seed(seed)
        with torch.set_grad_enabled(embedding is not None):
            out = step(ids)
            logits = getattr(out, "logits", out)
            coarse = logits.element_size() < 4
            logits = logits.reshape(*ids.shape, -1).float()
            seen = {"outputs": logits.detach()}
            if embedding is not None:
                if embedded.leaf is None:
                    raise ValueError("leaks: the step never calls the embedding whose gradient was asked for")
                weight = torch.cos(torch.arange(logits.shape[-1], device=logits.device) * 2.399963)
                gradient, = torch.autograd.grad((logits @ weight).sum(), embedded.leaf)
                seen["gradients"] = gradient.reshape(*ids.shape, -1).float()
    for kind, values in seen.items():
        if not torch.isfinite(values).all():
            raise ValueError(f"leaks: {kind} are not finite")
    return seen, coarse


def _distance(a, b):
    """[rows * T] the largest difference at each position."""
    return (a - b).abs().amax(-1).reshape(-1)


def _rows_of(starts, rows, T, anchors):
    """`starts` for each row, checked: ascending, the first behind the anchor, an end that stands behind them left out."""
    starts = [list(map(int, row)) for row in (starts if hasattr(starts[0], "__len__") else [starts] * rows)]
    if len(starts) != rows:
        raise ValueError(f"leaks: document starts of {len(starts)} rows, ids of {rows}")
    for row in starts:
        if row and row[-1] == T:
            row.pop()
        if not row or row[0] != anchors or any(a >= b for a, b in zip(row, row[1:])) or row[-1] >= T:
            raise ValueError(f"leaks: document starts must ascend from {anchors}, behind the anchors, to less than {T}: {row}")
    return starts


def _tokens_of(start, end):
    """What is touched of a document: its first token, which all of it sees, and its middle, which shows whether tokens before it see it."""
    return sorted({start, (start + end) // 2})


def check(step, input_ids, starts, *, anchors=0, embedding=None, documents=16, vocabulary=None, seed=1):
    """Touches documents one token at a time and counts what moves. Returns a Report.

    step        ids [rows, T] -> logits [rows, T, V], or an object with .logits. Called twice, and twice for each document that is touched;
                random numbers (dropout) are the same each time
    input_ids   [rows, T] or [T] int64
    starts      first token of each document, ascending; for all rows, or a list for each. An end (T) behind them is allowed: cu_seqlens
    anchors     leading tokens of a row that every document sees, 0 or 1: the first document starts there
    embedding   the module that makes embeddings of ids (model.get_input_embeddings()), for gradients; None: outputs alone
    documents   that are touched in each row, at most; evenly spread
    vocabulary  a touched token becomes another below it; None: another of input_ids
    """
    ids = input_ids.reshape(-1, input_ids.shape[-1])
    rows, T = ids.shape
    starts = _rows_of(starts, rows, T, anchors)
    pool = torch.arange(vocabulary) if vocabulary else ids.unique().cpu()
    if len(pool) < 2:
        raise ValueError("leaks: a token can only be touched if there are two different ones")

    base, coarse = _run(step, ids, embedding, seed)
    again, _ = _run(step, ids, embedding, seed)
    noise = {kind: float(_distance(base[kind], again[kind]).max()) for kind in base}

    def touch(row, document, token, start, end):
        """What moves with this token of the document start .. end-1."""
        changed = ids.clone()
        changed[row, token] = pool[(int(torch.searchsorted(pool, ids[row, token].cpu())) + max(len(pool) // 2, 1)) % len(pool)]
        seen, _ = _run(step, changed, embedding, seed)
        found = {}
        for kind in base:
            moves = (_distance(seen[kind], base[kind]) > 4 * noise[kind]).cpu()
            must = torch.zeros(rows, T, dtype=torch.bool)
            must[row, start if kind == "gradients" else token:end] = True
            may = must.clone()
            if kind == "gradients":
                may[row, :anchors] = True   # seen by the document, so its gradient follows it
            must, may = must.reshape(-1), may.reshape(-1)
            inside, inside_of = int((moves & must).sum()), int(must.sum())
            blind = [] if coarse and 2 * inside >= inside_of else (must & ~moves).nonzero().flatten().tolist()
            leaks = (moves & ~may).nonzero().flatten().tolist()
            found[kind] = Moved(inside, inside_of, len(leaks), int((~may).sum()), leaks, blind)
        return Row(row, document, token, found["outputs"], found.get("gradients"))

    touched = []
    for row, of_row in enumerate(starts):
        if anchors:
            touched.append(touch(row, -1, 0, 0, T))
        count = min(documents, len(of_row))
        for n in sorted({i * (len(of_row) - 1) // max(count - 1, 1) for i in range(count)}):
            end = of_row[n + 1] if n + 1 < len(of_row) else T
            touched += [touch(row, n, token, of_row[n], end) for token in _tokens_of(of_row[n], end)]
    return Report(T, starts, anchors, noise, touched)


# ---- models of transformers, and the ways to feed them ----------------------------------------------------------------


def _restarting(ids, starts):
    return torch.stack([torch.cat([torch.arange(b - a) for a, b in zip(row, row[1:] + [ids.shape[-1]])]) for row in starts]).to(ids.device)


def _running(ids):
    return torch.arange(ids.shape[-1], device=ids.device).expand(ids.shape)


def _sight(ids, starts, anchors):
    """[rows, 1, T, T] bool: token i sees token j."""
    T = ids.shape[-1]
    token = torch.arange(T, device=ids.device)
    document = torch.stack([torch.searchsorted(torch.tensor(row, device=ids.device), token, right=True) for row in starts])
    same = (document[:, :, None] == document[:, None, :]) | (token < anchors)
    return (same & (token[:, None] >= token))[:, None]


def _block_mask(ids, starts, anchors):
    from torch.nn.attention.flex_attention import create_block_mask
    sight = _sight(ids, starts, anchors)[:, 0]
    return create_block_mask(lambda b, h, i, j: sight[b, i, j], len(ids), None, ids.shape[-1], ids.shape[-1], device=ids.device)


def _flash(ids, starts):
    """The boundaries that transformers' FlashAttention takes, of one row."""
    if len(starts) > 1:
        raise ValueError("leaks: cu_seq_lens_q is of one row")
    ends = torch.tensor(starts[0] + [ids.shape[-1]], dtype=torch.int32, device=ids.device)
    longest = int(ends.diff().max())
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


def _cu_seqlens(ids, starts):
    """kedge's: [rows, most documents + 1], short rows filled with T."""
    T, most = ids.shape[-1], max(map(len, starts))
    return torch.tensor([row + [T] * (most + 1 - len(row)) for row in starts], dtype=torch.int32)


# name: (what is told, arguments of the model for ids, starts, anchors). No row but the last three can express an anchor.
PACKINGS = {
    "none": ("nothing", lambda i, s, a: {}),
    "position_ids": ("position_ids that restart", lambda i, s, a: {"position_ids": _restarting(i, s)}),
    "running": ("position_ids that run on", lambda i, s, a: {"position_ids": _running(i)}),
    "ones": ("position_ids that restart, attention_mask of ones",
             lambda i, s, a: {"position_ids": _restarting(i, s), "attention_mask": torch.ones_like(i)}),
    "cu_seqlens": ("position_ids that restart, cu_seq_lens_q and _k", lambda i, s, a: {"position_ids": _restarting(i, s), **_flash(i, s)}),
    "mask4d": ("attention_mask [rows, 1, T, T] of booleans",
               lambda i, s, a: {"position_ids": _running(i), "attention_mask": _sight(i, s, a)}),
    "mask4d-added": ("attention_mask [rows, 1, T, T] that is added to logits", lambda i, s, a: {
        "position_ids": _running(i), "attention_mask": torch.where(_sight(i, s, a), 0.0, torch.finfo(torch.float32).min)}),
    "blockmask": ("FlexAttention's block mask", lambda i, s, a: {"position_ids": _running(i), "attention_mask": _block_mask(i, s, a)}),
    "kedge": ("cu_seqlens, anchors", lambda i, s, a: {"position_ids": _running(i), "cu_seqlens": _cu_seqlens(i, s), "anchors": a}),
}
WITH_ANCHOR = ("mask4d", "mask4d-added", "blockmask", "kedge")


def random_window(vocabulary, rows, T, documents, anchors=0, seed=1):
    """Random ids [rows, T], and the starts of uneven documents, others in each row."""
    draw = torch.Generator().manual_seed(seed)
    if not 1 <= documents <= T - anchors:
        raise ValueError(f"leaks: {documents} documents in {T - anchors} tokens")
    drawn = (torch.randperm(T - anchors - 1, generator=draw)[:documents - 1] + anchors + 1 for _ in range(rows))
    starts = [[anchors] + sorted(others.tolist()) for others in drawn]
    return torch.randint(vocabulary, (rows, T), generator=draw), starts


def check_model(model, packing, *, rows=1, T=96, documents=4, anchors=0, gradients=True, seed=1, **forward):
    """`check` of a causal language model of transformers that is fed random packed documents in one of the ways of PACKINGS. `forward` is
    handed to the model too: use_cache=False."""
    if anchors and packing not in WITH_ANCHOR:
        raise ValueError(f"leaks: packing {packing} has no anchor; {', '.join(WITH_ANCHOR)} have")
    ids, starts = random_window(model.config.vocab_size, rows, T, documents, anchors, seed)
    ids = ids.to(model.device)
    feed = PACKINGS[packing][1](ids, starts, anchors)
    for name, value in feed.items():
        if torch.is_tensor(value) and value.is_floating_point():
            feed[name] = value.to(model.dtype).clamp_min(torch.finfo(model.dtype).min)
    return check(lambda ids: model(input_ids=ids, **feed, **forward), ids, starts, anchors=anchors,
                 embedding=model.get_input_embeddings() if gradients else None, vocabulary=model.config.vocab_size, seed=seed)


def main(arguments=None):
    import argparse
    about = "\n".join(f"  {name:13} {told}" for name, (told, _) in PACKINGS.items())
    parser = argparse.ArgumentParser(prog="python -m kedge.leaks", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Touches tokens of packed documents one by one and counts which outputs and gradients of a\n"
                                                 "model of transformers move. Exit code 0: none outside the document, 1: a leak, or a mask that\n"
                                                 "is blind, 2: the model cannot be fed like this.",
                                     epilog="packings, and what the model is told:\n" + about)
    parser.add_argument("model", help="a folder or a name that transformers opens")
    parser.add_argument("--attention", default="sdpa", help="attn_implementation: sdpa, eager, flex_attention, kedge ... (default sdpa)")
    parser.add_argument("--packing", default="position_ids", choices=PACKINGS, help="how documents are told apart (default position_ids)")
    parser.add_argument("--rows", type=int, default=1, help="of a batch (default 1)")
    parser.add_argument("--length", type=int, default=96, help="tokens of a row (default 96)")
    parser.add_argument("--documents", type=int, default=4, help="of a row (default 4)")
    parser.add_argument("--anchor", action="store_true", help="the first token of a row is seen by all of it")
    parser.add_argument("--cache", choices=("default", "on", "off"), default="default", help="use_cache; default: not said")
    parser.add_argument("--outputs-only", action="store_true", help="no gradients")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    options = parser.parse_args(arguments)

    from transformers import AutoModelForCausalLM
    try:
        if options.attention == "kedge" or options.packing == "kedge":
            from . import hf
            hf.register()
        model = AutoModelForCausalLM.from_pretrained(options.model, attn_implementation=options.attention,
                                                     dtype=getattr(torch, options.dtype)).to(options.device).train()
        forward = {} if options.cache == "default" else {"use_cache": options.cache == "on"}
        report = check_model(model, options.packing, rows=options.rows, T=options.length, documents=options.documents,
                             anchors=int(options.anchor), gradients=not options.outputs_only, seed=options.seed, **forward)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"kedge.leaks: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    print(json.dumps(report.as_dict()) if options.json else report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
