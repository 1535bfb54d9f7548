"""Every message a user can cause says what came, what was needed, where, and what to do. In full."""

import re
from pathlib import Path

import numpy as np
import pytest

import tenfold as tn

X = tn.asarray(np.ones((32, 128), np.float32))
W = tn.asarray(np.ones((64, 128), np.float32))


def message(f, *args, **kwargs):
    with pytest.raises(tn.UserError) as caught:
        f(*args, **kwargs)
    return re.sub(r"test_errors\.py:\d+", "test_errors.py:N", str(caught.value))


def test_shapes():
    assert message(lambda: X + W) == (
        "add: the shapes do not broadcast: axis -2 is 32 in one operand and 64 in another; they must be equal or 1\n"
        "  called at test_errors.py:N\n"
        "  x: f32[32,128]   from test_errors.py:N\n"
        "  y: f32[64,128]   from test_errors.py:N"
    )
    assert message(lambda: X @ W) == (
        "matmul: the last axis of x is 128 but the axis before the last of y is 64; they must be equal. Did you mean y.T?\n"
        "  called at test_errors.py:N\n"
        "  x: f32[32,128]   from test_errors.py:N\n"
        "  y: f32[64,128]   from test_errors.py:N"
    )
    assert message(lambda: X.reshape(5, 5)) == (
        "reshape: x has 4096 elements, but [5,5] has 25\n  called at test_errors.py:N\n  x: f32[32,128]   from test_errors.py:N"
    )


def test_the_line_is_the_users():
    with pytest.raises(tn.UserError) as caught:
        X + W  # this line
    lines = Path(__file__).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "# this line" in text)
    made = next(i for i, text in enumerate(lines, 1) if text.startswith("X = "))
    assert f"called at test_errors.py:{line}\n" in str(caught.value)
    assert f"x: f32[32,128]   from test_errors.py:{made}\n" in str(caught.value)


def test_dtypes():
    assert message(lambda: tn.ones(2) + tn.arange(2)) == (
        "add: f32 and i64 have no common dtype: mixing kinds is left open by the Array API. Convert one with astype.\n"
        "  called at test_errors.py:N\n"
        "  x: f32[2]   from test_errors.py:N\n"
        "  y: i64[2]   from test_errors.py:N"
    )
    assert message(tn.zeros, 3, dtype="f31").startswith("'f31' is no dtype; the dtypes are bool, i8,")
    assert message(lambda: tn.ones(2) & 1).startswith(
        "bitwise_and takes bool, integers, but x is f32[2]. Convert it first.\n  called at"
    )


def test_axes_and_indices():
    assert message(tn.sum, X, axis=2) == (
        "sum: axis 2 does not exist: the axes go from -2 to 1\n  called at test_errors.py:N\n  x: f32[32,128]   from test_errors.py:N"
    )
    assert message(lambda: X[40]) == (
        "index: 40 is out of range for axis 0, which has 32 elements\n  called at test_errors.py:N\n  x: f32[32,128]   from test_errors.py:N"
    )
    assert message(lambda: X[0, 0, 0]).startswith("index: 3 indices came, but x has 2 axes\n")
    assert message(lambda: X[X > 0]).startswith(
        "index: a mask cannot be an index, because the shape of the result would depend on its values. Use tn.where.\n"
    )
    assert message(X.__setitem__, 0, 1) == (
        "a tensor is immutable: x[i] = y does nothing.\n  called at test_errors.py:N\n"
        "  Use tn.update_slice or tn.where, which return a new tensor."
    )


def test_what_cannot_be_looked_at_is_our_error():
    x = tn.asarray(np.ones(4, "f4")) + 1
    tn.jit(lambda a: a + 1, donate=("a",))(x)
    for look in (lambda: x.numpy(), lambda: np.asarray(x), lambda: memoryview(x)):
        with pytest.raises(tn.UserError, match="donated"):
            look()
    with pytest.raises(BufferError):
        memoryview(x)
    before = tn.memory_statistics()["peak_bytes"]
    huge = tn.ones((1 << 20, 1 << 20), "i64")
    for look in (lambda: huge.numpy(), lambda: np.asarray(huge), lambda: memoryview(huge)):
        with pytest.raises(tn.DeviceError, match="no memory left"):
            look()
    assert tn.memory_statistics()["peak_bytes"] < before + (1 << 40)


