#include "tenfold/grad/gradient.h"

#include "tenfold/ir/control.h"
#include "tenfold/ir/differentiate.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

const Type kStep{Dtype::i64, {}}, kNumber{Dtype::f64, {}}, kVector{Dtype::f64, {3}},
    kMatrix{Dtype::f64, {3, 3}};

NodeRef sine(const NodeRef& x) { return map("sin", {x}); }

std::vector<NodeRef> scans_of(const Graph& graph) {
  std::vector<NodeRef> scans;
  for (const NodeRef& node : topological(graph.results))
    if (node->prim->name == "scan") scans.push_back(node);
  return scans;
}

TEST(Gradient, OfExpressions) {
  expect_gradients(graph_of({kVector, kMatrix}, [](const Nodes& p) {
    const NodeRef y = contract(p[1], sine(p[0]), "ij,j->i") * p[0] + 1.0;
    return Nodes{map("tanh", {y}), reduce("sum", y * y, {0})};
  }));
  expect_gradients(graph_of({kMatrix}, [](const Nodes& p) {  // softmax
    const NodeRef e = map("exp", {p[0] - broadcast(reduce("max", p[0], {1}), p[0]->shape(), {0})});
    return Nodes{e / broadcast(reduce("sum", e, {1}), e->shape(), {0})};
  }));
  expect_gradients(graph_of({kVector, kVector},
                            [](const Nodes& p) { return Nodes{p[0] * p[0]}; }));  // one parameter is unused
}

TEST(Gradient, IntegersHaveNone) {
  const Graph graph = graph_of({kVector, {Dtype::i32, {3}}}, [](const Nodes& p) {
    return Nodes{p[0] * convert(p[1], Dtype::f64) + convert(convert(p[0], Dtype::i32), Dtype::f64), p[1]};
  });
  const Graph both = value_and_grad(weighted(graph), std::vector<int>{0});
  EXPECT_EQ(both.results.size(), 2);
  const Array n = array(Dtype::i32, {3}, {1, 2, 3});
  const std::vector<double> slope = run(both, {array(Dtype::f64, {3}, {1, 1, 1}), n}, 1),
                            at_two = run(both, {array(Dtype::f64, {3}, {2, 2, 2}), n}, 1);
  EXPECT_EQ(slope, at_two);
}

// The scan of the tests: two carries, one of them an integer; rows; constants; outputs.
GraphRef body() {
  return body_of({kStep, kVector, kStep, kVector, kMatrix, kNumber}, [](const Nodes& p) {
    const NodeRef c = sine(contract(p[4], p[1], "ij,j->i")) + p[3] * p[5] * convert(p[2], Dtype::f64);
    return Nodes{c, p[2] + constant(1, Dtype::i64), p[1] * p[1] * p[5], c + p[3], convert(p[0], Dtype::f64)};
  });
}

Graph loop(const Dim& length, bool reverse, int64_t checkpoint) {
  return graph_of({kVector, {Dtype::f64, {length, 3}}, kMatrix, kNumber}, [&](const Nodes& p) {
    return scan(body(), {p[0], constant(1, Dtype::i64)}, {p[1]}, {p[2], p[3]}, length, reverse, checkpoint);
  });
}

TEST(Gradient, OfScans) {
  for (const bool reverse : {false, true})
    for (const int64_t checkpoint : {0, 1, 2, 3, 5, 7}) expect_gradients(loop(5, reverse, checkpoint));
}

TEST(Gradient, OfSymbolicScans) {
  const Dim n = Dim::symbol({"gradient_n", 0, 64, 8});
  for (const bool reverse : {false, true}) {
    for (const int64_t checkpoint : {0, 2}) {
      const Graph graph = loop(n, reverse, checkpoint);
      std::vector<Array> in = random_arguments(loop(5, reverse, checkpoint), 4);
      expect_gradients(graph, in, false);
      in[1] = Array(Dtype::f64, {0, 3});  // no step at all
      expect_gradients(graph, in, false);
    }
  }
}

TEST(Gradient, CheckpointKeepsTheBits) {
  const std::vector<int> wrt{0, 2, 3};
  const std::vector<Array> in = random_arguments(loop(7, false, 0), 4);
  const Graph plain = value_and_grad(weighted(loop(7, false, 0)), wrt),
              chunked = value_and_grad(weighted(loop(7, false, 3)), wrt);
  EXPECT_EQ(run(plain, in, 0), run(chunked, in, 0));
  EXPECT_EQ(run(plain, in, 1), run(chunked, in, 1));
}

