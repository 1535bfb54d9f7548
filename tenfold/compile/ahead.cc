#include "tenfold/compile/ahead.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "tenfold/ir/build.h"

namespace tenfold::compile {
namespace {

constexpr int64_t kLeast = 4096;  // bytes of the parameters: less is computed again in no time
constexpr int64_t kLittle = 8;    // a part of them that may be read on top

int64_t bytes_of(const Type& t) { return volume(t.shape).value() * size_of(t.dtype); }

class Finder {
 public:
  Finder(const Graph& graph, const std::vector<int>& fixed) {
    for (const int index : fixed) {
      const NodeRef& p = graph.parameters[static_cast<size_t>(index)];
      if (is_const(p->shape())) facts_[p.get()] = {true, true, {index}};
      bytes_[index] = is_const(p->shape()) ? bytes_of(p->type()) : 0;
    }
    const std::vector<NodeRef> order = topological(graph.results);
    for (const NodeRef& n : order)
      if (!facts_.contains(n.get())) facts_[n.get()] = facts(*n);
    for (const NodeRef& n : order)
      if (!facts_.at(n.get()).fixed)
        for (const NodeRef& input : n->inputs)
          if (const Facts& f = facts_.at(input.get()); f.fixed && f.moves)
            read_.insert(f.parameters.begin(), f.parameters.end());
    for (const NodeRef& n : order)
      if (!facts_.at(n.get()).fixed)
        for (const NodeRef& input : n->inputs) consider(input);
  }

  const Nodes& found() const { return found_; }
  const std::set<int>& parameters(const NodeRef& n) const { return facts_.at(n.get()).parameters; }

 private:
  struct Facts {
    bool fixed = false, moves = false;  // moves: nothing but those that a layout can make
    std::set<int> parameters = {};
  };

  Facts facts(const Node& n) const {
    if (n.prim->has("parameter") || n.prim->kind == Kind::control || n.types.size() != 1) return {};
    const bool joins = n.prim->has("piecewise") && !n.prim->has("encloses");
    const bool ordered = n.prim->kind == Kind::move && !n.prim->has("mirrors") && !joins;
    Facts out{true, ordered || n.inputs.empty()};
    for (const NodeRef& input : n.inputs) {
      const Facts& from = facts_.at(input.get());
      out.fixed &= from.fixed;
      out.moves &= from.moves;
      out.parameters.insert(from.parameters.begin(), from.parameters.end());
    }
    return out;
  }

  void consider(const NodeRef& n) {
    const Facts& f = facts_.at(n.get());
    if (!f.fixed || f.moves || f.parameters.empty() || !seen_.insert(n.get()).second) return;
    int64_t given = 0, spared = 0;  // bytes that no call reads any more
    for (const int p : f.parameters) {
      given += bytes_.at(p);
      if (!read_.contains(p)) spared += bytes_.at(p);
    }
    if (given < kLeast) return;
    if (is_const(n->shape()) && bytes_of(n->type()) <= std::max(spared, given / kLittle)) {
      found_.push_back(n);
      if (bytes_of(n->type()) > given / kLittle) read_.insert(f.parameters.begin(), f.parameters.end());
      return;
    }
    for (const NodeRef& input : n->inputs) consider(input);
  }

  std::unordered_map<const Node*, Facts> facts_;
  std::unordered_map<int, int64_t> bytes_;
  std::set<int> read_;  // parameters whose bytes are read anyhow, or are accounted for
  std::set<const Node*> seen_;
  Nodes found_;
};

}  // namespace

std::vector<Ahead> compute_ahead(Graph& graph, const std::vector<int>& fixed) {
  if (fixed.empty()) return {};
  const Finder finder(graph, fixed);
  std::vector<Ahead> out;
  std::vector<std::pair<NodeRef, NodeRef>> taken;
  for (const NodeRef& n : finder.found()) {
    Ahead ahead;
    std::vector<std::pair<NodeRef, NodeRef>> renumbered;
    for (const int p : finder.parameters(n)) {
      const NodeRef& old = graph.parameters[static_cast<size_t>(p)];
      ahead.graph.parameters.push_back(
          build::parameter(static_cast<int64_t>(renumbered.size()), old->type()));
      renumbered.emplace_back(old, ahead.graph.parameters.back());
      ahead.from.push_back(p);
    }
    ahead.graph.results = build::substitute({n}, renumbered);
    out.push_back(std::move(ahead));
    taken.emplace_back(
        n, build::parameter(static_cast<int64_t>(graph.parameters.size() + taken.size()), n->type()));
  }
  if (taken.empty()) return {};
  graph.results = build::substitute(graph.results, taken);
  for (const auto& [from, to] : taken) graph.parameters.push_back(to);
  return out;
}

}  // namespace tenfold::compile
