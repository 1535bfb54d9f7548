// The statements of a leaf, and votes before work that few elements need.
#include "tenfold/plan/lowering.h"

namespace tenfold::plan {
namespace {

constexpr double kVote = 60;  // scalar operations a point worth a vote before them

}  // namespace

void Lowering::leaf(const IntList& list, Scope& scope, Body& body) {
  std::vector<Vote> votes = find_votes(list);
  if (votes.empty()) {
    for (int i : list) statement(i, scope, body);
    return;
  }
  // Each vote is one item; items in topological order, depth first from the end of the list.
  std::unordered_map<int, int> item;  // instance -> vote
  for (size_t v = 0; v < votes.size(); ++v)
    for (int i : votes[v].body) item[i] = static_cast<int>(v);
  std::set<int> done, done_votes, here(list.begin(), list.end());
  std::function<void(int)> place = [&](int i) {
    auto in = item.find(i);
    if (in == item.end()) {
      if (!done.insert(i).second) return;
      for (int p : real_inputs(i))
        if (here.contains(p)) place(p);
      statement(i, scope, body);
      return;
    }
    Vote& v = votes[in->second];
    if (!done_votes.insert(in->second).second) return;
    if (here.contains(v.mask)) place(v.mask);
    for (int m : v.body)
      for (int p : real_inputs(m))
        if (here.contains(p) && !item.contains(p))
          place(p);
        else if (here.contains(p) && item[p] != in->second)
          place(p);
    auto branch = std::make_unique<tile::If>();
    branch->mask = input(body, scope, v.select, 0);
    Scope inside = scope;  // what is read back in here is not there for those outside
    for (int m : v.body) statement(m, inside, branch->body);
    for (int m : v.body)
      if (auto at = inside.find(m); at != inside.end()) scope[m] = at->second;
    body.push_back(std::move(branch));
  };
  for (int i : list)
    if (!item.contains(i)) place(i);
}

// Work whose only use is the chosen side of selects by one mask: it runs where any element of the tile
// chooses it.
std::vector<Lowering::Vote> Lowering::find_votes(const IntList& list) {
  std::vector<Vote> votes;
  std::map<int, IntList> selects;  // mask -> selects by it
  std::vector<int> where(n_, -1);
  for (size_t k = 0; k < list.size(); ++k) where[list[k]] = static_cast<int>(k);
  for (int i : list)
    if (inst(i).kind == Inst::Kind::compute && op(i).node->prim->has("select") &&
        inst(inst(i).inputs[0].inst).kind == Inst::Kind::compute)
      selects[inst(i).inputs[0].inst].push_back(i);
  std::set<int> taken;
  std::map<int, std::vector<int>> by_position;
  for (auto& [mask, list_of] : selects) by_position[where[list_of[0]] < 0 ? 0 : list_of[0]].push_back(mask);
  for (auto& [position, masks] : by_position)
    for (int mask : masks) {
      const IntList& by = selects[mask];
      std::set<int> chosen(by.begin(), by.end()), guarded, after;
      if (by.size() > 1)
        for (int i : list) {  // what depends on a select by this mask cannot stand before it
          bool dependent = chosen.contains(i);
          for (int p : real_inputs(i)) dependent = dependent || after.contains(p);
          if (dependent) after.insert(i);
        }
      double work = 0;
      IntList found;
      std::set<int> near;  // positions of what may be guarded: users come first
      auto ask = [&](int i) {
        if (i >= 0 && where[i] >= 0) near.insert(where[i]);
      };
      for (int select : by) ask(inst(select).inputs[1].inst);
      while (!near.empty()) {
        const int i = list[static_cast<size_t>(*near.rbegin())];
        near.erase(std::prev(near.end()));
        const Inst& x = inst(i);
        if (x.kind != Inst::Kind::compute && x.kind != Inst::Kind::load) continue;
        if (after.contains(i) || taken.contains(i) || kept_.contains(i) || users_[i].empty()) continue;
        const bool only = std::ranges::all_of(users_[i], [&](int u) {
          if (guarded.contains(u)) return true;
          const Inst& s = inst(u);
          return chosen.contains(u) && s.inputs[1].inst == i && s.inputs[0].inst != i &&
                 s.inputs[2].inst != i;
        });
        if (!only || op(i).node == nullptr) continue;
        guarded.insert(i);
        found.push_back(i);
        if (x.kind == Inst::Kind::compute) work += op(i).node->prim->cost;
        for (int p : real_inputs(i)) ask(p);
      }
      if (work < kVote) continue;
      std::reverse(found.begin(), found.end());
      taken.insert(found.begin(), found.end());
      votes.push_back({mask, by[0], std::move(found)});
    }
  return votes;
}

void Lowering::define(int i, const Operand& o, Scope& scope, Body& body) {
  scope[i] = o;
  if (kept_.contains(i) && written_.insert(i).second)
    write_scratch(body, scratch_of(i, dtype(i)), o, storage_forms(kept_dims(i)), axes(inst(i).dims));
  if (spread_.contains(i)) scope.erase(i);
}

void Lowering::statement(int i, Scope& scope, Body& body) {
  const Inst& x = inst(i);
  switch (x.kind) {
    case Inst::Kind::carry: return;  // the loop's own
    case Inst::Kind::load: {
      Stmt s;
      s.op = tile::Op::load;
      s.arg = input_arg_.at(x.op);
      s.forms = kernel_forms(x.dims);
      s.axes = axes(x.dims);
      return define(i, add_stmt(body, std::move(s), op(i).type.dtype), scope, body);
    }
    case Inst::Kind::constant:
      return define(i, constant(body, op(i).node->attrs.scalar("value"), op(i).type.dtype), scope, body);
    case Inst::Kind::index: {
      Dtype want = op(i).type.dtype;
      Operand o = index(body, x.dims[0], is_int(want) ? want : Dtype::i64);
      return define(i, convert(body, o, want), scope, body);
    }
    case Inst::Kind::store: {
      Operand from = input(body, scope, i, 0);
      Stmt s;
      s.op = tile::Op::store;
      s.arg = output_arg_.at(x.op);
      s.forms = kernel_forms(x.dims);
      s.axes = axes(x.dims);
      s.operands = {from};
      body.push_back(std::move(s));
      return;
    }
    case Inst::Kind::compute: return compute(i, scope, body);
    case Inst::Kind::reduce:
    case Inst::Kind::contract: return fold(i, scope, body);
  }
}

void Lowering::compute(int i, Scope& scope, Body& body) {
  const Inst& x = inst(i);
  const Node& n = *op(i).node;
  const Prim& p = *n.prim;
  if (p.kind == Kind::map) {
    std::vector<Operand> operands;
    for (size_t k = 0; k < x.inputs.size(); ++k) operands.push_back(input(body, scope, i, k));
    if (p.expand) return define(i, composed(body, scalar_graph(n), operands, axes(x.dims)), scope, body);
    Stmt s;
    s.op = tile::Op::map;
    s.prim = &p;
    s.attrs = n.attrs;
    s.operands = std::move(operands);
    s.axes = axes(x.dims);
    return define(i, add_stmt(body, std::move(s), n.dtype()), scope, body);
  }
  if (p.has("piecewise")) return define(i, piecewise(i, scope, body), scope, body);
  if (p.kind == Kind::index) return define(i, gather(i, scope, body), scope, body);
  throw Barrier{fmt::format("{} has no tile statement", p.name)};
}

Operand Lowering::less(Body& body, const Form& e, const Dim& limit) {
  Operand at = index(body, e, Dtype::i64);
  std::vector<AtomId> ax = kernel_.values[at.value].axes;
  return map(body, "less", {at, dim_value(body, limit)}, ax, Dtype::boolean);
}

Operand Lowering::dim_value(Body& body, const Dim& d) {
  if (d.is_const()) return constant(body, Scalar(d.value()), Dtype::i64);
  return index(body, Form::point(d), Dtype::i64);
}

// pad and concatenate: each element chooses its piece by its own number.
Operand Lowering::piecewise(int i, Scope& scope, Body& body) {
  const Inst& x = inst(i);
  const Node& n = *op(i).node;
  std::vector<AtomId> ax = axes(x.dims);
  if (n.attrs.find("axis")) {
    int64_t axis = n.attrs.integer("axis");
    Operand out;
    for (size_t k = x.inputs.size(); k-- > 0;) {
      if (x.inputs[k].inst < 0) continue;
      Operand piece = input(body, scope, i, k);
      if (out.value < 0)
        out = piece;
      else
        out = map(body, "select", {less(body, x.asked[k][axis], n.inputs[k]->shape()[axis]), piece, out}, ax,
                  n.dtype());
    }
    return out;
  }
  Operand out = input(body, scope, i, 0), fill = input(body, scope, i, 1);
  const Shape& low = n.attrs.shape("low");
  const Shape& high = n.attrs.shape("high");
  for (size_t d = 0; d < low.size(); ++d) {
    const Form& e = x.asked[0][d];
    if (low[d] != Dim(0)) out = map(body, "select", {less(body, e, 0), fill, out}, ax, n.dtype());
    if (high[d] != Dim(0))
      out = map(body, "select", {less(body, e, n.inputs[0]->shape()[d]), out, fill}, ax, n.dtype());
  }
  return out;
}

Operand Lowering::gather(int i, Scope& scope, Body& body) {
  const Inst& x = inst(i);
  if (x.inputs[0].inst >= 0) {
    if (inst(x.inputs[0].inst).kind == Inst::Kind::constant) return input(body, scope, i, 0);
    throw Barrier{"a table must be complete before it is gathered from"};
  }
  Operand at = convert(body, input(body, scope, i, 1), Dtype::i64);
  Stmt s;
  s.op = tile::Op::load;
  s.arg = input_arg_.at(table_op(x, 0));
  s.forms = kernel_forms(x.asked[0]);
  s.operands = {at};
  s.axes = axes(x.dims);
  return add_stmt(body, std::move(s), op(i).type.dtype);
}

}  // namespace tenfold::plan
