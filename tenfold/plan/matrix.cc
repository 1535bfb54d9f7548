#include "tenfold/plan/matrix.h"

#include <algorithm>

#include "tenfold/tile/matrix.h"

namespace tenfold::plan {
namespace {

constexpr int64_t kMostTerms = 64;  // of a turn
constexpr int64_t kSpare = 8;  // part of the terms, at most, that the last turn lacks where turns are long

struct TileShape {
  int64_t rows, columns;
};

// Large tiles load least, smaller ones give each unit its blocks; few rows only where there are no more, for
// a warp would load more than it multiplies.
std::vector<TileShape> shapes(int64_t rows, int64_t columns) {
  std::vector<TileShape> out{{rows <= 16 ? 16 : rows <= 32 ? 32 : 64, 64}};
  if (columns > 64 && rows > 32) out.push_back({64, 128});
  if (columns > 64 && rows > 64) out.push_back({128, 128});
  return out;
}

int64_t terms_of_a_turn(const TileShape& tile, int64_t all, const tile::Machine& machine) {
  int64_t terms = kMostTerms;
  const auto covered = [&] { return (all + terms - 1) / terms * terms; };
  while (terms > tile::kMatrixTerms &&
         ((tile.rows + tile.columns) * terms * 2 > machine.matrix_stage || (covered() - all) * kSpare > all))
    terms /= 2;
  return terms;
}

// The narrow type of an operand, through a conversion that widens it; f32 where it is none.
Dtype dtype_of(const Flat& flat, const Instances& all, int operand) {
  const Inst& p = all.insts[static_cast<size_t>(operand)];
  const Op& op = flat.ops[static_cast<size_t>(p.op)];
  if (p.kind != Inst::Kind::compute || op.node->prim->name != "convert" ||
      tile::is_matrix_operand(op.type.dtype))
    return op.type.dtype;
  return flat.ops[static_cast<size_t>(all.insts[static_cast<size_t>(p.inputs[0].inst)].op)].type.dtype;
}

AtomId longest(const Instances& all, const std::vector<AtomId>& atoms) {
  AtomId best = -1;
  for (const AtomId a : atoms)
    if (best < 0 || all.space.extent(a).hint() > all.space.extent(best).hint()) best = a;
  return best;
}

}  // namespace

std::vector<Choice> matrix_tiles(const Flat& flat, const Instances& all, const Axes& axes,
                                 const tile::Machine& machine) {
  if (machine.matrix_rate == 0 || !axes.time.empty() || all.stores.empty()) return {};
  const std::vector<InnerProduct> products = inner_products(flat, all);
  if (products.size() != 1) return {};
  const InnerProduct& x = products[0];
  const Inst& product = all.insts[static_cast<size_t>(x.inst)];
  // Nothing but maps around it: what is reduced besides would take the sums through local memory.
  for (const Inst& i : all.insts)
    if (&i != &product && (i.kind == Inst::Kind::reduce || i.kind == Inst::Kind::carry)) return {};
  if (product.kind != Inst::Kind::contract ||
      flat.ops[static_cast<size_t>(product.op)].type.dtype != Dtype::f32)
    return {};
  const int a = product.inputs[0].inst, b = product.inputs[1].inst;
  if (!tile::is_matrix_operand(dtype_of(flat, all, a)) || dtype_of(flat, all, a) != dtype_of(flat, all, b))
    return {};

  // Columns lie along the vectors: of those that may, what the results have side by side in memory.
  const Forms &left = all.insts[static_cast<size_t>(a)].dims, &right = all.insts[static_cast<size_t>(b)].dims;
  std::vector<AtomId> of_left, of_right, summed;
  for (const AtomId atom : axes.parallel)
    if (has(left, atom) != has(right, atom) && x.result.contains(atom))
      (has(left, atom) ? of_left : of_right).push_back(atom);
  for (const AtomId atom : axes.sequential)
    if (has(left, atom) && has(right, atom) && x.summed.contains(atom)) summed.push_back(atom);
  if (of_left.empty() || of_right.empty() || summed.empty()) return {};
  AtomId rows = longest(all, of_left), columns = longest(all, of_right);
  const Inst& store = all.insts[static_cast<size_t>(all.stores[0])];
  const auto side_by_side = [&](AtomId atom) { return stride(store.shape, store.dims, atom) == Dim(1); };
  for (const AtomId atom : of_left)
    if (side_by_side(atom)) rows = atom, std::swap(rows, columns);
  for (const AtomId atom : of_right)
    if (side_by_side(atom)) columns = atom;
  const AtomId terms = longest(all, summed);

  std::vector<Choice> found;
  for (const TileShape& tile : shapes(all.space.extent(rows).hint(), all.space.extent(columns).hint())) {
    Choice c;
    c.vector = columns;
    c.atoms.resize(all.space.size());
    for (const AtomId atom : axes.parallel) c.atoms[static_cast<size_t>(atom)] = {1, true, true};
    for (const AtomId atom : axes.sequential) {
      c.atoms[static_cast<size_t>(atom)] = {1, false, true};
      if (atom != terms) c.order.push_back(atom);
    }
    const Dim& n = all.space.extent(terms);
    const int64_t step = terms_of_a_turn(tile, n.hint(), machine);
    c.atoms[static_cast<size_t>(terms)] = {step, false, !(n == Dim(step))};
    if (c.atoms[static_cast<size_t>(terms)].loop) c.order.push_back(terms);
    c.atoms[static_cast<size_t>(rows)].inner = tile.rows;
    c.atoms[static_cast<size_t>(columns)].inner = tile.columns;
    found.push_back(std::move(c));
  }
  return found;
}

}  // namespace tenfold::plan
