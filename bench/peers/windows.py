"""Convolutions of one image: shapes of three networks, inputs, and what they mean in NumPy (f64)."""

import numpy as np

CHECKED = 8  # output channels


def _case(kind, channels, size, outputs, taps, stride=1):
    return {"work": "conv", "kind": kind, "channels": channels, "size": size, "outputs": outputs,
            "taps": taps, "stride": stride}  # fmt: skip


def _resnet50():
    """The 23 that differ in ResNet-50 v1.5, whose 3x3 has the stride."""
    yield _case("conv", 3, 224, 64, 7, 2)
    size, before = 56, 64
    for width in (64, 128, 256, 512):
        stride, out = 1 if width == 64 else 2, 4 * width
        inner = size // stride
        yield _case("conv", before, size, width, 1)
        yield _case("conv", width, size, width, 3, stride)
        yield _case("conv", width, inner, out, 1)
        if stride == 2:
            yield _case("conv", before, size, out, 1, 2)
            yield _case("conv", width, inner, width, 3)
        yield _case("conv", out, inner, width, 1)
        size, before = inner, out


def _mobilenet2():
    """The depthwise ones that differ in MobileNetV2."""
    for channels, size, strides in ((32, 112, (1,)), (96, 112, (2,)), (144, 56, (1, 2)), (192, 28, (1, 2)),
                                    (384, 14, (1,)), (576, 14, (1, 2)), (960, 7, (1,))):  # fmt: skip
        yield from (_case("depthwise", channels, size, channels, 3, s) for s in strides)


def _unet():
    for channels, size in ((1024, 28), (512, 56), (256, 112), (128, 224)):
        yield _case("transposed", channels, size, channels // 2, 2, 2)


def cases(fused):
    """Plain, or each with bias and ReLU; then also the stem with its pooling."""
    for i, case in enumerate((*_resnet50(), *_mobilenet2(), *_unet())):
        yield case | {"fused": fused, "pooled": False}
        if fused and i == 0:
            yield case | {"fused": True, "pooled": True}


def label(case):
    shape = "{kind} {taps}x{taps} s{stride}, {channels} to {outputs} at {size}".format(**case)
    return shape + ", bias, ReLU" * case["fused"] + ", 3x3 s2 max" * case["pooled"]


def groups(case):
    return case["channels"] if case["kind"] == "depthwise" else 1


def padding(case):
    return 0 if case["kind"] == "transposed" else case["taps"] // 2


def out_size(case):
    if case["kind"] == "transposed":
        return case["size"] * case["stride"]
    return -(-case["size"] // case["stride"]) // (2 if case["pooled"] else 1)


def inputs(case):
    """f32: x[1, c, h, w]; w[o, c / groups, k, k], of a transposed one [c, o, k, k]; b[o]."""
    random = np.random.default_rng(5)
    c, o, k = case["channels"], case["outputs"], case["taps"]
    first, second = (c, o) if case["kind"] == "transposed" else (o, c // groups(case))
    shapes = (1, c, case["size"], case["size"]), (first, second, k, k), (o,)
    return [random.standard_normal(s, dtype="f4") for s in shapes]


def flops(case):
    """Without the pooling's."""
    c, o, k, size = case["channels"] // groups(case), case["outputs"], case["taps"], case["size"]
    positions = size if case["kind"] == "transposed" else -(-size // case["stride"])
    return 2.0 * positions**2 * c * o * k**2


def _windows(x, taps, stride, border):
    edge = taps // 2
    x = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)), constant_values=border)
    return np.lib.stride_tricks.sliding_window_view(x, (taps, taps), (2, 3))[:, :, ::stride, ::stride]


def reference(case):
    x, w, b = (a.astype("f8") for a in inputs(case))
    if case["kind"] == "transposed":
        y = np.einsum("nchw,coij->nohiwj", x, w[:, :CHECKED], optimize=True)
        y = y.reshape(1, CHECKED, out_size(case), -1)
    elif case["kind"] == "depthwise":
        windows = _windows(x[:, :CHECKED], case["taps"], case["stride"], 0)
        y = np.einsum("nchwij,cij->nchw", windows, w[:CHECKED, 0])
    else:
        windows = _windows(x, case["taps"], case["stride"], 0)
        y = np.tensordot(w[:CHECKED], windows[0], ((1, 2, 3), (0, 3, 4)))[None]
    if case["fused"]:
        y = np.maximum(y + b[:CHECKED, None, None], 0)
    return _windows(y, 3, 2, -np.inf).max((-2, -1)) if case["pooled"] else y


def check(case, outputs, want):
    terms = flops(case) / case["outputs"] / out_size(case) ** 2
    np.testing.assert_allclose(outputs["y"], want, rtol=0, atol=2e-5 * terms**0.5)
