// Products that a matrix unit runs: contractions of tiles of f16 or bf16, added in f32, of the shapes below.
// The cost model believes of these, and a target may claim them: the sum of kMatrixTerms products is then one
// step, in the unit's own order.
#pragma once

#include <optional>
#include <vector>

#include "tenfold/tile/program.h"

namespace tenfold::tile {

inline bool is_matrix_operand(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16; }
inline constexpr int64_t kMatrixRows = 16, kMatrixColumns = 8, kMatrixTerms = 16;

// result[rows, columns] += sum over terms of a[rows, terms] * b[terms, columns]
struct MatrixProduct {
  AtomId rows, columns, terms;  // the columns lie along the vectors
  ValueId a, b;                 // as narrow as they are: what widens them exactly is passed over
  std::vector<ValueId> passed;  // those conversions
};

using Definitions = std::vector<const Stmt*>;  // by value, of plain ones
Definitions definitions(const Kernel&);

std::optional<MatrixProduct> matrix_product(const Kernel&, const Definitions&, const Stmt&);

// Multiplications in all of them, by all blocks, symbols at their hints.
double matrix_work(const Kernel&);

}  // namespace tenfold::tile
