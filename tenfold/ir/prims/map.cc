// Maps: one result element from the elements at the same place.
#include "tenfold/ir/prims/map.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "tenfold/base/fault.h"
#include "tenfold/ir/prims/numeric.h"
#include "tenfold/ir/reduce.h"

namespace tenfold::prims {

namespace {
constexpr std::string_view kOperands[] = {"x", "y", "z"};
}

bool accepts(unsigned accepted, Dtype d) {
  if (is_bool(d)) return accepted & kBool;
  if (is_signed_int(d)) return accepted & kSigned;
  if (is_unsigned_int(d)) return accepted & kUnsigned;
  return accepted & (is_float(d) ? kFloat : kComplex);
}

void check_dtype(std::string_view prim, unsigned accepted, std::string_view operand, const Type& type) {
  if (accepts(accepted, type.dtype)) return;
  std::string taken;
  auto list = [&](unsigned mask, std::string_view what) {
    if ((accepted & mask) != mask) return false;
    taken += fmt::format("{}{}", taken.empty() ? "" : ", ", what);
    return true;
  };
  list(kBool, "bool");
  if (!list(kInt, "integers")) list(kSigned, "signed integers"), list(kUnsigned, "unsigned integers");
  list(kFloat, "floats");
  list(kComplex, "complex numbers");
  user_error("{} takes {}, but {} is {}. Convert it first.", prim, taken, operand, type.str());
}

void check_same_shape(std::string_view prim, In in, std::span<const std::string_view> operands) {
  for (size_t k = 1; k < in.size(); ++k)
    if (in[k]->shape() != in[0]->shape())
      user_error("{}: the inputs differ in shape: {} is {}, {} is {}. Broadcast one to the other's shape.",
                 prim, operands[0], in[0]->type().str(), operands[k], in[k]->type().str());
}

Type same_type(std::string_view prim, unsigned accepted, In in) {
  check_dtype(prim, accepted, kOperands[0], in[0]->type());
  for (size_t k = 1; k < in.size(); ++k)
    if (in[k]->dtype() != in[0]->dtype())
      user_error("{}: the inputs differ in dtype: x is {}, {} is {}. Convert one to the other's dtype.", prim,
                 in[0]->type().str(), kOperands[k], in[k]->type().str());
  check_same_shape(prim, in, kOperands);
  return in[0]->type();
}

namespace {

using build::convert;
using build::full;
using build::map;
using build::select;
using build::operator+;
using build::operator-;
using build::operator*;
using build::operator/;

using Types = std::vector<Type>;

// ---- type rules

template <Name name, unsigned accepted>
Types same(const Attrs&, In in) {
  return {same_type(name.view(), accepted, in)};
}

template <Name name, unsigned accepted>
Types comparison(const Attrs&, In in) {
  return {{Dtype::boolean, same_type(name.view(), accepted, in).shape}};
}

template <Name name, unsigned accepted>
Types real_part(const Attrs&, In in) {  // complex to its real dtype; others keep theirs
  Type t = same_type(name.view(), accepted, in);
  return {{real_of(t.dtype), t.shape}};
}

Types select_type(const Attrs&, In in) {
  static constexpr std::string_view kNames[] = {"mask", "then", "otherwise"};
  check_dtype("select", kBool, kNames[0], in[0]->type());
  if (in[1]->dtype() != in[2]->dtype())
    user_error(
        "select: the branches differ in dtype: then is {}, otherwise is {}. Convert one to the other's "
        "dtype.",
        in[1]->type().str(), in[2]->type().str());
  check_same_shape("select", in, kNames);
  return {in[1]->type()};
}

Types convert_type(const Attrs& a, In in) { return {{a.dtype("dtype"), in[0]->shape()}}; }

Types bitcast_type(const Attrs& a, In in) {
  const Dtype to = a.dtype("dtype");
  if (size_of(to) != size_of(in[0]->dtype()))
    user_error(
        "bitcast: x is {}, whose elements have {} bytes, but {} has {}. Take a dtype of the same width.",
        in[0]->type().str(), size_of(in[0]->dtype()), name(to), size_of(to));
  return {{to, in[0]->shape()}};
}

Types make_complex_type(const Attrs&, In in) {
  Type t = same_type("make_complex", kFloat, in);
  if (t.dtype != Dtype::f32 && t.dtype != Dtype::f64)
    user_error("make_complex takes two f32 or two f64, but x is {}. Convert both first.", t.str());
  return {{t.dtype == Dtype::f32 ? Dtype::complex64 : Dtype::complex128, t.shape}};
}

// ---- evaluation on exact scalars

// Integers go through u64, where overflow wraps; the caller wraps the result to the dtype.
template <auto op>
Scalar arithmetic(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_complex()) return Scalar(op(a.c(), b.c()));
  if (a.is_f64()) return Scalar(op(a.f(), b.f()));
  const uint64_t bits = op(a.u(), b.u());
  return a.is_u64() ? Scalar(bits) : Scalar(static_cast<int64_t>(bits));
}

Scalar multiply(const Attrs& attrs, Values v, Dtypes d) {
  if (v[0].is_complex()) {  // the plain formula: no special cases for infinities, as a target computes it
    const Complex a = v[0].c(), b = v[1].c();
    return Complex(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
  }
  return arithmetic<[](auto a, auto b) { return a * b; }>(attrs, v, d);
}

// One rounding, in f32 for f16 and bf16.
Scalar fused_multiply_add(const Attrs&, Values v, Dtypes d) {
  if (d[0] == Dtype::f64) return std::fma(v[0].f(), v[1].f(), v[2].f());
  return static_cast<double>(
      std::fma(static_cast<float>(v[0].f()), static_cast<float>(v[1].f()), static_cast<float>(v[2].f())));
}

template <class T>
T divide_int(T a, T b) {
  if (b == 0) return 0;
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(0 - static_cast<uint64_t>(a));
  return a / b;
}

Scalar divide(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_complex()) {
    const Complex x = a.c(), y = b.c();
    const double n = y.real() * y.real() + y.imag() * y.imag();
    return Complex((x.real() * y.real() + x.imag() * y.imag()) / n,
                   (x.imag() * y.real() - x.real() * y.imag()) / n);
  }
  if (a.is_f64()) return a.f() / b.f();
  if (a.is_u64()) return divide_int(a.u(), b.u());
  return divide_int(a.i(), b.i());
}

double mod_float(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

int64_t floor_divide_int(int64_t a, int64_t b) {
  const int64_t q = divide_int(a, b);
  const bool inexact = b != 0 && b != -1 && a % b != 0;
  return inexact && (a < 0) != (b < 0) ? q - 1 : q;
}

Scalar floor_divide(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_f64()) return std::floor(a.f() / b.f());
  if (a.is_u64()) return divide_int(a.u(), b.u());
  return floor_divide_int(a.i(), b.i());
}

Scalar modulo(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_f64()) return mod_float(a.f(), b.f());
  if (a.is_u64()) return b.u() == 0 ? uint64_t{0} : a.u() % b.u();
  if (b.i() == 0 || b.i() == -1) return int64_t{0};
  const int64_t r = a.i() % b.i();
  return r != 0 && (r < 0) != (b.i() < 0) ? r + b.i() : r;
}

