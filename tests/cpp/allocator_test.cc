#include "tenfold/runtime/allocator.h"

#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/runtime/buffer.h"
#include "tenfold/runtime/parallel.h"

namespace tenfold {
namespace {

TEST(Allocator, ClassesWasteAQuarterAtMost) {
  for (size_t bytes = 1; bytes < (size_t{1} << 26); bytes += 1 + bytes / 7) {
    EXPECT_GE(size_class(bytes), bytes);
    EXPECT_LE(size_class(bytes), std::max(bytes + 63, bytes + bytes / 4 + 1)) << bytes;
    EXPECT_EQ(size_class(bytes) % kAlignment, 0u);
    EXPECT_EQ(size_class(size_class(bytes)), size_class(bytes));
  }
}

TEST(Allocator, BlocksAreAligned) {
  for (size_t bytes :
       {size_t{0}, size_t{1}, size_t{63}, size_t{65}, size_t{4097}, kHugePageBytes, kHugePageBytes + 1}) {
    void* block = allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % kAlignment, 0u) << bytes;
    std::memset(block, 1, bytes);
    release(block, bytes);
  }
}

TEST(Allocator, ReusesWhatWasReleased) {
  trim_memory();
  void* first = allocate(10000);
  release(first, 10000);
  const MemoryStatistics before = memory_statistics();
  EXPECT_EQ(before.cached_bytes, static_cast<int64_t>(size_class(10000)));
  void* second = allocate(9999);  // of the same class
  EXPECT_EQ(second, first);
  EXPECT_EQ(memory_statistics().reuses, before.reuses + 1);
  EXPECT_EQ(memory_statistics().cached_bytes, 0);
  EXPECT_EQ(memory_statistics().live_bytes, before.live_bytes + static_cast<int64_t>(size_class(10000)));
  release(second, 9999);
  trim_memory();
  EXPECT_EQ(memory_statistics().cached_bytes, 0);
}

TEST(Allocator, KeepsNoMoreThanWasEverLive) {
  trim_memory();
  std::vector<void*> blocks;
  for (int i = 0; i < 64; ++i) blocks.push_back(allocate(1 << 20));
  for (void* block : blocks) release(block, 1 << 20);
  const MemoryStatistics s = memory_statistics();
  EXPECT_LE(s.cached_bytes + s.live_bytes, std::max<int64_t>(s.peak_bytes, 64 << 20));
  trim_memory();
}

// What was kept of an earlier phase makes room for what is used now: else every large result of a steady loop
// would be fresh pages.
TEST(Allocator, KeepsWhatIsUsedNow) {
  trim_memory();
  constexpr size_t kOld = size_t{5} << 20, kNew = size_t{200} << 20;
  std::vector<void*> old;
  for (int i = 0; i < 8; ++i) old.push_back(allocate(kOld));
  for (void* block : old) release(block, kOld);
  void* held = allocate(kNew);  // the peak has no room for the old ones beside two of these
  void* other = allocate(kNew);
  const int64_t reused = memory_statistics().reuses;
  for (int i = 0; i < 5; ++i) {
    release(other, kNew);
    other = allocate(kNew);
  }
  EXPECT_EQ(memory_statistics().reuses - reused, 5);
  release(held, kNew);
  release(other, kNew);
}

TEST(Allocator, AskingForTooMuchIsAnError) {
  const MemoryStatistics before = memory_statistics();
  try {
    release(allocate(size_t{1} << 55), size_t{1} << 55);
    FAIL();
  } catch (const DeviceError& e) {
    EXPECT_NE(std::string(e.what()).find("no memory left for a buffer of 36028797018963968 bytes"),
              std::string::npos)
        << e.what();
  }
  EXPECT_EQ(memory_statistics().live_bytes, before.live_bytes);
  EXPECT_EQ(memory_statistics().peak_bytes, before.peak_bytes);  // what was refused was never in use
}

TEST(Allocator, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = 64u << ((i + t) % 8);
        auto* block = static_cast<char*>(allocate(bytes));
        block[0] = block[bytes - 1] = static_cast<char>(t);
        release(block, bytes);
      }
    });
  for (std::thread& t : threads) t.join();
}

TEST(Buffer, CallsTheDeleterOfForeignMemoryOnce) {
  int calls = 0;
  float memory[4] = {};
  {
    auto buffer = std::make_shared<Buffer>(memory, sizeof memory, [&] { ++calls; });
    const BufferRef other = buffer;
    EXPECT_TRUE(other->foreign());
    EXPECT_EQ(static_cast<void*>(other->data()), static_cast<void*>(memory));
  }
  EXPECT_EQ(calls, 1);
}

TEST(Parallel, RangesCoverEachBlockOnce) {
  for (int64_t blocks : {0, 1, 2, 3, 7, 1000}) {
    std::vector<int> seen(blocks, 0);
    parallel_ranges(
        blocks,
        [](void* context, int64_t begin, int64_t end) {
          for (int64_t b = begin; b < end; ++b) ++(*static_cast<std::vector<int>*>(context))[b];
        },
        &seen);
    for (int count : seen) EXPECT_EQ(count, 1);
  }
}

TEST(Parallel, AnExceptionReachesTheCaller) {
  EXPECT_THROW(parallel_ranges(
                   1000,
                   [](void*, int64_t, int64_t end) {
                     if (end == 1000) user_error("the last");
                   },
                   nullptr),
               UserError);
}

TEST(Parallel, ScratchIsAligned) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(thread_scratch(100)) % 64, 0u);
  EXPECT_EQ(thread_scratch(50), thread_scratch(80));
}

}  // namespace
}  // namespace tenfold
