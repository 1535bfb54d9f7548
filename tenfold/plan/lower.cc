// Instances to a tile program: arguments, scratch, loops and the states that they carry.
#include "tenfold/plan/lowering.h"

namespace tenfold::plan {

Lowered Lowering::finish() {
  kernel_.grid = grid_;
  kernel_.vector = choice_.vector >= 0 ? inner_[choice_.vector] : -1;
  if (choice_.group >= 0) kernel_.vectors = {inner_[choice_.group]};
  make_args();
  Body body;
  std::unordered_map<int, Operand> scope;
  generate(nests_, scope, body);
  kernel_.body = std::move(body);
  Lowered out;
  out.kernel = std::move(kernel_);
  out.buffers = std::move(buffers_);
  return out;
}

ValueId Lowering::value(Dtype dtype, std::vector<AtomId> at, bool scratch) {
  kernel_.values.push_back({"%" + std::to_string(kernel_.values.size()), dtype, std::move(at), scratch});
  return static_cast<ValueId>(kernel_.values.size()) - 1;
}

Dtype Lowering::dtype(int i) const {
  return inst(i).kind == Inst::Kind::index && is_float(op(i).type.dtype) ? Dtype::i64 : op(i).type.dtype;
}

void Lowering::make_args() {
  std::map<int, int> seen;
  int k = 0;
  std::set<int> stored;  // perhaps in pieces
  auto add = [&](int o, const Shape& shape, bool output) {
    if (output ? !stored.insert(o).second : seen.contains(o)) return;
    const Op& x = flat_.ops[o];
    std::string name = (output ? "out" : "in") + std::to_string(k++);
    kernel_.args.push_back({name, x.type.dtype, shape, output});
    buffers_.push_back(o);
    if (!output) seen[o] = static_cast<int>(kernel_.args.size()) - 1;
  };
  for (const Inst& i : all_.insts) {
    if (i.kind == Inst::Kind::load) add(i.op, i.shape, false);
    for (size_t s = 0; s < i.asked.size(); ++s)
      if (s < i.inputs.size() && i.inputs[s].inst < 0 && i.kind == Inst::Kind::compute && whole(i.asked[s]))
        add(table_op(i, s), flat_.ops[table_op(i, s)].type.shape, false);
  }
  for (const Inst& i : all_.insts)
    if (i.kind == Inst::Kind::store) add(i.op, i.shape, true);
  input_arg_ = std::move(seen);
  constexpr double kLarge = 1e6;  // bytes
  const double caches = 2.0 * static_cast<double>(machine_.shared_cache);
  double written = 0;
  auto bytes = [](const tile::Arg& a) {
    return static_cast<double>(volume(a.shape).hint() * size_of(a.dtype));
  };
  for (const tile::Arg& a : kernel_.args)
    if (a.output) written += bytes(a);
  for (size_t a = 0; a < kernel_.args.size(); ++a)
    if (tile::Arg& arg = kernel_.args[a]; arg.output) {
      output_arg_[buffers_[a]] = static_cast<int>(a);
      arg.streaming = written > caches && bytes(arg) > kLarge;
    }
}

bool Lowering::whole(const Forms& fs) {
  return std::any_of(fs.begin(), fs.end(), [](const Form& f) { return f.whole; });
}

// Scratch is laid out by whole atoms, so that it can be read at any form.
std::vector<AtomId> Lowering::storage_atoms(const Forms& dims) const {
  std::vector<AtomId> out;
  bool vector = false, group = false;
  for (AtomId a : space_atoms(dims)) {
    if (tiling(a).grid && inner_[a] < 0) continue;
    if (a == choice_.vector)
      vector = true;
    else if (a == choice_.group)
      group = true;
    else
      out.push_back(a);
  }
  if (vector) out.push_back(choice_.vector);
  if (group) out.push_back(choice_.group);
  return out;
}

AtomId Lowering::storage(AtomId a) {
  if (tiling(a).grid || !tiling(a).loop) return inner_[a];
  if (storage_[a] < 0) {
    Dim blocks = ceildiv(all_.space.extent(a), tiling(a).inner);
    if (!blocks.is_const()) throw Barrier{"a value that is kept over an axis of unknown length"};
    storage_[a] = add_atom(kernel_.atoms[outer_[a]].name + "s", blocks * Dim(tiling(a).inner));
  }
  return storage_[a];
}

Forms Lowering::storage_forms(const Forms& dims) {
  Forms out;
  for (AtomId a : storage_atoms(dims)) {
    if (tiling(a).grid)
      out.push_back(Form::of(inner_[a]));
    else
      out.push_back(kernel_form(Form::of(a)));
  }
  return out;
}

// The axes along which i is kept: not the loop around, where it is made anew in each of its turns.
Forms Lowering::kept_dims(int i) const {
  Forms dims = inst(i).dims;
  if (passing_.contains(i))
    for (Form& f : dims) std::erase_if(f.terms, [&](const Term& t) { return t.atom == choice_.around; });
  return dims;
}

ValueId Lowering::scratch_of(int i, Dtype d) {
  if (auto place = place_of_.find(i); place != place_of_.end()) return scratch_of(place->second, d);
  auto [at, fresh] = scratch_.try_emplace(i, -1);
  if (fresh) {
    std::vector<AtomId> ax;
    for (AtomId a : storage_atoms(kept_dims(i))) ax.push_back(storage(a));
    at->second = value(d, ax, true);
  }
  return at->second;
}

Operand Lowering::add_stmt(Body& body, Stmt s, Dtype d) {
  s.result = value(d, s.axes);
  Operand o{s.result, {}};
  body.push_back(std::move(s));
  return o;
}

Operand Lowering::read_scratch(Body& body, ValueId from, Forms forms, std::vector<AtomId> at) {
  Stmt s;
  s.op = tile::Op::read;
  s.axes = std::move(at);
  s.source = from;
  s.forms = std::move(forms);
  return add_stmt(body, std::move(s), kernel_.values[from].dtype);
}

void Lowering::write_scratch(Body& body, ValueId to, const Operand& from, Forms forms,
                             std::vector<AtomId> at) {
  Stmt s;
  s.op = tile::Op::write;
  s.result = to;
  s.axes = std::move(at);
  s.operands = {from};
  s.forms = std::move(forms);
  body.push_back(std::move(s));
}

Operand Lowering::map(Body& body, std::string_view name, std::vector<Operand> operands,
                      std::vector<AtomId> at, Dtype d, Attrs attrs) {
  Stmt s;
  s.op = tile::Op::map;
  s.prim = &prim(name);
  s.operands = std::move(operands);
  s.axes = std::move(at);
  s.attrs = std::move(attrs);
  return add_stmt(body, std::move(s), d);
}

Operand Lowering::convert(Body& body, const Operand& from, Dtype to) {
  const tile::Value& v = kernel_.values[from.value];
  if (v.dtype == to) return from;
  return map(body, "convert", {from}, v.axes, to, Attrs{{"dtype", Attr(to)}});
}

Operand Lowering::constant(Body& body, const Scalar& x, Dtype d) {
  Stmt s;
  s.op = tile::Op::constant;
  s.scalar = x;
  return add_stmt(body, std::move(s), d);
}

Operand Lowering::index(Body& body, const Form& space_form, Dtype d) {
  Stmt s;
  s.op = tile::Op::index;
  s.axes = axes({space_form});
  s.forms = {kernel_form(space_form)};
  return add_stmt(body, std::move(s), d);
}

// The value of an input where instance `user` stands.
Operand Lowering::input(Body& body, Scope& scope, int user, size_t slot) {
  const Inst::Use& u = inst(user).inputs[slot];
  const Inst& from = inst(u.inst);
  if (from.kind == Inst::Kind::carry) return read_carry(body, u, op(user).type.dtype);
  auto found = scope.find(u.inst);
  if (found != scope.end()) return found->second;
  TENFOLD_CHECK(kept_.contains(u.inst), "instance {} of {} is used by {} where it is not visible", u.inst,
                op(u.inst).node ? op(u.inst).node->prim->name : "?",
                op(user).node ? op(user).node->prim->name : "?");
  Operand o = read_scratch(body, scratch_of(u.inst, dtype(u.inst)), storage_forms(kept_dims(u.inst)),
                           axes(from.dims));
  scope[u.inst] = o;
  return o;
}

// A state, where it is written or elsewhere. A form asked for is taken apart by the mixed radix of the one
// it is kept under.
Operand Lowering::read_carry(Body& body, const Inst::Use& u, Dtype) {
  const Inst& c = inst(u.inst);
  std::map<AtomId, Form> at;  // space atom of the state -> form asked for
  for (size_t d = 0; d < c.dims.size(); ++d) {
    if (u.at.empty() || u.at[d] == c.dims[d]) {
      for (const Term& t : c.dims[d].terms) at[t.atom] = Form::of(t.atom);
      continue;
    }
    if (c.dims[d].is_atom()) {
      at[c.dims[d].terms[0].atom] = u.at[d];
    } else if (u.at[d].is_point() && u.at[d].offset.is_const()) {
      Dim rest = u.at[d].offset - c.dims[d].offset;
      for (const Term& t : c.dims[d].terms) {
        at[t.atom] = Form::point(floordiv(rest, t.coef));
        rest = mod(rest, t.coef);
      }
    } else {
      throw Barrier{"a loop's state that is read in another order than it is kept"};
    }
  }
  Forms asked;
  for (const auto& [a, f] : at) asked.push_back(f);
  if (memory_carry(u.inst)) {
    Forms forms;
    for (AtomId a : storage_atoms(c.dims)) {
      if (tiling(a).grid) {
        if (!(at.at(a) == Form::of(a))) throw Barrier{"a loop's state that is read across blocks"};
        forms.push_back(Form::of(inner_[a]));
      } else {
        forms.push_back(kernel_form(at.at(a)));
      }
    }
    return read_scratch(body, variables_.at(u.inst), std::move(forms), axes(asked));
  }
  Operand o{variables_.at(u.inst), {}};
  bool same = true;
  std::vector<Form> forms;
  for (AtomId k : kernel_.values[o.value].axes) {
    AtomId a = -1;
    for (const auto& [s, f] : at)
      if (inner_[s] == k) a = s;
    const Form& f = at.at(a);
    forms.push_back(f == Form::of(a) ? Form::of(k) : kernel_form(f));
    same = same && f == Form::of(a);
  }
  if (same) return o;
  // As a value of the reader's axes.
  Stmt s;
  s.op = tile::Op::map;
  s.prim = &prim("convert");
  s.attrs = Attrs{{"dtype", Attr(kernel_.values[o.value].dtype)}};
  s.axes = axes(asked);
  o.at = std::move(forms);
  s.operands = {o};
  return add_stmt(body, std::move(s), kernel_.values[o.value].dtype);
}

void Lowering::generate(const std::vector<Nest>& nests, Scope scope, Body& body) {
  for (const Nest& n : nests) {
    if (n.atom < 0)
      leaf(n.leaf, scope, body);
    else
      loop(n, scope, body);
  }
}

void Lowering::loop(const Nest& n, Scope& scope, Body& body) {
  for (int i : n.begun) begin_accumulator(i, scope, body);
  for (int i : n.resumed) resume_accumulator(i, body);
  IntList carries = carries_of(n);
  for (int i : carries) begin_carry(i, scope, body);
  // The loops inside a turn that complete the maximum for it are one step.
  const int m = online_.maximum;
  const bool step = by_turns() && !in_turn_ && n.atom != choice_.around && contains(open_, choice_.around) &&
                    contains(reduced_loops_[m], n.atom) && made_in(n, m);
  const Operand old = step ? before_step(body) : Operand{};
  in_turn_ |= step;
  auto l = std::make_unique<tile::Loop>();
  l->atom = outer_[n.atom];
  for (size_t s = 0; s < all_.scope_time.size(); ++s)
    if (all_.scope_time[s] == n.atom) l->reverse = flat_.scopes[s].reverse;
  Scope inside = scope;
  open_.push_back(n.atom);
  for (const Nest& c : n.children) {
    if (c.atom < 0)
      leaf(c.leaf, inside, l->body);
    else
      loop(c, inside, l->body);
  }
  std::vector<std::pair<int, ValueId>> to_copy;
  for (int i : carries) {
    if (memory_carry(i)) {
      int next = inst(i).inputs[1].inst;
      if (inst(next).kind == Inst::Kind::carry && (!memory_carry(next) || !(inst(next).dims == inst(i).dims)))
        throw Barrier{"a loop's state that takes over another one of other axes"};
      ValueId from =
          inst(next).kind == Inst::Kind::carry ? variables_.at(next) : scratch_of(next, dtype(next));
      to_copy.push_back({i, from});
    } else {
      Operand next = input(l->body, inside, i, 1);
      l->carries.push_back({variables_.at(i), next});
    }
  }
  auto copy = [&](int i, ValueId from, ValueId to) {
    over_storage(inst(i).dims, l->body, [&](Body& b) {
      Forms forms = storage_forms(inst(i).dims);
      Operand x = read_scratch(b, from, forms, axes(inst(i).dims));
      write_scratch(b, to, x, forms, axes(inst(i).dims));
    });
  };
  std::set<ValueId> changed;  // carries change all at once: a state that another one takes over is saved
  for (auto& [i, from] : to_copy) {
    if (changed.contains(from)) {
      ValueId saved = value(op(i).type.dtype, kernel_.values[from].axes, true);
      copy(i, from, saved);
      from = saved;
    }
    changed.insert(variables_.at(i));
  }
  for (auto [i, from] : to_copy) copy(i, from, variables_.at(i));
  if (by_turns() && n.atom == choice_.around) pass_over(l->body);
  open_.pop_back();
  body.push_back(std::move(l));
  for (int i : n.resumed)
    write_scratch(body, running_scratch(i), {variables_.at(i), {}}, running_forms(i), running_axes(i));
  if (step) {
    in_turn_ = false;
    after_step(old, scope, body);
  }
  for (int i : n.ended) end_accumulator(i, scope, body);
}

void Lowering::begin_carry(int i, Scope& scope, Body& body) {
  const Inst& c = inst(i);
  if (!memory_carry(i)) {
    Operand init = input(body, scope, i, 0);
    Stmt s;
    s.op = tile::Op::copy;
    s.axes = axes(c.dims);
    s.operands = {init};
    s.result = value(op(i).type.dtype, s.axes);
    variables_[i] = s.result;
    body.push_back(std::move(s));
    return;
  }
  std::vector<AtomId> ax;
  for (AtomId a : storage_atoms(c.dims)) ax.push_back(storage(a));
  variables_[i] = value(op(i).type.dtype, ax, true);
  over_storage(c.dims, body, [&](Body& b) {
    Scope fresh = scope;
    Operand x = input(b, fresh, i, 0);
    write_scratch(b, variables_[i], x, storage_forms(c.dims), axes(c.dims));
  });
}

Lowered lower(const Flat& flat, const Instances& all, const Choice& choice, const tile::Machine& machine) {
  return Lowering(flat, all, choice, machine).finish();
}

}  // namespace tenfold::plan