// Whole powers by squaring, wrapping. A negative exponent rounds 1/x^n towards zero.
uint64_t power_bits(uint64_t base, uint64_t exponent) {
  uint64_t result = 1;
  for (; exponent; exponent >>= 1, base *= base)
    if (exponent & 1) result *= base;
  return result;
}

Scalar power(const Attrs&, Values v, Dtypes) {
  if (v[0].is_f64()) return std::pow(v[0].f(), v[1].f());
  if (v[0].is_u64()) return power_bits(v[0].u(), v[1].u());
  const int64_t base = v[0].i(), exponent = v[1].i();
  if (exponent >= 0) return static_cast<int64_t>(power_bits(v[0].u(), v[1].u()));
  if (base == 1) return int64_t{1};
  if (base == -1) return int64_t{exponent % 2 ? -1 : 1};
  return int64_t{0};
}

template <auto op>
Scalar of_float(const Attrs&, Values v, Dtypes) {
  return op(v[0].f());
}

template <auto op>
Scalar compare(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_f64()) return op(a.f(), b.f());
  if (a.is_i64()) return op(a.i(), b.i());
  if (a.is_u64()) return op(a.u(), b.u());
  return op(a.b(), b.b());
}

template <auto op>
Scalar equality(const Attrs& attrs, Values v, Dtypes d) {
  if (!v[0].is_complex()) return compare<op>(attrs, v, d);
  return op(v[0].c(), v[1].c());
}

// NaN wins.
template <bool larger>
Scalar extreme(const Attrs&, Values v, Dtypes) {
  const Scalar &a = v[0], &b = v[1];
  if (a.is_f64()) {
    if (std::isnan(a.f())) return a;
    if (std::isnan(b.f())) return b;
    return (a.f() < b.f()) == larger ? b : a;
  }
  if (a.is_i64()) return (a.i() < b.i()) == larger ? b : a;
  return (a.u() < b.u()) == larger ? b : a;
}

template <auto op>
Scalar bits(const Attrs&, Values v, Dtypes) {
  if (v[0].is_bool()) return static_cast<bool>(op(uint64_t{v[0].b()}, uint64_t{v[1].b()}) & 1);
  const uint64_t r = op(v[0].u(), v[1].u());
  return v[0].is_u64() ? Scalar(r) : Scalar(static_cast<int64_t>(r));
}

uint64_t shift_count(const Scalar& count, Dtype d) {
  return count.u() & (static_cast<uint64_t>(size_of(d)) * 8 - 1);
}

Scalar shift_left(const Attrs&, Values v, Dtypes d) {
  const uint64_t r = v[0].u() << shift_count(v[1], d[0]);
  return v[0].is_u64() ? Scalar(r) : Scalar(static_cast<int64_t>(r));
}

