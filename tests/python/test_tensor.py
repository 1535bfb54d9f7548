"""Tensors against NumPy: creation, promotion, operations, indexing, views of memory."""

import copy
import pickle

import numpy as np
import pytest

import tenfold as tn

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5
B = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)
I = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
M = (np.arange(12).reshape(3, 4) % 3) == 0


def check(got, want, rtol=2e-6, atol=1e-6):
    got = got.numpy()
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
     "complex64", "complex128"],
)  # fmt: skip
def test_arrays_come_and_go_unchanged(dtype):
    a = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    x = tn.asarray(a)
    assert x.numpy().dtype == a.dtype
    np.testing.assert_array_equal(x.numpy(), a)
    np.testing.assert_array_equal(np.asarray(x), a)
    np.testing.assert_array_equal(np.from_dlpack(x), a)
    assert x.dtype == a.dtype
    assert x.tolist() == a.tolist()


def test_creation():
    check(tn.zeros((2, 3)), np.zeros((2, 3)))
    check(tn.ones(4, dtype=tn.int32), np.ones(4))
    check(tn.full((2,), 2.5), np.full(2, 2.5))
    check(tn.arange(5), np.arange(5))
    check(tn.arange(2, 11, 3), np.arange(2, 11, 3))
    check(tn.arange(1.0, 2.0, 0.25), np.arange(1.0, 2.0, 0.25))
    check(tn.arange(5, 0, -2), np.arange(5, 0, -2))
    check(tn.linspace(-1.0, 1.0, 7), np.linspace(-1, 1, 7))
    check(tn.linspace(0, 1, 4, endpoint=False), np.linspace(0, 1, 4, endpoint=False))
    check(tn.eye(3, 4, k=1), np.eye(3, 4, k=1))
    check(tn.zeros_like(tn.asarray(A)), np.zeros_like(A))
    check(tn.full_like(tn.asarray(I), 7), np.full_like(I, 7))
    check(tn.asarray([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]]))
    check(tn.asarray([tn.asarray(1.0), 2.0]), np.array([1.0, 2.0]))
    check(tn.zeros((0, 3)), np.zeros((0, 3)))


def test_default_dtypes():
    assert tn.asarray(1.5).dtype == tn.float32
    assert tn.asarray([1, 2]).dtype == tn.int64
    assert tn.asarray([True]).dtype == tn.bool
    assert tn.asarray(1j).dtype == tn.complex64
    assert tn.asarray(np.float64(1.5)).dtype in (tn.float32, tn.float64)
    assert tn.asarray(np.ones(2)).dtype == tn.float64
    assert tn.arange(3).dtype == tn.int64
    assert tn.zeros(3).dtype == tn.float32


def test_promotion_is_the_array_apis():
    pairs = {
        ("int8", "int32"): "int32", ("uint8", "int8"): "int16", ("uint32", "int16"): "int64", ("float16", "float32"): "float32",
        ("float32", "complex64"): "complex64", ("float64", "complex64"): "complex128", ("uint8", "uint64"): "uint64",
    }  # fmt: skip
    for (a, b), want in pairs.items():
        x, y = tn.ones(2, dtype=a), tn.ones(2, dtype=b)
        assert (x + y).dtype == want and (y + x).dtype == want
    for dtype in ("float16", "float32", "float64"):
        assert (tn.ones(2, dtype=dtype) * 2).dtype == dtype
        assert (tn.ones(2, dtype=dtype) * 0.5).dtype == dtype
    assert (tn.ones(2, dtype="int32") * 0.5).dtype == tn.float32
    assert (tn.ones(2, dtype="int8") + 1).dtype == tn.int8
    assert (tn.ones(2, dtype="float64") * 0.1).tolist() == [0.1, 0.1]
    for a, b in [("uint64", "int64"), ("float32", "int32"), ("bool", "int32")]:
        with pytest.raises(tn.UserError, match="no common dtype"):
            tn.ones(2, dtype=a) + tn.ones(2, dtype=b)


