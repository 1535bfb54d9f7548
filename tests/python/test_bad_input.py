"""What a user can pass by mistake, or by the edge: a typed error that says what came and what is needed, or the
plain answer. Never a crash, an internal error, or a number that is quietly another one."""

import array
import dataclasses
import threading
import typing
from collections import namedtuple

import numpy as np
import pytest

import tenfold as tn

X = tn.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
IMAGE = tn.ones((1, 3, 4, 4))
KEY = tn.random.key(0)
HUGE = 2**70


def identity(x):
    return x


def cyclic_list():
    x = []
    x.append(x)
    return x


def cyclic_dict():
    x = {}
    x["x"] = x
    return x


def deep():
    x = []
    for _ in range(100_000):
        x = [x]
    return x


ERRORS = {
    # arrays
    "asarray: elements of the format": [
        lambda: tn.asarray(np.ones(3, ">f4")),
        lambda: tn.asarray(np.array([object()])),
        lambda: tn.asarray(np.array(["a"])),
        lambda: tn.asarray(np.zeros(2, [("a", "f4")])),
        lambda: tn.asarray(np.ones(3, np.longdouble)),
        lambda: tn.jit(identity)(np.ones(3, ">f4")),
        lambda: X + np.ones(3, ">f4"),
    ],
    "asarray: a ndarray does not give its memory away: ": [lambda: tn.asarray(np.array(["2020-01-01"], "M8[D]"))],
    "asarray: copy=False was asked for, but ": [
        lambda: tn.asarray([1, 2], copy=False),
        lambda: tn.asarray(1.5, copy=False),
        lambda: tn.asarray(np.ones(3), dtype=tn.float32, copy=False),
        lambda: tn.asarray(np.ones((3, 3)).T, copy=False),
        lambda: tn.asarray(np.ones(6)[::2], copy=False),
    ],
    "a NoneType cannot become a tensor.": [
        lambda: tn.asarray(None),
        lambda: tn.asarray([1.0, None]),
        lambda: tn.where(None, X, X),
        lambda: tn.full((2,), None),
        lambda: tn.cond(None, lambda: 1.0, lambda: 2.0),
        lambda: tn.grad(identity)(None),
    ],
    "a generator cannot become a tensor.": [lambda: tn.asarray(x for x in [1]), lambda: tn.jit(identity)(x for x in [1])],
    "asarray: the nested lists are ragged": [lambda: tn.asarray([[1], 2]), lambda: tn.asarray([[], [1]])],
    "asarray: a list holds integers below 0 and above 2^63 - 1": [lambda: tn.asarray([2**63, -1])],
    "lists or structures are nested more than 500 deep": [
        lambda f=f, x=x: f(x())
        for f in (tn.asarray, tn.jit(identity), tn.evaluate, lambda x: tn.scan(lambda c, t: (c, None), x, length=2))
        for x in (cyclic_list, deep)
    ]
    + [lambda: tn.jit(identity)(cyclic_dict()), lambda: tn.jit(lambda x: cyclic_list())(1)],
    # integers
    f"the integer {HUGE} does not fit into 64 bits.": [lambda: X + HUGE, lambda: tn.asarray([HUGE]), lambda: tn.random.key(HUGE)],
    f"an extent is {HUGE}, which does not fit into 64 bits.": [lambda: tn.zeros(HUGE), lambda: X.reshape(HUGE, 1)],
    f"an axis is {HUGE}, which does not fit into 64 bits.": [lambda: tn.sum(X, axis=HUGE)],
    f"index: an index is {HUGE}, which does not fit into 64 bits.": [lambda: X[HUGE], lambda: X[0, HUGE]],
    "an extent must be an integer, but a ": [
        lambda: tn.zeros(2.5),
        lambda: tn.zeros(None),
        lambda: tn.ones((2, None)),
        lambda: X.reshape((), 2),
        lambda: X.reshape(2.0, 3),
    ],
    "a dimension does not fit 64 bits": [lambda: tn.zeros((2**62, 8)), lambda: X.reshape(2**40, 2**40)],
    "broadcast: the shape [-1] has the extent -1, which can be negative": [lambda: tn.zeros(-1)],
    "an axis must be an integer, but a ": [lambda: tn.sum(X, axis="a"), lambda: tn.sum(X, axis=1.0)],
    # functions of tensors
    "arange: start, stop or step is not a number": [lambda: tn.arange(0, tn.nan), lambda: tn.arange(1, 5, tn.nan)],
    "arange: inf elements are too many": [lambda: tn.arange(0, tn.inf)],
    # windows
    "conv: a window of 5 taps reaches over 5 elements, but spatial axis 1 has 4. Pad it": [
        lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 5))),
    ],
    "max_pool: a window of 3 taps with dilation 3 reaches over 7 elements, but spatial axis 0 has 4.": [
        lambda: tn.max_pool(IMAGE, 3, dilation=3),
    ],
    "conv: a window of 9 taps reaches over 9 elements, but spatial axis 0 has 8 with its padding.": [
        lambda: tn.conv(IMAGE, tn.ones((2, 3, 9, 3)), padding=2),
    ],
    "window: a window of 8 taps with dilation 1 reaches over 8 elements, but axis 1 of f32[2,3] has 3; pad": [
        lambda: tn.window(X, 1, 8),
    ],
    "conv: x has 3 channels and w is for 4. w is [outputs, channels / groups, *taps]: its second axis must be 3.": [
        lambda: tn.conv(IMAGE, tn.ones((2, 4, 3, 3))),
        lambda: tn.jit(tn.conv)(IMAGE, tn.ones((2, 4, 3, 3))),
    ],
    "conv: x has 3 channels and w is for 9 (3 groups). ": [lambda: tn.conv(IMAGE, tn.ones((3, 3, 3, 3)), groups=3)],
    "conv: x has 3 channels, which 2 groups do not divide.": [lambda: tn.conv(IMAGE, tn.ones((2, 1, 3, 3)), groups=2)],
    "conv: the result has 2 channels, which 3 groups do not divide.": [
        lambda: tn.conv(IMAGE, tn.ones((2, 1, 3, 3)), groups=3)
    ],
    "conv: x has 3 channels, which 0 groups do not divide.": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), groups=0)],
    "conv: x has 2 axes, but it must be [n, c, *spatial] with 1 to 3 spatial axes. Add axes": [lambda: tn.conv(X, X)],
    "conv: x has 6 axes, but it must be": [lambda: tn.conv(tn.ones((1,) * 6), tn.ones((1,) * 6))],
    "mean_pool: x has 2 axes, but it must be": [lambda: tn.mean_pool(X, 2)],
    "conv: x has 2 spatial axes, so w must have 4 axes, but it has 3.": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3)))],
    "conv: w has 0 taps along an axis": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 0, 3)))],
    "conv: stride is 0; it must be at least 1": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), stride=0)],
    "conv: dilation has 3 entries for 2 axes": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), dilation=(1, 1, 1))],
    "conv: padding has 3 entries for 2 axes": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), padding=(1, 1, 1))],
    "conv: the padding (-1, -1) is negative; use a slice to cut": [
        lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), padding=-1)
    ],
    'conv: padding is "full".': [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), padding="full")],
    "conv: padding: an entry has 3 numbers.": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), padding=[(1, 1, 1), 0])],
    "conv: stride must be an integer, but a float came.": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), stride=1.5)],
    "conv: groups must be an integer, but a NoneType came.": [
        lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3)), groups=None)
    ],
    "max_pool: window must be an integer, or one for each axis, but None came.": [lambda: tn.max_pool(IMAGE, None)],
    "max_pool: the window is 0; it must be at least 1": [lambda: tn.max_pool(IMAGE, 0, stride=1)],
    "conv: f32 and i32 have no common dtype": [lambda: tn.conv(IMAGE, tn.ones((2, 3, 3, 3), tn.int32))],
    "conv_transpose: x has 3 channels and w is for 2. w is that of the conv in the other direction": [
        lambda: tn.conv_transpose(IMAGE, tn.ones((2, 3, 3, 3)))
    ],
    "conv_transpose: spatial axis 0 of the result has 6 elements, of which the padding cuts off 5 and 5.": [
        lambda: tn.conv_transpose(IMAGE, tn.ones((3, 2, 3, 3)), padding=5)
    ],
    'conv_transpose: padding="same" needs windows that meet': [
        lambda: tn.conv_transpose(IMAGE, tn.ones((3, 2, 3, 3)), stride=4, padding="same")
    ],
    "tensordot: axes must be a number, or a pair of axes": [
        lambda: tn.tensordot(X, X, axes=([0],)),
        lambda: tn.tensordot(X, X, axes=([0], None)),
    ],
    "tensordot: axes is -1": [lambda: tn.tensordot(X, X, axes=-1)],
    'einsum "ij->ii": axis i stands twice in the result': [lambda: tn.einsum("ij->ii", X)],
    "dynamic_slice: a start must be an integer, but it is f32": [lambda: tn.dynamic_slice(X, (0.5, 0), (1, 1))],
    "update_slice: a start must be an integer, but it is f32": [
        lambda: tn.update_slice(X, tn.ones((1, 1)), (tn.asarray(0.5), 0))
    ],
    "argmax: axis 0 of x (f32[0]) is empty": [lambda: tn.argmax(tn.zeros(0))],
    "a number of complex64 has an imaginary part": [lambda: float(tn.asarray(1j)), lambda: int(tn.asarray(1j))],
    # random numbers
    "random.key: the seed must be an integer": [lambda: tn.random.key(tn.nan), lambda: tn.random.key(1.5)],
    "random.fold_in: the data must be an integer": [lambda: tn.random.fold_in(KEY, 1.5)],
    "random.integers: low and high must be integers": [lambda: tn.random.integers(KEY, 0.5, 5, (3,))],
    "random.integers: 1099511627776 does not fit into i32": [lambda: tn.random.integers(KEY, 0, 2**40, (3,))],
    "random.integers: -1 does not fit into u8": [lambda: tn.random.integers(KEY, -1, 5, (3,), dtype=tn.uint8)],
    "random.integers: from 0 to 1099511627776 there are 2^32 integers or more": [
        lambda: tn.random.integers(KEY, 0, 2**40, (3,), dtype=tn.int64)
    ],
    # jit
    "jit: static names argument 5, but the function has 1 parameters.": [lambda: tn.jit(identity, static=5)],
    "jit: donate names argument -2, but the function has 1 parameters.": [lambda: tn.jit(identity, donate=-2)],
    "jit: static must be names or positions of arguments, but a float came.": [
        lambda: tn.jit(identity, static=1.5),
        lambda: tn.jit(identity, static=(1.5,)),
    ],
    "jit: allow must be names of grants, but a int came.": [lambda: tn.jit(identity, allow=5)],
    "jit: dims must be a dict, but a int came.": [lambda: tn.jit(identity, dims=5)],
    "jit: an extent of x in dims must be an integer, but a float came.": [lambda: tn.jit(identity, dims={"x": (1.5,)})],
    "jit: dims gives x the extent -3; an extent is 0 or more.": [lambda: tn.jit(identity, dims={"x": (-3,)})],
    '"2 n" cannot name a dimension': [lambda: tn.jit(identity, dims={"x": ("2 n",)})],
    "the size of f32[n] was asked for, but n is a symbol": [
        lambda: tn.jit(lambda x: x * x.size, dims={"x": ("n",)})(tn.ones(3))
    ],
    "the length of f32[n] was asked for, but n is a symbol": [
        lambda: tn.jit(lambda x: x * len(x), dims={"x": ("n",)})(tn.ones(3)),
        lambda: tn.jit(lambda x: list(x), dims={"x": ("n",)})(tn.ones(3)),
    ],
    # transforms
    "grad: argnums names argument 0 twice.": [lambda: tn.grad(lambda x, y: x * y, argnums=(0, -2))(1.0, 2.0)],
    "grad: argnums must be an integer, but a ": [
        lambda: tn.grad(identity, argnums="x")(1.0),
        lambda: tn.grad(identity, argnums=None)(1.0),
    ],
    "vmap: an axis must be an integer, but a tuple came.": [
        lambda: tn.vmap(identity, in_axes=((),))(X),
        lambda: tn.vmap(identity, out_axes=())(X),
    ],
    "checkpoint: every must be an integer, but a str came.": [
        lambda: tn.scan(tn.checkpoint(lambda c, x: (c, x), every="a"), 0.0, length=3)
    ],
    "profile: it was not entered.": [lambda: tn.profile().__exit__(None, None, None)],
    "reset of CartPole-v1: the key is i64[], but it must be u32[2]": [lambda: tn.env.make("CartPole-v1").reset(5)],
    "rollout: a NoneType is no environment": [lambda: tn.rollout(None, None, num_envs=3, steps=3, key=KEY)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "calls"), ERRORS.items(), ids=lambda x: x[:50] if isinstance(x, str) else ""
)
def test_says_what_came(start, calls):
    for call in calls:
        with pytest.raises(tn.UserError) as caught:
            call()
        assert str(caught.value).startswith(start)


