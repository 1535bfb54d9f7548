"""PyTorch: torch.compile (ten CartPole steps a call; the memory-bound set) and eager."""

from functools import partial

import numpy as np
import torch
from harness import THREADS, Prepared, quickest

from . import few_rows, layers, narrow, ops, policy_weights, products, scalars, windows

torch.set_num_threads(THREADS)
STEPS_A_CALL = 10
LIMIT = 12 * 2 * np.pi / 360


def prepare(case):
    torch._dynamo.reset()
    with torch.no_grad():
        works = {"cartpole": _cartpole, "op": _memory, "product": _product, "attention": _product,
                 "linear": _layer, "encoder": _layer,
                 "few_rows": _few_rows, "conv": _conv, "narrow": _narrow, "scalars": _scalars}  # fmt: skip
        prepared = works[case["work"]](case)
    run = prepared.run

    def without_gradients():
        with torch.inference_mode():
            run()

    prepared.run = without_gradients
    return prepared


def _step(state, elapsed, returns, episodes, act):
    x, v, theta, omega = state
    action = act(state)
    force = torch.where(action, 10.0 / 1.1, -10.0 / 1.1)
    sin, cos = torch.sin(theta), torch.cos(theta)
    temp = force + (0.05 / 1.1) * omega * omega * sin
    alpha = (9.8 * sin - cos * temp) / (2 / 3 - (0.05 / 1.1) * cos * cos)
    accel = temp - (0.05 / 1.1) * alpha * cos
    x, v = x + 0.02 * v, v + 0.02 * accel
    theta, omega = theta + 0.02 * omega, omega + 0.02 * alpha
    elapsed = elapsed + 1
    done = (x.abs() > 2.4) | (theta.abs() > LIMIT) | (elapsed >= 500)
    fresh = torch.rand(4, len(x)) * 0.1 - 0.05
    state = tuple(torch.where(done, new, old) for new, old in zip(fresh, (x, v, theta, omega), strict=True))
    return state, torch.where(done, 0, elapsed), returns + 1.0, episodes + done


