"""Weights that stay packed in memory and are unpacked where they are used: tn.quantized."""

from __future__ import annotations

from collections import namedtuple as _namedtuple

from tenfold import _tenfold as _t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tenfold._tenfold import ArrayLike, DtypeLike, Tensor


class Quantized(_namedtuple("Quantized", ("packed", "scale", "zero"))):
    """A matrix [inputs, outputs] in 8 or 4 bits an element: (level - zero) * scale, by groups of inputs.

    packed  8 bits: i8[inputs, outputs], the levels; 4 bits: u8[inputs / 2, outputs], two levels from 0 to 15
            a byte, that of input 2i in the low half
    scale   f32[inputs / group, outputs]
    zero    f32[inputs / group, outputs], the level of 0; None: 0 in 8 bits, 8 in 4 bits
    Source  the groups and formats of weight-only quantisation, as in GPTQ (arXiv:2210.17323) and llama.cpp

    x @ q and tn.matmul(x, q) are products with q.dequantize(), unpacked inside the product: what is read
    from memory is what is packed. A tuple of tensors, it may be an argument of a compiled function.
    """

    __slots__ = ()
    __array_ufunc__ = None  # the operators of tensors and NumPy's arrays leave x @ q to __rmatmul__

    packed: Tensor
    scale: Tensor
    zero: Tensor | None

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
        return sum(part.nbytes for part in self if part is not None)

    def dequantize(self, dtype: DtypeLike = "f32") -> Tensor:
        """The matrix of these weights, [inputs, outputs]: computed in f32, then converted."""
        inputs, outputs = self.shape
        level = self.packed
        if self.bits == 4:
            shift = _t.reshape(_t.arange(2, dtype=_t.u8) * 4, (1, 2, 1))
            level = _t.bitwise_and(_t.shift_right(_t.reshape(level, (inputs // 2, 1, outputs)), shift), 15)
        level = _t.reshape(level, (-1, self.group, outputs)).astype(_t.f32)
        zero = (8.0 if self.bits == 4 else 0.0) if self.zero is None else _t.expand_dims(self.zero, 1)
        weights = (level - zero) * _t.expand_dims(self.scale, 1)
        return _t.reshape(weights, (inputs, outputs)).astype(dtype)

    def __rmatmul__(self, x: ArrayLike) -> Tensor:
        x = _t.asarray(x)
        return _t.matmul(x, self.dequantize(x.dtype))

    def __repr__(self) -> str:
        return f"Quantized({list(self.shape)}, bits={self.bits}, group={self.group}, {self.nbytes} bytes)"


def quantized(w: ArrayLike, bits: int = 8, group: int = 32, symmetric: bool = True) -> Quantized:
    """w in 8 or 4 bits an element, rounded to the nearest level of its group.

    w          f16, bf16 or f32 [inputs, outputs]
    group      inputs that share a scale, for each output; divides inputs, and is even
    symmetric  levels lie around 0, and the largest of a group is the last one; else from its least element to
               its largest, with a zero for each group

    Computed at once, so w cannot be an argument of a function that is being traced; a Quantized can.
    An element is off by half a scale at most. A group of zeros stays zeros.
    Raises UserError for another rank or dtype, other bits, a group that does not divide the inputs.
    """
    w = _t.asarray(w)
    if len(w.shape) != 2 or w.dtype not in (_t.f16, _t.bf16, _t.f32):
        raise _t.UserError(
            f"quantized: w is {w.dtype}{list(w.shape)}, but weights are f16, bf16 or f32 [inputs, outputs]. "
            "Convert it with astype, or reshape it to two axes."
        )
    if bits not in (4, 8):
        raise _t.UserError(
            f"quantized: bits is {bits}; weights are packed in 4 or 8 bits. Choose one of them."
        )
    inputs, outputs = w.shape
    if group < 2 or group % 2 or inputs % group:
        raise _t.UserError(
            f"quantized: group is {group}, but groups of an even number must divide the {inputs} inputs of w "
            f"{list(w.shape)}. Choose another group, or pad w with rows of zeros."
        )
    w = _t.reshape(w.astype(_t.f32), (inputs // group, group, outputs))
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
    _t.evaluate(*parts)
    return Quantized(parts[0], parts[1], parts[2] if zero is not None else None)
