#include "tenfold/plan/instances.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace tenfold::plan {
namespace {

struct Demand {
  Forms dims;
  int user;  // inst
  int slot;
  int scope;  // of the user
};

bool any_whole(const Forms& f) {
  return std::any_of(f.begin(), f.end(), [](const Form& x) { return x.whole; });
}

class Builder {
 public:
  Builder(const Flat& flat, const std::vector<int>& units, const std::vector<int>& outputs)
      : flat_(flat), mine_(flat.ops.size(), false) {
    for (int u : units)
      for (int op : flat.units[u].ops) mine_[op] = true;
    result_.scope_time.assign(flat.scopes.size(), -1);
    demands_.resize(flat.ops.size());
    carry_inst_.assign(flat.ops.size(), -1);
    std::vector<int> order;
    for (int u : units) order.insert(order.end(), flat.units[u].ops.begin(), flat.units[u].ops.end());
    std::sort(order.begin(), order.end());
    for (int op : outputs) root(op);
    for (auto op = order.rbegin(); op != order.rend(); ++op) visit(*op);
    for (auto& [op, waiting] : outside_) {
      auto list = std::move(waiting);
      leaf(op, list);
    }
  }

  Instances finish() {
    align_stores();
    std::vector<Inst>& made = result_.insts;
    resolve(result_);
    // Depth-first from the stores (and the states that loops carry): every value as late as its first user
    // allows.
    std::vector<int> order, place(made.size(), -1), state(made.size(), 0);
    auto visit_from = [&](int start) {
      std::vector<std::pair<int, size_t>> stack{{start, 0}};
      while (!stack.empty()) {
        auto& [i, k] = stack.back();
        if (k == 0) {
          if (state[i]) {
            stack.pop_back();
            continue;
          }
          state[i] = 1;
        }
        size_t inputs = made[i].kind == Inst::Kind::carry ? 1 : made[i].inputs.size();
        if (k < inputs) {
          int next = made[i].inputs[k++].inst;
          if (next >= 0 && !state[next]) stack.push_back({next, 0});
          continue;
        }
        place[i] = static_cast<int>(order.size());
        order.push_back(i);
        stack.pop_back();
      }
    };
    std::vector<int> carries;
    for (size_t i = 0; i < made.size(); ++i)
      if (made[i].kind == Inst::Kind::carry) carries.push_back(static_cast<int>(i));
    std::sort(carries.begin(), carries.end(), [&](int a, int b) { return made[a].op < made[b].op; });
    for (int c : carries) visit_from(c);
    for (int c : carries) visit_from(made[c].inputs[1].inst);
    for (size_t i = 0; i < made.size(); ++i)
      if (made[i].kind == Inst::Kind::store) visit_from(static_cast<int>(i));
    std::vector<Inst> sorted;
    for (int i : order) sorted.push_back(std::move(made[i]));
    for (Inst& i : sorted)
      for (auto& u : i.inputs)
        if (u.inst >= 0) u.inst = place[u.inst];
    made = std::move(sorted);
    times();
    for (size_t i = 0; i < made.size(); ++i) {
      if (made[i].kind == Inst::Kind::load) result_.loads.push_back(static_cast<int>(i));
      if (made[i].kind == Inst::Kind::store) result_.stores.push_back(static_cast<int>(i));
      if (made[i].kind == Inst::Kind::load || made[i].kind == Inst::Kind::store)
        made[i].shape = flat_.ops[made[i].op].type.shape;
    }
    coalesce(flat_, result_);
    return std::move(result_);
  }

 private:
  const Flat& flat_;
  std::vector<char> mine_;
  Instances result_;
  std::vector<std::vector<Demand>> demands_;
  std::map<int, std::vector<Demand>> outside_;  // demands of what other clusters make
  std::vector<int> carry_inst_;

  AtomSpace& space() { return result_.space; }

  int add(Inst inst) {
    result_.insts.push_back(std::move(inst));
    return static_cast<int>(result_.insts.size()) - 1;
  }

  AtomId time(int scope) {
    AtomId& a = result_.scope_time[scope];
    if (a < 0) a = space().atom(flat_.scopes[scope].length, "t");
    return a;
  }

