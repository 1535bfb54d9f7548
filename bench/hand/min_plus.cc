// The product of two matrices with min for the sum and + for the product: c[i,j] = min over k of a[i,k] +
// b[k,j].
#include <algorithm>
#include <vector>

#include "pool.h"
#include "vec.h"

#if TENFOLD_HAND_AVX512
namespace {

using hand::F;
using hand::kLanes;

constexpr int kRows = 4, kVectors = 4, kStrip = kVectors * kLanes;  // a tile: 16 accumulators

// acc = min(acc, x, y). Plain: vminps gives its second operand where either is NaN, so that a NaN of x may be
// lost. Else a NaN wins, as in NumPy's minimum: one in acc stays, for acc is second; one in x or y comes in
// with the bits of both.
template <bool kPlain>
F least(F acc, F x, F y) {
  const F least = _mm512_min_ps(_mm512_min_ps(x, y), acc);
  if (kPlain) return least;
  return _mm512_mask_or_ps(least, _mm512_cmp_ps_mask(x, y, _CMP_UNORD_Q), x, y);
}

template <bool kPlain>
void tile(const float* a, const float* packed, float* c, int64_t n, int64_t k) {
  F acc[kRows][kVectors];
  for (auto& row : acc)
    for (F& x : row) x = hand::all(__builtin_inff());
  for (int64_t m = 0; m < k; m += 2)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const F x = hand::load(packed + m * kStrip + v * kLanes),
              y = hand::load(packed + (m + 1) * kStrip + v * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i)
        acc[i][v] = least<kPlain>(acc[i][v], x + hand::all(a[i * k + m]), y + hand::all(a[i * k + m + 1]));
    }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) hand::store(c + i * n + v * kLanes, acc[i][v]);
}

template <bool kPlain>
void min_plus(const float* a, const float* b, float* c, int64_t rows, int64_t n, int64_t k, int threads) {
  hand::parallel(threads, [&](int thread, int) {
    std::vector<float> room(static_cast<size_t>(k * kStrip + kLanes));
    float* packed = room.data();
    packed += (64 - reinterpret_cast<uintptr_t>(packed) % 64) % 64 / sizeof(float);
    for (int64_t j = thread * kStrip; j < n; j += threads * kStrip) {
      for (int64_t m = 0; m < k; ++m) std::copy_n(b + m * n + j, kStrip, packed + m * kStrip);
      for (int64_t i = 0; i < rows; i += kRows) tile<kPlain>(a + i * k, packed, c + i * n + j, n, k);
    }
  });
}

}  // namespace

// a f32[rows,k], b f32[k,n], c f32[rows,n]; rows a multiple of 4, n of 64, k of 2. plain: a NaN may be lost.
extern "C" void hand_min_plus(const float* a, const float* b, float* c, int64_t rows, int64_t n, int64_t k,
                              int threads, int plain) {
  (plain ? min_plus<true> : min_plus<false>)(a, b, c, rows, n, k, threads);
}
#endif
