"""Pairs of mistakes in different operations of the same port."""

from dataclasses import dataclass

from .deviation import Deviation

NAMES = """
norm-eps-1e-6 rope-theta-10000
norm-eps-1e-6 activation-swapped
norm-plus-one rope-interleaved
norm-mean-abs activation-gelu
norm-n-minus-1 scores-scale-missing
norm-weight-other sum-mlp-halved
rope-theta-10000 scores-head-modulo
rope-interleaved scores-scale-1/d
rope-position-plus-1 scores-mask-plus-1
rope-q-skipped activation-gelu-tanh
rope-linear-2 logits-softcap-30
linear-k-v-exchanged norm-eps-1e-5
linear-gate-up-exchanged scores-mask-missing
linear-q-of-next-layer rope-reversed
linear-down-int4-blocks softmax-temperature-2
linear-qk-to-neighbours activation-relu
linear-tf32 scores-softcap-50
scores-head-modulo softmax-exp-f16
scores-alibi context-heads-reversed
scores-window-4 linear-down-column-major
scores-scale-hidden/heads logits-row-before
softmax-plus-one context-values-one-late
context-head-modulo linear-up-un-normed
activation-quick-gelu sum-attention-residual-twice
sum-post-norm-mlp embedding-by-root-hidden
sum-parallel rope-partial-of-part
layer-exchanged logits-log-softmax
embedding-plus-one norm-eps-missing
"""


@dataclass(frozen=True)
class Pair:
    """Two deviations of one port."""

    parts: tuple[Deviation, Deviation]

    name = property(lambda self: " + ".join(part.name for part in self.parts))
    operation = property(lambda self: "pair")
    label = property(lambda self: " + ".join(part.label for part in self.parts))
    says = property(lambda self: ", and ".join(part.says for part in self.parts))
    model = property(lambda self: self.parts[0].model)
    at = property(lambda self: "layers" if any(part.at == "layers" for part in self.parts) else self.parts[0].at)

    def plant(self, llama, layer=None):
        for part in self.parts:
            part.plant(llama, layer)


def pairs_of(deviations):
    """The pairs named above."""
    by_name = {deviation.name: deviation for deviation in deviations}
    lines = NAMES.strip().splitlines()
    return [Pair(tuple(by_name[name] for name in line.split())) for line in lines]