  void demand(int op, Demand d) {
    const Op& o = flat_.ops[op];
    if (mine_[op] || o.kind == Op::Kind::constant)
      demands_[op].push_back(std::move(d));
    else
      outside_[op].push_back(std::move(d));
    if (o.kind == Op::Kind::constant && !mine_[op]) {
      auto list = std::move(demands_[op]);
      demands_[op].clear();
      constant(op, list);
    }
  }

  void root(int op) {
    Forms dims;
    for (const Dim& d : flat_.ops[op].type.shape)
      dims.push_back(space().fresh(d, std::string(1, "ijklmn"[dims.size() % 6])));
    int store = add({Inst::Kind::store, op, dims, {}, {{}}, {dims}, {}});
    demand(op, {dims, store, 0, -1});
  }

  void use(const Demand& d, int inst, Forms at = {}) {
    result_.insts[d.user].inputs[d.slot] = {inst, std::move(at)};
  }

  // May the statement's axes be what they now are? No atom twice among the axes of one instance.
  bool sound(const Inst& i) {
    if (i.kind == Inst::Kind::load) return true;
    seen_.clear();
    for (const Forms* forms : {&i.dims, &i.reduced})
      for (const Form& f : *forms)
        if (!distinct(f)) return false;
    return true;
  }
  bool distinct(const Form& f) {
    for (const Term& t : f.terms) {
      if (space().substituted(t.atom)) {
        if (!distinct(space().replacement(t.atom))) return false;  // resolved, 2 a + a would be 3 a
        continue;
      }
      if (std::find(seen_.begin(), seen_.end(), t.atom) != seen_.end()) return false;
      seen_.push_back(t.atom);
    }
    return true;
  }
  bool sound() {
    return std::all_of(result_.insts.begin(), result_.insts.end(), [&](const Inst& i) { return sound(i); });
  }
  std::vector<AtomId> seen_;

  // Stores that share no value run over the same axes where extents agree, so that blocks can hold a piece of
  // each.
  void align_stores() {
    std::vector<int> stores;
    for (size_t i = 0; i < result_.insts.size(); ++i)
      if (result_.insts[i].kind == Inst::Kind::store) stores.push_back(static_cast<int>(i));
    auto atoms_of = [&](int store) {
      std::vector<AtomId> out;
      for (const Form& f : space().resolve(result_.insts[store].dims))
        for (const Term& t : f.terms) {
          auto is_time = [&](AtomId a) { return a >= 0 && space().resolve(Form::of(a)) == Form::of(t.atom); };
          if (std::none_of(result_.scope_time.begin(), result_.scope_time.end(), is_time))
            out.push_back(t.atom);
        }
      return out;
    };
    std::vector<AtomId> known;
    for (int store : stores) {
      auto is_known = [&](AtomId a) { return std::find(known.begin(), known.end(), a) != known.end(); };
      std::vector<AtomId> own = atoms_of(store);
      if (std::none_of(own.begin(), own.end(), is_known))
        for (AtomId a : own)
          for (AtomId b : known) {
            std::vector<AtomId> now = atoms_of(store);
            if (!(space().extent(a) == space().extent(b)) ||
                std::find(now.begin(), now.end(), b) != now.end())
              continue;
            size_t start = space().mark();
            if (space().unify(Form::of(b), Form::of(a)) && sound()) break;
            space().rollback(start);
          }
      for (AtomId a : atoms_of(store))
        if (!is_known(a)) known.push_back(a);
    }
  }

  bool merge(const Inst& inst, const Forms& dims) {
    size_t start = space().mark();
    bool all = true;
    for (size_t d = 0; all && d < dims.size(); ++d) all = space().unify(inst.dims[d], dims[d]);
    if (all && (space().mark() == start || sound())) return true;
    space().rollback(start);
    return false;
  }

  // The first of `made` that the demand becomes one with, or -1.
  int merged(const std::vector<int>& made, const Forms& dims) {
    auto at = std::find_if(made.begin(), made.end(), [&](int m) { return merge(result_.insts[m], dims); });
    return at == made.end() ? -1 : *at;
  }