Scalar shift_right(const Attrs&, Values v, Dtypes d) {
  const uint64_t n = shift_count(v[1], d[0]);
  return v[0].is_u64() ? Scalar(v[0].u() >> n) : Scalar(v[0].i() >> n);
}

Scalar multiply_high(const Attrs&, Values v, Dtypes) { return (v[0].u() * v[1].u()) >> 32; }

Scalar convert_value(const Attrs& attrs, Values v, Dtypes) {
  const Scalar& x = v[0];
  const Dtype to = attrs.dtype("dtype");
  // The caller rounds, truncates or wraps. The narrow floats are reached from an integer by way of f32.
  if (x.is_int() && (to == Dtype::f16 || to == Dtype::bf16)) return x.round_to(Dtype::f32);
  return x;
}

Scalar bitcast_value(const Attrs&, Values v, Dtypes d) {
  std::byte bytes[16] = {};
  v[0].store(d[0], bytes);
  if (d[1] == Dtype::boolean) return bytes[0] != std::byte{0};
  return Scalar::load(d[1], bytes);
}

// ---- degrees (how a value scales with a running maximum)

using Degrees = std::span<const Degree>;
constexpr Degree kNone{Degree::Kind::none, 0};
constexpr Degree kShift{Degree::Kind::shift, 0};

bool is_number(const Degree& d) { return d.kind == Degree::Kind::number; }
bool is_zero(const Degree& d) { return is_number(d) && d.number == 0; }

Degree equal_degree(Degrees d) {  // scales with its inputs if they scale alike
  for (const Degree& other : d)
    if (!is_number(other) || !(other == d[0])) return kNone;
  return d[0];
}
Degree keep_degree(Degrees d) { return is_number(d[0]) ? d[0] : kNone; }
Degree convert_degree(Degrees d) { return d[0]; }

Degree add_degree(Degrees d) {
  if (d[0] == kShift && is_zero(d[1])) return kShift;
  if (d[1] == kShift && is_zero(d[0])) return kShift;
  return equal_degree(d);
}
Degree subtract_degree(Degrees d) {
  if (is_zero(d[0]) && d[1].kind == Degree::Kind::running) return kShift;
  if (d[0] == kShift && is_zero(d[1])) return kShift;
  return equal_degree(d);
}
Degree multiply_degree(Degrees d) {
  if (!is_number(d[0]) || !is_number(d[1])) return kNone;
  return {Degree::Kind::number, d[0].number + d[1].number};
}
Degree divide_degree(Degrees d) {
  if (!is_number(d[0]) || !is_number(d[1])) return kNone;
  return {Degree::Kind::number, d[0].number - d[1].number};
}
Degree fma_degree(Degrees d) {
  const Degree parts[] = {multiply_degree(d), d[2]};
  return equal_degree(parts);
}
Degree exp_degree(Degrees d) {
  if (d[0] == kShift) return {Degree::Kind::number, 1};
  return is_zero(d[0]) ? d[0] : kNone;
}
Degree select_degree(Degrees d) { return is_zero(d[0]) ? equal_degree(d.subspan(1)) : kNone; }

// ---- derivatives. The cotangent of a complex value pairs as Re(conj(a) b): multiplying by w goes back by
// conj(w).

NodeRef conj(const NodeRef& x) { return is_complex(x->dtype()) ? map("conj", {x}) : x; }
NodeRef like(const NodeRef& x, double value) { return full(Scalar(value), x->type()); }
bool differentiable(const NodeRef& x) { return is_inexact(x->dtype()); }

Nodes no_derivative(const NodeRef& y, In) { return Nodes(y->inputs.size()); }

// For a function of one variable: `factor` is its derivative, from y.
template <auto factor>
Nodes chain(const NodeRef& y, In dy) {
  return {dy[0] * factor(y->inputs[0], y)};
}

template <bool larger>
Nodes extreme_vjp(const NodeRef& node, In dy) {
  const NodeRef &x = node->inputs[0], &y = node->inputs[1];
  if (!differentiable(x)) return Nodes(2);
  const NodeRef half = select(map("equal", {x, y}), dy[0] * 0.5, like(x, 0));
  const char* wins = larger ? "greater" : "less";
  return {select(map(wins, {x, y}), dy[0], half), select(map(wins, {y, x}), dy[0], half)};
}

Nodes abs_vjp(const NodeRef& y, In dy) {
  const NodeRef& x = y->inputs[0];
  if (!differentiable(x)) return Nodes(1);
  if (!is_complex(x->dtype())) return {dy[0] * map("sign", {x})};
  const NodeRef scale = select(map("equal", {y, like(y, 0)}), like(y, 0), dy[0] / y);
  return {map("make_complex", {scale * map("real", {x}), scale * map("imag", {x})})};
}

Nodes pow_vjp(const NodeRef& y, In dy) {
  const NodeRef &x = y->inputs[0], &n = y->inputs[1];
  if (!differentiable(x)) return Nodes(2);
  const NodeRef zero = like(x, 0);
  const NodeRef slope = select(map("equal", {n, zero}), zero, n * map("pow", {x, n - 1.0}));
  const NodeRef log_x =
      select(map("greater", {x, zero}), map("log", {select(map("greater", {x, zero}), x, like(x, 1))}), zero);
  return {dy[0] * slope, dy[0] * (y * log_x)};
}

