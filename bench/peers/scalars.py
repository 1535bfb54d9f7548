"""Products of complex, dual and bf16 numbers, and min-plus: shapes, inputs, what they mean in NumPy (f64)."""

import numpy as np

CUBES = (256, 512, 1024)
HALF_SHAPES = (*((n, n, n) for n in (256, 384, 512, 768, 1024, 1536, 2048)),
               (128, 768, 768), (128, 768, 3072), (128, 3072, 768))  # fmt: skip
CHECKED = 64  # rows


def case(scalar, *shape):
    """scalar: "complex", "dual", "min-plus" or "bf16"; shape m, k, n."""
    return {"work": "scalars", "scalar": scalar, "shape": shape}


def label(case):
    return f"{case['scalar']}, " + " x ".join(map(str, case["shape"]))


def inputs(case):
    """f32 but for complex64: a[m, k], b[k, n]; of dual numbers a, da, b, db. bf16 is given as f32."""
    m, k, n = case["shape"]
    random = np.random.default_rng(7)
    draw = lambda *shape: random.standard_normal(shape, dtype="f4")
    if case["scalar"] == "complex":
        return [draw(*s) + np.complex64(1j) * draw(*s) for s in ((m, k), (k, n))]
    if case["scalar"] == "dual":
        return [draw(*s) for s in ((m, k), (m, k), (k, n), (k, n))]
    a, b = draw(m, k), draw(k, n)
    if case["scalar"] == "bf16":  # what bf16 holds exactly
        a, b = ((x.view("u4") & 0xFFFF0000).view("f4") for x in (a, b))
    return [a, b]


def terms(case):
    """Results times summed terms: 4 real multiplications of each for complex numbers, 3 for dual ones."""
    m, k, n = case["shape"]
    return float(m * k * n)


def check(case, outputs):
    """Raises where the first rows are further from the reference than rounding may take them."""
    wide = [x.astype("c16" if x.dtype.kind == "c" else "f8") for x in inputs(case)]
    a, b = wide[0][:CHECKED], wide[-1]
    k = case["shape"][1]
    want, close = {"y": a @ b}, {"rtol": 0, "atol": 2e-5 * k**0.5}
    if case["scalar"] == "dual":
        a, da, b, db = (x[:CHECKED] if i < 2 else x for i, x in enumerate(wide))
        want = {"y": a @ b, "dy": a @ db + da @ b}
    elif case["scalar"] == "min-plus":
        want, close = {"y": np.stack([(row[:, None] + b).min(0) for row in a])}, {"rtol": 1e-6, "atol": 1e-6}
    elif case["scalar"] == "bf16":
        close = {"rtol": 2**-7, "atol": 2e-5 * k**0.5}  # the result is rounded to bf16
    for name, y in want.items():
        np.testing.assert_allclose(outputs[name], y, **close)