  void constant(int op, const std::vector<Demand>& demands) {
    const Node& n = *flat_.ops[op].node;
    bool iota = n.rank() > 0;
    std::vector<int> made;
    for (const Demand& d : demands) {
      if (iota && any_whole(d.dims)) {  // must lie in memory
        gathered(d);
        continue;
      }
      int found = -1;
      for (int m : made)
        if (!iota ||
            space().resolve(result_.insts[m].dims[0]) == space().resolve(d.dims[n.attrs.integer("axis")]))
          found = m;
      if (found < 0) {
        Forms dims;
        if (iota) dims.push_back(d.dims[n.attrs.integer("axis")]);
        found = add({iota ? Inst::Kind::index : Inst::Kind::constant, op, dims, {}, {}, {}, {}});
        made.push_back(found);
      }
      use(d, found);
    }
  }

  // A table that its user gathers from memory.
  void gathered(const Demand& d) {
    use(d, -1);
    auto& asked = result_.insts[d.user].asked;
    if (asked.size() <= static_cast<size_t>(d.slot)) asked.resize(d.slot + 1);
    asked[d.slot] = d.dims;
  }

  void leaf(int op, const std::vector<Demand>& demands) {
    std::vector<int> made;
    for (const Demand& d : demands) {
      if (any_whole(d.dims)) {
        gathered(d);
        continue;
      }
      int found = merged(made, d.dims);
      if (found < 0) {
        found = add({Inst::Kind::load, op, d.dims, {}, {}, {}, {}});
        made.push_back(found);
      }
      use(d, found);
    }
  }

  void visit(int id) {
    const Op& op = flat_.ops[id];
    std::vector<Demand> demands = std::move(demands_[id]);
    demands_[id].clear();
    if (op.kind == Op::Kind::last) {
      state(id, demands);
      return;
    }
    if (op.kind == Op::Kind::carry) {
      carry(id, demands);
      return;
    }
    if (demands.empty()) return;
    switch (op.kind) {
      case Op::Kind::constant: constant(id, demands); break;
      case Op::Kind::step: {
        int i = add({Inst::Kind::index, id, {Form::of(time(op.scope))}, {}, {}, {}, {}});
        for (const Demand& d : demands) use(d, i);
        break;
      }
      case Op::Kind::row:
        for (Demand& d : demands) {
          d.dims.insert(d.dims.begin(), Form::of(time(op.scope)));
          demand(op.inputs[0], d);
        }
        break;
      case Op::Kind::stack: stack(id, demands); break;
      case Op::Kind::opaque: throw Barrier{"a while loop is a loop of launches"};
      default: node(id, demands);
    }
  }

  // Rows collected over time: the first dimension asked for has to be the loop's own atom.
  void stack(int id, std::vector<Demand>& demands) {
    const Op& op = flat_.ops[id];
    int scope = flat_.ops[op.inputs[0]].scope;
    for (const auto& s : flat_.scopes)
      if (s.node == op.node && s.parent == op.scope) scope = static_cast<int>(&s - flat_.scopes.data());
    for (Demand& d : demands) {
      size_t start = space().mark();
      Form& first = d.dims[0];
      if (flat_.scopes[scope].length == Dim(1) && first.is_point() &&
          result_.insts[d.user].kind == Inst::Kind::store && result_.insts[d.user].op == id)
        first = result_.insts[d.user].dims[0] = Form::of(time(scope));  // one iteration still is one
      if (d.dims[0].whole || !space().unify(Form::of(time(scope)), d.dims[0]) ||
          space().resolve(Form::of(time(scope))).terms.size() > 1) {
        space().rollback(start);
        throw Barrier{"a trajectory that is read in another order than it is made"};
      }
      if (!sound()) throw Barrier{"a trajectory that is read in another order than it is made"};
      d.dims.erase(d.dims.begin());
      demand(op.inputs[0], d);
    }
  }

  // The final state of a loop. The instance of the carry is made here, since what it writes is asked for
  // first.
  void state(int id, std::vector<Demand>& demands) {
    const Op& op = flat_.ops[id];
    int carry = op.inputs[1];
    Forms dims;
    for (const bool all : {true, false})  // who needs all of it decides where it is kept
      for (const Demand& d : demands)
        if (dims.empty() && !any_whole(d.dims) && (!all || covers(d.dims, flat_.ops[carry].type.shape)))
          dims = d.dims;
    if (dims.empty())
      for (const Dim& d : flat_.ops[carry].type.shape) dims.push_back(space().fresh(d, "s"));
    int inst = add({Inst::Kind::carry, carry, dims, {}, {{}, {}}, {{}, {}}, {}});
    carry_inst_[carry] = inst;
    time(flat_.ops[carry].scope);
    demand(op.inputs[0], {dims, inst, 1, flat_.ops[carry].scope});
    for (Demand& d : demands) demands_[carry].push_back(std::move(d));
  }

