"""One module a contender: prepare(case) -> harness.Prepared.

Cases are dicts with "work": "cartpole" (envs, steps, policy: "random" | "relu" | "tanh", emit: bool,
config: dict) or "op" (op, bytes), the set of bench/peers/ops.py.
"""

import itertools

import numpy as np


def policy_weights():
    """w1, b1, w2, b2, w3, b3 of the 4-64-64-2 policy, w[in, out]: the same for every contender."""
    random = np.random.default_rng(0)
    sizes = (4, 64, 64, 2)
    out = []
    for a, b in itertools.pairwise(sizes):
        out += [random.normal(0, (2 / a) ** 0.5, (a, b)).astype("f4"), random.normal(0, 0.1, b).astype("f4")]
    return out
