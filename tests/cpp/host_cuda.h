// What CUDA's C brings along, for a host's C++ compiler: text before the emitter's. Items are fibers. A warp
// runs until it meets the others or ends, the warps one after the other, in either direction: what a missing
// barrier lets one warp see too early or too late comes out wrong. Items that part ways before a barrier
// abort.
#pragma once

#include <string_view>

namespace tenfold::testing {

inline constexpr std::string_view kCudaOnHost = R"(
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <math.h>
#include <ucontext.h>
#include <vector>
#undef INFINITY
#undef NAN
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(items)
struct float2 { float x, y; };
struct double2 { double x, y; };
struct { unsigned x; } threadIdx, blockIdx;
static float2 make_float2(float x, float y) { return {x, y}; }
static double2 make_double2(double x, double y) { return {x, y}; }
static float __int_as_float(int x) { return std::bit_cast<float>(x); }
static float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
static int __float_as_int(float x) { return std::bit_cast<int>(x); }
static unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
static unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long)x * y >> 32); }
static double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
static long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }

namespace host {
constexpr unsigned kWarp = 32, kStack = 64 << 10;
enum class At { start, exchange, barrier, end };
struct Item {
  ucontext_t context;
  std::vector<char> stack;
  At at;
  alignas(16) char sent[16];
};
static std::vector<Item> items;
static ucontext_t scheduler;
static const std::function<void()>* body;

static void meet(At at) {
  Item& own = items[threadIdx.x];
  own.at = at;
  swapcontext(&own.context, &scheduler);
}
static void begin() {
  (*body)();
  meet(At::end);
}
template <class T> T exchange(T x, unsigned with) {
  memcpy(items[threadIdx.x].sent, &x, sizeof x);
  meet(At::exchange);
  T other;
  memcpy(&other, items[with].sent, sizeof other);
  meet(At::exchange);  // nobody sends again before all have read
  return other;
}
static At together(At all, At one, bool first) {
  if (first || all == one) return one;
  fprintf(stderr, "items of one group part ways before they meet\n");
  abort();
}
static void run(unsigned count, long blocks, bool backwards, const std::function<void()>& work) {
  body = &work;
  items.resize(count);
  for (long block = 0; block < blocks; ++block) {
    blockIdx.x = (unsigned)block;
    for (Item& item : items) {
      item.stack.resize(kStack);
      getcontext(&item.context);
      item.context.uc_stack.ss_sp = item.stack.data();
      item.context.uc_stack.ss_size = kStack;
      item.context.uc_link = nullptr;
      makecontext(&item.context, begin, 0);
    }
    const unsigned warps = (count + kWarp - 1) / kWarp;
    for (At all = At::start; all != At::end;)
      for (unsigned w = 0; w < warps; ++w) {
        const unsigned first = (backwards ? warps - 1 - w : w) * kWarp;
        At warp = At::exchange;
        while (warp == At::exchange)
          for (unsigned i = first; i < first + kWarp && i < count; ++i) {
            threadIdx.x = i;
            swapcontext(&scheduler, &items[i].context);
            warp = together(warp, items[i].at, i == first);
          }
        all = together(all, warp, w == 0);
      }
  }
}
}  // namespace host

#define __syncthreads() host::meet(host::At::barrier)
template <class T> T __shfl_xor_sync(unsigned, T x, int bit) { return host::exchange(x, threadIdx.x ^ bit); }
template <class T> T __shfl_sync(unsigned, T x, int lane) {
  return host::exchange(x, threadIdx.x / host::kWarp * host::kWarp + lane);
}
)";

}  // namespace tenfold::testing
