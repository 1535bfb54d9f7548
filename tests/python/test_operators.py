"""Contractions over operators, against NumPy; what explain says of them; every error."""

import numpy as np
import pytest

import tenfold as tn

RNG = np.random.default_rng(5)
A, B = RNG.standard_normal((7, 30)).astype(np.float32), RNG.standard_normal((30, 45)).astype(np.float32)
SUMS = A[:, :, None] + B[None]


def contract(operator, a=A, b=B, spec="mk,kn->mn"):
    return tn.jit(lambda a, b: tn.contract(spec, a, b, operator=operator))(a, b)


def equal(got, want):
    np.testing.assert_array_equal(np.asarray(got), want)


def test_extremes_of_sums():
    equal(contract(tn.min_plus), SUMS.min(1))
    equal(contract(tn.tropical), SUMS.max(1))
    equal(tn.contract("mk,kn->nm", A, B, operator=tn.min_plus), SUMS.min(1).T)
    equal(tn.contract("km,nk->mn", A.T, B.T, operator=tn.min_plus), SUMS.min(1))
    equal(tn.contract("k,k->", A[0], B[:, 0], operator=tn.tropical), (A[0] + B[:, 0]).max())
    equal(tn.contract("m,n->mn", A[:, 0], B[0], operator=tn.tropical), A[:, :1] + B[0])
    equal(tn.contract("mk,n->n", A, B[0], operator=tn.min_plus), (A.min() + B[0]))


def test_a_nan_wins_and_infinities_count():
    for n in (7, 30):  # an odd number of terms, and an even one
        a, b = A[:, :n].copy(), B[:n].copy()
        a[1, 2], a[2, n - 1], a[3], a[4, 0], b[0, 7] = np.nan, -np.nan, np.inf, np.inf, -np.inf
        with np.errstate(invalid="ignore"):
            want = a[:, :, None] + b[None]
        equal(contract(tn.min_plus, a, b), want.min(1))
        equal(contract(tn.tropical, a, b), want.max(1))


def test_the_plain_one_is_the_contraction():
    np.testing.assert_allclose(np.asarray(contract(None)), A @ B, rtol=1e-4, atol=1e-5)
    assert "contract" in str(tn.explain(lambda a, b: tn.contract("mk,kn->mn", a, b), A, B))


def test_flags_and_integers():
    p, q = A > 0.8, B > 0.8
    equal(contract(tn.logical, p, q), p @ q)
    everything = tn.Operator(tn.logical_or, "all")
    equal(contract(everything, p, q), (p[:, :, None] | q[None]).all(1))
    i, j = (A * 9).astype(np.int32), (B * 9).astype(np.int32)
    equal(contract(tn.min_plus, i, j), (i[:, :, None] + j[None]).min(1))
    counted = contract(tn.Operator(lambda x, y: x * y, "sum"), i, j)
    assert counted.dtype == tn.i32
    equal(counted, i @ j)
    equal(contract(tn.Operator(tn.add, "prod"), i[:, :4], j[:4]), (i[:, :4, None] + j[None, :4]).prod(1))


def test_elements_of_several_parts():
    value, change = contract(tn.dual, (A, A + 1), (B, B - 2))
    np.testing.assert_allclose(np.asarray(value), A @ B, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.asarray(change), A @ (B - 2) + (A + 1) @ B, rtol=1e-4, atol=1e-3)
    named = tn.Operator(lambda x, y: {"far": (x["at"] - y) ** 2}, "sum")
    far = tn.contract("mk,nk->mn", {"at": A}, B.T, operator=named)["far"]
    np.testing.assert_allclose(np.asarray(far), ((A[:, None] - B.T[None]) ** 2).sum(2), rtol=1e-5)


def test_products_of_one_side_and_of_none():
    equal(contract(tn.Operator(lambda x, y: x, "max")), np.repeat(A.max(1)[:, None], 45, 1))
    equal(contract(tn.Operator(lambda x, y: y, "max")), np.repeat(B.max(0)[None], 7, 0))
    equal(contract(tn.Operator(lambda x, y: 1, "sum")), np.full((7, 45), 30))


def test_what_multiply_raises_comes_through():
    with pytest.raises(TypeError, match="unsupported operand"):
        contract(tn.Operator(lambda x, y: x + None))


def test_of_no_terms():
    equal(tn.contract("mk,kn->mn", A[:, :0], B[:0], operator=tn.min_plus), np.full((7, 45), np.inf))
    assert tn.contract("mk,kn->mn", A[:0], B, operator=tn.tropical).shape == (0, 45)
    assert np.asarray(tn.jit(lambda a, b: a @ b)(A[:0], B)).shape == (0, 45)
    assert np.asarray(tn.jit(lambda a, b: tn.max(a[:, None] - b, axis=2))(A[:0], A)).shape == (0, 7)


def test_transformed():
    gradient = tn.grad(lambda a: tn.sum(tn.contract("mk,kn->mn", a, B, operator=tn.min_plus)))(A)
    want = np.zeros_like(A)
    for m, row in enumerate(SUMS.argmin(1)):
        np.add.at(want[m], row, 1)
    equal(gradient, want)
    each = tn.vmap(lambda a: tn.contract("k,kn->n", a, B, operator=tn.min_plus))(A)
    equal(each, SUMS.min(1))


def test_is_one_launch_over_tiles():
    explained = tn.explain(
        lambda a, b: tn.contract("mk,kn->mn", a, b, operator=tn.min_plus), *[np.ones((256, 256), "f4")] * 2
    )
    assert explained.launches == 1
    assert explained.bytes_read < 16 * 256 * 256  # each operand a few times, and no product


