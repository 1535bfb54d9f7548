#include "tenfold/ir/eval.h"

#include "tenfold/ir/space.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

TEST(Scalar, Conversions) {
  EXPECT_EQ(Scalar(300).round_to(Dtype::i8), Scalar(44));  // integers wrap
  EXPECT_EQ(Scalar(-1).round_to(Dtype::u16), Scalar(uint64_t{65535}));
  EXPECT_EQ(Scalar(300.7).round_to(Dtype::i8), Scalar(127));  // floats truncate and saturate
  EXPECT_EQ(Scalar(-300.7).round_to(Dtype::i8), Scalar(-128));
  EXPECT_EQ(Scalar(-3.9).round_to(Dtype::i32), Scalar(-3));
  EXPECT_EQ(Scalar(-3.9).round_to(Dtype::u32), Scalar(uint64_t{0}));
  EXPECT_EQ(Scalar(std::nan("")).round_to(Dtype::i64), Scalar(0));
  EXPECT_EQ(Scalar(1e300).round_to(Dtype::u64), Scalar(std::numeric_limits<uint64_t>::max()));
  EXPECT_EQ(Scalar(-1e300).round_to(Dtype::i64), Scalar(std::numeric_limits<int64_t>::min()));
  EXPECT_EQ(Scalar(std::nan("")).round_to(Dtype::boolean), Scalar(true));
  EXPECT_EQ(Scalar(-0.0).round_to(Dtype::boolean), Scalar(false));
  EXPECT_EQ(Scalar(1e300).round_to(Dtype::f32), Scalar(INFINITY));
  EXPECT_EQ(Scalar(int64_t{16777217}).round_to(Dtype::f32), Scalar(16777216.0));
  EXPECT_EQ(Scalar((int64_t{1} << 62) + (int64_t{1} << 38) + 1).round_to(Dtype::f32),
            Scalar(0x1.000002p62));  // rounded once
  EXPECT_EQ(Scalar(65520.0).round_to(Dtype::f16), Scalar(INFINITY));
  EXPECT_EQ(Scalar(1.00390625).round_to(Dtype::bf16), Scalar(1.0));
  EXPECT_EQ(Scalar(Complex(0.1, 2)).round_to(Dtype::complex64), Scalar(Complex(0.1f, 2)));
  EXPECT_EQ(Scalar(Complex(3.5, 2)).i(), 3);
  EXPECT_NE(Scalar(0.0), Scalar(-0.0));
  EXPECT_NE(Scalar(1), Scalar(1.0));
  EXPECT_EQ(Scalar(std::nan("")), Scalar(std::nan("")));
  EXPECT_EQ(Scalar(std::nan("")).hash(), Scalar(std::nan("")).hash());
}

TEST(Scalar, MemoryHoldsEveryDtype) {
  for (int d = 0; d < kDtypeCount; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    for (const Scalar& value :
         {Scalar(0), Scalar(1), Scalar(100), Scalar(-7.25), Scalar(true), Scalar(Complex(2, 3))}) {
      Array a(dtype, {3});
      a.set(1, value);
      EXPECT_EQ(a.at(1), value.round_to(dtype)) << name(dtype);
      EXPECT_EQ(a.at(0), Scalar(0).round_to(dtype));
      EXPECT_EQ(a.at(2), Scalar(0).round_to(dtype));
    }
  }
}

