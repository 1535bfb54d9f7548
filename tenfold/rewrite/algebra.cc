// Identities of maps, as a table. Floats are strict: x * 0 is not 0 (NaN, inf, -0), x + 0 is not x (-0), x -
// x is not 0.
#include "tenfold/base/fault.h"
#include "tenfold/ir/prims/map.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold::rewrite {
namespace {

using P = Pattern;

template <class... Inputs>
P op(std::string_view name, Inputs... inputs) {
  return {P::Kind::primitive, 0, 0, name, {P(inputs)...}};
}
const P x = P::any(0), y = P::any(1), z = P::any(2), m = P::any(3);

P add(P a, P b) { return op("add", a, b); }
P sub(P a, P b) { return op("sub", a, b); }
P mul(P a, P b) { return op("mul", a, b); }
P div(P a, P b) { return op("div", a, b); }
P neg(P a) { return op("neg", a); }
P abs(P a) { return op("abs", a); }
P fma(P a, P b, P c) { return op("fma", a, b, c); }
P pow(P a, P b) { return op("pow", a, b); }
P select(P a, P b, P c) { return op("select", a, b, c); }

constexpr unsigned kBool = prims::kBool, kInt = prims::kInt, kFloat = prims::kFloat, kReal = prims::kReal,
                   kAll = prims::kAny;
constexpr unsigned kSigned = prims::kSigned, kNumber = prims::kNumber;

// tanh(log(1 + e)) = ((1 + e)^2 - 1) / ((1 + e)^2 + 1), where e beyond e^20 changes nothing.
const P bounded_exp = op("exp", op("minimum", x, 20.0));
const P twice_softplus = mul(bounded_exp, add(bounded_exp, 2.0));

const Rule kRules[] = {
    {"add_zero", kInt, add(x, 0), x, "one operation less"},
    {"add_minus_zero", kFloat, add(x, -0.0), x, "one operation less; +0 would make -0 positive"},
    {"sub_zero", kReal, sub(x, 0.0), x, "one operation less"},
    {"sub_self", kInt, sub(x, x), 0, "known"},
    {"sub_neg", kReal, sub(x, neg(y)), add(x, y), "one operation less"},
    {"add_neg", kReal, add(x, neg(y)), sub(x, y), "one operation less"},
    {"mul_zero", kInt, mul(x, 0), 0, "known"},
    {"mul_one", kReal, mul(x, 1), x, "one operation less"},
    {"mul_negs", kReal, mul(neg(x), neg(y)), mul(x, y), "two operations less"},
    {"div_one", kReal, div(x, 1), x, "one operation less"},
    {"floor_divide_one", kInt, op("floor_divide", x, 1), x, "one operation less"},
    {"fma_one", kFloat, fma(x, 1, y), add(x, y), "cheaper"},
    {"fma_one_first", kFloat, fma(1, x, y), add(x, y), "cheaper"},
    {"neg_neg", kNumber, neg(neg(x)), x, "two operations less"},
    {"abs_neg", kSigned | kFloat, abs(neg(x)), abs(x), "one operation less"},
    {"abs_abs", kReal, abs(abs(x)), abs(x), "one operation less"},
    {"conj_conj", prims::kComplex, op("conj", op("conj", x)), x, "two operations less"},
    {"pow_one", kReal, pow(x, 1), x, "one operation less", kWithinBound},
    {"pow_two", kReal, pow(x, 2), mul(x, x), "a product", kWithinBound},
    {"pow_three", kReal, pow(x, 3), mul(mul(x, x), x), "two products", kWithinBound},
    {"pow_minus_one", kFloat, pow(x, -1), div(1, x), "a quotient", kWithinBound},
    {"pow_zero", kReal, pow(x, 0), 1, "known, for NaN too", kWithinBound},
    {"tanh_softplus", kFloat, op("tanh", op("log1p", op("exp", x))),
     div(twice_softplus, add(twice_softplus, 2.0)), "one exponential instead of three functions",
     kWithinBound | kWide},

    {"minimum_self", kReal, op("minimum", x, x), x, "one operation less"},
    {"maximum_self", kReal, op("maximum", x, x), x, "one operation less"},
    {"and_self", kBool | kInt, op("bitwise_and", x, x), x, "one operation less"},
    {"and_zero", kBool | kInt, op("bitwise_and", x, 0), 0, "known"},
    {"and_ones", kSigned, op("bitwise_and", x, -1), x, "one operation less"},
    {"or_self", kBool | kInt, op("bitwise_or", x, x), x, "one operation less"},
    {"or_zero", kBool | kInt, op("bitwise_or", x, 0), x, "one operation less"},
    {"xor_self", kBool | kInt, op("bitwise_xor", x, x), 0, "known"},
    {"xor_zero", kBool | kInt, op("bitwise_xor", x, 0), x, "one operation less"},
    {"shift_left_zero", kInt, op("shift_left", x, 0), x, "one operation less"},
    {"shift_right_zero", kInt, op("shift_right", x, 0), x, "one operation less"},
    {"not_not_bits", kBool | kInt, op("bitwise_not", op("bitwise_not", x)), x, "two operations less"},

    {"not_not", kBool, op("logical_not", op("logical_not", x)), x, "two operations less"},
    {"and_true", kBool, op("logical_and", x, 1), x, "one operation less"},
    {"and_false", kBool, op("logical_and", x, 0), 0, "known"},
    {"and_same", kBool, op("logical_and", x, x), x, "one operation less"},
    {"or_true", kBool, op("logical_or", x, 1), 1, "known"},
    {"or_false", kBool, op("logical_or", x, 0), x, "one operation less"},
    {"or_same", kBool, op("logical_or", x, x), x, "one operation less"},
    {"xor_false", kBool, op("logical_xor", x, 0), x, "one operation less"},
    {"xor_true", kBool, op("logical_xor", x, 1), op("logical_not", x), "cheaper"},

    {"select_true", kAll, select(1, x, y), x, "known"},
    {"select_false", kAll, select(0, x, y), y, "known"},
    {"select_same", kAll, select(m, x, x), x, "known"},
    {"select_not", kAll, select(op("logical_not", m), x, y),
     fault("algebra_select_not") ? select(m, x, y) : select(m, y, x), "one operation less"},
    {"select_then", kAll, select(m, select(m, x, y), z), select(m, x, z), "one operation less"},
    {"select_otherwise", kAll, select(m, x, select(m, y, z)), select(m, x, z), "one operation less"},
    {"select_mask", kBool, select(m, 1, 0), m, "one operation less"},

    {"equal_self", kInt | kBool, op("equal", x, x), 1, "known"},
    {"not_equal_self", kInt | kBool, op("not_equal", x, x), 0, "known"},
    {"less_self", kReal, op("less", x, x), 0, "known, for NaN too"},
    {"greater_self", kReal, op("greater", x, x), 0, "known, for NaN too"},
    {"less_equal_self", kInt, op("less_equal", x, x), 1, "known"},
    {"greater_equal_self", kInt, op("greater_equal", x, x), 1, "known"},
    {"not_equal_of_not", kAll, op("logical_not", op("equal", x, y)), op("not_equal", x, y),
     "one operation less"},
    {"equal_of_not", kAll, op("logical_not", op("not_equal", x, y)), op("equal", x, y), "one operation less"},
    {"is_true", kBool, op("not_equal", x, 0), x, "one operation less"},
};

}  // namespace

std::span<const Rule> algebra() { return kRules; }

}  // namespace tenfold::rewrite