def test_contractions():
    assert message(tn.einsum, "mk,kn->mn", X, W).startswith(
        'contract "mk,kn->mn": axis k is 128 in the first input (f32[32,128])'
    )
    assert message(tn.einsum, "mk,kn->mz", X, W).startswith(
        'einsum "mk,kn->mz": axis z of the result is in no input\n'
    )
    assert message(tn.einsum, "mk->m", X, W).startswith('einsum "mk->m": it names 1 inputs, but 2 came\n')


def test_what_is_no_tensor():
    assert message(tn.exp, "text") == (
        "a str cannot become a tensor.\n  called at test_errors.py:N\n"
        "  Pass a number, a list of numbers, or an array (NumPy, DLPack, buffer protocol)."
    )
    for ragged, said in [
        ([[1, 2], [3]], "obj[1] is a list of 1, but obj[0] one of 2"),
        ([1, [2]], "obj[1] is a list of 1, but obj[0] is a number"),
        ([1, [2, 3]], "obj[1] is a list of 2, but obj[0] is a number"),
        ([[1], 2], "obj[1] is a number, but obj[0] is a list of 1"),
        ([[[1], [2]], [[3], [4, 5]]], "obj[1][1] is a list of 2, but obj[0][0] one of 1"),
    ]:
        assert message(tn.asarray, ragged) == (
            f"asarray: the nested lists are ragged: {said}.\n  called at test_errors.py:N"
        )
    assert message(lambda: tn.exp(tn.ones(2)) + 2**70).startswith(
        "the integer 1180591620717411303424 does not fit into 64 bits"
    )


@pytest.mark.parametrize(
    ("value", "dtype", "range_"),
    [
        (2**40, "i32", "-2147483648 to 2147483647"),
        (-1, "u8", "0 to 255"),
        (128, "i8", "-128 to 127"),
        (-32769, "i16", "-32768 to 32767"),
        (2**63, "i64", "-9223372036854775808 to 9223372036854775807"),
        (-1, "u64", "0 to 18446744073709551615"),
        (2**32, "u32", "0 to 4294967295"),
    ],
)
def test_integers_that_do_not_fit(value, dtype, range_):
    said = (
        f"asarray: {value} does not fit into {dtype}, which holds {range_}.\n  called at test_errors.py:N\n"
        f'  Pass a wider dtype, or wrap it on purpose: tn.asarray(a).astype("{dtype}").'
    )
    assert message(tn.asarray, [0, value], dtype=dtype) == said
    assert message(tn.asarray, value, dtype=dtype) == said


def test_integers_that_do_not_fit_an_operand():
    u, i = tn.asarray(np.ones(1, "u1")), tn.asarray(np.ones(1, "i4"))
    assert message(lambda: u - 1000) == (
        "sub: 1000 does not fit into u8, which holds 0 to 255.\n  called at test_errors.py:N\n"
        '  Pass a wider dtype, or wrap it on purpose: tn.asarray(a).astype("u8").'
    )
    wrong = {
        "equal: 257 does not fit into u8": [lambda: u == 257, lambda: tn.jit(lambda x: x == 257)(u)],
        "maximum: -1 does not fit into u8": [lambda: tn.maximum(u, -1)],
        f"add: {2**40} does not fit into i32": [lambda: i + 2**40, lambda: 2**40 + i],
        f"equal: {2**32 + 1} does not fit into i32": [lambda: i == 2**32 + 1],
        "full: 300 does not fit into u8": [
            lambda: tn.full((2,), 300, dtype="u8"),
            lambda: tn.full_like(u, 300),
        ],
        "select: -1 does not fit into u8": [lambda: tn.where(u > 0, u, -1)],
        "pad: 256 does not fit into u8": [lambda: tn.pad(u, [(0, 1)], 256)],
        "update_slice: 256 does not fit into u8": [lambda: tn.update_slice(u, 256, (0,))],
        "stack: 256 does not fit into u8": [lambda: tn.stack([u[0], 256])],
    }
    for said, functions in wrong.items():
        for f in functions:
            assert message(f).startswith(said)
    assert (u + 254).tolist() == [255] and (u == 255).tolist() == [False] and (u + 300.5).tolist() == [301.5]
    assert (i + -(2**31)).tolist() == [1 - 2**31] and tn.full((1,), 300.0, dtype="u8").shape == (1,)
    assert (u - tn.asarray(3, dtype="u8")).tolist() == [254]  # arrays wrap


