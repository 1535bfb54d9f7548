// What a plan must be so that it may run: no plan, however it was made, reaches outside its buffers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tenfold/plan/plan.h"

namespace tenfold::plan {

struct Complaint {  // about a step, a buffer, a kernel or (none of them) all of the plan
  int step = -1;    // counted as they are printed: a loop, then its condition, then its body
  int buffer = -1;
  const tile::Kernel* kernel = nullptr;
  std::string text;
};

// Names and numbers, types, what is written before it is read; kernels, as tile::verify sees them; sizes at
// the symbols' hints. Empty if the plan is well formed.
std::vector<Complaint> verify(const Plan&);

// What depends on the values of the symbols: sizes and the bounds of kernels. Of a plan that verify()
// accepts.
std::vector<Complaint> verify_sizes(const Plan&, const std::map<std::string, int64_t>& symbols);

std::map<std::string, Symbol> symbols_of(const Plan&);

}  // namespace tenfold::plan