// ---- expansions of what is short; the long ones are in numeric.cc

Nodes sign_expand(const Node&, In in) {
  const NodeRef& x = in[0];
  const NodeRef zero = full(Scalar(0).round_to(x->dtype()), x->type()),
                one = full(Scalar(1).round_to(x->dtype()), x->type());
  const NodeRef positive = map("greater", {x, zero});
  if (is_unsigned_int(x->dtype())) return {select(positive, one, zero)};
  return {select(positive, one, select(map("less", {x, zero}), -one, x))};  // x itself: zeros and NaN stay
}

Nodes isnan_expand(const Node&, In in) { return {map("not_equal", {in[0], in[0]})}; }

Nodes isfinite_expand(const Node&, In in) {
  return {map("less", {map("abs", {in[0]}), like(in[0], std::numeric_limits<double>::infinity())})};
}

Nodes conj_expand(const Node&, In in) {
  return {map("make_complex", {map("real", {in[0]}), -map("imag", {in[0]})})};
}

Nodes floor_divide_expand(const Node&, In in) {
  const NodeRef &x = in[0], &y = in[1];
  const NodeRef q = x / y;
  if (is_float(x->dtype())) return {map("floor", {q})};
  if (is_unsigned_int(x->dtype())) return {q};
  const NodeRef zero = full(Scalar(0), x->type());
  const NodeRef inexact = map("not_equal", {q * y, x});
  const NodeRef negative = map("less", {map("bitwise_xor", {x, y}), zero});
  const NodeRef down =
      map("logical_and", {map("logical_and", {inexact, negative}), map("not_equal", {y, zero})});
  return {q - convert(down, x->dtype())};
}

Nodes mod_expand(const Node&, In in) {
  const NodeRef &x = in[0], &y = in[1];
  const Type& type = x->type();
  if (is_int(type.dtype)) {
    const NodeRef zero = full(Scalar(0).round_to(type.dtype), type);
    return {select(map("equal", {y, zero}), zero, x - y * map("floor_divide", {x, y}))};
  }
  // r = x - y*trunc(x/y) is exact while the quotient fits the mantissa; a quotient rounded up leaves a
  // remainder of the wrong sign, which the last step mends. q = 0 is kept apart for an infinite y.
  const NodeRef zero = like(x, 0);
  const NodeRef q = map("trunc", {x / y});
  const NodeRef r = select(map("equal", {q, zero}), x, map("fma", {-q, y, x}));
  const NodeRef wrong = map("less", {r * map("sign", {y}), zero});
  const NodeRef up = select(wrong, r + y, r);
  const NodeRef high = map("greater_equal", {map("abs", {up}), map("abs", {y})});
  const NodeRef finite = map("isfinite", {y});
  const NodeRef in_range = select(
      map("logical_and", {high, map("logical_and", {finite, map("not_equal", {y, zero})})}), up - y, up);
  return {select(map("equal", {in_range, zero}), zero * y, in_range)};
}

// ---- the records

const std::vector<AttrSpec> kDtypeAttr = {{"dtype", AttrSpec::Type::dtype, "the dtype of the result"}};
const std::vector<std::string_view> kX = {"x"}, kXY = {"x", "y"};
constexpr double kTwoOverRootPi = 2 * std::numbers::inv_sqrtpi;

