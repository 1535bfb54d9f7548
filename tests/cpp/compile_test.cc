#include "tenfold/compile/compile.h"

#include <cstdlib>
#include <cstring>
#include <span>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/compile/explain.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/eval.h"

namespace tenfold::compile {
namespace {

using namespace build;  // NOLINT: operators on nodes
using testing::HasSubstr;

constexpr int64_t kCount = 100;

NodeRef x(int64_t index = 0) { return parameter(index, {Dtype::f32, {Dim(kCount)}}); }

std::vector<float> run(const Executable& e, std::vector<std::vector<float>> inputs) {
  std::vector<void*> data;
  for (auto& i : inputs) data.push_back(i.data());
  std::vector<BufferRef> outputs(1);
  e.run(data, {}, outputs);
  const auto* first = reinterpret_cast<float*>(outputs[0]->data());
  return {first, first + outputs[0]->bytes() / sizeof(float)};
}

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

std::vector<std::string> pass_names(const Executable& e) {
  std::vector<std::string> out;
  for (const PassTime& t : e.times()) out.push_back(t.name);
  return out;
}

TEST(Compile, RunsAndIsCached) {
  const Graph graph{{x()}, {x() * 2.0 + 1.0}, {}};
  const auto first = compile(graph);
  EXPECT_EQ(run(*first, {std::vector<float>(kCount, 3)}), std::vector<float>(kCount, 7));
  EXPECT_EQ(compile(graph), first);
  EXPECT_NE(compile(graph, {.allow = {"online"}, .donate = {}}), first);
  EXPECT_EQ(first->interpreted(), 0);
  clear_cache();
  EXPECT_NE(compile(graph), first);
}

TEST(Compile, PassesCanBeSwitchedOff) {
  const Graph graph{{x()}, {x() * 3.0 + 1.0}, {}};
  EXPECT_THAT(pass_names(*compile(graph)),
              testing::ElementsAre("verify", "simplify", "expand", "widen", "simplify_core", "ahead",
                                   "orders", "plan", "target"));
  const Environment off("TENFOLD_DISABLE", "simplify,simplify_core");
  EXPECT_THAT(pass_names(*compile(graph)),
              testing::ElementsAre("verify", "expand", "widen", "ahead", "orders", "plan", "target"));
}

TEST(Compile, AnUnknownPassIsAnError) {
  const Environment off("TENFOLD_DISABLE", "simplfy");
  try {
    compile({{x()}, {x() * 5.0}, {}});
    FAIL();
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(),
                 "TENFOLD_DISABLE names \"simplfy\", which is no pass that can be switched off: choose of "
                 "verify, simplify, widen, simplify_core, ahead, orders");
  }
}

TEST(Compile, AnUnknownStageIsAnError) {
  const Environment dump("TENFOLD_DUMP", "tile,nope");
  EXPECT_THROW(compile({{x()}, {x() * 6.0}, {}}), UserError);
}

TEST(Compile, StagesCanBeDumped) {
  const Environment dump("TENFOLD_DUMP", "graph,tile");
  testing::internal::CaptureStderr();
  compile({{x()}, {x() * 7.0}, {}});
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("# after expand\ntenfold 1\ngraph main("));
  EXPECT_THAT(text, HasSubstr("# after plan\ntenfold 1\nkernel k0"));
}

TEST(Compile, UnknownGrantsAreErrors) {
  EXPECT_THROW(compile({{x()}, {x() * 11.0}, {}}, {.allow = {"fast"}, .donate = {}}), UserError);
}

TEST(Compile, TheInterpreterRunsOnlyWhenAsked) {
  const Graph graph{{x()}, {x() * 13.0}, {}};
  const auto interpreted = compile(graph, {.allow = {}, .donate = {}, .fuse = true, .interpret = true});
  EXPECT_EQ(run(*interpreted, {std::vector<float>(kCount, 2)}), std::vector<float>(kCount, 26));
  EXPECT_GT(explain(interpreted).interpreted, 0);
  EXPECT_EQ(explain(compile(graph)).interpreted, 0);
}

TEST(Compile, SymbolsAreFoundInTheArguments) {
  const Dim n = Dim::symbol({.name = "compile_test_n", .upper = 4096});
  const NodeRef p = parameter(0, {Dtype::f32, {n}});
  const auto e = compile({{p}, {p * 2.0}, {}});
  ASSERT_EQ(e->symbols().size(), 1u);
  EXPECT_EQ(e->symbols()[0].parameter, 0);
  for (int64_t count : {1, 7, 1000}) {
    std::vector<float> data(count, 4);
    void* inputs[] = {data.data()};
    const int64_t symbols[] = {count};
    std::vector<BufferRef> outputs(1);
    e->run(inputs, symbols, outputs);
    EXPECT_EQ(outputs[0]->bytes(), count * sizeof(float));
    EXPECT_EQ(reinterpret_cast<float*>(outputs[0]->data())[count - 1], 8);
  }
  const NodeRef twice = parameter(0, {Dtype::f32, {n * 2}});
  EXPECT_THROW(compile({{twice}, {twice * 2.0}, {}}), UserError);
}