UNARY = [
    "exp",
    "expm1",
    "sin",
    "cos",
    "tanh",
    "floor",
    "ceil",
    "round",
    "trunc",
    "abs",
    "neg",
    "sign",
    "isnan",
    "isfinite",
]


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    want = getattr(np, {"neg": "negative"}.get(name, name))(A)
    check(getattr(tn, name)(tn.asarray(A)), want)


@pytest.mark.parametrize("name", ["sqrt", "log", "log1p", "rsqrt"])
def test_unary_of_positive(name):
    a = np.abs(A) + 0.25
    want = 1 / np.sqrt(a) if name == "rsqrt" else getattr(np, name)(a)
    check(getattr(tn, name)(tn.asarray(a)), want)


BINARY = {
    "+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "/": lambda x, y: x / y, "//": lambda x, y: x // y,
    "%": lambda x, y: x % y, "<": lambda x, y: x < y, "<=": lambda x, y: x <= y, ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y, "==": lambda x, y: x == y, "!=": lambda x, y: x != y,
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_operators_broadcast_and_take_numbers(name):
    f = BINARY[name]
    b = np.where(B == 0, 1, B).astype(np.float32)
    x, y = tn.asarray(A), tn.asarray(b)
    check(f(x, y), f(A, b), atol=1e-5)
    check(f(x, 2.0), f(A, np.float32(2)))
    check(f(3.0, x), f(np.float32(3), A), atol=1e-5)
    check(f(x, b), f(A, b), atol=1e-5)
    check(f(A, y), f(A, b), atol=1e-5)


@pytest.mark.parametrize("name", ["+", "-", "*", "//", "%", "<", "=="])
def test_operators_on_integers(name):
    f = BINARY[name]
    divisor = np.where(I == 0, 3, I).astype(np.int32)
    check(f(tn.asarray(I), tn.asarray(divisor)), f(I, divisor))


def test_bits_and_logic():
    x, m = tn.asarray(I), tn.asarray(M)
    check(x & 6, I & 6)
    check(x | 1, I | 1)
    check(x ^ 5, I ^ 5)
    check(~x, ~I)
    check(x << 2, I << 2)
    check(x >> 1, I >> 1)
    check(m & ~m, M & ~M)
    check(m | m, M | M)


def test_powers():
    x = tn.asarray(np.abs(A) + 0.5)
    a = np.abs(A) + 0.5
    for n in (0, 1, 2, 3, 7, -1, -2):
        check(x**n, a**n, rtol=1e-5)
    check(x**0.5, a**0.5, rtol=1e-5)
    check(2.0**x, 2.0**a, rtol=1e-5)
    check(tn.asarray(I) ** 3, I**3)


@pytest.mark.parametrize("name", ["sum", "max", "min", "mean", "prod"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(name, axis, keepdims):
    a = A / 8
    check(
        getattr(tn, name)(tn.asarray(a), axis=axis, keepdims=keepdims),
        getattr(np, name)(a, axis=axis, keepdims=keepdims),
        rtol=1e-5,
    )
    check(
        getattr(tn.asarray(a), name)(axis=axis, keepdims=keepdims),
        getattr(np, name)(a, axis=axis, keepdims=keepdims),
        rtol=1e-5,
    )


def test_other_reductions():
    check(tn.argmax(tn.asarray(A), axis=1), A.argmax(axis=1))
    check(tn.argmin(tn.asarray(A)), A.argmin())
    check(tn.any(tn.asarray(M), axis=0), M.any(axis=0))
    check(tn.all(tn.asarray(M)), M.all())
    check(tn.any(tn.asarray(I)), I.any())
    check(tn.sum(tn.asarray(M)), M.sum())
    check(tn.var(tn.asarray(A), axis=1), A.var(axis=1), rtol=1e-5)
    check(tn.std(tn.asarray(A), correction=1), A.std(ddof=1), rtol=1e-5)
    check(tn.sum(tn.asarray(np.full(300, 100, np.int8))), 30000)


INDICES = [
    np.s_[1], np.s_[-1], np.s_[0, 2], np.s_[0, -1, 3], np.s_[:], np.s_[..., 0], np.s_[0, ...], np.s_[:, 1:], np.s_[:, :-1],
    np.s_[:, ::2], np.s_[..., ::-1], np.s_[:, 2:0:-1], np.s_[:, -3:-1], np.s_[None], np.s_[:, None, 1], np.s_[0, None, ..., None],
    np.s_[:, 5:], np.s_[:, 2:1], np.s_[:, -10:10], np.s_[..., 3:-6:-2], np.s_[:, [2, 0, -1]], np.s_[[1, 0]], np.s_[:, np.array([[0, 1], [1, 2]])],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index):
    check(tn.asarray(A)[index], A[index])


def test_shapes():
    x = tn.asarray(A)
    check(x.reshape(6, 4), A.reshape(6, 4))
    check(x.reshape((4, -1)), A.reshape(4, -1))
    check(x.T, A.T)
    check(x.mT, np.swapaxes(A, 1, 2))
    check(x.transpose(1, 0, 2), A.transpose(1, 0, 2))
    check(tn.permute_dims(x, (2, 0, 1)), A.transpose(2, 0, 1))
    check(tn.moveaxis(x, 0, -1), np.moveaxis(A, 0, -1))
    check(tn.expand_dims(x, 1), A[:, None])
    check(tn.squeeze(x[:1]), A[0])
    check(tn.flip(x, axis=1), np.flip(A, 1))
    check(tn.concatenate([x, x], axis=1), np.concatenate([A, A], axis=1))
    check(tn.concatenate([x, x[:, :1]], axis=None), np.concatenate([A, A[:, :1]], axis=None))
    check(tn.stack([x, x + 1], axis=-1), np.stack([A, A + 1], axis=-1))
    check(tn.broadcast_to(tn.asarray(B), (2, 3, 4)), np.broadcast_to(B, (2, 3, 4)))
    check(tn.pad(x, [(0, 0), (1, 2), (0, 1)], 9), np.pad(A, [(0, 0), (1, 2), (0, 1)], constant_values=9))
    check(tn.take(x, [1, 0, 1], axis=1), np.take(A, [1, 0, 1], axis=1))
    check(tn.take(x, 3), np.take(A, 3))
    check(tn.where(tn.asarray(M), 1.0, tn.asarray(B)), np.where(M, 1.0, B))
    check(tn.clip(x, -1, 2), np.clip(A, -1, 2))
    check(tn.dynamic_slice(x, (0, 1, 1), (2, 2, 3)), A[:, 1:3, 1:4])
    want = A.copy()
    want[0:1, 1:3, 2:4] = 5
    check(tn.update_slice(x, tn.full((1, 2, 2), 5.0), (0, 1, 2)), want)
    assert len(x) == 2 and [row.shape for row in x] == [(3, 4)] * 2


def test_contractions():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 3, 4), np.float32), rng.random((5, 4, 6), np.float32)
    check(tn.asarray(a) @ b, a @ b, rtol=1e-5)
    check(tn.matmul(a[0, 0], b[0, :, 0]), a[0, 0] @ b[0, :, 0], rtol=1e-5)
    check(tn.matmul(b[0, :, 0], b[0]), b[0, :, 0] @ b[0], rtol=1e-5)
    check(tn.asarray(b[0, :, 0]) @ b[0, :, 1], b[0, :, 0] @ b[0, :, 1], rtol=1e-5)
    check(tn.asarray(a[:, :1]) @ b, a[:, :1] @ b, rtol=1e-5)
    for spec, args in {
        "mk,kn->mn": (a[0, 0], b[0]), "mk,kn": (a[0, 0], b[0]), "bmk,bkn->nbm": (a[0], b), "ij->ji": (b[0],), "ij->": (b[0],),
        "...mk,...kn->...mn": (a[0], b), "i,j->ij": (b[0, 0], b[0, 1]), "ij,ij->i": (b[0], b[1]), "ab,bc,cd->ad": (a[0, 0], b[0], b[1].T),
    }.items():  # fmt: skip
        check(tn.einsum(spec, *args), np.einsum(spec, *args), rtol=1e-5)
    check(tn.tensordot(a, a, axes=([1, 2], [1, 2])), np.tensordot(a, a, axes=([1, 2], [1, 2])), rtol=1e-5)
    check(
        tn.tensordot(a, b.transpose(0, 2, 1)[0].T[:, :, None], axes=1),
        np.tensordot(a, b.transpose(0, 2, 1)[0].T[:, :, None], axes=1),
        rtol=1e-5,
    )


def test_looking():
    x = tn.asarray(np.float32([[1.5, 2.5]]))
    assert repr(x) == "Tensor([[1.5, 2.5]], f32[1,2])"
    assert repr(tn.asarray([[[1, -20]], [[3, 4]]])) == (
        "Tensor([[[  1, -20]],\n\n        [[  3,   4]]], i64[2,1,2])"
    )
    assert str(tn.zeros((2, 100))).count("...") == 2
    assert float(x[0, 0]) == 1.5 and int(x[0, 1]) == 2 and bool(x[0, 0] > 1)
    assert x[0, 0].item() == 1.5 and x.shape == (1, 2) and x.ndim == 2 and x.size == 2 and x.nbytes == 8
    assert [10, 20, 30][tn.asarray(1)] == 20
    assert repr(tn.arange(100)) == "Tensor([0, 1, 2, ..., 97, 98, 99], i64[100])"
    assert str(tn.float32) == "f32" and tn.float32 == np.float32 == tn.float32 and tn.float32 != tn.float64


def test_formats_copies_and_pickles():
    x = tn.asarray(np.float32([[1.5, 2.5]]))
    assert f"{x[0, 0]:.2f} {x[0, 1] > 2} {x}" == "1.50 Tensor(true, bool[]) Tensor([[1.5, 2.5]], f32[1,2])"
    with pytest.raises(tn.UserError, match="item reads a tensor with one element"):
        f"{x:.2f}"
    assert copy.copy(x) is x and copy.deepcopy({"x": x})["x"] is x
    for y in (x, x.astype(tn.bfloat16), x > 2, tn.zeros((0, 3), dtype=tn.complex64), tn.asarray(3)):
        z = pickle.loads(pickle.dumps(y))
        assert z.dtype == y.dtype and z.shape == y.shape and z.tolist() == y.tolist()


def test_bf16_is_computed_and_converted():
    x = tn.asarray([1.0, 2.0, 3.0], dtype=tn.bfloat16)
    assert (x / 3).dtype == tn.bfloat16
    check((x * 2).astype(tn.float32), [2, 4, 6])
    with pytest.raises(tn.UserError, match="NumPy has no bf16"):
        x.numpy()


def test_complex():
    z = np.array([1 + 2j, -3j], np.complex64)
    check(tn.asarray(z) * (1 - 1j), z * (1 - 1j))
    check(tn.abs(tn.asarray(z)), np.abs(z))
    check(tn.real(tn.asarray(z)) + tn.imag(tn.asarray(z)), z.real + z.imag)


def test_computed_tables_are_gathered_from():
    at = tn.asarray(np.array([3, 1, 9]))
    assert np.array_equal(tn.jit(lambda i: tn.arange(10)[i])(at), [3, 1, 9])
    assert np.array_equal(tn.jit(lambda i: tn.take(tn.eye(10), i, axis=0))(at), np.eye(10)[[3, 1, 9]])
    assert np.array_equal(tn.jit(lambda i: tn.dynamic_slice(tn.arange(10), (i[0],), (3,)))(at), [3, 4, 5])
    assert np.array_equal(tn.jit(lambda i: tn.take(tn.full((5,), 2.5), i))(at), [2.5, 2.5, 2.5])
    assert np.array_equal(
        tn.jit(lambda x: tn.update_slice(x, tn.ones((1, 1)), (0, 0)))(tn.zeros((2, 2))), [[1, 0], [0, 0]]
    )
