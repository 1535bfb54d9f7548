#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/compile/explain.h"
#include "tenfold/env/rollout.h"
#include "tenfold/generated/ops.h"
#include "tenfold/lang/random.h"

#include "error_of.h"

namespace tn = tenfold::lang;
namespace env = tenfold::env;
using tenfold::Dtype;
using tenfold::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using tn::operator+;
using tn::operator-;
using tn::operator*;
using tn::operator>;
using tn::operator%;

namespace {

const std::vector<std::string> kFields{"obs", "action", "reward", "terminated", "truncated"};

// Goes one to the right a step and ends beyond a limit.
class Walk : public env::Environment {
 public:
  const std::string& name() const override {
    static const std::string id = "Walk";
    return id;
  }
  tn::Tensors reset(const tn::Tensor&) const override { return {tn::zeros({}, Dtype::f32)}; }
  tn::Tensors observation(const tn::Tensors& state) const override { return state; }
  env::Step step(const tn::Tensors& state, const tn::Tensors&) const override {
    const tn::Tensor next = state[0] + 1;
    return {{next}, {next}, next, next > 3, tn::full({}, false, Dtype::boolean)};
  }
};

// One step in plain doubles, as gymnasium writes it.
std::vector<double> plain_step(std::vector<double> s, int action) {
  const double force = action == 1 ? 10 : -10, cosine = std::cos(s[2]), sine = std::sin(s[2]);
  const double temp = (force + 0.05 * s[3] * s[3] * sine) / 1.1;
  const double alpha = (9.8 * sine - cosine * temp) / (0.5 * (4.0 / 3 - 0.1 * cosine * cosine / 1.1));
  const double accel = temp - 0.05 * alpha * cosine / 1.1;
  return {s[0] + 0.02 * s[1], s[1] + 0.02 * accel, s[2] + 0.02 * s[3], s[3] + 0.02 * alpha};
}

TEST(Environments, CartPoleStepsAsGymnasiumDoes) {
  const env::EnvironmentRef cartpole = env::make("CartPole-v1", Dtype::f64);
  for (int action : {0, 1})
    for (const std::vector<double>& s :
         {std::vector<double>{0.3, -1.5, 0.1, 2}, {-2.39, -0.6, 0.2, 0.1}, {1, 1, -0.209, -0.3}}) {
      tn::Tensors state;
      for (double x : s) state.push_back(tn::tensor(std::vector<double>{x}, tenfold::Ints{}));
      state.push_back(tn::full({}, 499, Dtype::i32));
      const env::Step step = cartpole->step(state, {tn::full({}, action, Dtype::i32)});
      const std::vector<double> want = plain_step(s, action);
      for (int i = 0; i < 4; ++i)
        EXPECT_NEAR(step.state[i].item().f(), want[i], 1e-12 * (1 + std::abs(want[i])));
      EXPECT_EQ(step.terminated.item().b(),
                std::abs(want[0]) > 2.4 || std::abs(want[2]) > 12 * 2 * M_PI / 360);
      EXPECT_TRUE(step.truncated.item().b());
      EXPECT_EQ(step.reward.item().f(), 1);
    }
}

TEST(Environments, AreKnownById) {
  ASSERT_FALSE(env::known().empty());
  EXPECT_EQ(env::known()[0].id, "CartPole-v1");
  EXPECT_THAT(error_of([] { env::make("Cartpole"); }),
              HasSubstr("there is no environment \"Cartpole\"; known are: CartPole-v1"));
  EXPECT_THAT(error_of([] { env::make("CartPole-v1", Dtype::i32); }), HasSubstr("f32 or f64, not in i32"));
}

TEST(Rollouts, BeginAnewInTheSameStep) {
  const env::Rollout run(std::make_shared<Walk>(), nullptr,
                         {.num_envs = 2, .steps = 9, .emit = {"obs", "next_obs"}});
  const env::Trajectory out = run(tn::random::key(1));
  std::vector<float> seen, next;
  for (int t = 0; t < 9; ++t) {
    seen.push_back(out["obs"].to_vector<float>()[2 * t]);
    next.push_back(out["next_obs"].to_vector<float>()[2 * t]);
  }
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0));
  EXPECT_THAT(next, ElementsAre(1, 2, 3, 4, 1, 2, 3, 4, 1));
  EXPECT_THAT(out.returns.to_vector<float>(), ElementsAre(21, 21));
  EXPECT_THAT(out.episodes.to_vector<int32_t>(), ElementsAre(2, 2));
  EXPECT_THAT(out.state[0].to_vector<float>(), ElementsAre(1, 1));
}