TEST(Gradient, TheForwardLoopRunsOnce) {
  const Graph both = value_and_grad(weighted(loop(5, false, 0)), std::vector<int>{0, 2});
  const std::vector<NodeRef> scans = scans_of(both);
  ASSERT_EQ(scans.size(), 2);
  EXPECT_TRUE(ScanView(*scans[1]).reverse);
  // What is not asked for is not computed: no sum for the number, no rows for the xs.
  EXPECT_EQ(ScanView(*scans[1]).init.size(), 2);
  EXPECT_EQ(ScanView(*scans[1]).ys.size(), 0);
}

// Only what the derivative reads is stored: of a linear carry nothing.
TEST(Gradient, StoresOnlyWhatIsRead) {
  const auto linear = body_of({kStep, kVector, kNumber}, [](const Nodes& p) { return Nodes{p[1] * p[2]}; });
  const Graph graph = graph_of({kVector, kNumber}, [&](const Nodes& p) {
    return Nodes{reduce("sum", scan(linear, {p[0]}, {}, {p[1]}, 4)[0], {0})};
  });
  for (const NodeRef& scan : scans_of(value_and_grad(graph, std::vector<int>{0})))
    EXPECT_EQ(ScanView(*scan).ys.size() + ScanView(*scan).xs.size(), 0);
  expect_gradients(graph);
}

TEST(Gradient, OfNestedScans) {
  const auto inner = body_of({kStep, kNumber, kNumber}, [](const Nodes& p) {
    return Nodes{sine(p[1]) * p[2] + convert(p[0], Dtype::f64), p[1] * p[1]};
  });
  for (const int64_t checkpoint : {0, 2}) {
    const auto outer = body_of({kStep, kNumber, kNumber, kNumber}, [&](const Nodes& p) {
      const Nodes loop = scan(inner, {p[1]}, {}, {p[3]}, 3, false, checkpoint);
      return Nodes{loop[0] * p[2], reduce("sum", loop[1], {0})};
    });
    expect_gradients(graph_of({kNumber, {Dtype::f64, {4}}, kNumber}, [&](const Nodes& p) {
      return scan(outer, {p[0]}, {p[1]}, {p[2]}, 4, true, checkpoint);
    }));
  }
}

TEST(Gradient, OfScansInARow) {
  const auto first =
      body_of({kStep, kNumber, kNumber}, [](const Nodes& p) { return Nodes{sine(p[1]) * p[2], p[1]}; });
  const auto second = body_of({kStep, kNumber, kNumber},
                              [](const Nodes& p) { return Nodes{p[1] * 0.5 + p[2] * p[2], p[1] * p[2]}; });
  const Graph graph = graph_of({kNumber, kNumber}, [&](const Nodes& p) {
    const Nodes a = scan(first, {p[0]}, {}, {p[1]}, 4);
    return scan(second, {a[0]}, {a[1]}, {}, 4);
  });
  expect_gradients(graph);
  EXPECT_EQ(scans_of(value_and_grad(weighted(graph), std::vector<int>{0, 1})).size(), 4);
}

TEST(Gradient, OfCond) {
  const auto then = body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{p[0] * p[1], p[0]}; });
  const auto otherwise =
      body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{sine(p[0]), p[0] * p[0]}; });
  for (const Shape& each : {Shape{}, Shape{3}}) {
    const Graph graph = graph_of({{Dtype::boolean, each}, kVector, kNumber},
                                 [&](const Nodes& p) { return cond(p[0], then, otherwise, {p[1], p[2]}); });
    for (unsigned seed = 1; seed < 5; ++seed) expect_gradients(graph, seed);
  }
  // The branch not taken divides by zero: no NaN comes back.
  const auto divide = body_of({kNumber}, [](const Nodes& p) { return Nodes{1.0 / p[0]}; });
  const auto same = body_of({kNumber}, [](const Nodes& p) { return p; });
  const Graph guarded = graph_of({kNumber}, [&](const Nodes& p) {
    return cond(map("not_equal", {p[0], constant(0.0, Dtype::f64)}), divide, same, {p[0]});
  });
  EXPECT_EQ(run(value_and_grad(guarded, std::vector<int>{0}), {scalar(Dtype::f64, 0)}, 1),
            (std::vector<double>{1}));
  const Graph batched = vmap(value_and_grad(guarded, std::vector<int>{0}), {true}, 2);
  EXPECT_EQ(run(batched, {array(Dtype::f64, {2}, {0, 2})}, 1), (std::vector<double>{1, -0.25}));
  const auto in_loop = body_of({kStep, kVector, kNumber}, [&](const Nodes& p) {
    const NodeRef odd = map("equal", {map("mod", {p[0], constant(2, Dtype::i64)}), constant(1, Dtype::i64)});
    return Nodes{cond(odd, then, otherwise, {p[1], p[2]})[0]};
  });
  expect_gradients(
      graph_of({kVector, kNumber}, [&](const Nodes& p) { return scan(in_loop, {p[0]}, {}, {p[1]}, 5); }));
}