# (what came, what it is in NumPy)
ARRAYS = [
    np.arange(6.0)[::-2],
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::-1, :, ::2],
    np.broadcast_to(np.float32(2), (3, 2)),
    np.float32(2),
    np.array(2.0),
    np.zeros((0, 3), np.float32),
    np.zeros((3, 0)).T,
    np.frombuffer(b"\0" * 9, np.uint8)[1:].view("f8"),  # not aligned
    array.array("f"),
    array.array("d", [1, 2]),
    memoryview(b"ab"),
    np.ma.ones(3),
]


@pytest.mark.parametrize(
    "function", [tn.asarray, tn.jit(identity), lambda a: tn.scan(lambda c, _: (c, None), a, length=2)[0]]
)
@pytest.mark.parametrize("a", ARRAYS, ids=range(len(ARRAYS)))
def test_any_layout_of_an_array(function, a):
    got = function(a)
    want = np.asarray(a)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_array_equal(got.numpy(), want)


def test_what_can_be_written_to_is_copied():
    a = np.ones(3, np.float32)
    x, shared = tn.asarray(a), tn.asarray(a, copy=False)
    a[:] = 2
    assert x.tolist() == [1, 1, 1] and shared.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0] = 1


def test_large_integers():
    assert tn.asarray([2**63, 1]).dtype == tn.uint64
    assert tn.asarray([2**63, 1]).tolist() == [2**63, 1]
    assert tn.asarray([2**63, -1], dtype=tn.float64).tolist() == [2.0**63, -1.0]


