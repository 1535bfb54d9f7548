// Map records as C expressions. A value in a register is
//   bool        bool
//   f16, bf16   float, always exactly a value of the narrow type
//   complex     float2 or double2
// and every expression it hands out may be used as an operand of any operator.
#pragma once

#include <map>
#include <span>
#include <string>

#include "tenfold/ir/prim.h"
#include "tenfold/target/ctext/dialect.h"

namespace tenfold::ctext {

std::string type_name(Dtype);          // in a register
std::string memory_type_name(Dtype);   // bool: uchar; f16 and bf16: ushort
std::string bare(const std::string&);  // without the parentheses around all of it

struct Arithmetic {
  bool f64 = true;             // the device has it
  bool exact_division = true;  // division and square root in f32 are correctly rounded
};

class Math {
 public:
  Math(const Dialect& dialect, const Arithmetic& device) : dialect_(dialect), device_(device) {}

  std::string literal(const Scalar&, Dtype) const;
  std::string identity(const Prim& combine, Dtype) const;  // x combined with it is x; so -0 for a sum
  std::string map(const Prim&, std::span<const std::string>, std::span<const Dtype>, Dtype result);
  std::string combine(const Prim&, Dtype, const std::string& x, const std::string& y);  // rounded
  std::string convert(const std::string&, Dtype from, Dtype to);
  std::string fma(Dtype, const std::string&, const std::string&, const std::string&);  // rounded
  std::string from_memory(const std::string&, Dtype);
  std::string to_memory(const std::string&, Dtype);

  void needs(Dtype);
  bool uses_f64() const { return uses_f64_; }
  const std::map<std::string, std::string>& helpers() const { return helpers_; }  // by name
  const std::vector<std::string>& helper_order() const { return order_; }         // as they were needed

 private:
  std::string arithmetic(std::string_view name, std::span<const std::string>, Dtype);
  std::string complex_arithmetic(std::string_view name, std::span<const std::string>, Dtype);
  std::string rounded(const std::string&, Dtype);
  std::string to_int(const std::string&, Dtype from, Dtype to);
  std::string bitcast(const std::string&, Dtype from, Dtype to);
  std::string make_pair(Dtype complex, std::string_view re, std::string_view im) const;
  // Calls the helper `name`, defining it on first use.
  std::string call(const std::string& name, std::string_view result, std::string_view parameters,
                   std::string_view body, std::span<const std::string> arguments);

  const Dialect& dialect_;
  const Arithmetic& device_;
  std::map<std::string, std::string> helpers_;
  std::vector<std::string> order_;
  bool uses_f64_ = false;
};

}  // namespace tenfold::ctext
