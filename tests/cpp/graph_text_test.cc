#include "tenfold/ir/text.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

TEST(GraphText, Reads) {
  Graph graph;
  const Dim n = Dim::symbol({"rows", 1, 4096, 64});
  graph.parameters = {parameter(0, {Dtype::f32, {n, 8}}), parameter(1, {Dtype::f32, {}})};
  graph.names = {"x", "scale"};
  const NodeRef x = graph.parameters[0];
  const NodeRef top = reduce("max", x, {1});
  const auto body = body_of({{Dtype::i64, {}}, {Dtype::f32, {n}}, {Dtype::f32, {}}}, [](const Nodes& p) {
    return Nodes{p[1] * p[2] + convert(p[0], Dtype::f32), p[1]};
  });
  const Nodes loop = scan(body, {top}, {}, {graph.parameters[1]}, 16);
  graph.results = {x - broadcast(top, x->shape(), {0}), loop[1], full(0.1, {Dtype::f32, {2}})};
  EXPECT_EQ(print(graph, "f"), R"(tenfold 1
symbol rows in 1..4096 hint 64
graph f(x: f32[rows,8], scale: f32[]) {
  %0 = reduce_max(%x) axes=[1]
  %1 = broadcast(%0) axes=[0] shape=[rows,8]
  %2 = sub(%x, %1)
  body0 = graph(p0: i64[], p1: f32[rows], p2: f32[]) {
    %0 = broadcast(%p2) axes=[] shape=[rows]
    %1 = mul(%p1, %0)
    %2 = convert(%p0) dtype=f32
    %3 = broadcast(%2) axes=[] shape=[rows]
    %4 = add(%1, %3)
    return %4, %p1
  }
  %3, %4 = scan(%0, %scale) body=body0 carries=1 checkpoint=0 length=[16] reverse=0 xs=0
  %5 = constant() dtype=f32 value=0.1
  %6 = broadcast(%5) axes=[] shape=[2]
  return %2, %4, %6
}
)");
  expect_well_formed(graph);
  EXPECT_EQ(parse_graph(print(graph)).names, graph.names);
}

TEST(GraphText, EveryNumberReadsBack) {
  const std::vector<std::pair<Scalar, Dtype>> numbers = {{true, Dtype::boolean},
                                                         {false, Dtype::boolean},
                                                         {std::numeric_limits<int64_t>::min(), Dtype::i64},
                                                         {std::numeric_limits<int64_t>::max(), Dtype::i64},
                                                         {-5, Dtype::i8},
                                                         {std::numeric_limits<uint64_t>::max(), Dtype::u64},
                                                         {uint64_t{1} << 63, Dtype::u64},
                                                         {7, Dtype::u8},
                                                         {-0.0, Dtype::f64},
                                                         {0.1, Dtype::f64},
                                                         {0.1, Dtype::f32},
                                                         {0.1, Dtype::f16},
                                                         {0.1, Dtype::bf16},
                                                         {1e-45, Dtype::f32},
                                                         {5e-324, Dtype::f64},
                                                         {3.4e38, Dtype::f32},
                                                         {16777216.0, Dtype::f32},
                                                         {INFINITY, Dtype::f32},
                                                         {-INFINITY, Dtype::f64},
                                                         {std::nan(""), Dtype::f16},
                                                         {Complex(0.1, -0.0), Dtype::complex64},
                                                         {Complex(-INFINITY, 0.1), Dtype::complex128},
                                                         {1.0, Dtype::f32},
                                                         {-3, Dtype::f64}};
  for (const auto& [value, dtype] : numbers) {
    Graph graph;
    graph.results = {constant(value, dtype)};
    EXPECT_TRUE(same(graph, parse_graph(print(graph)))) << print(graph);
  }
}

TEST(GraphText, NamesThatCannotStandAreReplaced) {
  Graph graph = graph_of({{Dtype::f32, {}}, {Dtype::f32, {}}, {Dtype::f32, {}}},
                         [](const Nodes& p) { return Nodes{p[0] + p[1] * p[2]}; });
  graph.names = {"x y", "x", "x"};
  EXPECT_THAT(print(graph), ::testing::HasSubstr("graph main(p0: f32[], x: f32[], x_: f32[]) {"));
  expect_well_formed(graph);
}

TEST(GraphText, ByHand) {
  const Graph graph = parse_graph(R"(tenfold 1   # the format
graph main(%x: f32[2,3]) {                      # a name may carry its sign here
  two = constant() value=2 dtype=f32            # an integer, rounded to the dtype
  %1 = broadcast(two) shape=[2,3] axes=[]
  double = graph(step: i64[], c: f32[2,3], two: f32[2,3]) { %0 = mul(c, two) return %0 }
  %2 = scan(x, %1) body=double carries=1 xs=0 length=[3]
  return %2
}
---- expect
anything
)");
  EXPECT_EQ(run(graph, {array(Dtype::f32, {2, 3}, {1, 2, 3, 4, 5, 6})}),
            (std::vector<double>{8, 16, 24, 32, 40, 48}));
  expect_well_formed(graph);
}

