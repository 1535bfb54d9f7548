// What the records of several families share: type rules by accepted dtypes, and readable errors.
#pragma once

#include "tenfold/ir/build.h"
#include "tenfold/ir/prim.h"

namespace tenfold::prims {

using In = std::span<const NodeRef>;
using Values = std::span<const Scalar>;
using Dtypes = std::span<const Dtype>;

enum Accept : unsigned { kBool = 1, kSigned = 2, kUnsigned = 4, kFloat = 8, kComplex = 16 };
inline constexpr unsigned kInt = kSigned | kUnsigned;
inline constexpr unsigned kReal = kInt | kFloat;
inline constexpr unsigned kNumber = kReal | kComplex;
inline constexpr unsigned kAny = kNumber | kBool;

bool accepts(unsigned accepted, Dtype);
void check_dtype(unsigned accepted, std::string_view operand, const Type&);  // UserError naming the operand and what is taken
void check_same_shape(In, std::span<const std::string_view> operands);

// The shape and dtype shared by all inputs.
Type same_type(unsigned accepted, In);

}  // namespace tenfold::prims
