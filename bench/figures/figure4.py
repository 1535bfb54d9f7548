"""CartPole with a 4-64-64-2 policy sampled inside."""

from harness import Row, at_most, interleave, ratio

from . import PEER_NAMES, cartpole, check_folded, search

TITLE = "CartPole, 4-64-64-2 policy inside (M steps/s)"
STEPS = 1000
STEP_FLOPS = 2 * (4 * 64 + 64 * 64 + 64 * 2)
TARGETS = {"relu": {"eager": 4, "compiled": 2.2}, "tanh": {"eager": 2.8, "compiled": 1.8}}


def candidates(policy):
    out = {}
    for envs in (1024, 4096, 16384, 65536):
        steps = max(50, min(STEPS, 2**19 // envs))  # long enough for episodes to end
        out[f"eager/{envs}"] = ("torch_", cartpole(policy, envs, steps, eager=True))
        for generator in ("threefry2x32", "unsafe_rbg"):
            out[f"jax/batched, {generator}, {envs}"] = (
                "jax_",
                cartpole(policy, envs, steps, generator=generator),
            )
        if envs <= 16384:
            out[f"torch/{envs}"] = ("torch_", cartpole(policy, envs, steps // 10 * 10))
    for generator in ("threefry2x32", "unsafe_rbg"):
        case = cartpole(policy, 4096, 128, style="vmapped", generator=generator)
        out[f"jax/vmapped, {generator}, 4096"] = ("jax_", case)
    return out


def measure(peers):
    rows = []
    peak = peers["hand2"].call("machine")["peak_gflops"]
    for policy in ("relu", "tanh"):
        check = check_folded(8, 80)
        contenders, cases, names = search(peers, candidates(policy), check)
        for label in ("tenfold", "hand"):
            contenders[label], cases[label] = peers[label], cartpole(policy, 4096, 250)
        timings = interleave(contenders, cases, check)
        for label, t in timings.items():
            share = at_most(f"{label} {policy}", t.rate * STEP_FLOPS / 1e9, peak, "GFLOP/s") / peak
            detail = {"configuration": names.get(label, ""), "of FMA peak": share}
            rows.append(Row(4, f"{policy}: {PEER_NAMES[label]}", t.rate / 1e6, "M steps/s", detail=detail))
        compiled = max((n for n in ("torch", "jax") if n in timings), key=lambda n: timings[n].rate)
        for label, target in (("eager", "eager"), (compiled, "compiled")):
            name = f"{policy}: tenfold / {PEER_NAMES[label]}"
            rows.append(Row(4, name, ratio(timings, "tenfold", label), "x", TARGETS[policy][target]))
    return rows