// A sub-graph of an outer graph may be used inside another.
TEST(GraphText, NestedBodies) {
  const Type vector{Dtype::f64, {3}};
  const auto inner =
      body_of({{Dtype::i64, {}}, vector, vector}, [](const Nodes& p) { return Nodes{p[1] * p[2]}; });
  const auto outer = body_of({{Dtype::i64, {}}, vector, vector}, [&](const Nodes& p) {
    return Nodes{scan(inner, {p[1]}, {}, {p[2]}, 2)[0], p[1]};
  });
  const auto go = body_of({vector}, [](const Nodes& p) {
    return Nodes{map("less", {reduce("sum", p[0], {0}), constant(10.0, Dtype::f64)})};
  });
  const auto twice = body_of({vector}, [](const Nodes& p) { return Nodes{p[0] * 2.0}; });
  const auto same_body = body_of({vector}, [](const Nodes& p) { return Nodes{p[0]}; });
  Graph graph = graph_of({vector, vector, {Dtype::boolean, {}}}, [&](const Nodes& p) {
    const Nodes loop = scan(outer, {p[0]}, {}, {p[1]}, 3);
    return Nodes{while_loop(go, twice, {loop[0]}, {})[0], loop[1], cond(p[2], twice, same_body, {p[0]})[0],
                 scan(inner, {p[0]}, {}, {p[1]}, 2)[0]};
  });
  expect_well_formed(graph);
}

struct Bad {
  const char* text;
  const char* error;
};

TEST(GraphText, ErrorsInFull) {
  const Bad cases[] = {
      {"", "f.ten:1:1: the first line must be the header 'tenfold 1'"},
      {"tenfold 2\ngraph main() { return }", "f.ten:1:9: this tenfold reads version 1 of the format"},
      {"tenfold 1\nkernel main() { return }",
       "f.ten:2:1: a tile program is not a graph: kernels run as parts of a plan, beside its graph"},
      {"tenfold 1\nplan { }", "f.ten:2:1: a plan is not a graph: it runs beside its graph, as --plan"},
      {"tenfold 1\nsymbol n in 5..1\ngraph main() { return }",
       "f.ten:2:8: dimension n has no values: its bounds are [5, 1]"},
      {"tenfold 1\nsymbol q1 in 1..5\nsymbol q1 in 1..5\n", "f.ten:3:8: the symbol 'q1' is declared twice"},
      {"tenfold 1\ngraph main(x: f33[2]) { return x }", "f.ten:2:15: there is no dtype named 'f33'"},
      {"tenfold 1\ngraph main(x: f32[m]) { return x }", "f.ten:2:19: the symbol 'm' has not been declared"},
      {"tenfold 1\ngraph main(x: f32[-1]) { return x }",
       "f.ten:2:12: parameter: the shape [-1] has the extent -1, which can be negative; give it a lower "
       "bound of 0"},
      {"tenfold 1\ngraph main(x: f32[2], x: f32[2]) { return x }",
       "f.ten:2:23: the name 'x' stands twice in this graph"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = neg(%y)\n  return %0\n}",
       "f.ten:3:12: there is no value '%y' here: a value stands before its uses, in the same graph"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = negate(%x)\n  return %0\n}",
       "f.ten:3:8: there is no primitive named 'negate'"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = parameter() index=0 scope=0 dtype=f32 shape=[]\n  return "
       "%0\n}",
       "f.ten:3:8: there is no primitive named 'parameter'"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = add(%x)\n  return %0\n}",
       "f.ten:3:8: add takes 2 inputs, not 1"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = reshape(%x)\n  return %0\n}",
       "f.ten:3:8: reshape needs the attribute 'shape' (a shape)"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = reshape(%x) form=[2,1]\n  return %0\n}",
       "f.ten:3:20: reshape has no attribute 'form'; it has shape"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = reshape(%x) shape=2\n  return %0\n}",
       "f.ten:3:26: expected '[', found '2'"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = reshape(%x) shape=[3]\n  return %0\n}",
       "f.ten:3:8: reshape: f32[2] has 2 elements and [3] has 3; they must be as many"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = scan(%x) body=b carries=1 xs=0 length=[2]\n  return %0\n}",
       "f.ten:3:22: there is no sub-graph 'b': it stands before its use, as 'b = graph(...) { ... }'"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  b = graph(s: i64[], c: f32[2]) { return c, c }\n  %0 = "
       "scan(%x) body=b carries=1 xs=0 length=[2]\n  return %0\n}",
       "f.ten:4:3: scan gives 2 values, but 1 name stands before the '='"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  b = graph(s: i64[], c: f32[2]) { return x }\n  return %x\n}",
       "f.ten:3:43: there is no value 'x' here: a value stands before its uses, in the same graph"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = neg(%x)\n  %0 = neg(%x)\n  return %0\n}",
       "f.ten:4:3: the name '%0' stands twice in this graph"},
      {"tenfold 1\ngraph main(x: f32[2]) {\n  %0 = neg(%x)\n",
       "f.ten:4:1: expected a statement or 'return', found the end of the text"},
      {"tenfold 1\ngraph main(x: f32[2]) { return x } more",
       "f.ten:2:36: expected the end of the text after the graph"},
  };
  for (const Bad& bad : cases)
    EXPECT_EQ(error_of([&] { parse_graph(bad.text, "f.ten"); }), bad.error) << bad.text;
  std::string deep = "tenfold 1\ngraph main() {";
  for (int i = 0; i < 100'000; ++i) deep += "a=graph(){";
  EXPECT_EQ(error_of([&] { parse_graph(deep, "f.ten"); }),
            "f.ten:2:662: sub-graphs stand more than 64 deep in each other");
}

