"""Contractions over operators: `python bench/operators.py [n ...]` prints their rates and ratios.

Cubes of n, f32, on as many threads as TENFOLD_THREADS says (1 by default): min-plus against the loop of
bench/hand/min_plus.cc (as it is, and where it may lose a NaN, which tenfold does not), dual numbers against
three products, distances against a product. Best of interleaved turns; nothing else should run.
"""

import ctypes
import os
import sys
import time

import hand
import numpy as np

THREADS = int(os.environ.setdefault("TENFOLD_THREADS", "1"))

import tenfold as tn  # noqa: E402

DISTANCE = tn.Operator(lambda a, b: (a - b) ** 2, "sum", "distance")


def best(calls, seconds=3.0):
    """The least time of each call; all take turns."""
    least = dict.fromkeys(calls, np.inf)
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            for _ in range(2):  # the first brings its operands back into the caches
                start = time.perf_counter()
                call()
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def measure(n):
    a, b = (np.random.default_rng(i).random((n, n), dtype="f4") for i in range(2))
    x, y, found = tn.asarray(a), tn.asarray(b), hand.empty((n, n))

    def by_hand(plain):
        sizes = [ctypes.c_int64(n)] * 3
        hand.loops().hand_min_plus(*map(hand.pointer, (a, b, found)), *sizes, THREADS, plain)

    over = {
        name: tn.jit(lambda a, b, op=op: tn.contract("mk,kn->mn", a, b, operator=op))
        for name, op in (
            ("product", None),
            ("min-plus", tn.min_plus),
            ("distance", DISTANCE),
            ("dual", tn.dual),
        )
    }
    separate = tn.jit(lambda a, b, c, d: (a @ c, a @ d, b @ c))
    by_hand(False)
    np.testing.assert_array_equal(np.asarray(over["min-plus"](x, y)), found)
    times = best({
        "by hand": lambda: by_hand(False),
        "by hand, may lose a NaN": lambda: by_hand(True),
        **{name: lambda f=f: tn.evaluate(f(x, y)) for name, f in over.items() if name != "dual"},
        "dual": lambda: tn.evaluate(over["dual"]((x, y), (y, x))),
        "three products": lambda: tn.evaluate(separate(x, y, y, x)),
    })  # fmt: skip
    for name, seconds in times.items():
        print(f"{n}  {name:24} {seconds * 1e3:9.3f} ms  {n**3 / seconds / 1e9:7.1f} G terms/s")
    print(f"{n}  min-plus / by hand       {times['by hand'] / times['min-plus']:.2f}")
    print(f"{n}  dual / three products    {times['three products'] / times['dual']:.2f}")


if __name__ == "__main__":
    for size in [int(n) for n in sys.argv[1:]] or [512, 1024]:
        measure(size)
