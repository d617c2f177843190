"""Mistakes in the activation: the function of the gate, and where up enters."""

from math import erf

import numpy as np

from port.dtypes import bf16, f16
from port.operations import Operations as Right

from .deviation import of

act = of("activation", "mlp.act")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    """With the error function, of float64 values."""
    return np.float32(0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2.0))))


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def softplus(x):
    return np.log1p(np.exp(x))


def function(name, says, change, **more):
    """`change(gate)` instead of SiLU."""
    return act(name, says, gate=lambda op, x: np.float32(change(x)), **more)


def product(name, says, change, **more):
    """`change(op, gate, up)` instead of silu(gate) · up."""
    return act(name, says, act=lambda op, gate, up: op.round(change(op, gate, up)), **more)


silu = Right.gate

DEVIATIONS = [
    # The function of the gate
    function("gelu", "uses GELU", gelu),
    function("gelu-tanh", "uses GELU's approximation by tanh", gelu_tanh),
    function("quick-gelu", "uses x · σ(1.702 x)", lambda x: x * sigmoid(np.float32(1.702) * x)),
    function("swish-2", "uses x · σ(2x)", lambda x: x * sigmoid(2 * x)),
    function("relu", "uses ReLU", lambda x: np.maximum(x, 0)),
    function("relu-squared", "uses the square of ReLU", lambda x: np.maximum(x, 0) ** 2),
    function("leaky-relu", "uses leaky ReLU with slope 0.01", lambda x: np.maximum(x, np.float32(0.01) * x)),
    function("elu", "uses ELU", lambda x: np.where(x > 0, x, np.expm1(x))),
    function("tanh", "uses tanh", np.tanh),
    function("sigmoid", "uses the sigmoid without the factor x", sigmoid),
    function("identity", "uses no function: gate · up", lambda x: x),
    function("mish", "uses mish", lambda x: x * np.tanh(softplus(x))),
    function("softplus", "uses softplus", softplus),
    function("hard-swish", "uses hard swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    function("silu-twice", "applies SiLU twice", lambda x: silu(None, silu(None, x))),
    function("silu-negative", "uses −x · σ(−x)", lambda x: -x * sigmoid(-x)),
    function("bf16", "computes SiLU in bf16", lambda x: bf16(x * bf16(sigmoid(bf16(x))))),
    function("f16-input", "rounds the gate to f16", lambda x: silu(None, f16(x))),
    function("clamped", "clamps the gate to ±2 before SiLU", lambda x: silu(None, np.clip(x, -2, 2))),
    function("by-cancellation", "computes x − x · σ(−x) in bf16", lambda x: bf16(x - bf16(x * bf16(sigmoid(-x))))),
    # Where up enters
    product("swapped", "applies SiLU to up instead of gate", lambda op, gate, up: op.round(silu(op, up)) * gate),
    product("up-inside", "applies SiLU to the product gate · up", lambda op, gate, up: silu(op, op.round(gate * up))),
    product("up-missing", "does not multiply by up", lambda op, gate, up: silu(op, gate)),
    product("gate-missing", "returns up alone", lambda op, gate, up: up),
    product("added", "adds up instead of multiplying by it", lambda op, gate, up: op.round(silu(op, gate)) + up),
    product("up-plus-one", "multiplies by up + 1", lambda op, gate, up: op.round(silu(op, gate)) * (up + 1)),
    product(
        "both", "applies SiLU to gate and to up", lambda op, gate, up: op.round(silu(op, gate)) * op.round(silu(op, up))
    ),
    product(
        "gate-twice", "multiplies SiLU of the gate by the gate", lambda op, gate, up: op.round(silu(op, gate)) * gate
    ),
    product("up-twice", "multiplies SiLU of up by up", lambda op, gate, up: op.round(silu(op, up)) * up),
    product("up-clamped", "clamps up to ±2", lambda op, gate, up: op.round(silu(op, gate)) * np.clip(up, -2, 2)),
    product(
        "halves-swapped",
        "multiplies each half of the gate by the other half of up",
        lambda op, gate, up: op.round(silu(op, gate)) * np.roll(up, up.shape[1] // 2, 1),
    ),
    product(
        "up-previous-row",
        "multiplies by up of the row before",
        lambda op, gate, up: op.round(silu(op, gate)) * np.roll(up, 1, 0),
    ),
    product("halved", "multiplies the result by 0.5", lambda op, gate, up: op.round(silu(op, gate)) * up / 2),
]
