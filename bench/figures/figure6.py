"""The memory-bound set at three sizes."""

import functools

from harness import Impossible, Row, Unavailable, at_most, geomean, interleave, note, ratio
from peers import ops

TITLE = "Memory-bound operations (us)"
TARGETS = {1 << 16: 4, 1 << 22: 2.5, 1 << 28: 3}
NAMES = {1 << 16: "64 KiB", 1 << 22: "4 MiB", 1 << 28: "256 MiB"}
CACHES = 1 << 26  # what is larger can only come from memory


def contenders_of(peers, op, size):
    case = {"work": "op", "op": op, "bytes": size}
    contenders = {"tenfold": peers["tenfold"], "torch": peers["torch_"], "jax": peers["jax_"]}
    cases = dict.fromkeys(contenders, case)
    if op == "dropout_norm":
        contenders["jax rbg"], cases["jax rbg"] = (
            peers["jax2"],
            {**case, "config": {"generator": "unsafe_rbg"}},
        )
    if op in ops.HAND:
        contenders["hand"], cases["hand"] = peers["hand"], case
        if size > CACHES and op != "adam":
            contenders["hand streaming"] = peers["hand2"]
            cases["hand streaming"] = {**case, "config": {"streaming": True}}
    return contenders, cases


def _check(op, arrays, name, outputs):
    try:
        ops.check(op, arrays, outputs)
    except AssertionError as error:
        raise AssertionError(f"{op} of {name}: {error}") from None


def measure(peers):
    impossible = []
    for size in ops.SIZES:
        copies = {"plain": peers["hand3"], "streaming": peers["hand4"]}
        cases = {
            n: {"work": "op", "op": "copy", "bytes": size, "config": {"streaming": n == "streaming"}}
            for n in copies
        }
        copied = interleave(copies, cases, seconds=0.1)
        bandwidth = max(t.units / t.best for t in copied.values())
        best_copy = min(t.seconds for t in copied.values())
        yield Row(6, f"{NAMES[size]}: copy", best_copy * 1e6, "us", detail={"GB/s": bandwidth / 1e9})
        against = []
        for op in ops.NAMES:
            contenders, cases = contenders_of(peers, op, size)
            arrays = ops.inputs(op, min(size, 1 << 22))
            known = size <= 1 << 22 or len(arrays) == 1  # a larger draw begins like a smaller one
            check = functools.partial(_check, op, arrays) if known else None
            timings = interleave(contenders, cases, check, rounds=3 if size == 1 << 28 else 5, seconds=0.1)
            for name, t in timings.items():
                if size > CACHES:
                    moved = ops.moved_least(op, size) / t.best
                    for _ in range(5):  # the copy may have met a busy moment
                        if moved < 1.1 * bandwidth:
                            break
                        again = peers["hand3"].call("copy_bandwidth", size=size)
                        bandwidth = max(bandwidth, again["copy"], again["sum"])
                    try:
                        at_most(f"{op} of {name}", moved, 1.1 * bandwidth, "bytes/s")
                    except Impossible as error:  # told when all the rest is measured
                        impossible.append(str(error))
                yield Row(6, f"{NAMES[size]}: {op}, {name}", t.seconds * 1e6, "us")
            peer = min(
                (n for n in timings if n.startswith(("torch", "jax"))),
                key=lambda n: timings[n].seconds,
                default=None,
            )
            against.append(ratio(timings, "tenfold", peer))
            yield Row(6, f"{NAMES[size]}: {op}, tenfold / {peer}", against[-1], "x", 1.0)
            hands = [ratio(timings, "tenfold", n) for n in ("hand", "hand streaming") if n in timings]
            if hands and hands[0]:
                yield Row(6, f"{NAMES[size]}: {op}, tenfold / hand", min(hands), "x", 0.85)
            try:
                said = peers["tenfold"].call("explained", op=op, size=size)
                extra = said["bytes"] / said["least"]
                yield Row(6, f"{NAMES[size]}: {op}, launches", said["launches"], "", 1, at_least=False)
                yield Row(6, f"{NAMES[size]}: {op}, bytes / least", extra, "x", 1.0, at_least=False)
            except Unavailable as error:
                note(f"explain {op}: {error}")
        name = f"{NAMES[size]}: geometric mean, tenfold / better peer"
        yield Row(6, name, geomean(against), "x", TARGETS[size])
    if impossible:
        raise Impossible("; ".join(impossible))