def test_slices_are_clipped():
    assert X[: 2**70, -(2**70) :: 2**70].tolist() == [[0], [3]]
    assert X[2**70 :].shape == (0, 3)


def test_none_is_no_bound_and_no_order():
    assert tn.clip(X, None, 2).tolist() == [[0, 1, 2], [2, 2, 2]]
    assert tn.clip(X, min=3).tolist() == [[3, 3, 3], [3, 4, 5]]
    assert X.transpose(None).shape == (3, 2)
    assert tn.float32 != None and tn.float32 in [None, tn.float32]  # noqa: E711
    assert tn.jit(identity, static=None, donate=None, allow=None)(X).shape == (2, 3)


def test_random_integers_of_narrow_dtypes_fill_their_range():
    draws = tn.random.integers(KEY, -100, 101, (20_000,), dtype=tn.int8).numpy()
    assert draws.min() == -100 and draws.max() == 100
    assert abs(draws.astype(float).mean()) < 2


def test_negative_positions_count_from_the_end():
    f = tn.jit(lambda x, n: x * n, static=-1)
    assert f(X, 2).tolist() == (X * 2).tolist() and f(X, 3).tolist() == (X * 3).tolist()
    assert tn.jit(lambda *xs: xs[1], static=1)(X, "text" and 2).tolist() == 2


