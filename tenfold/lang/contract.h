// Contractions of two operands over an operator of the user's: a product and a reduction, a semiring say.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tenfold/lang/function.h"

namespace tenfold::lang {

// What a contraction multiplies and adds with. An element may be several tensors side by side: a dual number
// is a pair.
struct Operator {
  // The products of the elements of a and b, which come with all the axes: those of the result first, then
  // the summed ones, 1 where the operand lacks an axis.
  std::function<Tensors(const Tensors& a, const Tensors& b)> multiply;
  std::string add;  // a reduction: "sum", "prod", "max", "min", "any", "all"
  std::string name;
};

// UserError if `add` is none of the reductions.
void check_operator(const Operator&);

// "mk,kn->mn": for each m and n the sum over k of the products of a[m,k] and b[k,n]. Of no terms: what the
// reduction gives for nothing.
Tensor contract(std::string_view spec, const Operand& a, const Operand& b);
Tensors contract(std::string_view spec, const Operands& a, const Operands& b, const Operator&);

}  // namespace tenfold::lang
