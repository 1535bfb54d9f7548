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
  alignas(16) char sent[64];
  std::vector<std::vector<std::function<void()>>> copies;  // on their way, in stages
  std::vector<std::function<void()>> products;             // begun
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
// The whole warp's: f reads what each of its items sent.
template <class T, class F> static auto all_of_warp(const T& x, const F& f) {
  static_assert(sizeof x <= sizeof items[0].sent);
  memcpy(items[threadIdx.x].sent, &x, sizeof x);
  meet(At::exchange);
  T all[kWarp];
  for (unsigned i = 0; i < kWarp; ++i)
    memcpy(&all[i], items[threadIdx.x / kWarp * kWarp + i].sent, sizeof x);
  const auto result = f(all);
  meet(At::exchange);
  return result;
}
static void fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  abort();
}
static At together(At all, At one, bool first) {
  if (first || all == one) return one;
  fprintf(stderr, "items of one group part ways before they meet\n");
  abort();
}
static bool late = false;
static void run(unsigned count, long blocks, bool backwards, const std::function<void()>& work) {
  late = !backwards;
  body = &work;
  items.resize(count);
  for (long block = 0; block < blocks; ++block) {
    blockIdx.x = (unsigned)block;
    for (Item& item : items) {
      item.copies.assign(1, {});
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

// Matrix units, as the PTX ISA states them, in place of Dialect::matrix; `float_of` widens a number of 16
// bits. With the last warp first, copies are made when they are asked for; else as late as they may.
inline constexpr std::string_view kMatrixOnHost = R"(
#define STAGED(bytes) static ushort staged[(bytes) / 2] __attribute__((aligned(1024)))
static int run_length(long left) { return left < 0 ? 0 : left < 8 ? (int)left : 8; }
static void copy_run(ushort* to, const ushort* from, int count) {
  if ((ulong)to % 16 != 0) host::fail("copy_run: not aligned");
  const auto copy = [=] {
    for (int i = 0; i < 8; ++i) to[i] = i < count ? from[i] : (ushort)0;
  };
  // What is not aligned to 16 bytes in memory is copied at once.
  if (host::late && (ulong)from % 16 == 0)
    host::items[threadIdx.x].copies.back().push_back(copy);
  else
    copy();
}
static void end_stage() { host::items[threadIdx.x].copies.emplace_back(); }
template <unsigned n> static void await_stages() {
  auto& stages = host::items[threadIdx.x].copies;  // the last one has not ended
  for (unsigned s = 0; s + n + 1 < stages.size(); ++s) {
    for (const auto& copy : stages[s]) copy();
    stages[s].clear();
  }
}
template <bool transposed> static void tiles(uint (&to)[4], const ushort* row) {
  if ((ulong)row % 16 != 0) host::fail("load_tiles: a row is not aligned");
  const auto own = host::all_of_warp(row, [&](const ushort* const* rows) {
    std::vector<uint> words;
    const unsigned lane = threadIdx.x % host::kWarp;
    for (unsigned tile = 0; tile < 4; ++tile) {
      unsigned banks = 0;
      for (unsigned r = 0; r < 8; ++r) banks |= 1u << (ulong)rows[8 * tile + r] / 16 % 8;
      if (banks != 0xff) host::fail("load_tiles: rows share a bank");
      const unsigned at = lane / 4, pair = 2 * (lane % 4);
      const uint low = transposed ? rows[8 * tile + pair][at] : rows[8 * tile + at][pair];
      const uint high = transposed ? rows[8 * tile + pair + 1][at] : rows[8 * tile + at][pair + 1];
      words.push_back(low | high << 16);
    }
    return words;
  });
  for (int i = 0; i < 4; ++i) to[i] = own[i];
}
static void load_tiles(uint (&to)[4], const ushort* row) { tiles<false>(to, row); }
static void load_tiles_transposed(uint (&to)[4], const ushort* row) { tiles<true>(to, row); }
static double f16_of(ushort x) { return (double)std::bit_cast<_Float16>(x); }
static double bf16_of(ushort x) { return std::bit_cast<float>((uint)x << 16); }
struct Operands {
  uint a[4], b[2];
};
template <class F>
static void multiply(float& c0, float& c1, float& c2, float& c3, const uint (&a)[4], uint b0, uint b1,
                     const F& float_of) {
  const Operands own{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const auto sums = host::all_of_warp(own, [&](const Operands* of) {
    const unsigned lane = threadIdx.x % host::kWarp;
    std::vector<double> sums;
    for (unsigned c = 0; c < 4; ++c) {
      const unsigned row = lane / 4 + 8 * (c / 2), column = 2 * (lane % 4) + c % 2;
      double sum = 0;
      for (unsigned k = 0; k < 16; ++k) {
        const uint x = of[row % 8 * 4 + k % 8 / 2].a[row / 8 + 2 * (k / 8)] >> 16 * (k % 2);
        const uint y = of[column * 4 + k % 8 / 2].b[k / 8] >> 16 * (k % 2);
        sum += float_of((ushort)x) * float_of((ushort)y);
      }
      sums.push_back(sum);
    }
    return sums;
  });
  c0 = (float)(c0 + sums[0]), c1 = (float)(c1 + sums[1]);
  c2 = (float)(c2 + sums[2]), c3 = (float)(c3 + sums[3]);
}
static void multiply_f16(float& c0, float& c1, float& c2, float& c3, const uint (&a)[4], uint b0, uint b1) {
  multiply(c0, c1, c2, c3, a, b0, b1, f16_of);
}
static void multiply_bf16(float& c0, float& c1, float& c2, float& c3, const uint (&a)[4], uint b0, uint b1) {
  multiply(c0, c1, c2, c3, a, b0, b1, bf16_of);
}

// Groups of four warps, in place of Dialect::matrix_groups: an operand is read through its descriptor, from
// the canonical layouts of the PTX ISA.
struct Descriptor {
  ulong bits;
  const char* start;  // of which the descriptor has 14 bits
};
static Descriptor describe(const ushort* tile, int leading, int stride, int width) {
  const ulong swizzle = width == 64 ? 1 : width == 32 ? 2 : 3;
  return {(ulong)tile >> 4 & 0x3fff | (ulong)(leading >> 4) << 16 | (ulong)(stride >> 4) << 32 | swizzle << 62,
          (const char*)tile};
}
static void order_copies() {}
static void begin_products() {}
static void end_products() {
  for (const auto& product : host::items[threadIdx.x].products) product();
  host::items[threadIdx.x].products.clear();
}
// Element `at` of row (or column) `of`, among its 16 terms.
static ushort element(Descriptor d, bool along_terms, unsigned of, unsigned term) {
  const unsigned runs[] = {0, 8, 4, 2};  // of eight elements, in a row
  const unsigned width = runs[d.bits >> 62] * 16;
  const ulong leading = (d.bits >> 16 & 0x3fff) * 16, stride = (d.bits >> 32 & 0x3fff) * 16;
  if (width == 0 || (ulong)d.start % 16 != 0) host::fail("a descriptor of no swizzled operand");
  ulong at = (ulong)d.start;
  if (along_terms)
    at += of / 8 * stride + of % 8 * width + 2 * term;
  else
    at += 2 * of / width * leading + 2 * of % width + term % 8 * width + term / 8 * stride;
  at ^= (at >> 7 & (width / 16 - 1)) << 4;
  return *(const ushort*)at;
}
template <class F>
static void multiply_group(float (&up)[32], float (&down)[32], Descriptor a, Descriptor b, bool a_along,
                           bool b_along, const F& float_of) {
  const unsigned lane = threadIdx.x % host::kWarp, warp = threadIdx.x / host::kWarp % 4;
  const auto product = [=, &up, &down] {
    for (unsigned c = 0; c < 64; ++c) {
      const unsigned row = 16 * warp + lane / 4 + 8 * (c / 2 % 2), column = c / 4 * 8 + 2 * (lane % 4) + c % 2;
      double sum = 0;
      for (unsigned k = 0; k < 16; ++k)
        sum += float_of(element(a, !a_along, row, k)) * float_of(element(b, !b_along, column, k));
      float& to = (c / 2 % 2 ? down : up)[c / 4 * 2 + c % 2];
      to = (float)(to + sum);
    }
  };
  if (host::late)
    host::items[threadIdx.x].products.push_back(product);
  else
    product();
}
template <int along_a, int along_b>
static void multiply_f16(float (&up)[32], float (&down)[32], Descriptor a, Descriptor b) {
  multiply_group(up, down, a, b, along_a, along_b, f16_of);
}
template <int along_a, int along_b>
static void multiply_bf16(float (&up)[32], float (&down)[32], Descriptor a, Descriptor b) {
  multiply_group(up, down, a, b, along_a, along_b, bf16_of);
}
)";

}  // namespace tenfold::testing