  void carry(int id, std::vector<Demand>& demands) {
    int inst = carry_inst_[id];
    for (const Demand& d : demands) {
      if (merge(result_.insts[inst], d.dims))
        use(d, inst);
      else if (any_whole(d.dims))
        throw Barrier{"a loop's state that is gathered from"};
      else if (!within(d.dims, flat_.ops[id].type.shape))
        throw Barrier{"a loop's state that is padded or concatenated"};
      else if (!covers(result_.insts[inst].dims, flat_.ops[id].type.shape))
        throw Barrier{"a loop's state of which one reader needs more than another"};
      else
        use(d, inst, d.dims);  // read elsewhere than written
    }
    demand(flat_.ops[id].inputs[0],
           {result_.insts[inst].dims, inst, 0, flat_.scopes[flat_.ops[id].scope].parent});
  }

  // The range of a form over the full extents of its atoms.
  std::pair<Dim, Dim> range(const Form& form) {
    Form f = space().resolve(form);
    Dim low = f.offset, high = f.offset;
    for (const Term& t : f.terms) {
      Dim reach = t.coef * (space().extent(t.atom) - 1);
      if (provably_le(0, reach))
        high += reach;
      else
        low += reach;
    }
    return {low, high};
  }
  bool outside(const Forms& forms, const Shape& shape) {
    for (size_t d = 0; d < forms.size(); ++d) {
      auto [low, high] = range(forms[d]);
      if (provably_lt(high, 0) || provably_le(shape[d], low)) return true;
    }
    return false;
  }
  bool within(const Forms& forms, const Shape& shape) {
    for (size_t d = 0; d < forms.size(); ++d) {
      auto [low, high] = range(forms[d]);
      if (!provably_le(0, low) || !provably_lt(high, shape[d])) return false;
    }
    return true;
  }

  // Do the forms take every element, each once?
  bool covers(const Forms& forms, const Shape& shape) {
    std::set<AtomId> seen;
    for (size_t d = 0; d < forms.size(); ++d) {
      const Form f = space().resolve(forms[d]);
      Dim elements = 1;
      for (const Term& t : f.terms) {
        if (!seen.insert(t.atom).second) return false;
        elements = elements * space().extent(t.atom);
      }
      const auto [low, high] = range(f);
      if (!(elements == shape[d]) || !(low == Dim(0)) || !(high == shape[d] - 1)) return false;
    }
    return true;
  }

  // A demand that one piece of a concatenation (or padding) answers alone goes to it directly.
  bool one_piece(const Node& n, const Op& op, Demand& d) {
    if (any_whole(d.dims)) return false;
    Forms dims = space().resolve(d.dims);
    Relation r = n.prim->relation(n, dims, space());
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      bool alone = n.inputs.size() == 2 && n.inputs[1]->rank() == 0 &&
                           n.rank() > 0  // padding: the value where x is not
                       ? (k == 0 ? within(r.inputs[0], n.inputs[0]->shape())
                                 : outside(r.inputs[0], n.inputs[0]->shape()))
                       : within(r.inputs[k], n.inputs[k]->shape());
      if (!alone) continue;
      demand(op.inputs[k], {std::move(r.inputs[k]), d.user, d.slot, d.scope});
      return true;
    }
    return false;
  }

  // Zeros around what lies in memory, its axes in whatever order: a load outside of a buffer gives them.
  bool zeros_around_a_buffer(const Node& n, const Op& op, Demand& d) {
    if (n.inputs.size() != 2 || n.inputs[1]->rank() != 0 || n.rank() == 0 || any_whole(d.dims)) return false;
    int from = op.inputs[0];
    const auto permutes = [&](const Op& x) {
      return x.kind == Op::Kind::node && x.node->prim->has("permutes");
    };
    while (mine_[from] && permutes(flat_.ops[from])) from = flat_.ops[from].inputs[0];
    const Op& value = flat_.ops[op.inputs[1]];
    if (mine_[from] || flat_.ops[from].kind == Op::Kind::constant || value.kind != Op::Kind::constant)
      return false;
    const Scalar fill = value.node->attrs.scalar("value").round_to(n.dtype());
    if (is_complex(n.dtype()) || fill.f() != 0 || std::signbit(fill.f())) return false;
    Relation r = n.prim->relation(n, space().resolve(d.dims), space());
    demand(op.inputs[0], {std::move(r.inputs[0]), d.user, d.slot, d.scope});
    return true;
  }

