// Exact scalars: what the reference interpreter computes with. A Scalar holds one value of one of
// five kinds; `round_to` gives it the precision of a dtype, as every node of a graph does.
#pragma once

#include <complex>
#include <cstdint>
#include <string>
#include <variant>

#include "tenfold/base/dtype.h"

namespace tenfold {

using Complex = std::complex<double>;

class Scalar {
 public:
  Scalar() : v_(0.0) {}
  Scalar(bool v) : v_(v) {}
  Scalar(int v) : v_(int64_t{v}) {}
  Scalar(int64_t v) : v_(v) {}
  Scalar(uint64_t v) : v_(v) {}
  Scalar(double v) : v_(v) {}
  Scalar(Complex v) : v_(v) {}

  bool is_bool() const { return v_.index() == 0; }
  bool is_i64() const { return v_.index() == 1; }
  bool is_u64() const { return v_.index() == 2; }
  bool is_f64() const { return v_.index() == 3; }
  bool is_complex() const { return v_.index() == 4; }
  bool is_int() const { return is_i64() || is_u64(); }

  bool b() const;  // converting reads: any kind to the asked one (float to integer truncates and saturates;
  int64_t i() const;  // NaN gives 0; a complex gives its real part; integers wrap)
  uint64_t u() const;
  double f() const;
  Complex c() const;

  Scalar round_to(Dtype) const;  // the kind of the dtype, wrapped or rounded to its precision
  void store(Dtype, void* to) const;
  static Scalar load(Dtype, const void* from);

  std::string str() const;                               // reads back
  size_t hash() const;                                   // by bits: -0.0 and 0.0 differ, equal NaNs are equal
  friend bool operator==(const Scalar&, const Scalar&);  // by kind and bits

 private:
  std::variant<bool, int64_t, uint64_t, double, Complex> v_;
};

}  // namespace tenfold
