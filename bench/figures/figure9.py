"""Attention written with einsum and softmax, against PyTorch's fused kernel (f32)."""

from harness import Row, geomean
from peers import products

from . import figure8

TITLE = "Attention (GFLOP/s)"


def measure(peers):
    contenders = {"tenfold": peers["tenfold"], "torch": peers["torch_"]}
    cases = [{"work": "attention", "shape": shape} for shape in products.ATTENTION]
    ratios = []
    label = "{} heads, n {}, d {}".format
    for row, found in figure8.against(9, contenders, cases, lambda c: label(*c["shape"])):
        yield row
        if found:
            ratios.append(found)
    yield Row(9, "geometric mean, tenfold / torch", geomean(ratios), "x", 1.15)
