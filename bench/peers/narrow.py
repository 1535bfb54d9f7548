"""Products of 8 bits with requantised results: shapes, inputs, and what they mean in NumPy (exact)."""

import numpy as np

SHAPES = ((128, 768, 768), (128, 768, 3072), (128, 3072, 768), (512, 1024, 1024), (512, 1024, 4096),
    *((n, n, n) for n in (256, 384, 512, 768, 1024)))  # fmt: skip
LIMITS = {"i8": (-128, 127), "u8": (0, 255)}
POINT = {"i8": 0, "u8": 128}  # what x's zero is
RESULT_POINT = {"i8": 3, "u8": 131}


def cases():
    return [{"work": "narrow", "shape": s, "dtype": d} for d in ("i8", "u8") for s in SHAPES]


def label(case):
    return f"{case['dtype']} x i8, " + " x ".join(map(str, case["shape"]))


def inputs(case):
    """x i8 or u8[m, k]; w i8[k, n]; the scale of each column of x @ w in the result, f32[n]."""
    m, k, n = case["shape"]
    random, (low, high) = np.random.default_rng(6), LIMITS[case["dtype"]]
    x = random.integers(low, high + 1, (m, k)).astype("i1" if case["dtype"] == "i8" else "u1")
    w = random.integers(-127, 128, (k, n)).astype("i1")
    return x, w, (random.uniform(0.5, 1.5, n) * 40 / (74 * 73 * k**0.5)).astype("f4")


def flops(case):
    m, k, n = case["shape"]
    return 2.0 * m * k * n


def check(case, outputs):
    """At most one in a thousand may be off by one: where the scaled sum lies at a half."""
    x, w, scale = inputs(case)
    dtype = case["dtype"]
    sums = (x.astype("f8") - POINT[dtype]) @ w.astype("f8")
    want = np.clip(np.round(sums * scale) + RESULT_POINT[dtype], *LIMITS[dtype])
    error = np.abs(outputs["y"] - want)
    assert outputs["y"].dtype == x.dtype and error.max() <= 1 and error.mean() < 1e-3, (label(case), error)
