"""From a traced encoder to machine code: one layer, twelve, and from the disk cache."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from harness import Row, note

TITLE = "Planning and compiling (ms)"
SCRIPT = pathlib.Path(__file__).parent.parent / "peers/planning.py"
TARGETS = {1: 400, 12: 700}


def fresh(library, depth, cache):
    kept = {"TENFOLD_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    result = subprocess.run([sys.executable, str(SCRIPT), library, str(depth)], capture_output=True,
                            text=True, env={**os.environ, **kept}, check=False)  # fmt: skip
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return json.loads(result.stdout.splitlines()[-1]) * 1e3


def measure(peers):
    for library, runs in (("tenfold", 5), ("torch", 1)):
        for depth, target in TARGETS.items():
            label = f"{depth} layer{'s' * (depth > 1)}"
            try:
                cold, warm = [], []
                for _ in range(runs):
                    with tempfile.TemporaryDirectory() as cache:
                        cold.append(fresh(library, depth, cache))
                        warm.append(fresh(library, depth, cache))
            except RuntimeError as error:
                note(f"left out: {library}: {error}")
                continue
            ours = library == "tenfold"
            yield Row(11, f"{label}, {library}", float(np.median(cold)), "ms",
                      target if ours else None, at_least=False)  # fmt: skip
            yield Row(11, f"{label}, from the disk cache, {library}", float(np.median(warm)), "ms",
                      50 if ours else None, at_least=False)  # fmt: skip