  // A few pieces that are put side by side and stored: each is stored as it is, where it belongs. In a step
  // of a loop they are rows; outside of loops they are of one extent, and the same axes run over all of them.
  bool stored_by_pieces(const Node& n, const Op& op, const Demand& d) {
    constexpr int64_t kFew = 8, kRun = 16;  // pieces, elements that lie together
    if (!n.attrs.find("axis") || result_.insts[d.user].kind != Inst::Kind::store) return false;
    const size_t axis = static_cast<size_t>(n.attrs.integer("axis"));
    auto extent = [&](size_t k) -> const Dim& { return n.inputs[k]->shape()[axis]; };
    const bool looped = op.scope >= 0;
    if (any_whole(d.dims) || n.inputs.size() > kFew) return false;
    if (looped ? !n.shape()[axis].is_const() || n.shape()[axis].value() > kFew
               : std::any_of(n.inputs.begin(), n.inputs.end(),
                             [&](const NodeRef& i) { return !(i->shape()[axis] == extent(0)); }))
      return false;
    Forms dims = space().resolve(d.dims);
    const Forms to = space().resolve(result_.insts[d.user].dims);
    if (!dims[axis].is_atom()) return false;
    const AtomId along = dims[axis].terms[0].atom;
    auto has = [&](const Form& f) {
      return std::any_of(f.terms.begin(), f.terms.end(), [&](const Term& t) { return t.atom == along; });
    };
    if (std::count_if(dims.begin(), dims.end(), has) != 1) return false;
    const bool runs = !looped && extent(0).is_const() && extent(0).value() >= kRun;
    if (has(to.back()) && !runs) return false;  // what is contiguous stays so
    Form row = space().fresh(extent(0), "r");
    Dim offset = 0;
    for (size_t k = 0; k < n.inputs.size(); ++k) {
      if (looped && k > 0) row = space().fresh(extent(k), "r");
      Forms here;
      for (const Form& f : to) {
        Form moved{f.offset, {}, false};
        for (const Term& t : f.terms) {
          if (t.atom != along) {
            moved.terms.push_back(t);
            continue;
          }
          moved.offset += t.coef * offset;
          for (const Term& r : row.terms) moved.terms.push_back({r.atom, r.coef * t.coef});
        }
        here.push_back(std::move(moved));
      }
      offset += extent(k);
      dims[axis] = row;
      int store = d.user;
      if (k == 0)
        result_.insts[store].dims = here, result_.insts[store].asked = {here};
      else
        store = add({Inst::Kind::store, result_.insts[d.user].op, here, {}, {{}}, {here}, {}});
      demand(op.inputs[k], {dims, store, 0, d.scope});
    }
    return true;
  }

  void node(int id, std::vector<Demand>& demands) {
    const Op& op = flat_.ops[id];
    const Node& n = *op.node;
    const Prim& p = *n.prim;
    bool piecewise = p.has("piecewise");
    if (p.kind == Kind::move && !piecewise) {  // a relation alone: no statement
      for (Demand& d : demands) {
        if (any_whole(d.dims)) throw Barrier{"a table must be complete before it is gathered from"};
        Relation r = p.relation(n, space().resolve(d.dims), space());
        demand(op.inputs[0], {std::move(r.inputs[0]), d.user, d.slot, d.scope});
      }
      return;
    }
    std::vector<int> made;
    for (Demand& d : demands) {
      if (piecewise && (one_piece(n, op, d) || zeros_around_a_buffer(n, op, d))) continue;
      if (piecewise && demands.size() == 1 && stored_by_pieces(n, op, d)) continue;
      int found = merged(made, d.dims);
      if (found < 0) {
        if (any_whole(d.dims)) throw Barrier{"a table must be complete before it is gathered from"};
        Forms dims = space().resolve(d.dims);
        Relation r;
        if (p.relation)
          r = p.relation(n, dims, space());
        else
          r.inputs.assign(n.inputs.size(), dims);
        Inst::Kind kind = p.kind == Kind::reduce     ? Inst::Kind::reduce
                          : p.kind == Kind::contract ? Inst::Kind::contract
                                                     : Inst::Kind::compute;
        Inst inst{kind, id, dims, {}, {}, {}, {}};
        if (piecewise || p.kind == Kind::index) inst.asked = r.inputs;  // their own numbers take part
        for (AtomId a : r.reduced) inst.reduced.push_back(Form::of(a));
        inst.inputs.resize(n.inputs.size());
        found = add(std::move(inst));
        made.push_back(found);
        for (size_t k = 0; k < n.inputs.size(); ++k) {
          if (piecewise && outside(r.inputs[k], n.inputs[k]->shape())) continue;
          demand(op.inputs[k], {r.inputs[k], found, static_cast<int>(k), op.scope});
        }
        if (!sound(result_.insts[found])) throw Barrier{"a diagonal is read"};
      }
      use(d, found);
    }
  }

