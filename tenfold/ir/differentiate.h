// The engine of reverse mode: vjp records of loops and branches need the derivative of a body, so it stands
// here; grad/ is what users call.
#pragma once

#include "tenfold/ir/prim.h"

namespace tenfold {

// Cotangents of `wrt`, given those of `results`; a null entry, on either side, is zero. The wrt nodes are
// leaves: nothing goes through one of them to another. Integers and booleans have no cotangent. Iterative,
// linear in what lies between.
Nodes pullback(const Nodes& results, const Nodes& cotangents, const Nodes& wrt);

// The same for a closed graph. Parameters: the graph's, then a cotangent for each result of which `given`
// holds. Results: a cotangent for each parameter of which `is_used` holds: those that are not zero, and the
// `forced` ones (empty: none).
struct PullbackGraph {
  Graph graph;
  std::vector<bool> is_used;
};
PullbackGraph pullback_graph(const Graph&, const std::vector<bool>& given, const std::vector<bool>& wrt,
                             const std::vector<bool>& forced = {});

// Scans with the same inputs that compute the same carries become one scan with the results of all: the one
// that gives a value and the one that also stores its carries for the derivative.
Nodes share_loops(Nodes roots);

// Scans without the outputs that nobody uses, the carries that only serve those, and the inputs that only
// serve those.
Nodes prune_loops(Nodes roots);

// The scan as a loop over chunks of `checkpoint` steps, so that its derivative stores a carry for each chunk
// and computes the steps inside anew. The outputs of the scan.
Nodes chunked_scan(const Node& scan, std::span<const NodeRef> inputs);

// vjp of a node by way of its record's `expand`.
Nodes pullback_of_expansion(const NodeRef& y, std::span<const NodeRef> dy);

// vjp of a scan (its record).
Nodes scan_vjp(const NodeRef& y, std::span<const NodeRef> dy);

}  // namespace tenfold
