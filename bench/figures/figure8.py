"""f32 matrix products against the best library at each shape."""

from harness import Row, geomean, interleave, ratio
from peers import products

TITLE = "Matrix products (GFLOP/s)"


def against(figure, peers, cases, label):
    """Rows of each contender's rate, and of tenfold's over the best peer's: these with the case, the ratio
    and tenfold's seconds."""
    for case in cases:
        check = lambda _, outputs, case=case: products.check(case, outputs)
        timings = interleave(peers, case, check, rounds=3, seconds=0.1, pause=0.3)
        for name, t in timings.items():
            yield Row(figure, f"{label(case)}, {name}", t.units / t.seconds / 1e9, "GFLOP/s"), None
        peer = min((n for n in timings if n != "tenfold"), key=lambda n: timings[n].seconds, default=None)
        found = ratio(timings, "tenfold", peer)
        row = Row(figure, f"{label(case)}, tenfold / {peer}", found, "x")
        yield row, (case, found, timings["tenfold"].seconds)


def measure(peers):
    contenders = {"tenfold": peers["tenfold"], "torch": peers["torch_"], "NumPy": peers["numpy_"]}
    ratios = []
    cases = [{"work": "product", "shape": shape} for shape in products.SHAPES]
    for row, found in against(8, contenders, cases, lambda c: " x ".join(map(str, c["shape"]))):
        yield row
        if found:
            ratios.append(found[1])
    yield Row(8, "geometric mean, tenfold / best library", geomean(ratios), "x", 0.95)
    yield Row(8, "worst", min(ratios), "x", 0.75)
