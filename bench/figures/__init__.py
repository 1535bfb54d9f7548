"""One module a figure: TITLE and measure(peers) -> [Row].

`peers` gives contenders by module name, started when first asked.
"""

PEER_NAMES = {
    "envpool": "EnvPool", "sync": "gymnasium SyncVectorEnv", "vector": "gymnasium vectorised CartPole",
    "numpy": "NumPy by hand", "torch": "torch.compile", "eager": "eager torch", "jax": "JAX",
    "hand": "hand loop", "packed": "hand loop, packed resets", "tenfold": "tenfold",
}  # fmt: skip


def cartpole(policy, envs, steps=1000, emit=False, **config):
    return {
        "work": "cartpole",
        "policy": policy,
        "envs": envs,
        "steps": steps,
        "emit": emit,
        "config": config,
    }


def search(peers, candidates, check):
    """The best candidate of each label: {label: Contender}, {label: case}, {label: its name}.

    candidates: {"label/detail": (module, case)}.
    """
    from harness import fastest

    found = fastest(
        {name: peers[module] for name, (module, _) in candidates.items()},
        {name: case for name, (_, case) in candidates.items()},
        check,
    )
    names = {label: name for label, (name, _) in found.items()}
    return (
        {label: peers[candidates[name][0]] for label, name in names.items()},
        {label: candidates[name][1] for label, name in names.items()},
        names,
    )


def check_folded(low, high):
    """A check of returns and episodes: the mean length of an episode lies between low and high."""

    def check(name, out):
        length = float(out["returns"].sum()) / max(1, int(out["episodes"].sum()))
        if not low < length < high:
            raise AssertionError(f"{name}: {length:.1f} steps an episode, between {low} and {high} expected")

    return check
