"""explain: the figures as data, as text, and as a page."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

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
    assert kernel.bytes_read == X.nbytes and kernel.times == 1 and "reduce_max" in kernel.operations
    assert "grid" in kernel.tile and set(e.passes) == {
        "verify",
        "simplify",
        "expand",
        "widen",
        "simplify_core",
        "ahead",
        "orders",
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


def test_a_plan_replays():
    text = tn.explain(softmax, X).plan
    assert text.startswith("tenfold 1\nplan seconds ")
    x = np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)
    replayed = tn.jit(softmax, plan=text)
    assert (np.asarray(replayed(x)) == np.asarray(tn.jit(softmax)(x))).all()
    again = tn.explain(softmax, X, plan=text)
    assert again.plan == text and again.launches == 1
    assert again.kernels[0].operations == tn.explain(softmax, X).kernels[0].operations
    with pytest.raises(
        tn.UserError, match=r"its input 0 is f32\[64,1024\], but the program's is f32\[3,1024\]"
    ):
        replayed(x[:3])
    for plan, why in [
        (7, "plan must be a text, but a int came"),
        ("", "plan is an empty text"),
    ]:
        with pytest.raises(tn.UserError, match=why):
            tn.jit(softmax, plan=plan)
    with pytest.raises(tn.UserError, match=r"<plan>:2:1: expected 'plan', found 'graph'"):
        tn.jit(softmax, plan="tenfold 1\ngraph")(x)


def test_a_plan_replays_with_dims_and_donations():
    def step(x, y):
        return x * 2 + y

    x, y = np.arange(10, dtype=np.float32), np.ones(10, np.float32)
    options = {"dims": {"x": ("plan_n",), "y": ("plan_n",)}, "donate": "x"}
    text = tn.explain(step, x, y, **options).plan
    f = tn.jit(step, plan=text, **options)
    for n in (1, 10, 77):
        x, y = tn.arange(n, dtype=tn.float32), tn.ones((n,), dtype=tn.float32)
        assert (np.asarray(f(x, y)) == np.arange(n) * 2 + 1).all()
    assert f.versions == 1


def test_an_edited_plan_runs():
    def f(x):
        return x * 2 + 1

    x = np.arange(1000, dtype=np.float32)
    text = tn.explain(f, x).plan
    assert "io in 16, ii in 64" in text
    edited = text.replace("io in 16, ii in 64", "io in 32, ii in 32").replace("64*io", "32*io")
    assert (np.asarray(tn.jit(f, plan=edited)(x)) == x * 2 + 1).all()
    holed = text.replace("io in 16, ii in 64", "io in 15, ii in 64")
    with pytest.raises(tn.UserError, match="it stores 3840 bytes, but its outputs have 4000"):
        tn.jit(f, plan=holed)(x)


def test_captured_weights_are_laid_out_once():
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((192, 96)).astype(np.float32)
    w, bias = tn.asarray(weights), tn.asarray(np.ones(192, np.float32))

    def layer(x):
        return tn.tanh(x @ w.T + bias)

    def check(f, rows):
        x = rng.standard_normal((rows, 96)).astype(np.float32)
        np.testing.assert_allclose(np.asarray(f(x)), np.tanh(x @ weights.T + 1), atol=2e-5)

    x = np.ones((48, 96), np.float32)
    e = tn.explain(layer, x)
    note = "p1 f32[192,96] is laid out ahead, in the order in which it is read: f32[3,96,64], kept"
    assert e.launches == 1 and note in e.notes
    for rows in (48, 1, 7, 100):
        check(tn.jit(layer), rows)
    # Its plan replays, but not where the weights are an argument.
    assert "laid 1 of [192,96] at [64*d0 + d2, d1]" in e.plan
    check(tn.jit(layer, plan=e.plan), 48)
    with pytest.raises(tn.UserError, match="the plan lays out input 1 ahead, but it is an argument"):
        tn.explain(lambda x, w, b: tn.tanh(x @ w.T + b), x, w, bias, plan=e.plan)
    for wrong, why in [
        ("[64*d0 + d2, d2]", "each axis d0, d1, ... must stand in one place"),
        ("[32*d0 + d2, d1]", "each axis d0, d1, ... must stand in one place"),
        ("[64*d0 + d3, d1]", "there is no axis d3"),
        ("[64*d0 + x, d1]", "expected d0, d1, ..., not 'x'"),
    ]:
        with pytest.raises(tn.UserError, match=re.escape(why)):
            tn.explain(layer, x, plan=e.plan.replace("[64*d0 + d2, d1]", wrong))
    # New weights are other weights, however they come.
    other = tn.asarray(2 * weights)
    y = np.asarray(tn.jit(lambda x: x @ other.T)(x))
    np.testing.assert_allclose(y, x @ (2 * weights).T, rtol=1e-4, atol=1e-3)


def test_loops_are_written_by_hand():
    def f(x, w, b):
        return tn.tanh(x @ w + b)

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((96, 128), np.float32), rng.standard_normal((128, 192), np.float32)
    b = rng.standard_normal(192, np.float32)
    planned = tn.explain(f, x, w, b)
    kernel = planned.kernels[0]
    assert kernel.axes == "i 96, j 192, m 128 reduced: p0[i,m], p1[m,j], p2[j] -> r0[i,j]"
    assert f"  loops      {kernel.loops}\n  axes       {kernel.axes}\n" in str(planned)
    again = tn.explain(f, x, w, b, loops=kernel.loops)
    assert again.plan == planned.plan and again.kernels[0].tile == kernel.tile
    for loops in ("J i m | i3 j32", "J64 I32 m16 i m | i4 j64, packed mj"):
        by_hand = tn.jit(f, loops={kernel.name: loops})
        assert tn.explain(by_hand, x, w, b).kernels[0].loops == loops
        assert (np.asarray(by_hand(x, w, b)) == np.asarray(tn.jit(f)(x, w, b))).all()
    with pytest.raises(tn.UserError, match="the loop over m cannot be parallel, for m is reduced") as error:
        tn.jit(f, loops="I J M | i6 j64")(x, w, b)
    assert str(error.value).endswith(f"Write, as the planner does: {kernel.loops}")
    weights = tn.asarray(w)  # captured: laid out in the order of whatever loops there are
    planned = tn.explain(lambda x: x @ weights, x)
    assert tn.explain(lambda x: x @ weights, x, loops=planned.kernels[0].loops).plan == planned.plan
    for loops in ("J i m | i3 j32", "J64 I32 m16 i m | i4 j64, packed mj", "J I m | j4 i16"):
        np.testing.assert_allclose(tn.jit(lambda x: x @ weights, loops=loops)(x), x @ w, atol=1e-4)
    for loops in (3, {"k0": 3}, {3: "I"}):
        with pytest.raises(
            tn.UserError, match="loops must be a text, or a dict of them by the names of launches"
        ):
            tn.jit(f, loops=loops)
    with pytest.raises(tn.UserError, match="loops are given, but a plan too"):
        tn.jit(f, loops=kernel.loops, plan=planned.plan)(x, w, b)


def test_attention_is_one_launch_that_moves_no_scores():
    def attention(q, k, v):
        scores = tn.einsum("hqd,hkd->hqk", q, k) * q.shape[-1] ** -0.5
        e = tn.exp(scores - tn.max(scores, axis=-1, keepdims=True))
        return tn.einsum("hqk,hkd->hqd", e / tn.sum(e, axis=-1, keepdims=True), v)

    q = tn.zeros((8, 512, 64))
    e = tn.explain(attention, q, q, q)
    assert e.launches == 1 and e.bytes_written == 8 * 512 * 64 * 4


def test_what_captured_arrays_decide_is_computed_ahead():
    rng = np.random.default_rng(2)
    w, s = (tn.asarray(rng.standard_normal(n).astype(np.float32)) for n in [(96, 128), (128,)])
    x = tn.asarray(rng.standard_normal((40, 96)).astype(np.float32))

    def ahead(f):
        page = tn.explain(tn.jit(f), x)
        got = np.asarray(tn.jit(f)(x))
        np.testing.assert_array_equal(np.asarray(tn.jit(f, plan=page.plan)(x)), got)
        return got, [n.replace("\n", " ") for n in str(page).splitlines() if " computed ahead" in n]

    got, notes = ahead(lambda x: x @ (w * s))  # and in the order in which it is read
    np.testing.assert_allclose(got, np.asarray(x) @ (np.asarray(w) * np.asarray(s)), rtol=1e-4, atol=1e-4)
    assert len(notes) == 1 and notes[0].startswith(
        "p3 of p1 f32[96,128], p2 f32[128] is computed ahead, in the order"
    )
    assert ahead(lambda x: (x @ w) * (w * w).sum())[1] == [
        "p2 of p1 f32[96,128] is computed ahead: f32[], kept"
    ]
    # More bytes than they have, bytes that are read anyhow, nothing but moves: as they were.
    assert not ahead(lambda x: x.sum() + tn.broadcast_to(s * 2.0, (96, 128)))[1]
    assert not ahead(lambda x: x @ (w * 2.0) + x @ w)[1]
    assert not ahead(lambda x: x @ tn.permute_dims(w[:, :96], (1, 0)))[1]
    assert len(ahead(lambda x: x @ (w * 2.0) + x @ (w * 3.0))[1]) == 1
