#include "tenfold/runtime/program.h"

#include <thread>

#include <gtest/gtest.h>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

// Kernels over i64[4] buffers, written by hand.
constexpr int64_t kCount = 4;
constexpr int64_t kBytes = kCount * 8;

int64_t* at(void* const* buffers, int i) { return static_cast<int64_t*>(buffers[i]); }

void add_one(void* const* b, const int64_t*, int64_t begin, int64_t end, void*) {
  for (int64_t i = begin; i < end; ++i) at(b, 1)[i] = at(b, 0)[i] + 1;
}
void add_both(void* const* b, const int64_t*, int64_t begin, int64_t end, void*) {
  for (int64_t i = begin; i < end; ++i) at(b, 2)[i] = at(b, 0)[i] + at(b, 1)[i];
}
void times_three_plus_step(void* const* b, const int64_t*, int64_t begin, int64_t end,
                           void*) {  // step, value -> next
  for (int64_t i = begin; i < end; ++i) at(b, 2)[i] = 3 * at(b, 1)[i] + at(b, 0)[0];
}
void copy_row(void* const* b, const int64_t*, int64_t begin, int64_t end, void*) {
  for (int64_t i = begin; i < end; ++i) at(b, 1)[i] = at(b, 0)[i];
}
void below_hundred(void* const* b, const int64_t*, int64_t, int64_t, void*) {
  auto* go = static_cast<uint8_t*>(b[1]);
  for (int64_t i = 0; i < kCount; ++i) go[i] = at(b, 0)[i] < 100;
}
void times_symbol(void* const* b, const int64_t* symbols, int64_t begin, int64_t end, void*) {
  for (int64_t i = begin; i < end; ++i) at(b, 1)[i] = at(b, 0)[i] * symbols[0];
}

Code code(KernelFunction f) {
  Code c;
  c.name = "test";
  c.function = f;
  return c;
}

ProgramStep launch(KernelFunction f, std::vector<int> buffers, bool serial = false, Dim blocks = kCount) {
  LaunchStep step;
  step.name = "test";
  step.code = code(f);
  step.buffers = std::move(buffers);
  step.blocks = blocks;
  step.serial = serial;
  return {step};
}

Slot input(int index, Dim bytes = kBytes) { return {Slot::Kind::input, index, bytes, ""}; }
Slot output(int index, Dim bytes = kBytes) { return {Slot::Kind::output, index, bytes, ""}; }
Slot temporary(Dim bytes = kBytes) { return {Slot::Kind::temporary, -1, bytes, ""}; }

std::vector<int64_t> run(const Program& program, std::vector<std::vector<int64_t>> inputs,
                         std::vector<int64_t> symbols = {}) {
  std::vector<void*> data;
  for (auto& i : inputs) data.push_back(i.data());
  std::vector<BufferRef> outputs(1);
  program.run(data, symbols, outputs);
  const auto* first = reinterpret_cast<int64_t*>(outputs[0]->data());
  return {first, first + outputs[0]->bytes() / 8};
}

using Values = std::vector<int64_t>;

TEST(Program, RunsLaunchesInOrder) {
  for (bool serial : {false, true}) {
    Program program({input(0), temporary(), output(0)},
                    {launch(add_one, {0, 1}, serial), launch(add_both, {0, 1, 2}, serial)}, {});
    EXPECT_EQ(run(program, {{1, 2, 3, 4}}), (Values{3, 5, 7, 9}));
  }
}

TEST(Program, TemporariesShareMemoryWhenTheirLivesDoNotMeet) {
  // a -> t1 -> t2 -> t3 -> out: two of the three live at once.
  Program program(
      {input(0), temporary(), temporary(), temporary(), output(0)},
      {launch(add_one, {0, 1}), launch(add_one, {1, 2}), launch(add_one, {2, 3}), launch(add_one, {3, 4})},
      {});
  const auto layout = program.layout({});
  EXPECT_EQ(layout->total, 2 * 64);
  EXPECT_EQ(layout->offsets[1], layout->offsets[3]);
  EXPECT_NE(layout->offsets[1], layout->offsets[2]);
  EXPECT_EQ(run(program, {{1, 2, 3, 4}}), (Values{5, 6, 7, 8}));
}

// A loop of `length` steps: next = 3 * value + step.
ProgramStep loop(Dim length, bool reverse = false) {
  auto repeat = std::make_shared<RepeatStep>();
  repeat->length = length;
  repeat->reverse = reverse;
  repeat->step = 1;
  repeat->body.push_back(launch(times_three_plus_step, {1, 2, 3}));
  repeat->carries.push_back({0, 2, 3});
  return {repeat};
}

TEST(Program, LoopsRenameTheirCarries) {
  for (int64_t length : {0, 1, 2, 3, 8}) {
    for (bool reverse : {false, true}) {
      Program program({input(0), temporary(8), output(0), temporary()}, {loop(length, reverse)}, {});
      Values expected{1, 2, 3, 4};
      for (int64_t t = 0; t < length; ++t)
        for (int64_t& v : expected) v = 3 * v + (reverse ? length - 1 - t : t);
      EXPECT_EQ(run(program, {{1, 2, 3, 4}}), expected) << length;
    }
  }
}

