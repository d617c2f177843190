"""Which prompts, which rows, which sites?

A *row* is one (batch, index in the padded sequence) pair. Arrays on disk have the rows axis first, so a
case with padding, a case with a tail and a plain one are all read alike.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from .files import Trouble


@dataclass
class Case:
    name: str
    ids: list  # [b][length], without padding
    prompts: list = field(default_factory=list)  # text, where there was any
    messages: list | None = None  # the chat, where there was one
    pad: str | None = None  # "left" | "right"
    pad_id: int = 0
    layers: list | None = None  # layers stored complete; None is all
    blocks: str = "all"  # outputs of which other layers: "all", or "before" each stored one
    tail: int = 0  # 0: every row of every site; N: the last N rows only ...
    tail_of: str = "most"  # ... of "most" sites (not of k_rope, v_proj), or of "lm_head"

    def __post_init__(self):
        self.lengths = [len(row) for row in self.ids]
        if not self.ids or min(self.lengths) == 0:
            raise Trouble(f"case `{self.name}` has a prompt without a token", "give text, or --ids")
        if len(set(self.lengths)) > 1 and not self.pad:
            raise Trouble(f"case `{self.name}` has prompts of different lengths", "say how to pad: --pad left")
        length = max(self.lengths)
        fill = [[self.pad_id] * (length - n) for n in self.lengths]
        joined = [f + r if self.pad == "left" else r + f for f, r in zip(fill, self.ids)]
        self.input_ids = torch.tensor(joined)  # [b, s]
        real = torch.zeros(len(self.ids), length, dtype=torch.bool)
        for row, n in enumerate(self.lengths):
            real[row, slice(length - n, None) if self.pad == "left" else slice(0, n)] = True
        self.real = real  # [b, s]
        # Real tokens so far, from 0: a left-padded prompt starts at position 0, not at its column.
        self.position_ids = torch.where(real, real.long().cumsum(-1) - 1, 0)
        self.rows = {"all": [[b, i] for b, i in real.nonzero().tolist()]}
        if self.tail:
            last = {b: [r for r in self.rows["all"] if r[0] == b][-self.tail :] for b in range(len(self.ids))}
            self.rows["tail"] = [r for b in last for r in last[b]]

    @property
    def allowed(self):
        """[b, s, t]: key j is visible to query i iff j <= i and j is no padding.

        A pad row may see itself: a row with nothing to see is NaN in some dtypes (finfo.min plus a
        negative score is -inf in f16), and 0 * NaN would then reach the real rows.
        """
        length = self.real.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        return (causal & self.real[:, None, :]) | torch.eye(length, dtype=torch.bool)

    def additive_mask(self, dtype):
        """[b, 1, s, t], in the form that transformers' eager attention adds: 0, or the lowest number."""
        return torch.zeros(self.allowed.shape, dtype=dtype).masked_fill(~self.allowed, torch.finfo(dtype).min)[:, None]

    def which_rows(self, site):
        """The name of the row list that a site is judged on, stored or not: "all" or "tail"."""
        kind = site.rsplit(".", 1)[-1]
        if self.tail == 0:
            return "all"
        if self.tail_of == "lm_head":
            return "tail" if site == "lm_head" or not self.stores(site) else "all"
        return "all" if kind in ("k_rope", "v_proj") and self.stores(site) else "tail"

    def stores(self, site):
        """Is the truth of this site kept on disk?"""
        parts = site.split(".")
        if parts[:2] != ["model", "layers"] or self.layers is None:
            return True
        layer = int(parts[2])
        if len(parts) > 3:
            return layer in self.layers
        # A block's output is the input of the next: a stored layer is judged on clean input.
        return self.blocks == "all" or layer in self.layers or layer + 1 in self.layers

    def take(self, tensor, which):
        """Rows of a canonical tensor, rows first: [b, s, w] -> [rows, w]; [b, h, s, d] -> [rows, h, d]."""
        b, i = torch.tensor(self.rows[which]).unbind(-1)
        return tensor[b, i] if tensor.dim() == 3 else tensor[b, :, i]

    def put(self, tensor, which, values):
        """Overwrite those rows in place."""
        b, i = torch.tensor(self.rows[which]).unbind(-1)
        if tensor.dim() == 3:
            tensor[b, i] = values.to(tensor.dtype)
        else:
            tensor[b, :, i] = values.to(tensor.dtype)

    def barred_rows(self):
        """[rows, 1, t]: True where a query may not see a key."""
        b, i = np.array(self.rows["all"]).T
        return ~self.allowed[b, i][:, None, :]