// Whatever is cut out of a program or put into it, the parser answers or raises a UserError.
TEST(GraphText, DamagedTextIsAUserError) {
  const Type vector{Dtype::f64, {3}};
  const auto body = body_of({{Dtype::i64, {}}, vector, {Dtype::f64, {}}},
                            [](const Nodes& p) { return Nodes{p[1] * p[2], p[1]}; });
  const std::string good = print(graph_of({vector, {Dtype::f64, {3, 3}}}, [&](const Nodes& p) {
    const Nodes loop = scan(body, {p[0]}, {contract(p[0], p[1], "a,ab->b")}, {}, 3);
    const NodeRef z = constant(0.5, Dtype::f64);
    return Nodes{pad(loop[1], z, {1, 0}, {0, 2}),
                 slice(p[1], {0, 1}, {3, 3}, {2, 1}),
                 concatenate({p[1], p[1]}, 1),
                 reverse(p[0], {0}),
                 broadcast(p[0], {2, 3}, {1}),
                 transpose(p[1], {1, 0}),
                 iota({4}, 0)};
  }));
  std::mt19937 random(3);
  const std::string pieces[] = {"%0",    "[",  "]",   "(",  ")",   "=",      "-", "9999999999999999999",
                                "body0", "0",  "-1",  "64", "f32", "return", "}", "{",
                                ",",     "\"", "inf", "->"};
  int parsed = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::string text = good;
    const size_t at = random() % text.size(), length = random() % 8;
    text.replace(at, length, random() % 2 ? pieces[random() % std::size(pieces)] : "");
    const std::string error = error_of([&] {
      const Graph graph = parse_graph(text, "f.ten");
      EXPECT_THAT(verify(graph), ::testing::IsEmpty());
      EXPECT_TRUE(same(graph, parse_graph(print(graph))));
      ++parsed;
    });
    ASSERT_FALSE(error.starts_with("not a UserError")) << error << "\n" << text;
    if (error != "no error") {
      ASSERT_TRUE(error.starts_with("f.ten:")) << error;
    }
  }
  EXPECT_GT(parsed, 50);
}

TEST(Verify, SaysWhatIsWrong) {
  const NodeRef x = parameter(0, {Dtype::f32, {2}}), y = parameter(1, {Dtype::f32, {2}}),
                open = parameter(0, {Dtype::f32, {2}}, 1);
  EXPECT_THAT(
      verify({{x}, {x + y}, {}}),
      ::testing::ElementsAre("uses a parameter (f32[2], index 1, scope 0) that is not one of the graph's"));
  EXPECT_THAT(verify({{y}, {y}, {}}),
              ::testing::ElementsAre("parameter 0 has index 1 and scope 0: in a closed graph the index is "
                                     "the position and the scope 0"));
  EXPECT_THAT(verify({{x + x}, {x + x}, {}}), ::testing::Contains("parameter 0 is add, not a parameter"));
  EXPECT_THAT(verify({{x}, {NodeRef()}, {"a", "b"}}),
              ::testing::ElementsAre("2 names for 1 parameters", "result 0 is missing"));
  const auto leaky = std::make_shared<const Graph>(
      Graph{{parameter(0, {Dtype::i64, {}}), parameter(1, x->type())}, {parameter(1, x->type()) + open}, {}});
  EXPECT_THAT(verify({{x}, scan(leaky, {x}, {}, {}, 3), {}}),
              ::testing::ElementsAre(
                  "scan body: uses a parameter (f32[2], index 0, scope 1) that is not one of the graph's"));
}

}  // namespace
}  // namespace tenfold
