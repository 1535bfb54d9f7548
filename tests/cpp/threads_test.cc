// One of everything that threads share, from several threads at once: what the thread sanitizer looks at.
// Compiled kernels are not instrumented; what they are called with is.
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tenfold/compile/compile.h"
#include "tenfold/ir/build.h"
#include "tenfold/tenfold.h"

namespace tn = tenfold::lang;

namespace tenfold {
namespace {

constexpr int kThreads = 4;
constexpr int64_t kMany = 100'000;  // elements: enough for a launch on several threads

// body(thread) on all threads, which begin together.
void on_threads(const std::function<void(int)>& body) {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (++ready; ready < kThreads;) std::this_thread::yield();
      body(t);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Threads, CallOneJittedFunction) {
  const auto f = tn::jit([](const tn::Tensor& x) { return std::pair(x * 2 + 1, tn::sum(x)); });
  on_threads([&](int t) {
    for (int i = 0; i < 12; ++i) {
      const int64_t n = i % 3 == 0 ? kMany : 7 + i % 3;  // each type is met first by all at once
      const auto [y, sum] = f(tn::full(Shape{n}, static_cast<double>(t)));
      EXPECT_EQ(sum.item().f(), static_cast<double>(n * t));
      EXPECT_EQ(y.to_vector<float>().back(), static_cast<float>(2 * t + 1));
    }
  });
}

TEST(Threads, Compile) {
  compile::clear_cache();
  on_threads([&](int t) {
    for (int i = 0; i < 6; ++i) {
      using namespace build;
      const int factor = i % 2 ? i : 100 * t + i;  // equal graphs, and one's own
      const NodeRef x = parameter(0, {Dtype::f32, {64}});
      const Graph graph{{x}, {x * static_cast<double>(factor) + 1.0}, {}};
      const auto executable = compile::compile(graph);
      std::vector<float> in(64, 2);
      void* data[] = {in.data()};
      std::vector<BufferRef> out(1);
      executable->run(data, {}, out);
      EXPECT_EQ(reinterpret_cast<float*>(out[0]->data())[63], static_cast<float>(2 * factor + 1));
      if (i == 3) compile::clear_cache();
    }
  });
}

TEST(Threads, LookAtWhatWaits) {
  const tn::Tensor x = tn::full(Shape{kMany}, 3.0);
  const tn::Tensor waiting = x * x + 1;
  on_threads([&](int t) {
    const tn::Tensor own = waiting + t;
    EXPECT_EQ(waiting.to_vector<float>()[5], 10);
    EXPECT_EQ(tn::max(own).item().f(), 10 + t);
    const tn::Tensor copy = waiting;  // the last handle may be any thread's
    EXPECT_EQ((copy * t).to_vector<float>()[kMany - 1], static_cast<float>(10 * t));
  });
}

TEST(Threads, RollOut) {
  const tn::Tensor state = tn::zeros(Shape{256}, Dtype::f32);
  const auto step = tn::jit([](const tn::Tensor& s) {
    return tn::scan(
               [](const tn::Tensor& c, const tn::Tensor& t) {
                 const tn::Tensor next = c * 0.5 + tn::astype(t, Dtype::f32);
                 return std::pair(next, next);
               },
               s, Dim(9))
        .first;
  });
  const float expected = step(state).to_vector<float>()[0];
  on_threads([&](int) {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(step(state).to_vector<float>()[255], expected);
  });
}

}  // namespace
}  // namespace tenfold
