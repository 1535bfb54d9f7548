// Device memory of the CPU: 64-byte aligned blocks in size classes. A released block is kept and handed out
// again, because touched memory is most of what a large result costs (a fresh page is zeroed by the kernel).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tenfold {

inline constexpr size_t kAlignment = 64;  // bytes: a cache line, and the widest vector register
inline constexpr size_t kHugePageBytes = size_t{2} << 20;  // blocks from this size on ask for huge pages

struct MemoryStatistics {
  int64_t live_bytes = 0;    // handed out now, in bytes of their size classes
  int64_t peak_bytes = 0;    // the most that was ever live
  int64_t cached_bytes = 0;  // kept for reuse
  int64_t allocations = 0;   // calls of allocate
  int64_t reuses = 0;        // of those, the ones served from kept blocks
};

// Bytes that a block of `bytes` really takes: at most a quarter more, and at least kAlignment.
size_t size_class(size_t bytes);

// Never null, even for 0 bytes. DeviceError if the machine has no more memory, after giving kept blocks back.
void* allocate(size_t bytes);
void release(void* block, size_t bytes) noexcept;  // `bytes` as they were asked for

MemoryStatistics memory_statistics();
void trim_memory();  // gives every kept block back to the system

}  // namespace tenfold
