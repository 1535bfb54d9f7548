"""A bottleneck block of ResNet-50: three convolutions with bias and ReLU, and what came in added at the end.

The weights are captured, so they are laid out once, as the kernels read them.

python examples/resnet_block.py [--channels 256] [--size 56]
"""

import argparse
import time

import numpy as np

import tenfold as tn


def drawn(channels, size):
    """An image f32[1, channels, size, size]; weights and biases of 1x1, 3x3, 1x1, inside 1/4 as wide."""
    rng, inner = np.random.default_rng(0), channels // 4
    shapes = (inner, channels, 1, 1), (inner, inner, 3, 3), (channels, inner, 1, 1)
    layers = [(rng.normal(0, s[1] ** -0.5 / s[2], s).astype("f4"), rng.normal(0, 0.1, s[0]).astype("f4"))
              for s in shapes]  # fmt: skip
    return rng.normal(size=(1, channels, size, size)).astype("f4"), layers


def block(layers):
    layers = [(tn.asarray(w), tn.asarray(b)) for w, b in layers]

    def layer(x, w, b):
        return tn.conv(x, w, padding="same") + b[:, None, None]

    def f(x):
        first, second, third = layers
        h = tn.maximum(layer(x, *first), 0)
        h = tn.maximum(layer(h, *second), 0)
        return tn.maximum(layer(h, *third) + x, 0)

    return f


def in_numpy(layers, x):
    h = x.astype("f8")
    for i, (w, b) in enumerate(layers):
        edge = w.shape[2] // 2
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(h, ((0, 0), (0, 0), (edge, edge), (edge, edge))), w.shape[2:], (2, 3)
        )
        h = np.einsum("nchwij,ocij->nohw", windows, w, optimize=True) + b[:, None, None]
        h = np.maximum(h + x if i == 2 else h, 0)
    return h


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--size", type=int, default=56)
    options = parser.parse_args()
    x, layers = drawn(options.channels, options.size)
    f = block(layers)
    explained = tn.explain(f, x)
    print(explained)
    call = tn.jit(f)
    error = np.abs(call(x).numpy() - in_numpy(layers, x)).max()
    assert error < 1e-4, error
    image, seconds = tn.asarray(x), []
    for _ in range(50):
        start = time.perf_counter()
        call(image).numpy()
        seconds.append(time.perf_counter() - start)
    taken = np.median(seconds)
    work = 2 * options.size**2 * sum(w.size for w, _ in layers)
    moved = explained.bytes_read + explained.bytes_written
    print(
        f"{explained.launches} launches, {moved / 1e6:.1f} MB, off by {error:.1g}; "
        f"{taken * 1e3:.2f} ms, {work / taken / 1e9:.0f} GFLOP/s"
    )


if __name__ == "__main__":
    main()
