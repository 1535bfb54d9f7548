// Functions that take functions: gradients, batching, loops and branches. Each traces its function once, on
// tensors that have a type and no value yet.
//
// The core works on lists of tensors (`Function`); the templates at the end let a C++ user write lambdas over
// tensors and tuples of tensors.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tenfold/lang/tensor.h"
#include "tenfold/lang/tensor_impl.h"

namespace tenfold::lang {

using Function = std::function<Tensors(const Tensors&)>;

// What a function does to arguments of the given types.
struct Traced {
  TraceRef state;    // closed; its `captured` are the values from outside that were used
  Nodes parameters;  // of the scope of the trace
  Nodes results;
  std::vector<bool> weak;  // of the results: made from plain numbers only
};
struct ArgumentType {
  Type type;
  bool weak = false;
};
Traced trace(std::string what, Location, const std::vector<ArgumentType>&, const Function&);

// The values from outside, as operands of what is made of the trace.
Operands captured_operands(const Traced&, Location);

// d f(arguments)[0] / d arguments[i] for each i of `wrt`. f's first result must be one real floating number;
// the other results come back as they are.
struct ValueAndGrad {
  Tensors values;
  Tensors gradients;
};
ValueAndGrad value_and_grad(const Function&, const Tensors& arguments, const std::vector<int>& wrt,
                            Location = std::source_location::current());

// f over slices of its arguments along the given axes (nothing: the whole argument each time). Results have
// the batch as axis 0, or at the axis that out_axes says (nothing: the result must not depend on the batch).
using BatchAxis = std::optional<int64_t>;
Tensors vmap(
    const Function&, const Tensors& arguments, const std::vector<BatchAxis>& in_axes,
    const std::function<BatchAxis(size_t)>& out_axis = [](size_t) { return BatchAxis(0); },
    Location = std::source_location::current());

// `length` times (carry, row) -> (next carry, y). The body gets the carries, then a row of each of xs;
// without xs, the step's number (i64[]). It returns the next carries, of the same types, then the ys, which
// are stacked along axis 0.
struct ScanOptions {
  std::optional<Dim> length;       // needed without xs
  bool reverse = false;            // from the last row to the first; each y lies at the place of its row
  int64_t checkpoint = 0;          // n: a gradient stores every nth carry and computes the others again
  std::vector<std::string> names;  // of the carries, for errors
};
struct ScanResult {
  Tensors carries;
  Tensors ys;
};
ScanResult scan(const Function& body, const Operands& init, const Tensors& xs, const ScanOptions&,
                Location = std::source_location::current());

// Applies the body to the carries as long as the condition (one bool) holds.
Tensors while_loop(const Function& condition, const Function& body, const Operands& init,
                   const std::vector<std::string>& names = {}, Location = std::source_location::current());

// then(operands) where the predicate holds, else otherwise(operands); both must return the same types.
Tensors cond(const Operand& predicate, const Function& then, const Function& otherwise,
             const Tensors& operands, Location = std::source_location::current());

// ---- for C++ users: lambdas over tensors and tuples of tensors

namespace detail {

inline void flatten(const Tensor& t, Tensors& into) { into.push_back(t); }
template <class... Ts>
void flatten(const std::tuple<Ts...>& t, Tensors& into) {
  std::apply([&](const auto&... part) { (flatten(part, into), ...); }, t);
}
template <class A, class B>
void flatten(const std::pair<A, B>& p, Tensors& into) {
  flatten(p.first, into);
  flatten(p.second, into);
}
inline void flatten(const Tensors& t, Tensors& into) { into.insert(into.end(), t.begin(), t.end()); }

// Fills a structure like `like` from consecutive tensors.
inline Tensor unflatten(const Tensor&, const Tensor*& from) { return *from++; }
inline Tensors unflatten(const Tensors& like, const Tensor*& from) {
  Tensors out(from, from + like.size());
  from += like.size();
  return out;
}
template <class A, class B>
std::pair<A, B> unflatten(const std::pair<A, B>& like, const Tensor*& from);
template <class... Ts>
std::tuple<Ts...> unflatten(const std::tuple<Ts...>& like, const Tensor*& from) {
  return std::apply([&](const auto&... part) { return std::tuple<Ts...>{unflatten(part, from)...}; }, like);
}
template <class A, class B>
std::pair<A, B> unflatten(const std::pair<A, B>& like, const Tensor*& from) {
  A first = unflatten(like.first, from);
  B second = unflatten(like.second, from);
  return {std::move(first), std::move(second)};
}

}  // namespace detail

template <class T>
Tensors flatten(const T& structure) {
  Tensors out;
  detail::flatten(structure, out);
  return out;
}
template <class T>
T unflatten(const T& like, const Tensors& from) {
  const Tensor* next = from.data();
  return detail::unflatten(like, next);
}

// auto [carry, ys] = scan([](const State& s, const Tensor& t) { return std::pair(next, y); }, init, length);
template <class Carry, class Body>
auto scan(Body body, const Carry& init, Dim length, ScanOptions options = {},
          Location where = std::source_location::current()) {
  using Result = decltype(body(init, std::declval<const Tensor&>()));
  using Y = typename Result::second_type;
  std::optional<Y> like;
  const size_t carries = flatten(init).size();
  options.length = length;
  Operands start;
  for (const Tensor& t : flatten(init)) start.emplace_back(t, where);
  ScanResult result = scan(
      [&](const Tensors& in) {
        auto [next, y] = body(unflatten(init, in), in[carries]);
        like = y;
        Tensors out = flatten(next);
        for (Tensor& t : flatten(y)) out.push_back(std::move(t));
        return out;
      },
      start, Tensors{}, options, where);
  return std::pair<Carry, Y>(unflatten(init, result.carries), unflatten(*like, result.ys));
}

// vmap(f)(x, y): a batch along axis 0 of every argument.
template <class F>
auto vmap(F f) {
  return [f](const auto&... arguments) {
    using Result = decltype(f(arguments...));
    std::optional<Result> like;
    const std::tuple<std::decay_t<decltype(arguments)>...> all(arguments...);
    const Tensors flat = flatten(all);
    const Tensors out = vmap(Function([&](const Tensors& in) {
                               like = std::apply(f, unflatten(all, in));
                               return flatten(*like);
                             }),
                             flat, std::vector<BatchAxis>(flat.size(), 0));
    return unflatten(*like, out);
  };
}

// grad(f)(x, y): the gradient of f(x, y) with respect to x.
template <class F>
auto grad(F f) {
  return [f](const auto& first, const auto&... rest) {
    const std::tuple<std::decay_t<decltype(first)>, std::decay_t<decltype(rest)>...> all(first, rest...);
    std::vector<int> wrt(flatten(first).size());
    for (size_t i = 0; i < wrt.size(); ++i) wrt[i] = static_cast<int>(i);
    const auto result = value_and_grad(
        Function([&](const Tensors& in) { return flatten(std::apply(f, unflatten(all, in))); }), flatten(all),
        wrt);
    return unflatten(first, result.gradients);
  };
}

}  // namespace tenfold::lang
