// What the machine gives at this moment: clock and peak, for shares of peak and for cycles a step.
#include <algorithm>
#include <chrono>

#include "pool.h"
#include "vec.h"

#if TENFOLD_HAND_AVX512
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int kRepeats = 2000, kTurns = 300, kImul = 16, kImulLatency = 3, kChains = 12;

}  // namespace

// Clock of the calling core in GHz, by a chain of integer multiplies: three cycles each on every x86 core
// since 2008.
extern "C" double hand_clock_ghz() {
  double best = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    uint64_t x = 3;
    const double start = now();
    for (int i = 0; i < kRepeats; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kImul; ++j) asm volatile("imul %0, %0" : "+r"(x));
    }
    best = std::max(best, 1e-9 * kRepeats * kImul * kImulLatency / (now() - start));
  }
  return best;
}

// f32 multiply-adds of `threads` threads, GFLOP/s.
extern "C" double hand_peak_gflops(int threads) {
  double best = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    const double start = now();
    hand::parallel(threads, [](int, int) {
      for (int i = 0; i < kRepeats; ++i)
        asm volatile(
#define FMA(x) "vfmadd231ps %%zmm31, %%zmm31, %%zmm" #x "\n"
            FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7) FMA(8) FMA(9) FMA(10) FMA(11)
#undef FMA
                ::
                    : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                      "xmm11");
    });
    best = std::max(best, 1e-9 * kRepeats * kChains * 2 * hand::kLanes * threads / (now() - start));
  }
  return best;
}
#endif
