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
// UserErrors that name the primitive, the operand and what is taken.
void check_dtype(std::string_view prim, unsigned accepted, std::string_view operand, const Type&);
void check_same_shape(std::string_view prim, In, std::span<const std::string_view> operands);

// The shape and dtype shared by all inputs.
Type same_type(std::string_view prim, unsigned accepted, In);

// The name of a record as a template argument: type rules are plain functions, and their errors name the
// record.
struct Name {
  char text[24] = {};
  template <size_t n>
  consteval Name(const char (&name)[n]) {
    for (size_t k = 0; k < n; ++k) text[k] = name[k];
  }
  constexpr std::string_view view() const { return text; }
};

}  // namespace tenfold::prims
