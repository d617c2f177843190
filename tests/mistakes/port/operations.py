"""The operations of a Llama. Each is a method, so that a deviation can replace it in some layers.

Every method takes and returns float32 arrays whose values are rounded to the port's dtype where Hugging Face's
code rounds. s is the number of positions. There is no batch axis.
"""

import numpy as np


class Operations:
    """The operations of one layer, or, with `layer=None`, those before the first and after the last layer."""

    def __init__(self, checkpoint, layer, rounding, tap):
        self.config, self.tensors = checkpoint.config, checkpoint.tensors
        self.layer = layer
        self.round = rounding
        self.record = tap
        self.eps, self.theta = self.config.eps, self.config.theta
        self.seen = {}  # what this layer has computed so far, by the site's name in the layer

    def tap(self, site, x):
        """Records `x`, and returns it."""
        self.seen[site] = x
        return self.record(self.layer, site, x)

    # Weights

    def weight(self, name, layer=None):
        """A weight of this layer, or of another `layer`, by its name in the file."""
        layer = self.layer if layer is None else layer
        return self.round(self.tensors[f"model.layers.{layer}.{name}.weight"])

    def end_weight(self, name):
        """A weight outside the layers."""
        return self.round(self.tensors[f"{name}.weight"])

    # RMSNorm

    def statistic(self, x):
        """[s, hidden] → [s, 1]: the mean of the squares."""
        return np.mean(x * x, axis=-1, keepdims=True)

    def divisor(self, x):
        """[s, hidden] → [s, 1]."""
        return np.sqrt(self.statistic(x) + np.float32(self.eps))

    def norm_weight(self, which):
        """[hidden]."""
        return self.end_weight("model.norm") if which == "norm" else self.weight(which)

    def norm(self, which, x):
        """[s, hidden] → [s, hidden]."""
        return self.round(self.norm_weight(which) * self.round(x / self.divisor(x)))

    # Projections

    def matrix(self, which):
        """[out, in]."""
        folder = "self_attn" if which in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
        return self.weight(f"{folder}.{which}")

    def linear(self, which, x):
        """[s, in] → [s, out]."""
        return self.round(x @ self.matrix(which).T)

    # Rotary embedding

    def positions(self, which, s):
        """[s]. `which` is "q" or "k"."""
        return np.arange(s, dtype=np.float32)

    def frequencies(self):
        """[head_dim / 2]: θ^(−2i / head_dim)."""
        d = self.config.head_dim
        return (self.theta ** (-np.arange(0, d, 2) / d)).astype(np.float32)

    def angles(self, which, s):
        """[s, head_dim / 2]."""
        return np.outer(self.positions(which, s), self.frequencies())

    def tables(self, angles):
        """The cosines and the sines, each [s, head_dim / 2]."""
        return self.round(np.cos(angles)), self.round(np.sin(angles))

    def pairs(self, x):
        """[heads, s, head_dim] → the first and the second elements of all pairs, each [heads, s, head_dim / 2]."""
        return np.split(x, 2, axis=-1)

    def join(self, first, second):
        """The inverse of `pairs`."""
        return np.concatenate([first, second], axis=-1)

    def turn(self, x, cos, sin):
        """[heads, s, head_dim] → the same shape, every pair rotated."""
        a, b, r = *self.pairs(x), self.round
        return self.join(r(r(a * cos) - r(b * sin)), r(r(b * cos) + r(a * sin)))

    def rope(self, which, x):
        """[heads, s, head_dim] → [heads, s, head_dim]."""
        return self.turn(x, *self.tables(self.angles(which, x.shape[1])))

    # Attention

    def split(self, x):
        """[s, heads * head_dim] → [heads, s, head_dim]."""
        return x.reshape(len(x), -1, self.config.head_dim).transpose(1, 0, 2)

    def merge(self, x):
        """[heads, s, head_dim] → [s, heads * head_dim]."""
        return x.transpose(1, 0, 2).reshape(x.shape[1], -1)

    def scale(self):
        return self.config.head_dim**-0.5

    def key_head(self, head):
        """The key head that a query head uses."""
        return head // self.config.group

    def value_head(self, head):
        """The value head that a query head uses."""
        return head // self.config.group

    def each_head(self, x, head_of):
        """[kv_heads, s, head_dim] → [heads, s, head_dim]."""
        return x[[head_of(head) for head in range(self.config.heads)]]

    def visible(self, s):
        """[s, s]: whether a query (row) attends to a key (column)."""
        return np.tri(s, dtype=bool)

    def products(self, q, k):
        """[heads, s, head_dim], [kv_heads, s, head_dim] → [heads, s, s]: scaled, not yet masked."""
        keys = self.each_head(k, self.key_head)
        return self.round(self.round(q @ keys.transpose(0, 2, 1)) * np.float32(self.scale()))

    def mask(self, scores):
        """[heads, s, s] → the same with −∞ at hidden keys."""
        return np.where(self.visible(scores.shape[-1]), scores, np.float32(-np.inf))

    def scores(self, q, k):
        """[heads, s, head_dim], [kv_heads, s, head_dim] → [heads, s, s]."""
        return self.mask(self.products(q, k))

    def softmax(self, scores):
        """[heads, s, s] → [heads, s, s]."""
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return self.round(e / e.sum(-1, keepdims=True))

    def context(self, probs, v):
        """[heads, s, s], [kv_heads, s, head_dim] → [heads, s, head_dim]."""
        return self.round(probs @ self.each_head(v, self.value_head))

    # Feed-forward network

    def gate(self, x):
        """[s, ffn] → [s, ffn]: SiLU."""
        return x / (np.float32(1) + np.exp(-x))

    def act(self, gate, up):
        """[s, ffn], [s, ffn] → [s, ffn]."""
        return self.round(self.round(self.gate(gate)) * up)

    # Residual stream

    def attention_sum(self, x, branch):
        """[s, hidden], [s, hidden] → [s, hidden]: after the attention."""
        return self.round(x + branch)

    def mlp_sum(self, x, branch):
        """[s, hidden], [s, hidden] → [s, hidden]: after the feed-forward network."""
        return self.round(x + branch)

    # The ends of the model

    def embed(self, ids):
        """[s] → [s, hidden]."""
        return self.end_weight("model.embed_tokens")[ids]

    def head_matrix(self):
        """[vocab, hidden]."""
        return self.end_weight("model.embed_tokens" if self.config.tied else "lm_head")

    def head(self, x):
        """[s, hidden] → [s, vocab]."""
        return self.round(x @ self.head_matrix().T)