def test_integers_that_fit():
    for dtype in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"):
        info = np.iinfo(tn.zeros(1, dtype).numpy().dtype)
        assert tn.asarray([int(info.min), int(info.max)], dtype=dtype).tolist() == [info.min, info.max]
    assert tn.asarray(np.array([2**40 + 5]), dtype="i32").tolist() == [5]  # arrays are cast, as NumPy does


def test_no_dumps_of_signatures():
    t = tn.ones((2, 3))
    assert np.sum(t).item() == 6 and np.max(t, axis=1).tolist() == [1, 1] and np.mean(t).item() == 1
    assert message(lambda: np.sum(t, dtype="f8")).startswith(
        "sum: it takes axis and keepdims, but dtype=f8 came.\n"
    )
    assert message(lambda: t.sum(out=3)) == (
        "sum: it takes axis and keepdims, but out=3 came.\n  called at test_errors.py:N"
    )
    assert message(tn.einsum, t, t) == (
        "einsum: the first argument is what to sum, a str, but a Tensor came.\n"
        '  Write einsum("mk,kn->mn", x, y), say.'
    )
    for widths, came in (
        (-1, "a int"),
        ([(1, 2), 3], "a int within them"),
        ([(1, 2, 3)], "3 numbers in an entry"),
    ):
        assert message(tn.pad, t, widths) == (
            f"pad: widths must be a pair (before, after) for each axis, but {came} came.\n"
            "  called at test_errors.py:N\n  Write [(0, 0), (1, 1)], say."
        )
    assert tn.pad(t, [(0, 0), [1, 0]]).shape == (2, 4)


def test_einsum_specs():
    assert message(tn.einsum, "kn->kn->", W).startswith('einsum "kn->kn->": `->` stands twice\n')
    assert message(tn.einsum, "k-n", W).startswith("einsum \"k-n\": '-' is no letter of an axis\n")
    assert message(tn.einsum, "βn", W).startswith("einsum \"βn\": '\\xce' is no letter of an axis\n")
    assert tn.einsum("... n -> n ...", W).shape == (128, 64)


def test_where_it_was_called_is_said_once():
    assert message(lambda: tn.matmul(X, X.T, dtype=tn.int32)).count("called at") == 1
    assert message(lambda: tn.einsum("mk,nk->mn", X, W, dtype=tn.int32)).count("called at") == 1


def test_stack_names_the_shapes():
    assert message(tn.stack, [X, X, W]).startswith(
        "stack: input 2 is [64,128], but input 0 is [32,128]; every tensor must have the same shape\n"
    )


def test_dims_name_the_argument():
    f = tn.jit(lambda x, y: x, dims={"y": ("n", 3)})
    assert message(f, X, tn.ones(3)).startswith(
        "jit of <lambda>: dims gives 2 extents for y, which has 1 axes.\n"
    )
    assert message(f, X, W).startswith("jit of <lambda>: axis 1 of y is 128, but dims says 3.\n")
    assert message(tn.jit, lambda x: x, dims={"x": (1.5,)}).startswith(
        "jit: an extent of x in dims must be an integer, but a float came."
    )


def test_if_on_a_traced_tensor():
    @tn.jit
    def relu(x):
        return x if x > 0 else 0 * x

    assert message(relu, tn.asarray(1.0)) == (
        "the truth (if, while, and, or, not) of a traced tensor was asked for, but while jit of relu is traced there are types and no values.\n"
        "  called at test_errors.py:N\n"
        "  tensor: bool[]   from test_errors.py:N\n"
        "  Use tn.where to choose between values, or tn.cond or tn.while_loop to choose what is computed."
    )


@pytest.mark.parametrize(
    "look", [float, int, lambda x: x.item(), lambda x: x.tolist(), lambda x: range(10)[x.astype(tn.int32)]]
)
def test_looking_at_a_traced_tensor(look):
    text = message(tn.jit(lambda x: look(x)), tn.asarray(1.0))
    assert (
        "of a traced tensor was asked for, but while jit of <lambda> is traced there are types and no values."
        in text
    )
    assert "pass it as a static argument if it is a plain number." in text


