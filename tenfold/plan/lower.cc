#include "tenfold/plan/lower.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/reduce.h"
#include "tenfold/plan/online.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold::plan {
namespace {

using tile::Body;
using tile::Operand;
using tile::Stmt;
using tile::ValueId;
using IntList = std::vector<int>;

constexpr double kRecompute =
    3;                        // scalar operations a point worth repeating rather than a trip through scratch
constexpr double kVote = 60;  // scalar operations a point worth a vote before them

bool contains(const std::vector<AtomId>& list, AtomId a) {
  return std::find(list.begin(), list.end(), a) != list.end();
}

// A nest: a leaf list of instances, or a loop over one atom.
struct Nest {
  AtomId atom = -1;
  IntList leaf;
  std::vector<Nest> children;
  IntList begun, ended;  // accumulators that start before this loop, and are complete after it
};

class Lowering {
 public:
  Lowering(const Flat& flat, const Instances& all, const Choice& choice, const tile::Machine& machine)
      : flat_(flat),
        all_(all),
        choice_(choice),
        machine_(machine),
        n_(all.insts.size()),
        users_(n_),
        loops_(n_),
        reduced_loops_(n_),
        chain_(n_, 0),
        source_(n_, -1) {
    if (choice.online) online_ = find_online(flat, all);
    make_atoms();
    for (size_t i = 0; i < n_; ++i) study(static_cast<int>(i));
    IntList every(n_);
    for (size_t i = 0; i < n_; ++i) every[i] = static_cast<int>(i);
    nests_ = emit(every, 0, std::set<int>{});
    find_kept();
  }

  Lowered finish() {
    kernel_.grid = grid_;
    kernel_.vector = choice_.vector >= 0 ? inner_[choice_.vector] : -1;
    make_args();
    Body body;
    std::unordered_map<int, Operand> scope;
    generate(nests_, scope, body);
    kernel_.body = std::move(body);
    Lowered out;
    out.loops = loop_string();
    out.kernel = std::move(kernel_);
    out.buffers = std::move(buffers_);
    return out;
  }

 private:
  const Flat& flat_;
  const Instances& all_;
  const Choice& choice_;
  const tile::Machine& machine_;
  size_t n_;
  tile::Kernel kernel_;
  IntList buffers_;
  std::vector<AtomId> outer_, inner_, storage_;  // kernel atoms by space atom, -1 if none
  std::vector<AtomId> grid_;
  std::vector<IntList> users_;
  std::vector<std::vector<AtomId>> loops_;          // sequential loops each instance stands in (space atoms)
  std::vector<std::vector<AtomId>> reduced_loops_;  // of those, the ones it reduces over
  std::vector<double> chain_;                       // cost to compute it again from loads and kept values
  std::vector<int> source_;  // the one reduction or contraction it is made of; -1: none, -2: several
  std::vector<Nest> nests_;
  std::set<int> kept_, memory_accumulators_, written_;
  std::unordered_map<int, ValueId> scratch_, variables_;
  Online online_;
  std::set<int> running_,
      rescaled_;  // accumulators that have begun; those that the running maximum has scaled

  const Inst& inst(int i) const { return all_.insts[i]; }
  const Op& op(int i) const { return flat_.ops[inst(i).op]; }
  const Tiling& tiling(AtomId a) const { return choice_.atoms[a]; }

  // ---- atoms
  // -------------------------------------------------------------------------------------------------
  void make_atoms() {
    size_t n = all_.space.size();
    outer_.assign(n, -1);
    inner_.assign(n, -1);
    storage_.assign(n, -1);
    std::set<AtomId> used;
    for (const Inst& i : all_.insts) {
      for (const Forms* fs : {&i.dims, &i.reduced})
        for (const Form& f : *fs)
          for (const Term& t : f.terms) used.insert(t.atom);
      used.insert(i.time.begin(), i.time.end());
    }
    std::map<std::string, int> names;
    auto name = [&](AtomId a) {
      std::string base = all_.space.hint(a).empty() ? "a" : all_.space.hint(a);
      int k = names[base]++;
      return k ? base + std::to_string(k) : base;
    };
    std::vector<AtomId> grids;
    for (AtomId a : used) {
      const Tiling& t = tiling(a);
      const Dim& extent = all_.space.extent(a);
      std::string base = name(a);
      bool split = t.loop && t.inner > 1;
      if (t.loop) outer_[a] = add_atom(split ? base + "o" : base, split ? ceildiv(extent, t.inner) : extent);
      if (t.inner > 1 || !t.loop) inner_[a] = add_atom(split ? base + "i" : base, t.inner);
      if (split && !provably_divides(t.inner, extent) && !fault("lower_guard"))
        kernel_.guards.push_back({kernel_form(Form::of(a)), extent});
      if (t.grid) grids.push_back(a);
    }
    // Blocks run through memory in order: the atom with the smallest step in the first output is the fastest.
    if (!all_.stores.empty()) {
      const Inst& s = inst(all_.stores[0]);
      auto position = [&](AtomId a) {
        for (size_t d = 0; d < s.dims.size(); ++d)
          for (size_t k = 0; k < s.dims[d].terms.size(); ++k)
            if (s.dims[d].terms[k].atom == a) return d * 64 + k;
        return size_t{0};
      };
      std::stable_sort(grids.begin(), grids.end(),
                       [&](AtomId a, AtomId b) { return position(a) < position(b); });
    }
    for (AtomId a : grids) grid_.push_back(outer_[a]);
  }

