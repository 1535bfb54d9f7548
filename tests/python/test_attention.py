"""Attention written in plain tensor code: found by the planner, streamed under the grant, masked tiles passed over."""

import numpy as np
import pytest

import tenfold as tn

RNG = np.random.default_rng(3)


def softmax(s):
    e = tn.exp(s - tn.max(s, axis=-1, keepdims=True))
    return e / tn.sum(e, axis=-1, keepdims=True)


def reference(q, k, v, edit=lambda s, i, j: s):
    """In f64; q, k, v are [h, n, d]."""
    q, k, v = (x.astype("f8") for x in (q, k, v))
    s = np.einsum("hqd,hkd->hqk", q, k) / np.sqrt(q.shape[-1])
    s = edit(s, np.arange(q.shape[1])[:, None], np.arange(k.shape[1])[None, :])
    with np.errstate(invalid="ignore"):
        e = np.exp(s - s.max(-1, keepdims=True))
        return np.einsum("hqk,hkd->hqd", e / e.sum(-1, keepdims=True), v)


def attention(edit=lambda s, i, j: s):
    def f(q, k, v):
        s = tn.einsum("hqd,hkd->hqk", q, k) * (1 / float(np.sqrt(q.shape[-1])))
        s = edit(s, tn.arange(q.shape[1])[:, None], tn.arange(k.shape[1])[None, :])
        return tn.einsum("hqk,hkd->hqd", softmax(s), v)

    return f


def operands(h, n, d, m=None):
    return [RNG.standard_normal((h, size, d), dtype="f4") for size in (n, m or n, m or n)]


VARIANTS = {
    "full": (lambda s, i, j: s,) * 2,
    "causal": (lambda s, i, j: tn.where(i >= j, s, -np.inf), lambda s, i, j: np.where(i >= j, s, -np.inf)),
    "anticausal": (lambda s, i, j: tn.where(i > j, -np.inf, s), lambda s, i, j: np.where(i > j, -np.inf, s)),
    "sliding": (
        lambda s, i, j: tn.where((i >= j) & (i - j < 40), s, -np.inf),
        lambda s, i, j: np.where((i >= j) & (i - j < 40), s, -np.inf),
    ),
    "two windows": (
        lambda s, i, j: tn.where((i - j > 150) | ~(i >= j), -np.inf, s),
        lambda s, i, j: np.where((i - j > 150) | ~(i >= j), -np.inf, s),
    ),
    "added mask": (
        lambda s, i, j: s + tn.where(j <= i, 0.0, -np.inf),
        lambda s, i, j: s + np.where(j <= i, 0.0, -np.inf),
    ),
    "slope": (
        lambda s, i, j: tn.where(i >= j, s - 0.1 * (i - j).astype(tn.float32), -np.inf),
        lambda s, i, j: np.where(i >= j, s - 0.1 * (i - j), -np.inf),
    ),
    "soft cap": (lambda s, i, j: 5 * tn.tanh(s / 5), lambda s, i, j: 5 * np.tanh(s / 5)),
    "rows of nothing": (
        lambda s, i, j: tn.where(j + 70 <= i, s, -np.inf),
        lambda s, i, j: np.where(j + 70 <= i, s, -np.inf),
    ),
}


@pytest.mark.parametrize("allow", [(), ("online",), ("online", "factor")], ids=["strict", "online", "factor"])
@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name, allow):
    ours, numpy = VARIANTS[name]
    for shape in ((2, 256, 16), (1, 192, 64), (3, 100, 8)):
        q, k, v = operands(*shape)
        got = tn.jit(attention(ours), allow=allow)(q, k, v)
        np.testing.assert_allclose(got, reference(q, k, v, numpy), rtol=2e-4, atol=2e-5)


def test_other_lengths():
    q, k, v = operands(2, 1, 64, 512)  # one query meets what is kept
    got = tn.jit(attention(), allow=("online",))(q, k, v)
    np.testing.assert_allclose(got, reference(q, k, v), rtol=2e-4, atol=2e-5)
    q, k, v = operands(2, 64, 32, 320)
    got = tn.jit(attention(VARIANTS["causal"][0]), allow=("online",))(q, k, v)
    np.testing.assert_allclose(got, reference(q, k, v, VARIANTS["causal"][1]), rtol=2e-4, atol=2e-5)


def test_grouped_heads():
    q = RNG.standard_normal((2, 4, 128, 16), dtype="f4")  # [groups, heads of a group, n, d]
    k, v = (RNG.standard_normal((2, 128, 16), dtype="f4") for _ in range(2))

    def f(q, k, v):
        s = tn.einsum("ghqd,gkd->ghqk", q, k) * 0.25
        return tn.einsum("ghqk,gkd->ghqd", softmax(s), v)

    want = np.stack([reference(q[:, h], k, v) for h in range(4)], axis=1)
    for allow in ((), ("online",)):
        # So short that two launches may be faster.
        assert tn.explain(f, q, k, v, allow=allow).launches <= 2
        longer = [tn.zeros((*x.shape[:-2], 512, 16)) for x in (q, k, v)]
        assert tn.explain(f, *longer, allow=allow).launches == 1
        np.testing.assert_allclose(tn.jit(f, allow=allow)(q, k, v), want, rtol=2e-4, atol=2e-5)


