"""Sums of narrow inputs in a wider dtype, and weights that stay packed."""

import copy
import pickle

import numpy as np
import pytest

import tenfold as tn

RNG = np.random.default_rng(3)
SHAPES = [
    (64, 64, 64),
    (64, 4, 128),
    (48, 8, 64),
    (37, 96, 70),
    (5, 64, 33),
    (1, 128, 256),
    (16, 17, 40),
    (130, 260, 192),
    (12, 16384, 96),
    (3, 0, 4),
]


def message(f, *args, **kwargs):
    with pytest.raises(tn.UserError) as error:
        f(*args, **kwargs)
    return str(error.value)


def integers(shape, dtype):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("x_dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("y_dtype", ["int8", "uint8", "uint16"])
def test_integers_are_summed_in_i32_exactly(x_dtype, y_dtype):
    for m, k, n in SHAPES:
        x, y = integers((m, k), x_dtype), integers((k, n), y_dtype)
        expected = x.astype(np.int32) @ y.astype(np.int32)
        made = tn.matmul(x, y, dtype=tn.int32)
        assert made.dtype == tn.int32
        np.testing.assert_array_equal(made.numpy(), expected)
        np.testing.assert_array_equal(tn.einsum("mk,nk->nm", x, y.T.copy(), dtype="i32").numpy(), expected.T)


def test_all_of_the_largest_products_stay_exact():
    x, y = np.full((32, 512), -128, np.int8), np.full((512, 64), -128, np.int8)
    assert (tn.matmul(x, y, dtype=tn.int32).numpy() == 512 * 128 * 128).all()
    u = np.full((32, 512), 255, np.uint8)
    assert (tn.matmul(u, y, dtype=tn.int32).numpy() == -512 * 255 * 128).all()


def test_a_requantised_product_keeps_its_epilogue():
    def layer(x, w, scale):
        y = tn.round(tn.matmul(x, w, dtype=tn.int32).astype(tn.float32) * scale)
        return tn.clip(y, -128, 127).astype(tn.int8)

    x, w = integers((96, 256), "int8"), integers((256, 128), "int8")
    expected = np.clip(np.round((x.astype("i4") @ w.astype("i4")).astype("f4") * np.float32(1e-3)), -128, 127)
    np.testing.assert_array_equal(tn.jit(layer)(x, w, 1e-3).numpy(), expected.astype("i1"))


@pytest.mark.parametrize("x_dtype", [tn.float16, tn.bfloat16])
@pytest.mark.parametrize("y_dtype", [tn.float16, tn.bfloat16])
def test_halves_are_summed_in_f32(x_dtype, y_dtype):
    for m, k, n in SHAPES:
        x, y = (tn.asarray(RNG.standard_normal(s).astype("f4")) for s in ((m, k), (k, n)))
        x, y = x.astype(x_dtype), y.astype(y_dtype)
        made = tn.matmul(x, y, dtype=tn.float32)
        assert made.dtype == tn.float32
        wide = [t.astype(tn.float32).numpy().astype("f8") for t in (x, y)]
        np.testing.assert_allclose(made.numpy(), wide[0] @ wide[1], rtol=1e-4, atol=2e-7 * k)


def test_tensordot_and_batches():
    x, y = integers((4, 6, 8), "int8"), integers((4, 8, 5), "int8")
    expected = np.matmul(x.astype("i4"), y.astype("i4"))
    np.testing.assert_array_equal(tn.matmul(x, y, dtype=tn.int32).numpy(), expected)
    mapped = tn.vmap(lambda a, b: tn.matmul(a, b, dtype=tn.int32))(tn.asarray(x), tn.asarray(y))
    np.testing.assert_array_equal(mapped.numpy(), expected)
    made = tn.tensordot(x[0], y[0], 1, dtype=tn.int32)
    np.testing.assert_array_equal(made.numpy(), expected[0])


def test_the_gradient_has_the_dtype_of_the_input():
    x, w = (tn.asarray(RNG.standard_normal(s).astype("f4")).astype(tn.bfloat16) for s in ((3, 8), (8, 5)))
    gradient = tn.grad(lambda x: tn.sum(tn.matmul(x, w, dtype=tn.float32)))(x)
    assert gradient.dtype == tn.bfloat16
    expected = np.broadcast_to(w.astype(tn.float32).numpy().sum(1), (3, 8))
    np.testing.assert_allclose(gradient.astype(tn.float32).numpy(), expected, rtol=1e-2, atol=1e-2)


def test_pairs_that_are_not_offered():
    x = tn.zeros((2, 3))
    assert message(tn.matmul, x, x.T, dtype=tn.float64).startswith(
        "matmul: products of f32 and f32 are not summed in f64 (f16 and bf16 are in f32, integers of 8 and 16 "
        "bits in i32). Write matmul(x.astype(tn.f64), y.astype(tn.f64))\n"
    )
    bytes_ = tn.zeros((2, 3), tn.int8)
    assert message(tn.einsum, "mk,nk->mn", bytes_, x, dtype="i32").startswith(
        "einsum: products of i8 and f32 are not summed in i32"
    )
    assert message(tn.einsum, "k,k,k->", *[x[0]] * 3, dtype="f32").startswith(
        "einsum: dtype= says in what the products of two operands are summed, but 3 came\n"
    )


# ---- weights that stay packed


def unpacked(q):
    """By NumPy, from the parts."""
    level, scale = q.packed.numpy(), q.scale.numpy()
    zero = np.full_like(scale, 8 if q.bits == 4 else 0) if q.zero is None else q.zero.numpy()
    if q.bits == 4:
        level = np.stack([level & 15, level >> 4], 1).reshape(q.shape)
    return (level.astype("f4") - np.repeat(zero, q.group, 0)) * np.repeat(scale, q.group, 0)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [2, 32, 128])
