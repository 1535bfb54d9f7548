"""The examples in Python run, at small sizes; what they assert holds."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    "line",
    [
        "attention.py --tokens 128",
        "convnet.py --steps 3",
        "quantized_mlp.py --width 64 --steps 3",
        "resnet_block.py --channels 64 --size 14",
        "shortest_paths.py --nodes 64",
    ],
)
def test_example(line, monkeypatch, capsys):
    name, *options = line.split()
    monkeypatch.setattr(sys, "argv", [name, *options])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out
