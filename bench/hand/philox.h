// Philox4x32-10 on 16 lanes, one key a lane, with the derivations of
// tenfold/ir/prims/random.cc (all of them stand here and in bench/reference.py,
// nowhere else):
//   bits(key)[j]    = word j % 4 of block(key, (j // 4, 0, 0, 0))
//   fold_in(key, n) = words 0, 1 of block(key, (n, 0, 0x1BD11BDA, 1))
//   split(key)[i]   = words 0, 1 of block(key, (i, 0, 0x1BD11BDA, 2))
//
// vpmuludq multiplies the low halves of 64-bit lanes, so a vector of 16 words
// is held as two: lane 2j in the low half of `even`, lane 2j+1 in the low half
// of `odd`; the high halves are rubbish that no operation reads. A round of 16
// lanes is then 4 multiplies, 4 shifts and 4 three-way xors, with round keys
// from memory.
#pragma once

#include "vec.h"

#if TENFOLD_HAND_AVX512
namespace hand {

inline constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
inline constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
inline constexpr uint32_t kDomain = 0x1BD11BDA, kFoldIn = 1;
inline constexpr int kRounds = 10;

struct Half {  // four words of a block for eight lanes
  I c0, c1, c2, c3;
};

inline I high(I product) { return _mm512_srli_epi64(product, 32); }

inline Half round(Half c, I k0, I k1) {
  const I p0 = _mm512_mul_epu32(c.c0, all_u32(kMultiplier0)),
          p1 = _mm512_mul_epu32(c.c2, all_u32(kMultiplier1));
  return {xor3(high(p1), c.c1, k0), p1, xor3(high(p0), c.c3, k1), p0};
}

inline I merge(I even, I odd) {  // the low halves of both, lane by lane
  return as_bits(_mm512_mask_moveldup_ps(as_float(even), 0xAAAA, as_float(odd)));
}

struct Words {
  I word[4];
};

inline Words merge(const Half& even, const Half& odd) {
  return {{merge(even.c0, odd.c0), merge(even.c1, odd.c1), merge(even.c2, odd.c2), merge(even.c3, odd.c3)}};
}

// The blocks of 16 fixed keys with the counters (n, 0, c2, c3), c2 and c3
// constants: what does not depend on n is computed once. The first round is one
// product of a number that all lanes share; c0 after it is fixed, and with it
// one product of the second round.
template <uint32_t C2, uint32_t C3>
class Stream {
 public:
  Stream(I k0, I k1) {
    constexpr uint64_t p1 = uint64_t{kMultiplier1} * C2;
    for (int half = 0; half < 2; ++half) {
      I a = half ? high(k0) : k0, b = half ? high(k1) : k1;
      const I c0 = a ^ all_u32(p1 >> 32);
      c2_[half] = b ^ all_u32(C3);
      a = _mm512_add_epi32(a, all_u32(kWeyl0)), b = _mm512_add_epi32(b, all_u32(kWeyl1));
      const I p0 = _mm512_mul_epu32(c0, all_u32(kMultiplier0));
      next_c0_[half] = a ^ all_u32(static_cast<uint32_t>(p1));
      next_c2_[half] = high(p0) ^ b;
      next_c3_[half] = p0;
      for (int r = 2; r < kRounds; ++r) {
        a = _mm512_add_epi32(a, all_u32(kWeyl0)), b = _mm512_add_epi32(b, all_u32(kWeyl1));
        keys_[r - 2][half][0] = a, keys_[r - 2][half][1] = b;
      }
    }
  }

  // Block n of V streams side by side: one alone is bound by latency.
  template <int V>
  [[gnu::always_inline]] static void blocks(const Stream* const (&of)[V], uint32_t n, Words (&out)[V]) {
    const uint64_t p0 = uint64_t{kMultiplier0} * n;
    const I low = all_u32(static_cast<uint32_t>(p0)), hi = all_u32(p0 >> 32);
    Half c[V][2];
    for (int v = 0; v < V; ++v)
      for (int half = 0; half < 2; ++half) {
        const I p1 = _mm512_mul_epu32(of[v]->c2_[half] ^ hi, all_u32(kMultiplier1));
        c[v][half] = {high(p1) ^ of[v]->next_c0_[half], p1, of[v]->next_c2_[half] ^ low,
                      of[v]->next_c3_[half]};
      }
    for (int r = 2; r < kRounds; ++r)
      for (int v = 0; v < V; ++v)
        for (int half = 0; half < 2; ++half)
          c[v][half] = round(c[v][half], of[v]->keys_[r - 2][half][0], of[v]->keys_[r - 2][half][1]);
    for (int v = 0; v < V; ++v) out[v] = merge(c[v][0], c[v][1]);
  }

 private:
  I c2_[2], next_c0_[2], next_c2_[2], next_c3_[2];
  I keys_[kRounds - 2][2][2];
};

using Bits = Stream<0, 0>;
using FoldIn = Stream<kDomain, kFoldIn>;

// The blocks with counter (n, 0, C2, C3) of V times 16 keys used once; the
// first round is folded by hand.
template <uint32_t C2, uint32_t C3, int V>
[[gnu::always_inline]] inline void blocks_once(const I (&k0)[V], const I (&k1)[V], uint32_t n,
                                               Words (&out)[V]) {
  constexpr uint64_t p1 = uint64_t{kMultiplier1} * C2;
  const uint64_t p0 = uint64_t{kMultiplier0} * n;
  Half c[V][2];
  I a[V][2], b[V][2];
  for (int v = 0; v < V; ++v)
    for (int half = 0; half < 2; ++half) {
      a[v][half] = half ? high(k0[v]) : k0[v], b[v][half] = half ? high(k1[v]) : k1[v];
      c[v][half] = {a[v][half] ^ all_u32(p1 >> 32), all_u32(static_cast<uint32_t>(p1)),
                    b[v][half] ^ all_u32(C3 ^ static_cast<uint32_t>(p0 >> 32)),
                    all_u32(static_cast<uint32_t>(p0))};
    }
  for (int r = 1; r < kRounds; ++r)
    for (int v = 0; v < V; ++v)
      for (int half = 0; half < 2; ++half) {
        a[v][half] = _mm512_add_epi32(a[v][half], all_u32(kWeyl0));
        b[v][half] = _mm512_add_epi32(b[v][half], all_u32(kWeyl1));
        c[v][half] = round(c[v][half], a[v][half], b[v][half]);
      }
  for (int v = 0; v < V; ++v) out[v] = merge(c[v][0], c[v][1]);
}

template <int V>
[[gnu::always_inline]] inline void first_blocks(const I (&k0)[V], const I (&k1)[V], Words (&out)[V]) {
  blocks_once<0, 0>(k0, k1, 0, out);
}
inline Words fold_in(I k0, I k1, uint32_t n) {  // words 0 and 1
  Words out[1];
  blocks_once<kDomain, kFoldIn, 1>({k0}, {k1}, n, out);
  return out[0];
}

// u32 words as f32 in [0, 1): the upper 24 bits.
inline F unit(I word) { return _mm512_cvtepi32_ps(_mm512_srli_epi32(word, 8)) * all(0x1p-24f); }

}  // namespace hand
#endif
