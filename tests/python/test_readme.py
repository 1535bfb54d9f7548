"""What README.md shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[2] / "README.md"


def test_the_blocks_run_in_their_order(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    blocks = [b for b in blocks if "opencl" not in b]
    assert len(blocks) == 3
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


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
