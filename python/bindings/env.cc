// Environments and rollouts: those of the C++ library, and Python objects that behave like one.
#include <algorithm>
#include <map>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tenfold/env/environment.h"
#include "tenfold/env/rollout.h"

#include "common.h"
#include "jitted.h"

namespace tenfold::python {
namespace {

Tensors leaf_tensors(const std::vector<nb::object>& leaves, Location where) {
  Tensors out;
  for (const nb::object& leaf : leaves) out.push_back(to_operand(leaf, where).as_tensor());
  return out;
}

Tensors flat_tensors(nb::handle value, Tree& tree, Location where) {
  std::vector<nb::object> leaves;
  tree = flatten(value, leaves);
  return leaf_tensors(leaves, where);
}

nb::object unflat(const Tree& tree, const Tensors& tensors) {
  const Tensor* from = tensors.data();
  return unflatten(tree, from);
}

Tensor one_tensor(nb::handle value, Location where) { return to_operand(value, where).as_tensor(); }

// An environment of the library, as Python sees it: states are named tuples.
struct Known {
  env::EnvironmentRef environment;
  nb::object state_type;  // None: states have no names

  explicit Known(env::EnvironmentRef made) : environment(std::move(made)), state_type(nb::none()) {
    const std::vector<std::string> names = environment->state_names();
    if (names.empty()) return;
    std::string type_name;
    for (char c : environment->name()) type_name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    state_type = nb::module_::import_("collections").attr("namedtuple")(type_name + "_state", names);
  }

  nb::object state(const Tensors& tensors) const {
    return state_type.is_none() ? wrap(tensors) : state_type(*nb::tuple(wrap(tensors)));
  }
};

nb::object one_or_tuple(const Tensors& tensors) {
  return tensors.size() == 1 ? wrap(tensors[0]) : wrap(tensors);
}

// A Python object with reset, step and perhaps observation and random_action, for one trace: the structures
// of what they return are learned as they are called.
class PythonEnvironment : public env::Environment {
 public:
  PythonEnvironment(nb::handle object, Location where) : object_(nb::borrow(object)), where_(where) {
    name_ = str_of(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()))).attr("__name__"));
    for (const char* method : {"reset", "step"})
      if (!nb::hasattr(object, method))
        user_error(
            "rollout: a {} is no environment: it has no {}.\n  called at {}\n"
            "  An environment is an id such as \"CartPole-v1\", or an object with reset(key) -> state and\n"
            "  step(state, action) -> (state, obs, reward, terminated, truncated).",
            name_, method, where.str());
  }

  Tree state_tree, action_tree, obs_tree, next_obs_tree;
  bool knows_state = false;

  const std::string& name() const override { return name_; }
  std::string state_label(size_t i) const override { return leaf_names(state_tree, "state").at(i); }

  Tensors reset(const Tensor& key) const override {
    Tree tree;
    const Tensors out = flat_tensors(call("reset", wrap(key)), tree, where_);
    check_state(tree, "reset");
    return out;
  }

  Tensors observation(const Tensors& state) const override {
    const nb::object whole = unflat(state_tree, state);
    const nb::object seen = nb::hasattr(object_, "observation") ? call("observation", whole) : whole;
    return flat_tensors(seen, self().obs_tree, where_);
  }

  env::Step step(const Tensors& state, const Tensors& action) const override {
    const nb::object out = call("step", unflat(state_tree, state), unflat(action_tree, action));
    if (!PyTuple_Check(out.ptr()) || PyTuple_GET_SIZE(out.ptr()) != 5)
      user_error(
          "rollout of {}: step must return (state, obs, reward, terminated, truncated), but it returned "
          "{}.\n  called at {}",
          name_,
          PyTuple_Check(out.ptr()) ? fmt::format("a tuple of {}", PyTuple_GET_SIZE(out.ptr()))
                                   : fmt::format("a {}", Py_TYPE(out.ptr())->tp_name),
          where_.str());
    Tree tree;
    env::Step step;
    step.state = flat_tensors(out[0], tree, where_);
    check_state(tree, "step");
    step.observation = flat_tensors(out[1], self().next_obs_tree, where_);
    if (!same(obs_tree, next_obs_tree) && !nb::hasattr(object_, "observation"))
      user_error(
          "rollout of {}: step returns an observation {}, which is not the state {}, so what is seen after a "
          "reset is not known.\n"
          "  called at {}\n  Give the environment a method observation(state).",
          name_, str(next_obs_tree), str(state_tree), where_.str());
    step.reward = one_tensor(out[2], where_);
    step.terminated = one_tensor(out[3], where_);
    step.truncated = one_tensor(out[4], where_);
    return step;
  }

  Tensors random_action(const Tensor& key, const Tensor& t) const override {
    if (!nb::hasattr(object_, "random_action")) return Environment::random_action(key, t);
    return flat_tensors(call("random_action", wrap(key), wrap(t)), self().action_tree, where_);
  }

  void check_state(const Tree& tree, std::string_view what) const {
    if (!knows_state) {
      self().state_tree = tree;
      self().knows_state = true;
    } else if (!same(tree, state_tree)) {
      user_error(
          "rollout of {}: a state is {}, but {} returned {}; a state keeps its structure.{}\n  called at {}",
          name_, str(state_tree), what, str(tree), changed_fields(tree), where_.str());
    }
  }

 private:
  // " state['v'] is missing, state['w'] is new."
  std::string changed_fields(const Tree& tree) const {
    const std::vector<std::string> before = leaf_names(state_tree, "state"),
                                   after = leaf_names(tree, "state");
    std::string out;
    const auto add = [&](const auto& from, const auto& in, const char* how) {
      for (const std::string& name : from)
        if (std::ranges::find(in, name) == in.end())
          out += fmt::format("{} {} is {}", out.empty() ? "" : ",", name, how);
    };
    add(before, after, "missing");
    add(after, before, "new");
    return out.empty() ? out : out + ".";
  }

  PythonEnvironment& self() const { return const_cast<PythonEnvironment&>(*this); }

  template <class... Args>
  nb::object call(const char* method, Args&&... args) const {
    return call_traced(object_.attr(method), nb::make_tuple(std::forward<Args>(args)...), nb::handle(),
                       "rollout", where_);
  }

  nb::object object_;
  Location where_;
  std::string name_;
};

