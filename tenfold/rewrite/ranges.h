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
  struct Known {
    Range first;
    std::vector<Range> all;  // of a node with several outputs
    const Range& at(size_t output) const { return all.empty() ? first : all[output]; }
    friend bool operator==(const Known&, const Known&) = default;
  };
  Known compute(const NodeRef&);
  Range compute_map(const Node&, std::span<const Range> in);
  std::vector<Range> scan(const NodeRef&);
  Range select(const Node&);
  void learn(const NodeRef&, Known);
  void widen(const Graph&, size_t parameter, const Range&);  // a parameter's range has grown
  void settle(const Nodes& order);                           // recomputes what depends on that

  std::unordered_map<const Node*, Known> known_;
  Nodes held_;  // the nodes in known_, so that their addresses stay their own
  std::unordered_map<const Node*, std::vector<Range>> of_bodies_;  // parameters of the bodies of scans
  std::unordered_map<const Node*, bool> changed_;                  // since the last settle
};

}  // namespace tenfold::rewrite
