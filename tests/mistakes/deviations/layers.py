"""Mistakes with whole layers: which one runs, and which one's weights it uses."""

from port.operations import Operations as Right

from .deviation import of

order = of("layer", "+1:input_layernorm", at="order")
weights = of("layer", "input_layernorm")


def from_layer(step):
    """All weights of the layer `step` layers later; layers are counted in a circle."""
    return lambda op, name, layer=None: Right.weight(op, name, (op.layer + step) % op.config.layers)


def exchanged(layers, n):
    """Layer n and the one after it in the other order."""
    m = (n + 1) % len(layers)
    return [{n: m, m: n}.get(layer, layer) for layer in layers]


def skipped(layers, n):
    return [layer for layer in layers if layer != n]


DEVIATIONS = [
    order("skipped", "does not run one layer", order=skipped),
    order("repeated", "runs one layer twice in a row", order=lambda layers, n: sorted([*layers, n])),
    order("exchanged", "runs one layer after the next", order=exchanged, site="input_layernorm"),
    order("early-exit", "stops after one layer", order=lambda layers, n: layers[: n + 1], site="model.norm"),
    order(
        "first-skipped",
        "does not run the layers before one layer",
        order=lambda layers, n: layers[n:],
        site="input_layernorm",
    ),
    order("stack-twice", "runs all layers twice", order=lambda layers, n: layers * 2, site="model.norm"),
    order(
        "reversed",
        "runs the layers in reverse order",
        order=lambda layers, n: layers[::-1],
        site="model.layers.0.input_layernorm",
    ),
    weights("weights-of-next", "uses all weights of the next layer", weight=from_layer(1)),
    weights("weights-of-previous", "uses all weights of the layer before", weight=from_layer(-1)),
]
