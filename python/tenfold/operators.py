"""Contractions over operators other than + and *: shortest paths, reachability, derivatives beside values."""

from __future__ import annotations

from tenfold import _tenfold
from tenfold.quantized import Quantized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable as _Callable
    from typing import Any as _Any


class Operator:
    """What a contraction multiplies and adds with: Operator(tn.add, "min") finds shortest paths.

    multiply  a function of two elements, traced: tensors that broadcast against each other, or structures
              of them (a dual number is a pair), to a tensor or a structure; element by element, so each
              tensor it returns has the shape of a, of b or of both broadcast. A function of tenfold's own
              takes tensors, no structures
    add       the reduction of the products, of each part alone: "sum", "prod", "max", "min", "any" or "all".
              A sum keeps the dtype of its terms: integers wrap. f16 and bf16 are added in f32
    name      for errors
    Raises    UserError if multiply cannot be called or add is no reduction.
    """

    __slots__ = ("add", "multiply", "name")

    def __init__(
        self, multiply: _Callable[[_Any, _Any], _Any], add: str = "sum", name: str | None = None
    ) -> None:
        if not callable(multiply):
            raise _tenfold.UserError(
                f"Operator: multiply is {multiply!r}, which cannot be called.\n"
                '  Pass a function of two elements: Operator(tn.add, "min").'
            )
        if not isinstance(add, str):
            raise _tenfold.UserError(
                f"Operator: add is {add!r}, but it is the name of a reduction.\n"
                '  Write one of "sum", "prod", "max", "min", "any", "all".'
            )
        self.multiply, self.add = multiply, add
        self.name = name or f"({getattr(multiply, '__name__', 'multiply')}, {add})"
        _tenfold._check_operator(add, self.name)

    def __repr__(self) -> str:
        return f"<Operator {self.name}>"


def contract(spec: str, a: _Any, b: _Any, *, operator: Operator | None = None) -> _Any:
    """The sum over the axes that the result lacks of the products of a and b: contract("mk,kn->mn", a, b).

    spec      a letter for each axis of a, of b and of the result; none twice in one of them
    a, b      tensors; with an operator also structures of them, parts of one shape with the axes of the spec
    operator  what multiplies and adds; None: * and +, with one rounding a term (bool: and, or)
    Returns   what operator.multiply returns, with the axes of the result. Of no terms: what the reduction
              gives for nothing (inf for "min").
    Moves     a and b in, the result out: the products lie nowhere.
    Raises    UserError if the axes do not fit or the reduction does not take the products' dtype.
    """
    if operator is None:
        return _tenfold._contract(spec, a, b)
    if not isinstance(operator, Operator):
        raise _tenfold.UserError(
            f"contract: operator is {operator!r}, but it must be an Operator.\n"
            '  Write operator=tn.min_plus, or tn.Operator(multiply, "sum") with your own multiply.'
        )
    for side, x in (("a", a), ("b", b)):
        _check_element(operator, side, x)
    return _tenfold._contract(spec, a, b, operator.multiply, operator.add, operator.name)


def _check_element(operator: Operator, side: str, x: _Any) -> None:
    if isinstance(x, Quantized):
        raise _tenfold.UserError(
            f"contract over {operator.name}: {side} is {x!r}, and packed weights are only multiplied by "
            "x @ q.\n  Pass its tensor, q.dequantize()."
        )
    if isinstance(operator.multiply, _OWN) and isinstance(x, (tuple, list, dict)) and x:
        raise _tenfold.UserError(
            f"contract over {operator.name}: {side} is a {type(x).__name__} of {len(x)}, but "
            f"tn.{operator.multiply.__name__} multiplies tensors.\n"
            "  Pass a tensor, or an Operator whose multiply takes structures, tn.dual for pairs say."
        )


def _dual_product(a, b):
    for side, x in (("a", a), ("b", b)):
        if not isinstance(x, (tuple, list)) or len(x) != 2:
            came = "a tensor" if isinstance(x, _tenfold.Tensor) else f"a {type(x).__name__}"
            raise _tenfold.UserError(
                f"contract over dual: {side} is {came}, but its elements are pairs (value, derivative).\n"
                "  Write tn.contract(spec, (a, da), (b, db), operator=tn.dual); tn.zeros_like(x) is the "
                "derivative of a constant."
            )
    return a[0] * b[0], a[0] * b[1] + a[1] * b[0]


_OWN = type(_tenfold.add)  # what a function of the bindings is

tropical = Operator(_tenfold.add, "max", "tropical")
min_plus = Operator(_tenfold.add, "min", "min_plus")
logical = Operator(_tenfold.logical_and, "any", "logical")
dual = Operator(_dual_product, "sum", "dual")