def test_numpy_of_a_traced_tensor():
    text = message(tn.jit(lambda x: x.numpy()), tn.asarray(1.0))
    assert text.startswith(
        "the NumPy array of a traced tensor was asked for, but while jit of <lambda> is traced"
    )
    assert text.endswith("Compute with the functions of tn instead of NumPy's.")


def test_the_truth_of_many():
    assert (
        message(bool, X)
        == "the truth of f32[32,128] with 4096 elements is not defined.\n  called at test_errors.py:N\n  Use tn.any or tn.all."
    )


def test_a_carry_that_changes_type():
    assert message(
        tn.scan,
        lambda c, t: ({"a": c["a"], "b": c["b"].astype(tn.int32)}, None),
        {"a": 0.0, "b": tn.ones(3)},
        length=4,
    ) == (
        "scan: carry ['b'] enters as f32[3] but the body returns i32[3]; a carry keeps its type.\n  called at test_errors.py:N\n"
        "  Start from a i32 carry, or convert the result with astype."
    )
    assert message(tn.scan, lambda c, t: (tn.sum(c), None), tn.ones(3), length=4) == (
        "scan: carry 0 enters as f32[3] but the body returns f32[]; a carry keeps its type.\n  called at test_errors.py:N\n"
        "  Start from a carry of that shape, or reshape or reduce the result."
    )
    assert message(tn.scan, lambda c, t: ((c, c), None), tn.ones(3), length=4) == (
        "scan: the carry enters as tensor but the body returns (tensor, tensor); a carry keeps its structure.\n  called at test_errors.py:N"
    )
    assert message(tn.scan, lambda c, t: c, tn.ones(3), length=4) == (
        "scan: the body must return (carry, y), but it returned a Tensor.\n  called at test_errors.py:N\n"
        "  Return (carry, None) if there is nothing to collect."
    )
    assert message(tn.scan, lambda c, t: (c, None), 0.0) == (
        "scan: neither xs nor a length was given, so the number of steps is not known.\n  called at test_errors.py:N\n  Pass length=."
    )


def test_predicates():
    assert message(tn.cond, tn.ones(3) > 0, lambda: 1.0, lambda: 2.0) == (
        "cond: the predicate must be one bool, but it is bool[3].\n  called at test_errors.py:N\n"
        "  Reduce it with tn.any or tn.all, or choose element by element with tn.where."
    )
    assert message(tn.cond, True, lambda: tn.ones(2), lambda: tn.ones(3)).startswith(
        "cond: result 0 is f32[2] in one branch but f32[3] in the other; both must return the same type.\n"
    )
    assert message(tn.while_loop, lambda c: c, lambda c: c + 1, 1.0).startswith(
        "while_loop: the condition must be one bool, but it is f32[].\n"
    )


def test_gradients():
    assert message(tn.grad(lambda x: x * 2), tn.ones(3)) == (
        "grad: the function must return one floating number, but it returned f32[3].\n  called at test_errors.py:N\n"
        "  Reduce it, with tn.sum or tn.mean, say."
    )
    assert message(tn.grad(lambda x: tn.sum(x)), tn.arange(3)) == (
        "grad: argument 0 is i64[3]; a derivative exists with respect to floating values only.\n  called at test_errors.py:N\n"
        "  Convert it with astype, or differentiate with respect to another argument."
    )
    assert "while has no reverse-mode derivative" in message(
        tn.grad(lambda x: tn.while_loop(lambda c: c < 9, lambda c: c * 2, x)), tn.asarray(1.0)
    )


def test_batches():
    assert message(tn.vmap(lambda x, y: x + y), tn.ones((3, 2)), tn.ones((4, 2))) == (
        "vmap: the batch is 3 in argument 0 (f32[3,2]) but 4 in argument 1 (f32[4,2]).\n  called at test_errors.py:N"
    )
    assert message(tn.vmap(lambda x: x, in_axes=None), tn.ones(3)) == (
        "vmap: no argument has a batch axis, so there is nothing to go over.\n  called at test_errors.py:N"
    )


def test_recursion():
    def fib(n):
        return tn.cond(n < 2, lambda m: m, lambda m: fib(m - 1) + fib(m - 2), n)

    text = message(tn.jit(fib), tn.asarray(5))
    assert "does not end" in text and "tn.while_loop" in text

    def forever(x):
        return forever(x + 1)

    assert message(tn.jit(forever), tn.asarray(5)) == (
        "jit of forever does not end: the function calls itself again and again while it is traced.\n  called at test_errors.py:N\n"
        "  A recursion whose end depends on a traced value never ends; use tn.while_loop, tn.scan or tn.cond."
    )


