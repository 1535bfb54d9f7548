"""explain: the figures as data, as text, and as a page."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

import tenfold as tn

X = np.ones((64, 1024), np.float32)


def softmax(x):
    e = tn.exp(x - tn.max(x, axis=-1, keepdims=True))
    return e / tn.sum(e, axis=-1, keepdims=True)


def test_fields():
    e = tn.explain(softmax, X)
    assert (e.launches, e.clusters, e.interpreted) == (1, 1, 0)
    assert e.bytes_read == e.bytes_written == X.nbytes and e.bytes_least == 2 * X.nbytes
    assert e.flops > X.size and 0 < e.seconds < 1 and len(e.kernels) == 1
    kernel = e.kernels[0]
    assert (
        kernel.bytes_read == X.nbytes and kernel.times == 1 and "exp" in kernel.operations
    ) or kernel.operations
    assert "grid" in kernel.tile and set(e.passes) == {
        "verify",
        "simplify",
        "expand",
        "simplify_core",
        "plan",
        "target",
    }


def test_text():
    text = str(tn.explain(tn.jit(softmax), X))
    for line in (
        r"launches +1\n",
        r"bytes +262144 read, 262144 written",
        r"least bytes +524288 .*moved / least = 1\.00",
        r"bound by ",
        r"kernel k0",
    ):
        assert re.search(line, text), line


def test_it_runs_nothing():
    with tn.profile() as p:
        tn.explain(softmax, X)
    assert p.launches == 0


def test_the_profile_shows_what_explain_predicts():
    f = tn.jit(softmax)
    f(X)
    with tn.profile() as p:
        f(X)
        f(X)
    ((name, runs, seconds, moved),) = p.rows
    assert runs == 2 and seconds > 0 and moved == 2 * tn.explain(f, X).bytes_least and name in str(p)


def test_the_page_stands_alone(tmp_path):
    path = tmp_path / "softmax.html"
    tn.explain(softmax, X).html(path)
    page = path.read_text()
    assert (
        not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
        and "<script" not in page
        and "<link" not in page
    )
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", page, re.S).group(0))
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}rect"))) >= 5
    assert "256 KiB" in page and "kernel k0" in page and ("vmax" in page or "ret" in page)


def test_keywords_are_those_of_jit():
    e = tn.explain(lambda x, n: x * n, tn.ones(8), 3, static="n", dims={"x": ("rows",)}, allow=("online",))
    assert e.launches == 1
    e = tn.explain(lambda x: x + 1, tn.ones(8), donate=0)
    assert e.notes == []
    e = tn.explain(lambda x: x[::-1] + 1, tn.ones(8), donate=0)
    assert any(note.startswith("donated argument 0 is copied: ") for note in e.notes)
