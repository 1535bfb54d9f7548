#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/tenfold.h"

#include "error_of.h"

namespace tn = tenfold::lang;
using tenfold::Dtype;
using tenfold::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

tn::Tensor floats(std::vector<float> values, std::optional<tenfold::Ints> shape = {}) {
  return tn::tensor(values, shape, tn::Location("maker.cc", 7));
}

TEST(Lang, OperatorsBroadcast) {
  const tn::Tensor x = floats({1, 2, 3, 4, 5, 6}, tenfold::Ints{2, 3});
  EXPECT_THAT((x + floats({10, 20, 30})).to_vector<float>(), ElementsAre(11, 22, 33, 14, 25, 36));
  EXPECT_THAT((2 * x - 1).to_vector<float>(), ElementsAre(1, 3, 5, 7, 9, 11));
  EXPECT_THAT((-x).to_vector<float>(), ElementsAre(-1, -2, -3, -4, -5, -6));
  EXPECT_THAT(tn::sum(x, tenfold::Ints{1}).to_vector<float>(), ElementsAre(6, 15));
  EXPECT_EQ(tn::max(x).item().f(), 6);
}

TEST(Lang, NumbersTakeTheDtypeOfWhatTheyMeet) {
  const tn::Tensor x = tn::tensor(std::vector<int32_t>{1, 2});
  EXPECT_EQ((x + 1).dtype(), Dtype::i32);
  EXPECT_EQ((x * 0.5).dtype(), Dtype::f32);
  EXPECT_EQ((tn::astype(x, Dtype::f64) * 0.1).dtype(), Dtype::f64);
  EXPECT_EQ((tn::astype(x, Dtype::f64) * 0.1).to_vector<double>()[0], 0.1);
  EXPECT_EQ((x / 2).dtype(), Dtype::f32);
}

TEST(Lang, ErrorsNameTheLines) {
  const tn::Tensor x = floats({1, 2, 3}), y = floats({1, 2});
  const int line = __LINE__ + 1;
  const std::string text = error_of([&] { return x + y; });
  EXPECT_EQ(text, fmt::format("add: the shapes do not broadcast: axis -1 is 3 in one operand and 2 in "
                              "another; they must be equal or 1\n"
                              "  called at lang_test.cc:{}\n  x: f32[3]   from maker.cc:7\n  y: f32[2]  "
                              " from maker.cc:7",
                              line));
}

TEST(Lang, MixedKindsAreAnError) {
  const tn::Tensor x = floats({1}), y = tn::tensor(std::vector<int32_t>{1});
  EXPECT_THAT(error_of([&] { return x + y; }),
              HasSubstr("add: f32 and i32 have no common dtype: mixing kinds is left open by the Array API. "
                        "Convert one with astype."));
}

TEST(Lang, ARepeatedOperationIsPlannedOnce) {
  const tn::Tensor x = floats({1, 2, 3});
  (x * 0.25 + x).evaluate();
  const auto before = tenfold::compile::cache_statistics();
  for (int i = 0; i < 10; ++i) (x * (0.1 * i) + x).evaluate();
  EXPECT_EQ(tenfold::compile::cache_statistics().misses, before.misses);
}

TEST(Lang, WhatIsLookedAtTwiceIsComputedOnce) {
  const tn::Tensor x = floats({1, 2, 3});
  const tn::Tensor y = tn::exp(x);
  const tn::Tensor z = y + 1;
  z.evaluate();  // y is still held: it becomes a result of the same program
  tenfold::Profile profile;
  y.evaluate();
  EXPECT_EQ(profile.launches(), 0);
}

TEST(Lang, LongChainsOfWaitingOperationsAreReleasedWithoutRecursion) {
  tn::Tensor x = floats({1});
  for (int i = 0; i < 3000; ++i) x = x + 1;
  x = {};
  EXPECT_EQ(tn::pending_statistics().nodes, 0);
}

TEST(Lang, WaitingOperationsAreBounded) {
  tn::Tensor x = floats({0});
  for (int i = 0; i < 10000; ++i) {
    x = x + 1;
    ASSERT_LE(tn::pending_statistics().nodes, 513);
  }
  EXPECT_EQ(x.to_vector<float>()[0], 10000);
}

TEST(Lang, JitCompilesOncePerType) {
  int traces = 0;
  const auto f = tn::jit([&](const tn::Tensor& x, const tn::Tensor& y) {
    ++traces;
    return std::pair(x * y, tn::sum(x));
  });
  const tn::Tensor x = floats({1, 2, 3});
  const auto [product, sum] = f(x, x);
  EXPECT_THAT(product.to_vector<float>(), ElementsAre(1, 4, 9));
  EXPECT_EQ(sum.item().f(), 6);
  f(x, x);
  EXPECT_EQ(traces, 1);
  f(floats({1}), floats({1}));
  EXPECT_EQ(traces, 2);
  EXPECT_EQ(tenfold::compile::explain(f.compiled(x, x)->executable()).interpreted, 0);
}

