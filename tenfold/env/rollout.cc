#include "tenfold/env/rollout.h"

#include <algorithm>
#include <mutex>

#include "tenfold/base/error.h"
#include "tenfold/generated/ops.h"
#include "tenfold/lang/function.h"
#include "tenfold/lang/random.h"
#include "tenfold/lang/transform.h"

namespace tenfold::env {
namespace {

using lang::Location;
using lang::Operand;
using lang::operator+;
using lang::operator|;

// What the key of an environment is folded in with: one stream for the policy, one for resets.
// bench/hand/cartpole.h has the same numbers.
enum Use : int64_t { kActionUse = 0, kResetUse = 1 };

Tensor strong(const Tensor& t, Location where) {
  if (!t.weak()) return t;
  return lang::astype({t, where}, is_float(t.dtype()) ? Dtype::f32 : t.dtype());
}

// One rollout while it is traced for one environment.
struct Tracer {
  const Environment& environment;
  const Policy& policy;
  const RolloutOptions& options;
  Location where;
  // Found out while tracing: how many parts the state, the policy's carry and each emitted field have.
  size_t states = 0, carries = 0;
  std::vector<size_t> parts;

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> reason, Args&&... args) const {
    user_error("rollout of {}: {}\n  called at {}", environment.name(),
               fmt::format(reason, std::forward<Args>(args)...), where.str());
  }

  Tensors reset(const Tensor& reset_key, const Tensor& begun) const {
    Tensors state = environment.reset(lang::random::fold_in(reset_key, begun));
    for (Tensor& t : state) t = strong(t, where);
    if (state.empty()) fail("reset returned no state.");
    return state;
  }

  Tensors checked_action(Tensors action) const {
    const std::vector<Type> types = environment.action_types();
    if (types.empty()) return action;
    if (action.size() != types.size())
      fail("the policy returned {} actions, but the environment takes {}.", action.size(), types.size());
    for (size_t i = 0; i < types.size(); ++i) {
      const Type& got = action[i].type();
      const bool is_kind =
          is_float(types[i].dtype) ? !is_complex(got.dtype) : is_int(got.dtype) || is_bool(got.dtype);
      if (got.shape != types[i].shape || !is_kind)
        fail(
            "the policy returned an action {}, but the environment takes {}.\n"
            "  A policy acts for one environment: its observation has no axis for them.{}",
            got.str(), types[i].str(),
            got.rank() == 1 && types[i].shape.empty() ? " If these are scores, choose one: argmax, or a draw."
                                                      : "");
      action[i] = lang::astype({action[i], where}, types[i].dtype);
    }
    return action;
  }

  // A state has one type. A Python number has none of its own: it becomes what reset made, but no float an
  // integer.
  void check_kept(const Tensor& after, const Tensor& fresh, size_t i) const {
    const bool fits = after.weak()
                          ? after.rank() == 0 && (is_inexact(fresh.dtype()) || !is_inexact(after.dtype()))
                          : after.type() == fresh.type();
    if (!fits)
      fail("{} leaves step as {} but reset made {}; make them one type.", environment.state_label(i),
           after.type().str(), fresh.type().str());
  }

  Tensor flag(const Tensor& t, std::string_view what) const {
    if (t.rank() == 0 && is_bool(t.dtype())) return t;
    fail("step returned {} {}, but it must be one bool.", what, t.type().str());
  }

  // The fields of one step, by name; UserError for a name that is no field.
  Tensors emitted(const Named& fields) {
    Tensors out;
    parts.clear();
    for (const std::string& name : options.emit) {
      const auto found = std::ranges::find(fields, name, &Named::value_type::first);
      if (found == fields.end()) {
        std::string names;
        for (const auto& field : fields) names += (names.empty() ? "" : ", ") + field.first;
        fail("emit names \"{}\", but the fields are: {}.", name, names);
      }
      parts.push_back(found->second.size());
      out.insert(out.end(), found->second.begin(), found->second.end());
    }
    return out;
  }

