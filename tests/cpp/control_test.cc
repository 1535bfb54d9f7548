#include "tenfold/ir/control.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

const Type kStep{Dtype::i64, {}}, kNumber{Dtype::f64, {}}, kVector{Dtype::f64, {3}},
    kBool{Dtype::boolean, {}};

NodeRef less(const NodeRef& a, const NodeRef& b) { return map("less", {a, b}); }

// c' = c*w + x*step; y = c
GraphRef step_body() {
  return body_of({kStep, kVector, kVector, kNumber},
                 [](const Nodes& p) { return Nodes{p[1] * p[3] + p[2] * convert(p[0], Dtype::f64), p[1]}; });
}

Graph scan_graph(bool reverse) {
  return graph_of({kVector, {Dtype::f64, {4, 3}}, kNumber},
                  [&](const Nodes& p) { return scan(step_body(), {p[0]}, {p[1]}, {p[2]}, 4, reverse); });
}

TEST(Scan, RunsItsBody) {
  for (const bool reverse : {false, true}) {
    const Graph graph = scan_graph(reverse);
    expect_well_formed(graph);
    const std::vector<Array> in = random_arguments(graph, 3);
    std::vector<double> c = values(in[0]), ys(12);
    for (int t = 0; t < 4; ++t) {
      const int step = reverse ? 3 - t : t;
      for (int i = 0; i < 3; ++i) {
        ys[static_cast<size_t>(3 * step + i)] = c[static_cast<size_t>(i)];
        c[static_cast<size_t>(i)] =
            c[static_cast<size_t>(i)] * in[2].at(0).f() + in[1].at(3 * step + i).f() * step;
      }
    }
    EXPECT_EQ(run(graph, in, 0), c);
    EXPECT_EQ(run(graph, in, 1), ys);
  }
}