TEST(Lang, ATracedTensorHasNoValue) {
  const auto f = tn::jit([](const tn::Tensor& x) {
    x.item();
    return x;
  });
  EXPECT_THAT(error_of([&] { f(floats({1})); }),
              HasSubstr("the value of a traced tensor was asked for, but while jit of a function is traced "
                        "there are types and no values."));
}

TEST(Lang, ALeakedTracerIsAnError) {
  tn::Tensor leaked;
  const auto f = tn::jit([&](const tn::Tensor& x) { return leaked = x + 1; });
  f(floats({1}));
  EXPECT_THAT(error_of([&] { return leaked + 1; }), HasSubstr("but that trace is over"));
  EXPECT_THAT(error_of([&] { leaked.item(); }), HasSubstr("but that trace is over"));
}

TEST(Lang, GradOfAFunction) {
  const auto f = [](const tn::Tensor& x) { return tn::sum(x * x * x); };
  EXPECT_THAT(tn::grad(f)(floats({1, 2})).to_vector<float>(), ElementsAre(3, 12));
  const auto g = [&](const tn::Tensor& x) { return tn::sum(tn::grad(f)(x)); };
  EXPECT_THAT(tn::grad(g)(floats({1, 2})).to_vector<float>(), ElementsAre(6, 12));
  EXPECT_THAT(error_of([] { tn::grad([](const tn::Tensor& x) { return x * 2; })(floats({1, 2})); }),
              HasSubstr("grad: the function must return one floating number, but it returned f32[2]."));
}

TEST(Lang, VmapOfAFunctionThatClosesOverATensor) {
  const tn::Tensor w = floats({1, 10});
  const auto f = tn::vmap([&](const tn::Tensor& x) { return tn::sum(x * w); });
  EXPECT_THAT(f(floats({1, 2, 3, 4}, tenfold::Ints{2, 2})).to_vector<float>(), ElementsAre(21, 43));
  const auto both = tn::jit([&](const tn::Tensor& x) { return f(x) * 2; });
  EXPECT_THAT(both(floats({1, 2, 3, 4}, tenfold::Ints{2, 2})).to_vector<float>(), ElementsAre(42, 86));
}

TEST(Lang, ScanCarriesState) {
  const tn::Tensor start = floats({0}, tenfold::Ints{});
  const auto [last, all] = tn::scan(
      [](const tn::Tensor& s, const tn::Tensor& t) {
        const tn::Tensor next = s + tn::astype(t, Dtype::f32);
        return std::pair(next, next * 2);
      },
      start, tenfold::Dim(5));
  EXPECT_EQ(last.item().f(), 10);
  EXPECT_THAT(all.to_vector<float>(), ElementsAre(0, 2, 6, 12, 20));
}

TEST(Lang, ACarryKeepsItsType) {
  const tn::Tensor start = floats({0}, tenfold::Ints{});
  EXPECT_THAT(error_of([&] {
                tn::scan([](const tn::Tensor& s,
                            const tn::Tensor&) { return std::pair(tn::astype(s, Dtype::i32), s); },
                         start, tenfold::Dim(5));
              }),
              HasSubstr("scan: carry 0 enters as f32[] but the body returns i32[]; a carry keeps its type."));
}

TEST(Lang, RandomNumbersAreFunctionsOfKeyAndOffset) {
  const tn::Tensor key = tn::random::key(7);
  const auto all = tn::random::bits(key, {8}).to_vector<uint32_t>();
  const auto tail = tn::random::bits(key, {5}, 3).to_vector<uint32_t>();
  for (size_t i = 0; i < tail.size(); ++i) EXPECT_EQ(tail[i], all[i + 3]);
  for (float u : tn::random::uniform(key, {1000}, -1.0, 2.0).to_vector<float>()) {
    EXPECT_GE(u, -1);
    EXPECT_LT(u, 2);
  }
  for (int32_t i : tn::random::integers(key, 3, 6, {100}).to_vector<int32_t>()) EXPECT_TRUE(i >= 3 && i < 6);
}

TEST(Lang, DonatedMemoryIsReused) {
  tn::JitOptions options;
  options.donate = {0};
  const auto step = tn::jit([](const tn::Tensor& x) { return x + 1; }, options);
  tn::Tensor x = tn::full({1000}, 1.0).evaluate();
  const void* memory = x.data();
  const tn::Tensor y = step(x);
  EXPECT_EQ(y.data(), memory);
  EXPECT_EQ(y.to_vector<float>()[5], 2);
  EXPECT_THAT(error_of([&] { x.data(); }), HasSubstr("was donated"));
}

}  // namespace
