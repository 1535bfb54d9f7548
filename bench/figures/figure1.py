"""CartPole-v1 at random, 4096 x 1000, returns only, against everyone's best."""

from harness import Row, interleave, ratio

from . import PEER_NAMES, cartpole, check_folded, search

TITLE = "CartPole, random policy, returns only (M steps/s)"
ENVS, STEPS = 4096, 1000
TARGETS = {"envpool": 400, "sync": 2000, "the rest": 8}
REST = ("vector", "numpy", "torch", "jax")


def candidates():
    out = {}
    for threads, envs, batch in (
        (1, 4096, 1024),
        (1, 1024, 256),
        (2, 4096, 1024),
        (2, 4096, 4096),
        (1, 256, 256),
    ):
        case = cartpole("random", envs, 50, kind="envpool", threads=threads, batch=batch)
        out[f"envpool/{threads} threads, {batch} of {envs}"] = ("simulators", case)
    for envs in (64, 4096):
        out[f"sync/{envs}"] = ("simulators", cartpole("random", envs, 2**18 // envs, kind="sync"))
    for envs in (1024, 4096, 16384, 65536):
        steps = min(STEPS, 2**22 // envs)
        out[f"vector/{envs}"] = ("simulators", cartpole("random", envs, steps, kind="vector"))
        out[f"numpy/{envs}"] = ("numpy_", cartpole("random", envs, steps))
        for generator in ("threefry2x32", "unsafe_rbg"):
            out[f"jax/batched, {generator}, {envs}"] = (
                "jax_",
                cartpole("random", envs, steps, generator=generator),
            )
        if envs >= 4096:
            out[f"torch/{envs}"] = ("torch_", cartpole("random", envs, steps // 10 * 10))
    for generator in ("threefry2x32", "unsafe_rbg"):
        case = cartpole("random", ENVS, STEPS, style="vmapped", generator=generator)
        out[f"jax vmapped/{generator}, {ENVS}"] = ("jax_", case)
    return out


def measure(peers):
    check = check_folded(15, 45)  # short runs cut episodes off; 22.4 at length
    contenders, cases, names = search(peers, candidates(), check)
    for label in ("tenfold", "hand"):
        contenders[label] = peers[label]
        cases[label] = cartpole("random", ENVS, STEPS)
    timings = interleave(contenders, cases, check)
    rows = [
        Row(1, PEER_NAMES.get(label, label), t.rate / 1e6, "M steps/s",
            detail={"configuration": names.get(label, ""), "best": t.units / t.best / 1e6})
        for label, t in timings.items()
    ]  # fmt: skip
    for label in ("envpool", "sync"):
        rows.append(
            Row(1, f"tenfold / {PEER_NAMES[label]}", ratio(timings, "tenfold", label), "x", TARGETS[label])
        )
    rest = max((n for n in REST if n in timings), key=lambda n: timings[n].rate)
    rows.append(
        Row(1, f"tenfold / {PEER_NAMES[rest]}", ratio(timings, "tenfold", rest), "x", TARGETS["the rest"])
    )
    return rows
