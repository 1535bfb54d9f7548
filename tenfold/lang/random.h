// Random numbers as pure functions of a key and a position: Philox4x32-10. Word j of a draw is word (offset + j) % 4 of
// block (offset + j) / 4 of the key, so a simulator draws by its step's number and needs no generator in its state.
// Keys may have leading axes; each key then draws `shape` for itself.
#pragma once

#include "tenfold/lang/tensor.h"

namespace tenfold::lang::random {

Tensor key(const Operand& seed);                          // u32[2] of an integer
Tensor split(const Operand& key, int64_t count = 2);      // u32[count,2]
Tensor fold_in(const Operand& key, const Operand& data);  // a new key from a key and an integer

Tensor bits(const Operand& key, const Shape& shape = {}, const Operand& offset = 0);  // u32

// In [low, high): the high bits of a word as a fraction, as many as the dtype's precision; f64 takes words 2j and 2j + 1.
Tensor uniform(const Operand& key, const Shape& shape = {}, const Operand& low = 0.0, const Operand& high = 1.0, const Operand& offset = 0,
               Dtype = Dtype::f32);

// Standard normal, by Box and Muller: number j takes words 2(offset + j) and 2(offset + j) + 1 (f64: four words each).
Tensor normal(const Operand& key, const Shape& shape = {}, const Operand& offset = 0, Dtype = Dtype::f32);

// In [low, high), at most 2^32 values apart: the high half of word * (high - low), so a value's probability is off by at
// most 2^-32.
Tensor integers(const Operand& key, const Operand& low, const Operand& high, const Shape& shape = {}, const Operand& offset = 0,
                Dtype = Dtype::i32);

}  // namespace tenfold::lang::random
