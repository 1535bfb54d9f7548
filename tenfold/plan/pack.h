// A contraction's rows inside a block, over an operand that is packed: loaded once, in the order of its use.
#pragma once

#include <optional>
#include <vector>

#include "tenfold/plan/lower.h"

namespace tenfold::plan {

struct Packing {
  Instances all;
  Choice choice;
};

// Atom a as blocks of `size` elements, which divides it; no blocks where that is all of it.
struct Split {
  AtomId blocks, within;
};
Split split(Instances&, AtomId a, int64_t size);

// How many neighbours along a one instruction sums of a product; 1: no product of such numbers is summed
// along it.
int64_t group_along(const Flat&, const Instances&, AtomId a, const tile::Machine&);

// The ways worth a try, none where no operand is shared by rows. `unroll` as for first_choice.
std::vector<Packing> packings(const Flat&, const Instances&, const Axes&, const tile::Machine&, int unroll);

// A product of few rows with an operand that goes by from memory: a block takes long pieces of each of its
// rows, a few rows at a time, and the running tiles wait in scratch.
std::optional<Packing> by_pieces(const Flat&, const Instances&, const Axes&, const tile::Machine&,
                                 int unroll);

// Where a maximum runs: over blocks of its axis, each of which is kept in scratch while all that scales with
// the maximum meets it. Memory is that of a block, whatever the length of the axis.
std::optional<Packing> by_blocks(const Flat&, const Instances&, const Axes&, const tile::Machine&,
                                 int unroll);

}  // namespace tenfold::plan