  AtomId add_atom(std::string name, const Dim& extent) {
    kernel_.atoms.push_back({std::move(name), extent});
    return static_cast<AtomId>(kernel_.atoms.size()) - 1;
  }

  Form kernel_form(const Form& f) const {
    Form out{f.offset, {}, f.whole};
    for (const Term& t : f.terms) {
      const Tiling& tile = tiling(t.atom);
      if (outer_[t.atom] >= 0) out.terms.push_back({outer_[t.atom], t.coef * Dim(tile.inner)});
      if (inner_[t.atom] >= 0) out.terms.push_back({inner_[t.atom], t.coef});
    }
    return out;
  }
  Forms kernel_forms(const Forms& fs) const {
    Forms out;
    for (const Form& f : fs) out.push_back(kernel_form(f));
    return out;
  }

  std::vector<AtomId> space_atoms(const Forms& fs) const {
    std::vector<AtomId> out;
    for (const Form& f : fs)
      for (const Term& t : f.terms)
        if (!contains(out, t.atom)) out.push_back(t.atom);
    return out;
  }

  // The axes of a tile: inner atoms, the vector one last.
  std::vector<AtomId> axes(const Forms& dims) const {
    std::vector<AtomId> out;
    bool vector = false;
    for (AtomId a : space_atoms(dims)) {
      if (inner_[a] < 0) continue;
      if (a == choice_.vector)
        vector = true;
      else
        out.push_back(inner_[a]);
    }
    if (vector) out.push_back(inner_[choice_.vector]);
    return out;
  }

  // ---- nests
  // ---------------------------------------------------------------------------------------------------
  void study(int i) {
    const Inst& x = inst(i);
    for (const auto& u : x.inputs)
      if (u.inst >= 0) users_[u.inst].push_back(i);
    auto sequential = [&](AtomId a) { return tiling(a).loop && !tiling(a).grid; };
    Forms all = x.dims;
    all.insert(all.end(), x.reduced.begin(), x.reduced.end());
    for (AtomId a : space_atoms(all))
      if (sequential(a)) loops_[i].push_back(a);
    for (AtomId a : x.time)
      if (!contains(loops_[i], a)) loops_[i].push_back(a);
    for (AtomId a : space_atoms(x.reduced))
      if (sequential(a)) reduced_loops_[i].push_back(a);
    if (x.kind == Inst::Kind::compute) {
      chain_[i] = op(i).node->prim->cost;
      for (const auto& u : x.inputs)
        if (u.inst >= 0) chain_[i] += inst(u.inst).kind == Inst::Kind::load ? 0.5 : chain_[u.inst];
      chain_[i] = std::min(chain_[i], 1e9);
      for (const auto& u : x.inputs) {
        if (u.inst < 0) continue;
        const Inst::Kind kind = inst(u.inst).kind;
        const bool folds = kind == Inst::Kind::reduce || kind == Inst::Kind::contract;
        const int from = folds ? u.inst : source_[u.inst];
        if (from != -1) source_[i] = source_[i] == -1 || source_[i] == from ? from : -2;
      }
    }
    if (x.kind == Inst::Kind::carry) chain_[i] = 1e9;
  }

  bool free_to_repeat(int i) const {
    Inst::Kind k = inst(i).kind;
    return k == Inst::Kind::load || k == Inst::Kind::constant || k == Inst::Kind::index;
  }
  // Is i made of one reduction over the same axes? Then keeping i takes no more room than keeping that.
  bool instead_of_its_source(int i) const {
    return source_[i] >= 0 && space_atoms(inst(i).dims) == space_atoms(inst(source_[i]).dims);
  }
  bool repeat(int i) const {
    if (free_to_repeat(i)) return true;
    if (inst(i).kind != Inst::Kind::compute) return false;
    return choice_.keep ? chain_[i] <= kRecompute && !instead_of_its_source(i) : chain_[i] <= 1e8;
  }

