"""A few rows times large frozen weights, in copies that exceed the caches: what is read decides."""

from harness import Row, interleave, ratio
from peers import few_rows

TITLE = "Few rows of 4096 x 4096 weights (GB/s of the weights in f32)"
NARROW = {"int8": 3, "4 bits": 5}  # against our own f32


def measure(peers):
    for rows in few_rows.ROWS:
        contenders = {f"tenfold {k}": peers[f"tenfold{i}"] for i, k in enumerate(few_rows.KINDS)}
        cases = {f"tenfold {k}": {"work": "few_rows", "rows": rows, "kind": k} for k in few_rows.KINDS}
        for i, kind in enumerate(few_rows.LIBRARY):
            contenders[f"torch {kind}"] = peers[f"torch{i}"]
            cases[f"torch {kind}"] = {"work": "few_rows", "rows": rows, "kind": kind}
        check = lambda name, outputs, rows=rows: few_rows.check(rows, name, outputs)
        timings = interleave(contenders, cases, check, rounds=3, seconds=0.15, pause=0.3)
        for name, t in timings.items():
            yield Row(12, f"{rows} x 4096 x 4096, {name}", t.units / t.seconds / 1e9, "GB/s")
        for kind in few_rows.LIBRARY:
            found = ratio(timings, f"tenfold {kind}", f"torch {kind}")
            yield Row(12, f"{rows} rows, {kind}, tenfold / torch", found, "x", 1.0)
        for kind, target in NARROW.items():
            found = ratio(timings, f"tenfold {kind}", "tenfold f32")
            yield Row(12, f"{rows} rows, {kind} / f32", found, "x", target)
