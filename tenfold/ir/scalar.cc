#include "tenfold/ir/scalar.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"
#include "tenfold/base/text.h"

namespace tenfold {
namespace {

constexpr double kTwo63 = 0x1p63;
constexpr double kTwo64 = 0x1p64;

int64_t saturated_i64(double x) {
  if (std::isnan(x)) return 0;
  if (x >= kTwo63) return std::numeric_limits<int64_t>::max();
  if (x < -kTwo63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(x);
}

uint64_t saturated_u64(double x) {
  if (!(x > 0)) return 0;  // NaN too
  return x >= kTwo64 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(x);
}

template <class T>
T narrowed(const Scalar& v) {
  using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  if (!v.is_f64() && !v.is_complex()) return static_cast<T>(v.u());  // integers wrap
  const Wide wide = std::is_signed_v<T> ? static_cast<Wide>(v.i()) : static_cast<Wide>(v.u());
  return static_cast<T>(std::clamp<Wide>(wide, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

// static_cast of a double beyond the floats is undefined in C++; IEEE 754 says what it gives.
float to_float(double x) {
  static_assert(std::numeric_limits<float>::is_iec559);
  return static_cast<float>(x);
}

// Not inline: g++ 12 at -O2 vectorises the conversions of a pair there and back into a copy that does not
// round.
[[gnu::noinline]] double through_float(double x) { return to_float(x); }

template <class T>
void put(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

template <class T>
T get(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

bool Scalar::b() const {
  return std::visit([](auto v) { return v != decltype(v){}; }, v_);
}

int64_t Scalar::i() const {
  switch (v_.index()) {
    case 0: return std::get<0>(v_);
    case 1: return std::get<1>(v_);
    case 2: return static_cast<int64_t>(std::get<2>(v_));
    default: return saturated_i64(f());
  }
}

uint64_t Scalar::u() const {
  return is_f64() || is_complex() ? saturated_u64(f())
         : is_u64()               ? std::get<2>(v_)
                                  : static_cast<uint64_t>(i());
}

double Scalar::f() const {
  switch (v_.index()) {
    case 0: return std::get<0>(v_);
    case 1: return static_cast<double>(std::get<1>(v_));
    case 2: return static_cast<double>(std::get<2>(v_));
    case 3: return std::get<3>(v_);
    default: return std::get<4>(v_).real();
  }
}

Complex Scalar::c() const { return is_complex() ? std::get<4>(v_) : Complex(f()); }

Scalar Scalar::round_to(Dtype d) const {
  switch (d) {
    case Dtype::boolean: return b();
    case Dtype::i8: return int64_t{narrowed<int8_t>(*this)};
    case Dtype::i16: return int64_t{narrowed<int16_t>(*this)};
    case Dtype::i32: return int64_t{narrowed<int32_t>(*this)};
    case Dtype::i64: return i();
    case Dtype::u8: return uint64_t{narrowed<uint8_t>(*this)};
    case Dtype::u16: return uint64_t{narrowed<uint16_t>(*this)};
    case Dtype::u32: return uint64_t{narrowed<uint32_t>(*this)};
    case Dtype::u64: return u();
    case Dtype::f16: return f16_to(f16_from(f()));
    case Dtype::bf16: return bf16_to(bf16_from(f()));
    case Dtype::f32:
      // An integer is rounded once, not by way of f64.
      if (is_i64()) return double{static_cast<float>(i())};
      if (is_u64()) return double{static_cast<float>(u())};
      return double{to_float(f())};
    case Dtype::f64: return f();
    case Dtype::complex64: return Complex(through_float(c().real()), through_float(c().imag()));
    case Dtype::complex128: return c();
  }
  internal_error("dtype", "unknown dtype");
}

void Scalar::store(Dtype d, void* to) const {
  const Scalar v = round_to(d);
  switch (d) {
    case Dtype::boolean: return put<uint8_t>(to, v.b());
    case Dtype::i8: return put(to, static_cast<int8_t>(v.i()));
    case Dtype::i16: return put(to, static_cast<int16_t>(v.i()));
    case Dtype::i32: return put(to, static_cast<int32_t>(v.i()));
    case Dtype::i64: return put(to, v.i());
    case Dtype::u8: return put(to, static_cast<uint8_t>(v.u()));
    case Dtype::u16: return put(to, static_cast<uint16_t>(v.u()));
    case Dtype::u32: return put(to, static_cast<uint32_t>(v.u()));
    case Dtype::u64: return put(to, v.u());
    case Dtype::f16: return put(to, f16_from(v.f()));
    case Dtype::bf16: return put(to, bf16_from(v.f()));
    case Dtype::f32: return put(to, to_float(v.f()));
    case Dtype::f64: return put(to, v.f());
    case Dtype::complex64:
      return put(to, std::complex<float>(to_float(v.c().real()), to_float(v.c().imag())));
    case Dtype::complex128: return put(to, v.c());
  }
}

Scalar Scalar::load(Dtype d, const void* from) {
  switch (d) {
    case Dtype::boolean: return get<uint8_t>(from) != 0;
    case Dtype::i8: return int64_t{get<int8_t>(from)};
    case Dtype::i16: return int64_t{get<int16_t>(from)};
    case Dtype::i32: return int64_t{get<int32_t>(from)};
    case Dtype::i64: return get<int64_t>(from);
    case Dtype::u8: return uint64_t{get<uint8_t>(from)};
    case Dtype::u16: return uint64_t{get<uint16_t>(from)};
    case Dtype::u32: return uint64_t{get<uint32_t>(from)};
    case Dtype::u64: return get<uint64_t>(from);
    case Dtype::f16: return f16_to(get<uint16_t>(from));
    case Dtype::bf16: return bf16_to(get<uint16_t>(from));
    case Dtype::f32: return double{get<float>(from)};
    case Dtype::f64: return get<double>(from);
    case Dtype::complex64: {
      const auto v = get<std::complex<float>>(from);
      return Complex(v.real(), v.imag());
    }
    case Dtype::complex128: return get<Complex>(from);
  }
  internal_error("dtype", "unknown dtype");
}

std::string Scalar::str() const {
  switch (v_.index()) {
    case 0: return b() ? "true" : "false";
    case 1: return fmt::format("{}", i());
    case 2: return fmt::format("{}", u());
    case 3: return float_text(f());
    default: return fmt::format("complex({}, {})", float_text(c().real()), float_text(c().imag()));
  }
}

namespace {

struct Bits {
  size_t kind;
  uint64_t low, high;
  friend bool operator==(const Bits&, const Bits&) = default;
};

Bits bits(const Scalar& v) {
  if (v.is_bool()) return {0, v.b(), 0};
  if (v.is_i64()) return {1, v.u(), 0};
  if (v.is_u64()) return {2, v.u(), 0};
  if (v.is_f64()) return {3, std::bit_cast<uint64_t>(v.f()), 0};
  return {4, std::bit_cast<uint64_t>(v.c().real()), std::bit_cast<uint64_t>(v.c().imag())};
}

}  // namespace

size_t Scalar::hash() const {
  const Bits b = bits(*this);
  return hash_of(hash_of(hash_of(0, b.kind), b.low), b.high);
}

bool operator==(const Scalar& a, const Scalar& b) { return bits(a) == bits(b); }

}  // namespace tenfold