TEST(Scan, ZeroSteps) {
  const auto body = body_of({kStep, kVector}, [](const Nodes& p) { return Nodes{p[1] * 2.0, p[1]}; });
  const Graph graph = graph_of({kVector}, [&](const Nodes& p) { return scan(body, {p[0]}, {}, {}, 0); });
  const std::vector<Array> got = evaluate(graph, std::vector<Array>{array(Dtype::f64, {3}, {1, 2, 3})});
  EXPECT_EQ(values(got[0]), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(got[1].shape, (Ints{0, 3}));
  expect_batches(graph);
}

TEST(Scan, Batches) {
  expect_batches(scan_graph(false));
  expect_batches(scan_graph(true));
  // A carry that starts the same for all and becomes different, by way of another that does.
  const auto body = body_of({kStep, kNumber, kNumber, kNumber, kNumber}, [](const Nodes& p) {
    return Nodes{p[1] + p[2], p[2] + p[3], p[3] * p[4], p[1] * 2.0, convert(p[0], Dtype::f64)};
  });
  const Graph chained = graph_of({kNumber, kNumber, kNumber, kNumber}, [&](const Nodes& p) {
    return scan(body, {p[0], p[1], p[2]}, {}, {p[3]}, 3);
  });
  expect_batches(chained);
}

TEST(Scan, Nested) {
  const auto inner =
      body_of({kStep, kNumber, kNumber}, [](const Nodes& p) { return Nodes{p[1] * p[2] + 0.1, p[1]}; });
  const auto outer = body_of({kStep, kNumber, kNumber}, [&](const Nodes& p) {
    const Nodes loop = scan(inner, {p[1]}, {}, {p[2]}, 2);
    return Nodes{loop[0], reduce("sum", loop[1], {0})};
  });
  const Graph graph =
      graph_of({kNumber, kNumber}, [&](const Nodes& p) { return scan(outer, {p[0]}, {}, {p[1]}, 3); });
  expect_well_formed(graph);
  expect_batches(graph);
  EXPECT_NEAR(run(graph, {scalar(Dtype::f64, 1), scalar(Dtype::f64, 1)})[0], 1.6, 1e-12);
}

TEST(Scan, ErrorsInFull) {
  const NodeRef v = parameter(0, kVector), x = parameter(1, {Dtype::f64, {4, 3}}), w = parameter(2, kNumber);
  const auto error = [&](const GraphRef& body, const Nodes& init, const Nodes& xs, const Nodes& consts) {
    return error_of([&] { scan(body, init, xs, consts, 4); });
  };
  const auto wide = body_of({kStep, kVector, {Dtype::f32, {4}}},
                            [](const Nodes& p) { return Nodes{p[1], convert(p[2], Dtype::f64)}; });
  EXPECT_EQ(error(wide, {v, parameter(1, {Dtype::f32, {4}})}, {}, {}),
            "scan carry 1 enters as f32[4] but the body returns f64[4]; a carry keeps its type: convert or "
            "reshape the result, or start from f64[4]");
  EXPECT_EQ(error(step_body(), {w}, {x}, {w}),
            "scan carry 0 starts as f64[] but the body takes f64[3]; they must be the same type");
  EXPECT_EQ(error(step_body(), {v}, {v}, {w}),
            "scan xs 0 is f64[3], but the loop has 4 steps; its first dimension must be 4");
  EXPECT_EQ(error(step_body(), {v}, {parameter(1, {Dtype::f64, {4, 2}})}, {w}),
            "scan xs 0 is f64[4,2], so its rows are f64[2], but the body takes f64[3]");
  EXPECT_EQ(error(step_body(), {v}, {x}, {v}), "scan constant 0 is f64[3] but the body takes f64[]");
  EXPECT_EQ(error(step_body(), {v}, {x}, {}),
            "scan: the body takes 4 parameters; for 2 inputs it must take 3: the step (i64[]), then one for "
            "each input");
  EXPECT_EQ(error(body_of({kVector, kVector}, [](const Nodes& p) { return Nodes{p[1]}; }), {v}, {}, {}),
            "scan: the body's first parameter is the step and must be i64[], not f64[3]");
  EXPECT_EQ(error(body_of({kStep, kVector}, [](const Nodes&) { return Nodes{}; }), {v}, {}, {}),
            "scan: the body returns 0 values, but there are 1 carries; it must return each carry's next "
            "value first");
  EXPECT_EQ(error(body_of({kStep}, [](const Nodes&) { return Nodes{}; }), {}, {}, {}),
            "scan: the body returns nothing; give it a carry or an output");
  EXPECT_EQ(error_of([&] { scan(step_body(), {v}, {x}, {w}, 4, false, -1); }),
            "scan: checkpoint is -1; it must be 0 (none) or a number of steps");
  EXPECT_EQ(error_of([&] { scan(step_body(), {v}, {x}, {w}, -4); }), "scan: the length -4 can be negative");
}

// c is doubled until it is at least the limit; n counts.
Graph doubling(const Type& carry) {
  const Type count{Dtype::i64, carry.shape};
  const auto go = body_of({carry, count, kNumber}, [](const Nodes& p) { return Nodes{less(p[0], p[2])}; });
  const auto body = body_of({carry, count, kNumber},
                            [&](const Nodes& p) { return Nodes{p[0] * 2.0, p[1] + full(1, count)}; });
  return graph_of({carry, kNumber},
                  [&](const Nodes& p) { return while_loop(go, body, {p[0], full(0, count)}, {p[1]}); });
}

TEST(While, Runs) {
  const Graph graph = doubling(kNumber);
  expect_well_formed(graph);
  EXPECT_EQ(run(graph, {scalar(Dtype::f64, 3), scalar(Dtype::f64, 20)}, 0), (std::vector<double>{24}));
  EXPECT_EQ(run(graph, {scalar(Dtype::f64, 3), scalar(Dtype::f64, 20)}, 1), (std::vector<double>{3}));
  EXPECT_EQ(run(graph, {scalar(Dtype::f64, 30), scalar(Dtype::f64, 20)}, 1), (std::vector<double>{0}));
}

TEST(While, EachElementStopsAlone) {
  const Graph graph = doubling(kVector);
  const std::vector<Array> in{array(Dtype::f64, {3}, {1, 7, 100}), scalar(Dtype::f64, 20)};
  EXPECT_EQ(run(graph, in, 0), (std::vector<double>{32, 28, 100}));
  EXPECT_EQ(run(graph, in, 1), (std::vector<double>{5, 2, 0}));
}

TEST(While, Batches) {
  // Carries are put in (0.5, 1.5), limits below 20, so that every loop ends.
  const auto shifted = [](const Graph& graph) {
    return graph_of({graph.parameters[0]->type(), kNumber},
                    [&](const Nodes& p) { return call(graph, {p[0] * 0.5 + 1.0, p[1] * 9.0 + 10.0}); });
  };
  expect_batches(shifted(doubling(kNumber)));
  expect_batches(shifted(doubling(kVector)));
  // The condition is the same for all: the loop stays a plain one, and one carry stays without the batch.
  const auto go = body_of({kStep, kNumber, kNumber},
                          [](const Nodes& p) { return Nodes{less(p[0], constant(3, Dtype::i64))}; });
  const auto body = body_of({kStep, kNumber, kNumber}, [](const Nodes& p) {
    return Nodes{p[0] + constant(1, Dtype::i64), p[1] * p[2]};
  });
  const Graph counted = graph_of({kNumber, kNumber}, [&](const Nodes& p) {
    return while_loop(go, body, {constant(0, Dtype::i64), p[0]}, {p[1]});
  });
  expect_batches(counted);
  const Graph batched = vmap(counted, {true, false}, 5);
  for (const NodeRef& node : topological(batched.results))
    if (node->prim->name == "while") {
      EXPECT_EQ(node->types, (std::vector<Type>{kStep, {Dtype::f64, {5}}}));
    }
}

TEST(While, ErrorsInFull) {
  const NodeRef v = parameter(0, kVector), w = parameter(1, kNumber);
  const auto go = body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{less(p[0], p[1])}; });
  const auto both = body_of({kVector, kNumber}, [](const Nodes& p) { return p; });
  const auto one = body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{p[0]}; });
  EXPECT_EQ(error_of([&] { while_loop(go, both, {v, w}, {}); }),
            "while carry 1 is f64[], but the condition is bool[3]: every carry must have [3] as its leading "
            "dimensions, or the condition must be one bool");
  EXPECT_EQ(
      error_of([&] { while_loop(go, one, {v, w}, {}); }),
      "while: the body returns 1 value, but there are 2 carries; it must return the next value of each");
  EXPECT_EQ(error_of([&] { while_loop(one, one, {v}, {w}); }),
            "while: the condition must return one bool, not f64[3]");
  EXPECT_EQ(error_of([&] {
              while_loop(go, body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{p[1]}; }), {v},
                         {w});
            }),
            "while carry 0 enters as f64[3] but the body returns f64[]; a carry keeps its type: convert or "
            "reshape the result, or start from f64[]");
  EXPECT_EQ(error_of([&] { while_loop(go, one, {v}, {v}); }),
            "while constant 0 is f64[3] but the condition takes f64[]");
  EXPECT_EQ(error_of([&] { while_loop(go, one, {}, {v, w}); }),
            "while: 0 carries do not fit 2 inputs; there must be at least one, and the inputs are [carries, "
            "constants]");
  const Graph loop =
      graph_of({kNumber, kNumber}, [](const Nodes& p) { return Nodes{call(doubling(kNumber), p)[0]}; });
  EXPECT_EQ(error_of([&] { value_and_grad(loop, std::vector<int>{0}); }),
            "while has no reverse-mode derivative: its number of steps is known only when it ends, so its "
            "carries cannot be stored; use scan with a fixed "
            "length (and select to keep the carries of finished elements)");
}