nb::tuple rollout(nb::handle environment, nb::handle policy, int64_t num_envs, int64_t steps,
                  std::vector<std::string> emit, nb::handle key, nb::handle start, nb::handle state,
                  nb::handle carry) {
  const Location where = here();
  const Known* known = nb::isinstance<Known>(environment) ? nb::inst_ptr<Known>(environment) : nullptr;
  std::optional<PythonEnvironment> custom;
  if (!known) custom.emplace(environment, where);
  const env::Environment& env = known ? *known->environment : *custom;

  env::Begin begin{{}, {}, start.is_none() ? Operand(0) : to_operand(start, where)};
  Tree carry_tree, state_tree;
  begin.carry = flat_tensors(carry, carry_tree, where);
  if (!state.is_none()) {
    begin.state = flat_tensors(state, state_tree, where);
    if (custom) custom->check_state(state_tree, "the caller");
  }
  std::map<std::string, Tree> extra_trees;
  env::Policy decide;
  if (!policy.is_none())
    decide = [&](const Tensors& obs, const Tensors& own, const Tensor& action_key, const Tensor& t) {
      const nb::object seen = custom ? unflat(custom->obs_tree, obs) : one_or_tuple(obs);
      const nb::object out =
          call_traced(policy, nb::make_tuple(seen, unflat(carry_tree, own), wrap(action_key), wrap(t)),
                      nb::handle(), "rollout", where);
      const auto describe = [&](nb::handle h) {
        return PyTuple_Check(h.ptr()) ? fmt::format("a tuple of {}", PyTuple_GET_SIZE(h.ptr()))
                                      : fmt::format("a {}", Py_TYPE(h.ptr())->tp_name);
      };
      if (!PyTuple_Check(out.ptr()) || PyTuple_GET_SIZE(out.ptr()) != 3)
        user_error(
            "rollout of {}: the policy must return (action, extras, carry), but it returned {}.\n  called at "
            "{}\n"
            "  Return (action, {{}}, carry) if there are no extras.",
            env.name(), describe(out), where.str());
      env::Decision decision;
      Tree action_tree, after;
      try {
        decision.action = flat_tensors(out[0], action_tree, where);
      } catch (const UserError& error) {
        user_error("rollout of {}: the policy's action: {}", env.name(), error.what());
      }
      if (custom) custom->action_tree = action_tree;
      if (!nb::object(out[1]).is_none()) {
        if (!PyDict_Check(nb::object(out[1]).ptr()))
          user_error("rollout of {}: the policy's extras must be a dict, but they are {}.\n  called at {}",
                     env.name(), describe(nb::object(out[1])), where.str());
        for (auto [name, value] : nb::cast<nb::dict>(out[1]))
          decision.extras.emplace_back(str_of(name), flat_tensors(value, extra_trees[str_of(name)], where));
      }
      decision.carry = flat_tensors(out[2], after, where);
      if (!same(carry_tree, after))
        user_error(
            "rollout of {}: the policy's carry enters as {} but the policy returns {}; a carry keeps its "
            "structure.\n"
            "  called at {}\n  Pass carry= to start it: every part has num_envs as its first axis.",
            env.name(), str(carry_tree), str(after), where.str());
      return decision;
    };

  const env::Trajectory out =
      env::rollout(env, decide, {num_envs, steps, std::move(emit)}, one_tensor(key, where), begin, where);

  nb::dict emitted;
  for (const auto& [name, tensors] : out.emitted) {
    nb::object value;
    if (const auto extra = extra_trees.find(name); extra != extra_trees.end())
      value = unflat(extra->second, tensors);
    else if (!custom || tensors.size() == 1)
      value = one_or_tuple(tensors);
    else
      value = unflat(name == "obs"        ? custom->obs_tree
                     : name == "next_obs" ? custom->next_obs_tree
                                          : custom->action_tree,
                     tensors);
    emitted[name.c_str()] = value;
  }
  const nb::object last = known ? known->state(out.state) : unflat(custom->state_tree, out.state);
  return nb::make_tuple(wrap(out.returns), wrap(out.episodes), unflat(carry_tree, out.carry), last, emitted);
}

}  // namespace

