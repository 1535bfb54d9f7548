// jit: a function traced for arguments of some types, compiled, and called with any arguments of those types.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "tenfold/compile/compile.h"
#include "tenfold/lang/transform.h"

namespace tenfold::lang {

struct JitOptions {
  std::vector<std::string> allow;  // grants: "bf16x3", "bf16x6", "factor", "online", "reassociate"
  std::vector<int> donate;         // arguments whose memory may become a result's
  std::string plan = {};           // text of a plan to run instead of the planner's
  std::vector<std::pair<std::string, std::string>> loops = {};  // how launches run, by name: plan/loops.h
  std::string name = "a function";                              // for errors
  Device* device = nullptr;                                     // where the arguments are; null: the host
};

// An argument of a call: where its elements are, row-major, and what else is known of it.
struct Argument {
  const void* data = nullptr;           // on the function's device, or of `value` where it is but a number
  std::span<const int64_t> shape = {};  // needed where the traced type has symbols
  Value* value = nullptr;               // the tensor it is, if it is one; needed for donation
};

class Compiled {
 public:
  // Traces and compiles; types may have symbolic dims.
  Compiled(const Function&, const std::vector<ArgumentType>&, const JitOptions&, Location);

  // The caller keeps the arguments' memory until the call returns. UserError if a symbol's value does not
  // fit.
  Tensors operator()(std::span<const Argument>, Location) const;

  const std::shared_ptr<const compile::Executable>& executable() const { return executable_; }
  const std::vector<ArgumentType>& arguments() const { return arguments_; }
  Device* device() const { return device_; }

 private:
  std::vector<int64_t> bind(std::span<const Argument>, Location) const;
  void lay_out() const;
  void stage_numbers(std::span<const Argument>, void** inputs, std::vector<BufferRef>& staged) const;

  std::string name_;
  std::vector<ArgumentType> arguments_;
  std::vector<ValueRef> captured_;  // values of the graph's further parameters
  std::vector<void*> captured_data_;
  std::vector<BufferRef> captured_copies_;  // of numbers that were captured, on the device
  mutable std::once_flag laid_once_;
  mutable std::vector<BufferRef> laid_;  // of captured values, in the order in which they are read
  Device* device_ = nullptr;
  std::vector<std::shared_ptr<const Type>> results_;
  bool has_symbols_ = false;
  std::shared_ptr<const compile::Executable> executable_;
};

// Where a call with these arguments runs: see common_device. What is no tensor counts as on the host.
Device* device_of(const Tensors&, std::string_view what, Location = {});

// What distinguishes calls: appended to by each part of the arguments.
void append_signature(std::string& signature, Dtype, std::span<const int64_t> shape, bool weak = false);
void append_signature(std::string& signature, const Device*);

// The compiled versions of one function, by signature. Safe for several threads.
class CompiledCache {
 public:
  std::shared_ptr<const Compiled> find(const std::string& signature) const;
  std::shared_ptr<const Compiled> insert(std::string signature, std::shared_ptr<const Compiled>);
  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Compiled>> entries_;
};

// auto f = jit([](const Tensor& x) { return softmax(x); }); f(x) compiles once for each type of x. Arguments
// and results are tensors, or tuples and lists of them.
template <class F>
class Jit {
 public:
  explicit Jit(F function, JitOptions options = {})
      : function_(std::move(function)), options_(std::move(options)) {}

  template <class... Args>
  auto operator()(const Args&... arguments) const {
    using Result = decltype(function_(arguments...));
    const std::tuple<Args...> all(arguments...);
    const Tensors flat = flatten(all);
    if (tracing()) return function_(arguments...);
    const auto [compiled, like] = find<Result>(all, flat);
    return unflatten(*like, call(*compiled, flat));
  }

  // The program for arguments like these, for explain.
  template <class... Args>
  std::shared_ptr<const Compiled> compiled(const Args&... arguments) const {
    using Result = decltype(function_(arguments...));
    const std::tuple<Args...> all(arguments...);
    return find<Result>(all, flatten(all)).first;
  }

 private:
  static Tensors call(const Compiled& compiled, const Tensors& flat) {
    std::vector<Argument> passed;
    for (const Tensor& t : flat) passed.push_back({t.evaluate().value()->data, {}, t.value().get()});
    return compiled(passed, {});
  }

  template <class Result, class... Args>
  std::pair<std::shared_ptr<const Compiled>, std::shared_ptr<const Result>> find(
      const std::tuple<Args...>& all, const Tensors& flat) const {
    std::string signature;
    std::vector<ArgumentType> types;
    for (const Tensor& t : flat) {
      append_signature(signature, t.dtype(), const_shape(t.shape()));
      types.push_back({t.type(), false});
    }
    JitOptions options = options_;
    options.device = device_of(flat, options_.name);
    append_signature(signature, options.device);
    const std::lock_guard lock(state_->mutex);
    auto& entry = state_->entries[signature];
    if (!entry.compiled) {
      std::shared_ptr<const Result> like;
      entry.compiled = std::make_shared<const Compiled>(
          [&](const Tensors& in) {
            like = std::make_shared<const Result>(std::apply(function_, unflatten(all, in)));
            return flatten(*like);
          },
          types, options, Location());
      entry.like = like;
    }
    return {entry.compiled, std::static_pointer_cast<const Result>(entry.like)};
  }

  struct Entry {
    std::shared_ptr<const Compiled> compiled;
    std::shared_ptr<const void> like;  // the structure of the result
  };
  struct State {
    std::mutex mutex;
    std::unordered_map<std::string, Entry> entries;
  };
  F function_;
  JitOptions options_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

template <class F>
Jit<F> jit(F function, JitOptions options = {}) {
  return Jit<F>(std::move(function), std::move(options));
}

}  // namespace tenfold::lang