ODD = tn.Operator(lambda x, y: (x + y).T, "min", "odd")
ERRORS = [
    (lambda: tn.contract("mk,kn->mn", A, B.T, operator=tn.min_plus),
     'contract "mk,kn->mn": axis k is 30 in the first input (f32[7,30]) but 45 in the second (f32[45,30]); '
     'did you mean "mk,nk->mn"?'),
    (lambda: tn.contract("mk,kn->mn", A, B.T),
     'contract "mk,kn->mn": axis k is 30 in the first input (f32[7,30]) but 45 in the second (f32[45,30]); '
     'did you mean "mk,nk->mn"?'),
    (lambda: tn.contract("mk,kn->mn", (A, A), (B, B[0]), operator=tn.dual),
     'contract "mk,kn->mn": "kn" names 2 axes, but the second input is f32[45]'),
    (lambda: tn.contract("mk->m", A, B, operator=tn.min_plus), 'contract "mk->m": a specification reads'),
    (lambda: tn.contract("mk,kn->mz", A, B, operator=tn.min_plus),
     'contract "mk,kn->mz": axis z of the result is in neither input'),
    (lambda: tn.contract("mk,kn->mn", A + 1j, B + 1j, operator=tn.min_plus),
     'contract "mk,kn->mn" over min_plus: its products are complex64, which have no min; convert the inputs, '
     'or write an Operator whose add is another of "sum", "prod", "max", "min", "any", "all"'),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.logical), "logical_and takes bool, but x is f32"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=ODD),
     'contract "mk,kn->mn" over odd: a product is f32[30,45,7], but its axes are "mnk", f32[7,45,30]; '
     "multiply may only combine elements that stand at one place"),
    (lambda: tn.contract("mk,kn->mn", (), B, operator=tn.min_plus),
     'contract "mk,kn->mn" over min_plus: a has no tensors'),
    (lambda: tn.contract("mk,kn->mn", A, "b", operator=tn.min_plus), "contract: an input is a str, which is no"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(lambda x, y: "xy")),
     "contract over (<lambda>, sum): what multiply returned is a str, which is no tensor"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator="min"), "contract: operator is 'min', but it must be an"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.dual),
     "contract over dual: a is a tensor, but its elements are pairs (value, derivative).\n"
     "  Write tn.contract(spec, (a, da), (b, db), operator=tn.dual); "),
    (lambda: tn.contract("mk,kn->mn", (A, A), B, operator=tn.dual), "contract over dual: b is a tensor, but its"),
    (lambda: tn.contract("mk,kn->mn", (A, A, A), (B, B), operator=tn.dual), "contract over dual: a is a tuple, but"),
    (lambda: tn.contract("mk,kn->mn", (A, A), B, operator=tn.min_plus),
     "contract over min_plus: a is a tuple of 2, but tn.add multiplies tensors.\n  Pass a tensor, or an Operator"),
    (lambda: tn.contract("mk,kn->mn", A, [B, B], operator=tn.logical),
     "contract over logical: b is a list of 2, but tn.logical_and multiplies tensors."),
    (lambda: tn.contract("mk,kn->mn", (A, A[:5]), (B, B), operator=tn.dual),
     'contract "mk,kn->mn" over dual: part 0 of a is f32[7,30], but part 1 is f32[5,30]; the parts of an element '
     "have one shape\n"),
    (lambda: tn.contract("mk,kn->mn", (A, A), (B, B[:, :1]), operator=tn.dual),
     'contract "mk,kn->mn" over dual: part 0 of b is f32[30,45], but part 1 is f32[30,1]; the parts'),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(lambda x, y: tn.sum(x), name="total")),
     'contract "mk,kn->mn" over total: a product is f32[], but its axes are "mnk", f32[7,45,30]; multiply may only '
     "combine elements that stand at one place"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(lambda x, y: tn.max(x, -1, True), name="top")),
     'contract "mk,kn->mn" over top: a product is f32[7,1,1], but its axes are "mnk"'),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(lambda x, y: None, name="none")),
     'contract "mk,kn->mn" over none: multiply returned no tensors; return the product of two elements'),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(lambda x: x, name="one")),
     "contract over one: multiply cannot be called with two elements: <lambda>"),
    (lambda: tn.contract("mk,kn->mn", A, B, operator=tn.Operator(tn.exp, name="one")),
     "contract over one: multiply cannot be called with two elements: exp(): incompatible function arguments."),
    (lambda: tn.contract("mk,kn->mn", A, tn.quantized(np.zeros((32, 45), "f4")), operator=tn.min_plus),
     "contract over min_plus: b is Quantized([32, 45], bits=8, group=32, 1620 bytes), and packed weights are only "
     "multiplied by x @ q.\n  Pass its tensor, q.dequantize()."),
    (lambda: tn.Operator(3), "Operator: multiply is 3, which cannot be called."),
    (lambda: tn.Operator(tn.add, 3), "Operator: add is 3, but it is the name of a reduction."),
    (lambda: tn.Operator(tn.add, "mean"),
     'Operator: add is "mean", which is no reduction.\n  Write one of "sum", "prod", "max", "min", "any", "all".'),
]  # fmt: skip


@pytest.mark.parametrize("call, start", ERRORS, ids=[str(i) for i in range(len(ERRORS))])
def test_errors(call, start):
    with pytest.raises(tn.UserError) as raised:
        call()
    assert str(raised.value).startswith(start)
