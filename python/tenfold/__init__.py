"""tenfold compiles tensor programs: many operations, folded into one pass.

    import tenfold as tn

    def softmax(x):
        e = tn.exp(x - tn.max(x, axis=-1, keepdims=True))
        return e / tn.sum(e, axis=-1, keepdims=True)

    y = tn.jit(softmax)(x)
    print(tn.explain(softmax, x))

Everything that computes is C++, in `_tenfold`; here stands what is idiomatic only in Python.
"""

from __future__ import annotations

import os as _os
import sys as _sys

from tenfold import _tenfold

_tenfold._set_package_folder(_os.path.dirname(_os.path.abspath(__file__)) + _os.sep)

from tenfold._tenfold import *  # noqa: E402
from tenfold._tenfold import add, div, equal, logical_not, mul, neg, sub  # noqa: E402

TYPE_CHECKING = False  # typing is for type checkers alone: importing it takes 3 ms
if TYPE_CHECKING:
    import builtins as _b
    from collections.abc import Callable as _Callable
    from typing import Any as _Any
    from typing import Concatenate as _Concatenate
    from typing import Literal as _Literal
    from typing import TypeVar as _TypeVar
    from typing import overload as _overload

    from tenfold._tenfold import ArrayLike as _ArrayLike
    from tenfold._tenfold import DtypeLike as _DtypeLike

    _R = _TypeVar("_R")
    _T = _TypeVar("_T")
else:

    def _overload(f):
        return f


_sys.modules[__name__ + ".random"] = random = _tenfold.random

# The names of the Array API for what the records call otherwise.
subtract, multiply, negative = sub, mul, neg
absolute = _tenfold.abs
remainder = _tenfold.mod
concat = _tenfold.concatenate
permute_dims = _tenfold.permute_dims
bitwise_left_shift, bitwise_right_shift = _tenfold.shift_left, _tenfold.shift_right
bitwise_invert = _tenfold.bitwise_not

bool = _tenfold._bool
int8, int16, int32, int64 = _tenfold.i8, _tenfold.i16, _tenfold.i32, _tenfold.i64
uint8, uint16, uint32, uint64 = _tenfold.u8, _tenfold.u16, _tenfold.u32, _tenfold.u64
float16, bfloat16, float32, float64 = _tenfold.f16, _tenfold.bf16, _tenfold.f32, _tenfold.f64

pi = 3.141592653589793
e = 2.718281828459045
inf = float("inf")
nan = float("nan")
newaxis = None


@_overload
def jit(
    f: _Callable[..., _R],
    *,
    static: _Any = (),
    dims: dict[str, _Any] | None = None,
    donate: _Any = (),
    allow: _Any = (),
    plan: str | None = None,
    loops: str | dict[str, str] | None = None,
) -> _tenfold.Jitted[_R]: ...
@_overload
def jit(
    f: None = None,
    *,
    static: _Any = (),
    dims: dict[str, _Any] | None = None,
    donate: _Any = (),
    allow: _Any = (),
    plan: str | None = None,
    loops: str | dict[str, str] | None = None,
) -> _Callable[[_Callable[..., _R]], _tenfold.Jitted[_R]]: ...
def jit(
    f: _Any = None,
    *,
    static: _Any = (),
    dims: dict[str, _Any] | None = None,
    donate: _Any = (),
    allow: _Any = (),
    plan: str | None = None,
    loops: str | dict[str, str] | None = None,
) -> _Any:
    """f, compiled for the types of its arguments when it is called.

    static  names or positions of arguments that are Python values: compiled anew for each
    dims    {"x": ("n", 1024)}: extents of an argument that are symbols, so that any n runs one program
    donate  names or positions of arguments whose memory may become a result's; they are gone after the call
    allow   rewrites that change rounding: "factor", "online", "reassociate", "bf16x3", "bf16x6"
    plan    text to run instead of the planner's plan: explain(f, x).plan, edited by hand (docs/plans.md)
    loops   how the launch runs instead of the planner's choice: explain(f, x).kernels[0].loops, edited; or a
            dict of such texts by the names of launches (docs/plans.md)

    Arguments and results are tensors, NumPy arrays (borrowed until the call returns), numbers, and
    tuples, lists, dicts, named tuples and dataclasses of them. Numbers are run-time values. What f takes from
    around it is read when f is traced, and frozen; its arrays (weights) may be copied, once, into the order
    in which the kernels read them: explain says which.
    """
    if f is None:
        return lambda g: jit(g, static=static, dims=dims, donate=donate, allow=allow, plan=plan, loops=loops)
    jitted = _tenfold.Jitted(f, static, dims, donate, allow, plan, loops)
    jitted.__doc__ = getattr(f, "__doc__", None)
    return jitted


def explain(
    f: _Callable[..., _Any],
    *args: _Any,
    static: _Any = (),
    dims: dict[str, _Any] | None = None,
    donate: _Any = (),
    allow: _Any = (),
    plan: str | None = None,
    loops: str | dict[str, str] | None = None,
    **kwargs: _Any,
) -> _tenfold.Explanation:
    """What jit(f)(*args) costs, without running it: launches, bytes, what bounds them, tile programs.

    print() it, read its fields (.launches .bytes_read .bytes_written .bytes_least .flops .clusters
    .interpreted .notes .kernels), or write a page with .html(path). .plan is the plan as text, which
    jit(f, plan=text) replays.
    """
    if hasattr(f, "__tenfold_program__"):
        f, args = f.__tenfold_program__(*args, **kwargs)
        kwargs = {}
    if not isinstance(f, _tenfold.Jitted):
        f = jit(f, static=static, dims=dims, donate=donate, allow=allow, plan=plan, loops=loops)
    return _tenfold._explain_call(f, args, kwargs)


