// What the tests of graphs share: arrays from numbers, and the two laws every record must keep: batching is a
// stack of calls, and a gradient is a difference quotient.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/grad/batch.h"
#include "tenfold/grad/gradient.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/eval.h"
#include "tenfold/ir/text.h"

namespace tenfold::testing {

inline Array array(Dtype dtype, Ints shape, const std::vector<double>& values) {
  Array result(dtype, std::move(shape));
  EXPECT_EQ(result.size(), std::ssize(values));
  for (int64_t i = 0; i < result.size(); ++i) result.set(i, values[static_cast<size_t>(i)]);
  return result;
}

inline Array scalar(Dtype dtype, double value) { return array(dtype, {}, {value}); }

inline std::vector<double> values(const Array& a) {
  std::vector<double> result;
  for (int64_t i = 0; i < a.size(); ++i) result.push_back(a.at(i).f());
  return result;
}

// Floats in (-1, 1), integers in 0..4, booleans.
inline Array random_array(const Type& type, std::mt19937& random) {
  Array result(type.dtype, const_shape(type.shape));
  for (int64_t i = 0; i < result.size(); ++i) {
    const double u = std::uniform_real_distribution<double>(-1, 1)(random);
    if (is_inexact(type.dtype))
      result.set(i, u);
    else
      result.set(i, static_cast<int64_t>((u + 1) * (is_bool(type.dtype) ? 1 : 2)));
  }
  return result;
}

inline std::vector<Array> random_arguments(const Graph& graph, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Array> arguments;
  for (const NodeRef& p : graph.parameters) arguments.push_back(random_array(p->type(), random));
  return arguments;
}

// A graph over parameters of the given types.
inline Graph graph_of(const std::vector<Type>& types, const std::function<Nodes(const Nodes&)>& f) {
  Graph graph;
  for (const Type& type : types)
    graph.parameters.push_back(build::parameter(std::ssize(graph.parameters), type));
  graph.results = f(graph.parameters);
  return graph;
}

inline GraphRef body_of(const std::vector<Type>& types, const std::function<Nodes(const Nodes&)>& f) {
  return std::make_shared<const Graph>(graph_of(types, f));
}

inline std::vector<double> run(const Graph& graph, const std::vector<Array>& arguments, size_t result = 0) {
  return values(evaluate(graph, arguments).at(result));
}

inline std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("not a UserError: ") + error.what();
  }
  return "no error";
}

inline void expect_well_formed(const Graph& graph) {
  EXPECT_THAT(verify(graph), ::testing::IsEmpty());
  const Graph again = parse_graph(print(graph));
  EXPECT_TRUE(same(graph, again)) << print(graph) << "became\n" << print(again);
}

inline Array row(const Array& whole, int64_t i) {
  Array part(whole.dtype, {whole.shape.begin() + 1, whole.shape.end()});
  for (int64_t k = 0; k < part.size(); ++k) part.set(k, whole.at(i * part.size() + k));
  return part;
}

// vmap(f) on a stack is the stack of f, for every choice of batched parameters.
inline void expect_batches(const Graph& graph, int64_t size = 3) {
  const auto count = graph.parameters.size();
  for (unsigned choice = 0; choice < 1u << count; ++choice) {
    std::vector<bool> flags;
    for (size_t i = 0; i < count; ++i) flags.push_back(choice >> i & 1);
    const Graph batched = vmap(graph, flags, size);
    expect_well_formed(batched);
    const std::vector<Array> arguments = random_arguments(batched, choice + 1);
    const std::vector<Array> together = evaluate(batched, arguments);
    for (int64_t b = 0; b < size; ++b) {
      std::vector<Array> single;
      for (size_t i = 0; i < count; ++i) single.push_back(flags[i] ? row(arguments[i], b) : arguments[i]);
      const std::vector<Array> alone = evaluate(graph, single);
      ASSERT_EQ(alone.size(), together.size());
      for (size_t k = 0; k < alone.size(); ++k) {
        const Array part = row(together[k], b);
        ASSERT_EQ(part.shape, alone[k].shape);
        ASSERT_EQ(part.dtype, alone[k].dtype);
        for (int64_t i = 0; i < part.size(); ++i)
          ASSERT_NEAR(part.at(i).f(), alone[k].at(i).f(), 1e-12)
              << "choice " << choice << " row " << b << " result " << k << " element " << i;
      }
    }
  }
}

// The floating results weighted and summed, so that a gradient sees all of them.
inline Graph weighted(const Graph& graph) {
  using namespace build;
  std::mt19937 random(7);
  Graph result = graph;
  NodeRef total;
  for (const NodeRef& y : graph.results) {
    if (!is_float(y->dtype())) continue;
    const double a = std::uniform_real_distribution<double>(0.5, 1.5)(random);
    Ints axes;
    for (int64_t d = 0; d < y->rank(); ++d) axes.push_back(d);
    NodeRef weights = full(a, y->type());
    if (y->rank() > 0)
      weights =
          weights + iota(y->shape(), y->rank() - 1, y->dtype()) * 0.3 + iota(y->shape(), 0, y->dtype()) * 0.1;
    const NodeRef sum = reduce("sum", y * weights, axes);
    total = total ? total + sum : sum;
  }
  result.results = {total};
  return result;
}

// Gradients of f64 graphs against central differences; `again` also checks the gradient of the gradient.
inline void expect_gradients(const Graph& graph, const std::vector<Array>& arguments, bool again = true,
                             double tolerance = 1e-6) {
  const Graph number = weighted(graph);
  std::vector<int> wrt;
  for (size_t i = 0; i < graph.parameters.size(); ++i)
    if (is_float(graph.parameters[i]->dtype())) wrt.push_back(static_cast<int>(i));
  const Graph both = value_and_grad(number, wrt);
  expect_well_formed(both);
  const std::vector<Array> got = evaluate(both, arguments);
  EXPECT_NEAR(got[0].at(0).f(), run(number, arguments)[0], 1e-12);
  constexpr double kStep = 1e-5;
  for (size_t w = 0; w < wrt.size(); ++w) {
    const auto p = static_cast<size_t>(wrt[w]);
    for (int64_t i = 0; i < arguments[p].size(); ++i) {
      std::vector<Array> up = arguments, down = arguments;
      up[p].set(i, arguments[p].at(i).f() + kStep);
      down[p].set(i, arguments[p].at(i).f() - kStep);
      const double wanted = (run(number, up)[0] - run(number, down)[0]) / (2 * kStep);
      ASSERT_NEAR(got[1 + w].at(i).f(), wanted, tolerance * (1 + std::abs(wanted)))
          << "parameter " << p << " element " << i;
    }
  }
  if (!again) return;
  Graph gradients = both;
  gradients.results.erase(gradients.results.begin());
  expect_gradients(gradients, arguments, false, tolerance * 10);
}

inline void expect_gradients(const Graph& graph, unsigned seed = 1) {
  expect_gradients(graph, random_arguments(graph, seed));
}

}  // namespace tenfold::testing
