// CartPole-v1 as gymnasium 1.4 defines it: a pole on a cart that is pushed left or right.
//
// The formulas are gymnasium's with each division by the total mass folded into a constant and each
// multiply-add rounded once; in f64 a step differs from gymnasium's by less than 1e-12 (1 + |state|).
#include <numbers>

#include "tenfold/env/environment.h"
#include "tenfold/generated/ops.h"
#include "tenfold/lang/random.h"

namespace tenfold::env {
namespace {

using lang::fma;
using lang::operator+;
using lang::operator-;
using lang::operator*;
using lang::operator/;
using lang::operator>;
using lang::operator>=;
using lang::operator==;
using lang::operator|;

constexpr double kGravity = 9.8, kMassCart = 1.0, kMassPole = 0.1, kForce = 10.0;  // m/s^2, kg, kg, N
constexpr double kLength = 0.5;                                                    // m, half of the pole
constexpr double kTau = 0.02;                                                      // s, of a step
constexpr double kMass = kMassCart + kMassPole, kPoleMassLength = kMassPole * kLength;
constexpr double kXLimit = 2.4, kThetaLimit = 12 * 2 * std::numbers::pi / 360;  // m, rad
constexpr double kResetBound = 0.05;
constexpr int kTimeLimit = 500;  // steps

class CartPole : public Environment {
 public:
  explicit CartPole(Dtype dtype) : dtype_(dtype) {}

  const std::string& name() const override {
    static const std::string id = "CartPole-v1";
    return id;
  }

  // Position (m), speed (m/s), angle from upright (rad), angular speed (rad/s), steps of this episode.
  std::vector<std::string> state_names() const override {
    return {"x", "x_dot", "theta", "theta_dot", "elapsed"};
  }

  std::vector<Type> action_types() const override { return {{Dtype::i32, {}}}; }  // 0: left, 1: right

  // The four are uniform in [-0.05, 0.05), of words 0 to 3 of the key's bits.
  Tensors reset(const Tensor& key) const override {
    Tensors state;
    for (int word = 0; word < 4; ++word) {
      const Tensor unit = lang::random::uniform(key, {}, 0.0, 1.0, word, dtype_);
      state.push_back(fma(unit, 2 * kResetBound, -kResetBound));
    }
    state.push_back(lang::full({}, 0, Dtype::i32));
    return state;
  }

  Tensors observation(const Tensors& s) const override { return {lang::stack({s[0], s[1], s[2], s[3]})}; }

  Step step(const Tensors& s, const Tensors& action) const override {
    const Tensor &x = s[0], &x_dot = s[1], &theta = s[2], &theta_dot = s[3];
    const Tensor sine = lang::sin(theta), cosine = lang::cos(theta);
    const Tensor push = lang::where(action[0] == 1, lang::full({}, kForce / kMass, dtype_), -kForce / kMass);
    // (force + m l theta_dot^2 sin) / M
    const Tensor temp = fma(theta_dot * theta_dot * sine, kPoleMassLength / kMass, push);
    // (g sin - cos temp) / (l (4/3 - m cos^2 / M))
    const Tensor theta_acc = fma(-cosine, temp, sine * kGravity) /
                             fma(cosine * cosine, -kLength * kMassPole / kMass, kLength * 4 / 3);
    // temp - m l theta_acc cos / M
    const Tensor x_acc = fma(theta_acc * cosine, -kPoleMassLength / kMass, temp);

    Tensors next{fma(x_dot, kTau, x), fma(x_acc, kTau, x_dot), fma(theta_dot, kTau, theta),
                 fma(theta_acc, kTau, theta_dot), s[4] + 1};
    const Tensor terminated = (lang::abs(next[0]) > kXLimit) | (lang::abs(next[2]) > kThetaLimit);
    const Tensor truncated = next[4] >= kTimeLimit;
    const Tensors seen = observation(next);
    return {std::move(next), seen, lang::full({}, 1.0, Dtype::f32), terminated, truncated};
  }

 private:
  Dtype dtype_;
};

const Registration kCartPole{
    "CartPole-v1", "Balance a pole on a cart by pushing it left (0) or right (1), for at most 500 steps.",
    [](Dtype dtype) { return std::make_shared<const CartPole>(dtype); }};

}  // namespace
}  // namespace tenfold::env
