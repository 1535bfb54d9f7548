// Interval analysis of a graph: where the elements of each value lie. Selects are refined by their mask; the
// carries of a scan are iterated to a fixpoint.
#pragma once

#include <unordered_map>
#include <vector>

#include "tenfold/ir/prim.h"

namespace tenfold::rewrite {

class Ranges {
 public:
  Ranges() = default;                                       // nothing is known of parameters
  Ranges(const Graph&, std::span<const Range> parameters);  // of the graph

  Range of(const NodeRef& node) { return of(node, 0); }
  Range of(const NodeRef&, size_t output);

  // Of the parameters of a sub-graph of the node: what holds at every step.
  std::vector<Range> of_parameters(const NodeRef& control, const Graph& body);

 private:
  std::vector<Range> compute(const NodeRef&);
  std::vector<Range> scan(const NodeRef&);
  Range select(const Node&);

  std::unordered_map<NodeRef, std::vector<Range>> known_;
  std::unordered_map<NodeRef, std::vector<Range>> of_bodies_;  // parameters of the bodies of scans
};

}  // namespace tenfold::rewrite
