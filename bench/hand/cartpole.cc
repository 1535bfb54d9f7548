// Rollouts of CartPole by hand: returns only, every field to memory, and a
// random policy in both. Called by ctypes.
#include "cartpole.h"

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "pool.h"

extern "C" {

// Everything that a rollout of `envs` x `steps` writes. Null fields of a step
// are not emitted: all five or none.
struct HandRollout {
  const uint32_t* keys;  // [envs, 2]
  int64_t envs, steps;   // envs a multiple of 128
  int32_t threads;
  int32_t packed;     // resets of eight vectors together, returns only
  int32_t streaming;  // stores around the caches
  int32_t unused;
  float* returns;       // [envs] sum of rewards
  int32_t* episodes;    // [envs] finished
  float* obs;           // [steps, envs, 4] what the policy saw
  int32_t* action;      // [steps, envs]
  float* reward;        // [steps, envs]
  uint8_t* terminated;  // [steps, envs]
  uint8_t* truncated;   // [steps, envs]
};

int hand_available() { return TENFOLD_HAND_AVX512; }
}

#if TENFOLD_HAND_AVX512
namespace hand {
namespace {

// Vectors of one group: four overlap enough, and their flags fill a cache line;
// with packed resets eight have about six lanes done at every step, so that one
// pair of blocks serves them all and the branch is always taken.
constexpr int kVectors = 4, kPackedVectors = 8;
constexpr int64_t kEmitSteps = 4;  // rows of the outputs that are open at a time

struct Folded {
  template <int V>
  void before(const Lanes (&)[V], int64_t, int64_t) {}
  template <int V>
  void after(const I (&)[V], const Flags (&)[V], int64_t, int64_t) {}
};

template <bool Streaming>
struct Emitted {
  const HandRollout& to;

  template <class T>
  static void put(T* p, I value) {
    if constexpr (Streaming)
      _mm512_stream_si512(reinterpret_cast<I*>(p), value);
    else
      _mm512_storeu_si512(p, value);
  }

  // x, v, theta, omega of 16 lanes as 16 rows of four.
  static void put_rows(float* p, const Lanes& s) {
    const F a = _mm512_unpacklo_ps(s.x, s.v), b = _mm512_unpackhi_ps(s.x, s.v);
    const F c = _mm512_unpacklo_ps(s.theta, s.omega), d = _mm512_unpackhi_ps(s.theta, s.omega);
    const auto pair = [](F lo, F hi, bool upper) {
      const __m512d l = _mm512_castps_pd(lo), h = _mm512_castps_pd(hi);
      return _mm512_castpd_ps(upper ? _mm512_unpackhi_pd(l, h) : _mm512_unpacklo_pd(l, h));
    };
    // r[i] holds rows i, 4+i, 8+i, 12+i; transpose the 4x4 of 128-bit parts.
    const F r0 = pair(a, c, false), r1 = pair(a, c, true), r2 = pair(b, d, false), r3 = pair(b, d, true);
    const F e = _mm512_shuffle_f32x4(r0, r1, 0x44), f = _mm512_shuffle_f32x4(r2, r3, 0x44);
    const F g = _mm512_shuffle_f32x4(r0, r1, 0xEE), h = _mm512_shuffle_f32x4(r2, r3, 0xEE);
    put(p, as_bits(_mm512_shuffle_f32x4(e, f, 0x88)));
    put(p + 16, as_bits(_mm512_shuffle_f32x4(e, f, 0xDD)));
    put(p + 32, as_bits(_mm512_shuffle_f32x4(g, h, 0x88)));
    put(p + 48, as_bits(_mm512_shuffle_f32x4(g, h, 0xDD)));
  }

