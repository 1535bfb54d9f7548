"""jit, grad, vmap, scan, while_loop, cond and random, alone and inside of each other."""

import collections
import dataclasses

import numpy as np
import pytest

import tenfold as tn

State = collections.namedtuple("State", "position velocity")


@dataclasses.dataclass
class Particle:
    position: object
    mass: object


def close(a, b, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(np.asarray(a), b, rtol=rtol, atol=atol)


def softmax(x):
    e = tn.exp(x - tn.max(x, axis=-1, keepdims=True))
    return e / tn.sum(e, axis=-1, keepdims=True)


X = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)


# ---- jit


def test_jit_of_softmax_is_one_launch_of_the_least_bytes():
    e = np.exp(X - X.max(-1, keepdims=True))
    close(tn.jit(softmax)(X), e / e.sum(-1, keepdims=True))
    explained = tn.explain(softmax, X)
    assert (explained.launches, explained.clusters, explained.interpreted) == (1, 1, 0)
    assert explained.bytes_read + explained.bytes_written == explained.bytes_least == 2 * X.nbytes


def test_structures_pass_through_jit():
    @tn.jit
    def f(state, particle, options, pair):
        return {
            "state": State(state.position + 1, state.velocity * 2),
            "particle": Particle(particle.position - options["shift"], particle.mass),
            "list": [pair[0] + pair[1], None],
        }

    out = f(
        State(np.float32(1), np.ones(2, np.float32)),
        Particle(tn.ones(2), 3.0),
        {"shift": 0.5},
        (1.0, [2.0][0]),
    )
    assert type(out["state"]) is State and type(out["particle"]) is Particle and out["list"][1] is None
    assert out["state"].position.item() == 2 and out["state"].velocity.tolist() == [2, 2]
    assert out["particle"].position.tolist() == [0.5, 0.5] and out["particle"].mass.item() == 3
    assert out["list"][0].item() == 3


def test_jit_as_a_decorator_keeps_the_name():
    @tn.jit(static="n")
    def power(x, n):
        "x to the n"
        for _ in range(n - 1):
            x = x * x
        return x

    assert power.__name__ == "power" and power.__doc__ == "x to the n"
    assert power(tn.asarray(3.0), 2).item() == 9 and power(tn.asarray(3.0), n=3).item() == 81
    assert power.versions == 2
    assert power(tn.asarray(2.0), 2).item() == 4 and power.versions == 2


def test_static_arguments_are_compared_by_value():
    f = tn.jit(lambda x, mode: x + 1 if mode == ("add", 1) else x - 1, static=1)
    assert f(tn.asarray(1.0), ("add", 1)).item() == 2 and f(tn.asarray(1.0), ("sub", 1)).item() == 0
    assert f(tn.asarray(5.0), ("add", 1)).item() == 6 and f.versions == 2


def test_static_arguments_keep_types_and_the_sign_of_zero():
    @dataclasses.dataclass(frozen=True)
    class Mode:
        by: object

    f = tn.jit(lambda x, mode: x * 0, static=1)
    modes = [1, 1.0, True, (1,), (1.0,), (True,), ((1,),), ((1.0,),), 0.0, -0.0, (0.0,), (-0.0,), 0j, -0j]
    modes += [frozenset([1]), frozenset([1.0]), Mode(1), Mode(1.0), np.float32(0), np.float32(-0.0)]
    for count, mode in enumerate(modes, 1):
        f(tn.ones(1), mode)
        assert f.versions == count, mode
    for mode in modes:
        f(tn.ones(1), mode)
    f(tn.ones(1), Mode(1))
    assert f.versions == len(modes)
    seen = tn.jit(lambda x, a: x + (0 if isinstance(a[0], int) else 1), static=1)
    assert [seen(tn.zeros(1), a).item() for a in ((1,), (1.0,), (True,))] == [0, 1, 0]


def test_jit_of_a_method():
    class Model:
        def __init__(self, w):
            self.w = tn.asarray(w)

        @tn.jit(static=0)
        def apply(self, x):
            return x * self.w

    assert Model(3.0).apply(tn.asarray(2.0)).item() == 6


def test_jit_inside_jit_is_one_program():
    inner = tn.jit(lambda x: x * 2)
    outer = tn.jit(lambda x: inner(x) + inner(x + 1))
    assert outer(tn.asarray(1.0)).item() == 6 and inner.versions == 0


def test_values_from_outside_are_captured():
    w = tn.asarray(X)
    pending = w * 2
    f = tn.jit(lambda x: x @ w.T + tn.sum(pending))
    close(f(X), X @ X.T + (2 * X).sum(), rtol=1e-4, atol=1e-4)
    close(f(X + 1), (X + 1) @ X.T + (2 * X).sum(), rtol=1e-4, atol=1e-4)


def test_symbolic_dims_run_one_program():
    f = tn.jit(lambda x: tn.sum(x * 2, axis=1), dims={"x": ("rows", 5)})
    for rows in (1, 6, 3, 100):
        x = np.ones((rows, 5), np.float32)
        close(f(x), 2 * x.sum(1))
    assert f.versions == 1


