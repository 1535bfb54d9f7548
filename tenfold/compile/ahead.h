// What depends on fixed parameters alone is the same in every call: it is computed once, before the first.
#pragma once

#include <vector>

#include "tenfold/ir/node.h"

namespace tenfold::compile {

// A further parameter of a graph: `graph` of the parameters `from`.
struct Ahead {
  std::vector<int> from;
  Graph graph;
};

// Takes out of the graph what only these parameters decide, where a call then reads no more bytes (a narrower
// copy of weights, a scaled one) or few more (a sum of them), and makes each a parameter after the others.
// Copies in another order are left to the planner, which knows the order it wants.
std::vector<Ahead> compute_ahead(Graph&, const std::vector<int>& fixed);

}  // namespace tenfold::compile
