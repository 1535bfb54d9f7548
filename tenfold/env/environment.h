// An environment: what happens to ONE simulated thing in one step, written once on tensors. rollout.h runs
// thousands.
//
//     class Walker : public Environment {
//         Tensors reset(const Tensor& key) const override;
//         Tensors observation(const Tensors& state) const override;
//         Step step(const Tensors& state, const Tensors& action) const override;
//     };
//     const Registration kWalker{"Walker-v0", "One line about it.", [](Dtype d) { return
//     std::make_shared<Walker>(d); }};
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tenfold/lang/tensor.h"

namespace tenfold::env {

using lang::Tensor;
using lang::Tensors;

// What one step does. `state` and `observation` are those after the step, before any reset.
struct Step {
  Tensors state, observation;
  Tensor reward;      // one number
  Tensor terminated;  // bool: the task is over
  Tensor truncated;   // bool: it was cut short, by a time limit
};

// A pure function of its arguments: no member changes. Its functions are called while they are traced, a few
// times for each program, on tensors without a batch.
class Environment {
 public:
  virtual ~Environment() = default;

  virtual const std::string& name() const = 0;  // for errors

  // The state at the start of an episode; every random number comes from the key. Types are those of every
  // state.
  virtual Tensors reset(const Tensor& key) const = 0;

  virtual Step step(const Tensors& state, const Tensors& action) const = 0;

  // What a policy sees of a state.
  virtual Tensors observation(const Tensors& state) const = 0;

  // An action at random, from word t of the key's bits, say. By default 0 or 1, as i32.
  virtual Tensors random_action(const Tensor& key, const Tensor& t) const;

  // The types of an action, converted to before step() sees it; empty: any.
  virtual std::vector<Type> action_types() const { return {}; }

  virtual std::vector<std::string> state_names() const { return {}; }

  // What errors call part i of a state, once reset has run: "state.theta", "state[0]".
  virtual std::string state_label(size_t i) const;
};
using EnvironmentRef = std::shared_ptr<const Environment>;

// ---- by name

using Maker = std::function<EnvironmentRef(Dtype)>;

// A global of this type makes an environment known by its id.
struct Registration {
  Registration(std::string id, std::string doc, Maker maker);
};

// UserError for an unknown id, naming the nearest and those that are known, and for a dtype that is not f32
// or f64.
EnvironmentRef make(const std::string& id, Dtype dtype = Dtype::f32);

struct Known {
  std::string id, doc;
};
std::vector<Known> known();  // sorted by id

}  // namespace tenfold::env