using Donated = std::vector<std::pair<int, int>>;

std::vector<std::pair<int, int>> donated(const NodeRef& result, int parameters = 1) {
  Graph graph{{}, {result}, {}};
  for (int i = 0; i < parameters; ++i) graph.parameters.push_back(x(i));
  return compile(graph, {.allow = {}, .donate = {{0, 0}}})->donated();
}

TEST(Donate, OnlyWhereEachElementIsReadBeforeItIsWritten) {
  const std::vector<std::pair<int, int>> yes{{0, 0}};
  EXPECT_EQ(donated(x() + 1.0), yes);
  EXPECT_EQ(donated(x() * x(1) + x(), 2), yes);
  EXPECT_TRUE(donated(make("reverse", {x()}, {{"axes", Ints{0}}}) + 1.0).empty());
  EXPECT_EQ(donated(x() + reduce("sum", x(), {0})), yes);  // one block, which has read all before it writes
  EXPECT_TRUE(donated(slice_axis(concatenate({x(), x()}, 0), 0, 1, kCount + 1)).empty());
  const auto e = compile({{x()}, {make("reverse", {x()}, {{"axes", Ints{0}}}) + 2.0}, {}},
                         {.allow = {}, .donate = {{0, 0}}});
  ASSERT_EQ(e->notes().size(), 1u);
  EXPECT_THAT(e->notes()[0], HasSubstr("donated argument 0 is copied: "));
}

TEST(Donate, InPlaceGivesTheSameBits) {
  for (const NodeRef& result : {x() + 1.0, x() + reduce("sum", x(), {0}), x() * 2.0 + x() * x()}) {
    const auto e = compile({{x()}, {result}, {}}, {.allow = {}, .donate = {{0, 0}}});
    std::vector<float> values(kCount);
    for (int64_t i = 0; i < kCount; ++i) values[i] = 0.25f * static_cast<float>(i);
    const std::vector<float> expected = run(*e, {values});
    ASSERT_EQ(e->donated().size(), 1u);
    auto buffer = std::make_shared<Buffer>(kCount * sizeof(float));
    std::copy(values.begin(), values.end(), reinterpret_cast<float*>(buffer->data()));
    void* inputs[] = {buffer->data()};
    std::vector<BufferRef> outputs{buffer};
    e->run(inputs, {}, outputs);
    const auto* first = reinterpret_cast<float*>(buffer->data());
    EXPECT_EQ(std::vector<float>(first, first + kCount), expected);
  }
}

// The results of a graph, bytes of each; `donate` runs it in place where that is safe.
std::vector<std::vector<std::byte>> run(const Graph& graph, std::vector<Array> inputs,
                                        const Donated& donate) {
  const auto e = compile(graph, {.allow = {}, .donate = donate});
  std::vector<BufferRef> buffers, outputs(graph.results.size());
  std::vector<void*> data;
  for (const Array& input : inputs) {
    buffers.push_back(std::make_shared<Buffer>(input.bytes.size()));
    std::memcpy(buffers.back()->data(), input.bytes.data(), input.bytes.size());
    data.push_back(buffers.back()->data());
  }
  for (const auto& [parameter, result] : e->donated()) outputs[result] = buffers[parameter];
  e->run(data, {}, outputs);
  std::vector<std::vector<std::byte>> out;
  for (const BufferRef& b : outputs) out.emplace_back(b->data(), b->data() + b->bytes());
  return out;
}

void expect_as_interpreted(const Graph& graph, const Ints& starts, const Donated& donate) {
  std::vector<Array> inputs;
  size_t next = 0;
  for (const NodeRef& p : graph.parameters) {
    Array array(p->dtype(), const_shape(p->shape()));
    for (int64_t i = 0; i < array.size(); ++i)
      array.set(i, p->rank() == 0 ? Scalar(starts.at(next)) : Scalar(static_cast<double>(i % 251 + 1)));
    next += p->rank() == 0;
    inputs.push_back(std::move(array));
  }
  const std::vector<Array> expected = evaluate(graph, inputs);
  for (const Donated& d : {donate, Donated{}}) {
    const auto results = run(graph, inputs, d);
    for (size_t k = 0; k < results.size(); ++k)
      EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(expected[k].bytes)), results[k]))
          << "result " << k;
  }
}

