#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include "tenfold/ir/reduce.h"
#include "tenfold/plan/lower.h"

namespace tenfold::plan {
namespace {

void collect(const Forms& forms, std::set<AtomId>& into) {
  for (const Form& f : forms)
    for (const Term& t : f.terms) into.insert(t.atom);
}

constexpr double kGathered = -6, kShuffled = -1;

// What an element of a load or store is worth (below 0: costs) when vectors lie along `a`: neighbours in
// memory are one instruction, records whose fields another axis takes all are shuffled, and so are loads of
// what lies close together; the rest is gathered.
double vector_worth(const AtomSpace& space, const Shape& shape, const Forms& dims, AtomId a, bool loads) {
  const Dim step = stride(shape, dims, a);
  if (step == Dim(0)) return 0;
  if (step == Dim(1)) return 2.0 * std::min(1.0, static_cast<double>(space.extent(a).hint()) / 16.0);
  std::set<AtomId> others;
  collect(dims, others);
  for (AtomId b : others)
    if (step.is_const() && step.value() <= tile::kRecord && space.extent(b) == step &&
        stride(shape, dims, b) == Dim(1))
      return kShuffled;
  const bool close = step.is_const() && step.value() > 0 && step.value() <= tile::kStrided;
  return loads && close ? kShuffled : kGathered;
}

// What will be laid out for its kernel lies along whatever vectors it has: those of a result, if one is long.
double laid_worth(const AtomSpace& space, const Axes& axes, const std::set<AtomId>& dims, AtomId a) {
  constexpr double kLanes = 16;
  const auto of_result = [&](AtomId b) { return std::ranges::find(axes.parallel, b) != axes.parallel.end(); };
  const auto length = [&](AtomId b) { return static_cast<double>(space.extent(b).hint()); };
  const bool long_result =
      std::ranges::any_of(dims, [&](AtomId b) { return of_result(b) && length(b) >= kLanes; });
  return long_result && !of_result(a) ? kGathered : 2 * std::min(1.0, length(a) / kLanes);
}

// How often an inner product that sums along `a` loads this operand: once for each tile of the rows that it
// lacks.
double rounds(const Instances& all, const std::vector<InnerProduct>& products, int operand, AtomId a) {
  constexpr double kRows = 6;
  double most = 1;
  std::set<AtomId> mine;
  collect(all.insts[operand].dims, mine);
  for (const InnerProduct& x : products) {
    if (!x.summed.contains(a) || std::ranges::find(x.operands, operand) == x.operands.end()) continue;
    double times = 1;
    for (AtomId b : x.result)
      if (!mine.contains(b)) times *= std::max(1.0, static_cast<double>(all.space.extent(b).hint()) / kRows);
    most = std::max(most, times);
  }
  return most;
}

}  // namespace

Dim stride(const Shape& shape, const Forms& dims, AtomId a) {
  Dim step = 0, row = 1;
  for (size_t d = dims.size(); d-- > 0;) {
    for (const Term& t : dims[d].terms)
      if (t.atom == a) step += t.coef * row;
    row = row * shape[d];
  }
  return step;
}

std::vector<InnerProduct> inner_products(const Flat& flat, const Instances& all) {
  std::vector<InnerProduct> found;
  for (size_t i = 0; i < all.insts.size(); ++i) {
    const Inst& x = all.insts[i];
    if (x.kind != Inst::Kind::contract && x.kind != Inst::Kind::reduce) continue;
    const int bytes = static_cast<int>(size_of(flat.ops[x.op].type.dtype));
    InnerProduct product{static_cast<int>(i), {}, {}, {}, std::max(1, bytes / 4)};
    collect(x.dims, product.result);
    collect(x.reduced, product.summed);
    std::set<AtomId> points = product.result;
    points.insert(product.summed.begin(), product.summed.end());
    bool lacking = true;  // does each operand lack an axis?
    std::vector<int> work;
    for (const Inst::Use& u : x.inputs) work.push_back(u.inst);
    for (size_t w = 0; w < work.size(); ++w) {
      const Inst& p = all.insts[work[w]];
      if (p.kind == Inst::Kind::constant ||
          std::ranges::count(work.begin(), work.begin() + static_cast<std::ptrdiff_t>(w), work[w]))
        continue;
      std::set<AtomId> own;
      collect(p.dims, own);
      const bool full = std::ranges::includes(own, points);
      if (x.kind == Inst::Kind::reduce && full && p.kind == Inst::Kind::compute &&
          flat.ops[p.op].node->prim->kind == Kind::map) {
        for (const Inst::Use& u : p.inputs) work.push_back(u.inst);
        continue;
      }
      lacking = lacking && !full;
      product.operands.push_back(work[w]);
    }
    if (x.kind == Inst::Kind::contract || (lacking && product.operands.size() > 1))
      found.push_back(std::move(product));
  }
  std::vector<int> beside;
  for (const InnerProduct& x : found) {
    beside.push_back(0);
    for (const InnerProduct& y : found)
      if (x.result == y.result && x.summed == y.summed) beside.back() += y.registers;
  }
  for (size_t i = 0; i < found.size(); ++i) found[i].registers = beside[i];
  return found;
}

Axes classify(const Flat& flat, const Instances& all) {
  Axes axes;
  const std::vector<InnerProduct> products = inner_products(flat, all);
  std::set<AtomId> used, banned, time(all.scope_time.begin(), all.scope_time.end());
  for (const Inst& i : all.insts) {
    collect(i.dims, used);
    collect(i.reduced, used);
    collect(i.reduced, banned);
    used.insert(i.time.begin(), i.time.end());
    for (const auto& u : i.inputs)  // a state read elsewhere than written: that dimension stays in one block
      if (u.inst >= 0 && !u.at.empty()) {
        const Inst& c = all.insts[u.inst];
        for (size_t d = 0; d < u.at.size(); ++d)
          if (!(u.at[d] == c.dims[d])) collect({c.dims[d], u.at[d]}, banned);
      }
  }
  for (AtomId a : used) {
    if (time.contains(a)) {
      axes.time.push_back(a);
      continue;
    }
    bool everywhere = std::all_of(all.stores.begin(), all.stores.end(), [&](int s) {
      std::set<AtomId> mine;
      collect(all.insts[s].dims, mine);
      return mine.contains(a);
    });
    (everywhere && !banned.contains(a) ? axes.parallel : axes.sequential).push_back(a);
  }
  // The vector atom: where most scalar work has it and memory is contiguous along it.
  double best = 0;
  for (AtomId a : used) {
    if (time.contains(a)) continue;
    double width = std::min(1.0, static_cast<double>(all.space.extent(a).hint()) / 16.0), score = 0;
    for (size_t n = 0; n < all.insts.size(); ++n) {
      const Inst& i = all.insts[n];
      std::set<AtomId> mine;
      collect(i.dims, mine);
      collect(i.reduced, mine);
      double volume = 1;
      std::set<AtomId> around = mine;  // and the loops it is done again in
      around.insert(i.time.begin(), i.time.end());
      for (AtomId b : around) volume *= static_cast<double>(std::max<int64_t>(1, all.space.extent(b).hint()));
      if (!mine.contains(a)) continue;
      const Op& op = flat.ops[i.op];
      if (i.kind == Inst::Kind::load || i.kind == Inst::Kind::store) {
        const double worth = may_lay(flat, all, i)
                                 ? laid_worth(all.space, axes, mine, a)
                                 : vector_worth(all.space, i.shape, i.dims, a, i.kind == Inst::Kind::load);
        score += volume * worth * (worth < 0 ? rounds(all, products, static_cast<int>(n), a) : 1);
      } else if (i.kind != Inst::Kind::constant && i.kind != Inst::Kind::index) {
        score += volume * width * std::max(0.5, op.node->prim->cost);
      }
    }
    if (axes.vector < 0 || score > best) {
      axes.vector = a;
      best = score;
    }
  }
  return axes;
}

AtomId short_columns(const Flat& flat, const Instances& all, const Axes& axes) {
  if (!axes.time.empty()) return -1;
  for (const InnerProduct& x : inner_products(flat, all))
    for (const AtomId a : x.result)
      if (a != axes.vector && std::ranges::find(axes.parallel, a) != axes.parallel.end() &&
          std::ranges::all_of(
              all.stores, [&](int s) { return stride(all.insts[s].shape, all.insts[s].dims, a) == Dim(1); }))
        return a;
  return -1;
}

// Vectors side by side in a tile: as many as asked for, or fewer where the last tile has much less to spare.
static int64_t vectors_of_tile(const Dim& n, int64_t lanes, int unroll) {
  constexpr double kWorth = 0.06;  // of the elements, for each vector less
  const int64_t all = (n.hint() + lanes - 1) / lanes;
  if (!n.is_const() || all <= unroll) return std::clamp<int64_t>(all, 1, unroll);
  int64_t best = unroll;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t v = unroll; v > unroll / 2; --v) {
    const auto covered = static_cast<double>((all + v - 1) / v * v);
    const double cost = covered * (1 + kWorth * static_cast<double>(unroll - v));
    if (cost < least) best = v, least = cost;
  }
  return best;
}

