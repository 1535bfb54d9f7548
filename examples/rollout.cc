// CartPole with a policy of two hidden layers, thousands of environments, one launch: a user's project, see
// CMakeLists.txt beside this file.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include <tenfold/tenfold.h>

namespace tn = tenfold::lang;
namespace env = tenfold::env;
using tn::Tensor;
using tn::operator+;
using tn::operator-;
using tn::operator/;
using tn::operator<;

namespace {

struct Layer {
  Tensor weights, bias;
};

Layer layer(int64_t in, int64_t out, std::mt19937& generator) {
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(in)));
  std::vector<float> w(static_cast<size_t>(in * out)), b(static_cast<size_t>(out));
  for (float& x : w) x = normal(generator);
  return {tn::tensor(w, tenfold::Ints{in, out}), tn::tensor(b)};
}

// Acts for ONE environment: `obs` is f32[4]. Action 1 with the probability that a softmax of two scores gives
// it.
env::Policy make_policy(const std::vector<Layer>& layers) {
  return [layers](const tn::Tensors& obs, const tn::Tensors& carry, const Tensor& key, const Tensor& t) {
    Tensor x = obs[0];
    for (size_t i = 0; i < layers.size(); ++i) {
      x = tn::matmul(x, layers[i].weights) + layers[i].bias;
      if (i + 1 < layers.size()) x = tn::tanh(x);
    }
    const Tensor right = 1.0 / (1.0 + tn::exp(tn::index(x, {0}) - tn::index(x, {1})));
    const Tensor action = tn::astype(tn::random::uniform(key, {}, 0.0, 1.0, t) < right, tenfold::Dtype::i32);
    return env::Decision{{action}, {{"right", {right}}}, carry};
  };
}

double seconds_of(const auto& run) {
  const auto begun = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

}  // namespace

int main() try {
  constexpr int64_t kEnvs = 4096, kSteps = 1000;
  std::mt19937 generator(3);
  const env::Policy policy =
      make_policy({layer(4, 64, generator), layer(64, 64, generator), layer(64, 2, generator)});
  const Tensor key = tn::random::key(7);

  for (const bool at_random : {true, false}) {
    const env::Rollout run(env::make("CartPole-v1"), at_random ? env::Policy() : policy,
                           {.num_envs = kEnvs, .steps = kSteps});
    const auto explanation = tenfold::compile::explain(run.compiled(key)->executable());
    env::Trajectory out;
    double best = 1e9;
    for (int i = 0; i < 3; ++i) best = std::min(best, seconds_of([&] { out = run(key); }));
    double episodes = 0;
    for (int32_t n : out.episodes.to_vector<int32_t>()) episodes += n;
    std::printf("%-7s %lld launch, %.1f KB moved, %.1f million steps/s, %.1f steps an episode\n",
                at_random ? "random" : "mlp", static_cast<long long>(explanation.launches),
                (explanation.bytes_read + explanation.bytes_written) / 1e3, kEnvs * kSteps / best / 1e6,
                kEnvs * kSteps / std::max(1.0, episodes));
    if (explanation.launches != 1) return EXIT_FAILURE;
  }

  // The same trajectory in two parts: what is random depends on the number of the step alone.
  const env::EnvironmentRef cartpole = env::make("CartPole-v1");
  const env::Rollout whole(cartpole, policy, {.num_envs = 64, .steps = 100, .emit = {"obs", "right"}});
  const env::Rollout half(cartpole, policy, {.num_envs = 64, .steps = 50, .emit = {"obs", "right"}});
  const env::Trajectory all = whole(key), first = half(key);
  const env::Trajectory second = half(key, {.state = first.state, .carry = {}, .start = 50});
  const auto a = all["obs"].to_vector<float>(), b = second["obs"].to_vector<float>();
  const bool same = std::equal(b.begin(), b.end(), a.begin() + static_cast<std::ptrdiff_t>(b.size()));
  std::printf("in two parts: %s\n", same ? "the same bits" : "DIFFERENT");
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const tenfold::UserError& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return EXIT_FAILURE;
}