void bind_env(nb::module_& m) {
  nb::class_<Known>(m, "Environment",
                    "One simulated thing, as functions of tensors; tn.rollout runs thousands of them.")
      .def_prop_ro("name", [](const Known& k) { return k.environment->name(); })
      .def(
          "reset",
          [](const Known& k, nb::handle key) {
            const Location where = here();
            const Tensor one = one_tensor(key, where);
            if (one.dtype() != Dtype::u32 || !(one.type() == Type{Dtype::u32, {2}}))
              user_error(
                  "reset of {}: the key is {}, but it must be u32[2], as random.key(seed) makes it.\n  "
                  "called "
                  "at {}",
                  k.environment->name(), one.type().str(), where.str());
            return k.state(k.environment->reset(one));
          },
          nb::arg("key"), "The state at the start of an episode: a named tuple.")
      .def(
          "observation",
          [](const Known& k, nb::handle state) {
            Tree tree;
            return one_or_tuple(k.environment->observation(flat_tensors(state, tree, here())));
          },
          nb::arg("state"), "What a policy sees of a state.")
      .def(
          "step",
          [](const Known& k, nb::handle state, nb::handle action) {
            Tree tree;
            const Location where = here();
            const Tensors before = flat_tensors(state, tree, where);
            const size_t parts = k.environment->state_names().size();
            if (parts && before.size() != parts)
              user_error("step of {}: a state has {} parts, but {} came.\n  called at {}",
                         k.environment->name(), parts, before.size(), where.str());
            const env::Step out = k.environment->step(before, flat_tensors(action, tree, where));
            return nb::make_tuple(k.state(out.state), one_or_tuple(out.observation), wrap(out.reward),
                                  wrap(out.terminated), wrap(out.truncated));
          },
          nb::arg("state"), nb::arg("action"),
          "(state, obs, reward, terminated, truncated) after one step; no reset.")
      .def("__repr__", [](const Known& k) { return fmt::format("<environment {}>", k.environment->name()); });
  m.def(
      "_make_environment",
      [](const std::string& id, nb::handle dtype) { return Known(env::make(id, to_dtype(dtype))); },
      nb::arg("id"), nb::arg("dtype"));
  m.def("_known_environments", [] {
    nb::dict out;
    for (const env::Known& k : env::known()) out[k.id.c_str()] = k.doc;
    return out;
  });
  m.def("_rollout_graph", &rollout, nb::arg("env").none(), nb::arg("policy").none(), nb::arg("num_envs"),
        nb::arg("steps"), nb::arg("emit"), nb::arg("key"), nb::arg("start").none(), nb::arg("state").none(),
        nb::arg("carry").none());
}

}  // namespace tenfold::python
