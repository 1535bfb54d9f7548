"""Figure 7, in fresh processes: python overheads.py LIBRARY prints JSON of seconds.

import: before anything is used; first: a process's first softmax; second, third: other small kernels after
it; call: a warm jitted call on 8 floats. Figure 7 runs tenfold twice, the second time with a full disk cache.
"""

import json
import sys
import time


def main(library):
    times, start = {}, time.perf_counter()
    if library == "tenfold":
        import tenfold as lib

        np_needed = "numpy" in sys.modules
    elif library == "jax":
        import jax
        import jax.numpy as lib
    else:
        import torch as lib
    times["import"] = time.perf_counter() - start
    if library == "tenfold":
        times["numpy_imported"] = np_needed

    def softmax(x):
        e = lib.exp(x - (lib.amax(x, -1, True) if library == "torch" else lib.max(x, axis=-1, keepdims=True)))
        return e / (lib.sum(e, -1, True) if library == "torch" else lib.sum(e, axis=-1, keepdims=True))

    jit = {"tenfold": lambda: lib.jit, "jax": lambda: jax.jit, "torch": lambda: lib.compile}[library]()
    wait = {"jax": lambda y: y.block_until_ready()}.get(library, lambda y: y)
    x = lib.ones((64, 1024)) if library != "tenfold" else lib.full((64, 1024), 1.0)
    small = lib.ones(8) if library != "tenfold" else lib.full((8,), 1.0)
    for name, f, argument in (
        ("first", softmax, x),
        ("second", lambda x: x * 2.0 + lib.tanh(x), x),
        ("third", lambda x: x * 3.0 - lib.sqrt(x), small),
    ):
        call = jit(f)
        start = time.perf_counter()
        wait(call(argument))
        times[name] = time.perf_counter() - start
    repeats, best = 2000, 1.0
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(repeats):
            y = call(small)
        wait(y)
        best = min(best, (time.perf_counter() - start) / repeats)
    times["call"] = best
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
