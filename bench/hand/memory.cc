// Memory-bound loops by hand: each input is read once and each output written once, on spinning threads.
// `streaming` stores go around the caches: better where the arrays do not fit them. Sizes are multiples of 16
// elements, arrays are aligned to 64 bytes.
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "pool.h"
#include "vec.h"

#if TENFOLD_HAND_AVX512
namespace hand {
namespace {

constexpr int64_t kMaxCols = 4096;  // a row kept in L1 between the passes over it
constexpr float kEpsilon = 1e-5f;   // of LayerNorm

template <bool Streaming>
inline void put(float* p, F x) {
  if constexpr (Streaming)
    _mm512_stream_ps(p, x);
  else
    _mm512_store_ps(p, x);
}

// Calls f(std::bool_constant, range) on the parts of 0..n.
template <class F>
void split(int64_t n, int64_t grain, int threads, bool streaming, F&& f) {
  parallel(threads, [&](int part, int parts) {
    const Range range = piece(n, grain, part, parts);
    if (streaming)
      f(std::bool_constant<true>(), range);
    else
      f(std::bool_constant<false>(), range);
    _mm_sfence();
  });
}

// fold(f, x): four running values combined at the end, so that latency does not bound the loop.
template <class Join, class Value>
inline F fold(int64_t n, F initial, Join join, Value value) {
  F a = initial, b = initial, c = initial, d = initial;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = join(a, value(i)), b = join(b, value(i + kLanes));
    c = join(c, value(i + 2 * kLanes)), d = join(d, value(i + 3 * kLanes));
  }
  for (; i < n; i += kLanes) a = join(a, value(i));
  return join(join(a, b), join(c, d));
}

inline F plus(F a, F b) { return a + b; }

template <bool Streaming>
void softmax_row(const float* x, float* y, int64_t cols) {
  alignas(64) float e[kMaxCols];
  const F most = all(max(fold(
      cols, all(-__builtin_inff()), [](F a, F b) { return _mm512_max_ps(a, b); },
      [&](int64_t i) { return load(x + i); })));
  const F total = fold(cols, all(0), plus, [&](int64_t i) {
    const F v = exp(_mm512_max_ps(load(x + i) - most, all(-87)));
    store(e + i, v);
    return v;
  });
  const F scale = all(1 / sum(total));
  for (int64_t i = 0; i < cols; i += kLanes) put<Streaming>(y + i, load(e + i) * scale);
}

template <bool Streaming>
void layer_norm_row(const float* x, const float* gain, const float* bias, float* y, int64_t cols) {
  const F mean =
      all(sum(fold(cols, all(0), plus, [&](int64_t i) { return load(x + i); })) / static_cast<float>(cols));
  const F square = fold(cols, all(0), plus, [&](int64_t i) {
    const F d = load(x + i) - mean;
    return d * d;
  });
  const F scale = all(1 / __builtin_sqrtf(sum(square) / static_cast<float>(cols) + kEpsilon));
  for (int64_t i = 0; i < cols; i += kLanes)
    put<Streaming>(y + i, fma((load(x + i) - mean) * scale, load(gain + i), load(bias + i)));
}

// x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2)
inline F mish(F x) {
  const F e = exp(_mm512_max_ps(_mm512_min_ps(x, all(20)), all(-87))), n = e * (e + all(2));
  return x * (n / (n + all(2)));
}

}  // namespace
}  // namespace hand

using hand::all;
using hand::F;
using hand::kLanes;
using hand::load;
using hand::Range;

extern "C" {

int hand_softmax(const float* x, float* y, int64_t rows, int64_t cols, int threads, int streaming) {
  if (cols > hand::kMaxCols) return 1;
  hand::split(rows, 1, threads, streaming, [&](auto kind, Range r) {
    for (int64_t i = r.begin; i < r.end; ++i) hand::softmax_row<kind.value>(x + i * cols, y + i * cols, cols);
  });
  return 0;
}

void hand_layer_norm(const float* x, const float* gain, const float* bias, float* y, int64_t rows,
                     int64_t cols, int threads, int streaming) {
  hand::split(rows, 1, threads, streaming, [&](auto kind, Range r) {
    for (int64_t i = r.begin; i < r.end; ++i)
      hand::layer_norm_row<kind.value>(x + i * cols, gain, bias, y + i * cols, cols);
  });
}

void hand_mish(const float* x, float* y, int64_t n, int threads, int streaming) {
  hand::split(n, kLanes, threads, streaming, [&](auto kind, Range r) {
    for (int64_t i = r.begin; i < r.end; i += kLanes) hand::put<kind.value>(y + i, hand::mish(load(x + i)));
  });
}

// One step in place of p, m, v; scale = 1 / (1 - beta^t) for both moments.
void hand_adam(float* p, const float* g, float* m, float* v, int64_t n, float rate, float beta1, float beta2,
               float epsilon, float scale1, float scale2, int threads) {
  hand::split(n, kLanes, threads, false, [&](auto, Range r) {
    for (int64_t i = r.begin; i < r.end; i += kLanes) {
      const F d = load(g + i);
      const F first = hand::fma(all(beta1), load(m + i), all(1 - beta1) * d);
      const F second = hand::fma(all(beta2), load(v + i), all(1 - beta2) * d * d);
      hand::store(m + i, first);
      hand::store(v + i, second);
      const F root = _mm512_sqrt_ps(second * all(scale2)) + all(epsilon);
      hand::store(p + i, load(p + i) - all(rate * scale1) * first / root);
    }
  });
}

void hand_copy(const float* x, float* y, int64_t n, int threads, int streaming) {
  hand::split(n, kLanes, threads, streaming, [&](auto kind, Range r) {
    for (int64_t i = r.begin; i < r.end; i += kLanes) hand::put<kind.value>(y + i, load(x + i));
  });
}

// The sum of x, four vectors at a time: what reading alone can do.
void hand_sum(const float* x, float* y, int64_t n, int threads) {
  hand::split(n, 4 * kLanes, threads, false, [&](auto, Range r) {
    F sums[4] = {all(0), all(0), all(0), all(0)};
    for (int64_t i = r.begin; i < r.end; i += 4 * kLanes)
      for (int k = 0; k < 4; ++k) sums[k] += load(x + i + k * kLanes);
    hand::store(y + (r.begin ? kLanes : 0), sums[0] + sums[1] + sums[2] + sums[3]);
  });
}

// memset of bytes: the C library's, or streaming stores.
void hand_memset(char* p, int64_t bytes, int threads, int streaming) {
  hand::split(bytes, 64, threads, streaming, [&](auto kind, Range r) {
    if constexpr (!kind.value)
      std::memset(p + r.begin, 1, r.end - r.begin);
    else
      for (int64_t i = r.begin; i < r.end; i += 64) _mm512_stream_ps(reinterpret_cast<float*>(p + i), all(1));
  });
}
}
#endif