  // What depends on a state, a step or a row stands in that loop; the rest falls out of it.
  void times() {
    std::vector<Inst>& insts = result_.insts;
    auto has = [](const Forms& forms, AtomId a) {
      for (const Form& f : forms)
        for (const Term& t : f.terms)
          if (t.atom == a) return true;
      return false;
    };
    auto join = [&](std::vector<AtomId>& into, const std::vector<AtomId>& from, const Forms& but = {}) {
      for (AtomId a : from)
        if (!has(but, a) && std::find(into.begin(), into.end(), a) == into.end()) into.push_back(a);
    };
    std::vector<std::pair<AtomId, int>> atoms;  // time atom, scope
    for (size_t s = 0; s < result_.scope_time.size(); ++s)
      if (result_.scope_time[s] >= 0) {
        AtomId& a = result_.scope_time[s];
        Form f = space().resolve(Form::of(a));
        if (!f.is_atom()) throw Barrier{"a trajectory that is read in another order than it is made"};
        a = f.terms[0].atom;
        // One loop cannot run both ways: what a forward scan collects, a reverse one (its derivative) reads
        // from the end.
        for (auto [other, o] : atoms)
          if (other == a && flat_.scopes[o].reverse != flat_.scopes[s].reverse)
            throw Barrier{"a trajectory that is read in another order than it is made"};
        atoms.push_back({a, static_cast<int>(s)});
      }
    for (Inst& i : insts) {
      int scope = flat_.ops[i.op].scope;
      if (i.kind == Inst::Kind::carry)
        for (int s = scope; s >= 0; s = flat_.scopes[s].parent) join(i.time, {result_.scope_time[s]});
      for (const Forms* forms : {&i.dims, &i.reduced})
        for (const Form& f : *forms)
          for (const Term& t : f.terms)
            for (auto [a, s] : atoms) {
              if (a != t.atom) continue;
              if (i.kind == Inst::Kind::carry) throw Barrier{"a loop's state over the steps of another loop"};
              join(i.time, {a});
            }
      size_t inputs = i.kind == Inst::Kind::carry ? 1 : i.inputs.size();
      for (size_t k = 0; k < inputs; ++k) {
        if (i.inputs[k].inst < 0) continue;
        const Inst& from = insts[i.inputs[k].inst];
        Forms left = from.reduced;  // complete after the loop; so is a loop's state read from outside it
        if (from.kind == Inst::Kind::carry) {
          int s = flat_.ops[from.op].scope;
          bool within = i.kind != Inst::Kind::store && inside(flat_, scope, s);
          if (i.kind == Inst::Kind::carry && i.op != from.op && !inside(flat_, flat_.scopes[scope].parent, s))
            within = false;
          if (!within) left.push_back(Form::of(result_.scope_time[s]));
        }
        join(i.time, from.time, left);
      }
    }
  }
};

}  // namespace

void resolve(Instances& all) {
  for (Inst& i : all.insts) {
    i.dims = all.space.resolve(i.dims);
    i.reduced = all.space.resolve(i.reduced);
    for (auto& u : i.inputs) u.at = all.space.resolve(u.at);
    for (Forms& f : i.asked) f = all.space.resolve(f);
  }
}

Instances build_instances(const Flat& flat, const std::vector<int>& units, const std::vector<int>& outputs) {
  return Builder(flat, units, outputs).finish();
}

}  // namespace tenfold::plan
