"""The memory-bound set: inputs, and what each op means in NumPy (f64, for the checks)."""

import math

import numpy as np

COLS = 1024  # features of a row; `bytes` is the size of one operand, f32
ADAM = (1e-3, 0.9, 0.999, 1e-8)  # rate, beta1, beta2, epsilon
ADAM_STEP, DROP, EPSILON, CHAIN = 10, 0.1, 1e-5, 20
NAMES = (
    "softmax", "log_softmax", "layer_norm", "rms_norm", "gelu", "mish", "dropout_norm", "adam", "rope",
    "chain",
)  # fmt: skip
SIZES = (1 << 16, 1 << 22, 1 << 28)
HAND = ("softmax", "layer_norm", "mish", "adam")


def adam_scales():
    return 1 / (1 - ADAM[1] ** ADAM_STEP), 1 / (1 - ADAM[2] ** ADAM_STEP)


def inputs(op, size):
    """Arrays f32 of an op: x[rows, COLS] first; gain, bias, residual, or g, m, v, or cos, sin as needed.

    dropout_norm draws its own mask: nobody's generator is another's, so only its moments are checked.
    """
    random = np.random.default_rng(1)
    rows = size // 4 // COLS
    draw = lambda *shape: random.standard_normal(shape, dtype="f4")
    x = draw(rows, COLS)
    if op == "layer_norm":
        return [x, draw(COLS), draw(COLS)]
    if op == "rms_norm":
        return [x, draw(COLS)]
    if op == "dropout_norm":
        return [x, draw(COLS), draw(rows, COLS), draw(COLS), draw(COLS)]  # x, bias, residual, gain, shift
    if op == "adam":
        return [x, draw(rows, COLS), draw(rows, COLS) * np.float32(0.1), draw(rows, COLS) ** 2]  # p, g, m, v
    if op == "rope":
        angle = np.outer(np.arange(rows), 10000.0 ** (-np.arange(COLS // 2) / (COLS // 2)))
        return [x, np.cos(angle).astype("f4"), np.sin(angle).astype("f4")]
    return [x]


_erf = np.vectorize(math.erf, otypes=["f8"])


def expected(op, arrays):
    """Outputs in f64 by name."""
    x, *rest = [a.astype("f8") for a in arrays]
    if op in ("softmax", "log_softmax"):
        shifted = x - x.max(-1, keepdims=True)
        total = np.exp(shifted).sum(-1, keepdims=True)
        return {"y": np.exp(shifted) / total if op == "softmax" else shifted - np.log(total)}
    if op == "layer_norm":
        return {
            "y": (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON) * rest[0]
            + rest[1]
        }
    if op == "rms_norm":
        return {"y": x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * rest[0]}
    if op == "gelu":
        return {"y": x * 0.5 * (1 + _erf(x / math.sqrt(2)))}
    if op == "mish":
        return {"y": x * np.tanh(np.log1p(np.exp(x)))}
    if op == "adam":
        g, m, v = rest
        rate, b1, b2, epsilon = ADAM
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        c1, c2 = adam_scales()
        return {"p": x - rate * c1 * m / (np.sqrt(v * c2) + epsilon), "m": m, "v": v}
    if op == "rope":
        a, b = x[:, : COLS // 2], x[:, COLS // 2 :]
        return {"y": np.concatenate([a * rest[0] - b * rest[1], a * rest[1] + b * rest[0]], -1)}
    if op == "chain":
        return {"y": chain(x, np)}
    return {}  # dropout_norm


def chain(x, lib):
    """Twenty elementwise operations: in every library the same text."""
    for _ in range(CHAIN // 4):
        x = lib.sqrt(abs(x * 1.01 + 0.1))
    return x


def moved_least(op, size):
    """Bytes of every input read once and every output written once."""
    rows = size // 4 // COLS
    row = 4 * COLS
    return {
        "layer_norm": 2 * size + 2 * row, "rms_norm": 2 * size + row, "dropout_norm": 3 * size + 3 * row,
        "adam": 7 * size, "rope": 2 * size + 2 * rows * row // 2,
    }.get(op, 2 * size)  # fmt: skip


def check(op, arrays, outputs, rtol=2e-5, atol=2e-5):
    """Raises where outputs differ from the reference; at most 2^20 elements are looked at."""
    rows = slice(0, 1024)
    if op == "dropout_norm":
        y = (np.asarray(outputs["y"])[rows] - arrays[4]) / arrays[3]
        if abs(y.mean()) > 1e-3 or abs(y.var() - 1) > 1e-2:
            raise AssertionError("rows are not normalised")
        return
    cut = [a[rows] if a.ndim == 2 else a for a in arrays]
    for name, want in expected(op, cut).items():
        if name in outputs:
            np.testing.assert_allclose(np.asarray(outputs[name])[rows], want, rtol=rtol, atol=atol)
