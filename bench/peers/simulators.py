"""CartPole as others ship it: EnvPool and gymnasium; config["kind"] picks one; actions are random."""

import numpy as np
from harness import Prepared


def prepare(case):
    kind = case["config"]["kind"]
    return {"envpool": _envpool, "sync": _gymnasium, "vector": _gymnasium}[kind](case)


def _envpool(case):
    """config: threads, batch (environments answered a call, of `envs`), chunk of actions drawn ahead."""
    import envpool

    envs, steps, config = case["envs"], case["steps"], case["config"]
    batch = config.get("batch", envs)
    pool = envpool.make_gymnasium(
        "CartPole-v1",
        num_envs=envs,
        batch_size=batch,
        num_threads=config["threads"],
        seed=7,
        max_episode_steps=500,
    )
    actions = np.random.default_rng(0).integers(0, 2, (64, batch)).astype("i4")
    returns, episodes = np.zeros(envs), np.zeros(envs, "i4")
    pool.async_reset()

    def run():
        for t in range(steps * envs // batch):
            _, reward, terminated, truncated, info = pool.recv()
            ids = info["env_id"]
            returns[ids] += reward
            episodes[ids] += terminated | truncated
            pool.send(actions[t % 64], ids)

    return Prepared(run, lambda: {"returns": returns, "episodes": episodes}, steps * envs // batch * batch)


def _gymnasium(case):
    import gymnasium

    envs, steps = case["envs"], case["steps"]
    mode = {"sync": "sync", "vector": "vector_entry_point"}[case["config"]["kind"]]
    vector = gymnasium.make_vec("CartPole-v1", num_envs=envs, vectorization_mode=mode)
    vector.reset(seed=7)
    random = np.random.default_rng(0)
    returns, episodes = np.zeros(envs), np.zeros(envs, "i4")

    def run():
        actions = random.integers(0, 2, (steps, envs))
        for t in range(steps):
            _, reward, terminated, truncated, _ = vector.step(actions[t])
            np.add(returns, reward, out=returns)
            np.add(episodes, terminated | truncated, out=episodes)

    return Prepared(run, lambda: {"returns": returns, "episodes": episodes}, steps * envs)