  // Is p complete only after the loop over a, as seen by u?
  bool ends(int p, AtomId a, int u) const {
    if (contains(reduced_loops_[p], a)) return true;
    const Inst& c = inst(p);
    if (fault("lower_epilogue")) return false;
    return c.kind == Inst::Kind::carry && all_.scope_time[op(p).scope] == a && !contains(inst(u).time, a);
  }

  // Must i stand after the loop over a in which p is made?
  bool waits(int i, int p, AtomId a, bool in_loop) const {
    if (p == online_.maximum && in_loop && online_.follows(i)) return false;  // takes it as it runs
    return ends(p, a, i) || (online_.maximum >= 0 && online_.scales(p) && !online_.follows(i));
  }

  // Is i what the state u of the loop over a starts from?
  bool starts(int i, int u, AtomId a) const {
    return inst(u).kind == Inst::Kind::carry && all_.scope_time[op(u).scope] == a &&
           inst(u).inputs[0].inst == i;
  }

  IntList real_inputs(int i) const {
    IntList out;
    const Inst& x = inst(i);
    size_t count = x.kind == Inst::Kind::carry ? 1 : x.inputs.size();
    for (size_t k = 0; k < count; ++k)
      if (x.inputs[k].inst >= 0) out.push_back(x.inputs[k].inst);
    return out;
  }

  std::vector<Nest> emit(const IntList& insts, size_t depth, const std::set<int>& begun) {
    if (insts.empty()) return {};
    if (depth == choice_.order.size()) {
      Nest leaf;
      leaf.leaf = insts;
      std::vector<Nest> out;
      out.push_back(std::move(leaf));
      return out;
    }
    AtomId a = choice_.order[depth];
    std::vector<char> here(n_, false), in_loop(n_, false);
    std::vector<int> stage(n_, 0);
    bool any = false;
    for (int i : insts) {
      here[i] = true;
      in_loop[i] = contains(loops_[i], a);
      any = any || in_loop[i];
    }
    if (!any) return emit(insts, depth + 1, begun);
    int last = 0;
    for (int i : insts) {
      for (int p : real_inputs(i))
        if (here[p])
          stage[i] = std::max(stage[i], stage[p] + (in_loop[p] && waits(i, p, a, in_loop[i]) ? 1 : 0));
    }
    for (auto i = insts.rbegin(); i != insts.rend(); ++i) {  // loads as late as their first use
      if (!free_to_repeat(*i)) continue;
      int first = -1;
      for (int u : users_[*i])
        if (here[u]) first = first < 0 ? stage[u] : std::min(first, stage[u]);
      if (first >= 0) stage[*i] = first;
    }
    for (int i : insts) last = std::max(last, stage[i]);
    struct Group {
      bool loop;
      std::vector<char> has;
    };
    std::vector<Group> groups;
    for (int s = 0; s <= last; ++s) {
      std::vector<char> before(n_, false), body(n_, false);
      IntList work;
      bool some_before = false;
      for (int i : insts) {
        if (stage[i] != s) continue;
        if (in_loop[i]) {
          body[i] = true;
          work.push_back(i);
        } else {
          before[i] = true;
          some_before = true;
        }
      }
      bool some_body = !work.empty();
      while (!work.empty()) {  // what this loop needs again
        int i = work.back();
        work.pop_back();
        if (inst(i).kind == Inst::Kind::carry && all_.scope_time[op(i).scope] == a)
          continue;  // its init stands before the loop
        for (int p : real_inputs(i)) {
          if (!here[p] || body[p]) continue;
          bool earlier = in_loop[p] && !ends(p, a, i) && stage[p] < s;
          if (earlier && !repeat(p) && online_.maximum >= 0 && online_.scales(p))
            throw Barrier{"what runs with a maximum cannot be made again"};
          if (earlier && !repeat(p) && contains(inst(p).time, a) && !contains(space_atoms(inst(p).dims), a))
            throw Barrier{"a trajectory that is needed whole before it is used"};
          if (!repeat(p)) continue;
          bool deeper = !in_loop[p] && std::any_of(choice_.order.begin() + depth + 1, choice_.order.end(),
                                                   [&](AtomId b) { return contains(loops_[p], b); });
          if (!earlier && !deeper) continue;
          body[p] = true;
          work.push_back(p);
        }
      }
      if (some_before) groups.push_back({false, std::move(before)});
      if (some_body) groups.push_back({true, std::move(body)});
    }
    for (size_t g = 0; g < groups.size();
         ++g) {  // what was repeated inside need not stand outside unless used there
      if (groups[g].loop) continue;
      for (auto i = insts.rbegin(); i != insts.rend(); ++i) {
        if (!groups[g].has[*i] || !repeat(*i) || in_loop[*i]) continue;
        bool copied = false;
        for (const Group& other : groups) copied = copied || (other.loop && other.has[*i]);
        if (!copied) continue;
        bool needed = false;
        for (int u : users_[*i])
          if (here[u])
            for (const Group& other : groups)
              if (other.has[u] && (!other.has[*i] || starts(*i, u, a))) needed = true;
        bool local = false;
        for (int u : users_[*i]) local = local || (here[u] && groups[g].has[u]);
        if (!needed && !local) groups[g].has[*i] = false;
      }
    }
    std::vector<Nest> out;
    for (const Group& g : groups) {
      IntList list;
      for (int i : insts)
        if (g.has[i]) list.push_back(i);
      if (list.empty()) continue;
      if (!g.loop) {
        for (Nest& n : emit(list, depth + 1, begun)) out.push_back(std::move(n));
        continue;
      }
      Nest loop;
      loop.atom = a;
      std::set<int> inside = begun;
      for (int i : list)
        if (contains(reduced_loops_[i], a) && !begun.contains(i)) {
          loop.begun.push_back(i);
          inside.insert(i);
          for (size_t d = depth + 1; d < choice_.order.size();
               ++d)  // a loop over its own axes inside: it lives in scratch
            if (contains(loops_[i], choice_.order[d]) && !contains(reduced_loops_[i], choice_.order[d]))
              memory_accumulators_.insert(i);
        }
      loop.ended = loop.begun;
      loop.children = emit(list, depth + 1, inside);
      out.push_back(std::move(loop));
    }
    return out;
  }

