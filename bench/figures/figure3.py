"""Every field of every step to memory, against memset and against figure 1's rate."""

import reference
from harness import THREADS, Row, at_most, interleave

from . import cartpole
from .figure1 import ENVS, STEPS

TITLE = "CartPole with every field emitted (GB/s)"
STEP_BYTES = 4 * 4 + 4 + 4 + 1 + 1  # obs, action, reward, terminated, truncated


def check(name, out):
    if "obs" in out:
        keys = reference.split(reference.key(7), ENVS)
        few = {k: (v[:, :64] if v.ndim > 1 else v[:64]) for k, v in out.items()}
        # tenfold's actions are checked by its own tests: its derivation of keys may differ
        reference.check_trajectory(
            few, keys[:64], None if name == "tenfold" else reference.random_actions, 1e-5
        )


def measure(peers):
    size = ENVS * STEPS * STEP_BYTES
    emitted = lambda **config: cartpole("random", ENVS, STEPS, emit=True, **config)
    memset = lambda **config: {"work": "op", "op": "memset", "bytes": size // 64 * 64, "config": config}
    cases = {
        "tenfold": emitted(), "tenfold folded": cartpole("random", ENVS, STEPS),
        "hand plain": emitted(streaming=False), "hand streaming": emitted(streaming=True),
        "memset plain": memset(streaming=False), "memset streaming": memset(streaming=True),
    }  # fmt: skip
    contenders = {
        "tenfold": peers["tenfold"], "tenfold folded": peers["tenfold2"], "hand plain": peers["hand"],
        "hand streaming": peers["hand2"], "memset plain": peers["hand3"], "memset streaming": peers["hand4"],
    }  # fmt: skip
    timings = interleave(contenders, cases, check)
    rate = lambda name: size / timings[name].seconds / 1e9 if name in timings else None
    best = lambda name: size / timings[name].best / 1e9
    ceiling = max(best("memset plain"), best("memset streaming"))
    memory = max(rate("memset plain"), rate("memset streaming"))
    rows = [Row(3, name, at_most(name, rate(name), 1.1 * ceiling, "GB/s"), "GB/s")
            for name in timings if name != "tenfold folded"]  # fmt: skip
    share = None
    if "tenfold" in timings and "tenfold folded" in timings:
        share = rate("tenfold") / min(memory, rate("tenfold folded"))
    rows.append(
        Row(3, "tenfold / lower of memset and folded rate", share, "", 0.7, detail={"threads": THREADS})
    )
    return rows