  // key, the states (none: reset), the policy's carries -> returns, episodes, states, carries, then what is
  // emitted.
  Tensors operator()(const Tensors& sums, const Tensor& key, Tensors state, const Tensors& carry,
                     const Tensor& start) {
    const Tensor action_key = lang::random::fold_in(key, static_cast<int64_t>(kActionUse));
    const Tensor reset_key = lang::random::fold_in(key, static_cast<int64_t>(kResetUse));
    if (state.empty()) state = reset(reset_key, start);
    states = state.size();
    carries = carry.size();

    lang::Operands init;
    for (const Tensor& t : sums) init.emplace_back(t, where);
    for (const Tensor& t : state) init.emplace_back(t, where);
    for (const Tensor& t : carry) init.emplace_back(t, where);
    lang::ScanOptions scan_options;
    scan_options.length = Dim(options.steps);
    scan_options.names = {"returns", "episodes"};
    for (size_t i = 0; i < states; ++i) scan_options.names.push_back(environment.state_label(i));
    for (size_t i = 0; i < carries; ++i) scan_options.names.push_back(fmt::format("of the policy [{}]", i));

    const lang::Function body = [&](const Tensors& in) {
      const auto from = in.begin() + 2;
      const Tensor t = start + in.back();
      return step(in[0], in[1], Tensors(from, from + states), Tensors(from + states, in.end() - 1), t,
                  action_key, reset_key);
    };
    const lang::ScanResult result = lang::scan(body, init, Tensors{}, scan_options, where);
    Tensors out = result.carries;
    out.insert(out.end(), result.ys.begin(), result.ys.end());
    return out;
  }