// Heights of an inner product's tile, by axis of rows: those of the result that an operand along the vectors
// does not have, so that a vector, once loaded, is used again. All rows of products side by side stay in
// registers, the longest axis first, of equal ones the nearest in memory; a height is the one whose last tile
// has least to spare, of those the tallest. Where one operand goes by, rows only hide the latency of sums.
static std::map<AtomId, int64_t> heights_of_tiles(const Flat& flat, const Instances& all, const Axes& axes,
                                                  const tile::Machine& machine, int unroll) {
  const int64_t lanes = machine.vector_bytes / 4;
  const int64_t registers = std::min(machine.registers, 32) - 1;  // but for the element that is multiplied
  const int64_t mapped = (registers + 1) * 3 / 4;                 // beside what the maps make
  const int64_t pairs = registers * 7 / 8;                        // beside a row of either operand
  auto of_least_spare = [](const Dim& n, int64_t most, std::initializer_list<int64_t> heights) {
    int64_t best = 1, least = std::numeric_limits<int64_t>::max();
    for (const int64_t h : heights) {
      const int64_t covered = (n.value() + h - 1) / h * h;
      if (h <= most && covered < least) best = h, least = covered;
    }
    return best;
  };
  auto height = [&](const Dim& n, int64_t most, bool wide) {
    if (!n.is_const()) return std::min<int64_t>(4, most);
    if (n.value() <= std::min<int64_t>(6, most)) return std::max<int64_t>(1, n.value());
    return of_least_spare(n, most, {wide ? 6 : 8, 5, 4, 3, 2});
  };
  const AtomId vector = axes.vector;
  const auto tiled = [&](AtomId a) {
    return std::ranges::find(axes.parallel, a) != axes.parallel.end() ||
           std::ranges::find(axes.sequential, a) != axes.sequential.end();
  };
  const int64_t vectors = vector < 0 ? 1 : vectors_of_tile(all.space.extent(vector), lanes, unroll);
  std::map<AtomId, int64_t> heights;
  const std::vector<InnerProduct> products = inner_products(flat, all);
  for (const InnerProduct& x : products) {
    std::set<AtomId> rows;
    for (const int p : x.operands) {
      std::set<AtomId> mine;
      collect(all.insts[p].dims, mine);
      if (mine.contains(vector) && x.result.contains(vector))
        std::ranges::set_difference(x.result, mine, std::inserter(rows, rows.end()));
    }
    if (!x.result.contains(vector)) rows = x.result;
    std::vector<AtomId> longest;
    std::ranges::copy_if(rows, std::back_inserter(longest), tiled);
    std::ranges::stable_sort(longest, std::greater(), [&](AtomId a) {
      return std::pair(all.space.extent(a).hint(), nearness(all, a));
    });
    if (goes_by(all, x, vector)) {
      for (AtomId a : longest)
        heights[a] = a != longest[0] || !all.space.extent(a).is_const()
                         ? 1
                         : of_least_spare(all.space.extent(a), 8, {4, 5, 6, 7, 3, 2});
      continue;
    }
    // Along a summed axis both operands are vectors, and each is used for all rows of the other.
    const bool maps = all.insts[x.inst].kind == Inst::Kind::reduce;
    const int64_t across = vectors * x.registers;
    const int64_t room = maps ? mapped / across : x.result.contains(vector) ? registers / across - 1 : pairs;
    int64_t left = std::max<int64_t>(1, room);
    if (!x.result.contains(vector))  // fields of records: whole, or what lies between is gathered
      std::ranges::stable_partition(longest, [&](AtomId a) {
        return all.space.extent(a).is_const() && all.space.extent(a).value() <= tile::kRecord;
      });
    for (AtomId a : longest) {
      const int64_t h = height(all.space.extent(a), left, across >= 4);
      const auto [at, fresh] = heights.emplace(a, h);
      if (!fresh) at->second = std::min(at->second, h);
      left = std::max<int64_t>(1, left / h);
    }
    // Where any order of the terms gives the same, two of them are one step.
    if (!maps || !combine_of(*flat.ops[all.insts[x.inst].op].node->prim).has("idempotent")) continue;
    AtomId paired = -1;
    for (AtomId a : x.summed)
      if (const Dim& n = all.space.extent(a); a != vector && n.is_const() && n.value() % 2 == 0)
        if (paired < 0 || n.value() > all.space.extent(paired).value()) paired = a;
    if (paired >= 0) heights.emplace(paired, 2);
  }
  return heights;
}

