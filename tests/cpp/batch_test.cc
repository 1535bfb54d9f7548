#include "tenfold/ir/batch.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

const Type kMatrix{Dtype::f64, {2, 3}}, kNumber{Dtype::f64, {}};

TEST(Batch, OnlyWhatDependsOnTheBatchHasIt) {
  const Graph graph =
      graph_of({kNumber, kNumber}, [](const Nodes& p) { return Nodes{p[0] * 2.0, p[1] * 2.0, p[0] + p[1]}; });
  const BatchedGraph natural = batch_graph(graph, {true, false}, 5);
  EXPECT_EQ(natural.is_batched, (std::vector<bool>{true, false, true}));
  EXPECT_EQ(natural.graph.results[1]->shape(), Shape{});
  const BatchedGraph forced = batch_graph(graph, {true, false}, 5, {false, true, false});
  EXPECT_EQ(forced.graph.results[1]->shape(), Shape{5});
  EXPECT_EQ(vmap(graph, {false, false}, 5).results[0]->shape(), Shape{5});
}

TEST(Batch, EveryKindOfPrimitive) {
  expect_batches(graph_of({kMatrix, {Dtype::f64, {3}}}, [](const Nodes& p) {
    const NodeRef x = p[0], centered = x - broadcast(reduce("max", x, {1}), x->shape(), {0});
    const NodeRef e = map("exp", {centered});
    const NodeRef softmax = e / broadcast(reduce("sum", e, {1}), x->shape(), {0});
    const NodeRef mixed = contract(softmax, p[1], "mk,k->m");
    return Nodes{softmax,
                 mixed,
                 concatenate({mixed, slice_axis(p[1], 0, 1, 3)}, 0),
                 select(map("less", {x, constant(0.0, Dtype::f64)}), x, broadcast(p[1], x->shape(), {1})),
                 iota({2}, 0),
                 convert(x, Dtype::i32)};
  }));
}

TEST(Batch, OfABatch) {
  const Graph graph = graph_of({kMatrix, kNumber}, [](const Nodes& p) {
    return Nodes{transpose(p[0], {1, 0}) * p[1], reduce("sum", p[0], {0, 1}) * p[1]};
  });
  const Graph twice = vmap(vmap(graph, {true, false}, 4), {false, true}, 5);
  expect_well_formed(twice);
  EXPECT_EQ(twice.results[0]->shape(), (Shape{5, 4, 3, 2}));
  EXPECT_EQ(twice.results[1]->shape(), (Shape{5, 4}));
  const std::vector<Array> in = random_arguments(twice, 2);
  const Array together = evaluate(twice, in)[1];
  for (int64_t i = 0; i < 5; ++i)
    for (int64_t j = 0; j < 4; ++j)
      EXPECT_NEAR(row(row(together, i), j).at(0).f(), run(graph, {row(in[0], j), row(in[1], i)}, 1)[0],
                  1e-12);
}

TEST(Batch, SymbolicSize) {
  const Dim n = Dim::symbol({"batch_n", 0, 1000, 64});
  const Graph graph =
      vmap(graph_of({kMatrix}, [](const Nodes& p) { return Nodes{reduce("sum", p[0], {0, 1})}; }), {true}, n);
  EXPECT_EQ(graph.results[0]->shape(), Shape{n});
  EXPECT_EQ(run(graph, {array(Dtype::f64, {1, 2, 3}, {1, 2, 3, 4, 5, 6})}), (std::vector<double>{21}));
}

// The gradient of each row, and the gradient through the batch.
TEST(Batch, ComposesWithGradients) {
  const auto body = body_of({{Dtype::i64, {}}, kNumber, kNumber},
                            [](const Nodes& p) { return Nodes{map("sin", {p[1]}) * p[2]}; });
  const Graph graph = graph_of({kNumber, kNumber},
                               [&](const Nodes& p) { return Nodes{scan(body, {p[0]}, {}, {p[1]}, 3)[0]}; });
  expect_batches(value_and_grad(graph, std::vector<int>{0, 1}));
  expect_gradients(vmap(graph, {true, false}, 3));
  expect_batches(graph_of({kNumber, kNumber}, [&](const Nodes& p) {
    return Nodes{scan(body, {p[0]}, {}, {p[1]}, 4, true, 3)[0]};
  }));
}

TEST(Batch, Errors) {
  const Graph graph = graph_of({kNumber}, [](const Nodes& p) { return p; });
  EXPECT_EQ(error_of([&] { vmap(graph, {true, true}, 3); }),
            "vmap: the function has 1 parameters, but 2 say whether they are batched");
  EXPECT_EQ(error_of([&] { vmap(graph, {true}, -3); }), "vmap: the size of the batch, -3, can be negative");
}

}  // namespace
}  // namespace tenfold
