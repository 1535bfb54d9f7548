"""The hand-written loops."""

import ctypes
import time

import hand
import reference
from harness import THREADS, Prepared

from . import ops, policy_weights, scalars


def prepare(case):
    if case["work"] == "scalars":
        return _min_plus(case)
    return _cartpole(case) if case["work"] == "cartpole" else _memory(case)


def _cartpole(case):
    envs, steps, config = case["envs"], case["steps"], case.get("config", {})
    keys = reference.split(reference.key(7), envs)
    if case["policy"] == "random":
        run, out = hand.rollout(keys, steps, THREADS, case.get("emit", False), **config)
    else:
        run, out = hand.policy_rollout(keys, steps, policy_weights(), case["policy"] == "tanh", THREADS)
    return Prepared(run, lambda: out, envs * steps)


def _min_plus(case):
    a, b = map(hand.copied, scalars.inputs(case))
    y, (m, k, n), p = hand.empty((len(a), b.shape[1])), case["shape"], hand.pointer
    sizes, loop = [ctypes.c_int64(size) for size in (m, n, k)], hand.loops().hand_min_plus
    run = lambda: loop(p(a), p(b), p(y), *sizes, THREADS, False)
    return Prepared(run, lambda: {"y": y[: scalars.CHECKED]}, scalars.terms(case))


def _memory(case):
    op, size, lib = case["op"], case["bytes"], hand.loops()
    streaming = case.get("config", {}).get("streaming", False)
    n64, two = ctypes.c_int64, ctypes.c_int(THREADS)
    p, stream = hand.pointer, ctypes.c_int(streaming)
    if op == "memset":
        y = hand.empty(size, "u1")
        return Prepared(lambda: lib.hand_memset(p(y), n64(size), two, stream), lambda: {"y": y[:64]}, size)
    arrays = [hand.copied(a) for a in ops.inputs("softmax" if op in ("copy", "sum") else op, size)]
    y, (rows, cols) = hand.empty(arrays[0].shape), (arrays[0].size // ops.COLS, ops.COLS)
    n = n64(rows * cols)
    if op == "copy":
        return Prepared(
            lambda: lib.hand_copy(p(arrays[0]), p(y), n, two, stream), lambda: {"y": y[:1024]}, 2 * size
        )
    if op == "sum":
        return Prepared(lambda: lib.hand_sum(p(arrays[0]), p(y), n, two), lambda: {"y": y[:1024]}, size)
    if op == "softmax":
        run = lambda: lib.hand_softmax(p(arrays[0]), p(y), n64(rows), n64(cols), two, stream)
    elif op == "layer_norm":
        run = lambda: lib.hand_layer_norm(*map(p, arrays), p(y), n64(rows), n64(cols), two, stream)
    elif op == "mish":
        run = lambda: lib.hand_mish(p(arrays[0]), p(y), n, two, stream)
    elif op == "adam":
        kept, first = arrays, [a.copy() for a in arrays] if size <= 1 << 22 else None
        numbers = [ctypes.c_float(x) for x in (*ops.ADAM, *ops.adam_scales())]
        run = lambda: lib.hand_adam(*map(p, kept), n, *numbers, two)

        def outputs():
            for a, b in zip(kept, first or (), strict=False):
                a[...] = b
            if first:
                run()
            return {k: kept[i] for k, i in (("p", 0), ("m", 2), ("v", 3))} if first else {}

        return Prepared(run, outputs, 1)
    else:
        raise NotImplementedError(f"no hand loop for {op}")
    return Prepared(run, lambda: {"y": y[:1024]}, 1)


def machine():
    lib = hand.loops()
    return {"ghz": lib.hand_clock_ghz(), "peak_gflops": THREADS * lib.hand_peak_gflops(1)}


def cycles_a_step(envs=256, steps=1000, runs=300):
    """Cycles of one core per environment and step: the best of short runs, which others cannot disturb."""
    lib = hand.loops()
    run, _ = hand.rollout(reference.split(reference.key(7), envs), steps, threads=1)
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * lib.hand_clock_ghz() * 1e9 / (envs * steps)


def copy_bandwidth(size):
    """Bytes a second of a sum and of the better of two copies and of two memsets, best of ten."""
    best = {}
    for name in ("copy", "memset", "sum"):
        for streaming in (False, True):
            prepared = _memory({"op": name, "bytes": size, "config": {"streaming": streaming}})
            prepared.run()
            for _ in range(10):
                start = time.perf_counter()
                prepared.run()
                best[name] = max(best.get(name, 0), prepared.units / (time.perf_counter() - start))
    return best
