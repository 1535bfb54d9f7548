// Random contractions: einsums, windows and semirings over up to five axes, of any dtype, through strides,
// transposes and broadcasts, with extents of zero and one.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "tenfold/ir/build.h"
#include "tenfold/ir/eval.h"
#include "tenfold/ir/reduce.h"

namespace tenfold::testing {

struct RandomContraction {
  Graph graph;
  Graph magnitude;   // the same of the sizes of the inputs, with nothing that cancels: what errors scale with
  double terms = 1;  // of each result
  bool exact = false;  // no rounding depends on an order: nothing is added
  std::string text;
};

class ContractionGenerator {
 public:
  explicit ContractionGenerator(uint64_t seed) : rng_(seed) {}

  RandomContraction make() {
    dtype_ = pick({Dtype::f32, Dtype::f32, Dtype::f32, Dtype::f64, Dtype::i32, Dtype::u8, Dtype::i64,
                   Dtype::boolean, Dtype::f16, Dtype::bf16, Dtype::complex64, Dtype::complex128});
    const std::string letters = std::string("abcde").substr(0, 1 + below(5));
    Operator op = random_operator();
    for (const char c : letters) extents_[c - 'a'] = extent();
    int64_t volume = 1;
    for (const char c : letters) {  // what the interpreter does in a moment
      int64_t& n = extents_[c - 'a'];
      if (volume * n > kVolume) n = std::max<int64_t>(1, kVolume / volume);
      volume *= std::max<int64_t>(1, n);
    }
    std::string a, b, out, summed;
    for (const char c : letters) {
      const size_t where = below(3);
      if (where != 1) a += c;
      if (where != 0) b += c;
      (chance(0.6) ? out : summed) += c;
    }
    for (std::string* s : {&a, &b, &out}) std::ranges::shuffle(*s, rng_);
    RandomContraction r;
    for (const char c : summed) r.terms *= static_cast<double>(extents_[c - 'a']);
    r.exact = !is_inexact(dtype_) || op.add == "max" || op.add == "min";
    r.text = fmt::format("{}({},{}->{}) of {}", op.multiply, a, b, out, name(dtype_));
    for (const char c : letters) r.text += fmt::format(" {}={}", c, extents_[c - 'a']);
    const int parts = op.multiply == "dual" ? 2 : 1;
    Nodes x, y;
    for (int k = 0; k < parts; ++k) x.push_back(operand(a)), y.push_back(operand(b));
    for (const bool size : {false, true}) {
      Graph& g = size ? r.magnitude : r.graph;
      g.parameters = parameters_;
      g.results = contracted(op, x, y, a, b, out, summed, size);
    }
    return r;
  }

 private:
  struct Operator {
    std::string multiply, add;
  };
  static constexpr int64_t kVolume = 20000;

  std::mt19937_64 rng_;
  Dtype dtype_ = Dtype::f32;
  int64_t extents_[5] = {};
  Nodes parameters_;

  size_t below(size_t n) { return rng_() % n; }
  bool chance(double p) { return std::uniform_real_distribution<double>(0, 1)(rng_) < p; }
  template <class T>
  T pick(std::initializer_list<T> list) {
    return *(list.begin() + below(list.size()));
  }
  int64_t extent() {
    return chance(0.03)  ? 0
           : chance(0.1) ? 1
                         : pick<int64_t>({2, 3, 4, 6, 7, 8, 16, 17, 24, 33, 64, 70, 130});
  }

  Operator random_operator() {
    if (chance(0.4)) return {"contract", "sum"};
    if (is_bool(dtype_)) return {"logical_and", pick<std::string>({"any", "all"})};
    if (is_complex(dtype_)) return {pick<std::string>({"mul", "add", "dual"}), "sum"};
    const std::string multiply = pick<std::string>({"mul", "add", "add", "distance", "dual", "minimum"});
    return {multiply, pick<std::string>({"sum", "sum", "max", "min", "min"})};
  }

  // A parameter seen under the letters' axes: transposed, sliced, backwards, repeated, or a window of it.
  NodeRef operand(const std::string& letters) {
    Shape shape;
    for (const char c : letters) shape.push_back(extents_[c - 'a']);
    Ints order(shape.size()), inverse(shape.size());
    for (size_t d = 0; d < order.size(); ++d) order[d] = static_cast<int64_t>(d);
    if (chance(0.4)) std::ranges::shuffle(order, rng_);
    Shape stored;
    for (size_t d = 0; d < order.size(); ++d)
      stored.push_back(shape[order[d]]), inverse[order[d]] = static_cast<int64_t>(d);
    const size_t rank = stored.size();
    const size_t axis = rank ? below(rank) : 0;
    const int64_t n = rank ? stored[axis].value() : 0;
    const size_t view = rank && n > 0 ? below(8) : 0;
    NodeRef x;
    if (view == 5) {  // every second element
      Shape wide = stored;
      wide[axis] = 2 * n + 1;
      Shape start(rank, 0), stop = wide;
      Ints step(rank, 1);
      start[axis] = 1, step[axis] = 2;
      x = build::slice(parameter(wide), start, stop, step);
    } else if (view == 6) {
      x = build::reverse(parameter(stored), {static_cast<int64_t>(axis)});
    } else if (view == 7) {
      Shape one = stored;
      one[axis] = 1;
      Ints axes(rank);
      for (size_t d = 0; d < rank; ++d) axes[d] = static_cast<int64_t>(d);
      x = build::broadcast(parameter(one), stored, axes);
    } else if (view == 4 && rank > 1 && axis + 1 < rank &&
               stored.back().value() > 0) {  // the last axis: taps
      const int64_t taps = stored.back().value(), stride = 1 + static_cast<int64_t>(below(2));
      Shape image(stored.begin(), stored.end() - 1);
      image[axis] = stride * (n - 1) + taps;
      x = build::window(parameter(image), {static_cast<int64_t>(axis)}, {taps}, {stride}, {1});
    } else {
      x = parameter(stored);
    }
    return build::transpose(x, inverse);
  }

