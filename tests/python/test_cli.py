"""The tenfold command, as a shell runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenfold as tn

COMMAND = (
    os.environ.get("TENFOLD_COMMAND")
    or shutil.which("tenfold", path=str(Path(sys.executable).parent))
    or shutil.which("tenfold")
)
pytestmark = pytest.mark.skipif(not COMMAND, reason="the tenfold command is not installed here")

PROGRAM = """tenfold 1
graph main(x: f32[2,3], y: f32[3]) {
  %0 = broadcast(%y) shape=[2,3] axes=[1]
  %1 = mul(%x, %0)
  return %1
}
"""


def tenfold(*arguments):
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "product.ten"
    path.write_text(PROGRAM)
    return path


def test_run(program, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    np.save(tmp_path / "y.npy", np.float32([1, 10, 100]))
    done = tenfold(
        "run", program, "-i", f"x={tmp_path / 'x.npy'}", "-i", f"y={tmp_path / 'y.npy'}", "--check"
    )
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "f32[2,3] 0.0, 10.0, 200.0, 3.0, 40.0, 500.0",
        "result 0: differs from the interpreter by at most 0 (relative to |value| + the mean |value|); "
        "tolerance 0.000345",
    ]


def test_explain(program, tmp_path):
    done = tenfold("explain", program, "--html", tmp_path / "page.html")
    assert done.returncode == 0 and done.stdout.startswith(
        "launches     1\nclusters     1\nbytes        36 read, 24 written"
    )
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_loops_are_given(program):
    text = tenfold("explain", program).stdout
    loops = text.partition("  loops      ")[2].partition("\n")[0]
    assert "|" in loops and "  axes       " in text
    assert tenfold("run", "--loops", loops, program).stdout == tenfold("run", program).stdout
    done = tenfold("explain", "--loops", f"k0_mul={loops}", program)
    assert done.stdout.partition("\ncompiled")[0] == text.partition("\ncompiled")[0]
    done = tenfold("run", "--loops", "Q", program)
    assert done.returncode == 1 and done.stderr.startswith(
        "tenfold: loops of k0_mul: one bar is needed, but 0 came"
    )


def test_a_plan_is_replayed(program, tmp_path):
    plan = tmp_path / "plan.ten"
    done = tenfold("plan", program)
    assert done.returncode == 0 and done.stdout.startswith("tenfold 1\nplan seconds ")
    plan.write_text(done.stdout)
    assert tenfold("run", program, "--plan", plan).stdout == tenfold("run", program).stdout
    assert tenfold("plan", program, "--plan", plan).stdout == done.stdout
    assert tenfold("explain", program, "--plan", plan).stdout.startswith("launches     1\n")
    plan.write_text(done.stdout.replace("launch k0_mul(x, y", "launch k0_mul(x, x"))
    done = tenfold("run", program, "--plan", plan)
    assert done.returncode == 1 and done.stderr == (
        f"tenfold: {plan}:6:3: y of k0_mul is f32[3], but x is f32[2,3]\n"
    )
    done = tenfold("run", program, "--plan", plan, "--interpret")
    assert done.returncode == 1


def test_a_check_fails(program, tmp_path):
    plan = tmp_path / "plan.ten"
    text = tenfold("plan", program).stdout
    assert " = mul " in text or "mul(" in text
    plan.write_text(text.replace("= mul", "= div"))
    done = tenfold("run", program, "--plan", plan, "--check")
    assert done.returncode == 1 and "tolerance 0.000345\n" in done.stdout
    assert done.stderr == (
        "tenfold: the check failed: result 0 differs from the interpreter's by more than the tolerance\n"
    )
    assert tenfold("run", program, "--plan", plan, "--check", "--tolerance", "1e9").returncode == 0
    assert "--tolerance" in tenfold("run", program, "--tolerance", "-1", "--check").stderr
    assert tenfold("run", program, "--plan", plan, "--tolerance", "1").returncode != 0  # needs --check


def test_a_check_is_relative_to_the_result(tmp_path):
    softmax = Path(__file__).parents[2] / "examples" / "softmax.ten"
    plan = tmp_path / "plan.ten"
    text = tenfold("plan", softmax).stdout
    assert "= div" in text
    plan.write_text(text.replace("= div", "= mul"))
    assert tenfold("run", softmax, "--plan", plan, "--check", "-s", "n=5").returncode == 1
    assert tenfold("run", softmax, "--check", "-s", "n=5").returncode == 0


def test_symbols(tmp_path):
    softmax = Path(__file__).parents[2] / "examples" / "softmax.ten"
    rows = tmp_path / "x.npy"
    np.save(rows, np.zeros((5, 1024), np.float32))

    def message(*arguments):
        done = tenfold("run", softmax, *arguments)
        assert done.returncode == 1
        return done.stderr

    for n in -4, 0, 99999999999:
        assert message("-s", f"n={n}") == f"tenfold: n is {n}, but it goes from 1 to 1048576\n"
    assert message("-s", "m=3") == (
        "tenfold: -s m=3: the program's parameters have no symbol m; theirs are n\n"
    )
    assert message("-s", "n=7", "-i", f"x={rows}") == (
        "tenfold: n is 5 in x, which is f32[5,1024], but 7 elsewhere: by -s or in another input\n"
    )
    assert "is not an integer of 64 bits" in message("-s", "n=99999999999999999999")
    assert tenfold("run", softmax, "-s", "n=5", "-i", f"x={rows}").returncode == 0
    np.save(rows, np.zeros((0, 1024), np.float32))
    assert message("-i", f"x={rows}") == (
        "tenfold: n is 0 in x, which is f32[0,1024], but it goes from 1 to 1048576\n"
    )


def test_inputs_bind_what_is_drawn(tmp_path):
    program, rows = tmp_path / "add.ten", tmp_path / "x.npy"
    program.write_text(
        "tenfold 1\nsymbol n in 0..1099511627776 hint 8\n"
        "graph main(y: f32[n], x: f32[n]) {\n  %0 = add(%x, %y)\n  return %0\n}\n"
    )
    np.save(rows, np.zeros(3, np.float32))
    assert tenfold("run", program, "-i", f"x={rows}").stdout.startswith("f32[3] ")
    assert "there is not enough memory" in tenfold("run", program, "-s", f"n={2**40}").stderr


@pytest.mark.parametrize(("option", "value"), [("--repeat", 0), ("--repeat", -1), ("--seed", -1)])
@pytest.mark.parametrize("command", ["run", "rollout"])
def test_counts(program, command, option, value):
    what = program if command == "run" else "CartPole-v1"
    done = tenfold(command, what, f"{option}={value}")
    assert done.returncode != 0 and option in done.stderr and "not in range" in done.stderr


def test_no_such_command():
    done = tenfold("bogus")
    assert done.returncode == 1 and done.stderr == (
        'tenfold: there is no command "bogus"; the commands are run, explain, plan, probe, knobs, rollout, devices\n'
    )


def test_bad_programs(program, tmp_path):
    program.write_text(PROGRAM.replace("mul(%x, %0)", "mul(%x, %y)"))
    done = tenfold("run", program)
    assert done.returncode == 1 and f"{program}:4:" in done.stderr and "mul" in done.stderr
    assert (
        tenfold("run", tmp_path / "absent.ten").stderr == f"tenfold: cannot open {tmp_path / 'absent.ten'}\n"
    )


def test_files_that_are_no_graphs(program):
    program.write_text(PROGRAM.removeprefix("tenfold 1\n"))
    assert (
        tenfold("run", program).stderr
        == f"tenfold: {program}:1:1: the first line must be the header 'tenfold 1'\n"
    )
    program.write_text("tenfold 1\nkernel k(x: f32[3], out y: f32[3]) {}\n")
    assert tenfold("run", program).stderr == (
        f"tenfold: {program}:2:1: a tile program is not a graph: kernels run as parts of a plan, beside its graph\n"
    )


def test_bad_arguments(program, tmp_path):
    program.write_text(PROGRAM)
    np.save(tmp_path / "y.npy", np.float64([1, 10]))
    assert (
        "parameter y is f32[3], but f64[2] came\n"
        in tenfold("run", program, "-i", f"y={tmp_path / 'y.npy'}").stderr
    )
    assert (
        "the program has no parameter z; its parameters are x, y"
        in tenfold("run", program, "-i", f"z={tmp_path / 'y.npy'}").stderr
    )
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff")
    assert (
        "is not a NumPy file that can be read"
        in tenfold("run", program, "-i", f"y={tmp_path / 'bad.npy'}").stderr
    )


def test_version():
    assert tenfold("--version").stdout == f"tenfold {tn.__version__}\n"


def test_knobs():
    assert "TENFOLD_THREADS" in tenfold("knobs").stdout


@pytest.mark.parametrize("device", ["cpu", "opencl:0"])
def test_probe(device):
    done = tenfold("probe", "--device", device)
    if device != "cpu" and done.returncode == 3 and "device" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    rows = ["memory", "arithmetic", "launch" if device != "cpu" else "fork"]
    for name in rows:
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        measured, record, _, ratio = line.split()[-4:]
        assert float(measured) > 0 and float(record) > 0 and float(ratio) > 0
    assert "record " in done.stdout and "TENFOLD_MACHINE" in done.stdout


def test_probe_of_no_device():
    done = tenfold("probe", "--device", "opencl:99")
    assert done.returncode != 0 and "opencl:99" in done.stderr


def test_devices(program):
    done = tenfold("devices")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0].startswith("cpu ")
    assert any(line.startswith("cuda") for line in lines)
    opencl = next(line for line in lines if line.startswith("opencl"))
    assert tenfold("run", program, "--device", "tpu").stderr.startswith('tenfold: there is no device "tpu"')
    if not opencl.startswith("opencl:0"):
        pytest.skip(opencl)
    done = tenfold("run", program, "--device", "opencl:0", "--check")
    assert done.returncode == 0 and "differs from the interpreter by at most 0 " in done.stdout
    assert "device       opencl:0" in tenfold("explain", program, "--device", "opencl").stdout


def test_a_graph_comes_from_python(program):
    e = tn.explain(lambda x, y: x * y, np.ones((2, 3), "f4"), np.ones(3, "f4"))
    program.write_text(e.graph)
    done = tenfold("run", program, "--check")
    assert done.returncode == 0 and done.stdout.startswith("f32[2,3] "), done.stderr


def test_the_example(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "softmax.ten"
    done = tenfold("run", example, "--check")
    assert done.returncode == 0 and "differs from the interpreter by at most" in done.stdout, done.stderr
    assert tenfold("explain", example).stdout.startswith("launches     1\n")
    plan = tmp_path / "plan.ten"
    plan.write_text(tenfold("plan", example).stdout)
    assert tenfold("run", example, "--plan", plan).stdout == tenfold("run", example).stdout
