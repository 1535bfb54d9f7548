#include "tenfold/base/dtype.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

struct Row {
  std::string_view name;
  int64_t size;
};
constexpr std::array<Row, kDtypeCount> kRows{{{"bool", 1},
                                              {"i8", 1},
                                              {"i16", 2},
                                              {"i32", 4},
                                              {"i64", 8},
                                              {"u8", 1},
                                              {"u16", 2},
                                              {"u32", 4},
                                              {"u64", 8},
                                              {"f16", 2},
                                              {"bf16", 2},
                                              {"f32", 4},
                                              {"f64", 8},
                                              {"complex64", 8},
                                              {"complex128", 16}}};

const Row& row(Dtype d) {
  const auto index = static_cast<size_t>(d);
  TENFOLD_CHECK(index < kRows.size(), "there is no dtype number {}", index);
  return kRows[index];
}

// A 16-bit float with kMantissa stored bits of significand. An exponent field of e > 0 means
// 2^(e - 1 + kMinExponent); e = 0 is subnormal.
template <int kMantissa>
struct SmallFloat {
  static constexpr int kMaxExponent = (1 << (14 - kMantissa)) - 1;
  static constexpr int kMinExponent = 1 - kMaxExponent;
  static constexpr int kInfinity = 0x7fff >> kMantissa << kMantissa;

  static uint16_t from(double x) {
    const int sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) return static_cast<uint16_t>(sign | kInfinity | 1 << (kMantissa - 1));
    if (x == 0) return static_cast<uint16_t>(sign);
    const int exponent = std::isinf(x) ? kMaxExponent + 1 : std::max(std::ilogb(x), kMinExponent);
    if (exponent > kMaxExponent) return static_cast<uint16_t>(sign | kInfinity);
    // The significand's hidden bit carries into the exponent field, as does rounding up to a power of two.
    const int significand = static_cast<int>(std::nearbyint(std::ldexp(std::abs(x), kMantissa - exponent)));
    return static_cast<uint16_t>(sign | (((exponent - kMinExponent) << kMantissa) + significand));
  }

  static double to(uint16_t bits) {
    const int field = (bits & kInfinity) >> kMantissa;
    const int fraction = bits & ((1 << kMantissa) - 1);
    double magnitude = std::ldexp(fraction, kMinExponent - kMantissa);
    if (field > 0) magnitude = std::ldexp((1 << kMantissa) + fraction, field - 1 + kMinExponent - kMantissa);
    if ((bits & kInfinity) == kInfinity) magnitude = fraction ? NAN : INFINITY;
    return std::copysign(magnitude, bits & 0x8000 ? -1.0 : 1.0);
  }
};
using F16 = SmallFloat<10>;
using Bf16 = SmallFloat<7>;

}  // namespace

std::string_view name(Dtype d) { return row(d).name; }

int64_t size_of(Dtype d) { return row(d).size; }

std::optional<Dtype> parse_dtype(std::string_view text) {
  for (size_t i = 0; i < kRows.size(); ++i)
    if (kRows[i].name == text) return static_cast<Dtype>(i);
  return {};
}

Dtype real_of(Dtype d) {
  if (d == Dtype::complex64) return Dtype::f32;
  if (d == Dtype::complex128) return Dtype::f64;
  return d;
}

std::optional<Dtype> promote(Dtype a, Dtype b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);  // within a kind a later dtype is the wider one, except f16 and bf16
  if (a == Dtype::f16 && b == Dtype::bf16) return Dtype::f32;
  if (is_complex(b) && is_inexact(a))
    return real_of(a) == Dtype::f64 || b == Dtype::complex128 ? Dtype::complex128 : Dtype::complex64;
  if (is_float(a) && is_float(b)) return b;
  if (is_signed_int(a) && is_signed_int(b)) return b;
  if (is_unsigned_int(a) && is_unsigned_int(b)) return b;
  if (is_signed_int(a) && is_unsigned_int(b)) {  // the signed type that holds both
    switch (size_of(b)) {
      case 1: return std::max(a, Dtype::i16);
      case 2: return std::max(a, Dtype::i32);
      case 4: return Dtype::i64;
      default: return {};
    }
  }
  return {};
}

uint16_t f16_from(double x) { return F16::from(x); }
double f16_to(uint16_t bits) { return F16::to(bits); }
uint16_t bf16_from(double x) { return Bf16::from(x); }
double bf16_to(uint16_t bits) { return Bf16::to(bits); }

}  // namespace tenfold
