"""tenfold, through its public API only."""

import math
from functools import partial

import numpy as np
from harness import Prepared

import tenfold as tn

from . import few_rows, layers, narrow, ops, policy_weights, products, scalars, windows

FIELDS = ("obs", "action", "reward", "terminated", "truncated")


def prepare(case):
    works = {"cartpole": _cartpole, "op": _memory, "scan": _scan, "product": _product, "attention": _product,
             "linear": _layer, "encoder": _layer,
             "few_rows": _few_rows, "conv": _conv, "narrow": _narrow, "scalars": _scalars}  # fmt: skip
    return works[case["work"]](case)


def mlp(weights, hidden):
    """A policy that samples action 1 with the softmax of the logits at 1."""
    w1, b1, w2, b2, w3, b3 = weights

    def policy(obs, carry, key, t):
        h = hidden(hidden(obs @ w1 + b1) @ w2 + b2)
        logits = h @ w3 + b3
        odds = 1.0 + tn.exp(logits[0] - logits[1])
        drawn = tn.random.uniform(key, (), offset=t) * odds
        return tn.astype(drawn < 1.0, "i32"), {"drawn": drawn}, carry

    return policy


def _cartpole(case):
    envs, steps = case["envs"], case["steps"]
    policy = None
    if case["policy"] != "random":
        hidden = tn.tanh if case["policy"] == "tanh" else lambda x: tn.maximum(x, 0.0)
        policy = mlp([tn.asarray(w) for w in policy_weights()], hidden)
    emit = FIELDS if case.get("emit") else ()
    key, kept = tn.random.key(7), {}

    def run():
        kept["out"] = out = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=steps, key=key, emit=emit)
        np.asarray(out.returns)  # waits, without a copy

    def outputs():
        return {name: np.asarray(getattr(kept["out"], name)) for name in ("returns", "episodes", *emit)}

    return Prepared(run, outputs, envs * steps)


def _functions():
    def normalised(x):
        d = x - tn.mean(x, axis=-1, keepdims=True)
        return d * tn.rsqrt(tn.mean(d * d, axis=-1, keepdims=True) + ops.EPSILON)

    def softmax(x):
        e = tn.exp(x - tn.max(x, axis=-1, keepdims=True))
        return e / tn.sum(e, axis=-1, keepdims=True)

    def log_softmax(x):
        shifted = x - tn.max(x, axis=-1, keepdims=True)
        return shifted - tn.log(tn.sum(tn.exp(shifted), axis=-1, keepdims=True))

    def dropout_norm(key, x, bias, residual, gain, shift):
        kept = tn.random.uniform(key, x.shape) >= ops.DROP
        return normalised(residual + tn.where(kept, (x + bias) * (1 / (1 - ops.DROP)), 0.0)) * gain + shift

    def adam(p, g, m, v):
        rate, b1, b2, epsilon = ops.ADAM
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        c1, c2 = ops.adam_scales()
        return p - rate * c1 * m / (tn.sqrt(v * c2) + epsilon), m, v

    def rope(x, cos, sin):
        a, b = x[:, : ops.COLS // 2], x[:, ops.COLS // 2 :]
        return tn.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)

    return {
        "softmax": softmax,
        "log_softmax": log_softmax,
        "layer_norm": lambda x, w, b: normalised(x) * w + b,
        "rms_norm": lambda x, w: x * tn.rsqrt(tn.mean(x * x, axis=-1, keepdims=True) + ops.EPSILON) * w,
        "gelu": lambda x: 0.5 * x * (1.0 + tn.erf(x * math.sqrt(0.5))),
        "mish": lambda x: x * tn.tanh(tn.log1p(tn.exp(x))),
        "dropout_norm": dropout_norm,
        "adam": adam,
        "rope": rope,
        "chain": lambda x: ops.chain(x, tn),
    }


def _memory(case):
    op, size = case["op"], case["bytes"]
    arrays = [tn.asarray(a) for a in ops.inputs(op, size)]
    if op == "dropout_norm":
        arrays.insert(0, tn.random.key(3))
    call = tn.jit(_functions()[op], donate=("p", "m", "v") if op == "adam" else ())
    first = [np.array(a) for a in arrays] if op == "adam" and size <= 1 << 22 else None
    kept = {}

    def run():
        kept["y"] = y = call(*arrays)
        if op == "adam":
            arrays[0], arrays[2], arrays[3] = y

    def outputs():
        if op != "adam":
            return {"y": np.asarray(kept["y"])[:1024]}
        if not first:
            return {}
        return dict(zip(("p", "m", "v"), map(np.asarray, call(*map(tn.asarray, first))), strict=True))

    return Prepared(run, outputs, 1)


def explained(op, size):
    """What explain says of an op: launches, bytes read and written, least bytes."""
    arrays = [tn.asarray(a) for a in ops.inputs(op, size)]
    if op == "dropout_norm":
        arrays.insert(0, tn.random.key(3))
    e = tn.explain(_functions()[op], *arrays, donate=("p", "m", "v") if op == "adam" else ())
    return {"launches": e.launches, "bytes": e.bytes_read + e.bytes_written, "least": e.bytes_least}


