// Turns of a running maximum's loop that change nothing: a mask leaves -inf alone.
#include "tenfold/plan/lowering.h"

namespace tenfold::plan {
namespace {

// The most that f is, over all atoms but the fixed ones.
Form highest(const Form& f, const tile::Kernel& kernel, const std::vector<AtomId>& fixed) {
  Form most = Form::point(f.offset);
  for (const Term& t : f.terms) {
    if (contains(fixed, t.atom))
      most.terms.push_back(t);
    else
      most.offset += max(Dim(0), t.coef * (kernel.atoms[static_cast<size_t>(t.atom)].extent - 1));
  }
  return most;
}

}  // namespace

bool Lowering::made_in(const Nest& n, int i) const {
  if (std::ranges::find(n.leaf, i) != n.leaf.end()) return true;
  return std::ranges::any_of(n.children, [&](const Nest& c) { return made_in(c, i); });
}

// The number that x is, if it is one of positions alone.
std::optional<Form> Lowering::affine(int x) const {
  const Inst& i = inst(x);
  if (op(x).type.dtype != Dtype::i32 && op(x).type.dtype != Dtype::i64) return {};
  if (i.kind == Inst::Kind::index) return i.dims[0];
  if (i.kind == Inst::Kind::constant)
    return Form::point(static_cast<int64_t>(op(x).node->attrs.scalar("value").i()));
  if (i.kind != Inst::Kind::compute) return {};
  const Prim& p = *op(x).node->prim;
  if (p.name == "convert") return affine(i.inputs[0].inst);
  if (p.name != "add" && p.name != "sub") return {};
  const auto a = affine(i.inputs[0].inst), b = affine(i.inputs[1].inst);
  if (!a || !b) return {};
  return added(*a, scaled(*b, p.name == "add" ? 1 : -1, 0));
}

// Whether mask x is `wanted` anywhere in this turn, asked of the highest positions alone; no value where that
// does not tell.
Operand Lowering::possible(int x, bool wanted, Body& body) {
  const Inst& i = inst(x);
  if (i.kind != Inst::Kind::compute) return {};
  const std::string_view name = op(x).node->prim->name;
  if (name == "logical_not") return possible(i.inputs[0].inst, !wanted, body);
  if (name == "logical_and" || name == "logical_or") {
    const Operand a = possible(i.inputs[0].inst, wanted, body), b = possible(i.inputs[1].inst, wanted, body);
    const bool both = (name == "logical_and") == wanted;
    if (a.value >= 0 && b.value >= 0)
      return map(body, both ? "logical_and" : "logical_or", {a, b}, {}, Dtype::boolean);
    return !both ? Operand{} : a.value >= 0 ? a : b;
  }
  const bool less = name == "less" || name == "less_equal",
             greater = name == "greater" || name == "greater_equal";
  if (!less && !greater) return {};
  const auto a = affine(i.inputs[0].inst), b = affine(i.inputs[1].inst);
  if (!a || !b) return {};
  // wanted: the difference reaches the limit somewhere
  const bool falls = less == wanted;
  const bool strict = (name == "less" || name == "greater") == wanted;
  const Form difference = kernel_form(falls ? added(*b, scaled(*a, -1, 0)) : added(*a, scaled(*b, -1, 0)));
  std::vector<AtomId> fixed = grid_;
  fixed.push_back(outer_[choice_.around]);
  Stmt s;
  s.op = tile::Op::index;
  s.forms = {highest(difference, kernel_, fixed)};
  const Operand at = add_stmt(body, std::move(s), Dtype::i64);
  return map(body, "greater_equal", {at, constant(body, Scalar(strict ? 1 : 0), Dtype::i64)}, {},
             Dtype::boolean);
}

// Whether x is anything but the maximum's start in this turn.
Operand Lowering::some_seen(int x, Body& body) {
  const Inst& i = inst(x);
  if (i.kind != Inst::Kind::compute) return {};
  const std::string_view name = op(x).node->prim->name;
  if (name == "add") {
    const Operand a = some_seen(i.inputs[0].inst, body);
    return a.value >= 0 ? a : some_seen(i.inputs[1].inst, body);
  }
  if (name != "select") return {};
  for (const size_t k : {size_t{1}, size_t{2}}) {
    const int none = i.inputs[k].inst;
    if (inst(none).kind == Inst::Kind::constant &&
        op(none).node->attrs.scalar("value").f() == start(online_.maximum).f())
      return possible(i.inputs[0].inst, k == 2, body);
  }
  return {};
}

void Lowering::pass_over(Body& turn) {
  Body before;
  const Operand seen = some_seen(inst(online_.maximum).inputs[0].inst, before);
  if (seen.value < 0) return;
  auto branch = std::make_unique<tile::If>();
  branch->mask = seen;
  branch->body = std::move(turn);
  before.push_back(std::move(branch));
  turn = std::move(before);
}

}  // namespace tenfold::plan