  Tensors step(const Tensor& returns, const Tensor& episodes, const Tensors& state, const Tensors& carry,
               const Tensor& t, const Tensor& action_key, const Tensor& reset_key) {
    const Tensors obs = environment.observation(state);
    Decision decision;
    if (policy)
      decision = policy(obs, carry, action_key, t);
    else
      decision = {environment.random_action(action_key, t), {}, carry};
    if (decision.carry.size() != carries)
      fail("the policy got a carry of {} tensors and returned one of {}.", carries, decision.carry.size());
    const Tensors action = checked_action(decision.action);

    const Step now = environment.step(state, action);
    if (now.state.size() != states)
      fail("reset makes a state of {} tensors, but step returned one of {}.", states, now.state.size());
    if (now.reward.rank() != 0)
      fail("step returned a reward {}, but it must be one number.", now.reward.type().str());
    const Tensor terminated = flag(now.terminated, "terminated"),
                 truncated = flag(now.truncated, "truncated");
    const Tensor done = terminated | truncated;
    // Autoreset in the same step. One mask for all selects: where no environment of a tile is done, the
    // tile's vote skips the reset.
    const Tensors fresh = reset(reset_key, t + 1);

    if (fresh.size() != states)
      fail("the state has {} tensors, but reset makes one of {}.", states, fresh.size());
    for (size_t i = 0; i < states; ++i) check_kept(now.state[i], fresh[i], i);

    Tensors out{returns + lang::astype({now.reward, where}, Dtype::f32),
                episodes + lang::astype(done, Dtype::i32)};
    for (size_t i = 0; i < states; ++i)
      out.push_back(lang::where({done, where}, {fresh[i], where}, {now.state[i], where}));
    out.insert(out.end(), decision.carry.begin(), decision.carry.end());

    Named fields{{"obs", obs},
                 {"action", action},
                 {"reward", {now.reward}},
                 {"terminated", {terminated}},
                 {"truncated", {truncated}},
                 {"next_obs", now.observation}};
    for (const auto& extra : decision.extras) {
      if (std::ranges::find(fields, extra.first, &Named::value_type::first) != fields.end())
        fail("the policy returned \"{}\" among its extras, but that is a field of every rollout.",
             extra.first);
      fields.push_back(extra);
    }
    for (Tensor& t : emitted(fields)) out.push_back(strong(t, where));
    return out;
  }
};

Trajectory unpack(const Tensors& all, const Tracer& tracer) {
  Trajectory out{all[0], all[1], {}, {}, {}};
  auto next = all.begin() + 2;
  const auto take = [&](size_t count) {
    next += static_cast<std::ptrdiff_t>(count);
    return Tensors(next - static_cast<std::ptrdiff_t>(count), next);
  };
  out.state = take(tracer.states);
  out.carry = take(tracer.carries);
  for (size_t i = 0; i < tracer.parts.size(); ++i)
    out.emitted.emplace_back(tracer.options.emit[i], take(tracer.parts[i]));
  return out;
}

void check(const Tracer& tracer, const Tensor& key, const Begin& begin) {
  const RolloutOptions& o = tracer.options;
  if (o.num_envs <= 0) tracer.fail("num_envs is {}; it must be at least 1.", o.num_envs);
  if (o.steps < 0) tracer.fail("steps is {}; it must be at least 0.", o.steps);
  const Shape& shape = key.shape();
  const bool is_key = key.dtype() == Dtype::u32 && !shape.empty() && shape.back() == Dim(2) &&
                      (shape.size() == 1 || (shape.size() == 2 && shape[0] == Dim(o.num_envs)));
  if (!is_key)
    tracer.fail("the key is {}, but it must be u32[2], as random.key(seed) makes it, or u32[{},2].",
                key.type().str(), o.num_envs);
  const auto check_batched = [&](const Tensors& all, std::string_view what) {
    for (const Tensor& t : all)
      if (t.rank() == 0 || t.shape()[0] != Dim(o.num_envs))
        tracer.fail("a part of {} is {}, but its first axis must be num_envs, {}.", what, t.type().str(),
                    o.num_envs);
  };
  check_batched(begin.state, "state");
  check_batched(begin.carry, "carry");
  const Shape start = begin.start.shape();
  if (!start.empty() || !is_int(begin.start.dtype()))
    tracer.fail("start must be one integer, the number of a step.");
}

Trajectory trace(Tracer& tracer, const Tensor& key, const Begin& begin) {
  check(tracer, key, begin);
  const Location where = tracer.where;
  const Tensor keys = key.rank() == 2 ? key : lang::random::split({key, where}, tracer.options.num_envs);
  const Tensor start = lang::astype(begin.start, Dtype::i64);
  // The sums start with an axis of environments, also where every step of all of them gets the same reward.
  const Shape all{Dim(tracer.options.num_envs)};
  Tensors arguments{keys, lang::zeros(all, Dtype::f32, where), lang::zeros(all, Dtype::i32, where)};
  arguments.insert(arguments.end(), begin.state.begin(), begin.state.end());
  arguments.insert(arguments.end(), begin.carry.begin(), begin.carry.end());
  const auto states = static_cast<std::ptrdiff_t>(begin.state.size());
  const Tensors out = lang::vmap(
      [&](const Tensors& in) {
        const auto state = in.begin() + 3, carry = state + states;
        return tracer({in[1], in[2]}, in[0], Tensors(state, carry), Tensors(carry, in.end()), start);
      },
      arguments, std::vector<lang::BatchAxis>(arguments.size(), 0),
      [&](size_t k) { return lang::BatchAxis(k < 2 + tracer.states + tracer.carries ? 0 : 1); }, where);
  return unpack(out, tracer);
}

}  // namespace

const Tensor& Trajectory::operator[](const std::string& name) const {
  const auto found = std::ranges::find(emitted, name, &Named::value_type::first);
  if (found == emitted.end()) user_error("the rollout did not emit \"{}\": name it in emit.", name);
  if (found->second.size() != 1)
    user_error("\"{}\" is made of {} tensors; look for them in emitted.", name, found->second.size());
  return found->second[0];
}

