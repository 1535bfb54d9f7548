#include "tenfold/ir/range.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tenfold/ir/prim.h"
#include "tenfold/ir/reduce.h"

namespace tenfold {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kExact = 0x1p53;  // integers to here are doubles
constexpr double kNoOverflow = 0x1p62;

using Ranges = std::span<const Range>;

bool is_known(Dtype d) { return !is_complex(d); }
bool has_infinity(const Range& r) { return r.low == -kInf || r.high == kInf; }
bool is_empty(const Range& r) { return r.low > r.high; }

Dtype input_dtype(const Node& n, size_t k) { return n.inputs[k]->dtype(); }

Scalar scalar(double v, Dtype d) {
  if (is_bool(d)) return v != 0;
  if (is_signed_int(d)) return static_cast<int64_t>(v);
  if (is_unsigned_int(d)) return static_cast<uint64_t>(v);
  return v;
}

// Approximations are known to their bounds only; narrow floats round a second time.
double slack(const Node& n) {
  if (!n.prim->expand || is_int(n.dtype()) || is_bool(n.dtype())) return 0;
  return n.dtype() == Dtype::f64 ? 0x1p-48 : n.dtype() == Dtype::f32 ? 0x1p-20 : 0x1p-6;
}

bool any_nan(Ranges in) {
  return std::any_of(in.begin(), in.end(), [](const Range& r) { return r.nan; });
}

// Whether exact arithmetic on the corners stays within i64, or u64.
bool are_exact(const Node& n, Ranges in) {
  for (size_t k = 0; k < in.size(); ++k)
    if (is_int(input_dtype(n, k)) && (in[k].low < -kExact || in[k].high > kExact)) return false;
  return true;
}

Range rounded(const Node& n, double low, double high, bool nan) {
  const Dtype d = n.dtype();
  const double s = slack(n);
  if (s != 0) {
    // An overflow may come late, and a denormal result is off by a whole unit.
    const double largest = d == Dtype::f64   ? std::numeric_limits<double>::max()
                           : d == Dtype::f16 ? 65504.0
                                             : 0x1.fep127;
    const double unit = d == Dtype::f64 ? 0x1p-1073 : d == Dtype::f16 ? 0x1p-23 : 0x1p-132;
    low = std::min(low, largest), high = std::max(high, -largest);
    low -= std::abs(low) * s + unit, high += std::abs(high) * s + unit;
  }
  if (is_int(d)) return {low, high, false};
  return {scalar(low, d).round_to(d).f(), scalar(high, d).round_to(d).f(), nan};
}

}  // namespace

Range Range::all(Dtype d) {
  if (is_bool(d)) return {0, 1, false};
  if (is_int(d)) return {lowest(d).f(), highest(d).f(), false};
  return {-kInf, kInf, true};
}

bool Range::is_bounded() const {
  return low >= -std::numeric_limits<double>::max() && high <= std::numeric_limits<double>::max();
}
bool Range::is_finite() const { return is_bounded() && !nan; }

Range join(const Range& a, const Range& b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high), a.nan || b.nan};
}

Range meet(const Range& a, const Range& b) {
  return {std::max(a.low, b.low), std::min(a.high, b.high), a.nan && b.nan};
}

Range range_of_corners(const Node& n, Ranges in) {
  const Dtype out = n.dtype();
  for (size_t k = 0; k < in.size(); ++k)
    if (!is_known(input_dtype(n, k)) || is_empty(in[k])) return Range::all(out);
  if (!is_known(out) || !are_exact(n, in) || in.size() > 3) return Range::all(out);
  bool nan = any_nan(in);
  if (in.size() > 1)  // inf - inf and 0 * inf may hide between the corners
    nan = nan || std::any_of(in.begin(), in.end(), has_infinity);
  double low = kInf, high = -kInf;
  std::vector<Dtype> dtypes;
  for (const NodeRef& i : n.inputs) dtypes.push_back(i->dtype());
  dtypes.push_back(out);
  for (unsigned corner = 0; corner < 1u << in.size(); ++corner) {
    std::vector<Scalar> at;
    for (size_t k = 0; k < in.size(); ++k)
      at.push_back(scalar(corner >> k & 1 ? in[k].high : in[k].low, dtypes[k]));
    const Scalar exact = n.prim->eval(n.attrs, at, dtypes);
    const Scalar value = exact.round_to(out);
    const bool wraps = is_int(out) && exact.is_int() && value.f() != exact.f();
    if (wraps || std::isnan(value.f())) return Range::all(out);
    low = std::min(low, value.f());
    high = std::max(high, value.f());
  }
  if (nan && !is_inexact(out)) {  // what a NaN becomes
    std::vector<Scalar> at;
    for (Dtype d : std::span(dtypes).first(in.size()))
      at.push_back(is_float(d) ? Scalar(std::numeric_limits<double>::quiet_NaN()) : scalar(0, d));
    const double value = in.size() == 1 ? n.prim->eval(n.attrs, at, dtypes).round_to(out).f() : 0;
    low = std::min(low, value), high = std::max(high, value), nan = false;
  }
  return rounded(n, low, high, nan && is_float(out));
}

