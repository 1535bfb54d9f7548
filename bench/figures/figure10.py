"""Layers with frozen weights, against torch.compile with freezing; of f32, and of bf16."""

from harness import Row, geomean, interleave, ratio
from peers import layers

TITLE = "Layers (GFLOP/s)"


def measure(peers):
    for half, dtype in ((False, "f32"), (True, "bf16")):
        yield from _layers(peers, half, dtype)


def _layers(peers, half, dtype):
    contenders = {"tenfold": peers["tenfold"], "torch.compile": peers["torch_"]}
    cases = [({"work": "linear", "shape": s, "half": half},
              "{}: linear + bias + GELU + residual, {} x {} x {}".format(dtype, *s))
             for s in layers.LINEAR]  # fmt: skip
    cases.append(({"work": "encoder", "half": half}, f"{dtype}: encoder layer, {layers.TOKENS} tokens"))
    linear = []
    for case, label in cases:
        check = lambda _, outputs, case=case: layers.check(case, outputs)
        timings = interleave(contenders, case, check, rounds=5, seconds=0.2, pause=0.3)
        for name, t in timings.items():
            yield Row(10, f"{label}, {name}", t.units / t.seconds / 1e9, "GFLOP/s")
        found = ratio(timings, "tenfold", "torch.compile")
        if case["work"] == "linear":
            linear.append(found)
            yield Row(10, f"{label}, tenfold / torch.compile", found, "x")
        else:
            yield Row(
                10, f"{dtype}: linear, geometric mean, tenfold / torch.compile", geomean(linear), "x", 1.2
            )
            yield Row(10, f"{label}, tenfold / torch.compile", found, "x", 1.15)