Trajectory rollout(const Environment& environment, const Policy& policy, const RolloutOptions& options,
                   const Tensor& key, const Begin& begin, Location where) {
  Tracer tracer{environment, policy, options, where, 0, 0, {}};
  return trace(tracer, key, begin);
}

// A compiled version: the types of its arguments are those of the signature.
struct Rollout::Program {
  std::shared_ptr<const lang::Compiled> compiled;
  size_t states = 0, carries = 0;
  std::vector<size_t> parts;
};

struct Rollout::State {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Program>> programs;
};

Rollout::Rollout(EnvironmentRef environment, Policy policy, RolloutOptions options, Location where)
    : environment_(std::move(environment)),
      policy_(std::move(policy)),
      options_(std::move(options)),
      where_(where),
      state_(std::make_shared<State>()) {}

namespace {

// Step 0 is a constant of the program, so that offsets are known to be multiples of the length of a block.
bool starts_at_zero(const Begin& begin) { return begin.start.is_number() && begin.start.number().i() == 0; }

Tensors flatten(const Tensor& key, const Begin& begin) {
  Tensors out{key};
  if (!starts_at_zero(begin)) out.push_back(lang::astype(begin.start, Dtype::i64));
  out.insert(out.end(), begin.state.begin(), begin.state.end());
  out.insert(out.end(), begin.carry.begin(), begin.carry.end());
  return out;
}

}  // namespace

Rollout::Program& Rollout::find(const Tensor& key, const Begin& begin) const {
  Tracer tracer{*environment_, policy_, options_, where_, 0, 0, {}};
  check(tracer, key, begin);
  const bool at_zero = starts_at_zero(begin);
  const Tensors flat = flatten(key, begin);
  std::string signature = fmt::format("{} {} ", at_zero, begin.state.size());
  std::vector<lang::ArgumentType> types;
  for (const Tensor& t : flat) {
    lang::append_signature(signature, t.dtype(), const_shape(t.shape()));
    types.push_back({t.type(), false});
  }
  lang::JitOptions options;
  options.name = "rollout of " + environment_->name();
  options.device = lang::device_of(flat, options.name, where_);
  lang::append_signature(signature, options.device);
  const std::lock_guard lock(state_->mutex);
  std::unique_ptr<Program>& program = state_->programs[signature];
  if (program) return *program;
  auto made = std::make_unique<Program>();
  made->compiled = std::make_shared<const lang::Compiled>(
      [&](const Tensors& in) {
        auto next = in.begin() + 1;
        Begin traced{{}, {}, at_zero ? Operand(0) : Operand(*next++)};
        const auto middle = next + static_cast<std::ptrdiff_t>(begin.state.size());
        traced.state = Tensors(next, middle);
        traced.carry = Tensors(middle, in.end());
        const Trajectory out = trace(tracer, in[0], traced);
        Tensors results{out.returns, out.episodes};
        results.insert(results.end(), out.state.begin(), out.state.end());
        results.insert(results.end(), out.carry.begin(), out.carry.end());
        for (const auto& field : out.emitted)
          results.insert(results.end(), field.second.begin(), field.second.end());
        return results;
      },
      types, options, where_);
  made->states = tracer.states;
  made->carries = tracer.carries;
  made->parts = tracer.parts;
  program = std::move(made);
  return *program;
}

std::shared_ptr<const lang::Compiled> Rollout::compiled(const Tensor& key, const Begin& begin) const {
  return find(key, begin).compiled;
}

Trajectory Rollout::operator()(const Tensor& key, const Begin& begin) const {
  const Program& program = find(key, begin);
  Tracer shape{*environment_, policy_, options_, where_, program.states, program.carries, program.parts};
  const Tensors flat = flatten(key, begin);
  std::vector<lang::Argument> arguments;
  for (const Tensor& t : flat) arguments.push_back({t.evaluate().value()->data, {}, t.value().get()});
  return unpack((*program.compiled)(arguments, where_), shape);
}

}  // namespace tenfold::env
