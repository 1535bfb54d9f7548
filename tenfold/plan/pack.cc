#include "tenfold/plan/pack.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>

#include "tenfold/plan/lay.h"
#include "tenfold/plan/online.h"

namespace tenfold::plan {
namespace {

double extent(const Instances& all, AtomId a) { return static_cast<double>(all.space.extent(a).hint()); }

// The largest divisor of n that `fits`, or 0.
template <class F>
int64_t divisor(int64_t n, F fits) {
  int64_t best = 0;
  for (int64_t q = 1; q * q <= n; ++q)
    if (n % q == 0)
      for (const int64_t d : {n / q, q})
        if (d > best && fits(d)) best = d;
  return best;
}

// Inner products side by side, the axis of their rows, and the operands along the vectors that do not have
// it.
struct Site {
  std::vector<int> products, operands;
  AtomId rows = -1;
  double work = 0;
  bool goes_by = false;  // the other operand does: rows are those nearest in memory
};

bool may_pack(const Inst& p, AtomId vector) {
  return (p.kind == Inst::Kind::load || p.kind == Inst::Kind::compute) && has(p.dims, vector);
}

Site find_site(const Instances& all, const std::vector<InnerProduct>& products, const Axes& axes) {
  Site best;
  for (const InnerProduct& x : products) {
    double work = 1;
    for (const std::set<AtomId>* atoms : {&x.result, &x.summed})
      for (AtomId a : *atoms) work *= extent(all, a);
    for (const int operand : x.operands) {
      const Inst& p = all.insts[operand];
      if (!may_pack(p, axes.vector)) continue;
      const bool by = goes_by(all, x, axes.vector);
      const auto worth = [&](AtomId a) { return std::pair(by ? 1 : extent(all, a), nearness(all, a)); };
      AtomId rows = -1;
      for (AtomId a : axes.parallel)
        if (a != axes.vector && x.result.contains(a) && !has(p.dims, a) && all.space.extent(a).is_const() &&
            (rows < 0 || worth(a) > worth(rows)))
          rows = a;
      if (rows >= 0 && work > best.work) best = {{x.inst}, {operand}, rows, work, by};
    }
  }
  if (best.products.empty()) return best;
  const auto first = std::ranges::find(products, best.products[0], &InnerProduct::inst);
  for (const InnerProduct& x : products) {
    if (x.result != first->result || x.summed != first->summed) continue;
    if (x.inst != first->inst) best.products.push_back(x.inst);
    for (const int operand : x.operands)
      if (const Inst& p = all.insts[operand];
          may_pack(p, axes.vector) && !has(p.dims, best.rows) &&
          std::ranges::find(best.operands, operand) == best.operands.end())
        best.operands.push_back(operand);
  }
  return best;
}

// Neighbours that one instruction sums of this product.
int64_t group_of(const Flat& flat, const Instances& all, const Inst& x, const tile::Machine& machine) {
  const auto dtype = [&](size_t k) { return flat.ops[all.insts[x.inputs[k].inst].op].type.dtype; };
  if (x.kind != Inst::Kind::contract) return 1;
  return tile::group_size(machine, dtype(0), dtype(1), flat.ops[x.op].type.dtype);
}

// The longest summed axis along which groups lie together in each operand that vectors do not have; -1: none.
AtomId grouped_axis(const Instances& all, const InnerProduct& x, AtomId vector, int64_t group) {
  AtomId best = -1;
  for (AtomId a : x.summed) {
    const bool together = std::ranges::all_of(x.operands, [&](int operand) {
      const Inst& p = all.insts[operand];
      return has(p.dims, vector) || p.kind != Inst::Kind::load || stride(p.shape, p.dims, a) == Dim(1);
    });
    if (a != vector && together && all.space.extent(a).is_const() &&
        provably_divides(group, all.space.extent(a)) && (best < 0 || extent(all, a) > extent(all, best)))
      best = a;
  }
  return best;
}

// Operands that vectors would gather, again in each turn of a loop that they do not depend on.
std::set<int> gathered(const Flat& flat, const Instances& all, const std::vector<InnerProduct>& products,
                       const Axes& axes) {
  std::set<int> found;
  for (const InnerProduct& x : products)
    for (const int operand : x.operands) {
      const Inst& p = all.insts[operand];
      if (p.kind != Inst::Kind::load || !has(p.dims, axes.vector) || may_lay(flat, all, p)) continue;
      const bool again = std::ranges::any_of(
          axes.sequential, [&](AtomId a) { return x.result.contains(a) && !has(p.dims, a); });
      if (again && !(stride(p.shape, p.dims, axes.vector) == Dim(1))) found.insert(operand);
    }
  return found;
}

constexpr int64_t kUnrolled = 8;   // terms of a sum that stand in one tile
constexpr int64_t kLeastTile = 8;  // rows, or groups, of a tile register that is worth its load

bool fills_tiles(int64_t groups, const tile::Machine& machine) {
  return divisor(groups, [&](int64_t d) { return d <= machine.tile_rows; }) >= kLeastTile;
}

// Rows in one tile register, or in two alike; 0 where tiles that divide the rows would be low.
int64_t rows_of_tiles(int64_t rows, const tile::Machine& machine) {
  const int64_t best = divisor(
      rows, [&](int64_t d) { return d <= machine.tile_rows || (d <= 2 * machine.tile_rows && d % 2 == 0); });
  return best < std::min(rows, kLeastTile) ? 0 : best;
}

// One step takes a group, and a loop the groups.
void take_groups(Choice& c, const Split& axis, int64_t group) {
  c.group = axis.within;
  c.atoms[axis.within] = {group, false, false};
  std::erase(c.order, axis.within);
  if (axis.blocks < 0) return;
  if (!c.atoms[axis.blocks].loop) c.order.push_back(axis.blocks);
  c.atoms[axis.blocks] = {1, false, true};
}

// A whole sum in a statement, over tiles of as many rows and columns as two tile registers each way have.
void choose_tiles(Packing& p, const InnerProduct& product, AtomId rows, AtomId groups,
                  const tile::Machine& machine) {
  auto& atoms = p.choice.atoms;
  const int64_t n = p.all.space.extent(rows).value();
  for (AtomId a : product.result)
    if (a != p.choice.vector && a != rows) atoms[a].inner = 1, atoms[a].loop = true;
  atoms[rows].inner = rows_of_tiles(n, machine);
  atoms[rows].loop = atoms[rows].inner != n;
  if (!atoms[rows].loop)
    std::erase(p.choice.order, rows);
  else if (std::ranges::find(p.choice.order, rows) == p.choice.order.end())
    p.choice.order.insert(p.choice.order.begin(), rows);
  atoms[groups] = {p.all.space.extent(groups).value(), false, false};
  std::erase(p.choice.order, groups);
}

// Tiles are loaded from memory: is there all that they need? Rows are read where they lie.
bool lies_in_memory(const Instances& all, const InnerProduct& product, AtomId vector) {
  return std::ranges::all_of(product.operands, [&](int operand) {
    const Inst& x = all.insts[operand];
    return x.kind == Inst::Kind::load && (has(x.dims, vector) || reads_all(all, x));
  });
}

}  // namespace

Split split(Instances& all, AtomId a, int64_t size) {
  const int64_t n = all.space.extent(a).value();
  if (size == n) return {-1, a};
  const std::string hint = all.space.hint(a);
  const Split s{all.space.atom(n / size, hint), all.space.atom(size, hint)};
  all.space.unify(Form::of(a), {0, {{s.blocks, size}, {s.within, 1}}, false});
  resolve(all);
  return s;
}

int64_t group_along(const Flat& flat, const Instances& all, AtomId a, const tile::Machine& machine) {
  int64_t group = 1;
  for (const InnerProduct& x : inner_products(flat, all))
    if (x.summed.contains(a))
      group = std::max(group, group_of(flat, all, all.insts[static_cast<size_t>(x.inst)], machine));
  return group;
}

std::vector<Packing> packings(const Flat& flat, const Instances& all, const Axes& axes,
                              const tile::Machine& machine, int unroll) {
  if (!axes.time.empty() || axes.vector < 0) return {};
  std::vector<Packing> out;
  const std::vector<InnerProduct> products = inner_products(flat, all);
  if (std::set<int> found = gathered(flat, all, products, axes); !found.empty()) {
    out.push_back({all, first_choice(flat, all, axes, machine, unroll)});
    out.back().choice.packed = std::move(found);
  }
  const Site site = find_site(all, products, axes);
  if (site.products.empty()) return out;
  const int64_t rows = all.space.extent(site.rows).value();
  const double strip = machine.vector_bytes / 4.0 * unroll;  // elements of a tile along its vectors
  double others = 1;                                         // blocks along the other axes
  for (AtomId a : axes.parallel)
    if (a != site.rows) others *= a == axes.vector ? std::ceil(extent(all, a) / strip) : extent(all, a);

  // What is packed stays in the cache while all rows meet it; a longer sum is made in parts, which add up in
  // scratch.
  const double cache = static_cast<double>(machine.cache);
  double line = 0;  // bytes of what is packed for one term
  for (const int p : site.operands)
    line += strip * static_cast<double>(size_of(flat.ops[all.insts[p].op].type.dtype));
  AtomId longest = -1;
  double terms = 1;
  for (const Form& f : all.insts[site.products[0]].reduced)
    for (const Term& t : f.terms) {
      terms *= extent(all, t.atom);
      if (longest < 0 || extent(all, t.atom) > extent(all, longest)) longest = t.atom;
    }
  const InnerProduct& product = *std::ranges::find(products, site.products[0], &InnerProduct::inst);
  const int64_t size = group_of(flat, all, all.insts[product.inst], machine);
  const AtomId grouped = size > 1 ? grouped_axis(all, product, axes.vector, size) : -1;
  const int64_t group = grouped >= 0 ? size : 1;
  int64_t part = 0;  // of the longest reduced axis; 0: all of it
  if (terms * line > cache * 3 / 4 && all.space.extent(longest).is_const()) {
    const double rest = terms / extent(all, longest);
    part = divisor(all.space.extent(longest).value(), [&](int64_t d) {
      return (longest != grouped || d % group == 0) && static_cast<double>(d) * rest * line <= cache / 4;
    });
  }

  // Rows along several axes: all of them, or those of the longest alone.
  std::vector<AtomId> beside;
  double rows_beside = 1;
  for (AtomId a : axes.parallel) {
    const auto has_it = [&](int operand) { return has(all.insts[operand].dims, a); };
    if (a == site.rows || a == axes.vector || !all.space.extent(a).is_const() ||
        !has(all.insts[site.products[0]].dims, a) || std::ranges::any_of(site.operands, has_it))
      continue;
    beside.push_back(a);
    rows_beside *= extent(all, a);
  }

  const std::vector<AtomId> unsplit = first_choice(flat, all, axes, machine, unroll).order;
  std::set<int64_t> tried;
  // All rows in a block, or as few as give each unit blocks of its own.
  struct Way {
    double enough;
    bool all_axes;
  };
  const bool alone = std::ranges::none_of(all.insts, [&](const Inst& i) {  // other sums go term by term
    return i.kind == Inst::Kind::reduce && group > 1 && has(i.reduced, grouped);
  });
  const bool tiles =
      group > 1 && alone && lies_in_memory(all, product, axes.vector) && machine.tile_rows > 0 &&
      fills_tiles((part && longest == grouped ? part : all.space.extent(grouped).value()) / group, machine);
  for (const auto [enough, all_axes] : {Way{1.0, false}, Way{2.0 * machine.units, false}, Way{1.0, true}}) {
    if (all_axes && (beside.empty() || site.goes_by)) continue;
    const int64_t r = divisor(rows, [&](int64_t d) {
      return others * static_cast<double>(rows / d) >= enough &&
             (!part || static_cast<double>(d) * (all_axes ? rows_beside : 1) * line <= cache / 4);
    });
    if (r < 2 || !tried.insert(all_axes ? -r : r).second) continue;
    Packing p{all, {}};
    const auto [blocks, within] = split(p.all, site.rows, r);
    AtomId around = -1, groups = grouped, within_group = -1;
    std::map<AtomId, AtomId> came_from;  // a part of an axis
    if (part) {
      const Split parts = split(p.all, longest, part);
      around = parts.blocks, came_from[parts.within] = longest;
      if (grouped == longest) groups = parts.within;
    }
    if (group > 1) {
      const Split s = split(p.all, groups, group);
      groups = s.blocks, within_group = s.within;  // no blocks: there is just one group
      came_from[groups] = grouped;
    }
    Axes mine = classify(flat, p.all);
    if (std::erase(mine.parallel, within) == 0) continue;
    mine.sequential.push_back(within);
    std::erase(mine.parallel, blocks);
    if (all_axes)
      for (AtomId a : beside) {
        std::erase(mine.parallel, a);
        mine.sequential.push_back(a);
      }
    const bool in_tiles = tiles && rows_of_tiles(r, machine) > 0;
    p.choice = first_choice(flat, p.all, mine, machine, in_tiles ? std::min(unroll, 2) : unroll);
    auto& order = p.choice.order;
    std::ranges::stable_sort(order, {}, [&](AtomId a) {  // a part of an axis stands where the axis did
      return std::ranges::find(unsplit, came_from.contains(a) ? came_from.at(a) : a) - unsplit.begin();
    });
    if (blocks >= 0) p.choice.atoms[blocks] = {1, true, true};
    if (around >= 0) p.choice.atoms[around] = {1, false, true};
    std::vector<AtomId> outside = all_axes ? beside : std::vector<AtomId>();
    outside.push_back(within);
    std::ranges::sort(outside, std::greater(), [&](AtomId a) { return nearness(p.all, a); });
    outside.push_back(around);
    for (AtomId a : outside) {
      std::erase(order, a);
      if (a >= 0 && p.choice.atoms[a].loop) order.insert(order.begin(), a);
    }
    p.choice.packed = gathered(flat, p.all, inner_products(flat, p.all), mine);
    for (const int operand : site.operands)
      if (site.goes_by || !may_lay(flat, p.all, p.all.insts[operand])) p.choice.packed.insert(operand);
    p.choice.around = around;
    if (within_group >= 0) {
      take_groups(p.choice, {groups, within_group}, group);
      if (in_tiles) {
        const std::vector<InnerProduct> parts = inner_products(flat, p.all);
        choose_tiles(p, *std::ranges::find(parts, product.inst, &InnerProduct::inst), within, groups,
                     machine);
      }
    }
    out.push_back(std::move(p));
  }
  return out;
}

std::optional<Packing> by_pieces(const Flat& flat, const Instances& all, const Axes& axes,
                                 const tile::Machine& machine, int unroll) {
  if (!axes.time.empty() || axes.vector < 0 || !all.space.extent(axes.vector).is_const()) return {};
  const std::vector<InnerProduct> products = inner_products(flat, all);
  if (products.size() != 1 || !products[0].result.contains(axes.vector)) return {};
  for (const int operand : products[0].operands)
    if (has(all.insts[operand].dims, axes.vector) && may_lay(flat, all, all.insts[operand])) return {};
  AtomId longest = -1;
  for (AtomId a : products[0].summed)
    if (longest < 0 || extent(all, a) > extent(all, longest)) longest = a;
  if (longest < 0 || !all.space.extent(longest).is_const()) return {};
  constexpr int64_t kTerms = 8;
  const auto strip = static_cast<int64_t>(machine.vector_bytes / 4 * unroll);
  const int64_t n = all.space.extent(axes.vector).value();
  const int64_t part = divisor(all.space.extent(longest).value(), [&](int64_t d) { return d <= kTerms; });
  const int64_t width = divisor(n, [&](int64_t d) { return d % strip == 0 && n / d >= 2 * machine.units; });
  if (part < 2 || width < 2 * strip) return {};
  Packing p{all, {}};
  const auto [blocks, within] = split(p.all, axes.vector, width);
  const AtomId parts = split(p.all, longest, part).blocks;
  Axes mine = classify(flat, p.all);
  if (mine.vector != within || std::erase(mine.parallel, within) == 0) return {};
  mine.sequential.push_back(within);
  std::erase(mine.parallel, blocks);
  std::erase(mine.sequential, parts);
  mine.time = {parts};
  p.choice = first_choice(flat, p.all, mine, machine, unroll);
  p.choice.atoms[blocks] = {1, true, true};
  auto& order = p.choice.order;
  std::erase(order, within);
  order.insert(order.begin() + 1, within);
  p.choice.around = parts;
  return p;
}

std::optional<Packing> by_blocks(const Flat& flat, const Instances& all, const Axes& axes,
                                 const tile::Machine& machine, int unroll) {
  const int maximum = find_online(flat, all).maximum;
  if (maximum < 0 || !axes.time.empty() || axes.vector < 0) return {};
  const Inst& m = all.insts[static_cast<size_t>(maximum)];
  AtomId longest = -1;
  for (const Form& f : m.reduced)
    for (const Term& t : f.terms)
      if (longest < 0 || extent(all, t.atom) > extent(all, longest)) longest = t.atom;
  if (longest < 0 || longest == axes.vector || !all.space.extent(longest).is_const()) return {};
  const double line =
      machine.vector_bytes / 4.0 * unroll * static_cast<double>(size_of(flat.ops[m.op].type.dtype));
  const int64_t n = all.space.extent(longest).value();
  const int64_t size = divisor(
      n, [&](int64_t d) { return static_cast<double>(d) * line <= static_cast<double>(machine.cache) / 32; });
  if (size < 16 || size == n) return {};
  Packing p{all, {}};
  const AtomId blocks = split(p.all, longest, size).blocks;
  // Groups of the product under the maximum, where its sum is a loop: others are summed along the blocks.
  const std::vector<InnerProduct> products = inner_products(flat, p.all);
  Split grouped{-1, -1};
  int64_t group = 1;
  for (const InnerProduct& x : products) {
    group = group_of(flat, p.all, p.all.insts[static_cast<size_t>(x.inst)], machine);
    const AtomId a = group > 1 ? grouped_axis(p.all, x, axes.vector, group) : -1;
    const bool alone = std::ranges::none_of(
        p.all.insts, [&](const Inst& i) { return i.kind == Inst::Kind::reduce && has(i.reduced, a); });
    if (a < 0 || !alone || p.all.space.extent(a).value() <= kUnrolled) continue;
    grouped = split(p.all, a, group);
    break;
  }
  Axes mine = classify(flat, p.all);
  const auto lacking = [&](AtomId a) { return !has(p.all.insts[static_cast<size_t>(maximum)].dims, a); };
  std::ranges::copy_if(mine.parallel, std::back_inserter(mine.sequential), lacking);
  std::erase_if(mine.parallel, lacking);
  std::erase(mine.sequential, blocks);
  mine.time = {blocks};
  p.choice = first_choice(flat, p.all, mine, machine, unroll);
  p.choice.packed = gathered(flat, p.all, inner_products(flat, p.all), mine);
  p.choice.around = blocks;
  p.choice.online = true;
  if (grouped.within >= 0) take_groups(p.choice, grouped, group);
  return p;
}

}  // namespace tenfold::plan
