// Distributions: graphs over the words of random_bits. Value j of a draw depends on (key, offset + j) only,
// so a simulator may draw all steps at once or each by its own offset and gets the same numbers.
//
// key u32[P..,2]; offset i64[P..], or null for 0; the result is [P.. + shape].
#pragma once

#include "tenfold/ir/node.h"

namespace tenfold::random {

NodeRef bits(const NodeRef& key, const Shape& shape, const NodeRef& offset = {});  // u32

// In [0, 1): multiples of 2^-24 (f32), 2^-11 (f16), 2^-8 (bf16), one word each; of 2^-53 (f64), two words
// each.
NodeRef uniform(const NodeRef& key, const Shape& shape, const NodeRef& offset = {}, Dtype dtype = Dtype::f32);

// Mean 0, variance 1, one word each: the inverse of the normal distribution function at (word + 1/2) / 2^32,
// so |value| <= 6.34. Within 2e-6 of that, relatively, and not below 1e-7 of it absolutely; f64 holds the f32
// value.
NodeRef normal(const NodeRef& key, const Shape& shape, const NodeRef& offset = {}, Dtype dtype = Dtype::f32);

// Integers from low (included) to high (excluded), rank-0 nodes of the result's dtype, 0 < high - low < 2^32;
// one word each. A value's probability is off by less than 2^-32.
NodeRef integers(const NodeRef& key, const Shape& shape, const NodeRef& offset, const NodeRef& low,
                 const NodeRef& high);

}  // namespace tenfold::random
