// A launch on the CPU: block ranges over the threads of one arena. A launch is a range a thread; a long one
// of uneven blocks is more ranges, which threads take as they come. Blocks are independent, so the bits
// depend on neither.
#pragma once

#include <cstdint>

namespace tenfold {

int thread_count();  // TENFOLD_THREADS, or one per core; read once

// body(context, begin, end) for ranges that cover [0, blocks). An exception of one range is rethrown after
// all have ended. `seconds`: what all of it is expected to take, if blocks are uneven.
using RangeBody = void (*)(void* context, int64_t begin, int64_t end);
void parallel_ranges(int64_t blocks, RangeBody body, void* context, double seconds = 0);

// 64-byte aligned memory of the calling thread, valid until its next call on this thread. Contents are
// anything.
void* thread_scratch(int64_t bytes);

}  // namespace tenfold
