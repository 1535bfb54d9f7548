// Reductions and contractions: running tiles, and a maximum that runs beside what scales with it.
#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/reduce.h"
#include "tenfold/plan/lowering.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold::plan {

// running tile: the result's, and the lanes of a reduced vector atom.
std::vector<AtomId> Lowering::lanes(int i) const {
  for (AtomId a : space_atoms(inst(i).reduced))
    if (a == choice_.vector && inner_[a] >= 0) return {inner_[a]};
  return {};
}

std::vector<AtomId> Lowering::running_axes(int i) const {
  std::vector<AtomId> out = axes(inst(i).dims);
  for (AtomId l : lanes(i)) out.push_back(l);
  return out;
}

const Prim& Lowering::combine(int i) const {
  return inst(i).kind == Inst::Kind::contract ? prim("add") : combine_of(*op(i).node->prim);
}

Scalar Lowering::start(int i) const {
  const Dtype d = accumulator(op(i).type.dtype);
  return fault("lower_identity") ? Scalar(0).round_to(d) : identity(combine(i), d);
}

ValueId Lowering::running_scratch(int i) {
  auto [at, fresh] = scratch_.try_emplace(i, -1);
  if (fresh) {
    std::vector<AtomId> ax;
    for (AtomId a : storage_atoms(kept_dims(i))) ax.push_back(storage(a));
    for (AtomId l : lanes(i)) ax.push_back(l);
    at->second = value(accumulator(op(i).type.dtype), ax, true);
  }
  return at->second;
}

Forms Lowering::running_forms(int i) {
  Forms f = storage_forms(kept_dims(i));
  for (AtomId l : lanes(i)) f.push_back(Form::of(l));
  return f;
}

void Lowering::begin_accumulator(int i, Scope& scope, Body& body) {
  if (memory_accumulators_.contains(i) && (i == online_.maximum || (online_.scales(i) && !by_turns())))
    throw Barrier{"a maximum that runs over several tiles"};
  running_.insert(i);
  Stmt s;
  s.op = tile::Op::fill;
  s.axes = running_axes(i);
  s.scalar = start(i);
  if (!memory_accumulators_.contains(i)) {
    s.result = value(accumulator(op(i).type.dtype), s.axes);
    variables_[i] = s.result;
    scope[i] = {s.result, {}};
    body.push_back(std::move(s));
    return;
  }
  over_storage(inst(i).dims, body, [&](Body& b) {
    Stmt f = s;
    f.result = value(accumulator(op(i).type.dtype), f.axes);
    ValueId v = f.result;
    b.push_back(std::move(f));
    write_scratch(b, running_scratch(i), {v, {}}, running_forms(i), running_axes(i));
  });
}

// An accumulator that lives in scratch, in registers from here on.
void Lowering::resume_accumulator(int i, Body& body) {
  Stmt copy;
  copy.op = tile::Op::copy;
  copy.axes = running_axes(i);
  copy.operands = {read_scratch(body, running_scratch(i), running_forms(i), running_axes(i))};
  copy.result = variables_[i] = value(accumulator(op(i).type.dtype), copy.axes);
  body.push_back(std::move(copy));
}

// Multiplies accumulator i by what its degree makes of `shift`, the old maximum less the new one.
void Lowering::rescale(int i, const Operand& shift, Body& body) {
  const int degree = online_.degrees[i].number;
  const std::vector<AtomId> ax = kernel_.values[shift.value].axes;
  const Dtype d = kernel_.values[shift.value].dtype;
  Operand by = shift;
  if (degree != 1) by = map(body, "mul", {by, constant(body, Scalar(static_cast<double>(degree)), d)}, ax, d);
  const NodeRef x = build::parameter(0, {d, {}});
  const Dtype running = accumulator(op(i).type.dtype);
  by = convert(body, composed(body, {{x}, {build::map("exp", {x})}, {}}, {by}, ax), running);
  if (memory_accumulators_.contains(i)) {
    over_storage(inst(i).dims, body, [&](Body& b) {
      const Operand old = read_scratch(b, running_scratch(i), running_forms(i), running_axes(i));
      write_scratch(b, running_scratch(i), map(b, "mul", {old, by}, running_axes(i), running),
                    running_forms(i), running_axes(i));
    });
    return;
  }
  Stmt s;
  s.op = tile::Op::accumulate;
  s.prim = &prim("mul");
  s.result = variables_.at(i);
  s.axes = running_axes(i);
  s.operands = {by};
  body.push_back(std::move(s));
}