TEST(Program, LoopsDoNotWriteTheirArguments) {
  Program program({input(0), temporary(8), output(0), temporary()}, {loop(5)}, {});
  std::vector<int64_t> argument{1, 2, 3, 4};
  void* data[] = {argument.data()};
  std::vector<BufferRef> outputs(1);
  program.run(data, {}, outputs);
  EXPECT_EQ(argument, (Values{1, 2, 3, 4}));
}

TEST(Program, PartsAreRowsOfTheirWhole) {
  auto repeat = std::make_shared<RepeatStep>();
  repeat->length = 3;
  repeat->body.push_back(launch(copy_row, {1, 2}));
  repeat->slices = {{0, 1}, {3, 2}};
  Program program({input(0, 3 * kBytes), temporary(), temporary(), output(0, 3 * kBytes)}, {{repeat}}, {});
  Values rows(12);
  for (int64_t i = 0; i < 12; ++i) rows[i] = i;
  EXPECT_EQ(run(program, {rows}), rows);
  EXPECT_EQ(program.layout({})->total, 0);  // parts take no memory
}

TEST(Program, WhileGoesOnAsLongAsAnyElementHolds) {
  auto repeat = std::make_shared<RepeatStep>();
  repeat->go = 3;
  repeat->condition.push_back(launch(below_hundred, {1, 3}, true, 1));
  repeat->body.push_back(launch(add_one, {1, 2}));
  repeat->carries.push_back({0, 1, 2});
  Program program({input(0), output(0), temporary(), temporary(kCount)}, {{repeat}}, {});
  EXPECT_EQ(run(program, {{1, 97, 50, 3}}), (Values{100, 196, 149, 102}));
  EXPECT_EQ(run(program, {{200, 300, 400, 500}}), (Values{200, 300, 400, 500}));
  EXPECT_EQ(run(program, {{200, 300, 400, 99}}), (Values{201, 301, 401, 100}));
}

TEST(Program, SizesFollowTheSymbols) {
  const Dim n = Dim::symbol({.name = "program_test_n", .upper = 1000});
  ProgramStep step = launch(times_symbol, {0, 1}, false, n);
  std::get<LaunchStep>(step.what).code.symbols = {"program_test_n"};
  Program program({input(0, n * 8), output(0, n * 8)}, {step}, {"program_test_n"});
  EXPECT_EQ(run(program, {{1, 2, 3}}, {3}), (Values{3, 6, 9}));
  EXPECT_EQ(run(program, {{1, 2}}, {2}), (Values{2, 4}));
  EXPECT_EQ(run(program, {{}}, {0}), Values{});
}

TEST(Program, WritesAnOutputThatIsGivenInPlace) {
  Program program({input(0), output(0)}, {launch(add_one, {0, 1})}, {});
  auto shared = std::make_shared<Buffer>(static_cast<size_t>(kBytes));
  for (int64_t i = 0; i < kCount; ++i) reinterpret_cast<int64_t*>(shared->data())[i] = i;
  void* data[] = {shared->data()};
  std::vector<BufferRef> outputs{shared};
  program.run(data, {}, outputs);
  EXPECT_EQ(outputs[0], shared);
  EXPECT_EQ(reinterpret_cast<int64_t*>(shared->data())[3], 4);
}

TEST(Program, SeveralThreadsRunOneProgram) {
  Program program({input(0), temporary(8), output(0), temporary()}, {loop(7)}, {});
  const Values expected = run(program, {{1, 2, 3, 4}});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) ASSERT_EQ(run(program, {{1, 2, 3, 4}}), expected);
    });
  for (std::thread& t : threads) t.join();
}

TEST(Profile, CountsLaunchesOfThisThread) {
  Program program({input(0), temporary(8), output(0), temporary()}, {loop(7)}, {});
  Profile profile;
  run(program, {{1, 2, 3, 4}});
  EXPECT_EQ(profile.launches(), 7);
  ASSERT_EQ(profile.rows().size(), 1u);
  EXPECT_EQ(profile.rows()[0].name, "test");
  EXPECT_NE(profile.str().find("test"), std::string::npos);
}

struct Stopped {};
int checks = 0;

TEST(Program, AnInterruptStopsBetweenLaunches) {
  auto repeat = std::make_shared<RepeatStep>();
  repeat->length = int64_t{1} << 40;
  repeat->body.push_back(launch(add_one, {1, 2}, true));
  repeat->carries.push_back({0, 1, 2});
  Program program({input(0), output(0), temporary()}, {{repeat}}, {});
  checks = 0;
  set_interrupt_check([] {
    if (++checks == 2) throw Stopped{};
  });
  EXPECT_THROW(run(program, {{1, 2, 3, 4}}), Stopped);
  set_interrupt_check(nullptr);
  EXPECT_EQ(checks, 2);
}

}  // namespace
}  // namespace tenfold
