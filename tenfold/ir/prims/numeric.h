// Transcendental functions as graphs over core scalar operations, so that every target computes the same
// function.
//
// Measured against MPFR (tests/cpp/numeric_test.cc states and checks each bound). Each is written so that
// where interval analysis proves a small argument, its reduction steps are identities and fold away with the
// same bits: the whole part k of a reduction is (x * c + magic) - magic, which is exactly 0 there. f16 and
// bf16 compute in f32. The sign of a zero argument is not kept by expm1, log1p, sin and erf.
#pragma once

#include "tenfold/ir/prims/map.h"

namespace tenfold::prims::numeric {

Nodes rsqrt(const Node&, In);
Nodes exp(const Node&, In);
Nodes expm1(const Node&, In);
Nodes log(const Node&, In);
Nodes log1p(const Node&, In);
Nodes sin(const Node&, In);  // f32: every argument. f64: |x| <= 2^45, NaN beyond
Nodes cos(const Node&, In);
Nodes tanh(const Node&, In);
Nodes erf(const Node&, In);
Nodes pow(const Node&, In);

}  // namespace tenfold::prims::numeric