def _like(wrapper, f):
    """Gives a wrapper the name of what it wraps: functools.wraps, without its import (1 ms)."""
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        if hasattr(f, attribute):
            setattr(wrapper, attribute, getattr(f, attribute))
    wrapper.__wrapped__ = f
    return wrapper


@_overload
def value_and_grad(
    f: _Callable[_Concatenate[_T, ...], _R], argnums: _Literal[0] = 0, has_aux: _b.bool = False
) -> _Callable[..., tuple[_R, _T]]: ...
@_overload
def value_and_grad(
    f: _Callable[..., _R], argnums: int | tuple[int, ...], has_aux: _b.bool = False
) -> _Callable[..., tuple[_R, _Any]]: ...
def value_and_grad(
    f: _Callable[..., _Any], argnums: int | tuple[int, ...] = 0, has_aux: _b.bool = False
) -> _Callable[..., tuple[_Any, _Any]]:
    """(f(x, ...), its gradient with respect to the arguments at argnums). f returns one floating number,
    or with has_aux=True (number, anything)."""

    def value_and_gradient(*args, **kwargs):
        return _tenfold._value_and_grad_call(f, args, kwargs, argnums, has_aux)

    return _like(value_and_gradient, f)


@_overload
def grad(
    f: _Callable[_Concatenate[_T, ...], _Any], argnums: _Literal[0] = 0, has_aux: _Literal[False] = False
) -> _Callable[..., _T]: ...
@_overload
def grad(
    f: _Callable[..., _Any], argnums: int | tuple[int, ...] = 0, has_aux: _b.bool = False
) -> _Callable[..., _Any]: ...
def grad(
    f: _Callable[..., _Any], argnums: int | tuple[int, ...] = 0, has_aux: _b.bool = False
) -> _Callable[..., _Any]:
    """The gradient of f with respect to the arguments at argnums; with has_aux=True (gradient, aux)."""

    def gradient(*args, **kwargs):
        value, gradients = _tenfold._value_and_grad_call(f, args, kwargs, argnums, has_aux)
        return (gradients, value[1]) if has_aux else gradients

    return _like(gradient, f)


def vmap(
    f: _Callable[..., _R],
    in_axes: int | tuple[int | None, ...] | list[int | None] | None = 0,
    out_axes: int | None = 0,
) -> _Callable[..., _R]:
    """f over slices of its arguments along in_axes: one axis for all, or one for each (None: passed whole).
    Results have the batch at out_axes."""

    def batched(*args, **kwargs):
        return _tenfold._vmap_call(f, in_axes, out_axes, args, kwargs)

    return _like(batched, f)


def scan(
    step: _Callable[[_Any, _Any], tuple[_Any, _Any]],
    init: _T,
    xs: _Any = None,
    length: int | None = None,
    *,
    reverse: _b.bool = False,
) -> tuple[_T, _Any]:
    """Runs carry, y = step(carry, x) over the rows x of xs; without xs, `length` times with the step number.

    Returns (carry, ys): the last carry, and the ys stacked along axis 0. A carry keeps its structure, shapes
    and dtypes. The loop is one program: where a carry's elements do not mix, one launch, state in registers.
    """
    return _tenfold._scan(step, init, xs, length, reverse=reverse)


def cond(pred: _ArrayLike, true_fn: _Callable[..., _R], false_fn: _Callable[..., _R], *operands: _Any) -> _R:
    """true_fn(*operands) where pred holds, else false_fn(*operands); both return the same types."""
    return _tenfold._cond(pred, true_fn, false_fn, operands)


def checkpoint(f: _Callable[..., _R], every: int = 16) -> _Callable[..., _R]:
    """The step of a scan whose gradient stores every `every`-th carry and computes the others again.
    Outside of a scan f itself: what is kept and what is computed again is the planner's choice."""

    def checkpointed(*args, **kwargs):
        return f(*args, **kwargs)

    setattr(checkpointed, "__tenfold_checkpoint__", every)  # noqa: B010
    return _like(checkpointed, f)


def _unpickled(array, dtype=None):  # pickle wants a function of Python's
    return _tenfold.asarray(array, dtype)


def einsum(spec: str, *operands: _ArrayLike, dtype: _DtypeLike | None = None) -> _tenfold.Tensor:
    """Sums of products in Einstein's notation: einsum("mk,kn->mn", x, y). dtype: as in matmul."""
    if not isinstance(spec, str):
        raise _tenfold.UserError(
            f"einsum: the first argument is what to sum, a str, but a {type(spec).__name__} came.\n"
            '  Write einsum("mk,kn->mn", x, y), say.'
        )
    return _tenfold._einsum(spec, *operands, dtype=dtype)


from tenfold import env  # noqa: E402
from tenfold.env import rollout  # noqa: E402
from tenfold.operators import Operator, contract, dual, logical, min_plus, tropical  # noqa: E402
from tenfold.quantized import Quantized, quantized  # noqa: E402

__version__ = _tenfold.__version__
__all__ = [
    name
    for name in list(globals())
    if not name.startswith("_") and name not in ("annotations", "TYPE_CHECKING")
]