Range range_of_product(const Node& n, Ranges in) {
  const double largest = std::max(std::abs(in[0].low), std::abs(in[0].high)) *
                         std::max(std::abs(in[1].low), std::abs(in[1].high));
  if (is_int(n.dtype()) && !(largest < kNoOverflow)) return Range::all(n.dtype());
  Range r = range_of_corners(n, in);
  if (n.inputs[0] == n.inputs[1] && is_float(n.dtype())) {  // a square
    const bool spans_zero = in[0].low <= 0 && in[0].high >= 0;
    const double a = in[0].low * in[0].low, b = in[0].high * in[0].high;
    if (!is_empty(in[0])) r = rounded(n, spans_zero ? 0 : std::min(a, b), std::max(a, b), in[0].nan);
  }
  return r;
}

Range range_of_quotient(const Node& n, Ranges in) {
  const bool may_be_zero = in[1].low <= 0 && in[1].high >= 0;
  return may_be_zero || !is_float(n.dtype()) ? Range::all(n.dtype()) : range_of_corners(n, in);
}

Range range_of_order(const Node& n, Ranges in) {
  if (is_empty(in[0]) || is_empty(in[1]) || !are_exact(n, in)) return Range::all(Dtype::boolean);
  Range r{1, 0, false};
  const std::vector<Dtype> dtypes{input_dtype(n, 0), input_dtype(n, 1), Dtype::boolean};
  for (unsigned corner = 0; corner < 4; ++corner) {
    const Scalar at[] = {scalar(corner & 1 ? in[0].high : in[0].low, dtypes[0]),
                         scalar(corner & 2 ? in[1].high : in[1].low, dtypes[1])};
    r = join(r, Range::point(n.prim->eval(n.attrs, std::span<const Scalar>(at), dtypes).b()));
  }
  return any_nan(in) ? join(r, Range::point(0)) : r;
}

Range range_of_equality(const Node& n, Ranges in) {
  const Dtype d = input_dtype(n, 0);
  if (!is_known(d) || is_empty(in[0]) || is_empty(in[1]) || !are_exact(n, in))
    return Range::all(Dtype::boolean);
  const std::vector<Dtype> dtypes{d, d, Dtype::boolean};
  auto value = [&](double a, double b) {
    const Scalar at[] = {scalar(a, d), scalar(b, d)};
    return Range::point(n.prim->eval(n.attrs, std::span<const Scalar>(at), dtypes).b());
  };
  if (in[0].high < in[1].low || in[1].high < in[0].low) return value(0, 1);  // never equal; NaN neither
  if (in[0].is_point() && in[1].is_point()) return value(in[0].low, in[1].low);
  return Range::all(Dtype::boolean);
}

Range range_of_abs(const Node& n, Ranges in) {
  Range r = range_of_corners(n, in);
  if (is_known(input_dtype(n, 0)) && in[0].low <= 0 && in[0].high >= 0)
    r.low = is_signed_int(n.dtype()) ? std::min(r.low, 0.0) : 0;
  return r;
}

Range range_of_and(const Node& n, Ranges in) {
  if (is_bool(n.dtype())) return range_of_corners(n, in);
  if (in[0].low >= 0 && in[1].low >= 0) return {0, std::min(in[0].high, in[1].high), false};
  for (const Range& r : in)
    if (r.low >= 0) return {0, r.high, false};
  return Range::all(n.dtype());
}

Range range_of_or(const Node& n, Ranges in) {
  if (is_bool(n.dtype())) return range_of_corners(n, in);
  const double most = std::max(in[0].high, in[1].high);
  if (in[0].low < 0 || in[1].low < 0 || most > kExact) return Range::all(n.dtype());
  double all_bits = 1;
  while (all_bits <= most) all_bits *= 2;
  return {0, all_bits - 1, false};
}

Range range_of_shift_left(const Node& n, Ranges in) {
  if (!in[1].is_point() || std::abs(in[1].low) > kExact) return Range::all(n.dtype());
  const double bits = 8.0 * static_cast<double>(size_of(n.dtype()));
  const double factor = std::ldexp(1.0, static_cast<int>(in[1].low - bits * std::floor(in[1].low / bits)));
  const Range r{in[0].low * factor, in[0].high * factor, false}, all = Range::all(n.dtype());
  const bool fits =
      r.low >= all.low && r.high <= all.high && std::max(std::abs(r.low), std::abs(r.high)) < kNoOverflow;
  return fits ? r : all;
}

Range range_of_shift_right(const Node& n, Ranges in) {
  return in[1].is_point() ? range_of_corners(n, in) : Range::all(n.dtype());
}

Range range_of_conversion(const Node& n, Ranges in) {
  if (!is_bool(n.dtype()) || !is_known(input_dtype(n, 0)) || is_empty(in[0])) return range_of_corners(n, in);
  const bool may_be_zero = in[0].low <= 0 && in[0].high >= 0,
             may_be_other = in[0].nan || in[0].low != 0 || in[0].high != 0;
  return Range::truth(may_be_zero, may_be_other);
}

Range range_of_wave(const Node& n, Ranges in) {
  constexpr double kMost = 1 + 0x1p-6;  // one, and the error of any dtype
  return {-kMost, kMost, in[0].nan || !in[0].is_bounded() || n.dtype() == Dtype::f64};
}

Range range_of_point(const Node& n, Ranges in) {
  const bool known =
      std::all_of(in.begin(), in.end(), [](const Range& r) { return r.is_point() && r.low != 0; });
  return known ? range_of_corners(n, in) : Range::all(n.dtype());
}

}  // namespace tenfold
