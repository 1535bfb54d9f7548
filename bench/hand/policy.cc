// CartPole with a 4-64-64-2 policy sampled inside the loop, by hand:
// environments lie across lanes, each weight is broadcast once for two vectors
// of environments, and 8 x 2 sums stay in registers.
#include <memory>
#include <vector>

#include "cartpole.h"
#include "pool.h"

extern "C" {

// Weights are [in, out], as in `x @ w + b`. Action 1 is taken where a uniform
// number of the action stream (word t of bits(fold_in(key, kActionUse)), upper
// 24 bits) is below the softmax of the logits at 1.
struct HandPolicy {
  const uint32_t* keys;  // [envs, 2]
  int64_t envs, steps;   // envs a multiple of 32
  int32_t threads, tanh;
  const float *w1, *b1;  // [4, 64], [64]
  const float *w2, *b2;  // [64, 64], [64]
  const float *w3, *b3;  // [64, 2], [2]
  float* returns;        // [envs]
  int32_t* episodes;     // [envs]
};
}

#if TENFOLD_HAND_AVX512
namespace hand {
namespace {

constexpr int kHidden = 64, kObs = 4, kActions = 2, kVectors = 2, kOutputs = 8;

struct Relu {
  F operator()(F x) const { return _mm512_max_ps(x, all(0)); }
};

// Eigen's rational approximation of degree 13 over 6: < 5 ulp, cheaper than
// what the product promises (2).
struct Tanh {
  F operator()(F x) const {
    constexpr float kBound = 7.90531110763549805f;  // tanh rounds to 1 beyond
    const F c = _mm512_max_ps(_mm512_min_ps(x, all(kBound)), all(-kBound)), z = c * c;
    F p = fma(z, all(-2.76076847742355e-16f), all(2.00018790482477e-13f));
    for (float a : {-8.60467152213735e-11f, 5.12229709037114e-08f, 1.48572235717979e-05f,
                    6.37261928875436e-04f, 4.89352455891786e-03f})
      p = fma(p, z, all(a));
    F q = fma(z, all(1.19825839466702e-06f), all(1.18534705686654e-04f));
    for (float a : {2.26843463243900e-03f, 4.89352518554385e-03f}) q = fma(q, z, all(a));
    return p * c / q;
  }
};

using Column = F[kVectors];

// out[o] += sum over k of w[k, o] in[k] for kOutputs columns from `o`.
template <int K>
inline void dense(const float* w, int width, int o, const Column* in, Column (&out)[kOutputs]) {
  for (int k = 0; k < K; ++k)
    for (int j = 0; j < kOutputs; ++j) {
      const F weight = all(w[k * width + o + j]);
      for (int v = 0; v < kVectors; ++v) out[j][v] = fma(weight, in[k][v], out[j][v]);
    }
}

inline void biases(const float* b, int o, Column (&out)[kOutputs]) {
  for (int j = 0; j < kOutputs; ++j)
    for (int v = 0; v < kVectors; ++v) out[j][v] = all(b[o + j]);
}

// logit[1] - logit[0] for each environment.
template <class Act>
inline void advantage(const HandPolicy& p, const Column (&obs)[kObs], Column& difference) {
  const Act act;
  Column hidden[kHidden], sums[kOutputs], logits[kActions];
  for (int o = 0; o < kHidden; o += kOutputs) {
    biases(p.b1, o, sums);
    dense<kObs>(p.w1, kHidden, o, obs, sums);
    for (int j = 0; j < kOutputs; ++j)
      for (int v = 0; v < kVectors; ++v) hidden[o + j][v] = act(sums[j][v]);
  }
  for (int a = 0; a < kActions; ++a)
    for (int v = 0; v < kVectors; ++v) logits[a][v] = all(p.b3[a]);
  for (int o = 0; o < kHidden; o += kOutputs) {
    biases(p.b2, o, sums);
    dense<kHidden>(p.w2, kHidden, o, hidden, sums);
    for (int j = 0; j < kOutputs; ++j)
      for (int v = 0; v < kVectors; ++v) {
        const F h = act(sums[j][v]);
        for (int a = 0; a < kActions; ++a)
          logits[a][v] = fma(h, all(p.w3[(o + j) * kActions + a]), logits[a][v]);
      }
  }
  for (int v = 0; v < kVectors; ++v) difference[v] = logits[1][v] - logits[0][v];
}

template <class Act>
void rollout(const HandPolicy& p, int64_t env) {
  std::vector<Keys> keys;
  Lanes s[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const auto [k0, k1] = load_keys(p.keys + 2 * (env + v * kLanes));
    s[v] = start(keys.emplace_back(k0, k1));
  }
  I words[4][kVectors];
  for (int64_t t = 0; t < p.steps; ++t) {
    if (t % 4 == 0) action_words(keys.data(), static_cast<uint32_t>(t / 4), words);
    Column obs[kObs], difference;
    for (int i = 0; i < kObs; ++i)
      for (int v = 0; v < kVectors; ++v) obs[i][v] = s[v][i];
    advantage<Act>(p, obs, difference);
    M done[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const F odds = all(1.0f) + exp(_mm512_max_ps(_mm512_min_ps(all(0) - difference[v], all(80)), all(-80)));
      const M right = _mm512_cmp_ps_mask(unit(words[t % 4][v]) * odds, all(1.0f), _CMP_LT_OQ);
      const Flags flags = step(s[v], _mm512_mask_mov_ps(all(-kForce / kMass), right, all(kForce / kMass)));
      done[v] = flags.terminated | flags.truncated;
    }
    reset_voted(s, done, keys.data(), static_cast<uint32_t>(t + 1));
  }
  for (int v = 0; v < kVectors; ++v) {
    store(p.returns + env + v * kLanes, s[v].returns);
    _mm512_storeu_si512(p.episodes + env + v * kLanes, s[v].episodes);
  }
}

}  // namespace
}  // namespace hand

extern "C" void hand_cartpole_policy(const HandPolicy* policy) {
  hand::parallel(policy->threads, [&](int part, int parts) {
    constexpr int64_t kGroup = hand::kVectors * hand::kLanes;
    const hand::Range envs = hand::piece(policy->envs, kGroup, part, parts);
    for (int64_t env = envs.begin; env < envs.end; env += kGroup)
      policy->tanh ? hand::rollout<hand::Tanh>(*policy, env) : hand::rollout<hand::Relu>(*policy, env);
  });
}

extern "C" void hand_tanh(const float* x, float* y,
                          int64_t n) {  // for the check of its error
  for (int64_t i = 0; i < n; i += hand::kLanes) hand::store(y + i, hand::Tanh{}(hand::load(x + i)));
}
extern "C" void hand_sincos(const float* x, float* sine, float* cosine, int64_t n) {
  for (int64_t i = 0; i < n; i += hand::kLanes) {
    const hand::F v = hand::load(x + i), z = v * v;
    hand::store(sine + i, hand::sin_short(v, z));
    hand::store(cosine + i, hand::cos_short(z));
  }
}
#endif