def test_a_loop_that_never_ends_while_tracing():
    @tn.jit
    def loop(x):
        while True:
            x = x + 1

    text = message(loop, tn.asarray(1.0))
    assert text.startswith(
        "jit of loop has recorded 1000000 operations and goes on (now at test_errors.py:N).\n"
    )
    assert text.endswith("use tn.scan, tn.while_loop or tn.cond.")


def test_leaked_tracers():
    kept = []
    f = tn.jit(lambda x: kept.append(x * 2) or x)
    f(tn.ones(3))
    expected = "Return it from the traced function instead of"
    for use in (
        lambda: kept[0] + 1,
        lambda: kept[0].item(),
        lambda: f(kept[0]),
        lambda: tn.jit(lambda x: x + kept[0])(tn.ones(3)),
        lambda: repr(kept[0] + 1),
    ):
        text = message(use)
        assert (
            "made while jit of <lambda> was traced" in text
            and "that trace is over" in text
            and expected in text
        )


def test_jit_arguments():
    assert message(tn.jit(lambda x, name: x), tn.ones(2), "a") == (
        "jit of <lambda>: an argument is a str, which is no tensor, number or structure of them.\n  called at test_errors.py:N\n"
        "  Name it in static=, so that the function is compiled for each value of it."
    )
    assert (
        message(tn.jit, lambda x: x, static="y")
        == 'jit: static names "y", but the function\'s parameters are x.\n  called at test_errors.py:N'
    )
    assert (
        message(tn.jit, lambda x: x, dims={"y": ("n",)})
        == 'jit: dims names "y", but the function\'s parameters are x.\n  called at test_errors.py:N'
    )
    assert (
        message(tn.jit, lambda x: x, allow=("fast",))
        == 'jit: allow names "fast", which is no grant: choose of bf16x3, bf16x6, factor, online, reassociate.\n  called at test_errors.py:N'
    )
    assert message(tn.jit(lambda x, s: x, static=1), tn.ones(2), [1]) == (
        "jit of <lambda>: the static argument s is a list, which has no hash.\n  called at test_errors.py:N\n"
        "  Pass something hashable: a number, a string, a tuple, a function."
    )
    assert message(tn.jit(lambda x: x, dims={"x": ("n", 4)}), tn.ones((3, 5))) == (
        "jit of <lambda>: axis 1 of x is 5, but dims says 4.\n  called at test_errors.py:N"
    )
    assert message(
        tn.jit(lambda x, y: x + y, dims={"x": ("n",), "y": ("n",)}), tn.ones(3), tn.ones(4)
    ).startswith("<lambda>: axis 0 of argument 1 is 4, but dims says n, which is 3 here.\n")
    assert message(tn.jit(lambda x: "text"), tn.ones(2)) == (
        "jit of <lambda>: the function returned a str, but it must return tensors or structures of them.\n  called at test_errors.py:N"
    )


def test_random():
    assert message(tn.random.uniform, 7) == (
        "random.uniform: a key is u32[2], as random.key(seed) makes it\n  called at test_errors.py:N\n  x: 7"
    )
    assert message(tn.random.integers, tn.random.key(1), 5, 5).startswith(
        "random.integers: low is 5 and high is 5; there is no integer in between\n"
    )


def test_functions_of_numpy():
    assert message(np.sin, X) == (
        "np.sin: NumPy's functions take arrays, and a Tensor came.\n  called at test_errors.py:N\n"
        "  Write tn.sin(x), or np.sin(x.numpy())."
    )
    assert message(np.add.reduce, X).endswith("  Write np.add.reduce(x.numpy()).")
    a, x = np.float32([1, 2]), tn.asarray(np.float32([3, 5]))
    for got in (a - x, a / x, a**x, np.float32(2) - x, a < x, a == x, a @ x):
        assert isinstance(got, tn.Tensor)
    assert (
        (a - x).tolist() == [-2, -3]
        and (a < x).tolist() == [True, True]
        and (np.float32(2) - x).tolist() == [-1, -3]
    )