# ---- figures 8 and 9


def _attention(q, k, v, causal=False):
    scores = tn.einsum("hqd,hkd->hqk", q, k, dtype=tn.float32) * q.shape[-1] ** -0.5
    if causal:
        at = tn.arange(q.shape[1])
        scores = tn.where(at[:, None] >= at, scores, -np.inf)
    e = tn.exp(scores - tn.max(scores, axis=-1, keepdims=True))
    weighted = tn.einsum("hqk,hkd->hqd", e.astype(v.dtype), v, dtype=tn.float32)
    return (weighted / tn.sum(e, axis=-1, keepdims=True)).astype(v.dtype)


def _product(case):
    if case["work"] == "product":
        call = tn.jit(tn.matmul)
    else:
        call = tn.jit(partial(_attention, causal=case.get("causal", False)), allow=("online",))
    dtype, kept = tn.bfloat16 if case.get("half") else tn.float32, {}
    arrays = [tn.asarray(a).astype(dtype) for a in products.operands(case)]
    if case.get("frozen"):
        weights = arrays.pop()
        call = tn.jit(lambda x: x @ weights)

    def run():
        kept["y"] = y = call(*arrays)
        y.evaluate()  # waits

    outputs = lambda: {"y": products.checked(case, kept["y"].astype(tn.float32).numpy())}
    return Prepared(run, outputs, products.flops(case))


# ---- figures 10 and 11: weights are frozen, as what a function takes from around it is


def _gelu(x):
    return 0.5 * x * (1 + tn.erf(x * 0.5**0.5))


def _norm(x, scale, shift):
    apart = x - tn.mean(x, axis=-1, keepdims=True)
    return apart / tn.sqrt(tn.mean(apart * apart, axis=-1, keepdims=True) + 1e-5) * scale + shift


def _linear(x, w, b):
    """Of weights in bf16 the product of x in bf16; sums, and all else, in f32."""
    return tn.matmul(x.astype(w.dtype), w, dtype=tn.float32) + b


def _encoder_layer(x, w):
    in_w = lambda y: y.astype(w["wq"].dtype)
    split = lambda c: in_w(tn.reshape(_linear(x, w["w" + c], w["b" + c]), (len(x), layers.HEADS, -1)))
    q, k, v = map(split, "qkv")
    scores = tn.einsum("qhd,khd->hqk", q, k, dtype=tn.float32) * q.shape[-1] ** -0.5
    e = tn.exp(scores - tn.max(scores, axis=-1, keepdims=True))
    o = tn.einsum("hqk,khd->qhd", in_w(e / tn.sum(e, axis=-1, keepdims=True)), v, dtype=tn.float32)
    x = _norm(x + _linear(tn.reshape(o, x.shape), w["wo"], w["bo"]), w["scalea"], w["shifta"])
    hidden = _gelu(_linear(x, w["w1"], w["b1"]))
    return _norm(x + _linear(hidden, w["w2"], w["b2"]), w["scaleb"], w["shiftb"])


def encoder(depth, dtype=tn.float32):
    """f(x) of as many layers, each with weights of its own; those of products in `dtype`."""
    weights = [
        {
            k: tn.asarray(a).astype(dtype if a.ndim == 2 else a.dtype)
            for k, a in layers.encoder_weights(i).items()
        }
        for i in range(depth)
    ]

    def f(x):
        for w in weights:
            x = _encoder_layer(x, w)
        return x

    return tn.jit(f)


def _layer(case):
    dtype, kept = tn.bfloat16 if case["half"] else tn.float32, {}
    if case["work"] == "encoder":
        layer, x = encoder(1, dtype), tn.asarray(layers.encoder_input())
    else:
        x, w, b, r = map(tn.asarray, layers.linear_inputs(case["shape"]))
        w, r = w.astype(dtype), r.astype(dtype)
        layer = lambda x: _gelu(_linear(x, w, b)) + r.astype(tn.float32)
    x = x.astype(dtype)
    call = tn.jit(lambda x: layer(x.astype(tn.float32)).astype(dtype))

    def run():
        kept["y"] = call(x).evaluate()

    return Prepared(run, lambda: {"y": kept["y"].astype(tn.float32).numpy()}, layers.flops(case))


# ---- figure 12


def _few_rows(case):
    kind = case["kind"]
    x, w = few_rows.inputs(case["rows"])
    made = {
        "f32": tn.asarray,
        "bf16": lambda w: tn.asarray(w).astype(tn.bfloat16),
        "int8": lambda w: tn.quantized(w, bits=8),
        "4 bits": lambda w: tn.quantized(w, bits=4),
    }[kind]
    x = tn.asarray(x).astype(tn.bfloat16) if kind == "bf16" else tn.asarray(x)
    product = partial(tn.matmul, dtype=tn.float32) if kind == "bf16" else tn.matmul

    def times(w):  # frozen
        return tn.jit(lambda x: product(x, w))

    calls = [times(made(w)) for _ in range(few_rows.copies(kind))]
    for call in calls:
        call(x)
    kept = {"next": 0}

    def run():
        kept["y"] = y = calls[kept["next"] % len(calls)](x)
        kept["next"] += 1
        np.asarray(y)

    return Prepared(run, lambda: {"y": np.asarray(kept["y"])}, 4.0 * few_rows.SIZE**2)


