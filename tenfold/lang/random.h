// Random numbers as pure functions of a key and a position: Philox4x32-10. Word j of a draw is word (offset +
// j) % 4 of block (offset + j) / 4 of the key, so a simulator draws by its step's number and needs no
// generator in its state. Keys may have leading axes; each key then draws `shape` for itself.
#pragma once

#include "tenfold/lang/tensor.h"

namespace tenfold::lang::random {

Tensor key(const Operand& seed);                          // u32[2] of an integer
Tensor split(const Operand& key, int64_t count = 2);      // u32[count,2]
Tensor fold_in(const Operand& key, const Operand& data);  // a new key from a key and an integer

Tensor bits(const Operand& key, const Shape& shape = {}, const Operand& offset = 0);  // u32

// In [low, high), one word each (f64: two). See ir/random.h for the exact values.
Tensor uniform(const Operand& key, const Shape& shape = {}, const Operand& low = 0.0,
               const Operand& high = 1.0, const Operand& offset = 0, Dtype = Dtype::f32);

// Standard normal, one word each: the inverse of the distribution function.
Tensor normal(const Operand& key, const Shape& shape = {}, const Operand& offset = 0, Dtype = Dtype::f32);

// In [low, high), less than 2^32 values apart; one word each. A value's probability is off by less than
// 2^-32.
Tensor integers(const Operand& key, const Operand& low, const Operand& high, const Shape& shape = {},
                const Operand& offset = 0, Dtype = Dtype::i32);

}  // namespace tenfold::lang::random
