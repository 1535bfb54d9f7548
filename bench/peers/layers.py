"""Layers with frozen weights: shapes, weights, and what they mean in NumPy (f64, for the checks)."""

import math

import numpy as np

LINEAR = ((128, 768, 768), (128, 768, 3072), (512, 1024, 1024), (3136, 256, 64))  # m, k, n
TOKENS, WIDTH, HEADS, HIDDEN = 128, 768, 12, 3072  # of BERT-base's encoder


def linear_inputs(shape):
    """f32: x[m, k]; w[k, n], b[n], and what is added, r[m, n]."""
    m, k, n = shape
    random = np.random.default_rng(2)
    return [
        random.standard_normal(s, dtype="f4") * f
        for s, f in (((m, k), 1), ((k, n), 0.05), (n, 1), ((m, n), 1))
    ]


def encoder_input():
    return np.random.default_rng(3).standard_normal((TOKENS, WIDTH), dtype="f4")


def encoder_weights(layer=0):
    """f32: w[inputs, outputs] and b of four projections and of the hidden layer; what the norms scale
    and shift by."""
    random = np.random.default_rng(100 + layer)
    sizes = {c: (WIDTH, WIDTH) for c in "qkvo"} | {"1": (WIDTH, HIDDEN), "2": (HIDDEN, WIDTH)}
    weights = {f"w{c}": random.standard_normal(s, dtype="f4") * np.float32(0.03) for c, s in sizes.items()}
    weights |= {f"b{c}": random.standard_normal(s[1], dtype="f4") * np.float32(0.1) for c, s in sizes.items()}
    for k in "ab":
        weights["scale" + k] = 1 + 0.1 * random.standard_normal(WIDTH, dtype="f4")
        weights["shift" + k] = 0.1 * random.standard_normal(WIDTH, dtype="f4")
    return weights


def flops(case):
    if case["work"] == "linear":
        m, k, n = case["shape"]
        return 2.0 * m * k * n
    return 2.0 * TOKENS * WIDTH * (4 * WIDTH + 2 * HIDDEN + 2 * TOKENS)


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _norm(x, scale, shift):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift


def reference(case):
    if case["work"] == "linear":
        x, w, b, r = (a.astype("f8") for a in linear_inputs(case["shape"]))
        return _gelu(x @ w + b) + r
    w = {k: v.astype("f8") for k, v in encoder_weights().items()}
    x = encoder_input().astype("f8")
    q, k, v = ((x @ w["w" + c] + w["b" + c]).reshape(TOKENS, HEADS, -1) for c in "qkv")
    s = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(WIDTH // HEADS)
    e = np.exp(s - s.max(-1, keepdims=True))
    o = np.einsum("hqk,khd->qhd", e / e.sum(-1, keepdims=True), v).reshape(TOKENS, WIDTH)
    x = _norm(x + o @ w["wo"] + w["bo"], w["scalea"], w["shifta"])
    return _norm(x + _gelu(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"], w["scaleb"], w["shiftb"])


def check(case, outputs):
    most = 0.1 if case["half"] else 1e-3  # bf16 keeps 8 bits of the weights, and of what is between layers
    np.testing.assert_allclose(outputs["y"], reference(case), rtol=most / 4, atol=most)
