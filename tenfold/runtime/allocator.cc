#include "tenfold/runtime/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <vector>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

constexpr size_t kStepsPerOctave = 4;  // classes 1, 1.25, 1.5, 1.75 times a power of two
constexpr size_t kClasses = 64 * kStepsPerOctave;
constexpr size_t kMostBytes = size_t{1} << 40;  // of one block; asking the system for more is a mistake
constexpr size_t kHugeAlignment = size_t{2} << 20;
// Kept beyond what was live at the peak: nothing. A program that is done with its memory may keep as much as
// it used.
constexpr int64_t kKeptAtLeast = int64_t{64} << 20;

struct ClassOf {
  size_t index;
  size_t bytes;
};

ClassOf class_of(size_t bytes) {
  if (bytes <= kAlignment) return {0, kAlignment};
  const size_t octave = std::bit_width(bytes - 1) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const size_t base = size_t{1} << octave;
  const size_t step = std::max(base / kStepsPerOctave, kAlignment);
  const size_t steps = (bytes - base + step - 1) / step;
  return {octave * kStepsPerOctave + steps, base + steps * step};
}

class Pool {
 public:
  void* take(size_t bytes) {
    const ClassOf c = class_of(bytes);
    {
      const std::lock_guard lock(mutex_);
      ++statistics_.allocations;
      auto& kept = kept_[c.index].blocks;
      kept_[c.index].used = ++clock_;
      if (!kept.empty()) {
        void* block = kept.back();
        kept.pop_back();
        ++statistics_.reuses;
        statistics_.cached_bytes -= static_cast<int64_t>(c.bytes);
        count(c.bytes);
        return block;
      }
    }
    void* block = fresh(c.bytes);
    if (!block) {
      trim();
      block = fresh(c.bytes);
    }
    const std::lock_guard lock(mutex_);
    if (!block)
      throw DeviceError(
          fmt::format("the machine has no memory left for a buffer of {} bytes ({} bytes are in use by "
                      "tenfold); drop arrays that are not needed, or work in smaller batches",
                      bytes, statistics_.live_bytes));
    count(c.bytes);
    return block;
  }

  void give(void* block, size_t bytes) noexcept {
    const ClassOf c = class_of(bytes);
    {
      const std::lock_guard lock(mutex_);
      statistics_.live_bytes -= static_cast<int64_t>(c.bytes);
      Kept& mine = kept_[c.index];
      mine.used = ++clock_;
      mine.bytes = c.bytes;
      const int64_t limit = std::max(statistics_.peak_bytes, kKeptAtLeast) - static_cast<int64_t>(c.bytes);
      while (statistics_.live_bytes + statistics_.cached_bytes > limit && drop_oldest(mine)) {
      }
      if (statistics_.live_bytes + statistics_.cached_bytes <= limit) {
        try {
          mine.blocks.push_back(block);
          statistics_.cached_bytes += static_cast<int64_t>(c.bytes);
          return;
        } catch (const std::bad_alloc&) {
        }
      }
    }
    std::free(block);
  }

  void trim() noexcept {
    const std::lock_guard lock(mutex_);
    for (Kept& kept : kept_) {
      for (void* block : kept.blocks) std::free(block);
      kept.blocks.clear();
    }
    statistics_.cached_bytes = 0;
  }

  MemoryStatistics statistics() {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

 private:
  struct Kept {
    std::vector<void*> blocks;
    uint64_t used = 0;  // when one was last taken or given
    size_t bytes = 0;   // of a block
  };

  // Gives a block of the class that has been idle longest back to the system: what a program uses now is
  // worth more than what it used before. False if there is none but `but`'s.
  bool drop_oldest(const Kept& but) noexcept {
    Kept* oldest = nullptr;
    for (Kept& kept : kept_)
      if (&kept != &but && !kept.blocks.empty() && (!oldest || kept.used < oldest->used)) oldest = &kept;
    if (!oldest) return false;
    std::free(oldest->blocks.back());
    oldest->blocks.pop_back();
    statistics_.cached_bytes -= static_cast<int64_t>(oldest->bytes);
    return true;
  }

  static void* fresh(size_t bytes) {
    if (bytes >= kMostBytes) return nullptr;
    if (bytes < kHugePageBytes) return std::aligned_alloc(kAlignment, bytes);
    void* block = nullptr;
    if (posix_memalign(&block, kHugeAlignment, bytes) != 0) return nullptr;  // of any size
    // A hint: a refusal changes nothing. What is beyond the last whole one is small pages, or it would be
    // zeroed for nothing.
    madvise(block, bytes / kHugeAlignment * kHugeAlignment, MADV_HUGEPAGE);
    return block;
  }

  // Under the lock, once a block is there.
  void count(size_t bytes) {
    statistics_.live_bytes += static_cast<int64_t>(bytes);
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.live_bytes);
  }

  std::mutex mutex_;
  std::array<Kept, kClasses> kept_;
  uint64_t clock_ = 0;
  MemoryStatistics statistics_;
};

// Never destroyed: buffers may outlive static destructors.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

size_t size_class(size_t bytes) { return class_of(bytes).bytes; }
void* allocate(size_t bytes) { return pool().take(bytes); }
void release(void* block, size_t bytes) noexcept { pool().give(block, bytes); }
MemoryStatistics memory_statistics() { return pool().statistics(); }
void trim_memory() { pool().trim(); }

}  // namespace tenfold
