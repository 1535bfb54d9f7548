"""Attention in five lines of tensor code, and what becomes of it: its launches, costs, and why.

One launch where the planner's model says that it is faster, as for 1024 tokens; two for 256, whose
scores are cheaper to keep.

python examples/attention.py [--tokens 1024] [--page attention.html]
"""

import argparse
import time

import numpy as np

import tenfold as tn


def attention(q, k, v):
    """f32[heads, n, d] each; every query meets every key."""
    scores = tn.einsum("hqd,hkd->hqk", q, k) * q.shape[-1] ** -0.5
    e = tn.exp(scores - tn.max(scores, axis=-1, keepdims=True))
    return tn.einsum("hqk,hkd->hqd", e / tn.sum(e, axis=-1, keepdims=True), v)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--page", help="write explain's page there")
    options = parser.parse_args()
    q, k, v = (tn.random.normal(tn.random.key(i), (8, options.tokens, 64)) for i in range(3))
    explained = tn.explain(attention, q, k, v)
    attend = tn.jit(attention)
    np.asarray(attend(q, k, v))
    start = time.perf_counter()
    np.asarray(attend(q, k, v))
    seconds = time.perf_counter() - start
    flops = 4 * 8 * options.tokens**2 * 64
    moved = (explained.bytes_read + explained.bytes_written) / 1e6
    least = explained.bytes_least / 1e6
    print(f"launches {explained.launches}, {moved:.1f} MB beyond the cache of a core (least {least:.1f})")
    print(f"{seconds * 1e3:.1f} ms, {flops / seconds / 1e9:.0f} GFLOP/s")
    if options.page:
        explained.html(options.page)


if __name__ == "__main__":
    main()
