// Contractions of f16 and bf16 in tiles that a matrix unit runs (tile/matrix.h).
#pragma once

#include <vector>

#include "tenfold/plan/lower.h"

namespace tenfold::plan {

// Ways worth a try where the machine has such a unit and the cluster is one product of narrow numbers, with
// maps before and after it.
std::vector<Choice> matrix_tiles(const Flat&, const Instances&, const Axes&, const tile::Machine&);

}  // namespace tenfold::plan
