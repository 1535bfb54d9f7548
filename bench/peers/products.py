"""Matrix products and attention: shapes, inputs, and what they mean in NumPy (f64, for the checks)."""

import numpy as np

SHAPES = (  # m, k, n: cubes; BERT's and ResNet's layers; skinny, odd and prime
    *((n, n, n) for n in (16, 32, 64, 128, 256, 384, 512, 768, 1024, 2048)),
    (128, 768, 768), (128, 768, 3072), (128, 3072, 768), (512, 1024, 1024), (512, 1024, 4096),
    (3136, 64, 64), (3136, 64, 256), (784, 512, 128), (196, 1024, 256), (49, 512, 2048),
    (1, 1024, 1024), (4, 4096, 4096), (16, 4096, 4096), (4096, 64, 64), (64, 4096, 64), (4096, 4096, 16),
    (100, 100, 100), (200, 200, 200), (1000, 1000, 1000), (127, 127, 127), (1009, 1013, 1019), (33, 65, 129),
)  # fmt: skip
LENGTHS = ((512, 8), (2048, 4), (4096, 2), (16384, 1))  # and heads
ATTENTION = tuple((heads, n, d) for n, heads in LENGTHS for d in (64, 128))
CHECKED = 64  # rows


def operands(case):
    """f32: x[m, k] and y[k, n]; or q, k, v[heads, n, d]."""
    random = np.random.default_rng(1)
    if case["work"] == "product":
        m, k, n = case["shape"]
        return [random.standard_normal(s, dtype="f4") for s in ((m, k), (k, n))]
    return [random.standard_normal(case["shape"], dtype="f4") for _ in range(3)]


def flops(case):
    a, b, c = case["shape"]
    return 2.0 * a * b * c if case["work"] == "product" else 4.0 * a * b * b * c


def checked(case, y):
    """The rows that are checked: the first of a product, the last queries of the first head."""
    return y[:CHECKED] if case["work"] == "product" else y[0, -CHECKED:]


def check(case, outputs):
    """Raises where rows differ from the reference by more than a plain f32 sum may."""
    arrays = [a.astype("f8") for a in operands(case)]
    if case["work"] == "product":
        want, terms = arrays[0][:CHECKED] @ arrays[1], case["shape"][1]
    else:
        q, k, v = (a[0] for a in arrays)
        scores = q[-CHECKED:] @ k.T / np.sqrt(case["shape"][2])
        if case.get("causal"):
            n = case["shape"][1]
            scores = np.where(np.arange(n - CHECKED, n)[:, None] >= np.arange(n), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        want, terms = e / e.sum(-1, keepdims=True) @ v, case["shape"][2]
    np.testing.assert_allclose(outputs["y"], want, rtol=0, atol=1e-5 * terms**0.5)
