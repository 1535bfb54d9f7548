"""Products of 8 bits with frozen weights, requantised to 8 bits, against oneDNN (torch) and ONNX Runtime."""

from harness import Row, against_best, geomean
from peers import narrow

TITLE = "Products of 8 bits (GOP/s)"


def measure(peers):
    contenders = {"tenfold": peers["tenfold"], "torch": peers["torch"], "ONNX Runtime": peers["onnx"]}
    ratios = []
    for case in narrow.cases():
        check = lambda _, outputs, case=case: narrow.check(case, outputs)
        how = {"rounds": 3, "seconds": 0.1, "pause": 0.1}
        rows = against_best(14, narrow.label(case), contenders, case, check, "GOP/s", **how)
        yield from rows
        ratios.append(rows[-1].value)
    found = [r for r in ratios if r]
    yield Row(14, "geometric mean, tenfold / best", geomean(found), "x", 1.0)
    yield Row(14, "worst", min(found, default=None), "x", 0.7)