// old - now where the maximum has grown, else 0 (and not -inf + inf).
Operand Lowering::shift_of(Body& body, const Operand& grown, const Operand& old, const Operand& now) {
  const std::vector<AtomId> ax = kernel_.values[old.value].axes;
  const Dtype d = kernel_.values[old.value].dtype;
  return map(body, "select", {grown, map(body, "sub", {old, now}, ax, d), constant(body, Scalar(0.0), d)}, ax,
             d);
}

void Lowering::end_accumulator(int i, Scope& scope, Body& body) {
  running_.erase(i);
  if (rescaled_.erase(i) && !lanes(online_.maximum).empty()) {  // each lane has had a maximum of its own
    const Operand old{variables_.at(online_.maximum), {}}, now = scope.at(online_.maximum);
    const Operand grown = map(body, "less", {old, now}, kernel_.values[old.value].axes, Dtype::boolean);
    rescale(i, shift_of(body, grown, old, now), body);
  }
  bool lane = !lanes(i).empty();
  Dtype want = op(i).type.dtype;
  auto collapse = [&](Body& b, Operand from) {
    if (lane) {
      Stmt s;
      s.op = tile::Op::reduce;
      s.prim = &combine(i);
      s.axes = axes(inst(i).dims);
      s.operands = {from};
      s.over = lanes(i);
      from = add_stmt(b, std::move(s), kernel_.values[from.value].dtype);
    }
    return convert(b, from, want);
  };
  if (!memory_accumulators_.contains(i)) {
    scope[i] = collapse(body, {variables_.at(i), {}});
    if (kept_.contains(i))
      write_scratch(body, scratch_of(i, want), scope[i], storage_forms(kept_dims(i)), axes(inst(i).dims));
    return;
  }
  scope.erase(i);
  if (!lane && accumulator(want) == want) return;  // users read it where it stands
  ValueId from = running_scratch(i);
  Forms from_forms = running_forms(i);
  scratch_.erase(i);
  over_storage(inst(i).dims, body, [&](Body& b) {
    Operand x = collapse(b, read_scratch(b, from, from_forms, running_axes(i)));
    write_scratch(b, scratch_of(i, want), x, storage_forms(kept_dims(i)), axes(inst(i).dims));
  });
}

// Reductions and contractions: into a running tile where a loop is around, at once where the tile is whole.
void Lowering::fold(int i, Scope& scope, Body& body) {
  const Inst& x = inst(i);
  bool contract = x.kind == Inst::Kind::contract;
  Dtype want = op(i).type.dtype, running = accumulator(want);
  const bool grouped = contract && contains(space_atoms(x.reduced), choice_.group);
  std::vector<Operand> operands;
  for (size_t k = 0; k < x.inputs.size(); ++k) {
    operands.push_back(input(body, scope, i, k));
    if (!grouped) operands.back() = convert(body, operands.back(), running);
  }
  std::vector<AtomId> over;
  for (AtomId a : space_atoms(x.reduced))
    if (inner_[a] >= 0) over.push_back(inner_[a]);
  bool looped = !reduced_loops_[i].empty();
  Stmt s;
  s.operands = operands;
  s.prim = contract ? nullptr : &combine(i);
  if (!looped && !contract) {
    s.op = tile::Op::reduce;
    s.axes = axes(x.dims);
    s.over = over;
    Operand o = s.over.empty() ? operands[0] : add_stmt(body, std::move(s), running);
    return define(i, convert(body, o, want), scope, body);
  }
  std::vector<AtomId> lane = lanes(i);
  std::erase_if(over, [&](AtomId a) { return contains(lane, a); });
  s.op = contract ? tile::Op::contract : tile::Op::accumulate;
  s.over = over;
  s.axes = running_axes(i);
  if (!looped) {  // a contraction whose summed axes are all in the tile
    Stmt f;
    f.op = tile::Op::fill;
    f.axes = s.axes;
    f.scalar = start(i);
    f.result = value(running, f.axes);
    ValueId v = s.result = f.result;
    body.push_back(std::move(f));
    body.push_back(std::move(s));
    variables_[i] = v;
    Operand o{v, {}};
    if (!lane.empty()) {
      Stmt r;
      r.op = tile::Op::reduce;
      r.prim = &combine(i);
      r.axes = axes(x.dims);
      r.operands = {o};
      r.over = lane;
      o = add_stmt(body, std::move(r), running);
    }
    return define(i, convert(body, o, want), scope, body);
  }
  if (!memory_accumulators_.contains(i) || resumed_.contains(i)) {
    s.result = variables_.at(i);
    if (i != online_.maximum || in_turn_) {
      body.push_back(std::move(s));
      return;
    }
    const Operand old = before_step(body);
    body.push_back(std::move(s));
    return after_step(old, scope, body);
  }
  resume_accumulator(i, body);
  s.result = variables_.at(i);
  body.push_back(std::move(s));
  write_scratch(body, running_scratch(i), {variables_.at(i), {}}, running_forms(i), running_axes(i));
}

