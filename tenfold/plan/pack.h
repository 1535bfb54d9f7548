// A contraction's rows inside a block, over an operand that is packed: loaded once, in the order of its use.
#pragma once

#include <vector>

#include "tenfold/plan/lower.h"

namespace tenfold::plan {

struct Packing {
  Instances all;
  Choice choice;
};

// The ways worth a try, none where no operand is shared by rows. `unroll` as for first_choice.
std::vector<Packing> packings(const Flat&, const Instances&, const Axes&, const tile::Machine&, int unroll);

}  // namespace tenfold::plan