  // ---- residence: what is not visible where it is used lives in scratch
  // -----------------------------------------
  bool memory_carry(int i) const {
    for (AtomId a : space_atoms(inst(i).dims))
      if (tiling(a).loop && !tiling(a).grid) return true;
    return false;
  }

  void find_kept() {
    std::vector<int> visible(n_, 0);
    scan_scope(nests_, visible);
    for (size_t i = 0; i < n_; ++i)
      if (inst(static_cast<int>(i)).kind == Inst::Kind::carry && memory_carry(static_cast<int>(i)))
        for (const auto& u : inst(static_cast<int>(i)).inputs) kept_.insert(u.inst);
  }

  void scan_scope(const std::vector<Nest>& nests, std::vector<int>& visible) {
    IntList added;
    auto show = [&](int i) {
      ++visible[i];
      added.push_back(i);
    };
    for (const Nest& n : nests) {
      if (n.atom < 0) {
        for (int i : n.leaf) {
          bool is_carry = inst(i).kind == Inst::Kind::carry;
          if (!is_carry)
            for (int p : real_inputs(i))
              if (!visible[p] && inst(p).kind != Inst::Kind::carry) kept_.insert(p);
          show(i);
        }
        continue;
      }
      for (int i : carries_of(n)) {
        int init = inst(i).inputs[0].inst;
        if (!visible[init]) kept_.insert(init);
      }
      for (int i : n.begun)
        if (!memory_accumulators_.contains(i))
          show(i);
        else
          kept_.insert(i);
      scan_scope(n.children, visible);
      for (int i : carries_of(n))
        if (!found_at_level(n.children, inst(i).inputs[1].inst) && !visible[inst(i).inputs[1].inst])
          kept_.insert(inst(i).inputs[1].inst);
    }
    for (int i : added) --visible[i];
  }

  static bool found_at_level(const std::vector<Nest>& nests, int i) {
    for (const Nest& n : nests) {
      if (n.atom < 0 && std::find(n.leaf.begin(), n.leaf.end(), i) != n.leaf.end()) return true;
      if (n.atom >= 0 && std::find(n.ended.begin(), n.ended.end(), i) != n.ended.end()) return true;
    }
    return false;
  }

  IntList carries_of(const Nest& loop) const {
    IntList out;
    if (loop.atom < 0) return out;
    std::function<void(const std::vector<Nest>&)> look = [&](const std::vector<Nest>& nests) {
      for (const Nest& n : nests) {
        for (int i : n.leaf)
          if (inst(i).kind == Inst::Kind::carry && all_.scope_time[op(i).scope] == loop.atom &&
              std::find(out.begin(), out.end(), i) == out.end())
            out.push_back(i);
        look(n.children);
      }
    };
    look(loop.children);
    return out;
  }