def _cartpole(case):
    """config: eager (default False)."""
    envs, steps, eager = case["envs"], case["steps"], case.get("config", {}).get("eager", False)
    if case["policy"] == "random":
        act = lambda state: torch.rand(envs) < 0.5
    else:
        w1, b1, w2, b2, w3, b3 = map(torch.from_numpy, policy_weights())
        hidden = torch.tanh if case["policy"] == "tanh" else torch.relu

        def act(state):
            h = hidden(torch.addmm(b1, torch.stack(state, -1), w1))
            logits = torch.addmm(b3, hidden(torch.addmm(b2, h, w2)), w3)
            return torch.rand(envs) < torch.sigmoid(logits[:, 1] - logits[:, 0])

    def steps_a_call(state, elapsed, returns, episodes):
        for _ in range(1 if eager else STEPS_A_CALL):
            state, elapsed, returns, episodes = _step(state, elapsed, returns, episodes, act)
        return state, elapsed, returns, episodes

    call = steps_a_call if eager else torch.compile(steps_a_call, fullgraph=True, dynamic=False)
    start = (tuple(torch.rand(4, envs) * 0.1 - 0.05), torch.zeros(envs, dtype=torch.int32), torch.zeros(envs),
             torch.zeros(envs, dtype=torch.int32))  # fmt: skip
    kept = {}

    def run():
        carry = start
        for _ in range(steps if eager else steps // STEPS_A_CALL):
            carry = call(*carry)
        kept.update(returns=carry[2], episodes=carry[3])

    return Prepared(run, lambda: kept, envs * steps)


def _functions():
    F = torch.nn.functional
    last = (ops.COLS,)

    def adam(p, g, m, v):
        rate, b1, b2, epsilon = ops.ADAM
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        c1, c2 = ops.adam_scales()
        return p - rate * c1 * m / (torch.sqrt(v * c2) + epsilon), m, v

    def rope(x, cos, sin):
        a, b = x[:, : ops.COLS // 2], x[:, ops.COLS // 2 :]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    return {
        "softmax": lambda x: torch.softmax(x, -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "layer_norm": lambda x, w, b: F.layer_norm(x, last, w, b, ops.EPSILON),
        "rms_norm": lambda x, w: F.rms_norm(x, last, w, ops.EPSILON),
        "gelu": F.gelu,
        "mish": F.mish,
        "dropout_norm": lambda x, bias, r, w, b: F.layer_norm(
            r + F.dropout(x + bias, ops.DROP), last, w, b, ops.EPSILON
        ),
        "adam": adam,
        "rope": rope,
        "chain": lambda x: ops.chain(x, torch),
    }


def _memory(case):
    """config: donate writes Adam's results into its inputs, as an optimiser would."""
    op, size = case["op"], case["bytes"]
    arrays = [torch.from_numpy(a) for a in ops.inputs(op, size)]
    call = torch.compile(_functions()[op], fullgraph=True, dynamic=False)
    kept = {}

    def run():
        kept["y"] = call(*arrays)

    def outputs():
        y = kept["y"]
        return (
            dict(zip(("p", "m", "v"), (a[:1024] for a in y), strict=True))
            if op == "adam"
            else {"y": y[:1024]}
        )

    return Prepared(run, outputs, 1)


def _product(case):
    dtype, kept = torch.bfloat16 if case.get("half") else torch.float32, {}
    arrays = [torch.from_numpy(a).to(dtype) for a in products.operands(case)]
    call = torch.mm if len(case["shape"]) == 3 else torch.bmm
    if case["work"] == "attention":
        attend = torch.nn.functional.scaled_dot_product_attention
        call = partial(attend, is_causal=case.get("causal", False))
        arrays = [a[None] for a in arrays]  # it wants a batch

    def run():
        kept["y"] = call(*arrays)

    def outputs():
        y = kept["y"] if case["work"] == "product" else kept["y"][0]
        return {"y": products.checked(case, y).float().numpy()}

    return Prepared(run, outputs, products.flops(case))


class _Encoder(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        for name, array in w.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, x):
        tokens, width = x.shape
        split = lambda y: y.view(1, tokens, layers.HEADS, width // layers.HEADS).transpose(1, 2)
        q, k, v = (split(torch.addmm(getattr(self, "b" + c), x, getattr(self, "w" + c))) for c in "qkv")
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        o = o.transpose(1, 2).reshape(tokens, width)
        norm = lambda y, k: torch.nn.functional.layer_norm(
            y, (width,), getattr(self, "scale" + k), getattr(self, "shift" + k)
        )
        x = norm(x + torch.addmm(self.bo, o, self.wo), "a")
        hidden = torch.nn.functional.gelu(torch.addmm(self.b1, x, self.w1))
        return norm(x + torch.addmm(self.b2, hidden, self.w2), "b")


class _Linear(torch.nn.Module):
    def __init__(self, w, b, r):
        super().__init__()
        for name, array in (("w", w), ("b", b), ("r", r)):
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, x):
        return torch.nn.functional.gelu(torch.addmm(self.b, x, self.w)) + self.r


def encoder(depth, dtype=torch.float32):
    """Compiled, with frozen weights; as many layers, each with weights of its own."""
    torch._inductor.config.freezing = True
    parts = [_Encoder(layers.encoder_weights(i)) for i in range(depth)]
    return torch.compile(torch.nn.Sequential(*parts).eval().to(dtype))


def _layer(case):
    dtype = torch.bfloat16 if case["half"] else torch.float32
    if case["work"] == "encoder":
        x = layers.encoder_input()
        call = encoder(1, dtype)
    else:
        x, *weights = layers.linear_inputs(case["shape"])
        torch._inductor.config.freezing = True
        call = torch.compile(_Linear(*weights).eval().to(dtype))
    x, kept = torch.from_numpy(x).to(dtype), {}

    def run():
        with torch.no_grad():
            kept["y"] = call(x)

    return Prepared(run, lambda: {"y": kept["y"].float().numpy()}, layers.flops(case))


def _few_rows(case):
    dtype = torch.bfloat16 if case["kind"] == "bf16" else torch.float32
    x, w = (torch.from_numpy(a).to(dtype) for a in few_rows.inputs(case["rows"]))
    weights = [w.clone() for _ in range(few_rows.copies(case["kind"]))]
    kept = {"next": 0}

    def run():
        kept["y"] = torch.mm(x, weights[kept["next"] % len(weights)])
        kept["next"] += 1

    return Prepared(run, lambda: {"y": kept["y"].float().numpy()}, 4.0 * few_rows.SIZE**2)


class _Conv(torch.nn.Module):
    def __init__(self, case, w, b):
        super().__init__()
        self.case, self.how = case, {"stride": case["stride"], "padding": windows.padding(case)}
        self.how["groups"] = windows.groups(case)
        self.register_buffer("w", w)
        self.register_buffer("b", b if case["fused"] else None)

    def forward(self, x):
        F = torch.nn.functional
        conv = F.conv_transpose2d if self.case["kind"] == "transposed" else F.conv2d
        y = conv(x, self.w, self.b, **self.how)
        y = torch.relu(y) if self.case["fused"] else y
        return F.max_pool2d(y, 3, 2, 1) if self.case["pooled"] else y


def _prepacked(case, x, w, b):
    """What torch.compile makes of it with freezing: oneDNN's call, the weights laid out for it."""
    stride, padding, one = [case["stride"]] * 2, [windows.padding(case)] * 2, [1, 1]
    groups, shape = windows.groups(case), list(x.shape)
    b, relu = (b, "relu") if case["fused"] else (None, "none")
    ops = torch.ops.mkldnn
    if case["kind"] == "transposed":
        w = ops._reorder_convolution_transpose_weight(w, padding, [0, 0], stride, one, groups, shape)
        conv = lambda: ops._convolution_transpose_pointwise(
            x, w, b, padding, [0, 0], stride, one, groups, relu, [], ""
        )
    else:
        w = ops._reorder_convolution_weight(w, padding, stride, one, groups, shape)
        conv = lambda: ops._convolution_pointwise(x, w, b, padding, stride, one, groups, relu, [], "")
    return (lambda: torch.nn.functional.max_pool2d(conv(), 3, 2, 1)) if case["pooled"] else conv


def _conv(case):
    """The fastest of two layouts: eager, prepacked, and compiled where pooling follows."""
    x, w, b = map(torch.from_numpy, windows.inputs(case))
    torch._inductor.config.freezing = True
    calls = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w = x.contiguous(memory_format=layout), w.contiguous(memory_format=layout)
        eager = _Conv(case, w, b).eval()
        calls += [partial(eager, x), _prepacked(case, x, w, b)]
        if case["pooled"]:
            calls.append(partial(torch.compile(eager), x))
    return _quickest(calls, lambda y: y[:, : windows.CHECKED].contiguous().numpy(), windows.flops(case))


def _quickest(calls, part, units):
    with torch.inference_mode():  # as in what is timed
        call, kept = quickest(calls), {}

    def run():
        kept["y"] = call()

    return Prepared(run, lambda: {"y": part(kept["y"])}, units)


def _narrow(case):
    """oneDNN's quantised linear layer (of u8: i8 is moved by 128), or _int_mm and a compiled rest."""
    x, w, scale = map(torch.from_numpy, narrow.inputs(case))
    point, out = narrow.POINT[case["dtype"]], narrow.RESULT_POINT[case["dtype"]]
    ops, dtype, zeros = torch.ops.onednn, x.dtype, torch.zeros(len(scale), dtype=torch.int64)
    packed = ops.qlinear_prepack(w.T.contiguous(), list(x.shape))

    def linear(x, point):
        return ops.qlinear_pointwise(
            x, 1.0, point, packed, scale, zeros, None, 1.0, out, dtype, "none", [], ""
        )

    if case["dtype"] == "u8":
        return _quickest([lambda: linear(x, point)], torch.Tensor.numpy, narrow.flops(case))

    def rest(sums, scale):
        return torch.clamp(torch.round(sums * scale) + out, -128, 127).to(torch.int8)

    rest = torch.compile(rest, dynamic=True)
    moved = lambda: linear((x ^ -128).view(torch.uint8), 128)
    calls = [moved, lambda: rest(torch._int_mm(x, w), scale)]
    return _quickest(calls, torch.Tensor.numpy, narrow.flops(case))


def _scalars(case):
    """torch.mm; dual numbers by real products, in three calls or, of [b, db] side by side, in two."""
    arrays, part = list(map(torch.from_numpy, scalars.inputs(case))), slice(scalars.CHECKED)
    if case["scalar"] == "dual":
        a, da, b, db = arrays
        both, n = torch.cat((b, db), 1), b.shape[1]

        def two():
            y = torch.mm(a, both)
            return y[:, :n], torch.addmm(y[:, n:], da, b)

        calls = [lambda: (torch.mm(a, b), torch.addmm(torch.mm(a, db), da, b)), two]
        prepared = _quickest(calls, lambda y: y, scalars.terms(case))
        kept = prepared.outputs
        prepared.outputs = lambda: {n: y[part].numpy() for n, y in zip(("y", "dy"), kept()["y"], strict=True)}
        return prepared
    if case["scalar"] == "bf16":
        arrays = [x.bfloat16() for x in arrays]
    checked = (lambda y: y[part].float().numpy()) if case["scalar"] == "bf16" else lambda y: y[part].numpy()
    return _quickest([lambda: torch.mm(*arrays)], checked, scalars.terms(case))
