"""Weights that stay packed in memory and are unpacked where they are used: tn.quantized."""

from __future__ import annotations

from _operator import index as _index

from tenfold import _tenfold as _t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as _Any
    from typing import NoReturn as _NoReturn

    from tenfold._tenfold import ArrayLike, DtypeLike, Tensor


def _refuses(what: str) -> _Any:
    """A method that raises, for what a matrix of packed levels does not have."""

    def method(self: Quantized, *others: _Any, **options: _Any) -> _NoReturn:
        raise _t.UserError(
            f"{self!r} {what}: its levels are packed. It is the right side of a product, and no more.\n"
            "  Write x @ q or tn.matmul(x, q); for everything else take the tensor q.dequantize(). "
            "Its parts are q.packed, q.scale and q.zero."
        )

    return method


class Quantized:
    """A matrix [inputs, outputs] in 8 or 4 bits an element: (level - zero) * scale, by groups of inputs.

    packed  8 bits: i8[inputs, outputs], the levels; 4 bits: u8[inputs / 2, outputs], two levels from 0 to 15
            a byte, that of input 2i in the low half
    scale   f32[inputs / group, outputs]
    zero    f32[inputs / group, outputs], the level of 0; None: 0 in 8 bits, 8 in 4 bits
    Source  the groups and formats of weight-only quantisation, as in GPTQ (arXiv:2210.17323) and llama.cpp

    x @ q and tn.matmul(x, q) are products with q.dequantize(), unpacked inside the product: what is read
    from memory is what is packed. A structure of tensors, it may be an argument of a compiled function. Every
    other operation raises UserError: it takes q.dequantize().
    """

    __slots__ = ("packed", "scale", "zero")
    __array_ufunc__ = None  # the operators of tensors and NumPy's arrays leave x @ q to __rmatmul__

    packed: Tensor
    scale: Tensor
    zero: Tensor | None

    def __init__(self, packed: Tensor, scale: Tensor, zero: Tensor | None = None) -> None:
        self.packed, self.scale, self.zero = packed, scale, zero

    @property
    def bits(self) -> int:
        return 4 if self.packed.dtype == _t.u8 else 8

    @property
    def shape(self) -> tuple[int, int]:
        inputs, outputs = self.packed.shape
        return (inputs * 8 // self.bits, outputs)

    @property
    def group(self) -> int:
        """Inputs that share a scale."""
        return self.shape[0] // self.scale.shape[0]

    @property
    def nbytes(self) -> int:
        """Of the levels, scales and zeros in memory."""
        return self.packed.nbytes + self.scale.nbytes + (0 if self.zero is None else self.zero.nbytes)

    def dequantize(self, dtype: DtypeLike = "f32") -> Tensor:
        """The matrix of these weights, [inputs, outputs]: computed in f32, then converted."""
        inputs, outputs = self.shape
        level = self.packed
        if self.bits == 4:
            shift = _t.reshape(_t.arange(2, dtype=_t.u8) * 4, (1, 2, 1))
            level = _t.bitwise_and(_t.shift_right(_t.reshape(level, (inputs // 2, 1, outputs)), shift), 15)
            if self.zero is None:  # in bytes: an operation of floats less
                level = level.astype(_t.i8) - 8
        level = _t.reshape(level, (-1, self.group, outputs)).astype(_t.f32)
        if self.zero is not None:
            level = level - _t.expand_dims(self.zero, 1)
        weights = level * _t.expand_dims(self.scale, 1)
        return _t.reshape(weights, (inputs, outputs)).astype(dtype)

    def __rmatmul__(self, x: ArrayLike, dtype: DtypeLike | None = None) -> Tensor:
        x = _t.asarray(x)
        if x.dtype not in (_t.f16, _t.bf16, _t.f32, _t.f64):
            raise _t.UserError(
                f"matmul: x is {x.dtype}{list(x.shape)} and the weights are a Quantized, which is unpacked "
                "to the dtype of x: f16, bf16, f32 or f64.\n"
                "  Write x.astype(tn.float32) @ q."
            )
        return _t.matmul(x, self.dequantize(x.dtype), dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuses("has no arithmetic")
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuses(
        "has no arithmetic"
    )
    __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _refuses("has no arithmetic")
    __lt__ = __le__ = __gt__ = __ge__ = _refuses("has no order")
    __matmul__ = _refuses("cannot be multiplied from the right")
    __getitem__ = __iter__ = _refuses("cannot be indexed")
    __array__ = _refuses("is no tensor")  # of whatever takes a tensor: tn.exp(q), np.sum(q)

    def __repr__(self) -> str:
        return f"Quantized({list(self.shape)}, bits={self.bits}, group={self.group}, {self.nbytes} bytes)"


_t._register_structure(Quantized, Quantized.__slots__)


def _integer(name: str, value: _Any, needed: str) -> int:
    try:
        return _index(value)
    except TypeError:
        raise _t.UserError(f"quantized: {name} is {value!r}, but it must be {needed}.") from None


def quantized(w: ArrayLike, bits: int = 8, group: int = 32, symmetric: bool = True) -> Quantized:
    """w in 8 or 4 bits an element, rounded to the nearest level of its group.

    w          f16, bf16 or f32 [inputs, outputs], finite
    group      inputs that share a scale, for each output; divides inputs, and is even
    symmetric  levels lie around 0, and the largest of a group is the last one; else from min(least, 0) to
               max(largest, 0) of a group, so that 0 is in it, with a zero for each group

    Computed at once, so w cannot be an argument of a function that is being traced; a Quantized can.
    An element is off by half a scale at most. A group of zeros stays zeros.
    Raises UserError for another rank or dtype, other bits, a group that does not divide the inputs, no
    inputs, an infinity or NaN, a group whose range f32 does not hold.
    """
    if isinstance(w, Quantized):
        raise _t.UserError(
            f"quantized: w is packed already, {w!r}.\n"
            "  To pack it otherwise, write quantized(q.dequantize(), bits, group)."
        )
    w = _t.asarray(w)
    if len(w.shape) != 2 or w.dtype not in (_t.f16, _t.bf16, _t.f32):
        raise _t.UserError(
            f"quantized: w is {w.dtype}{list(w.shape)}, but weights are f16, bf16 or f32 [inputs, outputs]. "
            "Convert it with astype, or reshape it to two axes."
        )
    if _t._is_traced(w):
        raise _t.UserError(
            f"quantized: w is a traced {w.dtype}{list(w.shape)}, but levels are computed at once, from an "
            "array's elements.\n  Call quantized before the traced function, and pass what it returns as an "
            "argument."
        )
    bits = _integer("bits", bits, "4 or 8")
    if bits not in (4, 8):
        raise _t.UserError(
            f"quantized: bits is {bits}; weights are packed in 4 or 8 bits. Choose one of them."
        )
    group = _integer("group", group, "an even number of inputs")
    inputs, outputs = w.shape
    if inputs == 0:
        raise _t.UserError(
            f"quantized: w is {w.dtype}{list(w.shape)}, which has no inputs, and a scale belongs to a group "
            "of them. Pass at least one group."
        )
    if group < 2 or group % 2 or inputs % group:
        raise _t.UserError(
            f"quantized: group is {group}, but groups of an even number must divide the {inputs} inputs of w "
            f"{list(w.shape)}. Choose another group, or pad w with rows of zeros."
        )
    given, w = w, _t.reshape(w.astype(_t.f32), (inputs // group, group, outputs))
    steps = 2**bits - 1
    lowest = 0 if bits == 4 else -128
    if symmetric:
        middle = 8.0 if bits == 4 else 0.0
        scale = _t.max(_t.abs(w), axis=1, keepdims=True) / float(steps // 2)
        zero = None
    else:
        low = _t.minimum(_t.min(w, axis=1, keepdims=True), 0.0)
        scale = (_t.maximum(_t.max(w, axis=1, keepdims=True), 0.0) - low) / float(steps)
        middle = zero = _t.round(lowest - low / _t.where(scale > 0, scale, 1.0))
    level = _t.clip(_t.round(w / _t.where(scale > 0, scale, 1.0)) + middle, lowest, lowest + steps)
    level = _t.reshape(level, (inputs, outputs)).astype(_t.u8 if bits == 4 else _t.i8)
    if bits == 4:
        low, high = level[0::2], level[1::2]
        level = _t.bitwise_or(low, _t.shift_left(high, 4))
    parts = [level, _t.squeeze(scale, 1)] + ([] if zero is None else [_t.squeeze(zero, 1)])
    is_finite = _t.all(_t.isfinite(scale))  # a NaN or an infinity of a group makes its scale one
    _t.evaluate(*parts, is_finite)
    if not is_finite:
        _refuse_range(given)
    return Quantized(parts[0], parts[1], parts[2] if zero is not None else None)


def _refuse_range(w: Tensor) -> _NoReturn:
    if not _t.all(_t.isfinite(w)):
        raise _t.UserError(
            f"quantized: w {w.dtype}{list(w.shape)} has elements that are infinite or NaN, which no scale "
            "holds. Replace them first: tn.where(tn.isfinite(w), w, 0)."
        )
    raise _t.UserError(
        f"quantized: w {w.dtype}{list(w.shape)} reaches from {float(_t.min(w)):.3g} to "
        f"{float(_t.max(w)):.3g}, and the range of a group is more than f32 holds. "
        "Scale w down, or pass symmetric=True."
    )
