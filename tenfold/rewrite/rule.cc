#include "tenfold/rewrite/rule.h"

#include <array>

#include "tenfold/ir/build.h"
#include "tenfold/ir/prims/map.h"

namespace tenfold::rewrite {
namespace {

constexpr int kVariables = 4;
using Bindings = std::array<NodeRef, kVariables>;

bool match(const Pattern& p, const NodeRef& n, Bindings& bound) {
  switch (p.kind) {
    case Pattern::Kind::variable: {
      NodeRef& b = bound[p.variable];
      if (b) return b == n;
      b = n;
      return true;
    }
    case Pattern::Kind::number: {
      const std::optional<Scalar> c = constant_of(n);
      return c && *c == Scalar(p.number).round_to(n->dtype());
    }
    case Pattern::Kind::primitive: break;
  }
  if (n->prim->name != p.primitive || n->inputs.size() != p.inputs.size()) return false;
  const Bindings before = bound;
  auto in_order = [&](bool swapped) {
    bound = before;
    for (size_t k = 0; k < p.inputs.size(); ++k)
      if (!match(p.inputs[k], n->inputs[swapped ? p.inputs.size() - 1 - k : k], bound)) return false;
    return true;
  };
  return in_order(false) || (n->prim->has("commutative") && in_order(true));
}

bool takes(const Rule& rule, Dtype d) {
  return prims::accepts(rule.dtypes, d) && (!(rule.flags & kWide) || d == Dtype::f32 || d == Dtype::f64);
}

// Numbers take the type `like`; inside a primitive, that of the first operand which is no number.
NodeRef construct(const Pattern& p, const Bindings& bound, const Type& like) {
  if (p.kind == Pattern::Kind::variable) return bound[p.variable];
  if (p.kind == Pattern::Kind::number) return build::full(Scalar(p.number), like);
  Type type = like;
  for (const Pattern& i : p.inputs)
    if (i.kind != Pattern::Kind::number) {
      type = construct(i, bound, like)->type();
      break;
    }
  Nodes inputs;
  for (const Pattern& i : p.inputs) inputs.push_back(construct(i, bound, type));
  return make(p.primitive, std::move(inputs));
}

// Which variables a pattern has, and which of them are masks.
void variables(const Pattern& p, std::array<int, kVariables>& seen) {
  if (p.kind == Pattern::Kind::variable) seen[p.variable] |= 1;
  for (size_t k = 0; k < p.inputs.size(); ++k) {
    variables(p.inputs[k], seen);
    const bool is_mask = k == 0 && prim(p.primitive).has("select");
    const Pattern& i = p.inputs[k];
    if (is_mask && i.kind == Pattern::Kind::variable) seen[i.variable] |= 2;
    if (is_mask)
      for (const Pattern& inner : i.inputs)
        if (inner.kind == Pattern::Kind::variable) seen[inner.variable] |= 2;
  }
}

}  // namespace

std::optional<Scalar> constant_of(const NodeRef& node) {
  const Node* n = node.get();
  while (n->prim->kind == Kind::move && n->inputs.size() == 1) n = n->inputs[0].get();
  if (!n->prim->has("constant")) return {};
  return n->attrs.scalar("value");
}

NodeRef apply(const Rule& rule, const NodeRef& n) {
  if (n->prim->name != rule.from.primitive) return {};
  const NodeRef& first = n->prim->has("select") ? n->inputs[1] : n->inputs[0];
  if (!takes(rule, first->dtype())) return {};
  Bindings bound;
  if (!match(rule.from, n, bound)) return {};
  return construct(rule.to, bound, n->type());
}

std::optional<Sides> instantiate(const Rule& rule, const Type& type) {
  if (!takes(rule, type.dtype)) return {};
  std::array<int, kVariables> seen{};
  variables(rule.from, seen);
  Bindings bound;
  Graph g;
  for (int v = 0; v < kVariables; ++v) {
    if (!seen[v]) continue;
    const Type t = seen[v] & 2 ? Type{Dtype::boolean, type.shape} : type;
    bound[v] = build::parameter(static_cast<int64_t>(g.parameters.size()), t);
    g.parameters.push_back(bound[v]);
  }
  Sides sides{g, g};
  try {
    sides.from.results = {construct(rule.from, bound, type)};
  } catch (const UserError&) {  // not every primitive of the rule takes the dtype
    return {};
  }
  sides.to.results = {construct(rule.to, bound, sides.from.results[0]->type())};
  return sides;
}

}  // namespace tenfold::rewrite
