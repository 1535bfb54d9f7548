// Element types. Storage is little-endian; bool is one byte, 0 or 1.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tenfold {

enum class Dtype : uint8_t {
  boolean,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  f16,
  bf16,
  f32,
  f64,
  complex64,
  complex128
};
inline constexpr int kDtypeCount = 15;

std::string_view name(Dtype);  // "bool", "f32", "complex64" ...
std::optional<Dtype> parse_dtype(std::string_view);
int64_t size_of(Dtype);  // bytes of one element

constexpr bool is_bool(Dtype d) { return d == Dtype::boolean; }
constexpr bool is_signed_int(Dtype d) { return d >= Dtype::i8 && d <= Dtype::i64; }
constexpr bool is_unsigned_int(Dtype d) { return d >= Dtype::u8 && d <= Dtype::u64; }
constexpr bool is_int(Dtype d) { return is_signed_int(d) || is_unsigned_int(d); }
constexpr bool is_float(Dtype d) { return d >= Dtype::f16 && d <= Dtype::f64; }
constexpr bool is_complex(Dtype d) { return d >= Dtype::complex64; }
constexpr bool is_inexact(Dtype d) { return is_float(d) || is_complex(d); }
Dtype real_of(Dtype);  // complex64 -> f32, complex128 -> f64, else itself

// The Array API's promotion table, extended with f16 and bf16 (f16 with bf16 gives f32).
// Empty where the standard leaves the pair undefined (u64 with a signed integer, say).
std::optional<Dtype> promote(Dtype, Dtype);

// Round to nearest even; NaN stays NaN.
uint16_t f16_from(double);
double f16_to(uint16_t);
uint16_t bf16_from(double);
double bf16_to(uint16_t);

}  // namespace tenfold
