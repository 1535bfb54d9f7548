#include "tenfold/plan/alike.h"

#include <algorithm>

namespace tenfold::plan {
namespace {

size_t hash_of(const Type& t) {
  size_t h = static_cast<size_t>(t.dtype);
  for (const Dim& d : t.shape) h = h * 31 + static_cast<size_t>(d.hint());
  return h;
}

// One number for all ops that do the same.
class Numbers {
 public:
  int of(const Op& op) {
    size_t h = hash_of(op.type) * 31 + static_cast<size_t>(op.output);
    if (op.node) h = (h * 31 + op.node->attrs.hash()) * 31 + std::hash<const void*>()(op.node->prim);
    std::vector<const Op*>& alike = seen_[h];
    for (size_t k = 0; k < alike.size(); ++k)
      if (same(op, *alike[k])) return numbers_.at(alike[k]);
    alike.push_back(&op);
    return numbers_[&op] = static_cast<int>(numbers_.size());
  }

 private:
  static bool same(const Op& a, const Op& b) {
    if (a.kind != b.kind || a.output != b.output || !(a.type == b.type) || !a.node != !b.node) return false;
    if (!a.node) return true;
    auto types = [](const NodeRef& x, const NodeRef& y) { return x->types == y->types; };
    return a.node->prim == b.node->prim && a.node->attrs == b.node->attrs && a.node->types == b.node->types &&
           std::ranges::equal(a.node->inputs, b.node->inputs, types);
  }

  std::unordered_map<size_t, std::vector<const Op*>> seen_;
  std::unordered_map<const Op*, int> numbers_;
};

}  // namespace

Alike::Alike(const Flat& flat) : flat_(flat) {
  Numbers numbers;
  std::vector<Op> bare;  // what comes from elsewhere is its type, but for constants
  bare.reserve(flat.ops.size());
  for (const Op& op : flat.ops) {
    inside_.push_back(numbers.of(op));
    Op& from = bare.emplace_back();
    from.kind = Op::Kind::leaf;
    from.type = op.type;
    from.output = op.fixed ? 1 : 0;
    outside_.push_back(op.kind == Op::Kind::constant ? inside_.back() : numbers.of(from));
  }
}

Alike::Form Alike::form(const std::vector<int>& units, const std::vector<int>& outputs) const {
  Form f;
  std::unordered_map<int, int> number;
  auto refer = [&](int op, const std::vector<int>& what) {
    const auto [at, fresh] = number.try_emplace(op, static_cast<int>(f.ops.size()));
    f.text.push_back(at->second);
    if (!fresh) return;
    f.ops.push_back(op);
    f.text.push_back(what[static_cast<size_t>(op)]);
  };
  for (const int u : units) {
    const Unit& unit = flat_.units[static_cast<size_t>(u)];
    if (unit.node->prim->kind == Kind::control) return {};
    f.text.push_back(-1);
    for (const int o : unit.ops) {
      for (const int i : flat_.ops[static_cast<size_t>(o)].inputs) refer(i, outside_);
      refer(o, inside_);
    }
  }
  f.text.push_back(-2);
  for (const int o : outputs) refer(o, inside_);
  return f;
}

}  // namespace tenfold::plan
