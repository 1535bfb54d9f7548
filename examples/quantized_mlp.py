"""An MLP whose weights stay packed in 8 or 4 bits: its accuracy and its bytes beside f32.

python examples/quantized_mlp.py [--width 1024]
"""

import argparse
import itertools
import time

import numpy as np

import tenfold as tn


def mlp(x, layers):
    """f32[n, inputs] to f32[n, classes]; a layer is (weights, bias), the weights packed or not."""
    for w, b in layers[:-1]:
        x = tn.maximum(x @ w + b, 0.0)
    w, b = layers[-1]
    return x @ w + b


def loss(layers, x, label):
    y = mlp(x, layers)
    y = y - tn.max(y, axis=-1, keepdims=True)
    picked = tn.sum(tn.where(label[:, None] == tn.arange(y.shape[1]), y, 0.0), axis=-1)
    return tn.mean(tn.log(tn.sum(tn.exp(y), axis=-1)) - picked)


def spirals(n, classes, inputs, key):
    """Points on the arms of a spiral, turned into a space of more dimensions, and the arm of each."""
    rng = np.random.default_rng(key)
    label = rng.integers(0, classes, n)
    radius = rng.uniform(0.2, 1, n)
    angle = 4 * radius + label * 2 * np.pi / classes + rng.normal(0, 0.1, n)
    plane = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    turn = np.random.default_rng(0).normal(size=(2, inputs))
    return (plane @ turn).astype("f4"), label.astype("i4")


def trained(sizes, steps=400, rate=0.05, momentum=0.9):
    rng = np.random.default_rng(1)
    layers = [
        (tn.asarray(rng.normal(0, (2 / m) ** 0.5, (m, n)).astype("f4")), tn.zeros((n,)))
        for m, n in itertools.pairwise(sizes)
    ]
    speed = [(tn.zeros(w.shape), tn.zeros(b.shape)) for w, b in layers]

    @tn.jit
    def step(layers, speed, x, label):
        slope = tn.grad(loss)(layers, x, label)
        speed = [
            (momentum * u + du, momentum * v + dv) for (u, v), (du, dv) in zip(speed, slope, strict=True)
        ]
        moved = [(w - rate * u, b - rate * v) for (w, b), (u, v) in zip(layers, speed, strict=True)]
        return moved, speed

    for i in range(steps):
        layers, speed = step(layers, speed, *spirals(128, sizes[-1], sizes[0], 10 + i))
    return layers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    inputs, classes = 32, 5
    layers = trained([inputs, options.width, options.width, classes], options.steps)
    x, label = spirals(2000, classes, inputs, 5)
    exact = tn.jit(mlp)(x, layers).numpy()
    for name, bits in (("f32", None), ("8 bits", 8), ("4 bits", 4)):
        kept = [(tn.quantized(w, bits) if bits else w, b) for w, b in layers]
        run = tn.jit(mlp)
        y = run(x, kept).numpy()
        right = (y.argmax(-1) == label).mean()
        off = np.abs(y - exact).max() / np.abs(exact).max()
        one = x[:1]
        run(one, kept).numpy()
        start = time.perf_counter()
        run(one, kept).numpy()
        seconds = time.perf_counter() - start
        size = sum(w.nbytes for w, b in kept)
        print(
            f"{name:7} {right:.1%} right, off by {off:.2%} of the largest; weights {size / 1e3:.1f} kB, "
            f"one row {seconds * 1e6:.0f} us"
        )


if __name__ == "__main__":
    main()