  // ---- statements
  // -----------------------------------------------------------------------------------------------
  ValueId value(Dtype dtype, std::vector<AtomId> at, bool scratch = false) {
    kernel_.values.push_back({"%" + std::to_string(kernel_.values.size()), dtype, std::move(at), scratch});
    return static_cast<ValueId>(kernel_.values.size()) - 1;
  }

  static Dtype accumulator(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16 ? Dtype::f32 : d; }
  Dtype dtype(int i) const {
    return inst(i).kind == Inst::Kind::index && is_float(op(i).type.dtype) ? Dtype::i64 : op(i).type.dtype;
  }

  void make_args() {
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
    constexpr double kMoreThanCaches = 64e6, kLarge = 1e6;
    double written = 0;
    auto bytes = [](const tile::Arg& a) {
      return static_cast<double>(volume(a.shape).hint() * size_of(a.dtype));
    };
    for (const tile::Arg& a : kernel_.args)
      if (a.output) written += bytes(a);
    for (size_t a = 0; a < kernel_.args.size(); ++a)
      if (tile::Arg& arg = kernel_.args[a]; arg.output) {
        output_arg_[buffers_[a]] = static_cast<int>(a);
        arg.streaming = written > kMoreThanCaches && bytes(arg) > kLarge;
      }
  }
  std::map<int, int> input_arg_, output_arg_;
  static bool whole(const Forms& fs) {
    return std::any_of(fs.begin(), fs.end(), [](const Form& f) { return f.whole; });
  }
  int table_op(const Inst& i, size_t slot) const { return flat_.ops[i.op].inputs[slot]; }

  // Scratch is laid out by whole atoms, so that it can be read at any form.
  std::vector<AtomId> storage_atoms(const Forms& dims) const {
    std::vector<AtomId> out;
    bool vector = false;
    for (AtomId a : space_atoms(dims)) {
      if (tiling(a).grid && inner_[a] < 0) continue;
      if (a == choice_.vector)
        vector = true;
      else
        out.push_back(a);
    }
    if (vector) out.push_back(choice_.vector);
    return out;
  }
  AtomId storage(AtomId a) {
    if (tiling(a).grid || !tiling(a).loop) return inner_[a];
    if (storage_[a] < 0) {
      Dim blocks = ceildiv(all_.space.extent(a), tiling(a).inner);
      if (!blocks.is_const()) throw Barrier{"a value that is kept over an axis of unknown length"};
      storage_[a] = add_atom(kernel_.atoms[outer_[a]].name + "s", blocks * Dim(tiling(a).inner));
    }
    return storage_[a];
  }
  Forms storage_forms(const Forms& dims) {
    Forms out;
    for (AtomId a : storage_atoms(dims)) {
      if (tiling(a).grid)
        out.push_back(Form::of(inner_[a]));
      else
        out.push_back(kernel_form(Form::of(a)));
    }
    return out;
  }
  ValueId scratch_of(int i, Dtype d) {
    auto [at, fresh] = scratch_.try_emplace(i, -1);
    if (fresh) {
      std::vector<AtomId> ax;
      for (AtomId a : storage_atoms(inst(i).dims)) ax.push_back(storage(a));
      at->second = value(d, ax, true);
    }
    return at->second;
  }

  Operand add_stmt(Body& body, Stmt s, Dtype d) {
    s.result = value(d, s.axes);
    Operand o{s.result, {}};
    body.push_back(std::move(s));
    return o;
  }
  Operand read_scratch(Body& body, ValueId from, Forms forms, std::vector<AtomId> at) {
    Stmt s;
    s.op = tile::Op::read;
    s.axes = std::move(at);
    s.source = from;
    s.forms = std::move(forms);
    return add_stmt(body, std::move(s), kernel_.values[from].dtype);
  }
  void write_scratch(Body& body, ValueId to, const Operand& from, Forms forms, std::vector<AtomId> at) {
    Stmt s;
    s.op = tile::Op::write;
    s.result = to;
    s.axes = std::move(at);
    s.operands = {from};
    s.forms = std::move(forms);
    body.push_back(std::move(s));
  }
  Operand map(Body& body, std::string_view name, std::vector<Operand> operands, std::vector<AtomId> at,
              Dtype d, Attrs attrs = {}) {
    Stmt s;
    s.op = tile::Op::map;
    s.prim = &prim(name);
    s.operands = std::move(operands);
    s.axes = std::move(at);
    s.attrs = std::move(attrs);
    return add_stmt(body, std::move(s), d);
  }
  Operand convert(Body& body, const Operand& from, Dtype to) {
    const tile::Value& v = kernel_.values[from.value];
    if (v.dtype == to) return from;
    return map(body, "convert", {from}, v.axes, to, Attrs{{"dtype", Attr(to)}});
  }
  Operand constant(Body& body, const Scalar& x, Dtype d) {
    Stmt s;
    s.op = tile::Op::constant;
    s.scalar = x;
    return add_stmt(body, std::move(s), d);
  }
  Operand index(Body& body, const Form& space_form, Dtype d) {
    Stmt s;
    s.op = tile::Op::index;
    s.axes = axes({space_form});
    s.forms = {kernel_form(space_form)};
    return add_stmt(body, std::move(s), d);
  }

