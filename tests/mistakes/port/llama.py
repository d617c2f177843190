"""The forward pass of a Llama: which operation reads what. Every result is recorded."""

from .dtypes import ROUNDING
from .operations import Operations


class Llama:
    """One port. Deviations change its `layers`, its `ends` or its `order` before it runs."""

    def __init__(self, checkpoint, dtype):
        self.sites = {}
        new = lambda layer: Operations(checkpoint, layer, ROUNDING[dtype], self.tap)
        self.ends = new(None)
        self.layers = [new(layer) for layer in range(checkpoint.config.layers)]
        self.order = list(range(checkpoint.config.layers))

    def tap(self, layer, site, x):
        """Records `x` at a site. Only the first value of a site is recorded, as a recorder's hooks do."""
        name = site if layer is None else f"model.layers.{layer}.{site}".rstrip(".")
        self.sites.setdefault(name, x)
        return x

    def forward(self, ids):
        """[s] token ids → every site by name."""
        self.sites.clear()
        x = self.ends.tap("model.embed_tokens", self.ends.embed(ids))
        for layer in self.order:
            x = block(self.layers[layer], x)
        self.ends.seen["stream"] = x
        normed = self.ends.tap("model.norm", self.ends.norm("norm", x))
        self.ends.tap("lm_head", self.ends.head(normed))
        return dict(self.sites)


def block(op, x):
    """[s, hidden] → [s, hidden]: one layer."""
    op.seen["input"] = x
    normed = op.tap("input_layernorm", op.norm("input_layernorm", x))
    q = op.tap("self_attn.q_proj", op.linear("q_proj", normed))  # [s, heads * head_dim]
    k = op.tap("self_attn.k_proj", op.linear("k_proj", normed))  # [s, kv_heads * head_dim]
    v = op.tap("self_attn.v_proj", op.linear("v_proj", normed))  # [s, kv_heads * head_dim]
    q = op.tap("self_attn.q_rope", op.rope("q", op.split(q)))  # [heads, s, head_dim]
    k = op.tap("self_attn.k_rope", op.rope("k", op.split(k)))  # [kv_heads, s, head_dim]
    scores = op.tap("self_attn.scores", op.scores(q, k))  # [heads, s, s]
    probs = op.tap("self_attn.probs", op.softmax(scores))  # [heads, s, s]
    context = op.merge(op.context(probs, op.split(v)))
    context = op.tap("self_attn.context", context)  # [s, heads * head_dim]
    branch = op.tap("self_attn.o_proj", op.linear("o_proj", context))  # [s, hidden]
    x = op.tap("post_attention_layernorm.input", op.attention_sum(x, branch))
    normed = op.tap("post_attention_layernorm", op.norm("post_attention_layernorm", x))
    gate = op.tap("mlp.gate_proj", op.linear("gate_proj", normed))  # [s, ffn]
    up = op.tap("mlp.up_proj", op.linear("up_proj", normed))  # [s, ffn]
    act = op.tap("mlp.act", op.act(gate, up))  # [s, ffn]
    branch = op.tap("mlp.down_proj", op.linear("down_proj", act))  # [s, hidden]
    return op.tap("", op.mlp_sum(x, branch))
