// Rollouts: many environments for many steps, policy inside, as one program with the states in registers.
//
//     env::Rollout run(env::make("CartPole-v1"), policy, {.num_envs = 4096, .steps = 1000, .emit = {"obs"}});
//     env::Trajectory out = run(random::key(7));
//     out.returns, out["obs"]                             // f32[4096], f32[1000,4096,4]
//
// What is random depends on the key of the environment and on the number of the step alone, so a rollout
// gives the same bits however environments and steps are split; docs/environments.md has the derivation.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/env/environment.h"
#include "tenfold/lang/jit.h"

namespace tenfold::env {

using Named = std::vector<std::pair<std::string, Tensors>>;

// What a policy returns: the action, values that may be emitted, and its own state.
struct Decision {
  Tensors action;
  Named extras;
  Tensors carry;
};

// The policy of ONE environment. Random numbers come from the key, at offset t, the number of the step (i64).
using Policy =
    std::function<Decision(const Tensors& obs, const Tensors& carry, const Tensor& key, const Tensor& t)>;

struct RolloutOptions {
  int64_t num_envs = 1;
  int64_t steps = 1;
  // Fields of every step to be kept, as [steps, num_envs, ...]: obs (what the policy saw), action, reward,
  // terminated, truncated, next_obs (after the step, before a reset), and the policy's extras.
  std::vector<std::string> emit = {};
};

// Where a rollout begins. By default at step 0, with states from reset().
struct Begin {
  Tensors state = {};       // [num_envs, ...] each, as an earlier rollout ended
  Tensors carry = {};       // of the policy: [num_envs, ...] each
  lang::Operand start = 0;  // number of the first step
};

struct Trajectory {
  Tensor returns;   // f32[num_envs]: sum of the rewards of these steps
  Tensor episodes;  // i32[num_envs]: how many ended in these steps
  Tensors state;    // after the last step; an ended episode has begun anew
  Tensors carry;    // of the policy
  Named emitted;    // in the order of emit
  const Tensor& operator[](const std::string& name) const;  // the only tensor of an emitted field
};

// The rollout as part of what is being traced, or lazily. A null policy acts at random. The key is u32[2],
// split into one for each environment, or u32[num_envs,2].
Trajectory rollout(const Environment&, const Policy&, const RolloutOptions&, const Tensor& key,
                   const Begin& = {}, lang::Location = std::source_location::current());

// The same, compiled once for each type of its arguments.
class Rollout {
 public:
  Rollout(EnvironmentRef, Policy, RolloutOptions, lang::Location = std::source_location::current());

  Trajectory operator()(const Tensor& key, const Begin& = {}) const;

  // The program for such arguments, for explain.
  std::shared_ptr<const lang::Compiled> compiled(const Tensor& key, const Begin& = {}) const;

 private:
  struct Program;
  Program& find(const Tensor& key, const Begin&) const;

  EnvironmentRef environment_;
  Policy policy_;
  RolloutOptions options_;
  lang::Location where_;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tenfold::env