  using Scope = std::unordered_map<int, Operand>;

  // The value of an input where instance `user` stands.
  Operand input(Body& body, Scope& scope, int user, size_t slot) {
    const Inst::Use& u = inst(user).inputs[slot];
    const Inst& from = inst(u.inst);
    if (from.kind == Inst::Kind::carry) return read_carry(body, u, op(user).type.dtype);
    auto found = scope.find(u.inst);
    if (found != scope.end()) return found->second;
    TENFOLD_CHECK(kept_.contains(u.inst), "instance {} of {} is used by {} where it is not visible", u.inst,
                  op(u.inst).node ? op(u.inst).node->prim->name : "?",
                  op(user).node ? op(user).node->prim->name : "?");
    Operand o =
        read_scratch(body, scratch_of(u.inst, dtype(u.inst)), storage_forms(from.dims), axes(from.dims));
    scope[u.inst] = o;
    return o;
  }

  // A state, where it is written or elsewhere. A form asked for is taken apart by the mixed radix of the one
  // it is kept under.
  Operand read_carry(Body& body, const Inst::Use& u, Dtype) {
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

  void generate(const std::vector<Nest>& nests, Scope scope, Body& body) {
    for (const Nest& n : nests) {
      if (n.atom < 0)
        leaf(n.leaf, scope, body);
      else
        loop(n, scope, body);
    }
  }

  // A nest of loops over the sequential outer atoms of `dims`, around what `inner` puts there.
  template <class F>
  void over_storage(const Forms& dims, Body& body, F inner) {
    std::vector<AtomId> around;
    for (AtomId a : space_atoms(dims))
      if (tiling(a).loop && !tiling(a).grid) around.push_back(a);
    Body* at = &body;
    for (AtomId a : around) {
      auto l = std::make_unique<tile::Loop>();
      l->atom = outer_[a];
      tile::Loop* raw = l.get();
      at->push_back(std::move(l));
      at = &raw->body;
    }
    inner(*at);
  }

  void loop(const Nest& n, Scope& scope, Body& body) {
    for (int i : n.begun) begin_accumulator(i, scope, body);
    IntList carries = carries_of(n);
    for (int i : carries) begin_carry(i, scope, body);
    auto l = std::make_unique<tile::Loop>();
    l->atom = outer_[n.atom];
    for (size_t s = 0; s < all_.scope_time.size(); ++s)
      if (all_.scope_time[s] == n.atom) l->reverse = flat_.scopes[s].reverse;
    Scope inside = scope;
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
        if (inst(next).kind == Inst::Kind::carry &&
            (!memory_carry(next) || !(inst(next).dims == inst(i).dims)))
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
    body.push_back(std::move(l));
    for (int i : n.ended) end_accumulator(i, scope, body);
  }

  void begin_carry(int i, Scope& scope, Body& body) {
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

  // ---- accumulators
  // -------------------------------------------------------------------------------------------- Axes of the
  // running tile: the result's, and the lanes of a reduced vector atom.
  std::vector<AtomId> lanes(int i) const {
    for (AtomId a : space_atoms(inst(i).reduced))
      if (a == choice_.vector && inner_[a] >= 0) return {inner_[a]};
    return {};
  }
  std::vector<AtomId> running_axes(int i) const {
    std::vector<AtomId> out = axes(inst(i).dims);
    for (AtomId l : lanes(i)) out.push_back(l);
    return out;
  }
  const Prim& combine(int i) const {
    return inst(i).kind == Inst::Kind::contract ? prim("add") : combine_of(*op(i).node->prim);
  }
  Scalar start(int i) const {
    const Dtype d = accumulator(op(i).type.dtype);
    return fault("lower_identity") ? Scalar(0).round_to(d) : identity(combine(i), d);
  }

  ValueId running_scratch(int i) {
    auto [at, fresh] = scratch_.try_emplace(i, -1);
    if (fresh) {
      std::vector<AtomId> ax;
      for (AtomId a : storage_atoms(inst(i).dims)) ax.push_back(storage(a));
      for (AtomId l : lanes(i)) ax.push_back(l);
      at->second = value(accumulator(op(i).type.dtype), ax, true);
    }
    return at->second;
  }
  Forms running_forms(int i) {
    Forms f = storage_forms(inst(i).dims);
    for (AtomId l : lanes(i)) f.push_back(Form::of(l));
    return f;
  }

  void begin_accumulator(int i, Scope& scope, Body& body) {
    if (online_.maximum >= 0 && memory_accumulators_.contains(i) &&
        (i == online_.maximum || online_.scales(i)))
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

  // Multiplies accumulator i by what its degree makes of `shift`, the old maximum less the new one.
  void rescale(int i, const Operand& shift, Body& body) {
    const int degree = online_.degrees[i].number;
    const std::vector<AtomId> ax = kernel_.values[shift.value].axes;
    const Dtype d = kernel_.values[shift.value].dtype;
    Operand by = shift;
    if (degree != 1)
      by = map(body, "mul", {by, constant(body, Scalar(static_cast<double>(degree)), d)}, ax, d);
    Stmt s;
    s.op = tile::Op::accumulate;
    s.prim = &prim("mul");
    s.result = variables_.at(i);
    s.axes = running_axes(i);
    const NodeRef x = build::parameter(0, {d, {}});
    s.operands = {convert(body, composed(body, {{x}, {build::map("exp", {x})}, {}}, {by}, ax),
                          accumulator(op(i).type.dtype))};
    body.push_back(std::move(s));
  }
  // old - now where the maximum has grown, else 0 (and not -inf + inf).
  Operand shift_of(Body& body, const Operand& grown, const Operand& old, const Operand& now) {
    const std::vector<AtomId> ax = kernel_.values[old.value].axes;
    const Dtype d = kernel_.values[old.value].dtype;
    return map(body, "select", {grown, map(body, "sub", {old, now}, ax, d), constant(body, Scalar(0.0), d)},
               ax, d);
  }

  void end_accumulator(int i, Scope& scope, Body& body) {
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
        write_scratch(body, scratch_of(i, want), scope[i], storage_forms(inst(i).dims), axes(inst(i).dims));
      return;
    }
    scope.erase(i);
    if (!lane && accumulator(want) == want) return;  // users read it where it stands
    ValueId from = running_scratch(i);
    Forms from_forms = running_forms(i);
    scratch_.erase(i);
    over_storage(inst(i).dims, body, [&](Body& b) {
      Operand x = collapse(b, read_scratch(b, from, from_forms, running_axes(i)));
      write_scratch(b, scratch_of(i, want), x, storage_forms(inst(i).dims), axes(inst(i).dims));
    });
  }

  // ---- leaves
  // ----------------------------------------------------------------------------------------------------
  void leaf(const IntList& list, Scope& scope, Body& body) {
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
      branch->mask = input_of(body, scope, v.select, 0);
      Scope inside = scope;  // what is read back in here is not there for those outside
      for (int m : v.body) statement(m, inside, branch->body);
      for (int m : v.body)
        if (auto at = inside.find(m); at != inside.end()) scope[m] = at->second;
      body.push_back(std::move(branch));
    };
    for (int i : list)
      if (!item.contains(i)) place(i);
  }

  Operand input_of(Body& body, Scope& scope, int user, size_t slot) { return input(body, scope, user, slot); }

  struct Vote {
    int mask, select;
    IntList body;
  };

  // Work whose only use is the chosen side of selects by one mask: it runs where any element of the tile
  // chooses it.
  std::vector<Vote> find_votes(const IntList& list) {
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
        for (int i : list) {  // what depends on a select by this mask cannot stand before it
          bool dependent = chosen.contains(i);
          for (int p : real_inputs(i)) dependent = dependent || after.contains(p);
          if (dependent) after.insert(i);
        }
        double work = 0;
        IntList found;
        for (auto i = list.rbegin(); i != list.rend(); ++i) {
          const Inst& x = inst(*i);
          if (x.kind != Inst::Kind::compute && x.kind != Inst::Kind::load) continue;
          if (after.contains(*i) || taken.contains(*i) || kept_.contains(*i) || users_[*i].empty()) continue;
          bool only = true;
          for (int u : users_[*i]) {
            if (guarded.contains(u)) continue;
            const Inst& s = inst(u);
            bool then = chosen.contains(u) && s.inputs[1].inst == *i && s.inputs[0].inst != *i &&
                        s.inputs[2].inst != *i;
            only = only && then;
          }
          if (!only || op(*i).node == nullptr) continue;
          guarded.insert(*i);
          found.push_back(*i);
          if (x.kind == Inst::Kind::compute) work += op(*i).node->prim->cost;
        }
        if (work < kVote) continue;
        std::reverse(found.begin(), found.end());
        taken.insert(found.begin(), found.end());
        votes.push_back({mask, by[0], std::move(found)});
      }
    return votes;
  }

