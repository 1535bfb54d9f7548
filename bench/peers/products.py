"""Matrix products and attention: shapes, inputs, and what they mean in NumPy (f64, for the checks)."""

import math

import numpy as np

# [batch,] m, k, n: cubes; BERT's and ResNet's layers; skinny; odd and prime; small ones in batches
SHAPES = (
    *((n, n, n) for n in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)),
    (128, 768, 768), (128, 768, 3072), (128, 3072, 768), (512, 768, 768), (512, 768, 3072), (512, 3072, 768),
    (512, 1024, 1024), (512, 1024, 4096),
    (12544, 147, 64), (3136, 64, 64), (3136, 64, 256), (3136, 256, 64), (784, 128, 512), (784, 512, 128),
    (784, 1152, 128), (196, 256, 1024), (196, 1024, 256), (196, 2304, 256), (49, 512, 2048), (49, 2048, 512),
    (1, 1024, 1024), (1, 4096, 4096), (4, 4096, 4096), (16, 4096, 4096), (4096, 64, 64), (64, 4096, 64),
    (4096, 4096, 16), (4096, 4096, 1),
    (100, 100, 100), (200, 200, 200), (1000, 1000, 1000), (17, 300, 5), (33, 65, 129), (127, 127, 127),
    (251, 251, 251), (1009, 1013, 1019),
    (1000, 8, 8, 8), (256, 16, 16, 16), (64, 32, 32, 32), (96, 64, 64, 64), (8, 100, 50, 70),
    (12, 128, 64, 128), (12, 128, 128, 64), (16, 256, 256, 256), (300, 4, 64, 64),
)  # fmt: skip
LENGTHS = ((512, 8), (2048, 4), (4096, 2), (16384, 1))  # and heads
ATTENTION = tuple((heads, n, d) for n, heads in LENGTHS for d in (64, 128))
CHECKED = 64  # rows


def operands(case):
    """f32: x[..., m, k] and y[..., k, n]; or q, k, v[heads, n, d]."""
    random = np.random.default_rng(1)
    if case["work"] == "product":
        *batch, m, k, n = case["shape"]
        return [random.standard_normal((*batch, *s), dtype="f4") for s in ((m, k), (k, n))]
    return [random.standard_normal(case["shape"], dtype="f4") for _ in range(3)]


def flops(case):
    if case["work"] == "product":
        return 2.0 * math.prod(case["shape"])
    heads, n, d = case["shape"]
    return 4.0 * heads * n * n * d


def checked(case, y):
    """The rows that are checked: the first of each product, the last queries of the first head."""
    return y[..., :CHECKED, :] if case["work"] == "product" else y[0, -CHECKED:]


def check(case, outputs):
    """Raises where rows differ from the reference by more than a plain f32 sum may."""
    arrays = [a.astype("f8") for a in operands(case)]
    if case["work"] == "product":
        want = checked(case, arrays[0]) @ arrays[1]
        most = 5e-7 * case["shape"][-2]  # as the error of a chain of additions grows
    else:
        q, k, v = (a[0] for a in arrays)
        scores = q[-CHECKED:] @ k.T / np.sqrt(case["shape"][2])
        if case.get("causal"):
            n = case["shape"][1]
            scores = np.where(np.arange(n - CHECKED, n)[:, None] >= np.arange(n), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        want = e / e.sum(-1, keepdims=True) @ v
        most = 0.1 * want.std() if case.get("half") else 1e-5 * case["shape"][2] ** 0.5
    np.testing.assert_allclose(outputs["y"], want, rtol=0, atol=most)
