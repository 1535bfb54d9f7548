#include "tenfold/tile/matrix.h"

#include <algorithm>

namespace tenfold::tile {
namespace {

bool variable(Op op) {
  return op == Op::fill || op == Op::copy || op == Op::accumulate || op == Op::contract;
}

bool has(const std::vector<AtomId>& axes, AtomId a) { return std::ranges::find(axes, a) != axes.end(); }

// A guard may end the terms, where both operands are 0, or what blocks have of rows and columns: not what a
// sum takes in.
bool allows(const Kernel& k, const Guard& g, const MatrixProduct& p) {
  int own = 0;
  bool blocks_only = true, of_terms = false;
  for (const Term& t : g.form.terms) {
    own += t.atom == p.rows || t.atom == p.columns || t.atom == p.terms;
    of_terms |= t.atom == p.terms;
    blocks_only &= t.atom == p.rows || t.atom == p.columns || has(k.grid, t.atom);
  }
  return own == 0 || (own == 1 && (of_terms || blocks_only));
}

}  // namespace

Definitions definitions(const Kernel& k) {
  Definitions found(k.values.size(), nullptr);
  std::vector<bool> several(k.values.size(), false);
  for_each_statement(k.body, [&](const Stmt& s, std::span<const Loop* const>) {
    if (s.op == Op::store || s.op == Op::write) return;
    const auto v = static_cast<size_t>(s.result);
    several[v] = several[v] || found[v];
    found[v] = &s;
  });
  for (size_t v = 0; v < found.size(); ++v)
    if (several[v] || (found[v] && variable(found[v]->op))) found[v] = nullptr;
  return found;
}

std::optional<MatrixProduct> matrix_product(const Kernel& k, const Definitions& made, const Stmt& s) {
  if (s.op != Op::contract || s.over.size() != 1 || k.vector < 0) return {};
  const Value& result = k.values[s.result];
  if (result.dtype != Dtype::f32 || result.axes.size() != 2 || !has(result.axes, k.vector)) return {};
  MatrixProduct p{result.axes[result.axes[0] == k.vector ? 1 : 0], k.vector, s.over[0], -1, -1, {}};
  for (const Operand& o : s.operands) {
    ValueId v = o.value;
    const Stmt* at = made[static_cast<size_t>(v)];
    if (!o.at.empty() || !at) return {};
    if (!is_matrix_operand(k.values[v].dtype)) {
      if (at->op != Op::map || at->prim->name != "convert" || k.values[v].dtype != Dtype::f32 ||
          !at->operands[0].at.empty())
        return {};
      p.passed.push_back(v);
      v = at->operands[0].value;
      at = made[static_cast<size_t>(v)];
      if (!at) return {};
    }
    const Value& x = k.values[v];
    if (!is_matrix_operand(x.dtype) || x.scratch || x.axes.size() != 2 || !has(x.axes, p.terms)) return {};
    (has(x.axes, p.rows) ? p.a : p.b) = v;
    if (!has(x.axes, p.rows) && !has(x.axes, p.columns)) return {};
  }
  if (p.a < 0 || p.b < 0 || k.values[p.a].dtype != k.values[p.b].dtype) return {};
  const auto whole = [&](AtomId a, int64_t n) {
    const Dim& e = k.atoms[a].extent;
    return e.is_const() && e.value() % n == 0;
  };
  if (!whole(p.rows, kMatrixRows) || !whole(p.columns, kMatrixColumns) || !whole(p.terms, kMatrixTerms))
    return {};
  if (!std::ranges::all_of(k.guards, [&](const Guard& g) { return allows(k, g, p); })) return {};
  return p;
}

double matrix_work(const Kernel& k) {
  const Definitions made = definitions(k);
  const auto hint = [&](AtomId a) { return static_cast<double>(k.atoms[a].extent.hint()); };
  double work = 0;
  for_each_statement(k.body, [&](const Stmt& s, std::span<const Loop* const> loops) {
    const auto p = matrix_product(k, made, s);
    if (!p) return;
    double times = static_cast<double>(blocks(k).hint()) * hint(p->rows) * hint(p->columns) * hint(p->terms);
    for (const Loop* l : loops) times *= hint(l->atom);
    work += times;
  });
  return work;
}

}  // namespace tenfold::tile