  void define(int i, const Operand& o, Scope& scope, Body& body) {
    scope[i] = o;
    if (kept_.contains(i) && written_.insert(i).second)
      write_scratch(body, scratch_of(i, dtype(i)), o, storage_forms(inst(i).dims), axes(inst(i).dims));
  }

  void statement(int i, Scope& scope, Body& body) {
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

  void compute(int i, Scope& scope, Body& body) {
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

  Operand less(Body& body, const Form& e, const Dim& limit) {
    Operand at = index(body, e, Dtype::i64);
    std::vector<AtomId> ax = kernel_.values[at.value].axes;
    return map(body, "less", {at, dim_value(body, limit)}, ax, Dtype::boolean);
  }
  Operand dim_value(Body& body, const Dim& d) {
    if (d.is_const()) return constant(body, Scalar(d.value()), Dtype::i64);
    return index(body, Form::point(d), Dtype::i64);
  }

  // pad and concatenate: each element chooses its piece by its own number.
  Operand piecewise(int i, Scope& scope, Body& body) {
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
          out = map(body, "select", {less(body, x.asked[k][axis], n.inputs[k]->shape()[axis]), piece, out},
                    ax, n.dtype());
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

  Operand gather(int i, Scope& scope, Body& body) {
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

  // Reductions and contractions: into a running tile where a loop is around, at once where the tile is whole.
  void fold(int i, Scope& scope, Body& body) {
    const Inst& x = inst(i);
    bool contract = x.kind == Inst::Kind::contract;
    Dtype want = op(i).type.dtype, running = accumulator(want);
    std::vector<Operand> operands;
    for (size_t k = 0; k < x.inputs.size(); ++k)
      operands.push_back(convert(body, input(body, scope, i, k), running));
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
    if (!memory_accumulators_.contains(i)) {
      s.result = variables_.at(i);
      if (i == online_.maximum) return run_maximum(std::move(s), scope, body);
      body.push_back(std::move(s));
      return;
    }
    Operand old = read_scratch(body, running_scratch(i), running_forms(i), running_axes(i));
    Stmt c;
    c.op = tile::Op::copy;
    c.axes = running_axes(i);
    c.operands = {old};
    c.result = value(running, c.axes);
    ValueId v = s.result = c.result;
    body.push_back(std::move(c));
    body.push_back(std::move(s));
    write_scratch(body, running_scratch(i), {v, {}}, running_forms(i), running_axes(i));
  }

  // One step of the maximum, and of all that scales with it where it has grown.
  void run_maximum(Stmt step, Scope& scope, Body& body) {
    const Operand now{step.result, {}};
    Stmt copy;
    copy.op = tile::Op::copy;
    copy.axes = step.axes;
    copy.operands = {now};
    copy.result = value(kernel_.values[now.value].dtype, copy.axes);
    const Operand old{copy.result, {}};
    const std::vector<AtomId> ax = step.axes;
    body.push_back(std::move(copy));
    body.push_back(std::move(step));
    const Operand grown = map(body, "less", {old, now}, ax, Dtype::boolean);
    auto branch = std::make_unique<tile::If>();
    branch->mask = grown;
    const Operand shift = shift_of(branch->body, grown, old, now);
    for (int i : running_)
      if (i != online_.maximum && online_.scales(i)) {
        rescale(i, shift, branch->body);
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
  static Graph scalar_graph(const Node& n) {
    Graph g;
    for (size_t k = 0; k < n.inputs.size(); ++k)
      g.parameters.push_back(build::parameter(static_cast<int64_t>(k), {n.inputs[k]->dtype(), {}}));
    g.results = {make(*n.prim, g.parameters, n.attrs)};
    return g;
  }

  // The statements of a graph of maps over scalars, point by point over `at`.
  Operand composed(Body& body, const Graph& graph, const std::vector<Operand>& inputs,
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

  std::string loop_string() const {
    std::string out;
    for (AtomId g : grid_) {
      std::string name = kernel_.atoms[g].name;
      std::transform(name.begin(), name.end(), name.begin(), ::toupper);
      out += name + " ";
    }
    for (AtomId a : choice_.order)
      if (outer_[a] >= 0) out += kernel_.atoms[outer_[a]].name + " ";
    if (choice_.vector >= 0 && inner_[choice_.vector] >= 0) out += kernel_.atoms[inner_[choice_.vector]].name;
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
  }
};

}  // namespace

Lowered lower(const Flat& flat, const Instances& all, const Choice& choice, const tile::Machine& machine) {
  return Lowering(flat, all, choice, machine).finish();
}

}  // namespace tenfold::plan
