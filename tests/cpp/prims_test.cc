// The records of maps, reductions, indexing and random numbers. Laws are tested of every record without
// naming it; values by hand only where there is an outside authority (Random123's known answers) or an edge.
#include <array>
#include <set>

#include "tenfold/ir/prims/philox.h"
#include "tenfold/ir/random.h"
#include "tenfold/ir/reduce.h"
#include "tenfold/rewrite/simplify.h"

#include "graph_testing.h"

namespace tenfold::testing {
namespace {

using build::map;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<const Prim*> of_kind(Kind kind) {
  std::vector<const Prim*> all;
  for (const Prim* p : all_prims())
    if (p->kind == kind) all.push_back(p);
  return all;
}

Attrs attrs_for(const Prim& p, Dtype to) { return p.attributes.empty() ? Attrs() : Attrs{{"dtype", to}}; }

// A node of the record over parameters of one dtype (a bool mask first where the record wants one); null if
// it does not take it.
std::optional<Graph> over(const Prim& p, Dtype d, const Shape& shape, Dtype to = Dtype::f32) {
  Graph g;
  for (int k = 0; k < p.arity; ++k)
    g.parameters.push_back(build::parameter(k, {p.has("select") && k == 0 ? Dtype::boolean : d, shape}));
  try {
    g.results = {make(p, g.parameters, attrs_for(p, to))};
  } catch (const UserError&) {
    return {};
  }
  return g;
}

// ---- laws of maps

TEST(Maps, TakeSomethingAndSayWhatTheyTake) {
  for (const Prim* p : of_kind(Kind::map)) {
    EXPECT_FALSE(p->doc.empty()) << p->name;
    EXPECT_EQ(static_cast<size_t>(p->arity), p->operands.size()) << p->name;
    EXPECT_TRUE(p->eval) << p->name;
    int taken = 0;
    for (int k = 0; k < kDtypeCount; ++k) {
      const auto d = static_cast<Dtype>(k);
      if (over(*p, d, {2}, d)) {
        ++taken;
        continue;
      }
      Nodes in;
      for (int i = 0; i < p->arity; ++i) in.push_back(build::parameter(i, {d, {2}}));
      const std::string error = error_of([&] { make(*p, in, attrs_for(*p, d)); });
      EXPECT_THAT(error, HasSubstr(std::string(p->name))) << name(d);
      EXPECT_THAT(error, HasSubstr(fmt::format("{}[2]", name(d)))) << p->name;
    }
    EXPECT_GT(taken, 0) << p->name;
  }
}

TEST(Maps, InputsMustAgree) {
  for (const Prim* p : of_kind(Kind::map)) {
    if (p->arity < 2) continue;
    for (Dtype d : {Dtype::f32, Dtype::i32, Dtype::u32, Dtype::boolean}) {
      std::optional<Graph> g = over(*p, d, {2});
      if (!g) continue;
      Nodes in = g->parameters;
      in.back() = build::parameter(9, {in.back()->dtype(), {3}});
      EXPECT_THAT(error_of([&] { make(*p, in); }),
                  HasSubstr(fmt::format("{}: the inputs differ in shape: ", p->name)));
      in.back() = build::parameter(9, {Dtype::i8, {2}});
      EXPECT_THAT(error_of([&] { make(*p, in); }),
                  ::testing::AllOf(HasSubstr(std::string(p->name)), HasSubstr("i8[2]")));
    }
  }
}

double distance(const Scalar& a, const Scalar& b, Dtype d) {  // in units of the last place
  if (a == b) return 0;
  if (!is_float(d)) return INFINITY;
  const double x = a.f(), y = b.f();
  if ((std::isnan(x) && std::isnan(y)) || x == y) return 0;
  const int digits = d == Dtype::f64 ? 53 : d == Dtype::f32 ? 24 : d == Dtype::f16 ? 11 : 8;
  const int lowest = d == Dtype::f64 ? -1022 : d == Dtype::f16 ? -14 : -126;
  return std::abs(x - y) /
         std::ldexp(1.0, std::max(std::ilogb(std::max(std::abs(x), 0x1p-1070)), lowest) - digits + 1);
}

double tame(std::mt19937& random, Dtype d) {
  const double special[] = {0.0, 1, -1, 0.5, 2, 3, 100, INFINITY, NAN, -2.5};
  if (random() % 4 == 0) return special[random() % (is_float(d) ? 10 : 3)];
  return std::uniform_real_distribution<double>(-4, 4)(random) * (is_float(d) ? 1 : 30);
}

TEST(Maps, ExpansionsAgreeWithTheirMeaning) {
  constexpr double kUlps =
      4;  // numeric_test has each bound; mod is a chain of rounded steps in narrow formats
  std::mt19937 random(5);
  for (const Prim* p : of_kind(Kind::map)) {
    if (!p->expand) continue;
    for (int k = 0; k < kDtypeCount; ++k) {
      const auto d = static_cast<Dtype>(k);
      const std::optional<Graph> g = over(*p, d, {200});
      if (!g || is_complex(d)) continue;
      const Graph core = expand(*g);
      for (const NodeRef& n : topological(core.results)) EXPECT_FALSE(n->prim->expand) << p->name;
      std::vector<Array> in;
      for (const NodeRef& q : g->parameters) {
        in.emplace_back(q->dtype(), Ints{200});
        for (int64_t i = 0; i < 200; ++i) in.back().set(i, tame(random, d));
      }
      const Array a = evaluate(*g, in)[0], b = evaluate(core, in)[0];
      for (int64_t i = 0; i < 200; ++i)
        EXPECT_LE(distance(a.at(i), b.at(i), g->results[0]->dtype()), kUlps)
            << p->name << " in " << name(d) << " of " << in[0].at(i).str()
            << (in.size() > 1 ? ", " + in[1].at(i).str() : "") << ": " << a.at(i).str() << " or "
            << b.at(i).str();
    }
  }
}

TEST(Maps, GradientsAreDifferenceQuotients) {
  for (const Prim* p : of_kind(Kind::map)) {
    std::optional<Graph> g = over(*p, Dtype::f64, {5}, Dtype::f64);
    if (!g || !is_float(g->results[0]->dtype())) continue;
    std::vector<Array> in;
    for (size_t k = 0; k < g->parameters.size(); ++k) {  // away from the steps and corners of any of them
      const std::vector<double> at[] = {
          {0.3, 0.7, 1.2, 1.7, 0.45}, {1.4, 0.6, 0.9, 2.2, 1.1}, {0.2, 0.1, 1.6, 0.4, 0.8}};
      in.push_back(g->parameters[k]->dtype() == Dtype::boolean ? array(Dtype::boolean, {5}, {1, 0, 1, 1, 0})
                                                               : array(Dtype::f64, {5}, at[k]));
    }
    SCOPED_TRACE(p->name);
    expect_gradients(*g, in, true, 1e-5);
  }
}

TEST(Maps, ComplexGradientsPairAsRealNumbers) {
  // A complex number as two real ones: the gradient of any real function of them is a difference quotient.
  const Graph g = graph_of({{Dtype::f64, {3}}, {Dtype::f64, {3}}, {Dtype::f64, {3}}}, [](const Nodes& p) {
    using namespace build;
    const NodeRef a = map("make_complex", {p[0], p[1]}), b = map("make_complex", {p[2], p[0]});
    const NodeRef c = (a * b - map("conj", {a})) / (b + a);
    return Nodes{map("real", {c}), map("imag", {c * c}), map("abs", {a})};
  });
  expect_gradients(g,
                   {array(Dtype::f64, {3}, {0.3, -0.7, 1.2}), array(Dtype::f64, {3}, {1.4, 0.6, -0.9}),
                    array(Dtype::f64, {3}, {0.2, 1.1, 0.6})},
                   true, 1e-5);
}

TEST(Maps, Batch) {
  for (const Prim* p : of_kind(Kind::map))
    for (Dtype d : {Dtype::i64, Dtype::u32, Dtype::boolean, Dtype::f64, Dtype::complex128}) {
      std::optional<Graph> g = over(*p, d, {2}, d);
      if (!g) continue;
      if (is_float(d)) {  // no NaN, which equals nothing
        Nodes in;
        for (const NodeRef& q : g->parameters) in.push_back(is_float(q->dtype()) ? map("abs", {q}) : q);
        g->results = {make(*p, in, attrs_for(*p, d))};
      }
      SCOPED_TRACE(p->name);
      expect_batches(*g);
      break;
    }
}

TEST(Maps, Edges) {
  auto of = [](std::string_view op, Dtype d, std::vector<std::vector<double>> in) {
    std::vector<Type> types;
    std::vector<Array> arrays;
    for (const auto& v : in)
      types.push_back({d, {static_cast<int64_t>(v.size())}}), arrays.push_back(array(d, {std::ssize(v)}, v));
    return run(graph_of(types, [&](const Nodes& p) { return Nodes{map(op, p)}; }), arrays);
  };
  EXPECT_THAT(of("div", Dtype::i32, {{7, -7, 5, -2147483648.0}, {2, 2, 0, -1}}),
              ElementsAre(3, -3, 0, -2147483648.0));
  EXPECT_THAT(of("floor_divide", Dtype::i32, {{7, -7, 5, -2147483648.0}, {2, 2, 0, -1}}),
              ElementsAre(3, -4, 0, -2147483648.0));
  EXPECT_THAT(of("mod", Dtype::i32, {{7, -7, 7, -7, 5, -2147483648.0}, {3, 3, -3, -3, 0, -1}}),
              ElementsAre(1, 2, -2, -1, 0, 0));
  EXPECT_THAT(of("mod", Dtype::f32, {{7, -7, 7, -7, -1}, {3, 3, -3, -3, INFINITY}}),
              ElementsAre(1, 2, -2, -1, INFINITY));
  EXPECT_THAT(of("round", Dtype::f32, {{0.5, 1.5, 2.5, -0.5, -1.5}}), ElementsAre(0, 2, 2, 0, -2));
  EXPECT_THAT(of("shift_right", Dtype::i8, {{-128, 64, -1}, {1, 9, 7}}), ElementsAre(-64, 32, -1));
  EXPECT_THAT(of("shift_left", Dtype::u8, {{129, 1, 1}, {1, 8, 7}}), ElementsAre(2, 1, 128));
  EXPECT_THAT(of("pow", Dtype::i32, {{3, 2, -1, 5, 1, 2}, {4, 31, -3, -1, -7, 0}}),
              ElementsAre(81, -2147483648.0, -1, 0, 1, 1));
  EXPECT_THAT(of("multiply_high", Dtype::u32, {{4294967295.0, 65536}, {4294967295.0, 65536}}),
              ElementsAre(4294967294.0, 1));
  EXPECT_TRUE(std::isnan(of("maximum", Dtype::f32, {{NAN}, {1}})[0]));
  EXPECT_TRUE(std::isnan(of("minimum", Dtype::f32, {{1}, {NAN}})[0]));
  EXPECT_TRUE(std::isnan(of("sign", Dtype::f32, {{NAN}})[0]));
  // One rounding: the product of 1 + 2^-12 with itself ends in 2^-24, which f32 alone would lose.
  EXPECT_THAT(of("fma", Dtype::f32, {{1 + 0x1p-12}, {1 + 0x1p-12}, {-1 - 0x1p-11}}), ElementsAre(0x1p-24));
}

TEST(Maps, ErrorsInFull) {
  const NodeRef x = build::parameter(0, {Dtype::f32, {3}}), y = build::parameter(1, {Dtype::f32, {4}}),
                n = build::parameter(2, {Dtype::i32, {3}});
  EXPECT_EQ(error_of([&] { map("add", {x, y}); }),
            "add: the inputs differ in shape: x is f32[3], y is f32[4]. Broadcast one to the other's shape.");
  EXPECT_EQ(error_of([&] { map("add", {x, n}); }),
            "add: the inputs differ in dtype: x is f32[3], y is i32[3]. Convert one to the other's dtype.");
  EXPECT_EQ(error_of([&] { map("exp", {n}); }), "exp takes floats, but x is i32[3]. Convert it first.");
  EXPECT_EQ(error_of([&] { map("select", {x, x, x}); }),
            "select takes bool, but mask is f32[3]. Convert it first.");
  EXPECT_EQ(
      error_of([&] { make("bitcast", {x}, {{"dtype", Dtype::f64}}); }),
      "bitcast: x is f32[3], whose elements have 4 bytes, but f64 has 8. Take a dtype of the same width.");
}

// ---- reductions

TEST(Reductions, CombineFromTheirIdentity) {
  for (const Prim* p : of_kind(Kind::reduce)) {
    if (p->expand) continue;
    const Prim& combine = combine_of(*p);
    EXPECT_TRUE(combine.has("combine") && combine.has("associative") && combine.has("commutative"))
        << p->name;
    for (int k = 0; k < kDtypeCount; ++k) {
      const auto d = static_cast<Dtype>(k);
      if (error_of([&] { make(*p, {build::parameter(0, {d, {4}})}, {{"axes", Ints{0}}}); }) != "no error")
        continue;
      const Graph g = graph_of({{d, {4}}, {d, {0}}}, [&](const Nodes& in) {
        const NodeRef e = build::full(identity(*p, d), in[0]->type());
        return Nodes{map(combine.name, {in[0], e}), make(*p, {in[1]}, {{"axes", Ints{0}}})};
      });
      const Array x = random_array({d, {4}}, *std::make_unique<std::mt19937>(3));
      const std::vector<Array> y = evaluate(g, std::vector<Array>{x, Array(d, {0})});
      for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(y[0].at(i), x.at(i)) << p->name << " " << name(d);
      EXPECT_EQ(y[1].at(0), identity(*p, d).round_to(d)) << p->name << " of nothing in " << name(d);
    }
  }
}

TEST(Reductions, OverAnyAxesAreSteps) {  // over axes 0 and 2 = over 2, then over 0
  for (const Prim* p : of_kind(Kind::reduce)) {
    if (p->expand) continue;
    for (Dtype d : {Dtype::f64, Dtype::i32, Dtype::boolean}) {
      if (error_of([&] { make(*p, {build::parameter(0, {d, {2, 3, 4}})}, {{"axes", Ints{0}}}); }) !=
          "no error")
        continue;
      const Graph g = graph_of({{d, {2, 3, 4}}}, [&](const Nodes& in) {
        auto over = [&](const NodeRef& x, Ints axes) { return make(*p, {x}, {{"axes", axes}}); };
        return Nodes{over(in[0], {0, 2}), over(over(in[0], {2}), {0}), over(over(in[0], {0}), {1}),
                     over(in[0], {})};
      });
      const std::vector<Array> in = random_arguments(g, 2), y = evaluate(g, in);
      for (int64_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(y[0].at(i).f(), y[1].at(i).f(), 1e-13) << p->name;
        EXPECT_NEAR(y[0].at(i).f(), y[2].at(i).f(), 1e-13) << p->name;
      }
      EXPECT_EQ(values(y[3]), values(in[0])) << p->name;
      expect_batches(
          graph_of({{d, {2, 3}}}, [&](const Nodes& q) { return Nodes{make(*p, q, {{"axes", Ints{1}}})}; }));
    }
    if (p->has("combine:logical_or") || p->has("combine:logical_and")) continue;
    for (Ints axes : {Ints{}, Ints{1}, Ints{0, 1}}) {
      SCOPED_TRACE(p->name);
      const bool smooth = !p->has("combine:maximum") && !p->has("combine:minimum");
      const Graph g = graph_of({{Dtype::f64, {2, 3}}},
                               [&](const Nodes& q) { return Nodes{make(*p, q, {{"axes", axes}})}; });
      expect_gradients(g, random_arguments(g, 4), smooth);
    }
  }
}

TEST(Reductions, ProductsThroughZeros) {
  for (std::vector<double> x : {std::vector<double>{2, 0, 3}, {0, 0, 3}, {2, 5, 3}}) {
    const Graph g =
        graph_of({{Dtype::f64, {3}}}, [](const Nodes& p) { return Nodes{build::reduce("prod", p[0], {0})}; });
    expect_gradients(g, {array(Dtype::f64, {3}, x)}, false);
  }
}

TEST(Reductions, HalvesSumInDouble) {
  const Graph g =
      graph_of({{Dtype::f16, {4096}}}, [](const Nodes& p) { return Nodes{build::reduce("sum", p[0], {0})}; });
  EXPECT_THAT(run(g, {array(Dtype::f16, {4096}, std::vector<double>(4096, 1.0))}), ElementsAre(4096));
}

TEST(Reductions, ArgmaxFindsTheFirst) {
  const std::vector<double> x{1, 7, 7, 2, NAN, 1, NAN, 3, -1, -1, -1, -1};
  for (bool expanded : {false, true}) {
    Graph g = graph_of({{Dtype::f32, {3, 4}}}, [](const Nodes& p) {
      return Nodes{make("argmax", {p[0]}, {{"axes", Ints{1}}}), make("argmin", {p[0]}, {{"axes", Ints{1}}}),
                   make("argmax", {p[0]}, {{"axes", Ints{0}}})};
    });
    if (expanded) g = expand(g);
    EXPECT_THAT(run(g, {array(Dtype::f32, {3, 4}, x)}, 0), ElementsAre(1, 0, 0));
    EXPECT_THAT(run(g, {array(Dtype::f32, {3, 4}, x)}, 1), ElementsAre(0, 0, 0));
    EXPECT_THAT(run(g, {array(Dtype::f32, {3, 4}, x)}, 2), ElementsAre(1, 0, 1, 1));
  }
}

TEST(Reductions, ErrorsInFull) {
  const NodeRef x = build::parameter(0, {Dtype::f32, {3, 4}}), e = build::parameter(1, {Dtype::f32, {3, 0}});
  EXPECT_EQ(error_of([&] { build::reduce("sum", x, {2}); }),
            "reduce_sum: axis 2 is out of range: x is f32[3,4], whose axes are 0 to 1.");
  EXPECT_EQ(error_of([&] { build::reduce("max", x, {1, 0}); }),
            "reduce_max: the axes must ascend, each once, but axis 0 follows 1.");
  EXPECT_EQ(error_of([&] { build::reduce("any", x, {0}); }),
            "reduce_any takes bool, but x is f32[3,4]. Convert it first.");
  EXPECT_EQ(error_of([&] { make("argmax", {e}, {{"axes", Ints{1}}}); }),
            "argmax: axis 1 of x (f32[3,0]) is empty: there is no element to find.");
}

// ---- indexing

TEST(Index, EveryFormAgreesWithItsExpansionAndBatches) {
  const Type f3{Dtype::f64, {3}}, m{Dtype::f64, {3, 4}}, i2{Dtype::i64, {2}}, i{Dtype::i32, {}},
      bi{Dtype::i64, {3, 2}};
  const std::vector<Graph> graphs = {
      graph_of({m, i2},
               [](const Nodes& p) { return Nodes{make("gather", {p[0], p[1]}, {{"axis", int64_t{0}}})}; }),
      graph_of({m, i2},
               [](const Nodes& p) { return Nodes{make("gather", {p[0], p[1]}, {{"axis", int64_t{1}}})}; }),
      graph_of({m, i},
               [](const Nodes& p) { return Nodes{make("gather", {p[0], p[1]}, {{"axis", int64_t{1}}})}; }),
      graph_of({m, bi},
               [](const Nodes& p) {
                 return Nodes{make("gather", {p[0], p[1]}, {{"axis", int64_t{1}}, {"batch", int64_t{1}}})};
               }),
      graph_of({m, i2, {Dtype::f64, {2, 4}}},
               [](const Nodes& p) { return Nodes{make("scatter_add", p, {{"axis", int64_t{0}}})}; }),
      graph_of({m, i2, {Dtype::f64, {3, 2}}},
               [](const Nodes& p) { return Nodes{make("scatter_add", p, {{"axis", int64_t{1}}})}; }),
      graph_of({m, bi, {Dtype::f64, {3, 2}}},
               [](const Nodes& p) {
                 return Nodes{make("scatter_add", p, {{"axis", int64_t{1}}, {"batch", int64_t{1}}})};
               }),
      graph_of({m, i, i},
               [](const Nodes& p) { return Nodes{make("dynamic_slice", p, {{"sizes", Shape{2, 3}}})}; }),
      graph_of({m, i, i},
               [](const Nodes& p) { return Nodes{make("dynamic_slice", p, {{"sizes", Shape{3, 1}}})}; }),
      graph_of({m, {Dtype::f64, {2, 3}}, i, i},
               [](const Nodes& p) { return Nodes{make("update_slice", p)}; }),
      graph_of({m, {Dtype::f64, {1, 4}}, i, i},
               [](const Nodes& p) { return Nodes{make("update_slice", p)}; }),
      graph_of({f3, {Dtype::f64, {3}}, i}, [](const Nodes& p) { return Nodes{make("update_slice", p)}; }),
  };
  int number = 0;
  for (const Graph& g : graphs) {
    SCOPED_TRACE(number++);
    for (unsigned seed = 1; seed < 5; ++seed) {
      std::vector<Array> in = random_arguments(g, seed);
      for (Array& a : in)  // out of range too: indices are clamped
        if (is_int(a.dtype))
          for (int64_t k = 0; k < a.size(); ++k) a.set(k, a.at(k).i() * 3 - 4);
      const std::vector<double> meant = run(g, in), core = run(expand(g), in),
                                simple = run(simplify(expand(g)), in);
      for (size_t k = 0; k < meant.size(); ++k)
        EXPECT_NEAR(meant[k], core[k], 1e-14);  // sums in another order
      EXPECT_EQ(core, simple);
      expect_gradients(g, in, true);
    }
    expect_batches(g);
  }
}

TEST(Index, ErrorsInFull) {
  const NodeRef x = build::parameter(0, {Dtype::f32, {3, 4}}), i = build::parameter(1, {Dtype::i64, {2}}),
                s = build::parameter(2, {Dtype::i64, {}});
  EXPECT_EQ(error_of([&] { make("gather", {x, x}, {{"axis", int64_t{0}}}); }),
            "gather takes integers, but indices is f32[3,4]. Convert it first.");
  EXPECT_EQ(error_of([&] { make("gather", {x, i}, {{"axis", int64_t{2}}}); }),
            "gather: axis 2 is out of range: x is f32[3,4], and axes 0 to 1 can be indexed.");
  EXPECT_EQ(error_of([&] { make("scatter_add", {x, i, x}, {{"axis", int64_t{0}}}); }),
            "scatter_add: updates is f32[3,4], but x f32[3,4] with indices i64[2] needs f32[2,4].");
  EXPECT_EQ(
      error_of([&] { make("dynamic_slice", {x, s}, {{"sizes", Shape{1, 1}}}); }),
      "dynamic_slice: takes one start per dimension: x is f32[3,4] with 2 dimensions, but 1 starts came.");
  EXPECT_EQ(error_of([&] { make("dynamic_slice", {x, s, s}, {{"sizes", Shape{1, 5}}}); }),
            "dynamic_slice: sizes [1,5] does not fit in x, which is f32[3,4].");
}

// ---- random numbers

std::vector<double> words(std::array<double, 2> key, int64_t offset, int64_t count) {
  const Graph g = graph_of({{Dtype::u32, {2}}, {Dtype::i64, {}}}, [&](const Nodes& p) {
    return Nodes{make("random_bits", p, {{"shape", Shape{count}}})};
  });
  return run(g, {array(Dtype::u32, {2}, {key[0], key[1]}), scalar(Dtype::i64, static_cast<double>(offset))});
}

TEST(Random, KnownAnswers) {  // Random123's kat_vectors, philox4x32 with 10 rounds
  struct Answer {
    std::array<uint32_t, 4> counter;
    std::array<uint32_t, 2> key;
    std::array<uint32_t, 4> block;
  };
  constexpr uint32_t kOnes = 0xffffffff;
  const Answer answers[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const Answer& a : answers) {
    EXPECT_EQ(prims::philox(a.counter, a.key), a.block);
    auto node = [](uint32_t v) { return build::constant(Scalar(uint64_t{v}), Dtype::u32); };
    const auto block =
        prims::philox({node(a.counter[0]), node(a.counter[1]), node(a.counter[2]), node(a.counter[3])},
                      {node(a.key[0]), node(a.key[1])});
    for (int w = 0; w < 4; ++w) EXPECT_EQ(run({{}, {block[w]}, {}}, {})[0], a.block[w]);
  }
  EXPECT_THAT(words({0, 0}, 0, 4), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
}

TEST(Random, AnyOffsetIsTheSameStream) {
  const std::vector<double> all = words({7, 9}, 0, 24);
  for (int64_t offset : {0, 1, 3, 4, 10})
    EXPECT_EQ(words({7, 9}, offset, 5), std::vector<double>(all.begin() + offset, all.begin() + offset + 5));
  EXPECT_EQ(words({7, 9}, -4, 8)[4], all[0]);
}

TEST(Random, RecordsAgreeWithTheirExpansion) {
  const Type key{Dtype::u32, {3, 2}}, offset{Dtype::i64, {3}};
  const std::vector<Graph> graphs = {
      graph_of({key, offset},
               [](const Nodes& p) { return Nodes{make("random_bits", p, {{"shape", Shape{}}})}; }),
      graph_of({key, offset},
               [](const Nodes& p) { return Nodes{make("random_bits", p, {{"shape", Shape{2, 3}}})}; }),
      graph_of({key, offset}, [](const Nodes& p) { return Nodes{make("fold_in", p)}; }),
      graph_of({key}, [](const Nodes& p) { return Nodes{make("random_split", p, {{"n", int64_t{5}}})}; }),
      graph_of({key}, [](const Nodes& p) { return Nodes{random::bits(p[0], {2, 4})}; }),
  };
  std::mt19937_64 rng(1);
  for (const Graph& g : graphs) {
    std::vector<Array> in;
    for (const NodeRef& p : g.parameters) {
      in.emplace_back(p->dtype(), const_shape(p->shape()));
      for (int64_t k = 0; k < in.back().size(); ++k)
        in.back().set(k, static_cast<int64_t>(rng() >> (k % 3 * 20)));
    }
    EXPECT_EQ(run(g, in), run(expand(g), in));
    EXPECT_EQ(run(g, in), run(simplify(expand(simplify(g))), in));
    expect_batches(g);
  }
}

TEST(Random, KeysDiffer) {
  const Graph g = graph_of({{Dtype::u32, {2}}}, [](const Nodes& p) {
    return Nodes{make("random_split", p, {{"n", int64_t{64}}}),
                 make("fold_in", {p[0], build::constant(Scalar(3), Dtype::i64)}), random::bits(p[0], {4})};
  });
  const std::vector<Array> y = evaluate(g, std::vector<Array>{array(Dtype::u32, {2}, {1, 2})});
  std::set<std::pair<double, double>> seen;
  for (int64_t k = 0; k < 64; ++k) seen.insert({y[0].at(2 * k).f(), y[0].at(2 * k + 1).f()});
  seen.insert({y[1].at(0).f(), y[1].at(1).f()});
  seen.insert({y[2].at(0).f(), y[2].at(1).f()});
  EXPECT_EQ(seen.size(), 66u);
}

TEST(Random, UniformIsInItsRangeAndExact) {
  for (Dtype d : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f64}) {
    const Graph g = graph_of({{Dtype::u32, {2}}},
                             [&](const Nodes& p) { return Nodes{random::uniform(p[0], {4096}, {}, d)}; });
    const std::vector<double> u = run(g, {array(Dtype::u32, {2}, {3, 4})});
    double sum = 0;
    for (double v : u) {
      EXPECT_TRUE(v >= 0 && v < 1) << name(d);
      sum += v;
    }
    EXPECT_NEAR(sum / 4096, 0.5, 0.02) << name(d);
  }
}

TEST(Random, NormalInvertsItsDistribution) {
  const Graph g = graph_of({{Dtype::u32, {2}}}, [](const Nodes& p) {
    return Nodes{random::normal(p[0], {4096}), random::bits(p[0], {4096})};
  });
  const std::vector<Array> y = evaluate(expand(g), std::vector<Array>{array(Dtype::u32, {2}, {3, 4})});
  double square = 0;
  for (int64_t k = 0; k < 4096; ++k) {
    const double z = y[0].at(k).f(), word = y[1].at(k).f();
    // With p the chance of the half the word lies in: the value where the tail holds p, by Newton's method.
    const bool low = word < 0x1p31;
    const double p = (std::fmod(word, 0x1p31) + 0.5) * 0x1p-32;
    double exact = std::abs(z);
    for (int i = 0; i < 4; ++i)
      exact +=
          (std::erfc(exact / std::sqrt(2.0)) / 2 - p) / (std::exp(-exact * exact / 2) / std::sqrt(2 * M_PI));
    EXPECT_NEAR(std::abs(z), exact, 2e-6 * exact + 1e-7);
    EXPECT_EQ(z < 0, low);
    square += z * z;
  }
  EXPECT_NEAR(square / 4096, 1, 0.06);
}

TEST(Random, IntegersReachBothEnds) {
  const Graph g = graph_of({{Dtype::u32, {2}}}, [](const Nodes& p) {
    return Nodes{random::integers(p[0], {2048}, {}, build::constant(Scalar(-3), Dtype::i32),
                                  build::constant(Scalar(4), Dtype::i32))};
  });
  const std::vector<double> y = run(g, {array(Dtype::u32, {2}, {3, 4})});
  EXPECT_EQ(std::set<double>(y.begin(), y.end()), (std::set<double>{-3, -2, -1, 0, 1, 2, 3}));
}

TEST(Random, ErrorsInFull) {
  const NodeRef x = build::parameter(0, {Dtype::f32, {2}}), key = build::parameter(1, {Dtype::u32, {3, 2}}),
                o = build::parameter(2, {Dtype::i64, {}});
  EXPECT_EQ(error_of([&] { make("fold_in", {x, o}); }),
            "fold_in: a key is u32[..,2], but key is f32[2]. Make one with random.key(seed).");
  EXPECT_EQ(error_of([&] { make("random_bits", {key, o}, {{"shape", Shape{}}}); }),
            "random_bits: offset is i64[], but a key u32[3,2] needs i64[3].");
}

}  // namespace
}  // namespace tenfold::testing
