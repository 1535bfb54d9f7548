// CartPole-v1 of gymnasium for 16 environments a vector: f32, Euler, time limit
// 500, autoreset in the same step.
#pragma once

#include <algorithm>

#include "philox.h"

#if TENFOLD_HAND_AVX512
namespace hand {

// Doubles, as in tenfold/env/cartpole.cc: rounded to f32 where they are used, both give the same bits.
inline constexpr double kGravity = 9.8, kMassCart = 1.0, kMassPole = 0.1, kLength = 0.5, kForce = 10.0,
                        kTau = 0.02;
inline constexpr double kMass = kMassCart + kMassPole, kPoleMassLength = kMassPole * kLength;
inline constexpr double kThetaLimit = 12 * 2 * 3.14159265358979323846 / 360, kXLimit = 2.4,
                        kResetBound = 0.05;
inline constexpr uint32_t kTimeLimit = 500;

// What a rollout derives from the key of environment i (tenfold/env decides;
// the one place to change): action of step t = word t of bits(fold_in(key,
// kActionUse)) >> 31; state at the start and after a done step t = four
// uniforms in [-0.05, 0.05) of fold_in(fold_in(key, kResetUse), t + 1), the
// start being t = -1.
inline constexpr uint32_t kActionUse = 0, kResetUse = 1;

struct Keys {
  I reset0, reset1;
  Bits actions;
  FoldIn resets;

  Keys(I k0, I k1) : Keys(fold_in(k0, k1, kActionUse), fold_in(k0, k1, kResetUse)) {}

 private:
  Keys(const Words& action, const Words& reset)
      : reset0(reset.word[0]),
        reset1(reset.word[1]),
        actions(action.word[0], action.word[1]),
        resets(reset0, reset1) {}
};

// Words 4 block .. 4 block + 3 of the actions of V vectors, words[j][v].
template <int V>
inline void action_words(const Keys* keys, uint32_t block, I (&words)[4][V]) {
  static_assert(V % 2 == 0);
  for (int v = 0; v < V; v += 2) {
    Words w[2];
    const Bits* const pair[] = {&keys[v].actions, &keys[v + 1].actions};
    Bits::blocks(pair, block, w);
    for (int j = 0; j < 4; ++j) words[j][v] = w[0].word[j], words[j][v + 1] = w[1].word[j];
  }
}

struct Lanes {
  F x, v, theta, omega;
  I elapsed;   // steps of this episode
  F returns;   // rewards of all steps
  I episodes;  // finished

