"""CartPole folded into one kernel: compiled, checked against gymnasium, timed, explained, plotted.

python examples/demo.py [--envs 4096] [--steps 1000] [--seconds 1] [--out out]
"""

import argparse
import itertools
import math
import os
import pathlib
import time

import gymnasium
import numpy as np

import tenfold as tn

KEY = tn.random.key(7)


def make_weights(seed=0, hidden=64):
    """A 4-64-64-2 network: w1, b1, w2, b2, w3, b3, random but leaning where the pole leans."""
    rng = np.random.default_rng(seed)
    sizes = (4, hidden, hidden, 2)
    layers = []
    for rows, cols in itertools.pairwise(sizes):
        layers += [rng.normal(size=(rows, cols)) / math.sqrt(rows), np.zeros(cols)]
    return [tn.asarray(x.astype("f4")) for x in layers]


def make_policy(weights):
    w1, b1, w2, b2, w3, b3 = weights

    def policy(obs, carry, key, t):
        h = tn.tanh(tn.tanh(obs @ w1 + b1) @ w2 + b2)
        scores = h @ w3 + b3
        right = 1.0 / (1.0 + tn.exp(scores[0] - scores[1]))
        action = tn.astype(tn.random.uniform(key, (), offset=t) < right, "i32")
        return action, {"right": right}, carry

    return policy


def check(policy, envs, steps):
    """Every step of a rollout in f64 against gymnasium's CartPole: the greatest error, and the resets."""
    fields = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    env = tn.env.make("CartPole-v1", dtype="f64")
    out = tn.rollout(env, policy, num_envs=envs, steps=steps, key=KEY, emit=fields)
    obs, action, reward, terminated, truncated, after = (np.asarray(getattr(out, f)) for f in fields)
    worst, resets = 0.0, 0
    for e in range(envs):
        oracle = gymnasium.make("CartPole-v1")
        oracle.reset(seed=0)
        for t in range(steps):
            oracle.unwrapped.state = obs[t, e]
            _, r, over, cut, _ = oracle.step(int(action[t, e]))
            state = oracle.unwrapped.state
            worst = max(worst, np.max(abs(state - after[t, e]) / (1 + abs(state))))
            if (r, over, cut) != (reward[t, e], terminated[t, e], truncated[t, e]):
                raise SystemExit(f"demo: step {t} of environment {e} differs from gymnasium's")
            if over or cut:
                oracle.reset(seed=0)
                resets += 1
            elif t + 1 < steps and not np.array_equal(obs[t + 1, e], after[t, e]):
                raise SystemExit(f"demo: step {t + 1} of environment {e} does not begin where step {t} ended")
    if worst > 1e-12:
        raise SystemExit(f"demo: states differ from gymnasium's by {worst}")
    return worst, resets


def rate(run, steps_of_a_run, seconds):
    """Steps a second: the best of the runs that fit into the time, at least two."""
    run()
    best, begun, runs = math.inf, time.perf_counter(), 0
    while runs < 2 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return steps_of_a_run / best


def folded(policy, envs, steps):
    return lambda: np.asarray(tn.rollout("CartPole-v1", policy, num_envs=envs, steps=steps, key=KEY).returns)


def unfolded(policy, envs, steps):
    """One launch a step: the states go to memory and back."""
    policy = policy and tn.jit(policy)

    def run():
        state = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=1, key=KEY).state
        for t in range(1, steps):
            out = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=1, key=KEY, state=state, start=t)
            state = out.state
        np.asarray(state.x)

    return run


def in_gymnasium(weights, envs, steps):
    """SyncVectorEnv, with the same network in NumPy."""
    vector = gymnasium.make_vec("CartPole-v1", num_envs=envs, vectorization_mode="sync")
    layers = [np.asarray(w) for w in weights] if weights else None
    rng = np.random.default_rng(0)

    def run():
        obs, _ = vector.reset(seed=0)
        for _ in range(steps):
            if layers is None:
                actions = rng.integers(0, 2, envs)
            else:
                w1, b1, w2, b2, w3, b3 = layers
                scores = np.tanh(np.tanh(obs @ w1 + b1) @ w2 + b2) @ w3 + b3
                actions = (rng.random(envs) < 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))).astype(int)
            obs, *_ = vector.step(actions)

    return run


def plot(rates, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = list(next(iter(rates.values())))
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for i, (name, row) in enumerate(rates.items()):
        bars = axis.barh([k + 0.38 * i for k in range(len(labels))], list(row.values()), 0.36, label=name)
        axis.bar_label(bars, [f"{v:.3g}" for v in row.values()], padding=3)
    axis.set(xscale="log", yticks=[k + 0.19 for k in range(len(labels))], yticklabels=labels)
    axis.set(
        xlabel="CartPole-v1, steps per second", xlim=(None, 8 * max(max(r.values()) for r in rates.values()))
    )
    axis.invert_yaxis()
    axis.legend(title="policy", loc="lower right")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement")
    parser.add_argument("--out", default="out", help="folder of the plot and the page")
    options = parser.parse_args()
    envs, steps = options.envs, options.steps
    weights = make_weights()
    policies = {"random": (None, None), "4-64-64-2 tanh": (make_policy(weights), weights)}

    print(f"CartPole-v1, {envs} environments x {steps} steps, {tn.thread_count()} threads\n")
    rates = {}
    for name, (policy, layers) in policies.items():
        begun = time.perf_counter()
        e = tn.explain(tn.rollout, "CartPole-v1", policy, num_envs=envs, steps=steps, key=KEY)
        compiled = time.perf_counter() - begun
        print(f"policy {name}")
        print(f"  compiled     in {compiled:.2f} s: {e.launches} launch{'es' * (e.launches != 1)}, ", end="")
        print(f"{(e.bytes_read + e.bytes_written) / 1e3:.1f} KB moved, {e.bytes_least / 1e3:.1f} KB at least")
        worst, resets = check(policy, 4, 600)
        print(f"  checked      2400 steps, {resets} resets: within {worst:.1e} of gymnasium, flags the same")
        row = rates[name] = {
            "folded: one launch": rate(folded(policy, envs, steps), envs * steps, options.seconds),
            "unfolded: a launch a step": rate(unfolded(policy, envs, 50), envs * 50, options.seconds),
            "gymnasium SyncVectorEnv": rate(in_gymnasium(layers, 64, 20), 64 * 20, options.seconds),
        }
        slowest = min(row.values())
        for way, value in row.items():
            print(f"  {way:26} {value:14,.0f} steps/s  {value / slowest:8,.0f}x")
        out = tn.rollout("CartPole-v1", policy, num_envs=envs, steps=steps, key=KEY)
        mean = envs * steps / max(1, int(np.asarray(out.episodes).sum()))
        print(f"  an episode   lasts {mean:.1f} steps on average\n")

    folder = pathlib.Path(options.out)
    os.makedirs(folder, exist_ok=True)
    e = tn.explain(tn.rollout, "CartPole-v1", num_envs=envs, steps=steps, key=KEY)
    print("explain of the random rollout, its tile programs left out:\n")
    print(str(e).split("\ntenfold 1\n")[0].rstrip())
    e.html(str(folder / "cartpole.html"))
    plot(rates, folder / "cartpole.svg")
    print(f"\nwrote {folder / 'cartpole.svg'} (speeds) and {folder / 'cartpole.html'} (explain: graph, code)")


if __name__ == "__main__":
    main()