const Prim kPrims[] = {
    {.name = "add",
     .doc = "Sum of each pair of elements. Integers wrap.",
     .arity = 2,
     .operands = kXY,
     .type = same<"add", kNumber>,
     .eval = arithmetic<[](auto a, auto b) { return a + b; }>,
     .vjp = [](const NodeRef&, In dy) { return Nodes{dy[0], dy[0]}; },
     .degree = add_degree,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "combine", "identity:zero"}},
    {.name = "sub",
     .doc = "Difference x - y of each pair of elements. Integers wrap.",
     .arity = 2,
     .operands = kXY,
     .type = same<"sub", kNumber>,
     .eval = arithmetic<[](auto a, auto b) { return a - b; }>,
     .vjp = [](const NodeRef&, In dy) { return Nodes{dy[0], fault("grad_sub_sign") ? dy[0] : -dy[0]}; },
     .degree = subtract_degree,
     .range = range_of_corners},
    {.name = "mul",
     .doc = "Product of each pair of elements. Integers wrap.",
     .arity = 2,
     .operands = kXY,
     .type = same<"mul", kNumber>,
     .eval = multiply,
     .vjp = [](const NodeRef& y,
               In dy) { return Nodes{dy[0] * conj(y->inputs[1]), dy[0] * conj(y->inputs[0])}; },
     .degree = multiply_degree,
     .range = range_of_product,
     .properties = {"commutative", "associative", "combine", "identity:one"}},
    {.name = "fma",
     .doc = "x * y + z with one rounding (in f32 for f16 and bf16).",
     .arity = 3,
     .operands = {"x", "y", "z"},
     .type = same<"fma", kFloat>,
     .eval = fused_multiply_add,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] * y->inputs[1], dy[0] * y->inputs[0], dy[0]}; },
     .degree = fma_degree,
     .range = range_of_corners},
    {.name = "div",
     .doc = "Quotient x / y of each pair of elements. Integers: rounded towards zero, x / 0 is 0, the lowest "
            "by -1 wraps.",
     .arity = 2,
     .operands = kXY,
     .type = same<"div", kNumber>,
     .eval = divide,
     .vjp =
         [](const NodeRef& y, In dy) {
           if (!differentiable(y)) return Nodes(2);
           const NodeRef dx = dy[0] / conj(y->inputs[1]);
           return Nodes{dx, -(dx * conj(y))};
         },
     .cost = 8,
     .degree = divide_degree,
     .range = range_of_quotient},
    {.name = "neg",
     .doc = "-x of each element. Integers wrap.",
     .operands = kX,
     .type = same<"neg", kNumber>,
     .eval =
         [](const Attrs&, Values v, Dtypes) {
           if (v[0].is_complex()) return Scalar(-v[0].c());
           if (v[0].is_f64()) return Scalar(-v[0].f());
           return v[0].is_u64() ? Scalar(0 - v[0].u()) : Scalar(static_cast<int64_t>(0 - v[0].u()));
         },
     .vjp = [](const NodeRef&, In dy) { return Nodes{-dy[0]}; },
     .degree = keep_degree,
     .range = range_of_corners,
     .properties = {"involution"}},
    {.name = "abs",
     .doc = "Absolute value of each element; of a complex number its modulus. The lowest integer wraps to "
            "itself.",
     .operands = kX,
     .type = real_part<"abs", kNumber>,
     .eval =
         [](const Attrs&, Values v, Dtypes) {
           if (v[0].is_complex()) return Scalar(std::hypot(v[0].c().real(), v[0].c().imag()));
           if (v[0].is_f64()) return Scalar(std::fabs(v[0].f()));
           if (v[0].is_u64()) return v[0];
           return v[0].i() < 0 ? Scalar(static_cast<int64_t>(0 - v[0].u())) : v[0];
         },
     .vjp = abs_vjp,
     .degree = keep_degree,
     .range = range_of_abs,
     .properties = {"idempotent"}},
    {.name = "sign",
     .doc = "-1, 0 or 1 by the sign of each element. Zeros keep their sign; NaN stays NaN.",
     .operands = kX,
     .type = same<"sign", kReal>,
     .eval =
         [](const Attrs&, Values v, Dtypes) {
           if (v[0].is_f64()) return v[0].f() > 0 ? Scalar(1.0) : v[0].f() < 0 ? Scalar(-1.0) : v[0];
           if (v[0].is_u64()) return Scalar(uint64_t{v[0].u() > 0});
           return Scalar(static_cast<int64_t>((v[0].i() > 0) - (v[0].i() < 0)));
         },
     .vjp = no_derivative,
     .cost = 4,
     .expand = sign_expand,
     .properties = {"idempotent"}},
    {.name = "minimum",
     .doc = "The smaller of each pair of elements; NaN if either is.",
     .arity = 2,
     .operands = kXY,
     .type = same<"minimum", kReal>,
     .eval = extreme<false>,
     .vjp = extreme_vjp<false>,
     .degree = equal_degree,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:highest"}},
    {.name = "maximum",
     .doc = "The larger of each pair of elements; NaN if either is.",
     .arity = 2,
     .operands = kXY,
     .type = same<"maximum", kReal>,
     .eval = extreme<true>,
     .vjp = extreme_vjp<true>,
     .degree = equal_degree,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:lowest"}},
    {.name = "sqrt",
     .doc = "Square root of each element, correctly rounded; NaN below zero.",
     .operands = kX,
     .type = same<"sqrt", kFloat>,
     .eval = of_float<[](double x) { return std::sqrt(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] * 0.5 / y}; },
     .cost = 10,
     .range = range_of_corners},
    {.name = "rsqrt",
     .doc = "1 / sqrt(x) of each element.",
     .operands = kX,
     .type = same<"rsqrt", kFloat>,
     .eval = of_float<[](double x) { return 1.0 / std::sqrt(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] * (-0.5 * (y * y * y))}; },
     .cost = 18,
     .expand = numeric::rsqrt,
     .range = range_of_corners},
    {.name = "exp",
     .doc = "e^x of each element.",
     .operands = kX,
     .type = same<"exp", kFloat>,
     .eval = of_float<[](double x) { return std::exp(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] * y}; },
     .cost = 14,
     .degree = exp_degree,
     .expand = numeric::exp,
     .range = range_of_corners},
    {.name = "expm1",
     .doc = "e^x - 1 of each element, exact for small x.",
     .operands = kX,
     .type = same<"expm1", kFloat>,
     .eval = of_float<[](double x) { return std::expm1(x); }>,
     .vjp = chain<[](const NodeRef&, const NodeRef& y) { return y + 1.0; }>,
     .cost = 18,
     .expand = numeric::expm1,
     .range = range_of_corners},
    {.name = "log",
     .doc = "Natural logarithm of each element; -inf at 0, NaN below.",
     .operands = kX,
     .type = same<"log", kFloat>,
     .eval = of_float<[](double x) { return std::log(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] / y->inputs[0]}; },
     .cost = 20,
     .expand = numeric::log,
     .range = range_of_corners},
    {.name = "log1p",
     .doc = "log(1 + x) of each element, exact for small x.",
     .operands = kX,
     .type = same<"log1p", kFloat>,
     .eval = of_float<[](double x) { return std::log1p(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] / (y->inputs[0] + 1.0)}; },
     .cost = 30,
     .expand = numeric::log1p,
     .range = range_of_corners},
    {.name = "sin",
     .doc = "Sine of each element, in radians; NaN at the infinities.",
     .operands = kX,
     .type = same<"sin", kFloat>,
     .eval = of_float<[](double x) { return std::sin(x); }>,
     .vjp = chain<[](const NodeRef& x, const NodeRef&) { return map("cos", {x}); }>,
     .cost = 20,
     .expand = numeric::sin,
     .range = range_of_wave},
    {.name = "cos",
     .doc = "Cosine of each element, in radians; NaN at the infinities.",
     .operands = kX,
     .type = same<"cos", kFloat>,
     .eval = of_float<[](double x) { return std::cos(x); }>,
     .vjp = chain<[](const NodeRef& x, const NodeRef&) { return -map("sin", {x}); }>,
     .cost = 20,
     .expand = numeric::cos,
     .range = range_of_wave},
    {.name = "tanh",
     .doc = "Hyperbolic tangent of each element. Its derivative is 1 - tanh(x)^2.",
     .operands = kX,
     .type = same<"tanh", kFloat>,
     .eval = of_float<[](double x) { return std::tanh(x); }>,
     .vjp = [](const NodeRef& y, In dy) { return Nodes{dy[0] - dy[0] * y * y}; },
     .cost = 24,
     .expand = numeric::tanh,
     .range = range_of_corners},
    {.name = "erf",
     .doc = "Error function of each element.",
     .operands = kX,
     .type = same<"erf", kFloat>,
     .eval = of_float<[](double x) { return std::erf(x); }>,
     .vjp = chain<[](const NodeRef& x, const NodeRef&) { return map("exp", {-(x * x)}) * kTwoOverRootPi; }>,
     .cost = 24,
     .expand = numeric::erf,
     .range = range_of_corners},
    {.name = "pow",
     .doc = "x^y of each pair of elements. Integers wrap; with a negative exponent 1/x^-y is rounded towards "
            "zero.",
     .arity = 2,
     .operands = kXY,
     .type = same<"pow", kReal>,
     .eval = power,
     .vjp = pow_vjp,
     .cost = 60,
     .expand = numeric::pow},
    {.name = "floor",
     .doc = "The largest whole number not above each element.",
     .operands = kX,
     .type = same<"floor", kFloat>,
     .eval = of_float<[](double x) { return std::floor(x); }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"idempotent", "whole"}},
    {.name = "ceil",
     .doc = "The smallest whole number not below each element.",
     .operands = kX,
     .type = same<"ceil", kFloat>,
     .eval = of_float<[](double x) { return std::ceil(x); }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"idempotent", "whole"}},
    {.name = "round",
     .doc = "The nearest whole number to each element; halves go to the even one.",
     .operands = kX,
     .type = same<"round", kFloat>,
     .eval = of_float<[](double x) { return std::nearbyint(x); }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"idempotent", "whole"}},
    {.name = "trunc",
     .doc = "The whole part of each element, rounded towards zero.",
     .operands = kX,
     .type = same<"trunc", kFloat>,
     .eval = of_float<[](double x) { return std::trunc(x); }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"idempotent", "whole"}},
    {.name = "mod",
     .doc = "x - y * floor(x / y): the remainder with the sign of y. Integers: x mod 0 is 0. Floats: exact "
            "while |x / y| < 2^24 "
            "(f32) or 2^53 (f64).",
     .arity = 2,
     .operands = kXY,
     .type = same<"mod", kReal>,
     .eval = modulo,
     .vjp =
         [](const NodeRef& y, In dy) {
           if (!differentiable(y)) return Nodes(2);
           return Nodes{dy[0], -(dy[0] * map("floor", {y->inputs[0] / y->inputs[1]}))};
         },
     .cost = 16,
     .expand = mod_expand},
    {.name = "floor_divide",
     .doc = "floor(x / y) of each pair of elements, where floats round the quotient first. Integers: x by 0 "
            "is 0, the lowest by -1 "
            "wraps.",
     .arity = 2,
     .operands = kXY,
     .type = same<"floor_divide", kReal>,
     .eval = floor_divide,
     .vjp = no_derivative,
     .cost = 10,
     .expand = floor_divide_expand},
    {.name = "equal",
     .doc = "Whether x == y, for each pair of elements. NaN equals nothing.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"equal", kAny>,
     .eval = equality<[](auto a, auto b) { return a == b; }>,
     .vjp = no_derivative,
     .range = range_of_equality,
     .properties = {"commutative", "comparison", "equality"}},
    {.name = "not_equal",
     .doc = "Whether x != y, for each pair of elements. NaN differs from everything.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"not_equal", kAny>,
     .eval = equality<[](auto a, auto b) { return a != b; }>,
     .vjp = no_derivative,
     .range = range_of_equality,
     .properties = {"commutative", "comparison"}},
    {.name = "less",
     .doc = "Whether x < y, for each pair of elements. False if either is NaN.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"less", kReal>,
     .eval = compare<[](auto a, auto b) { return a < b; }>,
     .vjp = no_derivative,
     .range = range_of_order,
     .properties = {"comparison", "less"}},
    {.name = "less_equal",
     .doc = "Whether x <= y, for each pair of elements. False if either is NaN.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"less_equal", kReal>,
     .eval = compare<[](auto a, auto b) { return a <= b; }>,
     .vjp = no_derivative,
     .range = range_of_order,
     .properties = {"comparison", "less", "or_equal"}},
    {.name = "greater",
     .doc = "Whether x > y, for each pair of elements. False if either is NaN.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"greater", kReal>,
     .eval = compare<[](auto a, auto b) { return (a > b); }>,
     .vjp = no_derivative,
     .range = range_of_order,
     .properties = {"comparison", "greater"}},
    {.name = "greater_equal",
     .doc = "Whether x >= y, for each pair of elements. False if either is NaN.",
     .arity = 2,
     .operands = kXY,
     .type = comparison<"greater_equal", kReal>,
     .eval = compare<[](auto a, auto b) { return (a >= b); }>,
     .vjp = no_derivative,
     .range = range_of_order,
     .properties = {"comparison", "greater", "or_equal"}},
    {.name = "select",
     .doc = "For each element `then` where the mask holds, else `otherwise`. The other branch is ignored, "
            "NaN or not.",
     .arity = 3,
     .operands = {"mask", "then", "otherwise"},
     .type = select_type,
     .eval = [](const Attrs&, Values v, Dtypes) { return v[0].b() ? v[1] : v[2]; },
     .vjp =
         [](const NodeRef& y, In dy) {
           if (!differentiable(y)) return Nodes(3);
           const NodeRef zero = build::zeros_like(dy[0]);
           return Nodes{NodeRef(), select(y->inputs[0], dy[0], zero), select(y->inputs[0], zero, dy[0])};
         },
     .degree = select_degree,
     .properties = {"select"}},
    {.name = "logical_and",
     .doc = "Whether both of each pair of elements hold.",
     .arity = 2,
     .operands = kXY,
     .type = same<"logical_and", kBool>,
     .eval = bits<[](uint64_t a, uint64_t b) { return a & b; }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:ones", "conjunction"}},
    {.name = "logical_or",
     .doc = "Whether at least one of each pair of elements holds.",
     .arity = 2,
     .operands = kXY,
     .type = same<"logical_or", kBool>,
     .eval = bits<[](uint64_t a, uint64_t b) { return a | b; }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:zero", "disjunction"}},
    {.name = "logical_xor",
     .doc = "Whether exactly one of each pair of elements holds.",
     .arity = 2,
     .operands = kXY,
     .type = same<"logical_xor", kBool>,
     .eval = bits<[](uint64_t a, uint64_t b) { return a ^ b; }>,
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"commutative", "associative", "identity:zero"}},
    {.name = "logical_not",
     .doc = "Whether each element does not hold.",
     .operands = kX,
     .type = same<"logical_not", kBool>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(!v[0].b()); },
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"involution", "negation"}},
    {.name = "bitwise_and",
     .doc = "Bits set in both of each pair of elements.",
     .arity = 2,
     .operands = kXY,
     .type = same < "bitwise_and",
     kBool | kInt >,
     .eval = bits<[](uint64_t a, uint64_t b) { return a & b; }>,
     .vjp = no_derivative,
     .range = range_of_and,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:ones"}},
    {.name = "bitwise_or",
     .doc = "Bits set in at least one of each pair of elements.",
     .arity = 2,
     .operands = kXY,
     .type = same < "bitwise_or",
     kBool | kInt >,
     .eval = bits<[](uint64_t a, uint64_t b) { return a | b; }>,
     .vjp = no_derivative,
     .range = range_of_or,
     .properties = {"commutative", "associative", "idempotent", "combine", "identity:zero"}},
    {.name = "bitwise_xor",
     .doc = "Bits set in exactly one of each pair of elements.",
     .arity = 2,
     .operands = kXY,
     .type = same < "bitwise_xor",
     kBool | kInt >,
     .eval = bits<[](uint64_t a, uint64_t b) { return a ^ b; }>,
     .vjp = no_derivative,
     .range = range_of_or,
     .properties = {"commutative", "associative", "identity:zero"}},
    {.name = "bitwise_not",
     .doc = "Every bit of each element flipped.",
     .operands = kX,
     .type = same < "bitwise_not",
     kBool | kInt >,
     .eval =
         [](const Attrs&, Values v, Dtypes) {
           if (v[0].is_bool()) return Scalar(!v[0].b());
           return v[0].is_u64() ? Scalar(~v[0].u()) : Scalar(~v[0].i());
         },
     .vjp = no_derivative,
     .range = range_of_corners,
     .properties = {"involution"}},
    {.name = "shift_left",
     .doc = "x shifted left by y bits, for each pair of elements; y is taken modulo the width.",
     .arity = 2,
     .operands = kXY,
     .type = same<"shift_left", kInt>,
     .eval = shift_left,
     .vjp = no_derivative,
     .range = range_of_shift_left},
    {.name = "shift_right",
     .doc = "x shifted right by y bits, for each pair of elements; y is taken modulo the width. Signed "
            "integers keep their sign.",
     .arity = 2,
     .operands = kXY,
     .type = same<"shift_right", kInt>,
     .eval = shift_right,
     .vjp = no_derivative,
     .range = range_of_shift_right},
    {.name = "multiply_high",
     .doc = "The high 32 bits of the 64-bit product of each pair of u32.",
     .arity = 2,
     .operands = kXY,
     .type =
         [](const Attrs&, In in) {
           const Type t = same_type("multiply_high", kUnsigned, in);
           if (t.dtype != Dtype::u32)
             user_error("multiply_high takes u32, but x is {}. Convert it first.", t.str());
           return Types{t};
         },
     .eval = multiply_high,
     .vjp = no_derivative,
     .cost = 3,
     .range = range_of_corners,
     .properties = {"commutative"}},
    {.name = "convert",
     .doc = "Each element as another dtype. Float to integer truncates and saturates, NaN gives 0; integers "
            "wrap; complex to real "
            "takes the real part; to bool asks whether it is not 0.",
     .operands = kX,
     .attributes = kDtypeAttr,
     .type = convert_type,
     .eval = convert_value,
     .vjp =
         [](const NodeRef& y, In dy) {
           const Dtype from = y->inputs[0]->dtype();
           if (!differentiable(y->inputs[0]) || !differentiable(y)) return Nodes(1);
           return Nodes{convert(dy[0], from)};
         },
     .degree = convert_degree,
     .range = range_of_conversion},
    {.name = "bitcast",
     .doc = "The bits of each element read as another dtype of the same width. To bool: whether the byte is "
            "not 0.",
     .operands = kX,
     .attributes = kDtypeAttr,
     .type = bitcast_type,
     .eval = bitcast_value,
     .vjp = [](const NodeRef& y,
               In dy) { return Nodes{y->dtype() == y->inputs[0]->dtype() ? dy[0] : NodeRef()}; },
     .cost = 0,
     .range = range_of_point},
    {.name = "isnan",
     .doc = "Whether each element is NaN.",
     .operands = kX,
     .type = comparison<"isnan", kFloat>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(std::isnan(v[0].f())); },
     .vjp = no_derivative,
     .expand = isnan_expand},
    {.name = "isfinite",
     .doc = "Whether each element is neither infinite nor NaN.",
     .operands = kX,
     .type = comparison<"isfinite", kFloat>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(std::isfinite(v[0].f())); },
     .vjp = no_derivative,
     .cost = 2,
     .expand = isfinite_expand},
    {.name = "real",
     .doc = "The real part of each element.",
     .operands = kX,
     .type = real_part<"real", kComplex>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(v[0].c().real()); },
     .vjp = [](const NodeRef&,
               In dy) { return Nodes{map("make_complex", {dy[0], build::zeros_like(dy[0])})}; },
     .degree = keep_degree},
    {.name = "imag",
     .doc = "The imaginary part of each element.",
     .operands = kX,
     .type = real_part<"imag", kComplex>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(v[0].c().imag()); },
     .vjp = [](const NodeRef&,
               In dy) { return Nodes{map("make_complex", {build::zeros_like(dy[0]), dy[0]})}; },
     .degree = keep_degree},
    {.name = "conj",
     .doc = "The complex conjugate of each element.",
     .operands = kX,
     .type = same<"conj", kComplex>,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(std::conj(v[0].c())); },
     .vjp = [](const NodeRef&, In dy) { return Nodes{map("conj", {dy[0]})}; },
     .degree = keep_degree,
     .expand = conj_expand,
     .properties = {"involution"}},
    {.name = "make_complex",
     .doc = "The complex number x + i y of each pair of elements.",
     .arity = 2,
     .operands = kXY,
     .type = make_complex_type,
     .eval = [](const Attrs&, Values v, Dtypes) { return Scalar(Complex(v[0].f(), v[1].f())); },
     .vjp = [](const NodeRef&, In dy) { return Nodes{map("real", {dy[0]}), map("imag", {dy[0]})}; },
     .degree = equal_degree},
};

const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold::prims
