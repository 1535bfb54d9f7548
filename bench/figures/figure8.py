"""f32 matrix products against the best library at each shape; frozen: the second operand is captured."""

from harness import Row, geomean, interleave, rates, ratio
from peers import products

TITLE = "Matrix products (GFLOP/s)"
FROZEN = "tenfold, frozen"


def against(figure, peers, cases, label, peak=None):
    """Rows of each contender's rate, and of ours over the best peer's: these with who, the case, the ratio
    and our seconds."""
    for case in cases:
        check = lambda _, outputs, case=case: products.check(case, outputs)
        asked = {name: {**case, "frozen": name == FROZEN} for name in peers}
        timings = interleave(peers, asked, check, rounds=3, seconds=0.1, pause=0.3)
        for row in rates(figure, label(case), timings, "GFLOP/s", peak):
            yield row, None
        others = [n for n in timings if not n.startswith("tenfold")]
        peer = min(others, key=lambda n: timings[n].seconds, default=None)
        for name in timings:
            if name in others:
                continue
            found = ratio(timings, name, peer)
            row = Row(figure, f"{label(case)}, {name} / {peer}", found, "x")
            yield row, (name, case, found, timings[name].seconds)


def measure(peers):
    contenders = {
        "tenfold": peers["tenfold0"],
        FROZEN: peers["tenfold1"],
        "torch": peers["torch_"],
        "NumPy": peers["numpy_"],
    }
    ratios = {"tenfold": [], FROZEN: []}
    cases = [{"work": "product", "shape": shape} for shape in products.SHAPES]
    peak = peers["hand2"].call("machine")["peak_gflops"]
    yield Row(8, "peak, f32 multiply-adds", peak, "GFLOP/s")
    for row, found in against(8, contenders, cases, lambda c: " x ".join(map(str, c["shape"])), peak):
        yield row
        if found:
            ratios[found[0]].append(found[2])
    for name, least in (("tenfold", 0.95), (FROZEN, 1.05)):
        yield Row(8, f"geometric mean, {name} / best library", geomean(ratios[name]), "x", least)
        yield Row(8, f"worst, {name}", min(ratios[name]), "x", 0.75)
