#include "tenfold/ir/node.h"

#include <ctime>
#include <thread>

#include "tenfold/ir/batch.h"
#include "tenfold/ir/differentiate.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

const Type kVector{Dtype::f64, {4}};

TEST(Node, EqualStructureIsTheSameNode) {
  const NodeRef x = parameter(0, kVector);
  EXPECT_EQ(x, parameter(0, kVector));
  EXPECT_EQ(x * x + 1.0, x * x + 1.0);
  EXPECT_NE(x * x, x + x);
  EXPECT_NE(x, parameter(1, kVector));
  EXPECT_NE(x, parameter(0, kVector, 1));
  EXPECT_NE(parameter(0, {Dtype::f32, {4}}), x);
  EXPECT_NE(constant(0.0, Dtype::f64), constant(-0.0, Dtype::f64));
  EXPECT_EQ(constant(std::nan(""), Dtype::f64), constant(-std::nan("1"), Dtype::f64));
  EXPECT_LT(x->id, (x * x)->id);
}

TEST(Node, SubGraphsCompareByStructure) {
  const auto body = [&](std::vector<std::string> names) {
    Graph graph = graph_of({{Dtype::i64, {}}, kVector}, [](const Nodes& p) { return Nodes{p[1] * 2.0}; });
    graph.names = std::move(names);
    return std::make_shared<const Graph>(graph);
  };
  const NodeRef x = parameter(0, kVector);
  EXPECT_EQ(scan(body({}), {x}, {}, {}, 3)[0], scan(body({"step", "c"}), {x}, {}, {}, 3)[0]);
  EXPECT_NE(scan(body({}), {x}, {}, {}, 3)[0], scan(body({}), {x}, {}, {}, 4)[0]);
}

TEST(Node, TheTableIsWeak) {
  const int64_t before = live_nodes();
  {
    const NodeRef x = parameter(0, {Dtype::f64, {17}});
    const NodeRef y = x * x + x;
    EXPECT_EQ(live_nodes(), before + 3);
    const auto body =
        body_of({{Dtype::i64, {}}, x->type()}, [](const Nodes& p) { return Nodes{p[1] * p[1]}; });
    scan(body, {y}, {}, {}, 5);
  }
  EXPECT_EQ(live_nodes(), before);
}

TEST(Node, ThreadsShareNodes) {
  const int64_t before = live_nodes();
  {
    std::vector<NodeRef> results(8);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t)
      threads.emplace_back([&results, t] {
        for (int repeat = 0; repeat < 200; ++repeat) {
          NodeRef x = parameter(0, kVector);
          for (int i = 0; i < 20; ++i) x = x * static_cast<double>(i) + x;
          results[t] = x;
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const NodeRef& result : results) EXPECT_EQ(result, results[0]);
  }
  EXPECT_EQ(live_nodes(), before);
}

TEST(Node, WrongUseIsAnInternalError) {
  const NodeRef x = parameter(0, kVector);
  EXPECT_THROW(make("no_such_primitive", {x}), InternalError);
  EXPECT_THROW(make("add", {x}), InternalError);
  EXPECT_THROW(make("transpose", {x}), InternalError);
  EXPECT_THROW(make("transpose", {x}, {{"permutation", int64_t{0}}}), InternalError);
  EXPECT_THROW(make("transpose", {x}, {{"permutation", Ints{0}}, {"axis", int64_t{0}}}), InternalError);
  const auto body = body_of({{Dtype::i64, {}}, kVector}, [](const Nodes& p) { return Nodes{p[1], p[1]}; });
  const NodeRef loop =
      make("scan", {x}, {{"body", body}, {"carries", int64_t{1}}, {"xs", int64_t{0}}, {"length", Shape{3}}});
  EXPECT_THROW(loop->type(), InternalError);
  EXPECT_THROW(make("neg", {loop}), InternalError);
}

TEST(Node, TopologicalStopsAtLeaves) {
  const NodeRef x = parameter(0, kVector), a = x * x, b = a + 1.0;
  const Nodes roots{b}, leaves{a};
  EXPECT_EQ(topological(roots).front(), x);
  EXPECT_EQ(topological(roots).back(), b);
  EXPECT_EQ(topological(roots, leaves).front(), a);
  EXPECT_THAT(topological(roots, leaves), ::testing::Not(::testing::Contains(x)));
}

// Every walk over a graph of 100,000 nodes in a row: no recursion, and time that grows with the size.
TEST(Node, LongChains) {
  const int64_t before = live_nodes();
  const auto seconds = [&](int length) {
    const std::clock_t start = std::clock();  // of the processor: other work on the machine does not count
    Graph graph = graph_of({kVector, {Dtype::f64, {}}}, [&](const Nodes& p) {
      NodeRef x = p[0];
      for (int i = 0; i < length; ++i) x = i % 2 ? map("sin", {x}) : x * p[1];
      return Nodes{reduce("sum", x, {0})};
    });
    const int64_t scope = fresh_scope();
    const Nodes leaves{parameter(0, kVector, scope), parameter(1, {Dtype::f64, {}}, scope)};
    const Nodes traced = call(graph, leaves);
    const Closed closed = close({leaves[0]}, traced);
    EXPECT_EQ(closed.captured.size(), 1);
    EXPECT_TRUE(same(*closed.graph, graph));
    EXPECT_THAT(verify(graph), ::testing::IsEmpty());
    EXPECT_TRUE(same(graph, parse_graph(print(graph))));
    EXPECT_EQ(evaluate(graph, random_arguments(graph, 1)).size(), 1);
    EXPECT_EQ(vmap(graph, {true, false}, 2).results.size(), 1);
    EXPECT_EQ(value_and_grad(graph, std::vector<int>{0, 1}).results.size(), 3);
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  };
  const double small = seconds(5'000),
               large = seconds(100'000);  // 20 times; a quadratic walk would take 400 times
  EXPECT_LT(large, 120 * small + 1) << "time is not linear in the length";
  EXPECT_EQ(live_nodes(), before);
}

TEST(Close, CapturesTheLargestExpressionsThatDoNotDependOnTheBody) {
  const int64_t outer = fresh_scope(), inner = fresh_scope();
  const NodeRef w = parameter(0, kVector, outer), s = parameter(1, {Dtype::f64, {}}, outer),
                x = parameter(0, kVector, inner);
  const NodeRef scaled = w * 2.0;
  const Closed closed = close({x}, {x * scaled + s * x, w + 1.0}, {"x"});
  EXPECT_THAT(closed.captured, ::testing::ElementsAre(scaled, s, w + 1.0));
  EXPECT_EQ(closed.graph->parameters.size(), 4);
  EXPECT_EQ(closed.graph->names, (std::vector<std::string>{"x", "captured0", "captured1", "captured2"}));
  EXPECT_EQ(closed.graph->parameters[2]->type(), s->type());  // the number, not its broadcast
  EXPECT_THAT(verify(*closed.graph), ::testing::IsEmpty());
  Nodes arguments{x};
  arguments.insert(arguments.end(), closed.captured.begin(), closed.captured.end());
  EXPECT_EQ(call(*closed.graph, arguments), (Nodes{x * scaled + s * x, w + 1.0}));
}

TEST(Substitute, ReplacesAllAtOnce) {
  const NodeRef x = parameter(0, kVector), y = parameter(1, kVector);
  EXPECT_EQ(substitute({x - y}, {{x, y}, {y, x}})[0], y - x);
  EXPECT_EQ(substitute({x - y}, {})[0], x - y);
}

}  // namespace
}  // namespace tenfold
