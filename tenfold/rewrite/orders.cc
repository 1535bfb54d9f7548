// transpose(f(x)) = f(transpose(x)) where f is a chain of maps, pads, windows and reductions of which nothing
// else is used, up to the contraction that makes x: it writes its result in another order. So what lies
// between two launches has the order of the result, in which its vectors are contiguous, and not the one of
// the program's text.
#include <algorithm>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

constexpr size_t kLongest = 32;  // nodes of a chain

using Uses = std::unordered_map<const Node*, int>;

Ints inverse(const Ints& permutation) {
  Ints r(permutation.size());
  for (size_t i = 0; i < r.size(); ++i) r[static_cast<size_t>(permutation[i])] = static_cast<int64_t>(i);
  return r;
}

template <class T>
T permuted(const T& of, const Ints& permutation) {
  T r;
  for (int64_t p : permutation) r.push_back(of[static_cast<size_t>(p)]);
  return r;
}

// A chain from a result up to a contraction. Its nodes are known by their places: the walk makes them anew.
struct Chain {
  std::vector<size_t> through;  // the input that leads on, of each node
  bool repeats = false;         // passes a window
};

bool follow(const NodeRef& x, const Uses& uses, Chain& chain) {
  if (uses.at(x.get()) > 1 || x->types.size() != 1 || chain.through.size() > kLongest) return false;
  if (x->prim->kind == Kind::contract) return chain.repeats;
  const std::string_view name = x->prim->name;
  const bool passes =
      x->prim->kind == Kind::map || x->prim->kind == Kind::reduce || name == "pad" || name == "window";
  if (!passes) return false;
  chain.repeats |= x->prim->has("repeats");
  const size_t inputs = x->prim->kind == Kind::map ? x->inputs.size() : 1;
  for (size_t i = 0; i < inputs; ++i) {
    Chain longer = chain;
    longer.through.push_back(i);
    if (!follow(x->inputs[i], uses, longer)) continue;
    chain = std::move(longer);
    return true;
  }
  return false;
}

// transpose(x, permutation) with the transpose at the head of the chain; null where an order stands in the
// way.
NodeRef ordered(const NodeRef& x, const Ints& permutation, const Chain& chain, size_t at = 0) {
  const auto rank = static_cast<int64_t>(permutation.size());
  if (at == chain.through.size()) {
    const ContractSpec spec = parse_contract(x->attrs.text("spec"));
    return build::contract(x->inputs[0], x->inputs[1],
                           spec.a + "," + spec.b + "->" + permuted(spec.out, permutation), x->dtype());
  }
  Nodes inputs = x->inputs;
  NodeRef& next = inputs[chain.through[at]];
  Attrs attrs = x->attrs;
  Ints order = permutation;  // of what the chain leads to
  if (x->prim->kind == Kind::map) {
    for (NodeRef& input : inputs)
      if (&input != &next) input = build::transpose(input, permutation);
  } else if (x->prim->name == "pad") {
    for (const char* side : {"low", "high"}) attrs.set(side, permuted(attrs.shape(side), permutation));
  } else if (x->prim->name == "window") {
    Ints axes = attrs.ints("axes");
    const int64_t kept = rank - static_cast<int64_t>(axes.size());
    for (int64_t i = kept; i < rank; ++i)
      if (permutation[static_cast<size_t>(i)] != i) return {};
    order.resize(static_cast<size_t>(kept));
    const Ints to = inverse(order);
    for (int64_t& a : axes) a = to[static_cast<size_t>(a)];
    if (!std::ranges::is_sorted(axes)) return {};
    attrs.set("axes", axes);
  } else {
    const Ints axes = attrs.ints("axes");
    Ints left;
    for (int64_t a = 0; a < next->rank(); ++a)
      if (!std::ranges::count(axes, a)) left.push_back(a);
    order = permuted(left, permutation);
    Ints last;
    for (const int64_t a : axes) {
      last.push_back(static_cast<int64_t>(order.size()));
      order.push_back(a);
    }
    attrs.set("axes", last);
  }
  next = ordered(next, order, chain, at + 1);
  if (!next) return {};
  return make(*x->prim, std::move(inputs), std::move(attrs));
}

}  // namespace

Graph orders(const Graph& graph) {
  Uses uses;
  bool any = false;
  for (const NodeRef& r : graph.results) ++uses[r.get()];
  for (const NodeRef& n : topological(graph.results))
    for (const NodeRef& i : n->inputs) ++uses[i.get()];
  Graph changed = rewrite::walk(graph, [&](const NodeRef& before, Nodes inputs) {
    NodeRef node = rewrite::remake(before, std::move(inputs), before->attrs);
    Chain chain;
    if (before->prim->name == "transpose" && follow(before->inputs[0], uses, chain))
      if (NodeRef moved = ordered(node->inputs[0], node->attrs.ints("permutation"), chain)) {
        any = true;
        return Nodes{moved};
      }
    return rewrite::outputs(node);
  });
  return any ? simplify(changed) : graph;
}

}  // namespace tenfold