Graph branching(const Shape& each) {
  const auto then = body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{p[0] * p[1], p[0]}; });
  const auto otherwise =
      body_of({kVector, kNumber}, [](const Nodes& p) { return Nodes{p[0] + p[1], p[0] * p[0]}; });
  return graph_of({{Dtype::boolean, each}, kVector, kNumber},
                  [&](const Nodes& p) { return cond(p[0], then, otherwise, {p[1], p[2]}); });
}

TEST(Cond, Runs) {
  const Array v = array(Dtype::f64, {3}, {1, 2, 3}), w = scalar(Dtype::f64, 10);
  expect_well_formed(branching({}));
  EXPECT_EQ(run(branching({}), {scalar(Dtype::boolean, 1), v, w}, 0), (std::vector<double>{10, 20, 30}));
  EXPECT_EQ(run(branching({}), {scalar(Dtype::boolean, 0), v, w}, 1), (std::vector<double>{1, 4, 9}));
  EXPECT_EQ(run(branching({3}), {array(Dtype::boolean, {3}, {1, 0, 1}), v, w}, 0),
            (std::vector<double>{10, 12, 30}));
}

TEST(Cond, BatchesAndExpands) {
  for (const Shape& each : {Shape{}, Shape{3}}) {
    const Graph graph = branching(each);
    expect_batches(graph);
    Graph expanded = graph;
    for (const NodeRef& node : topological(graph.results))
      if (node->prim->name == "cond") expanded.results = node->prim->expand(*node, node->inputs);
    for (unsigned seed = 0; seed < 4; ++seed) {
      const std::vector<Array> in = random_arguments(graph, seed);
      EXPECT_EQ(run(graph, in, 0), run(expanded, in, 0));
      EXPECT_EQ(run(graph, in, 1), run(expanded, in, 1));
    }
  }
  // Only one branch depends on what is batched.
  const auto first = body_of({kNumber, kNumber}, [](const Nodes& p) { return Nodes{p[0]}; });
  const auto second = body_of({kNumber, kNumber}, [](const Nodes& p) { return Nodes{p[1]}; });
  expect_batches(graph_of({kBool, kNumber, kNumber},
                          [&](const Nodes& p) { return cond(p[0], first, second, {p[1], p[2]}); }));
}

