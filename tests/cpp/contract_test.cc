#include "tenfold/ir/space.h"

#include "graph_testing.h"

namespace tenfold {
namespace {

using namespace build;
using namespace tenfold::testing;

Graph contraction(const Type& a, const Type& b, const char* spec) {
  return graph_of({a, b}, [&](const Nodes& p) { return Nodes{contract(p[0], p[1], spec)}; });
}

TEST(Contract, Values) {
  const Array a = array(Dtype::f64, {2, 3}, {0, 1, 2, 3, 4, 5}),
              b = array(Dtype::f64, {3, 2}, {1, 2, 3, 4, 5, 6});
  const auto given = [&](const char* spec) {
    return run(contraction({Dtype::f64, {2, 3}}, {Dtype::f64, {3, 2}}, spec), {a, b});
  };
  EXPECT_EQ(given("mk,kn->mn"), (std::vector<double>{13, 16, 40, 52}));
  EXPECT_EQ(given("mk,kn->nm"), (std::vector<double>{13, 40, 16, 52}));
  EXPECT_EQ(given("mk,km->"), (std::vector<double>{65}));
  EXPECT_EQ(given("mk,km->k"), (std::vector<double>{6, 19, 40}));  // 0*1+3*2, 1*3+4*4, 2*5+5*6
  EXPECT_EQ(given("mk,ab->m"),
            (std::vector<double>{63, 252}));  // letters of one input only are summed: 3*21, 12*21
  EXPECT_EQ(given("mk,ab->ambk").size(), 36);
  EXPECT_EQ(run(contraction({Dtype::f64, {}}, {Dtype::f64, {2}}, ",a->a"),
                {scalar(Dtype::f64, 3), array(Dtype::f64, {2}, {1, 2})}),
            (std::vector<double>{3, 6}));
  EXPECT_EQ(run(contraction({Dtype::f64, {2, 0}}, {Dtype::f64, {0, 2}}, "mk,kn->mn"),
                {Array(Dtype::f64, {2, 0}), Array(Dtype::f64, {0, 2})}),
            (std::vector<double>{0, 0, 0, 0}));
}

TEST(Contract, IntegersWrapAndBoolIsAnyOfBoth) {
  const auto one = [](Dtype dtype, const Scalar& x, const Scalar& y) {
    Array a(dtype, {2}), b(dtype, {2});
    a.set(0, x), a.set(1, x), b.set(0, y), b.set(1, 0);
    return evaluate(contraction({dtype, {2}}, {dtype, {2}}, "k,k->"), std::vector<Array>{a, b})[0].at(0);
  };
  EXPECT_EQ(one(Dtype::i8, 100, 3), Scalar(44));
  EXPECT_EQ(one(Dtype::i32, int64_t{1} << 30, 6), Scalar(-2147483648));
  EXPECT_EQ(one(Dtype::u64, std::numeric_limits<uint64_t>::max(), 2),
            Scalar(std::numeric_limits<uint64_t>::max() - 1));
  EXPECT_EQ(one(Dtype::i64, -3, 5), Scalar(-15));
  EXPECT_EQ(one(Dtype::boolean, true, true), Scalar(true));
  EXPECT_EQ(one(Dtype::boolean, true, false), Scalar(false));
  EXPECT_EQ(one(Dtype::complex128, Complex(1, 2), Complex(3, 4)), Scalar(Complex(-5, 10)));
  // 2048 + 1 is not an f16, 2048 + 1 + 1 is: the sum is rounded once.
  const Array ones = array(Dtype::f16, {3}, {2048, 1, 1}), w = array(Dtype::f16, {3}, {1, 1, 1});
  EXPECT_EQ(run(contraction({Dtype::f16, {3}}, {Dtype::f16, {3}}, "k,k->"), {ones, w}),
            (std::vector<double>{2050}));
}

TEST(Contract, NarrowInputsAreSummedInAWiderDtype) {
  const auto one = [](Dtype a, const Scalar& x, Dtype b, const Scalar& y, Dtype sums) {
    Array left(a, {3}), right(b, {3});
    for (int i = 0; i < 3; ++i) left.set(i, x), right.set(i, y);
    const Graph g = graph_of({{a, {3}}, {b, {3}}},
                             [&](const Nodes& p) { return Nodes{contract(p[0], p[1], "k,k->", sums)}; });
    EXPECT_EQ(g.results[0]->dtype(), sums);
    return evaluate(g, std::vector<Array>{left, right})[0].at(0);
  };
  EXPECT_EQ(one(Dtype::i8, -128, Dtype::i8, -128, Dtype::i32), Scalar(3 * 128 * 128));
  EXPECT_EQ(one(Dtype::u8, 255, Dtype::i8, -128, Dtype::i32), Scalar(-3 * 255 * 128));
  EXPECT_EQ(one(Dtype::u16, 65535, Dtype::u16, 65535, Dtype::i32), Scalar(-393213));  // modulo 2^32
  EXPECT_EQ(one(Dtype::bf16, 257.0, Dtype::f16, 2049.0, Dtype::f32), Scalar(3.0 * 256 * 2048));
  EXPECT_EQ(contract(parameter(0, {Dtype::f32, {2}}), parameter(1, {Dtype::f32, {2}}), "k,k->", Dtype::f32),
            contract(parameter(0, {Dtype::f32, {2}}), parameter(1, {Dtype::f32, {2}}), "k,k->"));
  const NodeRef x = parameter(0, {Dtype::f16, {2}}), n = parameter(1, {Dtype::i8, {2}});
  EXPECT_EQ(
      error_of([&] { contract(x, n, "k,k->", Dtype::f32); }),
      "contract \"k,k->\": products of f16 and i8 are not summed in f32 (f16 and bf16 are in f32, integers "
      "of 8 and 16 bits in i32); convert both inputs to f32 first");
  for (const char* spec : {"mk,kn->mn", "mk,km->k", "mk,ab->m"}) {
    const Graph g = graph_of({{Dtype::i8, {2, 3}}, {Dtype::u8, {3, 2}}},
                             [&](const Nodes& p) { return Nodes{contract(p[0], p[1], spec, Dtype::i32)}; });
    expect_well_formed(g);
    expect_batches(g);
  }
}

TEST(Contract, Laws) {
  for (const char* spec :
       {"mk,kn->mn", "mk,km->", "mk,km->k", "mk,ab->m", "mk,ab->ambk", "mk,ab->", "mk,km->mk"}) {
    const Graph graph = contraction({Dtype::f64, {2, 3}}, {Dtype::f64, {3, 2}}, spec);
    expect_well_formed(graph);
    expect_batches(graph);
    expect_gradients(graph);
  }
  const Graph same_twice = graph_of({{Dtype::f64, {3, 3}}},
                                    [](const Nodes& p) { return Nodes{contract(p[0], p[0], "mk,kn->mn")}; });
  expect_gradients(same_twice);
}

TEST(Contract, Relation) {
  struct Fresh : Space {
    AtomId next = 100;
    Form fresh(const Dim& extent, std::string_view) override {
      return extent == Dim(1) ? Form::point() : Form::of(next++);
    }
    Forms reshape(const Shape&, const Forms&, const Shape&) override { return {}; }
  } space;
  const NodeRef y = contraction({Dtype::f32, {2, 3, 1}}, {Dtype::f32, {3, 5, 7}}, "mko,knz->nm").results[0];
  const Relation relation = y->prim->relation(*y, {Form::of(0), Form::of(1)}, space);
  EXPECT_EQ(relation.inputs, (std::vector<Forms>{{Form::of(1), Form::of(100), Form::point()},
                                                 {Form::of(100), Form::of(0), Form::of(101)}}));
  EXPECT_EQ(relation.reduced, (std::vector<AtomId>{100, 101}));
  const std::vector<Degree> degrees{{Degree::Kind::number, 1}, {Degree::Kind::number, 2}};
  EXPECT_EQ(y->prim->degree(degrees), (Degree{Degree::Kind::number, 3}));
}

TEST(Contract, ErrorsInFull) {
  const NodeRef x = parameter(0, {Dtype::f32, {32, 128}}), w = parameter(1, {Dtype::f32, {64, 128}});
  const auto error = [&](const char* spec) { return error_of([&] { contract(x, w, spec); }); };
  EXPECT_EQ(error("mk,kn->mn"),
            "contract \"mk,kn->mn\": axis k is 128 in the first input (f32[32,128]) but 64 in the second "
            "(f32[64,128]); did you mean \"mk,nk->mn\"?");
  EXPECT_EQ(error("mk,mn->kn"),
            "contract \"mk,mn->kn\": axis m is 32 in the first input (f32[32,128]) but 64 in the second "
            "(f32[64,128])");
  EXPECT_EQ(error("mk"),
            "contract \"mk\": a specification reads \"mk,kn->mn\": the axes of the first input, of the "
            "second, and of the result");
  EXPECT_EQ(error("mm,kn->mn"),
            "contract \"mm,kn->mn\": axis m stands twice in the first input; each letter may stand once in "
            "an operand");
  EXPECT_EQ(error("m1,kn->mn"),
            "contract \"m1,kn->mn\": '1' cannot name an axis of the first input; use letters");
  EXPECT_EQ(error("mk,nk->mz"), "contract \"mk,nk->mz\": axis z of the result is in neither input");
  EXPECT_EQ(error("m,nk->mn"),
            "contract \"m,nk->mn\": \"m\" names 1 axes, but the first input is f32[32,128]");
  EXPECT_EQ(error_of([&] { contract(x, parameter(1, {Dtype::f64, {64, 128}}), "mk,nk->mn"); }),
            "contract \"mk,nk->mn\": the inputs are f32[32,128] and f64[64,128]; convert one to the dtype of "
            "the other");
}

}  // namespace
}  // namespace tenfold