  F& operator[](int i) { return i == 0 ? x : i == 1 ? v : i == 2 ? theta : omega; }
};

struct Flags {
  M terminated, truncated;
};

// sin and cos of |x| < pi/4: <= 1 ulp (bench/reference.py checks every 100th float of |x| < 0.5). The
// polynomials are those of tenfold/ir/prims/numeric.cc, so that both give the same bits.
inline F sin_short(F x, F z) {  // z = x^2
  const F p = fma(fma(all(-0x1.9953f6p-13f), z, all(0x1.110778p-7f)), z, all(-0x1.555546p-3f));
  return fma(x * z, p, x);
}
inline F cos_short(F z) {
  const F p = fma(fma(all(0x1.99e0fcp-16f), z, all(-0x1.6c0c1ap-10f)), z, all(0x1.55554ap-5f));
  return fma(fma(p, z, all(-0.5f)), z, all(1.0f));
}

// The force of an action word: its top bit set means action 1, to the right.
inline F force_of(I word) {
  // (~word & sign) | force = force with the sign flipped where the top bit is 0
  return as_float(_mm512_ternarylogic_epi32(word, all_u32(0x80000000), as_bits(all(kForce / kMass)), 0xAE));
}

// One step.
inline Flags step(Lanes& s, F force) {
  const F z = s.theta * s.theta, sine = sin_short(s.theta, z), cosine = cos_short(z);
  const F temp = fma(s.omega * s.omega * sine, all(kPoleMassLength / kMass), force);
  const F alpha = fnma(cosine, temp, sine * all(kGravity)) /
                  fnma(cosine * cosine, all(kLength * kMassPole / kMass), all(kLength * 4 / 3));
  const F accel = fnma(alpha * cosine, all(kPoleMassLength / kMass), temp);
  s.x = fma(all(kTau), s.v, s.x);
  s.v = fma(all(kTau), accel, s.v);
  s.theta = fma(all(kTau), s.omega, s.theta);
  s.omega = fma(all(kTau), alpha, s.omega);
  s.elapsed = _mm512_add_epi32(s.elapsed, all_u32(1));
  s.returns = s.returns + all(1.0f);
  return {static_cast<M>(outside(s.x, kXLimit) | outside(s.theta, kThetaLimit)),
          _mm512_cmpge_epu32_mask(s.elapsed, all_u32(kTimeLimit))};
}

// New states for the lanes of `done`, `fresh` packed at the front or lane by
// lane.
template <bool Packed>
inline void put_fresh(Lanes& s, M done, const F (&fresh)[4]) {
  for (int i = 0; i < 4; ++i)
    s[i] = Packed ? _mm512_mask_expand_ps(s[i], done, fresh[i]) : _mm512_mask_mov_ps(s[i], done, fresh[i]);
  s.elapsed = _mm512_mask_mov_epi32(s.elapsed, done, _mm512_setzero_si512());
  s.episodes = _mm512_mask_add_epi32(s.episodes, done, s.episodes, all_u32(1));
}

inline F fresh_of(I word) {
  return fma(_mm512_cvtepi32_ps(_mm512_srli_epi32(word, 8)), all(2 * kResetBound * 0x1p-24f),
             all(-kResetBound));
}

// Two blocks for the 16 lanes of each of V vectors; `n` counts the steps begun,
// 0 at the start.
template <int V>
[[gnu::always_inline]] inline void reset(Lanes* const (&s)[V], const M (&done)[V],
                                         const Keys* const (&keys)[V], uint32_t n) {
  Words key[V], draw[V];
  const FoldIn* streams[V];
  for (int v = 0; v < V; ++v) streams[v] = &keys[v]->resets;
  FoldIn::blocks(streams, n, key);
  I k0[V], k1[V];
  for (int v = 0; v < V; ++v) k0[v] = key[v].word[0], k1[v] = key[v].word[1];
  first_blocks(k0, k1, draw);
  for (int v = 0; v < V; ++v) {
    const I(&w)[4] = draw[v].word;
    put_fresh<false>(*s[v], done[v], {fresh_of(w[0]), fresh_of(w[1]), fresh_of(w[2]), fresh_of(w[3])});
  }
}

// Resets the vectors that have done lanes, two at a time.
template <int V>
inline void reset_voted(Lanes (&s)[V], const M (&done)[V], const Keys* keys, uint32_t n) {
  unsigned left = 0;
  for (int v = 0; v < V; ++v) left |= unsigned{done[v] != 0} << v;
  while (left) {
    const int a = __builtin_ctz(left);
    left &= left - 1;
    if (!left) return reset<1>({&s[a]}, {done[a]}, {&keys[a]}, n);
    const int b = __builtin_ctz(left);
    left &= left - 1;
    reset<2>({&s[a], &s[b]}, {done[a], done[b]}, {&keys[a], &keys[b]}, n);
  }
}

// The same for V vectors: the keys of all done lanes are packed, so that two
// blocks serve 16 of them.
template <int V>
inline void reset_packed(Lanes (&s)[V], const M (&done)[V], const Keys* keys, uint32_t n) {
  alignas(64) uint32_t packed[2][(V + 1) * kLanes];
  alignas(64) float fresh[4][(V + 1) * kLanes];
  int at[V + 1] = {0};
  for (int v = 0; v < V; ++v) {
    _mm512_storeu_si512(packed[0] + at[v], _mm512_maskz_compress_epi32(done[v], keys[v].reset0));
    _mm512_storeu_si512(packed[1] + at[v], _mm512_maskz_compress_epi32(done[v], keys[v].reset1));
    at[v + 1] = at[v] + __builtin_popcount(done[v]);
  }
  for (int base = 0; base < at[V]; base += kLanes) {
    const Words key = fold_in(_mm512_load_si512(packed[0] + base), _mm512_load_si512(packed[1] + base), n);
    Words draw[1];
    first_blocks<1>({key.word[0]}, {key.word[1]}, draw);
    for (int i = 0; i < 4; ++i) store(fresh[i] + base, fresh_of(draw[0].word[i]));
  }
  for (int v = 0; v < V; ++v)
    put_fresh<true>(
        s[v], done[v],
        {load(fresh[0] + at[v]), load(fresh[1] + at[v]), load(fresh[2] + at[v]), load(fresh[3] + at[v])});
}

inline Lanes start(const Keys& keys) {
  const F zero = all(0);
  Lanes s{zero, zero, zero, zero, _mm512_setzero_si512(), zero, _mm512_setzero_si512()};
  reset<1>({&s}, {0xFFFF}, {&keys}, 0);
  s.episodes = _mm512_setzero_si512();
  return s;
}

struct KeyPair {
  I k0, k1;
};

// Sixteen keys u32[16,2] as two vectors.
inline KeyPair load_keys(const uint32_t* keys) {
  const I a = _mm512_loadu_si512(keys), b = _mm512_loadu_si512(keys + kLanes);
  const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return {_mm512_permutex2var_epi32(a, even, b),
          _mm512_permutex2var_epi32(a, _mm512_or_si512(even, all_u32(1)), b)};
}

}  // namespace hand
#endif
