"""All shortest paths of a directed graph by repeated squaring over (min, +): log2(n) contractions.

python examples/shortest_paths.py [--nodes 512]
"""

import argparse
import math
import time

import numpy as np

import tenfold as tn


def shortest_paths(lengths):
    """f32[n, n]: the length of the shortest path from i to j; inf where there is none.

    lengths  f32[n, n]  of the edges; inf where there is none, 0 on the diagonal, no cycle below 0
    """
    paths = lengths  # of at most one edge; twice as many in each turn
    for _ in range(math.ceil(math.log2(max(2, lengths.shape[0] - 1)))):
        paths = tn.contract("ik,kj->ij", paths, paths, operator=tn.min_plus)
    return paths


def floyd_warshall(lengths):
    """The same in plain NumPy: each node in turn as a stop on the way."""
    paths = lengths.copy()
    for k in range(len(paths)):
        paths = np.minimum(paths, paths[:, k, None] + paths[k])
    return paths


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=512)
    n = parser.parse_args().nodes
    rng = np.random.default_rng(0)
    # Whole lengths: their sums are exact, in any order.
    lengths = np.where(rng.random((n, n)) < 4 / n, rng.integers(1, 100, (n, n)), np.inf).astype(np.float32)
    np.fill_diagonal(lengths, 0)
    find = tn.jit(shortest_paths)
    find(lengths).numpy()  # compiled here
    start = time.perf_counter()
    paths = find(lengths).numpy()
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    assert np.array_equal(paths, floyd_warshall(lengths))
    plain = time.perf_counter() - start
    found = paths[np.isfinite(paths)]
    print(f"{n} nodes, {found.size / n**2:.0%} of all pairs connected, the longest path {found.max():.0f}")
    print(
        f"tenfold {seconds * 1e3:.1f} ms, Floyd-Warshall in NumPy {plain * 1e3:.1f} ms; the results are equal"
    )


if __name__ == "__main__":
    main()
