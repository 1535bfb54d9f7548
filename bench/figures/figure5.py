"""K steps in one launch against one launch a step: what explain predicts against what is measured."""

import numpy as np
from harness import Row, Unavailable, interleave, note, ratio

TITLE = "K steps in one launch against one launch a step"
SIZES = [2**n for n in range(8, 21, 3)]
STATES = (16, 256, 4096, 65536)  # bytes an environment
LIMIT = 2 << 30  # bytes of all states
WORK = 2**26  # words of state stepped a run, about


def measure(peers):
    rows, errors = [], []
    for state in STATES:
        for envs in SIZES:
            if envs * state > LIMIT:
                continue
            steps = int(np.clip(WORK * 4 // (envs * state), 16, 8192))
            case = {"work": "scan", "envs": envs, "state_bytes": state, "steps": steps}
            cases = {"folded": {**case, "folded": True}, "single": {**case, "folded": False}}
            try:
                timings = interleave(
                    {"folded": peers["tenfold"], "single": peers["tenfold2"]}, cases, rounds=5
                )
                measured = ratio(timings, "folded", "single")
                predicted = peers["tenfold"].call(
                    "scan_prediction", envs=envs, state_bytes=state, steps=steps
                )
            except Unavailable as error:
                note(f"figure 5: {error}")
                return [Row(5, "prediction within 25 %", None, "", 1.25, at_least=False)]
            if measured is None:
                return [Row(5, "prediction within 25 %", None, "", 1.25, at_least=False)]
            errors.append(max(predicted / measured, measured / predicted))
            rows.append(
                Row(5, f"{envs} x {state} B, {steps} steps", measured, "x", detail={"predicted": predicted})
            )
    rows.append(
        Row(5, "worst of predicted and measured, one over the other", max(errors), "x", 1.25, at_least=False)
    )
    return rows
