"""Attention written with einsum and softmax, against PyTorch's fused kernel; of f32, and of bf16.

Rates count every score, whether a mask hides it or not.
"""

from harness import Row, geomean
from peers import products

from . import figure8

TITLE = "Attention (GFLOP/s)"
LONG = 2048  # from here on, what a causal mask hides is half of all


def measure(peers):
    contenders = {"tenfold": peers["tenfold"], "torch": peers["torch_"]}
    for half, dtype in ((False, "f32"), (True, "bf16")):
        yield from _attention(contenders, half, dtype)


def _attention(contenders, half, dtype):
    cases = [
        {"work": "attention", "shape": shape, "causal": causal, "half": half}
        for shape in products.ATTENTION
        for causal in (False, True)
    ]

    def label(case):
        heads, n, d = case["shape"]
        return f"{dtype}: {heads} heads, n {n}, d {d}" + ", causal" * case["causal"]

    ratios, seconds = {False: [], True: []}, {}
    for row, found in figure8.against(9, contenders, cases, label):
        yield row
        if found:
            _, case, ratio, taken = found
            ratios[case["causal"]].append(ratio)
            seconds[case["shape"], case["causal"]] = taken
    gains = [seconds[s, False] / seconds[s, True] for s in products.ATTENTION if s[1] >= LONG]
    yield Row(9, f"{dtype}: full, geometric mean, tenfold / torch", geomean(ratios[False]), "x", 1.15)
    yield Row(9, f"{dtype}: causal, geometric mean, tenfold / torch", geomean(ratios[True]), "x", 1.15)
    yield Row(9, f"{dtype}: causal / full, worst from n = {LONG}", min(gains), "x", 1.8)
