// The axes of a contraction, by letters.
#pragma once

#include <string>

namespace tenfold {

struct ContractSpec {
  std::string a, b, out;

  std::string summed() const;  // letters of an input that the output lacks
};

ContractSpec parse_contract(const std::string& text);  // "mk,kn->mn"; UserError where it is none

}  // namespace tenfold