def test_packed_weights(bits, symmetric, group):
    w = RNG.standard_normal((256, 72)).astype("f4")
    w[:group] = 0
    q = tn.quantized(w, bits, group, symmetric)
    assert (q.bits, q.group, q.shape) == (bits, group, (256, 72))
    numbers = 256 // group * 72
    assert q.nbytes == 256 * 72 * bits // 8 + 4 * numbers * (1 if symmetric else 2)
    back = q.dequantize()
    np.testing.assert_allclose(back.numpy(), unpacked(q), rtol=1e-6)
    assert (np.abs(back.numpy() - w) <= 0.5001 * np.repeat(q.scale.numpy(), group, 0)).all()
    assert (back.numpy()[:group] == 0).all()
    assert q.dequantize(tn.float16).dtype == tn.float16
    for m in (1, 4, 16, 33):
        x = RNG.standard_normal((m, 256)).astype("f4")
        expected = x.astype("f8") @ unpacked(q)
        for made in (tn.matmul(x, q), tn.asarray(x) @ q, x @ q, tn.jit(lambda x, q: x @ q)(x, q)):
            np.testing.assert_allclose(made.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_product_reads_what_is_packed(bits):
    q = tn.quantized(RNG.standard_normal((1024, 1024)).astype("f4"), bits)
    for rows in (1, 4):
        x = tn.zeros((rows, 1024))
        explained = tn.explain(lambda x, q: x @ q, x, q)
        assert explained.launches == 1
        assert explained.bytes_read == q.nbytes + x.nbytes
        assert explained.bytes_written == 4 * rows * 1024


def test_the_gradient_of_a_packed_product():
    q = tn.quantized(RNG.standard_normal((64, 48)).astype("f4"), 4)
    x = RNG.standard_normal((3, 64)).astype("f4")
    gradient = tn.grad(lambda x: tn.sum(tn.tanh(x @ q)))(tn.asarray(x))
    w = unpacked(q)
    np.testing.assert_allclose(gradient.numpy(), (1 - np.tanh(x @ w) ** 2) @ w.T, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_packed():
    w = tn.zeros((64, 8))
    assert message(tn.quantized, w, 5) == (
        "quantized: bits is 5; weights are packed in 4 or 8 bits. Choose one of them."
    )
    assert message(tn.quantized, w, group=48) == (
        "quantized: group is 48, but groups of an even number must divide the 64 inputs of w [64, 8]. Choose "
        "another group, or pad w with rows of zeros."
    )
    assert message(tn.quantized, w.astype(tn.int8)).startswith("quantized: w is i8[64, 8], but weights are")
    assert message(tn.quantized, w[0]).startswith("quantized: w is f32[8], but weights are")
    assert repr(tn.quantized(w)) == "Quantized([64, 8], bits=8, group=32, 576 bytes)"
    assert message(tn.quantized, w[:0]).startswith(
        "quantized: w is f32[0, 8], which has no inputs, and a scale"
    )
    assert message(tn.quantized, w, bits="4") == "quantized: bits is '4', but it must be 4 or 8."
    assert (
        message(tn.quantized, w, group="a")
        == "quantized: group is 'a', but it must be an even number of inputs."
    )
    assert message(tn.quantized, tn.quantized(w)).startswith(
        "quantized: w is packed already, Quantized([64, 8], "
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_elements_that_no_scale_holds(bits, symmetric):
    for bad in (np.nan, np.inf, -np.inf):
        w = np.ones((64, 8), "f4")
        w[40, 3] = bad
        assert message(tn.quantized, w, bits, symmetric=symmetric) == (
            "quantized: w f32[64, 8] has elements that are infinite or NaN, which no scale holds. Replace them first: "
            "tn.where(tn.isfinite(w), w, 0)."
        )
    w[40:42, 3] = 3e38, -3e38
    if symmetric:
        assert np.isfinite(tn.quantized(w, bits).dequantize().numpy()).all()
    else:
        assert message(tn.quantized, w, bits, symmetric=False) == (
            "quantized: w f32[64, 8] reaches from -3e+38 to 3e+38, and the range of a group is more than f32 holds. "
            "Scale w down, or pass symmetric=True."
        )


def test_a_traced_tensor_cannot_be_packed():
    assert message(tn.jit(lambda w: tn.quantized(w).packed), tn.zeros((64, 8))).startswith(
        "quantized: w is a traced f32[64, 8], but levels are computed at once, from an array's elements.\n"
        "  Call quantized before the traced function, and pass what it returns as an argument."
    )


def test_the_left_side_of_a_packed_product():
    q = tn.quantized(RNG.standard_normal((64, 8)).astype("f4"))
    x = RNG.standard_normal((3, 64)).astype("f2")
    for wrong in (x.astype("i4"), x.astype("i1"), x > 0):
        text = message(lambda x=wrong: tn.asarray(x) @ q)
        assert text.startswith(
            f"matmul: x is {tn.asarray(wrong).dtype}[3, 64] and the weights are a Quantized"
        )
        assert text.endswith("Write x.astype(tn.float32) @ q.")
        assert message(tn.matmul, wrong, q) == message(lambda x=wrong: x @ q) == text
    assert (x @ q).dtype == tn.float16
    made = tn.matmul(x, q, dtype=tn.float32)
    assert made.dtype == tn.float32
    np.testing.assert_allclose(
        made.numpy(), x.astype("f4") @ unpacked(q).astype("f2").astype("f4"), atol=1e-3
    )
    assert message(tn.matmul, x, q, dtype=tn.int32).startswith(
        "matmul: products of f16 and f16 are not summed in i32"
    )


REFUSED = {
    "has no arithmetic": [
        lambda q, x: q * 2,
        lambda q, x: 2 * q,
        lambda q, x: q + q,
        lambda q, x: x - q,
        lambda q, x: np.ones(3) / q,
        lambda q, x: -q,
        lambda q, x: abs(q),
    ],
    "has no order": [lambda q, x: q < q, lambda q, x: x > q],
    "cannot be indexed": [lambda q, x: q[0], lambda q, x: list(q)],
    "cannot be multiplied from the right": [lambda q, x: q @ x],
    "is no tensor": [
        lambda q, x: tn.matmul(q, x),
        lambda q, x: tn.exp(q),
        lambda q, x: tn.sum(q),
        lambda q, x: tn.stack([q, q]),
        lambda q, x: tn.einsum("mk,kn->mn", x, q),
        lambda q, x: tn.contract("mk,kn->mn", x, q),
        lambda q, x: tn.jit(tn.exp)(q),
        lambda q, x: np.asarray(q),
    ],
}


@pytest.mark.parametrize("what", REFUSED)
def test_everything_else_takes_the_unpacked_tensor(what):
    q, x = tn.quantized(tn.ones((64, 8))), tn.ones((2, 64))
    for wrong in REFUSED[what]:
        text = message(wrong, q, x)
        assert text.startswith("Quantized([64, 8], bits=8, group=32, ")
        assert f" {what}: its levels are packed. It is the right side of a product, and no more.\n" in text
        assert "q.dequantize()" in text


def test_packed_weights_are_a_structure():
    q = tn.quantized(RNG.standard_normal((64, 8)).astype("f4"), 4, symmetric=False)
    assert len(q) == 64
    for kept in (pickle.loads(pickle.dumps(q)), copy.deepcopy(q), tn.jit(lambda held: held["q"])({"q": q})):
        assert isinstance(kept, tn.Quantized)
        np.testing.assert_array_equal(kept.dequantize().numpy(), q.dequantize().numpy())
    x = tn.ones((3, 64))
    made = tn.vmap(lambda x, q: x @ q, in_axes=(0, None))(x, q)
    np.testing.assert_allclose(made.numpy(), (x @ q).numpy(), rtol=1e-5)
