// Reverse mode for users: the graph of a function and its gradient.
#pragma once

#include <span>

#include "tenfold/ir/prim.h"

namespace tenfold {

// The graph with further results: the gradient of its first result, a floating number of rank 0, with respect
// to the parameters at the positions `wrt`, each of the type of its parameter. UserError if one of them is
// not floating, or a while loop stands between. The result can be differentiated again.
Graph value_and_grad(const Graph&, std::span<const int> wrt);

// Cotangents of the parameters `wrt` for cotangents of all results (those that are not floating are left
// out): parameters are the graph's, then one cotangent for each floating result; results are the graph's,
// then one cotangent for each wrt.
Graph value_and_pullback(const Graph&, std::span<const int> wrt);

}  // namespace tenfold