def test_empty_structures():
    assert tn.scan(lambda c, x: (c, x), None, length=3)[0] is None
    assert tn.jit(lambda x: (None, {}, [x]))(None) == (None, {}, [None])
    assert tn.jit(lambda *args, **kwargs: (args, kwargs))(1, b=None)[1] == {"b": None}


def test_plain_numbers_from_a_batched_function_are_f32():
    assert tn.vmap(lambda x: 5.0)(X).dtype == tn.float32


def test_keys_of_a_dict_may_be_anything():
    nan = float("nan")
    for tree in ({nan: X}, {1: X, "a": [None, (X,)]}, {(1, 2): {"b": X}}):
        out = tn.jit(identity)(tree)
        assert list(out) == list(tree)
        assert list(tn.vmap(identity)(tree)) == list(tree)


@dataclasses.dataclass(frozen=True)
class Marked:
    x: typing.Any
    y: typing.Any = dataclasses.field(default=2.0, init=False)
    kind: typing.ClassVar[str] = "marked"


@dataclasses.dataclass
class Fresh:
    x: typing.Any

    def __getattribute__(self, name):  # a new object each time
        value = object.__getattribute__(self, name)
        return value + 0 if name == "x" else value


def test_dataclasses():
    out = tn.jit(lambda m: dataclasses.replace(m, x=m.x + m.y))(Marked(X))
    assert isinstance(out, Marked) and out.kind == "marked"
    assert out.x.tolist() == (X + 2).tolist() and float(out.y) == 2
    assert tn.jit(lambda m: m.x * 2)(Fresh(X)).tolist() == (X * 2).tolist()


def test_types_that_come_and_go():
    @tn.jit
    def difference(p):
        return p.a - p.b

    for fields in ("a b", "b a") * 20:
        pair = namedtuple("pair", fields)
        assert float(difference(pair(a=5.0, b=2.0))) == 3
        del pair


def test_profiles_do_not_nest_in_themselves():
    with tn.profile() as p:
        with pytest.raises(tn.UserError, match="profile: it is measuring already"):
            p.__enter__()
        tn.exp(X).evaluate()
    assert p.launches == 1


def test_threads_call_one_function():
    f = tn.jit(lambda x, scale: x * scale, static=1)
    failures = []

    def work(number):
        try:
            for i in range(20):
                assert f(X, (number * i) % 7).tolist() == (X * ((number * i) % 7)).tolist()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
