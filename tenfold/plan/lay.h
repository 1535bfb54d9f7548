// Inputs that are the same in every call, laid out ahead: in the order in which a kernel reads them, once.
#pragma once

#include <optional>

#include "tenfold/plan/instances.h"
#include "tenfold/tile/program.h"

namespace tenfold::plan {

// Element [d0, d1, ...] of the new array is element `at` of the input seen as shape `from`, and 0 where that
// lies outside. Each axis stands in one form, as a digit: at = [d1, 64*d0 + d2].
struct Layout {
  Shape from;
  Forms at;
  friend bool operator==(const Layout&, const Layout&) = default;
};

// Makes a kernel read this argument in the order of its loops, or leaves it as it is where it does that
// already, where the argument is small, or where its elements are not read once each (windows, slices,
// tables).
std::optional<Layout> lay_out(tile::Kernel&, size_t argument);

// Does the load read each element of its buffer once, and nothing beside it?
bool reads_all(const Instances&, const Inst& load);
// Whether a load may become one in order, whatever the loops will be.
bool may_lay(const Flat&, const Instances&, const Inst& load);

// The new array, as a graph of moves.
NodeRef laid(const NodeRef& input, const Layout&, const Shape& shape);

// What is wrong with a layout that was written by hand; empty if nothing.
std::string complaint(const Layout&, const Shape& shape, const Shape& input);

}  // namespace tenfold::plan
