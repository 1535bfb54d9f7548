"""What README.md shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

import tenfold as tn

README = Path(__file__).parents[2] / "README.md"


def test_the_blocks_run_in_their_order(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    *blocks, devices = blocks
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    x = names["x"].numpy()
    assert names["dw"].shape == (1024, 8) and names["norms"].shape == (64,)
    np.testing.assert_allclose(names["total"].numpy(), x.sum(0), rtol=1e-4)
    np.testing.assert_array_equal(names["f"](names["x"]).numpy(), 2 * x)
    np.testing.assert_allclose(names["rows"](x).numpy(), names["fast"](x).numpy(), rtol=1e-5)
    assert names["g"].versions == 1
    assert "launches" in capsys.readouterr().out
    exec(compile(devices.replace("opencl:0", "cpu"), str(README), "exec"), names)  # which every machine has
    np.testing.assert_allclose(names["y"].numpy().sum(1), 1, rtol=1e-5)


def test_indices_out_of_range_and_donated_arguments():
    """As README.md says."""
    x = tn.arange(5)
    for i in (7, -6):
        with pytest.raises(tn.UserError):
            x[i]
    for indices in ([7, -1, -9], np.array([7, -1, -9]), tn.asarray([7, -1, -9])):
        np.testing.assert_array_equal(x[indices].numpy(), [4, 4, 0])
        np.testing.assert_array_equal(tn.take(x, indices).numpy(), [4, 0, 0])
    np.testing.assert_array_equal(tn.dynamic_slice(x, (-1,), (2,)).numpy(), [0, 1])
    step = tn.jit(lambda w: w - 1, donate=("w",))
    w = tn.ones(4).evaluate()
    double = w * 2
    step(w)
    np.testing.assert_array_equal(double.numpy(), 2)
    with pytest.raises(tn.UserError, match="donated"):
        w.numpy()


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