size_t nearness(const Instances& all, AtomId a) {
  if (all.stores.empty()) return 0;
  const Forms& dims = all.insts[static_cast<size_t>(all.stores[0])].dims;
  for (size_t d = 0; d < dims.size(); ++d)
    for (size_t k = 0; k < dims[d].terms.size(); ++k)
      if (dims[d].terms[k].atom == a) return d * 64 + k;
  return 0;
}

bool goes_by(const Instances& all, const InnerProduct& x, AtomId vector) {
  constexpr double kTerms = 32;
  double terms = 1;
  for (AtomId a : x.summed)
    terms *= all.space.extent(a).is_const() ? static_cast<double>(all.space.extent(a).hint()) : kTerms + 1;
  if (!x.result.contains(vector) || terms > kTerms) return false;
  std::set<AtomId> points = x.result;
  points.insert(x.summed.begin(), x.summed.end());
  bool full = false, rows = false;
  for (const int p : x.operands) {
    std::set<AtomId> mine;
    collect(all.insts[static_cast<size_t>(p)].dims, mine);
    const bool has_all = std::ranges::includes(mine, points);
    full |= has_all;
    rows |= !has_all && mine.contains(vector);
  }
  return full && rows;
}

std::vector<AtomId> grid_order(const Instances& all, const Choice& choice) {
  if (!choice.grid.empty()) return choice.grid;
  std::set<AtomId> used;
  for (const Inst& i : all.insts) collect(i.dims, used);
  std::vector<AtomId> grid;
  std::ranges::copy_if(used, std::back_inserter(grid),
                       [&](AtomId a) { return choice.atoms[static_cast<size_t>(a)].grid; });
  std::ranges::stable_sort(grid, {}, [&](AtomId a) { return nearness(all, a); });
  return grid;
}