  template <int V>
  void before(const Lanes (&s)[V], int64_t t, int64_t env) {
    for (int v = 0; v < V; ++v) put_rows(to.obs + (t * to.envs + env + v * kLanes) * 4, s[v]);
  }
  template <int V>
  void after(const I (&word)[V], const Flags (&flags)[V], int64_t t, int64_t env) {
    const int64_t at = t * to.envs + env;
    uint64_t terminated = 0, truncated = 0;
    for (int v = 0; v < V; ++v) {
      put(to.action + at + v * kLanes, _mm512_srli_epi32(word[v], 31));
      put(to.reward + at + v * kLanes, as_bits(all(1.0f)));
      terminated |= uint64_t{flags[v].terminated} << (v * kLanes);
      truncated |= uint64_t{flags[v].truncated} << (v * kLanes);
    }
    static_assert(V * kLanes == 64, "flags fill a vector of bytes");
    put(to.terminated + at, _mm512_maskz_set1_epi8(terminated, 1));
    put(to.truncated + at, _mm512_maskz_set1_epi8(truncated, 1));
  }
};

// Steps begin..end of V vectors of environments from number `env`; begin is a
// multiple of 4.
template <int V, bool Packed, class Sink>
void advance(Lanes (&s)[V], const Keys* keys, int64_t begin, int64_t end, int64_t env, Sink sink) {
  for (int64_t block = begin / 4; block * 4 < end; ++block) {
    I words[4][V];
    action_words(keys, static_cast<uint32_t>(block), words);
    const int64_t stop = std::min(end, block * 4 + 4);
    for (int64_t t = block * 4; t < stop; ++t) {
      const I(&word)[V] = words[t % 4];
      Flags flags[V];
      sink.before(s, t, env);
      for (int v = 0; v < V; ++v) flags[v] = step(s[v], force_of(word[v]));
      sink.after(word, flags, t, env);
      M done[V], any = 0;
      for (int v = 0; v < V; ++v) any |= done[v] = flags[v].terminated | flags[v].truncated;
      if constexpr (Packed) {
        if (any) reset_packed(s, done, keys, static_cast<uint32_t>(t + 1));
      } else {
        reset_voted(s, done, keys, static_cast<uint32_t>(t + 1));
      }
    }
  }
}

// All steps of a part's environments, `chunk` steps of every group at a time.
template <int V, bool Packed, class Sink>
void rollout(const HandRollout& r, Range envs, int64_t chunk, Sink sink) {
  constexpr int64_t kGroup = V * kLanes;
  const int64_t groups = (envs.end - envs.begin) / kGroup;
  std::vector<Keys> keys;
  keys.reserve(groups * V);
  const auto states = std::make_unique<Lanes[][V]>(groups);
  for (int64_t g = 0; g < groups; ++g)
    for (int v = 0; v < V; ++v) {
      const auto [k0, k1] = load_keys(r.keys + 2 * (envs.begin + g * kGroup + v * kLanes));
      states[g][v] = start(keys.emplace_back(k0, k1));
    }
  for (int64_t t = 0; t < r.steps; t += chunk)
    for (int64_t g = 0; g < groups; ++g) {
      Lanes s[V];
      for (int v = 0; v < V; ++v) s[v] = states[g][v];
      advance<V, Packed>(s, &keys[g * V], t, std::min(t + chunk, r.steps), envs.begin + g * kGroup, sink);
      for (int v = 0; v < V; ++v) states[g][v] = s[v];
    }
  for (int64_t g = 0; g < groups; ++g)
    for (int v = 0; v < V; ++v) {
      const int64_t env = envs.begin + g * kGroup + v * kLanes;
      store(r.returns + env, states[g][v].returns);
      _mm512_storeu_si512(r.episodes + env, states[g][v].episodes);
    }
  _mm_sfence();
}

}  // namespace
}  // namespace hand

extern "C" void hand_cartpole(const HandRollout* rollout) {
  const HandRollout& r = *rollout;
  hand::parallel(r.threads, [&](int part, int parts) {
    const hand::Range envs = hand::piece(r.envs, hand::kPackedVectors * hand::kLanes, part, parts);
    if (r.packed && !r.obs)
      hand::rollout<hand::kPackedVectors, true>(r, envs, r.steps, hand::Folded{});
    else if (!r.obs)
      hand::rollout<hand::kVectors, false>(r, envs, r.steps, hand::Folded{});
    else if (r.streaming)
      hand::rollout<hand::kVectors, false>(r, envs, hand::kEmitSteps, hand::Emitted<true>{r});
    else
      hand::rollout<hand::kVectors, false>(r, envs, hand::kEmitSteps, hand::Emitted<false>{r});
  });
}
#endif
