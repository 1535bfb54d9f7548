// From what the user wrote to what is planned: `expand` replaces composed primitives by their graphs over
// core ones, `simplify` removes work that need not be done, without changing a bit of any result.
#pragma once

#include "tenfold/ir/node.h"

namespace tenfold {

struct SimplifyOptions {
  bool ranges = true;  // use interval analysis
  bool unroll = true;  // of scans whose steps share work
};

// The same values, bit for bit; never more work. Enters the bodies of loops.
Graph simplify(const Graph&, const SimplifyOptions& = {});

// The same function over core primitives only: no node of the result, at any depth, has an `expand`.
// `but_scaling`: maps whose degree is known (an exponential that may run with a maximum) stay as they are.
Graph expand(const Graph&, bool but_scaling = false);

// The same without states of scans that no used output depends on.
Graph drop_unused(const Graph&);

// Scales that do not vary along the summed axes of a contraction come after it: other rounding, less work.
Graph factor(const Graph&);

// Products of several arrays in the order of the fewest multiplications: other rounding, less work.
Graph reassociate(const Graph&);

// a b + a c as a (b + c), and a (b + c) as a b + a c where b or c is a product: other rounding, and less work
// where the caller finds so.
Graph common_factors(const Graph&);
Graph distribute(const Graph&);

// A large reduction of few results as one of partial ones, which keep the units of a machine busy. The number
// of parts depends on the shape alone, so the order of the sum does too; reductions of one value split alike
// and go on sharing its loads. Not in the bodies of loops.
Graph split_reductions(const Graph&);

// What a machine sums as it is.
struct Narrow {
  bool bytes = false;         // u8 with i8, in i32; i8 with i8 becomes that
  bool signed_bytes = false;  // i8 with i8 too
  bool pairs = false;         // bf16 that lies along a summed axis of even length, in f32
};

// Contractions of other narrow inputs as ones of inputs converted to what they are summed in; the same bits.
Graph widen(const Graph&, const Narrow&);

// Contractions of f32 as those of two or three pieces of bf16 each: other rounding, less time where a machine
// multiplies bf16 much faster.
Graph in_bf16(const Graph&, int pieces);

// Transposes of what is made of windows of a contraction come before it: it writes the order that is asked
// for; the same bits.
Graph orders(const Graph&);

// The scan with n copies of its body per step; the length must be a multiple of n, or have a constant
// remainder. Returns the outputs.
Nodes unroll(const NodeRef& scan, int64_t n);

// Cost-weighted scalar operations of the map and reduce nodes: what rules must not increase. Symbols at their
// hints; a loop body counts for every step.
double work(const Graph&);

}  // namespace tenfold