TEST(Evaluate, LeavesAndMaps) {
  const Graph graph = graph_of({{Dtype::f32, {2, 3}}}, [](const Nodes& p) {
    return Nodes{p[0] * 2.0 + 1.0, iota({2, 3}, 0), iota({2, 3}, 1, Dtype::f32), constant(7, Dtype::u8),
                 p[0]};
  });
  const Array x = array(Dtype::f32, {2, 3}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(run(graph, {x}, 0), (std::vector<double>{1, 3, 5, 7, 9, 11}));
  EXPECT_EQ(run(graph, {x}, 1), (std::vector<double>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(run(graph, {x}, 2), (std::vector<double>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(run(graph, {x}, 3), (std::vector<double>{7}));
  EXPECT_EQ(run(graph, {x}, 4), values(x));
}

TEST(Evaluate, SymbolsComeFromArgumentsOrByName) {
  const Dim n = Dim::symbol({"evaluate_n", 0, 100, 8}), m = Dim::symbol({"evaluate_m", 0, 100, 8});
  const auto body = body_of({{Dtype::i64, {}}, {Dtype::i64, {}}},
                            [&](const Nodes& p) { return Nodes{p[1] + reduce("sum", iota({n}, 0), {0})}; });
  const Graph graph = graph_of({{Dtype::f64, {n}}, {Dtype::f64, {2 * m}}}, [&](const Nodes& p) {
    return Nodes{reduce("sum", p[0], {0}), reshape(p[1], {m, 2}), extent(n),
                 slice_axis(p[0], 0, 0, floordiv(n, 2)), scan(body, {constant(0, Dtype::i64)}, {}, {}, m)[0]};
  });
  expect_well_formed(graph);
  const std::vector<Array> arguments{array(Dtype::f64, {3}, {1, 2, 3}), array(Dtype::f64, {4}, {1, 2, 3, 4})};
  const std::vector<Array> got = evaluate(graph, arguments, {{"evaluate_m", 2}});
  EXPECT_EQ(values(got[0]), (std::vector<double>{6}));
  EXPECT_EQ(got[1].shape, (Ints{2, 2}));
  EXPECT_EQ(values(got[2]), (std::vector<double>{3}));
  EXPECT_EQ(values(got[3]), (std::vector<double>{1}));
  EXPECT_EQ(values(got[4]), (std::vector<double>{6}));  // twice 0 + 1 + 2
  EXPECT_EQ(error_of([&] { evaluate(graph, arguments, {{"evaluate_n", 4}, {"evaluate_m", 2}}); }),
            "argument 0 is f64[3]; the graph needs f64[evaluate_n]");
}

TEST(Evaluate, ArgumentsMustFit) {
  Graph graph = graph_of({{Dtype::f32, {2}}}, [](const Nodes& p) { return p; });
  graph.names = {"x"};
  EXPECT_EQ(error_of([&] { evaluate(graph, {}); }), "the graph takes 1 arguments, but 0 came");
  EXPECT_EQ(error_of([&] { run(graph, {scalar(Dtype::f32, 1)}); }),
            "argument 0 (x) is f32[]; the graph needs f32[2]");
  EXPECT_EQ(error_of([&] { run(graph, {array(Dtype::f64, {2}, {1, 2})}); }),
            "argument 0 (x) is f64[2]; the graph needs f32[2]");
}

TEST(Leaf, Errors) {
  EXPECT_EQ(error_of([] { iota({2, 3}, 2); }),
            "iota: axis 2 does not exist in the shape [2,3]; axes go from 0 to 1");
  EXPECT_EQ(error_of([] { iota({2}, 0, Dtype::boolean); }),
            "iota: cannot count in bool; use an integer or floating dtype");
  EXPECT_EQ(error_of([] { make("constant", {}, {{"value", Scalar(0.1)}, {"dtype", Dtype::f32}}); }),
            "constant: 0.1 is not a value of f32; the nearest one is 0.10000000149011612");
}

TEST(Space, Scaled) {
  const Dim n = Dim::symbol({"scaled_n", 8, 64, 16});
  const Form form{3, {{1, n}, {0, 4}, {2, 1}}, false};
  EXPECT_EQ(scaled(form, 2, 1), (Form{7, {{1, 2 * n}, {0, 8}, {2, 2}}, false}));
  EXPECT_EQ(scaled(form, -1, 9),
            (Form{6, {{2, -1}, {0, -4}, {1, -1 * n}}, false}));  // largest coefficient first
  EXPECT_EQ(scaled(form, 0, 9), Form::point(9));
  EXPECT_EQ(scaled(Form::all(), 2, 1), Form::all());
}

}  // namespace
}  // namespace tenfold
