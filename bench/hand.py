"""The hand-written loops of bench/hand, called through ctypes."""

import ctypes
import os
import pathlib

import numpy as np

_root = pathlib.Path(__file__).resolve().parent.parent
_fields = ("obs", "action", "reward", "terminated", "truncated")


def loops():
    """The loaded library; TENFOLD_HAND names another one, for trying compilers."""
    path = os.environ.get("TENFOLD_HAND") or _root / "build/release/lib/libtenfold_bench_hand.so"
    lib = ctypes.CDLL(str(path))
    if not lib.hand_available():
        raise RuntimeError("the hand loops need AVX-512, and they were built on a machine without it")
    lib.hand_clock_ghz.restype = lib.hand_peak_gflops.restype = ctypes.c_double
    return lib


def empty(shape, dtype="f4"):
    """Zeros, aligned to 64 bytes; a large array is on huge pages where there are any."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    align = 1 << 21 if size >= 1 << 22 else 64
    block = np.empty(size + align, "u1")
    start = -block.ctypes.data % align
    if align > 64:
        madvise = ctypes.CDLL(None).madvise
        madvise(
            ctypes.c_void_p(block.ctypes.data + start), ctypes.c_size_t(size & -align), 14
        )  # MADV_HUGEPAGE
    array = block[start : start + size].view(dtype).reshape(shape)
    array.fill(0)
    return array


def copied(array):
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out


def pointer(array):
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


class _Rollout(ctypes.Structure):
    _fields_ = (
        [("keys", ctypes.c_void_p), ("envs", ctypes.c_int64), ("steps", ctypes.c_int64)]
        + [(n, ctypes.c_int32) for n in ("threads", "packed", "streaming", "unused")]
        + [(n, ctypes.c_void_p) for n in ("returns", "episodes", *_fields)]
    )


class _Policy(ctypes.Structure):
    _fields_ = (
        [("keys", ctypes.c_void_p), ("envs", ctypes.c_int64), ("steps", ctypes.c_int64)]
        + [("threads", ctypes.c_int32), ("tanh", ctypes.c_int32)]
        + [(n, ctypes.c_void_p) for n in ("w1", "b1", "w2", "b2", "w3", "b3", "returns", "episodes")]
    )


def _call(function, arguments, *kept):
    """function(&arguments), which keeps alive the arrays that `arguments` points to."""

    def run():
        function(ctypes.byref(arguments))

    run.kept = kept
    return run


def rollout(keys, steps, threads=2, emit=False, streaming=False, packed=False):
    """CartPole at random: (run, outputs), run() filling the dict of arrays `outputs`.

    keys u32[envs,2], envs a multiple of 128. emit: obs, action, reward, terminated, truncated of every step.
    """
    lib, envs, keys = loops(), len(keys), copied(keys)
    out = {"returns": empty(envs), "episodes": empty(envs, "i4")}
    if emit:
        out["obs"] = empty((steps, envs, 4))
        for name, dtype in zip(_fields[1:], ("i4", "f4", "u1", "u1"), strict=True):
            out[name] = empty((steps, envs), dtype)
    arguments = _Rollout(
        pointer(keys), envs, steps, threads, packed, streaming, 0,
        *[pointer(out.get(n)) for n in ("returns", "episodes", *_fields)],
    )  # fmt: skip
    return _call(lib.hand_cartpole, arguments, keys, out), out


def policy_rollout(keys, steps, weights, tanh, threads=2):
    """The same with a sampled 4-64-64-2 policy; weights: w1, b1, w2, b2, w3, b3 as f32, w[in, out]."""
    lib, envs, keys = loops(), len(keys), copied(keys)
    out = {"returns": empty(envs), "episodes": empty(envs, "i4")}
    kept = [np.ascontiguousarray(w, "f4") for w in weights]
    arguments = _Policy(
        pointer(keys),
        envs,
        steps,
        threads,
        tanh,
        *map(pointer, kept),
        pointer(out["returns"]),
        pointer(out["episodes"]),
    )
    return _call(lib.hand_cartpole_policy, arguments, keys, kept, out), out
