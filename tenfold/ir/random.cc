#include "tenfold/ir/random.h"

#include <cmath>
#include <vector>

#include "tenfold/ir/build.h"

namespace tenfold::random {
namespace {

using build::convert;
using build::full;
using build::map;
using build::select;
using build::operator+;
using build::operator-;
using build::operator*;

constexpr int kWordBits = 32;

NodeRef word_constant(uint64_t value, const NodeRef& like) { return full(Scalar(value), like->type()); }
NodeRef shift_right(const NodeRef& words, int n) {
  return map("shift_right", {words, word_constant(n, words)});
}

NodeRef polynomial(const NodeRef& x, const std::vector<double>& c) {
  NodeRef p = full(Scalar(c.back()), x->type());
  for (size_t k = c.size() - 1; k-- > 0;) p = map("fma", {p, x, full(Scalar(c[k]), x->type())});
  return p;
}

NodeRef uniform_f64(const NodeRef& key, const Shape& shape, const NodeRef& offset) {
  Shape pairs = shape;
  pairs.push_back(2);
  const NodeRef words = bits(key, pairs, offset ? offset + offset : offset);
  Shape result = words->shape();
  result.pop_back();
  const int64_t last = static_cast<int64_t>(result.size());
  auto part = [&](int64_t which, int dropped) {
    const NodeRef w = build::reshape(build::slice_axis(words, last, which, which + 1), result);
    return convert(shift_right(w, dropped), Dtype::f64);
  };
  constexpr int kHighBits = 27, kLowBits = 26;
  return (part(0, kWordBits - kHighBits) * std::ldexp(1.0, kLowBits) + part(1, kWordBits - kLowBits)) *
         std::ldexp(1.0, -kHighBits - kLowBits);
}

}  // namespace

NodeRef bits(const NodeRef& key, const Shape& shape, const NodeRef& offset) {
  NodeRef start = offset;
  if (!start) {
    const Shape& keys = key->shape();
    start = full(Scalar(0), {Dtype::i64, Shape(keys.begin(), keys.empty() ? keys.end() : keys.end() - 1)});
  }
  return make("random_bits", {key, start}, {{"shape", shape}});
}

NodeRef uniform(const NodeRef& key, const Shape& shape, const NodeRef& offset, Dtype dtype) {
  if (!is_float(dtype)) user_error("uniform: dtype is {}, but uniform numbers are floats.", name(dtype));
  if (dtype == Dtype::f64) return uniform_f64(key, shape, offset);
  const int precision = dtype == Dtype::f32   ? 24
                        : dtype == Dtype::f16 ? 11
                                              : 8;  // what the dtype holds exactly
  const NodeRef words = shift_right(bits(key, shape, offset), kWordBits - precision);
  return convert(convert(words, Dtype::f32) * std::ldexp(1.0, -precision), dtype);
}

NodeRef normal(const NodeRef& key, const Shape& shape, const NodeRef& offset, Dtype dtype) {
  if (!is_float(dtype)) user_error("normal: dtype is {}, but normal numbers are floats.", name(dtype));
  // -Phi^-1(p) = x G(w) with x = 1 - 2p and w = -log(1 - x^2), where G is smooth; minimax polynomials of
  // relative error 2^-22, in w - 2.75 up to 5.5 and in sqrt(w) - 3.5 beyond, to the last p = 2^-33.
  static const std::vector<double> kCentre = {0x1.1ae52ap+1,   0x1.61d440p-2,  -0x1.d2d226p-8,
                                              -0x1.818d5cp-10, 0x1.36fbf0p-12, -0x1.a0f3cep-17,
                                              -0x1.04cb56p-18, 0x1.0c7116p-21, 0x1.3fd60ep-26};
  static const std::vector<double> kTail = {0x1.2de4c6p+2,  0x1.6cb4b4p+0,   0x1.314c56p-8,  -0x1.7b1e1cp-9,
                                            0x1.7867c2p-10, -0x1.0d088ep-10, 0x1.9bef60p-11, -0x1.1ca1a2p-12};
  constexpr double kSplit = 5.5;
  const NodeRef words = bits(key, shape, offset);
  const NodeRef half = map("bitwise_and", {words, word_constant(0x7FFFFFFF, words)});
  const NodeRef p =
      convert(half, Dtype::f32) * 0x1p-32 + 0x1p-33;  // in (0, 1/2]: the sign is the word's top bit
  const NodeRef p4 = p * 4.0;
  const NodeRef w = -map("log", {p4 - p4 * p});
  const NodeRef centre = polynomial(w - 2.75, kCentre), tail = polynomial(map("sqrt", {w}) - 3.5, kTail);
  const NodeRef is_centre = map("less", {w, full(Scalar(kSplit), w->type())});
  const NodeRef size = (1.0 - p * 2.0) * select(is_centre, centre, tail);
  const NodeRef is_negative = map("equal", {half, words});  // the lower half of the words
  return convert(select(is_negative, -size, size), dtype);
}

NodeRef integers(const NodeRef& key, const Shape& shape, const NodeRef& offset, const NodeRef& low,
                 const NodeRef& high) {
  if (!is_int(low->dtype()) || low->dtype() != high->dtype() || low->rank() != 0 || high->rank() != 0)
    user_error("integers: low is {} and high is {}, but both must be scalars of one integer dtype.",
               low->type().str(), high->type().str());
  const NodeRef words = bits(key, shape, offset);
  // In i64, where the difference of narrow integers does not wrap.
  const NodeRef count = convert(high, Dtype::i64) - convert(low, Dtype::i64);
  const NodeRef range = build::broadcast_to(convert(count, Dtype::u32), words->shape());
  return convert(map("multiply_high", {words, range}), low->dtype()) + low;
}

}  // namespace tenfold::random
