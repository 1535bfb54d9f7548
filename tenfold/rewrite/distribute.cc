// a b + a c = a (b + c), either way: it rounds otherwise, so it is done only where the user grants it.
#include <map>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

bool is_product(const NodeRef& n) { return n->prim->kind == Kind::contract; }
bool is_sum(const NodeRef& n) { return n->prim->name == "add" || n->prim->name == "sub"; }

// A contraction seen from one of its operands, its letters in the order in which they come.
struct Seen {
  NodeRef shared, other;
  std::string out, shared_letters, other_letters;
};

Seen seen_from(const NodeRef& n, size_t side) {
  const ContractSpec spec = parse_contract(n->attrs.text("spec"));
  std::map<char, char> names;
  const auto renamed = [&](const std::string& letters) {
    std::string text;
    for (const char c : letters) {
      const auto name = static_cast<char>('a' + names.size());
      text += names.emplace(c, name).first->second;
    }
    return text;
  };
  Seen s{n->inputs[side], n->inputs[1 - side], renamed(spec.out), {}, {}};
  s.shared_letters = renamed(side == 0 ? spec.a : spec.b);
  s.other_letters = renamed(side == 0 ? spec.b : spec.a);
  return s;
}

// a b + a c as a (b + c), or null.
NodeRef with_common_factor(const NodeRef& sum) {
  const NodeRef &x = sum->inputs[0], &y = sum->inputs[1];
  if (!is_product(x) || !is_product(y)) return {};
  for (size_t i = 0; i < 2; ++i)
    for (size_t j = 0; j < 2; ++j) {
      const Seen p = seen_from(x, i), q = seen_from(y, j);
      if (p.other->dtype() != sum->dtype()) return {};  // the sum is not made in fewer bits
      if (p.shared != q.shared || p.out != q.out || p.shared_letters != q.shared_letters ||
          p.other_letters != q.other_letters || !(p.other->type() == q.other->type()))
        continue;
      return build::contract(p.shared, build::map(sum->prim->name, {p.other, q.other}),
                             fmt::format("{},{}->{}", p.shared_letters, p.other_letters, p.out),
                             sum->dtype());
    }
  return {};
}

// a (b + c) as a b + a c where b or c is a product, whose factors may then meet a one by one; or null.
NodeRef multiplied_out(const NodeRef& n) {
  for (size_t side = 0; side < 2; ++side) {
    const NodeRef& sum = n->inputs[side];
    if (!is_sum(sum) || sum->dtype() != n->dtype() ||
        (!is_product(sum->inputs[0]) && !is_product(sum->inputs[1])))
      continue;
    Nodes parts;
    for (const NodeRef& addend : sum->inputs) {
      Nodes inputs = n->inputs;
      inputs[side] = addend;
      parts.push_back(make(*n->prim, inputs, n->attrs));
    }
    return build::map(sum->prim->name, parts);
  }
  return {};
}

Graph rewritten(const Graph& graph, const auto& applies, const auto& rule) {
  return rewrite::rewrite(graph, [&](const NodeRef& n) {
    NodeRef made = n->types.size() == 1 && is_float(n->dtype()) && applies(n) ? rule(n) : NodeRef();
    return made ? Nodes{made} : rewrite::outputs(n);
  });
}

}  // namespace

Graph common_factors(const Graph& graph) { return rewritten(graph, is_sum, with_common_factor); }

Graph distribute(const Graph& graph) { return rewritten(graph, is_product, multiplied_out); }

}  // namespace tenfold
