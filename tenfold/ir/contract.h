// The axes of a contraction, by letters.
#pragma once

#include <string>

#include "tenfold/ir/node.h"

namespace tenfold {

struct ContractSpec {
  std::string a, b, out;

  std::string summed() const;  // letters of an input that the output lacks
};

ContractSpec parse_contract(const std::string& text);  // "mk,kn->mn"; UserError where it is none

// Of the result for inputs of these shapes; UserError if axes do not fit. Dtypes are not looked at.
Shape contract_shape(const std::string& text, const Type& a, const Type& b);
// Whether products of these may be summed in `result`: in the dtype that both have; f16 and bf16 in f32;
// integers of 8 and 16 bits in i32, modulo 2^32.
bool sums_in(Dtype a, Dtype b, Dtype result);

}  // namespace tenfold