def test_dropout_from_a_counter():
    q, k, v = operands(2, 128, 16)

    def f(q, k, v):
        p = softmax(tn.einsum("hqd,hkd->hqk", q, k) * 0.25)
        keep = tn.random.uniform(tn.random.key(5), p.shape) < 0.75
        return tn.einsum("hqk,hkd->hqd", tn.where(keep, p / 0.75, 0.0), v)

    s = np.einsum("hqd,hkd->hqk", q.astype("f8"), k) / 4
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    keep = np.asarray(tn.random.uniform(tn.random.key(5), p.shape)) < 0.75
    want = np.einsum("hqk,hkd->hqd", np.where(keep, p / 0.75, 0), v)
    for allow in ((), ("online",)):
        np.testing.assert_allclose(tn.jit(f, allow=allow)(q, k, v), want, rtol=2e-4, atol=2e-5)


def test_paged_keys():
    pages, size = 12, 16
    q = RNG.standard_normal((2, 64, 16), dtype="f4")
    kept = RNG.standard_normal((2, pages, size, 2, 16), dtype="f4")  # keys or values, pages, rows, heads
    table = RNG.permutation(pages)[:8].astype("i4")

    def f(q, kept, table):
        k, v = (tn.reshape(tn.take(kept[which], table, axis=0), (8 * size, 2, 16)) for which in (0, 1))
        s = tn.einsum("hqd,khd->hqk", q, k) * 0.25
        return tn.einsum("hqk,khd->hqd", softmax(s), v)

    k, v = (kept[which][table].reshape(8 * size, 2, 16).transpose(1, 0, 2) for which in (0, 1))
    for allow in ((), ("online",)):
        np.testing.assert_allclose(
            tn.jit(f, allow=allow)(q, kept, table), reference(q, k, v), rtol=2e-4, atol=2e-5
        )


def test_gradients_of_the_streamed_form():
    q, k, v = operands(1, 64, 8)

    def loss(f):
        return lambda q, k, v: tn.sum(f(q, k, v) * tn.cos(q))

    f = attention(VARIANTS["causal"][0])
    strict = tn.jit(tn.grad(loss(f), argnums=(0, 1, 2)))(q, k, v)
    online = tn.jit(tn.grad(loss(f), argnums=(0, 1, 2)), allow=("online",))(q, k, v)
    for a, b in zip(strict, online, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_memory_is_linear_and_masked_tiles_cost_nothing():
    full, causal, sliding = (attention(VARIANTS[name][0]) for name in ("full", "causal", "sliding"))
    for n in (2048, 8192):
        q = tn.zeros((2, n, 64))
        e = {f: tn.explain(f, q, q, q, allow=("online",)) for f in (full, causal, sliding)}
        for f, x in e.items():  # a band is so little work that dividing in a launch of its own may be cheaper
            assert x.launches == 1 or f is sliding
            assert x.workspace_bytes <= (x.launches - 1) * (q.nbytes + q.nbytes // 64)
        assert e[causal].flops < 0.6 * e[full].flops
        assert e[sliding].flops < 0.12 * e[full].flops


def test_what_no_query_sees_is_not_read():
    q, k, v = operands(1, 512, 16)
    v[:, 448:] = np.inf  # times nothing it would be a NaN
    got = np.asarray(tn.jit(attention(VARIANTS["causal"][0]), allow=("online",))(q, k, v))
    assert np.isfinite(got[:, :384]).all()
    assert not np.isfinite(got[:, 448:]).any()


@pytest.mark.parametrize("machine", ["avx2", "zen4"])
@pytest.mark.parametrize("causal", [False, True])
def test_scores_of_bf16_by_pairs(monkeypatch, machine, causal):
    """The product under a running maximum is added by pairs, where the machine's record has them."""
    monkeypatch.setenv("TENFOLD_MACHINE", machine)
    n, d = 768, 32
    values = [RNG.standard_normal((2, n, d)).astype("f4") for _ in range(3)]

    def attention(q, k, v):
        at = tn.arange(n)
        s = tn.einsum("hqd,hkd->hqk", q, k, dtype=tn.float32) * d**-0.5
        s = tn.where(at[:, None] >= at, s, -np.inf) if causal else s
        e = tn.exp(s - tn.max(s, axis=-1, keepdims=True))
        total = tn.sum(e, axis=-1, keepdims=True)
        return tn.einsum("hqk,hkd->hqd", e.astype(v.dtype), v, dtype=tn.float32) / total

    arrays = [tn.asarray(x).astype(tn.bfloat16) for x in values]
    q, k, v = (x.astype(tn.float64).numpy() for x in arrays)
    s = np.einsum("hqd,hkd->hqk", q, k) * d**-0.5
    s = np.where(np.tri(n, dtype=bool), s, -np.inf) if causal else s
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    want = np.einsum("hqk,hkd->hqd", p, v)
    # Weights are rounded to 8 bits.
    bound = 2.0**-8 * np.einsum("hqk,hkd->hqd", p, np.abs(v)) + 1e-5
    streamed = tn.jit(attention, allow=("online",))
    assert (np.abs(streamed(*arrays).numpy() - want) <= bound).all()
    page = str(tn.explain(streamed, *arrays))
    assert (("online, grouped d" if causal else "grouped d") in page) == (machine == "zen4")
