// Evaluates a graph of maps over scalars at many points, fast enough for every f32: a tape of loops over
// chunks of points. Native arithmetic, so it is also a check of the interpreter's rounding.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tenfold/ir/build.h"
#include "tenfold/rewrite/simplify.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TENFOLD_FAST \
  __attribute__((optimize("O3"), target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TENFOLD_FAST
#endif

namespace tenfold::testing {

constexpr int kChunk = 1024;
using Kernel = void (*)(void*, const void*, const void*, const void*);

#define TENFOLD_KERNEL(name, R, A, B, C, expression)                                     \
  TENFOLD_FAST inline void name(void* to, const void* x, const void* y, const void* z) { \
    R* r = static_cast<R*>(to);                                                          \
    const A* a = static_cast<const A*>(x);                                               \
    const B* b = static_cast<const B*>(y);                                               \
    const C* c = static_cast<const C*>(z);                                               \
    for (int k = 0; k < kChunk; ++k) r[k] = static_cast<R>(expression);                  \
    (void)b, (void)c;                                                                    \
  }
#define TENFOLD_FLOAT_KERNELS(T, I, fma_function)                                    \
  TENFOLD_KERNEL(add_##T, T, T, T, T, a[k] + b[k])                                   \
  TENFOLD_KERNEL(sub_##T, T, T, T, T, a[k] - b[k])                                   \
  TENFOLD_KERNEL(mul_##T, T, T, T, T, a[k] * b[k])                                   \
  TENFOLD_KERNEL(div_##T, T, T, T, T, a[k] / b[k])                                   \
  TENFOLD_KERNEL(neg_##T, T, T, T, T, -a[k])                                         \
  TENFOLD_KERNEL(abs_##T, T, T, T, T, std::abs(a[k]))                                \
  TENFOLD_KERNEL(fma_##T, T, T, T, T, fma_function(a[k], b[k], c[k]))                \
  TENFOLD_KERNEL(minimum_##T, T, T, T, T, a[k] < b[k] || a[k] != a[k] ? a[k] : b[k]) \
  TENFOLD_KERNEL(maximum_##T, T, T, T, T, a[k] > b[k] || a[k] != a[k] ? a[k] : b[k]) \
  TENFOLD_KERNEL(sqrt_##T, T, T, T, T, std::sqrt(a[k]))                              \
  TENFOLD_KERNEL(round_##T, T, T, T, T, std::nearbyint(a[k]))                        \
  TENFOLD_KERNEL(trunc_##T, T, T, T, T, std::trunc(a[k]))                            \
  TENFOLD_KERNEL(floor_##T, T, T, T, T, std::floor(a[k]))                            \
  TENFOLD_KERNEL(to_bits_##T, I, T, T, T, std::bit_cast<I>(a[k]))                    \
  TENFOLD_KERNEL(of_bits_##T, T, I, I, I, std::bit_cast<T>(a[k]))                    \
  TENFOLD_KERNEL(of_int_##T, T, I, I, I, a[k])                                       \
  TENFOLD_KERNEL(to_int_##T, I, T, T, T, a[k] != a[k] ? T(0) : std::clamp<T>(a[k], -0x1p30, 0x1p30))
#define TENFOLD_ORDER_KERNELS(T)                                    \
  TENFOLD_KERNEL(less_##T, uint8_t, T, T, T, a[k] < b[k])           \
  TENFOLD_KERNEL(less_equal_##T, uint8_t, T, T, T, a[k] <= b[k])    \
  TENFOLD_KERNEL(greater_##T, uint8_t, T, T, T, a[k] > b[k])        \
  TENFOLD_KERNEL(greater_equal_##T, uint8_t, T, T, T, a[k] >= b[k]) \
  TENFOLD_KERNEL(equal_##T, uint8_t, T, T, T, a[k] == b[k])         \
  TENFOLD_KERNEL(not_equal_##T, uint8_t, T, T, T, a[k] != b[k])     \
  TENFOLD_KERNEL(select_##T, T, uint8_t, T, T, a[k] ? b[k] : c[k])
#define TENFOLD_INT_KERNELS(T, U)                                                  \
  TENFOLD_KERNEL(add_##T, T, U, U, U, a[k] + b[k])                                 \
  TENFOLD_KERNEL(sub_##T, T, U, U, U, a[k] - b[k])                                 \
  TENFOLD_KERNEL(bitwise_and_##T, T, U, U, U, a[k] & b[k])                         \
  TENFOLD_KERNEL(bitwise_or_##T, T, U, U, U, a[k] | b[k])                          \
  TENFOLD_KERNEL(bitwise_xor_##T, T, U, U, U, a[k] ^ b[k])                         \
  TENFOLD_KERNEL(shift_left_##T, T, U, U, U, a[k] << (b[k] & (8 * sizeof(T) - 1))) \
  TENFOLD_KERNEL(shift_right_##T, T, T, T, T, a[k] >> (b[k] & T(8 * sizeof(T) - 1)))
using f32_t = float;
using f64_t = double;
using i32_t = int32_t;
using i64_t = int64_t;
TENFOLD_FLOAT_KERNELS(f32_t, int32_t, __builtin_fmaf)
TENFOLD_FLOAT_KERNELS(f64_t, int64_t, __builtin_fma)
TENFOLD_ORDER_KERNELS(f32_t)
TENFOLD_ORDER_KERNELS(f64_t)
TENFOLD_ORDER_KERNELS(i32_t)
TENFOLD_ORDER_KERNELS(i64_t)
TENFOLD_INT_KERNELS(i32_t, uint32_t)
TENFOLD_INT_KERNELS(i64_t, uint64_t)
TENFOLD_KERNEL(and_bool, uint8_t, uint8_t, uint8_t, uint8_t, a[k] & b[k])
TENFOLD_KERNEL(or_bool, uint8_t, uint8_t, uint8_t, uint8_t, a[k] | b[k])
TENFOLD_KERNEL(not_bool, uint8_t, uint8_t, uint8_t, uint8_t, a[k] ^ 1)
TENFOLD_KERNEL(widen, double, float, float, float, a[k])
TENFOLD_KERNEL(narrow, float, double, double, double, a[k])
TENFOLD_KERNEL(f64_to_i32, int32_t, double, double, double,
               a[k] != a[k] ? 0.0 : std::clamp(a[k], -0x1p30, 0x1p30))

inline Kernel kernel_of(const Node& n) {
  static const auto table = [] {
    std::unordered_map<std::string, Kernel> t;
    // clang-format off: it never settles on these macros
#define ROW(name, T, text) t[#name " " text] = name##_##T;
#define FLOAT_ROWS(T, text) \
  ROW(add, T, text)         \
  ROW(sub, T, text)         \
  ROW(mul, T, text)         \
  ROW(div, T, text)         \
  ROW(neg, T, text)         \
  ROW(abs, T, text)         \
  ROW(fma, T, text)         \
  ROW(minimum, T, text)     \
  ROW(maximum, T, text) ROW(sqrt, T, text) ROW(round, T, text) ROW(trunc, T, text) ROW(floor, T, text)
#define ORDER_ROWS(T, text) \
  ROW(less, T, text)        \
  ROW(less_equal, T, text)  \
  ROW(greater, T, text)     \
  ROW(greater_equal, T, text) ROW(equal, T, text) ROW(not_equal, T, text) ROW(select, T, text)
#define INT_ROWS(T, text)   \
  ROW(add, T, text)         \
  ROW(sub, T, text)         \
  ROW(bitwise_and, T, text) \
  ROW(bitwise_or, T, text) ROW(bitwise_xor, T, text) ROW(shift_left, T, text) ROW(shift_right, T, text)
    FLOAT_ROWS(f32_t, "f32")
    FLOAT_ROWS(f64_t, "f64")
    ORDER_ROWS(f32_t, "f32")
    ORDER_ROWS(f64_t, "f64")
    ORDER_ROWS(i32_t, "i32")
    ORDER_ROWS(i64_t, "i64")
    INT_ROWS(i32_t, "i32")
    INT_ROWS(i64_t, "i64")
// clang-format on
#undef ROW
#undef FLOAT_ROWS
#undef ORDER_ROWS
#undef INT_ROWS
    t["logical_and bool"] = and_bool, t["logical_or bool"] = or_bool, t["logical_not bool"] = not_bool;
    t["convert f32 f64"] = widen, t["convert f64 f32"] = narrow, t["convert f64 i32"] = f64_to_i32;
    t["convert i32 f32"] = of_int_f32_t, t["convert i64 f64"] = of_int_f64_t;
    t["bitcast f32 i32"] = to_bits_f32_t, t["bitcast i32 f32"] = of_bits_f32_t;
    t["bitcast f64 i64"] = to_bits_f64_t, t["bitcast i64 f64"] = of_bits_f64_t;
    return t;
  }();
  const NodeRef& typed = n.prim->name == "select" ? n.inputs[1] : n.inputs[0];
  std::string key = fmt::format("{} {}", n.prim->name, name(typed->dtype()));
  if (!n.prim->attributes.empty()) key += fmt::format(" {}", name(n.dtype()));
  const auto found = table.find(key);
  TENFOLD_CHECK(found != table.end(), "scalar_graph.h has no kernel for {}", key);
  return found->second;
}

class ScalarGraph {
 public:
  explicit ScalarGraph(const Graph& g) {
    std::unordered_map<const Node*, int> slot;
    auto buffer = [&] {
      return buffers_.emplace_back(kChunk * 8 + 64), static_cast<int>(buffers_.size()) - 1;
    };
    for (const NodeRef& p : g.parameters) slot[p.get()] = buffer();
    for (const NodeRef& n : topological(g.results)) {
      if (slot.contains(n.get())) continue;
      const int to = slot[n.get()] = buffer();
      if (n->prim->has("constant")) {
        const int64_t width = size_of(n->dtype());
        for (int k = 0; k < kChunk; ++k) n->attrs.scalar("value").store(n->dtype(), at(to) + k * width);
        continue;
      }
      Step s{kernel_of(*n), to, {0, 0, 0}};
      for (size_t k = 0; k < n->inputs.size(); ++k) s.from[k] = slot.at(n->inputs[k].get());
      for (size_t k = n->inputs.size(); k < 3; ++k) s.from[k] = s.from[0];
      steps_.push_back(s);
      operations_ += n->prim->name != "bitcast";
    }
    result_ = slot.at(g.results[0].get());
  }

  template <class T>
  T* input(int k) {
    return reinterpret_cast<T*>(at(k));
  }  // kChunk values, to be filled
  template <class T>
  const T* run() {
    for (const Step& s : steps_) s.kernel(at(s.to), at(s.from[0]), at(s.from[1]), at(s.from[2]));
    return reinterpret_cast<const T*>(at(result_));
  }
  size_t operations() const { return operations_; }  // bitcasts are free

 private:
  struct Step {
    Kernel kernel;
    int to, from[3];
  };
  std::byte* at(int k) {  // aligned to a vector
    const auto address = reinterpret_cast<uintptr_t>(buffers_[k].data());
    return buffers_[k].data() + (64 - address % 64) % 64;
  }
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<Step> steps_;
  size_t operations_ = 0;
  int result_ = 0;
};

// A map record over scalars of one dtype, expanded to core operations.
inline Graph expanded(std::string_view op, Dtype d) {
  Graph g;
  for (int k = 0; k < prim(op).arity; ++k) g.parameters.push_back(build::parameter(k, {d, {}}));
  g.results = {build::map(op, g.parameters)};
  return expand(g);
}

// The distance in units of the last place of `exact` as a float of the given precision and lowest exponent.
inline double ulps(double got, double exact, int digits, int lowest) {
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : INFINITY;
  if (got == exact) return 0;
  if (std::isinf(got) || std::isinf(exact)) return INFINITY;
  const int e = exact == 0 ? lowest : std::max(std::ilogb(exact), lowest);
  return std::abs(got - exact) / std::ldexp(1.0, e - digits + 1);
}

}  // namespace tenfold::testing
