"""A small convolutional network learns which way stripes run: two layers, pooling, gradients, all compiled.

python examples/convnet.py [--steps 60]
"""

import argparse

import numpy as np

import tenfold as tn


def stripes(rng, count, size=16):
    """Images f32[count, 1, size, size] of noisy stripes; labels i32: 0 level, 1 upright, 2 diagonal."""
    rows, cols = np.mgrid[:size, :size]
    labels = rng.integers(0, 3, count)
    along = np.stack([rows, cols, rows + cols])[labels]
    waves = np.sin(along * 1.3 + rng.uniform(0, 6, (count, 1, 1)))
    return (waves + rng.normal(0, 0.7, waves.shape))[:, None].astype("f4"), labels.astype("i4")


def network(weights, x):
    """Scores f32[n, 3] of images f32[n, 1, 16, 16]."""
    w1, b1, w2, b2, w3 = weights
    h = tn.max_pool(tn.maximum(tn.conv(x, w1, padding="same") + b1[:, None, None], 0), 2)
    h = tn.maximum(tn.conv(h, w2, padding="same") + b2[:, None, None], 0)
    return tn.mean(h, axis=(2, 3)) @ w3


def loss(weights, x, labels):
    scores = network(weights, x)
    scores = scores - tn.max(scores, axis=1, keepdims=True)
    chosen = tn.sum(tn.where(labels[:, None] == tn.arange(3), scores, 0), axis=1)
    return tn.mean(tn.log(tn.sum(tn.exp(scores), axis=1)) - chosen)


@tn.jit
def train(weights, x, labels):
    value, gradients = tn.value_and_grad(loss)(weights, x, labels)
    return value, [w - 0.3 * g for w, g in zip(weights, gradients, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    rng = np.random.default_rng(0)
    weights = [
        (rng.normal(size=shape) * scale).astype("f4")
        for shape, scale in (
            ((8, 1, 3, 3), 0.3),
            ((8,), 0),
            ((16, 8, 3, 3), 0.12),
            ((16,), 0),
            ((16, 3), 0.25),
        )
    ]
    images, labels = stripes(rng, 512)
    explained = tn.explain(network, weights, images)
    print(
        f"forward: {explained.launches} launches, {explained.bytes_read + explained.bytes_written:,.0f} bytes"
    )
    for step in range(steps):
        batch = rng.integers(0, len(images), 64)
        value, weights = train(weights, images[batch], labels[batch])
        if step % 10 == 0:
            print(f"step {step:3}  loss {value.item():.3f}")
    unseen, truth = stripes(rng, 256)
    right = np.mean(np.argmax(tn.jit(network)(weights, unseen).numpy(), axis=1) == truth)
    print(f"unseen images: {right:.0%} right")


if __name__ == "__main__":
    main()
