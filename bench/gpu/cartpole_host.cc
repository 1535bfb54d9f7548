// cartpole.cu on the CPU, a thread after the other, so that `run --dry-run` checks the hand-written kernel
// too.
//
//     g++ -std=c++20 -O2 -ffp-contract=off -shared -fPIC -o libcartpole.so cartpole_host.cc
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#define __device__
#define __global__
namespace {
struct Number {
  unsigned x;
} blockIdx, threadIdx;
uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }
}  // namespace

#include "cartpole.cu"

namespace {
double seconds(auto&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
}  // namespace

extern "C" double cartpole(uint32_t a, uint32_t b, int envs, int steps, int, float* returns, int* episodes) {
  return seconds([&] {
    for (blockIdx.x = 0; static_cast<int>(blockIdx.x) * kThreads < envs; ++blockIdx.x)
      for (threadIdx.x = 0; threadIdx.x < kThreads; ++threadIdx.x)
        rollout({a, b}, envs, steps, returns, episodes);
  });
}

extern "C" double copy(size_t bytes, int repeats) {
  std::vector<char> from(bytes, 1), to(bytes, 2);
  return seconds([&] {
           for (int i = 0; i < repeats; ++i) std::memcpy(to.data(), from.data(), bytes);
         }) /
         repeats;
}
