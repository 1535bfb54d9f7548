"""Products of other scalars: complex64 and dual numbers against MKL (torch), min-plus against a loop by hand.

A dual product, (a b, a db + da b), is three real products. torch computes it by real ones, the quicker of
mm(a, b), addmm(mm(a, db), da, b) and of two calls where b and db already lie side by side. The loop by hand
lets a NaN win, as min-plus does.
"""

from harness import Row, against_best, geomean
from peers import scalars

TITLE = "Products of other scalars (G terms/s)"
LEAST = {"complex": ("torch", 1.0), "dual": ("torch", 1.3), "min-plus": ("hand", 0.9)}


def measure(peers):
    for scalar, (peer, least) in LEAST.items():
        contenders, ratios = {"tenfold": peers["tenfold"], peer: peers[peer]}, []
        for n in scalars.CUBES:
            case = scalars.case(scalar, n, n, n)
            check = lambda _, outputs, case=case: scalars.check(case, outputs)
            how = {"rounds": 3, "seconds": 0.1, "pause": 0.3}
            rows = against_best(15, scalars.label(case), contenders, case, check, "G terms/s", **how)
            yield from rows
            ratios.append(rows[-1].value)
        yield Row(15, f"{scalar}, geometric mean, tenfold / {peer}", geomean(ratios), "x", least)