NodeRef of_shape(int64_t index, const Shape& shape) { return parameter(index, {Dtype::f32, shape}); }
NodeRef start(int64_t index) { return parameter(index, {Dtype::i64, {}}); }
NodeRef update(const NodeRef& whole, const NodeRef& box, Nodes starts) {
  starts.insert(starts.begin(), {whole, box});
  return make("update_slice", starts);
}

TEST(Donate, AnUpdateWritesItsBoxAlone) {
  const NodeRef cache = of_shape(0, {1000, 16}), row = of_shape(1, {1, 16}), i = start(2);
  const Graph graph{{cache, row, i}, {update(cache, row, {i, constant(0, Dtype::i64)})}, {}};
  const Donated donate{{0, 0}};
  const auto e = compile(graph, {.allow = {}, .donate = donate});
  EXPECT_EQ(e->donated(), donate);
  EXPECT_EQ(e->notes(), std::vector<std::string>{});
  EXPECT_EQ(explain(e).bytes_read, 64);
  EXPECT_EQ(explain(e).bytes_written, 64);
  EXPECT_GE(explain(compile(graph)).bytes_written, 64000);
  for (int64_t at : {0, 7, 999, -5, 5000}) expect_as_interpreted(graph, {at}, donate);
}

TEST(Donate, AnUpdateMayBeComputedFromTheOldValues) {
  const NodeRef x0 = of_shape(0, {40, 30, 8}), i = start(1), j = start(2), zero = constant(0, Dtype::i64);
  const NodeRef part = slice_axis(slice_axis(x0, 0, 4, 7), 1, 2, 7);
  const Donated donate{{0, 0}};
  for (const NodeRef& box : {part * 2.0, slice_axis(part * 3.0, 2, 1, 3)}) {
    const NodeRef twice = update(update(x0, box, {i, j, zero}), box + 1.0, {j, i, i + j});
    const Graph graph{{x0, i, j}, {twice, reduce("sum", x0, {0, 1}), twice * 0.5}, {}};
    EXPECT_EQ(compile(graph, {.allow = {}, .donate = donate})->donated(), donate);
    for (const Ints& starts : {Ints{0, 0}, Ints{5, 3}, Ints{37, 25}, Ints{100, -3}})
      expect_as_interpreted(graph, starts, donate);
  }
}

TEST(Donate, AnUpdateThatIsOverwrittenBeforeItIsReadIsNotInPlace) {
  const NodeRef small = of_shape(0, {4, 8}), large = of_shape(1, {100, 8}), row = of_shape(2, {1, 8}),
                i = start(3), zero = constant(0, Dtype::i64);
  const Donated donate{{0, 0}, {1, 1}};
  // The first result would be written into what the second one is still to be given.
  const Graph graph{
      {small, large, row, i}, {update(small, row, {i, zero}), update(large, small, {i, zero})}, {}};
  const auto e = compile(graph, {.allow = {}, .donate = donate});
  EXPECT_EQ(e->donated(), (Donated{{1, 1}}));
  EXPECT_THAT(e->notes(),
              testing::ElementsAre(HasSubstr("donated argument 0 is copied: the argument is read")));
  expect_as_interpreted(graph, {2}, donate);
  // Or by a launch.
  const Graph other{{small, large, row, i}, {small + 1.0, update(large, small, {i, zero})}, {}};
  EXPECT_EQ(compile(other, {.allow = {}, .donate = donate})->donated(), (Donated{{1, 1}}));
  expect_as_interpreted(other, {2}, donate);
}

TEST(Donate, ALargeUpdateIsPartOfTheLaunch) {
  const NodeRef cache = of_shape(0, {10, 16}), rows = of_shape(1, {6, 16}), i = start(2);
  const Graph graph{{cache, rows, i}, {update(cache, rows * 2.0, {i, constant(0, Dtype::i64)})}, {}};
  EXPECT_GE(explain(compile(graph, {.allow = {}, .donate = {{0, 0}}})).bytes_written, 640);
  for (int64_t at : {0, 3, 20}) expect_as_interpreted(graph, {at}, {{0, 0}});
}

TEST(Explain, PredictsBytesAndNamesThem) {
  const Explanation e = explain(compile({{x(), x(1)}, {x() * x(1) + 1.0}, {"a", "b"}}));
  EXPECT_EQ(e.launches, 1);
  EXPECT_EQ(e.bytes_read, 8 * kCount);
  EXPECT_EQ(e.bytes_written, 4 * kCount);
  EXPECT_EQ(e.bytes_least, 12 * kCount);
  EXPECT_THAT(e.str(), HasSubstr("moved / least = 1.00"));
  const std::string page = e.html("a <title>");
  EXPECT_THAT(page, HasSubstr("<h1>a &lt;title&gt;</h1>"));
  EXPECT_THAT(page, HasSubstr("<svg"));
}

}  // namespace
}  // namespace tenfold::compile
