"""Convolutions and pooling against plain loops in f64: values, gradients, vmap, and what explain says of them."""

import itertools

import numpy as np
import pytest

import tenfold as tn

RNG = np.random.default_rng(11)


def array(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def pairs(padding, extents, taps, stride, dilation):
    """The padding of each axis as (before, after)."""
    if padding == "valid":
        return [(0, 0)] * len(extents)
    if padding == "same":
        over = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(extents, taps, stride, dilation, strict=True)
        ]
        return [(o // 2, o - o // 2) for o in over]
    if isinstance(padding, int):
        return [(padding, padding)] * len(extents)
    return [(p, p) if isinstance(p, int) else p for p in padding]


def each(value, axes):
    return [value] * axes if isinstance(value, int) else list(value)


def windows(x, taps, stride=1, padding="valid", dilation=1, fill=0.0):
    """[n, c, *positions, *taps] in f64, by one slice for each tap."""
    axes = len(taps)
    stride, dilation = each(stride, axes), each(dilation, axes)
    around = pairs(padding, x.shape[2:], taps, stride, dilation)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *around], constant_values=fill)
    count = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], taps, stride, dilation, strict=True)
    ]
    out = np.empty((*x.shape[:2], *count, *taps))
    for tap in itertools.product(*map(range, taps)):
        at = tuple(
            slice(d * k, d * k + s * (p - 1) + 1, s)
            for k, s, d, p in zip(tap, stride, dilation, count, strict=True)
        )
        out[(..., *tap)] = x[(slice(None), slice(None), *at)]
    return out


def conv(x, w, stride=1, padding="valid", dilation=1, groups=1):
    taps = w.shape[2:]
    every = windows(x, taps, stride, padding, dilation)
    out = []
    for image, filters in zip(
        np.split(every, groups, axis=1), np.split(w.astype(np.float64), groups), strict=True
    ):
        letters = "pqr"[: len(taps)], "ijk"[: len(taps)]
        out.append(np.einsum(f"nc{letters[0]}{letters[1]},oc{letters[1]}->no{letters[0]}", image, filters))
    return np.concatenate(out, axis=1)