TEST(Gradient, HalvesSumInSingle) {
  // 4096 additions of 1/4096 to a bf16 would stop at 1/16: the sum over the steps is kept in f32.
  const Type half{Dtype::bf16, {}};
  const auto add = body_of({kStep, half, half}, [](const Nodes& p) { return Nodes{p[1] + p[2]}; });
  const Graph graph =
      graph_of({half, half}, [&](const Nodes& p) { return Nodes{scan(add, {p[0]}, {}, {p[1]}, 4096)[0]}; });
  EXPECT_EQ(
      run(value_and_grad(graph, std::vector<int>{1}), {scalar(Dtype::bf16, 0), scalar(Dtype::bf16, 0)}, 1),
      (std::vector<double>{4096}));
}

TEST(Pullback, TakesOneCotangentForEachResult) {
  const Graph graph = graph_of({kVector}, [](const Nodes& p) {
    return Nodes{p[0] * p[0], convert(p[0], Dtype::i32), reduce("sum", p[0], {0})};
  });
  const Graph pulled = value_and_pullback(graph, std::vector<int>{0});
  EXPECT_EQ(pulled.parameters.size(), 3);
  const Array x = array(Dtype::f64, {3}, {1, 2, 3}), dy = array(Dtype::f64, {3}, {1, 0, 1});
  EXPECT_EQ(run(pulled, {x, dy, scalar(Dtype::f64, 10)}, 3), (std::vector<double>{12, 10, 16}));
}

TEST(Pullback, WrtNodesAreLeaves) {
  const NodeRef x = parameter(0, kNumber), y = x * x;
  const Nodes pulled = pullback({y * x}, {constant(1.0, Dtype::f64)}, {x, y});
  EXPECT_EQ(pulled[1], constant(1.0, Dtype::f64) * x);
  EXPECT_EQ(pulled[0], constant(1.0, Dtype::f64) * y);
}

TEST(Loops, Prune) {
  const auto four = body_of({kStep, kNumber, kNumber, kNumber, kNumber}, [](const Nodes& p) {
    return Nodes{p[1] * p[4], p[2] + p[1], p[3] * p[3], p[1], p[3]};
  });
  const Graph graph = graph_of({kNumber, kNumber, kNumber, kNumber},
                               [&](const Nodes& p) { return scan(four, {p[0], p[1], p[2]}, {}, {p[3]}, 3); });
  const auto left = [&](size_t result) {
    const NodeRef node = prune_loops({graph.results[result]})[0];
    const NodeRef scan = node->prim->has("projection") ? node->inputs[0] : node;
    const ScanView view(*scan);
    return std::array<size_t, 3>{view.init.size(), view.ys.size(), view.consts.size()};
  };
  EXPECT_EQ(left(0), (std::array<size_t, 3>{1, 0, 1}));
  EXPECT_EQ(left(1), (std::array<size_t, 3>{2, 0, 1}));
  EXPECT_EQ(left(2), (std::array<size_t, 3>{1, 0, 0}));
  EXPECT_EQ(left(3), (std::array<size_t, 3>{1, 1, 1}));
  EXPECT_EQ(prune_loops(graph.results), graph.results);
  const std::vector<Array> in = random_arguments(graph, 2);
  for (size_t k = 0; k < graph.results.size(); ++k) {
    const Graph pruned{graph.parameters, prune_loops({graph.results[k]}), {}};
    EXPECT_EQ(run(pruned, in), run(graph, in, k));
  }
}

TEST(Gradient, ErrorsInFull) {
  const Graph vector = graph_of({kVector, kStep}, [](const Nodes& p) { return Nodes{p[0]}; });
  Graph named = graph_of({kVector, kStep}, [](const Nodes& p) { return Nodes{reduce("sum", p[0], {0})}; });
  named.names = {"x", "n"};
  const auto error = [](const Graph& graph, int wrt) {
    return error_of([&] { value_and_grad(graph, std::vector<int>{wrt}); });
  };
  EXPECT_EQ(
      error(vector, 0),
      "grad: the function returns f64[3]; it must return one floating number: reduce it, with sum or mean");
  EXPECT_EQ(error(named, 1),
            "grad: parameter 1 (n) is i64[]; only floating parameters have a gradient: convert it to f32 "
            "before the call, or leave it out");
  EXPECT_EQ(error(named, 2), "grad: there is no parameter 2; the function has 2");
  EXPECT_EQ(error(graph_of({kVector}, [](const Nodes&) { return Nodes{constant(1, Dtype::i32)}; }), 0),
            "grad: the function returns i32[]; it must return one floating number: convert it to f32");
}

}  // namespace
}  // namespace tenfold
