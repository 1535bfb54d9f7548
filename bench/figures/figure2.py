"""The same against a hand-written loop, and that loop against what its instructions allow."""

import mix
from harness import Row, interleave, ratio

from . import cartpole, check_folded
from .figure1 import ENVS, STEPS

TITLE = "CartPole against hand-written loops"


def measure(peers):
    case = cartpole("random", ENVS, STEPS)
    contenders = {"tenfold": peers["tenfold"], "hand": peers["hand"], "packed": peers["hand2"]}
    cases = {"tenfold": case, "hand": case, "packed": cartpole("random", ENVS, STEPS, packed=True)}
    timings = interleave(contenders, cases, check_folded(22, 23), rounds=9)
    hand = timings["hand"]
    allowed = mix.cycles_a_step()
    cycles = peers["hand2"].call("cycles_a_step")
    return [
        Row(2, "hand loop", hand.rate / 1e6, "M steps/s", detail={"best": hand.units / hand.best / 1e6}),
        Row(2, "hand loop / what its instructions allow", allowed["step"] / cycles, "", 0.8,
            detail={"cycles": cycles, **allowed}),
        Row(2, "tenfold / hand loop", ratio(timings, "tenfold", "hand"), "x", 0.9),
        Row(2, "hand loop, packed resets", timings["packed"].rate / 1e6, "M steps/s"),
        Row(2, "tenfold / hand loop, packed resets", ratio(timings, "tenfold", "packed"), "x"),
    ]  # fmt: skip
