// Atoms, and the order of instances in nested loops: what stands in which loop, what is repeated, what is
// kept in scratch.
#include "tenfold/base/fault.h"
#include "tenfold/plan/lowering.h"

namespace tenfold::plan {
namespace {

// Scalar operations a point worth repeating rather than a trip through scratch.
constexpr double kRecompute = 3;

}  // namespace

void Lowering::make_atoms() {
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
  for (AtomId a : used) {
    const Tiling& t = tiling(a);
    const Dim& extent = all_.space.extent(a);
    std::string base = name(a);
    bool split = t.loop && t.inner > 1;
    if (t.loop) outer_[a] = add_atom(split ? base + "o" : base, split ? ceildiv(extent, t.inner) : extent);
    if (t.inner > 1 || !t.loop) inner_[a] = add_atom(split ? base + "i" : base, t.inner);
    if (split && !provably_divides(t.inner, extent) && !fault("lower_guard"))
      kernel_.guards.push_back({kernel_form(Form::of(a)), extent});
  }
  for (AtomId a : grid_order(all_, choice_)) grid_.push_back(outer_[a]);
}

AtomId Lowering::add_atom(std::string name, const Dim& extent) {
  kernel_.atoms.push_back({std::move(name), extent});
  return static_cast<AtomId>(kernel_.atoms.size()) - 1;
}

Form Lowering::kernel_form(const Form& f) const {
  Form out{f.offset, {}, f.whole};
  for (const Term& t : f.terms) {
    const Tiling& tile = tiling(t.atom);
    if (outer_[t.atom] >= 0) out.terms.push_back({outer_[t.atom], t.coef * Dim(tile.inner)});
    if (inner_[t.atom] >= 0) out.terms.push_back({inner_[t.atom], t.coef});
  }
  return out;
}

Forms Lowering::kernel_forms(const Forms& fs) const {
  Forms out;
  for (const Form& f : fs) out.push_back(kernel_form(f));
  return out;
}

std::vector<AtomId> Lowering::space_atoms(const Forms& fs) const {
  std::vector<AtomId> out;
  for (const Form& f : fs)
    for (const Term& t : f.terms)
      if (!contains(out, t.atom)) out.push_back(t.atom);
  return out;
}

// The axes of a tile: inner atoms, the vector one last.
std::vector<AtomId> Lowering::axes(const Forms& dims) const {
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

void Lowering::study(int i) {
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

bool Lowering::free_to_repeat(int i) const {
  Inst::Kind k = inst(i).kind;
  if (choice_.packed.contains(i)) return false;
  return k == Inst::Kind::load || k == Inst::Kind::constant || k == Inst::Kind::index;
}

// Is i made of one reduction over the same axes? Then keeping i takes no more room than keeping that.
bool Lowering::instead_of_its_source(int i) const {
  return source_[i] >= 0 && space_atoms(inst(i).dims) == space_atoms(inst(source_[i]).dims);
}

bool Lowering::repeat(int i) const {
  if (free_to_repeat(i)) return true;
  if (inst(i).kind != Inst::Kind::compute || choice_.packed.contains(i)) return false;
  return choice_.keep ? chain_[i] <= kRecompute && !instead_of_its_source(i) : chain_[i] <= 1e8;
}

// Is p complete only after the loop over a, as seen by u?
bool Lowering::ends(int p, AtomId a, int u) const {
  if (contains(reduced_loops_[p], a)) return true;
  const Inst& c = inst(p);
  if (fault("lower_epilogue")) return false;
  return c.kind == Inst::Kind::carry && all_.scope_time[op(p).scope] == a && !contains(inst(u).time, a);
}

// Must i stand after the loop over a in which p is made?
bool Lowering::waits(int i, int p, AtomId a, bool in_loop) const {
  if (!runs_along(a)) return ends(p, a, i);
  if (p == online_.maximum && in_loop && online_.follows(i)) return false;  // takes it as it runs
  return ends(p, a, i) || (online_.scales(p) && !online_.follows(i));
}

// Is i what the state u of the loop over a starts from?
bool Lowering::starts(int i, int u, AtomId a) const {
  return inst(u).kind == Inst::Kind::carry && all_.scope_time[op(u).scope] == a &&
         inst(u).inputs[0].inst == i;
}

IntList Lowering::real_inputs(int i) const {
  IntList out;
  const Inst& x = inst(i);
  size_t count = x.kind == Inst::Kind::carry ? 1 : x.inputs.size();
  for (size_t k = 0; k < count; ++k)
    if (x.inputs[k].inst >= 0) out.push_back(x.inputs[k].inst);
  return out;
}

std::vector<Nest> Lowering::emit(const IntList& insts, size_t depth, const std::set<int>& begun) {
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
        if (earlier && !repeat(p) && runs_along(a) && online_.scales(p))
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
  if (a == choice_.around)
    for (const Group& g : groups)
      for (int i : insts) {
        auto here_too = [&](int u) {
          return std::ranges::any_of(groups, [&](const Group& o) { return o.has[u] && !o.has[i]; });
        };
        if (g.loop && g.has[i] && in_loop[i] && std::ranges::none_of(users_[i], here_too)) passing_.insert(i);
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
    for (int i :
         list) {  // one that lives in scratch is read and written once around a loop that only adds to it
      const auto own = [&](AtomId b) { return contains(loops_[i], b) && !contains(reduced_loops_[i], b); };
      if (begun.contains(i) && contains(reduced_loops_[i], a) && memory_accumulators_.contains(i) &&
          std::none_of(choice_.order.begin() + static_cast<std::ptrdiff_t>(depth) + 1, choice_.order.end(),
                       own) &&
          resumed_.insert(i).second)
        loop.resumed.push_back(i);
    }
    loop.ended = loop.begun;
    loop.children = emit(list, depth + 1, inside);
    out.push_back(std::move(loop));
  }
  return out;
}

bool Lowering::memory_carry(int i) const {
  for (AtomId a : space_atoms(inst(i).dims))
    if (tiling(a).loop && !tiling(a).grid) return true;
  return false;
}

void Lowering::find_kept() {
  std::vector<int> visible(n_, 0);
  scan_scope(nests_, visible);
  for (size_t i = 0; i < n_; ++i)
    if (inst(static_cast<int>(i)).kind == Inst::Kind::carry && memory_carry(static_cast<int>(i)))
      for (const auto& u : inst(static_cast<int>(i)).inputs) kept_.insert(u.inst);
  for (const int i : choice_.packed) {
    int64_t elements = 1;
    for (AtomId a : space_atoms(inst(i).dims)) elements *= tiling(a).inner;
    const int64_t room = choice_.group >= 0 && machine_.tile_rows > 0  // whose tiles are loaded from memory
                             ? 0
                             : 2 * machine_.registers * machine_.vector_bytes;
    if (elements * 4 > room) kept_.insert(i), spread_.insert(i);
  }
}

// A value that is made, element by element, of a kept one that nobody reads later takes its place in scratch.
void Lowering::find_places() {
  if (std::ranges::any_of(all_.scope_time, [](AtomId a) { return a >= 0; })) return;
  struct Leaf {
    const IntList* list;
    std::vector<const Nest*> around;
  };
  std::vector<Leaf> leaves;
  std::vector<const Nest*> around;
  std::function<void(const std::vector<Nest>&)> walk = [&](const std::vector<Nest>& nests) {
    for (const Nest& n : nests) {
      if (n.atom < 0) {
        leaves.push_back({&n.leaf, around});
        continue;
      }
      around.push_back(&n);
      walk(n.children);
      around.pop_back();
    }
  };
  walk(nests_);
  auto in = [](const IntList& list, int i) { return std::ranges::find(list, i) != list.end(); };
  std::vector<int> made(n_, -1), times(n_, 0),
      last(n_, -1);  // the leaf that makes it, how many do, the last to read
  for (size_t l = 0; l < leaves.size(); ++l)
    for (int i : *leaves[l].list) {
      made[i] = static_cast<int>(l);
      ++times[i];
      for (int p : real_inputs(i)) last[p] = std::max(last[p], static_cast<int>(l));
    }
  auto fit = [&](int i) { return inst(i).kind == Inst::Kind::compute && kept_.contains(i) && times[i] == 1; };
  std::set<int> taken;
  for (size_t l = 0; l < leaves.size(); ++l) {
    const IntList& list = *leaves[l].list;
    if (!find_votes(list).empty()) continue;
    for (int i : list) {
      if (!fit(i)) continue;
      std::set<int> above{i};  // what i is made of, here
      for (auto x = std::find(list.rbegin(), list.rend(), i); x != list.rend(); ++x)
        if (above.contains(*x))
          for (int p : real_inputs(*x)) above.insert(p);
      for (int p : above) {
        if (p == i || !fit(p) || in(list, p) || taken.contains(p) || last[p] != static_cast<int>(l)) continue;
        if (!(kept_dims(p) == kept_dims(i)) || dtype(p) != dtype(i)) continue;
        const auto readers = std::ranges::count_if(users_[p], [&](int u) { return in(list, u); });
        const auto reader = std::ranges::find_if(users_[p], [&](int u) { return in(list, u); });
        if (readers != 1 || !above.contains(*reader)) continue;
        const std::vector<AtomId> own = space_atoms(kept_dims(p));
        const auto& here = leaves[l].around;
        const auto& there = leaves[static_cast<size_t>(made[p])].around;
        bool once = true;  // each element is read once after it was made
        for (size_t d = 0; d < here.size(); ++d)
          once = once && ((d < there.size() && here[d] == there[d]) || contains(own, here[d]->atom));
        if (!once) continue;
        place_of_[i] = p;
        taken.insert(p);
        break;
      }
    }
  }
}

void Lowering::scan_scope(const std::vector<Nest>& nests, std::vector<int>& visible) {
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

bool Lowering::found_at_level(const std::vector<Nest>& nests, int i) {
  for (const Nest& n : nests) {
    if (n.atom < 0 && std::find(n.leaf.begin(), n.leaf.end(), i) != n.leaf.end()) return true;
    if (n.atom >= 0 && std::find(n.ended.begin(), n.ended.end(), i) != n.ended.end()) return true;
  }
  return false;
}

IntList Lowering::carries_of(const Nest& loop) const {
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

}  // namespace tenfold::plan
