"""Products of bf16 and of bytes that machines add by groups, against NumPy: pairs, fours, and tile registers (whose
plans any machine runs)."""

import numpy as np
import pytest

import tenfold as tn

RNG = np.random.default_rng(11)
SHAPES = [  # m, k, n
    (64, 64, 64),
    (96, 48, 80),
    (37, 64, 33),
    (127, 130, 64),
    (1, 256, 64),
    (3, 96, 100),
    (256, 34, 48),
    (40, 1000, 16),
]


def narrow(shape, dtype):
    if dtype == tn.bfloat16:
        return tn.asarray(RNG.standard_normal(shape).astype(np.float32)).astype(dtype)
    low = 0 if dtype == tn.uint8 else -128
    return tn.asarray(RNG.integers(low, low + 256, shape).astype(np.int32)).astype(dtype)


def wide(x):
    return np.asarray(x.astype(tn.float64 if x.dtype == tn.bfloat16 else tn.int64))


def expect(got, a, b, spec):
    """Bytes exactly; f32 sums of bf16 within the bound of a plain loop (Higham 2002, eq. 3.5)."""
    want = np.einsum(spec, wide(a), wide(b))
    if a.dtype != tn.bfloat16:
        np.testing.assert_array_equal(np.asarray(got), want)
        return
    left, out = spec.split(",")[0], spec.split("->")[1]
    terms = np.prod([n for c, n in zip(left, a.shape, strict=True) if c not in out])
    bound = np.einsum(spec, np.abs(wide(a)), np.abs(wide(b))) * terms * 2.0**-24
    assert (np.abs(np.asarray(got) - want) <= bound + 1e-30).all()


@pytest.fixture(params=["auto", "amx"])
def machine(request, monkeypatch):
    monkeypatch.setenv("TENFOLD_MACHINE", request.param)
    return request.param


PAIRS = [(tn.bfloat16, tn.bfloat16), (tn.uint8, tn.int8), (tn.int8, tn.int8)]


@pytest.mark.parametrize("types", PAIRS, ids=["bf16", "u8i8", "i8i8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(machine, shape, types):
    m, k, n = shape
    out = tn.float32 if types[0] == tn.bfloat16 else tn.int32
    a, b = narrow((m, k), types[0]), narrow((k, n), types[1])
    expect(tn.jit(lambda a, b: tn.einsum("mk,kn->mn", a, b, dtype=out))(a, b), a, b, "mk,kn->mn")
    expect(tn.jit(lambda a: tn.einsum("mk,kn->mn", a, b, dtype=out))(a), a, b, "mk,kn->mn")
    t = narrow((n, k), types[1])
    expect(tn.jit(lambda a: tn.einsum("mk,nk->mn", a, t, dtype=out))(a), a, t, "mk,nk->mn")


@pytest.mark.parametrize("types", PAIRS, ids=["bf16", "u8i8", "i8i8"])
@pytest.mark.parametrize("spec", ["bmk,bkn->bmn", "kmb,bkn->bmn", "bmk,kn->bnm", "mbk,nbk->mn"])
def test_batches_and_transposes(machine, spec, types):
    sizes = {"b": 3, "m": 24, "k": 32, "n": 48}
    out = tn.float32 if types[0] == tn.bfloat16 else tn.int32
    left, rest = spec.split(",")
    right = rest.split("->")[0]
    a = narrow([sizes[c] for c in left], types[0])
    b = narrow([sizes[c] for c in right], types[1])
    expect(tn.jit(lambda a, b: tn.einsum(spec, a, b, dtype=out))(a, b), a, b, spec)
    expect(tn.jit(lambda a: tn.einsum(spec, a, b, dtype=out))(a), a, b, spec)


def test_what_stands_around(machine):
    a, w = narrow((72, 64), tn.bfloat16), narrow((64, 96), tn.bfloat16)
    bias = tn.asarray(RNG.standard_normal(96).astype(np.float32))

    def layer(a):
        half = (a.astype(tn.float32) * 0.5).astype(tn.bfloat16)
        return tn.maximum(tn.einsum("mk,kn->mn", half, w, dtype=tn.float32) + bias, 0.0)

    want = np.maximum(wide(a) * 0.5 @ wide(w) + np.asarray(bias), 0)
    np.testing.assert_allclose(np.asarray(tn.jit(layer)(a)), want, rtol=1e-4, atol=1e-4)
    image, taps = narrow((2, 9, 9, 32), tn.bfloat16), narrow((48, 32, 3, 3), tn.bfloat16)

    def windows(image):
        return tn.conv(tn.permute_dims(image, (0, 3, 1, 2)), taps, padding="same")

    got = np.asarray(tn.jit(windows)(image).astype(tn.float32))
    wanted = np.asarray(
        tn.conv(
            tn.permute_dims(image.astype(tn.float32), (0, 3, 1, 2)), taps.astype(tn.float32), padding="same"
        )
    )
    np.testing.assert_allclose(got, wanted, rtol=2.0**-7, atol=1e-2)


@pytest.mark.parametrize("machine, loops", [("avx2", 0), ("zen4", 1), ("amx", 1)])
def test_explain_says_groups(monkeypatch, machine, loops):
    monkeypatch.setenv("TENFOLD_MACHINE", machine)
    a, b = narrow((64, 64), tn.bfloat16), narrow((64, 64), tn.bfloat16)
    page = str(tn.explain(tn.jit(lambda a, b: a @ b), a, b))
    assert page.count(", grouped m") == loops
    assert (" over m, m1 " in page) == (machine == "amx")  # a whole sum, in tiles


@pytest.mark.parametrize("n", [256, 512])
def test_f32_by_pieces_of_bf16(monkeypatch, n):
    """Errors against f64, as multiples of those of f32: at most 20 for three products, 2 for six."""
    monkeypatch.setenv("TENFOLD_MACHINE", "amx")
    x, w = (RNG.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    want = x.astype(np.float64) @ w.astype(np.float64)
    own = np.abs(x @ w - want).max()
    for grant, most in [("bf16x3", 20), ("bf16x6", 2)]:
        f = tn.jit(lambda a, b: a @ b, allow=(grant,))
        page = str(tn.explain(f, x, w))
        assert "bf16" in page and "granted" not in page
        error = np.abs(np.asarray(f(x, w)) - want).max()
        assert own / 100 < error <= most * own


def test_pieces_that_do_not_pay_are_not_taken(monkeypatch):
    x = np.ones((64, 64), np.float32)
    pages = {}
    for machine, n in [("zen4", 64), ("avx2", 64), ("amx", 33)]:
        monkeypatch.setenv("TENFOLD_MACHINE", machine)
        pages[machine] = str(tn.explain(tn.jit(lambda a: a @ a, allow=("bf16x3",)), x[:n, :n]))
    assert "granted, not taken: it takes longer on this machine" in pages["zen4"]
    assert "granted, but this machine does not add pairs of them" in pages["avx2"]
    assert "granted, but no product of f32 runs along an even axis" in pages["amx"]
