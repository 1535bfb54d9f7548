// The few vector operations of the hand loops, on 16 lanes of f32 or u32 (AVX-512). `+ - * /` are the
// compiler's own.
#pragma once

#include <cstdint>

#include <immintrin.h>

#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__)
#define TENFOLD_HAND_AVX512 0
#else
#define TENFOLD_HAND_AVX512 1

namespace hand {

inline constexpr int kLanes = 16;
using F = __m512;     // 16 x f32
using I = __m512i;    // 16 x u32, or 8 x u64
using M = __mmask16;  // one bit a lane

inline F all(float x) { return _mm512_set1_ps(x); }
inline I all_u32(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }    // a * b + c
inline F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
inline F as_float(I x) { return _mm512_castsi512_ps(x); }
inline I as_bits(F x) { return _mm512_castps_si512(x); }
inline I xor3(I a, I b, I c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
inline M outside(F x, float bound) {  // |x| > bound
  return _mm512_cmp_ps_mask(_mm512_abs_ps(x), all(bound), _CMP_GT_OQ);
}

// exp(x) for |x| < 87: 2^n p(r), r = x - n ln 2, Cephes' polynomial; <= 1.1 ulp.
inline F exp(F x) {
  const F n = _mm512_roundscale_ps(x * all(1.44269504f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const F r = fnma(n, all(-2.12194440e-4f), fnma(n, all(0.693359375f), x));
  F p = fma(all(1.9875691500e-4f), r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  return _mm512_scalef_ps(fma(p, r * r, r + all(1.0f)), n);
}

inline float sum(F x) { return _mm512_reduce_add_ps(x); }
inline float max(F x) { return _mm512_reduce_max_ps(x); }

}  // namespace hand
#endif
