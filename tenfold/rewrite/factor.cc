// contract(u / c, v) = contract(u, v) / c for a c that does not vary along the summed axes: it rounds
// otherwise, so it is done only where the user grants it.
#include <algorithm>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

// Does every element along the axis have the same value, as far as moves say?
bool uniform_along(const Node& n, int64_t axis) {
  if (n.prim->has("constant")) return true;
  if (n.prim->name != "broadcast") return false;
  const Ints& axes = n.attrs.ints("axes");
  const auto from = std::find(axes.begin(), axes.end(), axis);
  if (from == axes.end()) return true;
  const int64_t dimension = from - axes.begin();
  const Node& input = *n.inputs[0];
  return input.shape()[static_cast<size_t>(dimension)] == Dim(1) || uniform_along(input, dimension);
}

// c without the axes that are summed, over the axes of the result; null where it varies along a summed one.
NodeRef outside(const NodeRef& c, const std::string& letters, const std::string& out, const Shape& shape) {
  NodeRef rest = c;
  std::string kept;
  Shape kept_shape;
  for (size_t d = 0; d < letters.size(); ++d) {
    if (out.find(letters[d]) != std::string::npos) {
      kept += letters[d];
      kept_shape.push_back(c->shape()[d]);
      continue;
    }
    if (!uniform_along(*c, static_cast<int64_t>(d)) || !provably_le(1, c->shape()[d])) return {};
    rest = build::slice_axis(rest, static_cast<int64_t>(d), 0, 1);
  }
  if (kept.size() == letters.size()) return {};  // nothing is summed
  rest = build::reshape(rest, kept_shape);
  Ints order, axes;
  for (size_t d = 0; d < out.size(); ++d)
    if (const size_t at = kept.find(out[d]); at != std::string::npos) {
      order.push_back(static_cast<int64_t>(at));
      axes.push_back(static_cast<int64_t>(d));
    }
  return build::broadcast(build::transpose(rest, order), shape, axes);
}

NodeRef factored(const NodeRef& n) {
  if (n->prim->kind != Kind::contract || !is_float(n->dtype())) return n;
  const ContractSpec spec = parse_contract(n->attrs.text("spec"));
  for (size_t side = 0; side < 2; ++side) {
    const NodeRef& x = n->inputs[side];
    const bool quotient = x->prim->name == "div";
    if (!quotient && x->prim->name != "mul") continue;
    for (size_t which = quotient ? 1 : 0; which < 2; ++which) {
      const NodeRef scale = outside(x->inputs[which], side == 0 ? spec.a : spec.b, spec.out, n->shape());
      if (!scale) continue;
      Nodes inputs = n->inputs;
      inputs[side] = x->inputs[1 - which];
      const NodeRef inner = factored(make(*n->prim, inputs, n->attrs));
      return build::map(x->prim->name, {inner, build::convert(scale, n->dtype())});
    }
  }
  return n;
}

}  // namespace

Graph factor(const Graph& graph) {
  return simplify(rewrite::rewrite(graph, [](const NodeRef& n) {
    return n->types.size() == 1 ? Nodes{factored(n)} : rewrite::outputs(n);
  }));
}

}  // namespace tenfold