TEST(Cond, ErrorsInFull) {
  const NodeRef v = parameter(0, kVector), pred = parameter(1, kBool);
  const auto f64 = body_of({kVector}, [](const Nodes& p) { return p; });
  const auto f32 = body_of({kVector}, [](const Nodes& p) { return Nodes{convert(p[0], Dtype::f32)}; });
  const auto two = body_of({kVector}, [](const Nodes& p) { return Nodes{p[0], p[0]}; });
  EXPECT_EQ(error_of([&] { cond(v, f64, f64, {v}); }),
            "cond: the predicate is f64[3]; it must be bool (compare it with something)");
  EXPECT_EQ(error_of([&] { cond(pred, f64, f32, {v}); }),
            "cond: result 0 is f64[3] from the branch 'then' but f32[3] from the branch 'otherwise'; they "
            "must be the same type");
  EXPECT_EQ(error_of([&] { cond(pred, f64, two, {v}); }),
            "cond: the branch 'then' returns 1 value and the branch 'otherwise' 2; they must return the same "
            "types");
  EXPECT_EQ(error_of([&] { cond(pred, f64, f64, {pred}); }),
            "cond: operand 0 is bool[] but the branch 'then' takes f64[3]");
  EXPECT_EQ(error_of([&] { cond(pred, f64, f64, {}); }),
            "cond: the branch 'then' takes 1 parameter, but there are 0 operands");
  EXPECT_EQ(error_of([&] { cond(parameter(1, {Dtype::boolean, {2}}), f64, f64, {v}); }),
            "cond: result 0 is f64[3], but the predicate is bool[2]: every result must have [2] as its "
            "leading dimensions, or the predicate must be one bool");
}

TEST(Item, Errors) {
  const NodeRef x = parameter(0, kNumber);
  EXPECT_EQ(error_of([&] { make("item", {x}, {{"index", int64_t{0}}}); }),
            "item: parameter has one output and needs no item");
  EXPECT_EQ(error_of([&] { item(scan_graph(false).results[0]->inputs[0], 2); }),
            "item: scan has no output 2; its outputs are 0 to 1");
}

}  // namespace
}  // namespace tenfold
