"""bf16 matrix products against oneDNN (torch.mm); frozen: the second operand is captured."""

from harness import Row, geomean, interleave, ratio
from peers import scalars

TITLE = "Products of bf16 (GFLOP/s)"
FROZEN = "tenfold, frozen"


def measure(peers):
    contenders = {"tenfold": peers["tenfold0"], FROZEN: peers["tenfold1"], "torch": peers["torch"]}
    ratios = {"tenfold": [], FROZEN: []}
    for shape in scalars.HALF_SHAPES:
        case = scalars.case("bf16", *shape)
        check = lambda _, outputs, case=case: scalars.check(case, outputs)
        asked = {name: {**case, "frozen": name == FROZEN} for name in contenders}
        timings = interleave(contenders, asked, check, rounds=3, seconds=0.1, pause=0.3)
        for name, t in timings.items():
            yield Row(16, f"{scalars.label(case)}, {name}", 2 * t.rate / 1e9, "GFLOP/s")
        for name, found in ratios.items():
            found.append(ratio(timings, name, "torch"))
            yield Row(16, f"{scalars.label(case)}, {name} / torch", found[-1], "x")
    for name, found in ratios.items():
        yield Row(16, f"geometric mean, {name} / torch", geomean(found), "x", 1.0)