Choice first_choice(const Flat& flat, const Instances& all, const Axes& axes, const tile::Machine& machine,
                    int unroll) {
  Choice c;
  c.vector = axes.vector;
  c.atoms.resize(all.space.size());
  int64_t lanes = machine.vector_bytes / 4;
  // Sums along the vectors: one vector of each row, and many pairs of rows.
  for (const InnerProduct& x : inner_products(flat, all))
    if (x.summed.contains(axes.vector)) unroll = 1;
  const std::map<AtomId, int64_t> heights = heights_of_tiles(flat, all, axes, machine, unroll);
  int64_t points = unroll;  // registers of one tile
  auto set = [&](AtomId a, bool parallel) {
    const Dim& n = all.space.extent(a);
    Tiling& t = c.atoms[a];
    t.grid = parallel;
    if (a == axes.vector)
      t.inner = n.is_const() ? std::min<int64_t>(n.value(), lanes * vectors_of_tile(n, lanes, unroll))
                             : lanes * unroll;
    else if (heights.contains(a) && axes.time.empty())
      t.inner = heights.at(a);
    else if (!parallel && n.is_const() && n.value() <= 8 && points * n.value() <= 32)
      t.inner = std::max<int64_t>(1, n.value()), points *= t.inner;
    else if (heights.contains(a))
      t.inner = heights.at(a);
    if (t.inner < 1) t.inner = 1;
    t.loop = parallel || !(n == Dim(t.inner));
  };
  for (AtomId a : axes.parallel) set(a, true);
  for (AtomId a : axes.sequential) set(a, false);
  for (AtomId a : axes.time) c.atoms[a] = {1, false, true};
  for (AtomId a : axes.time) c.order.push_back(a);
  // Outermost first: what a later instance makes (its producers then stand before that loop, whole).
  std::vector<AtomId> rest;
  for (auto i = all.insts.rbegin(); i != all.insts.rend(); ++i) {
    std::set<AtomId> kept;
    collect(i->dims, kept);
    for (AtomId a : kept)
      if (c.atoms[a].loop && !c.atoms[a].grid &&
          std::find(axes.time.begin(), axes.time.end(), a) == axes.time.end() &&
          std::find(rest.begin(), rest.end(), a) == rest.end())
        rest.push_back(a);
  }
  for (AtomId a : axes.sequential)
    if (c.atoms[a].loop && std::find(rest.begin(), rest.end(), a) == rest.end()) rest.push_back(a);
  c.order.insert(c.order.end(), rest.begin(), rest.end());
  return c;
}

}  // namespace tenfold::plan
