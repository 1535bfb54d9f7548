#include "tenfold/runtime/parallel.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <vector>

#ifndef TENFOLD_NO_TBB
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#endif

#include "tenfold/base/error.h"
#include "tenfold/base/knobs.h"
#include "tenfold/runtime/allocator.h"

#if defined(__SANITIZE_THREAD__)
#define TENFOLD_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_THREAD_SANITIZER 1
#endif
#endif

namespace tenfold {
namespace {

constexpr double kRangeSeconds = 1e-3;  // of a thread: what it takes at once, of a long launch
constexpr int64_t kMostRanges = 16;     // for each thread

int threads_wanted() {
  const int64_t asked = knob_int("TENFOLD_THREADS");
  if (asked < 0 || asked > 4096)
    user_error("TENFOLD_THREADS is {}, which is not between 0 (one thread per core) and 4096", asked);
  return asked > 0 ? static_cast<int>(asked)
                   : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

#if defined(TENFOLD_THREAD_SANITIZER) || defined(TENFOLD_NO_TBB)
// oneTBB is not instrumented, so its forks and joins are invisible to the sanitizer: threads whose are seen.
template <class Part>
void for_each_part(int64_t parts, const Part& part) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(parts));
  const auto run = [&](int64_t p) {
    try {
      part(p);
    } catch (...) {
      errors[static_cast<size_t>(p)] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int64_t p = 1; p < parts; ++p) threads.emplace_back(run, p);
  run(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}
#else
// Never destroyed: kernels may run while the process ends.
tbb::task_arena& arena() {
  static auto* const instance = new tbb::task_arena(thread_count());
  return *instance;
}

template <class Part>
void for_each_part(int64_t parts, const Part& part) {
  const auto run = [&](const tbb::blocked_range<int64_t>& range) {
    for (int64_t p = range.begin(); p < range.end(); ++p) part(p);
  };
  const tbb::blocked_range<int64_t> all(0, parts, 1);
  arena().execute([&] {
    if (parts > thread_count())
      tbb::parallel_for(all, run, tbb::simple_partitioner());
    else
      tbb::parallel_for(all, run, tbb::static_partitioner());
  });
}
#endif

struct Scratch {
  void* block = nullptr;
  size_t bytes = 0;
  ~Scratch() {
    if (block) release(block, bytes);
  }
};

}  // namespace

int thread_count() {
  static const int count = threads_wanted();
  return count;
}

void parallel_ranges(int64_t blocks, RangeBody body, void* context, double seconds) {
  const auto each = static_cast<int64_t>(seconds / kRangeSeconds);  // ranges a thread
  const int64_t parts = std::min(thread_count() * std::clamp<int64_t>(each, 1, kMostRanges), blocks);
  if (parts <= 1) {
    body(context, 0, blocks);
    return;
  }
  for_each_part(parts, [=](int64_t p) { body(context, blocks * p / parts, blocks * (p + 1) / parts); });
}

void* thread_scratch(int64_t bytes) {
  thread_local Scratch scratch;
  const auto wanted = static_cast<size_t>(bytes);
  if (scratch.bytes < wanted || !scratch.block) {
    if (scratch.block) release(scratch.block, scratch.bytes);
    scratch = {};
    scratch.block = allocate(wanted);
    scratch.bytes = wanted;
  }
  return scratch.block;
}

}  // namespace tenfold