def test_results_that_are_arguments_and_constants():
    f = tn.jit(lambda x: (x, 3.0, tn.arange(2), x))
    a, b, c, d = f(tn.ones(2))
    assert (
        a.tolist() == d.tolist() == [1, 1]
        and b.item() == 3
        and b.dtype == tn.float32
        and c.tolist() == [0, 1]
    )


# ---- grad


def numeric(f, x, eps=1e-3):
    out = np.zeros_like(x, dtype=np.float64)
    for i in np.ndindex(x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[i] += eps
        down[i] -= eps
        out[i] = (f(tn.asarray(up)).item() - f(tn.asarray(down)).item()) / (2 * eps)
    return out


@pytest.mark.parametrize("wrap", [lambda f: f, tn.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: tn.sum(softmax(x) * softmax(x)),
        lambda x: tn.mean(tn.tanh(x @ x.T)),
        lambda x: tn.sum(tn.max(x, axis=1)),
        lambda x: tn.sum(x[1:, ::2] ** 3) + tn.sum(tn.where(x > 0, x, 0.0)),
        lambda x: tn.scan(lambda c, r: (c * 0.5 + tn.sum(r * r), None), 0.0, x)[0],
        lambda x: tn.sum(tn.scan(lambda c, t: (tn.sin(c) + x[0], c), x[1], length=4)[1]),
        lambda x: tn.cond(x[0, 0] > 0, lambda v: tn.sum(v * v), lambda v: tn.sum(v), x),
    ],
    ids=["softmax", "matmul", "max", "slices", "scan_rows", "scan_steps", "cond"],
)
def test_gradients_agree_with_differences(f, wrap):
    x = X.astype(np.float64)
    close(wrap(tn.grad(f))(tn.asarray(x)), numeric(f, x), rtol=1e-4, atol=1e-6)


def test_value_and_grad_of_structures():
    params = {"w": tn.ones(3), "b": tn.asarray(0.5)}

    def loss(p, x):
        y = tn.sum(p["w"] * x) + p["b"]
        return y * y, {"y": y}

    (value, aux), gradient = tn.value_and_grad(loss, has_aux=True)(params, np.float32([1, 2, 3]))
    assert value.item() == 6.5**2 and aux["y"].item() == 6.5
    assert gradient["w"].tolist() == [13, 26, 39] and gradient["b"].item() == 13
    both = tn.grad(lambda a, b: a * b, argnums=(0, 1))(tn.asarray(2.0), tn.asarray(3.0))
    assert [g.item() for g in both] == [3, 2]
    assert tn.grad(lambda x: x * x)(3.0).item() == 6


def test_gradients_of_gradients():
    f = lambda x: tn.sum(tn.sin(x) * x)  # noqa: E731
    second = tn.grad(lambda x: tn.sum(tn.grad(f)(x)))
    close(second(X), 2 * np.cos(X) - X * np.sin(X), rtol=1e-4)
    close(tn.jit(second)(X), 2 * np.cos(X) - X * np.sin(X), rtol=1e-4)


def test_a_checkpointed_scan_has_the_same_gradient():
    def f(step):
        return lambda x: tn.sum(tn.scan(step, x, length=10)[0])

    step = lambda c, t: (tn.sin(c) * 1.1, None)  # noqa: E731
    close(tn.grad(f(tn.checkpoint(step, every=3)))(X), tn.grad(f(step))(X).numpy())


# ---- vmap


def test_vmap_over_axes():
    f = lambda x, y: tn.sum(x * y)  # noqa: E731
    close(tn.vmap(f)(X, X), (X * X).sum(1))
    close(tn.vmap(f, in_axes=(1, None))(X, np.float32([1] * 6)), X.sum(0))
    close(tn.vmap(lambda x: x * 2, out_axes=1)(X), (X * 2).T)
    close(
        tn.vmap(tn.vmap(lambda a, b: a * b, in_axes=(None, 0)), in_axes=(0, None))(X[0], X[1]),
        np.outer(X[0], X[1]),
    )


def test_vmap_of_grad_and_grad_of_vmap():
    f = lambda x: tn.sum(x**3)  # noqa: E731
    close(tn.vmap(tn.grad(f))(X), 3 * X**2, rtol=1e-4)
    close(tn.grad(lambda x: tn.sum(tn.vmap(f)(x)))(X), 3 * X**2, rtol=1e-4)
    close(tn.jit(tn.vmap(tn.grad(f)))(X), 3 * X**2, rtol=1e-4)


def test_vmap_of_control_flow():
    halve = lambda x: tn.while_loop(lambda v: v > 1.0, lambda v: v / 2, x)  # noqa: E731
    close(tn.vmap(halve)(np.float32([8, 3, 0.5])), [1, 0.75, 0.5])
    pick = lambda x: tn.cond(x > 0, lambda v: v * 10, lambda v: -v, x)  # noqa: E731
    close(tn.jit(tn.vmap(pick))(np.float32([1, -2])), [10, 2])


# ---- loops and branches


def test_scan_without_xs_gets_the_step():
    carry, ys = tn.scan(lambda c, t: (c + t, t * 2), 0, length=5)
    assert carry.item() == 10 and ys.tolist() == [0, 2, 4, 6, 8] and carry.dtype == tn.int64


def test_scan_over_rows_forwards_and_backwards():
    carry, ys = tn.scan(lambda c, x: (c + x, c), np.zeros(5, np.float32), X)
    close(carry, X.sum(0))
    close(ys, np.concatenate([np.zeros((1, 5)), X.cumsum(0)[:-1]]))
    carry, ys = tn.scan(lambda c, x: (c + x, c + x), np.zeros(5, np.float32), X, reverse=True)
    close(ys, X[::-1].cumsum(0)[::-1])
    carry, ys = tn.scan(lambda c, x: (c + x["a"] * x["b"], None), 0.0, {"a": X[:, 0], "b": X[:, 1]})
    close(carry, (X[:, 0] * X[:, 1]).sum())
    assert ys is None


def test_a_carry_of_a_named_tuple_keeps_its_type():
    def step(s, t):
        return State(s.position + 0.1 * s.velocity, s.velocity - 0.1 * s.position), s.position

    last, path = tn.jit(lambda: tn.scan(step, State(1.0, 0.0), length=100))()
    assert type(last) is State and path.shape == (100,)
    x, v = 1.0, 0.0
    for _ in range(100):
        x, v = x + 0.1 * v, v - 0.1 * x
    close(last.position, x, rtol=1e-4)


def test_a_number_as_carry_takes_the_dtype_of_the_body():
    carry, _ = tn.scan(lambda c, x: (c + x, None), 0, np.float32([1.5, 2]))
    assert carry.dtype == tn.float32 and carry.item() == 3.5


def test_a_scan_of_no_steps_gives_back_its_carry():
    carry, ys = tn.scan(lambda c, t: (c * 2, c), np.float32(3), length=0)
    assert carry.item() == 3 and ys.shape == (0,)


def test_nested_loops_and_captured_values():
    w = tn.asarray(np.float32([1, 2]))

    def outer(c, t):
        inner, _ = tn.scan(lambda d, s: (d + w * (s + t).astype(tn.float32), None), c, length=3)
        return inner, None

    f = lambda: tn.scan(outer, np.zeros(2, np.float32), length=4)[0]  # noqa: E731
    total = sum(s + t for t in range(4) for s in range(3))
    close(f(), np.float32([1, 2]) * total)
    close(tn.jit(f)(), np.float32([1, 2]) * total)


def test_while_loop():
    n, x = tn.while_loop(lambda c: c[0] < 10, lambda c: (c[0] + 1, c[1] * 2), (0, 1.0))
    assert n.item() == 10 and x.item() == 1024


def test_cond_computes_one_branch():
    f = tn.jit(lambda p, x: tn.cond(p, lambda v: {"y": v + 1}, lambda v: {"y": v - 1}, x))
    assert f(True, tn.asarray(1.0))["y"].item() == 2 and f(False, tn.asarray(1.0))["y"].item() == 0


# ---- random


def philox(counter, key):
    c, k = [int(v) for v in counter], [int(v) for v in key]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def test_random_bits_are_philox():
    key = tn.random.key(0x123456789)
    assert key.tolist() == [0x23456789, 1]
    words = [w for block in range(4) for w in philox((block, 0, 0, 0), (0x23456789, 1))]
    assert tn.random.bits(key, 16).tolist() == words
    assert tn.random.bits(key, (2, 3), offset=5).tolist() == [words[5:8], words[8:11]]
    draw = tn.jit(lambda k, t: tn.random.bits(k, (), t))
    assert [draw(key, t).item() for t in range(16)] == words


def test_draws_by_step_are_the_draw_of_all():
    key = tn.random.key(3)
    all_at_once = tn.random.uniform(key, 50)
    _, by_step = tn.jit(lambda: tn.scan(lambda c, t: (c, tn.random.uniform(key, offset=t)), 0, length=50))()
    assert all_at_once.tolist() == by_step.tolist()


def test_keys_and_distributions():
    keys = tn.random.split(tn.random.key(1), 1000)
    assert len({tuple(k) for k in keys.tolist()}) == 1000
    assert tn.random.fold_in(keys[0], 3).tolist() != tn.random.fold_in(keys[0], 4).tolist()
    u = tn.random.uniform(keys[0], 100000).numpy()
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.005
    n = tn.random.normal(keys[1], 100000).numpy()
    assert abs(n.mean()) < 0.01 and abs(n.std() - 1) < 0.01
    i = tn.random.integers(keys[2], -2, 5, 100000).numpy()
    assert i.min() == -2 and i.max() == 4 and abs((i == 0).mean() - 1 / 7) < 0.005
    assert tn.random.uniform(keys[0], 3, -1.0, 1.0, dtype=tn.float64).dtype == tn.float64
    close(
        tn.vmap(lambda k: tn.random.uniform(k, 4))(keys[:3]),
        np.stack([tn.random.uniform(keys[j], 4).numpy() for j in range(3)]),
    )
