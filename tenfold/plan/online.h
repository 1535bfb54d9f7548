// A maximum that runs beside what is scaled by it (PLANNER.md section 3): in one pass over a row, a sum of
// exp(x - m) is multiplied by exp(old m - new m) whenever m grows. From the degrees that records state
// follows what may run so: a row that does not fit the cache is read once less.
#pragma once

#include <vector>

#include "tenfold/plan/instances.h"

namespace tenfold::plan {

struct Online {
  int maximum = -1;             // the instance of the maximum that runs; -1: none
  std::vector<Degree> degrees;  // by instance: how its value scales with the running maximum

  // Is the value known in terms of a maximum that is not final yet?
  bool follows(int i) const;
  // ... and not what it will be in the end?
  bool scales(int i) const;
};

// The first maximum that a sum or a contraction scales with.
Online find_online(const Flat&, const Instances&);

}  // namespace tenfold::plan