  NodeRef parameter(const Shape& shape) {
    parameters_.push_back(build::parameter(static_cast<int64_t>(parameters_.size()), {dtype_, shape}));
    return parameters_.back();
  }

  Nodes contracted(const Operator& op, const Nodes& x, const Nodes& y, const std::string& a,
                   const std::string& b, const std::string& out, const std::string& summed, bool size) {
    if (op.multiply == "contract") return {build::contract(x[0], y[0], a + "," + b + "->" + out)};
    const std::string all = out + summed;
    Shape full;
    Ints axes;
    for (const char c : all) full.push_back(extents_[c - 'a']);
    for (size_t d = out.size(); d < all.size(); ++d) axes.push_back(static_cast<int64_t>(d));
    const auto spread = [&](const NodeRef& node, const std::string& own) {
      Ints order;
      Shape shape;
      for (const char c : all) {
        const auto at = own.find(c);
        shape.push_back(at == std::string::npos ? Dim(1) : node->shape()[at]);
        if (at != std::string::npos) order.push_back(static_cast<int64_t>(at));
      }
      return build::broadcast_to(build::reshape(build::transpose(node, order), shape), full);
    };
    Nodes u, v;
    for (const NodeRef& n : x) u.push_back(spread(n, a));
    for (const NodeRef& n : y) v.push_back(spread(n, b));
    const auto map = [](const char* name, const NodeRef& p, const NodeRef& q) {
      return build::map(name, {p, q});
    };
    Nodes products;
    if (op.multiply == "dual") {
      products = {map("mul", u[0], v[0]), map("add", map("mul", u[0], v[1]), map("mul", u[1], v[0]))};
    } else if (op.multiply == "distance") {
      const NodeRef d = map(size ? "add" : "sub", u[0], v[0]);
      products = {map("mul", d, d)};
    } else {
      products = {map(size && op.multiply == "minimum" ? "add" : op.multiply.c_str(), u[0], v[0])};
    }
    for (NodeRef& p : products)
      if (!axes.empty()) p = build::reduce(size && is_inexact(dtype_) ? "sum" : op.add, p, axes);
    return products;
  }
};

// Numbers of both signs; a few infinities and NaN among floats whose extremes are looked for.
inline std::vector<Array> contraction_inputs(const RandomContraction& r, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<double> real(-2, 2);
  std::vector<Array> all;
  for (const NodeRef& p : r.graph.parameters) {
    const Dtype d = p->dtype();
    all.emplace_back(d, const_shape(p->shape()));
    for (int64_t i = 0; i < all.back().size(); ++i) {
      double x = is_int(d) ? std::floor(real(rng) * 20) : real(rng);
      if (is_unsigned_int(d)) x = std::abs(x);
      if (is_float(d) && r.exact && rng() % 97 == 0) x = rng() % 3 ? INFINITY : rng() % 2 ? -INFINITY : NAN;
      if (is_bool(d))
        all.back().set(i, Scalar(x > 0));
      else if (is_complex(d))
        all.back().set(i, Scalar(Complex(x, real(rng))).round_to(d));
      else
        all.back().set(i, Scalar(x).round_to(d));
    }
  }
  return all;
}

inline int digits(Dtype d) {  // of a significand
  return d == Dtype::f16 ? 11 : d == Dtype::bf16 ? 8 : d == Dtype::f32 || d == Dtype::complex64 ? 24 : 53;
}

// "" where each element is as near to what the reference gives as a plain loop's would be: terms roundings of
// what the sizes of the terms add up to.
inline std::string contraction_error(const RandomContraction& r, std::span<const Array> inputs,
                                     const std::vector<Array>& got, const std::vector<Array>& want) {
  std::vector<Array> sizes(inputs.begin(), inputs.end());
  for (Array& a : sizes)
    for (int64_t i = 0; i < a.size(); ++i) {
      if (is_float(a.dtype)) a.set(i, Scalar(std::abs(a.at(i).f())));
      if (is_complex(a.dtype)) a.set(i, Scalar(Complex(std::abs(a.at(i).c()), 0)).round_to(a.dtype));
    }
  const std::vector<Array> magnitude = evaluate(r.magnitude, sizes);
  for (size_t k = 0; k < want.size(); ++k)
    for (int64_t i = 0; i < want[k].size(); ++i) {
      const Scalar x = got[k].at(i), y = want[k].at(i);
      bool near;
      if (!is_inexact(want[k].dtype)) {
        near = x == y;
      } else {
        const Complex p = x.c(), q = y.c();
        const auto ulp = std::ldexp(1.0, -digits(want[k].dtype));
        const double bound = (r.exact ? 0 : 2 * (r.terms + 4) * ulp * std::abs(magnitude[k].at(i).c()));
        const auto same = [&](double u, double v) {
          return (std::isnan(u) && std::isnan(v)) || u == v || std::abs(u - v) <= bound;
        };
        near = same(p.real(), q.real()) && same(p.imag(), q.imag());
      }
      if (!near) return fmt::format("element {} of result {} is {}, not {}", i, k, x.str(), y.str());
    }
  return {};
}

}  // namespace tenfold::testing