CASES = {
    "plain": ((2, 3, 7, 9), (4, 3, 3, 3), {}),
    "same": ((1, 3, 8, 8), (5, 3, 3, 3), {"padding": "same"}),
    "same, stride 2": ((1, 2, 7, 10), (3, 2, 3, 3), {"padding": "same", "stride": 2}),
    "first layer": ((1, 3, 30, 30), (8, 3, 7, 7), {"padding": 3, "stride": 2}),
    "one tap": ((2, 8, 5, 6), (4, 8, 1, 1), {}),
    "one tap, stride 2": ((2, 8, 5, 6), (4, 8, 1, 1), {"stride": 2}),
    "dilated": ((1, 2, 11, 12), (3, 2, 3, 2), {"dilation": (2, 3), "padding": [(2, 1), 0]}),
    "groups": ((2, 6, 6, 7), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((1, 16, 9, 20), (16, 1, 3, 3), {"groups": 16, "padding": "same"}),
    "depthwise, two of each": ((1, 4, 6, 6), (8, 1, 3, 3), {"groups": 4, "stride": (1, 2)}),
    "one axis": ((2, 3, 33), (4, 3, 5), {"padding": 2}),
    "one axis, stride above the window": ((1, 3, 20), (2, 3, 2), {"stride": 3}),
    "three axes": ((1, 2, 5, 6, 7), (3, 2, 2, 3, 3), {"padding": (0, 1, 1), "stride": (1, 2, 1)}),
    "window as large as x": ((1, 2, 4, 4), (3, 2, 4, 4), {}),
    "wide": ((1, 4, 3, 70), (40, 4, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_conv(name):
    x_shape, w_shape, options = CASES[name]
    x, w = array(*x_shape), array(*w_shape)
    want = conv(x, w, **options)
    got = tn.jit(lambda x, w: tn.conv(x, w, **options))(x, w)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(tn.conv(x, w, **options).numpy(), got.numpy())  # eager


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_conv(name):
    x_shape, w_shape, options = CASES[name]
    x, w = array(*x_shape, dtype=np.float64), array(*w_shape, dtype=np.float64)
    c = array(*conv(x, w, **options).shape, dtype=np.float64)
    gx, gw = tn.jit(tn.grad(lambda x, w: tn.sum(tn.conv(x, w, **options) * c), argnums=(0, 1)))(x, w)
    for given, gradient in ((0, gx.numpy()), (1, gw.numpy())):  # the function is linear in each
        for _ in range(3):
            step = array(*(x, w)[given].shape, dtype=np.float64)
            change = np.sum(conv(*((step, w) if given == 0 else (x, step)), **options) * c)
            np.testing.assert_allclose(np.sum(gradient * step), change, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_conv_transpose_is_the_transpose(name):
    x_shape, w_shape, options = CASES[name]
    x, w = array(*x_shape, dtype=np.float64), array(*w_shape, dtype=np.float64)
    options = {
        k: v for k, v in options.items() if v != "same"
    }  # which depends on the extent in the one direction
    y = conv(x, w, **options)
    u = array(*y.shape, dtype=np.float64)
    back = tn.conv_transpose(u, w, **options).numpy()
    reached = x[tuple(slice(n) for n in back.shape)]  # what no window of a stride reaches is cut off
    assert back.shape[:2] == x.shape[:2]
    if back.shape == x.shape:
        np.testing.assert_allclose(np.sum(back * x), np.sum(u * y), rtol=1e-9)
    else:
        np.testing.assert_allclose(np.sum(back * reached), np.sum(u * conv(reached, w, **options)), rtol=1e-9)


def test_conv_transpose_shapes():
    x, w = array(1, 4, 5, 6), array(4, 3, 4, 4)
    assert tn.conv_transpose(x, w, stride=2, padding="same").shape == (1, 3, 10, 12)
    assert tn.conv_transpose(x, w, stride=2).shape == (1, 3, 12, 14)
    assert tn.conv_transpose(x, w, stride=2, padding=1).shape == (1, 3, 10, 12)
    assert tn.conv_transpose(x, array(4, 2, 3, 3), dilation=2, groups=2).shape == (1, 4, 9, 10)


POOLS = [
    ((2, 3, 8, 8), 2, {}),
    ((1, 3, 9, 11), 3, {"stride": 2, "padding": 1}),
    ((1, 2, 7, 10), (3, 2), {"stride": (1, 2), "padding": "same"}),
    ((2, 2, 21), 4, {"stride": 1, "dilation": 2}),
    ((1, 2, 5, 6, 7), 2, {"stride": 1}),
    ((1, 5, 6, 6), 6, {}),
]


@pytest.mark.parametrize("shape, window, options", POOLS)
def test_pools(shape, window, options):
    x = array(*shape)
    taps = each(window, len(shape) - 2)
    oracle = {"stride": window, **options}
    over = tuple(range(-len(taps), 0))
    most = windows(x, taps, fill=-np.inf, **oracle).max(over)
    np.testing.assert_array_equal(tn.max_pool(x, window, **options).numpy(), most.astype(np.float32))
    mean = windows(x, taps, **oracle).mean(over)
    np.testing.assert_allclose(tn.mean_pool(x, window, **options).numpy(), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [2, 3, 4, 5])
@pytest.mark.parametrize("width", [3, 5, 16, 31, 33, 64, 65, 127, 200])
def test_strides_along_vectors(step, width):
    x = array(3, width)
    np.testing.assert_array_equal(tn.jit(lambda x: x[:, ::step] * 2)(x).numpy(), x[:, ::step] * 2)
    x = array(1, 3, 5, width)
    most = windows(x, (3, 3), stride=step, padding=1, fill=-np.inf).max((-2, -1))
    np.testing.assert_array_equal(tn.max_pool(x, 3, stride=step, padding=1).numpy(), most.astype(np.float32))


@pytest.mark.parametrize("shape, window, options", POOLS)
def test_gradients_of_pools(shape, window, options):
    x = array(*shape, dtype=np.float64)
    taps = each(window, len(shape) - 2)
    c = tn.max_pool(x, window, **options).numpy() * 0 + array(*tn.max_pool(x, window, **options).shape)
    for pool in (tn.max_pool, tn.mean_pool):
        gradient = tn.grad(lambda x, pool=pool: tn.sum(tn.square(pool(x, window, **options)) * c))(x).numpy()
        h = 1e-6
        for _ in range(3):
            step = array(*shape, dtype=np.float64)

            def value(x, pool=pool):
                over = tuple(range(-len(taps), 0))
                every = windows(
                    x, taps, fill=-np.inf if pool is tn.max_pool else 0, **{"stride": window, **options}
                )
                y = every.max(over) if pool is tn.max_pool else every.mean(over)
                return np.sum(y * y * c)

            change = (value(x + h * step) - value(x - h * step)) / (2 * h)
            np.testing.assert_allclose(np.sum(gradient * step), change, rtol=1e-5, atol=1e-5)


def test_integers():
    x = np.arange(32, dtype=np.int32).reshape(1, 2, 4, 4)
    w = np.ones((3, 2, 2, 2), np.int32)
    got = tn.conv(x, w)
    assert got.dtype == "i32"
    np.testing.assert_array_equal(got.numpy(), conv(x, w))
    assert tn.max_pool(x, 2).tolist() == windows(x, (2, 2), 2).max((-1, -2)).tolist()
    assert tn.max_pool(-x - 1, 3, stride=1, padding=1).numpy().max() == -1  # the padding is never the largest
    assert tn.mean_pool(x, 2).dtype == "f32"


def test_half():
    x, w = array(1, 8, 6, 6).astype(np.float16), array(4, 8, 3, 3).astype(np.float16)
    np.testing.assert_allclose(tn.conv(x, w, padding=1).numpy(), conv(x, w, padding=1), rtol=2e-3, atol=2e-2)


def test_window():
    x = array(2, 5, 12)
    want = np.lib.stride_tricks.sliding_window_view(x, 4, axis=2)
    np.testing.assert_array_equal(tn.window(x, 2, 4).numpy(), want)
    np.testing.assert_array_equal(tn.window(x, -1, 4, stride=3).numpy(), want[:, :, ::3])
    got = tn.window(x, (2, 0), (3, 2), dilation=(2, 1)).numpy()
    assert got.shape == (1, 5, 8, 3, 2)
    np.testing.assert_array_equal(got[0, :, :, 2, 1], x[1, :, 4:])
    second = tn.window(tn.window(x, 2, 3), 2, 2).numpy()  # windows of windows
    np.testing.assert_array_equal(second[:, :, :, 2, 1], x[:, :, 3:])


def test_vmap():
    x, w = array(3, 1, 2, 6, 7), array(3, 4, 2, 3, 3)
    f = lambda x, w: tn.max_pool(tn.conv(x, w, padding=1), 2)  # noqa: E731
    alone = np.stack([f(a, b).numpy() for a, b in zip(x, w, strict=True)])
    np.testing.assert_allclose(tn.vmap(f)(x, w).numpy(), alone, rtol=1e-5, atol=1e-5)
    shared = np.stack([f(a, w[0]).numpy() for a in x])
    np.testing.assert_allclose(tn.vmap(f, in_axes=(0, None))(x, w[0]).numpy(), shared, rtol=1e-5, atol=1e-5)
    gradient = tn.vmap(tn.grad(lambda x, w: tn.sum(f(x, w) ** 2)))(x, w).numpy()
    want = np.stack(
        [tn.grad(lambda x, w: tn.sum(f(x, w) ** 2))(a, b).numpy() for a, b in zip(x, w, strict=True)]
    )
    np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-4)


def layer(x, w, b):
    return tn.maximum(tn.conv(x, w, padding="same") + b[:, None, None], 0)


@pytest.mark.parametrize("shape, outputs", [((1, 16, 20, 24), 32), ((2, 8, 14, 14), 8)])
def test_a_layer_is_one_launch_and_keeps_no_windows(shape, outputs):
    x, w, b = array(*shape), array(outputs, shape[1], 3, 3), array(outputs)
    e = tn.explain(layer, x, w, b)
    assert (e.launches, e.interpreted) == (1, 0)
    result = 4 * shape[0] * outputs * shape[2] * shape[3]
    assert e.bytes_written == result
    assert e.bytes_least == x.nbytes + w.nbytes + b.nbytes + result
    want = np.maximum(conv(x, w, padding="same") + b[:, None, None], 0)
    np.testing.assert_allclose(tn.jit(layer)(x, w, b).numpy(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels, size, stride", [(48, 20, 1), (40, 21, 2), (16, 7, 1), (5, 9, 2)])
def test_channels_of_their_own(channels, size, stride):
    x, w = array(1, channels, size, size), tn.asarray(array(channels, 1, 3, 3))

    def f(x):
        return tn.conv(x, w, stride=stride, padding=1, groups=channels)

    def last(x):
        return tn.permute_dims(f(tn.permute_dims(x, (0, 3, 1, 2))), (0, 2, 3, 1))

    want = conv(x, w.numpy(), stride=stride, padding=1, groups=channels)
    assert tn.explain(last, x.transpose(0, 2, 3, 1).copy()).launches == 1
    np.testing.assert_allclose(tn.jit(f)(x).numpy(), want, rtol=1e-4, atol=1e-4)
    y = tn.jit(last)(x.transpose(0, 2, 3, 1).copy()).numpy()
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), want, rtol=1e-4, atol=1e-4)


def test_a_pooled_layer_with_channels_last():
    x, w, b = array(1, 3, 32, 32), array(32, 3, 7, 7), array(32)

    def f(x, w, b):
        y = tn.conv(tn.permute_dims(x, (0, 3, 1, 2)), w, stride=2, padding=3) + b[:, None, None]
        return tn.permute_dims(tn.max_pool(tn.maximum(y, 0), 3, 2, 1), (0, 2, 3, 1))

    y = np.maximum(conv(x, w, stride=2, padding=3) + b[:, None, None], 0)
    want = windows(y, (3, 3), stride=2, padding=1, fill=-np.inf).max((-2, -1))
    got = tn.jit(f)(x.transpose(0, 2, 3, 1).copy(), w, b).numpy()
    np.testing.assert_allclose(got.transpose(0, 3, 1, 2), want, rtol=1e-4, atol=1e-4)


def test_the_result_does_not_depend_on_threads_or_on_what_is_fused():
    x, w, b = array(1, 8, 12, 12), array(8, 8, 3, 3), array(8)
    once = tn.jit(lambda x, w: tn.conv(x, w, padding="same"))(x, w)
    np.testing.assert_allclose(
        tn.jit(layer)(x, w, b).numpy(), np.maximum(once.numpy() + b[:, None, None], 0), rtol=1e-5, atol=1e-5
    )