TEST(Rollouts, AreOneLaunchWithoutATrajectory) {
  const env::Rollout run(env::make("CartPole-v1"), nullptr, {.num_envs = 1000, .steps = 1000});
  const auto explanation = tenfold::compile::explain(run.compiled(tn::random::key(1))->executable());
  EXPECT_EQ(explanation.launches, 1);
  EXPECT_LT(explanation.bytes_written, 1000 * 40);
  EXPECT_EQ(explanation.interpreted, 0);
}

TEST(Rollouts, InPartsAreTheSameBits) {
  const tn::Tensor key = tn::random::key(5);
  const env::EnvironmentRef cartpole = env::make("CartPole-v1");
  const env::Trajectory all =
      env::Rollout(cartpole, nullptr, {.num_envs = 20, .steps = 60, .emit = kFields})(key);
  const env::Rollout part(cartpole, nullptr, {.num_envs = 20, .steps = 20, .emit = kFields});
  tn::Tensors state;
  for (int k = 0; k < 3; ++k) {
    const env::Trajectory out = part(key, {.state = state, .carry = {}, .start = 20 * k});
    const auto expected = all["obs"].to_vector<float>(), got = out["obs"].to_vector<float>();
    EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + k * 20 * 20 * 4)) << k;
    state = out.state;
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(state[i].to_vector<float>(), all.state[i].to_vector<float>());
}

TEST(Rollouts, LazilyAreTheSame) {
  const tn::Tensor key = tn::random::key(5);
  const env::EnvironmentRef cartpole = env::make("CartPole-v1");
  const env::RolloutOptions options{.num_envs = 20, .steps = 60, .emit = {"obs"}};
  EXPECT_EQ(env::rollout(*cartpole, nullptr, options, key)["obs"].to_vector<float>(),
            env::Rollout(cartpole, nullptr, options)(key)["obs"].to_vector<float>());
}

TEST(Rollouts, PoliciesCarryAndEmit) {
  const env::Policy policy = [](const tn::Tensors&, const tn::Tensors& carry, const tn::Tensor&,
                                const tn::Tensor& t) {
    const tn::Tensor count = carry[0] + 1;
    return env::Decision{{count % 2}, {{"twice", {t * 2}}}, {count}};
  };
  const env::Rollout run(env::make("CartPole-v1"), policy,
                         {.num_envs = 2, .steps = 3, .emit = {"action", "twice"}});
  const env::Trajectory out =
      run(tn::random::key(1), {.state = {}, .carry = {tn::tensor(std::vector<int32_t>{0, 1})}, .start = 4});
  EXPECT_THAT(out["action"].to_vector<int32_t>(), ElementsAre(1, 0, 0, 1, 1, 0));
  EXPECT_THAT(out["twice"].to_vector<int64_t>(), ElementsAre(8, 8, 10, 10, 12, 12));
  EXPECT_THAT(out.carry[0].to_vector<int32_t>(), ElementsAre(3, 4));
}

TEST(Rollouts, SayWhatIsWrong) {
  const tn::Tensor key = tn::random::key(1);
  const auto run = [&](const env::Policy& policy, env::RolloutOptions options) {
    return error_of([&] { env::Rollout(env::make("CartPole-v1"), policy, options)(key); });
  };
  EXPECT_THAT(run(nullptr, {.num_envs = 0}),
              HasSubstr("rollout of CartPole-v1: num_envs is 0; it must be at least 1."));
  EXPECT_THAT(run(nullptr, {.emit = {"colour"}}),
              HasSubstr("emit names \"colour\", but the fields are: obs, action, reward, terminated, "
                        "truncated, next_obs."));
  const env::Policy whole = [](const tn::Tensors& obs, const tn::Tensors& carry, const tn::Tensor&,
                               const tn::Tensor&) { return env::Decision{obs, {}, carry}; };
  EXPECT_THAT(run(whole, {.num_envs = 3}),
              HasSubstr("the policy returned an action f32[4], but the environment takes i32[]."));
  EXPECT_THAT(run(whole, {.num_envs = 3}), HasSubstr("env_test.cc:"));
}

}  // namespace
