"""Overheads: import, first kernels, the disk cache, a warm call from Python."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from harness import Row, note

TITLE = "Overheads"
RUNS = {"tenfold": 7, "jax": 5, "torch": 2}
SCALE = {"import": (1e3, "ms"), "first": (1e3, "ms"), "second": (1e3, "ms"), "third": (1e3, "ms"),
         "first, cached": (1e3, "ms"), "cached": (1e3, "ms"), "call": (1e6, "us")}  # fmt: skip
TARGETS = {"import": 60, "first": 40, "third": 10, "cached": 2, "call": 3}
SCRIPT = pathlib.Path(__file__).parent.parent / "peers/overheads.py"


def fresh(library, **environment):
    result = subprocess.run([sys.executable, str(SCRIPT), library], capture_output=True, text=True,
                            env={**os.environ, **environment}, check=False)  # fmt: skip
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return json.loads(result.stdout.splitlines()[-1])


def measure(peers):
    rows = []
    for library, runs in RUNS.items():
        seen = []
        try:
            for _ in range(runs):
                with tempfile.TemporaryDirectory() as cache:
                    kept = {"TENFOLD_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
                    times = fresh(library, **kept)
                    if library == "tenfold":
                        again = fresh(library, **kept)
                        times |= {"first, cached": again["first"], "cached": again["third"]}
                    seen.append(times)
        except RuntimeError as error:
            note(f"left out: {library}: {error}")
        for name, (scale, unit) in SCALE.items():
            if not seen and library != "tenfold":
                continue
            if "cached" in name and library != "tenfold":
                continue
            value = float(np.median([s[name] for s in seen])) * scale if seen else None
            target = TARGETS.get(name) if library == "tenfold" else None
            rows.append(Row(7, f"{name}, {library}", value, unit, target, at_least=False))
    return rows
