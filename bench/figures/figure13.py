"""Convolutions of ResNet-50, MobileNetV2 (depthwise) and U-Net (transposed) with frozen weights, one image,
f32, against the best of oneDNN (torch) and ONNX Runtime: the fastest layout of each counts."""

from harness import Row, against_best, geomean
from peers import windows

TITLE = "Convolutions (GFLOP/s)"


def measure(peers):
    contenders = {
        "tenfold": peers["tenfold0"],
        "tenfold, channels last": peers["tenfold1"],
        "torch": peers["torch"],
        "ONNX Runtime": peers["onnx"],
    }
    peak = peers["hand2"].call("machine")["peak_gflops"]
    yield Row(13, "peak, f32 multiply-adds", peak, "GFLOP/s")
    for kind, fused, target in (("plain", False, 1.0), ("with bias and ReLU", True, 1.2)):
        ratios = []
        for case in windows.cases(fused):
            asked = {name: case | {"channels_last": "last" in name} for name in contenders}
            want = windows.reference(case)
            check = lambda _, outputs, case=case, want=want: windows.check(case, outputs, want)
            how = {"peak": peak, "rounds": 3, "seconds": 0.05, "pause": 0.1}
            rows = against_best(13, windows.label(case), contenders, asked, check, "GFLOP/s", **how)
            yield from rows
            ratios.append((case["kind"], rows[-1].value))
        for family in ("conv", "depthwise", "transposed"):
            found = geomean(r for k, r in ratios if k == family)
            yield Row(13, f"{family}, {kind}, geometric mean, tenfold / best", found, "x")
        found = [r for _, r in ratios if r]
        yield Row(13, f"{kind}, geometric mean, tenfold / best", geomean(found), "x", target)
        yield Row(13, f"{kind}, worst", min(found, default=None), "x", 0.7)