# ---- figures 13 and 14


def convolution(case):
    """f(x) with frozen weights, and x: as `conv` takes it, or with the channels last."""
    x, w, b = windows.inputs(case)
    w, b = tn.asarray(w), tn.asarray(b)
    how = {"stride": case["stride"], "padding": windows.padding(case), "groups": windows.groups(case)}
    conv = tn.conv_transpose if case["kind"] == "transposed" else tn.conv

    def f(x):
        y = conv(x, w, **how)
        if case["fused"]:
            y = tn.maximum(y + b[:, None, None], 0)
        return tn.max_pool(y, 3, 2, 1) if case["pooled"] else y

    def channels_last(x):
        return tn.permute_dims(f(tn.permute_dims(x, (0, 3, 1, 2))), (0, 2, 3, 1))

    if case["channels_last"]:
        return channels_last, tn.asarray(x.transpose(0, 2, 3, 1).copy())
    return f, tn.asarray(x)


def requantised(case):
    """f(x) with frozen weights, and x."""
    x, w, scale = narrow.inputs(case)
    low, high = narrow.LIMITS[case["dtype"]]
    offset = tn.asarray(-narrow.POINT[case["dtype"]] * w.sum(0, dtype="i4"))
    w, scale, point = tn.asarray(w), tn.asarray(scale), float(narrow.RESULT_POINT[case["dtype"]])

    def f(x):
        sums = tn.matmul(x, w, dtype=tn.int32) + offset
        scaled = tn.round(tn.astype(sums, tn.float32) * scale) + point
        return tn.astype(tn.clip(scaled, low, high), case["dtype"])

    return f, tn.asarray(x)


def _conv(case):
    order = (0, 3, 1, 2) if case["channels_last"] else (0, 1, 2, 3)
    part = lambda y: y.transpose(order)[:, : windows.CHECKED]
    return _called(*convolution(case), part, windows.flops(case))


def _narrow(case):
    return _called(*requantised(case), np.asarray, narrow.flops(case))


def _called(f, x, part, units):
    call, kept = tn.jit(f), {}

    def run():
        kept["y"] = y = call(x)
        np.asarray(y)

    return Prepared(run, lambda: {"y": part(np.asarray(kept["y"]))}, units)


# ---- figures 15 and 16


def _scalars(case):
    arrays, scalar, kept = [tn.asarray(x) for x in scalars.inputs(case)], case["scalar"], {}
    over = lambda op: tn.jit(lambda a, b: tn.contract("mk,kn->mn", a, b, operator=op))
    if scalar == "dual":
        arrays = [tuple(arrays[:2]), tuple(arrays[2:])]
    if scalar == "bf16":
        arrays = [x.astype(tn.bfloat16) for x in arrays]
    call = over({"dual": tn.dual, "min-plus": tn.min_plus}.get(scalar))
    if case.get("frozen"):
        weights = arrays.pop()
        call = tn.jit(lambda a: a @ weights)

    def run():
        kept["y"] = call(*arrays)
        tn.evaluate(kept["y"])

    def outputs():
        parts = kept["y"] if scalar == "dual" else [kept["y"]]
        if scalar == "bf16":
            parts = [y.astype(tn.float32) for y in parts]
        return {n: np.asarray(y)[: scalars.CHECKED] for n, y in zip(("y", "dy"), parts, strict=False)}

    return Prepared(run, outputs, scalars.terms(case))


# ---- figure 5: a simulator of adjustable state, K steps in one launch or one launch a step


def _scan_step(state, t):
    return state * 0.999 + 0.001 * tn.sin(state), None


def _scan_functions(steps):
    folded = lambda state: tn.scan(_scan_step, state, length=steps)[0]
    single = lambda state: _scan_step(state, 0)[0]
    return folded, single


def _scan(case):
    """envs, state_bytes, steps, folded."""
    words = case["state_bytes"] // 4
    start = tn.asarray(np.random.default_rng(0).random((case["envs"], words), dtype="f4"))
    folded, single = map(tn.jit, _scan_functions(case["steps"]))
    kept = {}

    def run():
        state = start
        if case["folded"]:
            state = folded(state)
        else:
            for _ in range(case["steps"]):
                state = single(state)
        kept["state"] = state
        np.asarray(state)

    return Prepared(run, lambda: {"state": np.asarray(kept["state"])[:64]}, case["envs"] * case["steps"])


def scan_prediction(envs, state_bytes, steps):
    """How much faster explain says one launch is than one launch a step."""
    state = tn.asarray(np.zeros((envs, state_bytes // 4), "f4"))
    folded, single = _scan_functions(steps)
    return steps * tn.explain(single, state).seconds / tn.explain(folded, state).seconds