// The maximum before a step of it.
Operand Lowering::before_step(Body& body) {
  const Operand now{variables_.at(online_.maximum), {}};
  Stmt copy;
  copy.op = tile::Op::copy;
  copy.axes = kernel_.values[now.value].axes;
  copy.operands = {now};
  copy.result = value(kernel_.values[now.value].dtype, copy.axes);
  const Operand old{copy.result, {}};
  body.push_back(std::move(copy));
  return old;
}

// After a step of the maximum: all that scales with it is scaled where it has grown.
void Lowering::after_step(const Operand& old, Scope& scope, Body& body) {
  const Operand now{variables_.at(online_.maximum), {}};
  const std::vector<AtomId> ax = kernel_.values[now.value].axes;
  const Operand grown = map(body, "less", {old, now}, ax, Dtype::boolean);
  auto branch = std::make_unique<tile::If>();
  branch->mask = grown;
  const Operand shift = shift_of(branch->body, grown, old, now);
  for (int i : running_)
    if (i != online_.maximum && online_.scales(i)) {
      if (!fault("plan_online_rescale")) rescale(i, shift, branch->body);
      rescaled_.insert(i);
    }
  if (!rescaled_.empty()) body.push_back(std::move(branch));
  // Where nothing but -inf has come yet, x - m is x.
  const Dtype d = kernel_.values[now.value].dtype;
  const Operand none =
      map(body, "equal", {now, constant(body, start(online_.maximum), d)}, ax, Dtype::boolean);
  scope[online_.maximum] = map(body, "select", {none, constant(body, Scalar(0.0), d), now}, ax, d);
}

// A map that has been left composed, over scalars.
Graph Lowering::scalar_graph(const Node& n) {
  Graph g;
  for (size_t k = 0; k < n.inputs.size(); ++k)
    g.parameters.push_back(build::parameter(static_cast<int64_t>(k), {n.inputs[k]->dtype(), {}}));
  g.results = {make(*n.prim, g.parameters, n.attrs)};
  return g;
}

// The statements of a graph of maps over scalars, point by point over `at`.
Operand Lowering::composed(Body& body, const Graph& graph, const std::vector<Operand>& inputs,
                           const std::vector<AtomId>& at) {
  const Graph core = simplify(expand(graph));
  std::unordered_map<const Node*, Operand> made;
  for (size_t k = 0; k < inputs.size(); ++k) made[core.parameters[k].get()] = inputs[k];
  for (const NodeRef& n : topological(core.results)) {
    if (made.contains(n.get())) continue;
    if (n->prim->has("constant")) {
      made[n.get()] = constant(body, n->attrs.scalar("value"), n->dtype());
      continue;
    }
    TENFOLD_CHECK(n->prim->kind == Kind::map, "{} in an expansion of a map", n->prim->name);
    std::vector<Operand> operands;
    for (const NodeRef& i : n->inputs) operands.push_back(made.at(i.get()));
    made[n.get()] = map(body, n->prim->name, std::move(operands), at, n->dtype(), n->attrs);
  }
  return made.at(core.results[0].get());
}

}  // namespace tenfold::plan
