"""What the instructions of the hand-written CartPole loop allow: `python bench/mix.py` prints the count.

The parts of a step are functions of their own in bench/hand/mix.cc. Every x86 core so far starts at most
two 512-bit arithmetic instructions a cycle, so half their number is a bound in cycles; llvm-mca knows the
ports of each instruction, but takes a 512-bit logic operation of Zen 4 for one of four a cycle. A part is
bound by the greater of the two. Measured on Zen 4: a Philox round runs at 1.99 a cycle; 24 multiply-adds
and a division take 26 cycles.

A step of 16 environments = one step + a quarter of a block of actions + a reset where some lane is done.
"""

import re
import subprocess
import sys

import hand

LANES, STEPS_A_BLOCK, ARITHMETIC_A_CYCLE = 16, 4, 2
EPISODE = 22.4  # steps, of the random policy
PARTS = ("step", "block", "reset")


def _assembly(path, function):
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", "--no-addresses", f"--disassemble={function}", path],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [line.strip() for line in text.splitlines() if re.match(r"\s+[a-z]", line)]


def _is_arithmetic(line):
    # The loop keeps constants in registers.
    moves = r"(vmov(d?q?[au]|[au]p[sd]|dq[au]|nt)\S*|vp?broadcast\S*)\s"
    return ("zmm" in line or "%k" in line) and not re.match(moves, line)


def _mca(lines):
    code = "\n".join(x for x in lines if not x.startswith(("ret", "call", "j", "nop", "endbr")))
    try:
        out = subprocess.run(
            ["llvm-mca-19", "-mcpu=native"], input=code, capture_output=True, text=True, check=True
        ).stdout
        return float(re.search(r"Block RThroughput:\s*([\d.]+)", out)[1])
    except (OSError, subprocess.CalledProcessError, TypeError):
        return None


def cycles_a_step():
    """Bounds in cycles: of the parts for 16 environments, and "step" for one environment."""
    path = hand.loops()._name
    counts, mca = {}, {}
    for part in PARTS:
        lines = _assembly(path, f"hand_mix_{part}")
        counts[part], mca[part] = sum(map(_is_arithmetic, lines)), _mca(lines)
    some_done = 1 - (1 - 1 / EPISODE) ** LANES
    total = lambda of: of["step"] + of["block"] / STEPS_A_BLOCK + of["reset"] * some_done
    bounds = {part: max(counts[part] / ARITHMETIC_A_CYCLE, mca[part] or 0) for part in PARTS}
    return {"instructions": counts, "mca": mca, "some lane done": some_done, "step": total(bounds) / LANES}


if __name__ == "__main__":
    print(cycles_a_step(), file=sys.stdout)
