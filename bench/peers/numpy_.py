"""NumPy: CartPole by hand (f32, in place, small batches that stay in cache, one core), and products."""

import numpy as np
from harness import Prepared

from . import products

LIMIT = np.float32(12 * 2 * np.pi / 360)
f = np.float32


def prepare(case):
    return _product(case) if case["work"] == "product" else _cartpole(case)


def _product(case):
    arrays, kept = products.operands(case), {}

    def run():
        kept["y"] = arrays[0] @ arrays[1]

    return Prepared(run, lambda: {"y": products.checked(case, kept["y"])}, products.flops(case))


def _cartpole(case):
    envs, steps = case["envs"], case["steps"]
    random = np.random.Generator(np.random.SFC64(7))
    x, v, theta, omega = state = random.random((4, envs), dtype="f4") * f(0.1) - f(0.05)
    a, b, c, d = np.empty((4, envs), "f4")
    returns, episodes, elapsed = np.zeros(envs, "f4"), np.zeros(envs, "i4"), np.zeros(envs, "i4")
    done, flag = np.empty((2, envs), bool)

    def run():
        for start in range(0, steps, 32):
            words = random.integers(0, 1 << 32, (min(32, steps - start), envs), dtype="u4")
            for word in words:
                np.sin(theta, out=a)
                np.cos(theta, out=b)
                np.multiply(omega, omega, out=c)  # c = (force + pml omega^2 sin) / mass
                np.multiply(c, a, out=c)
                np.multiply(c, f(0.05 / 1.1), out=c)
                np.right_shift(word, 31, out=word)
                np.multiply(word, f(20 / 1.1), out=d, casting="unsafe")
                np.subtract(d, f(10 / 1.1), out=d)
                np.add(c, d, out=c)
                np.multiply(a, f(9.8), out=a)  # a = alpha
                np.multiply(b, c, out=d)
                np.subtract(a, d, out=a)
                np.multiply(b, b, out=d)
                np.multiply(d, f(-0.05 / 1.1), out=d)
                np.add(d, f(2 / 3), out=d)
                np.divide(a, d, out=a)
                np.multiply(v, f(0.02), out=d)
                np.add(x, d, out=x)
                np.multiply(a, b, out=b)
                np.multiply(b, f(0.05 / 1.1), out=b)
                np.subtract(c, b, out=c)
                np.multiply(c, f(0.02), out=c)
                np.add(v, c, out=v)
                np.multiply(omega, f(0.02), out=d)
                np.add(theta, d, out=theta)
                np.multiply(a, f(0.02), out=a)
                np.add(omega, a, out=omega)
                np.add(elapsed, 1, out=elapsed)
                np.greater(np.abs(x, out=c), f(2.4), out=done)
                np.logical_or(done, np.greater(np.abs(theta, out=c), LIMIT, out=flag), out=done)
                np.logical_or(done, np.greater_equal(elapsed, 500, out=flag), out=done)
                np.add(returns, f(1), out=returns)
                np.add(episodes, done, out=episodes)
                ended = np.flatnonzero(done)
                if len(ended):
                    elapsed[ended] = 0
                    state[:, ended] = random.random((4, len(ended)), dtype="f4") * f(0.1) - f(0.05)

    return Prepared(run, lambda: {"returns": returns, "episodes": episodes}, envs * steps)
