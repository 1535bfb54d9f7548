"""A few rows times a large matrix: inputs, and what is right."""

import numpy as np

ROWS, SIZE = (1, 4, 16), 4096
KINDS = ("f32", "bf16", "int8", "4 bits")
LIBRARY = KINDS[:2]
BYTES = {
    "f32": 4,
    "bf16": 2,
    "int8": 1 + 4 / 32,
    "4 bits": 0.5 + 4 / 32,
}  # an element, with its group's scale
CACHES = 2 * 32 << 20
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2, "int8": 2e-2, "4 bits": 0.2}  # of the results' standard deviation


def copies(kind):
    """As many as make their use go round more than twice what the last cache holds."""
    return int(CACHES // (BYTES[kind] * SIZE**2)) + 2


def inputs(rows):
    random = np.random.default_rng(4)
    return random.standard_normal((rows, SIZE), dtype="f4"), random.standard_normal((SIZE, SIZE), dtype="f4")


def check(rows, name, outputs):
    x, w = inputs(rows)
    kind = name.split(" ", 1)[1]
    error = np.abs(outputs["y"].astype("f8") - x.astype("f8") @ w).max() / SIZE**0.5
    assert error < 5 * TOLERANCE[kind], f"{name}: off by {error}"
