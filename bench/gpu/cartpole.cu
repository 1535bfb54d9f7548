// CartPole-v1 by hand, all steps in one kernel: a thread is an environment, its state stays in registers, one Philox
// block gives the actions of four steps. Constants, keys and the order of operations are those of bench/hand, so
// that the episodes are the same to the bit as tenfold's. And what a copy reaches.
//
//     nvcc -O3 -arch=native -fmad=false -shared -Xcompiler -fPIC -o libcartpole.so cartpole.cu
#include <cstdint>

namespace {

constexpr double kGravity = 9.8, kMassCart = 1.0, kMassPole = 0.1, kLength = 0.5, kForce = 10.0, kTau = 0.02;
constexpr double kMass = kMassCart + kMassPole, kPoleMassLength = kMassPole * kLength;
constexpr double kThetaLimit = 12 * 2 * 3.14159265358979323846 / 360, kXLimit = 2.4, kResetBound = 0.05;
constexpr int kTimeLimit = 500, kThreads = 128;
constexpr uint32_t kDomain = 0x1BD11BDA, kFoldIn = 1, kSplit = 2, kActionUse = 0, kResetUse = 1;

struct Key {
  uint32_t a, b;
};
struct Words {
  uint32_t w[4];
};

// Philox4x32-10 of the counter (n, 0, c2, c3).
__device__ Words block(Key key, uint32_t n, uint32_t c2, uint32_t c3) {
  uint32_t c0 = n, c1 = 0;
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ key.a, c1 = low1, c2 = high0 ^ c3 ^ key.b, c3 = low0;
    key.a += 0x9E3779B9u, key.b += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}
__device__ Key derived(Key key, uint32_t n, uint32_t use) {
  const Words words = block(key, n, kDomain, use);
  return {words.w[0], words.w[1]};
}

struct State {
  float x, v, theta, omega;
};

__device__ float fresh(uint32_t word) {
  return fmaf((float)(word >> 8), (float)(2 * kResetBound * 0x1p-24), -(float)kResetBound);
}
__device__ State reset(Key key, uint32_t n) {
  const Words words = block(derived(key, n, kFoldIn), 0, 0, 0);
  return {fresh(words.w[0]), fresh(words.w[1]), fresh(words.w[2]), fresh(words.w[3])};
}

// |x| < pi/4
__device__ float sin_short(float x, float z) {
  const float p = fmaf(fmaf(-0x1.9953f6p-13f, z, 0x1.110778p-7f), z, -0x1.555546p-3f);
  return fmaf(x * z, p, x);
}
__device__ float cos_short(float z) {
  const float p = fmaf(fmaf(0x1.99e0fcp-16f, z, -0x1.6c0c1ap-10f), z, 0x1.55554ap-5f);
  return fmaf(fmaf(p, z, -0.5f), z, 1.0f);
}

__device__ State step(State s, bool right) {
  constexpr float kPush = kForce / kMass, kRatio = kPoleMassLength / kMass;
  const float z = s.theta * s.theta, sine = sin_short(s.theta, z), cosine = cos_short(z);
  const float temp = fmaf(s.omega * s.omega * sine, kRatio, right ? kPush : -kPush);
  const float alpha = fmaf(-cosine, temp, sine * (float)kGravity) /
                      fmaf(-(cosine * cosine), (float)(kLength * kMassPole / kMass), (float)(kLength * 4 / 3));
  const float accel = fmaf(-(alpha * cosine), kRatio, temp);
  constexpr float tau = kTau;
  return {fmaf(tau, s.v, s.x), fmaf(tau, accel, s.v), fmaf(tau, s.omega, s.theta), fmaf(tau, alpha, s.omega)};
}

__global__ void rollout(Key key, int envs, int steps, float* returns, int* episodes) {
  const int i = (int)(blockIdx.x * kThreads + threadIdx.x);
  if (i >= envs) return;
  const Key own = derived(key, (uint32_t)i, kSplit);
  const Key actions = derived(own, kActionUse, kFoldIn), resets = derived(own, kResetUse, kFoldIn);
  State s = reset(resets, 0);
  int elapsed = 0, ended = 0;
  float sum = 0;
  Words words = {};
  for (int t = 0; t < steps; ++t) {
    if (t % 4 == 0) words = block(actions, (uint32_t)t / 4, 0, 0);
    const uint32_t word = t % 4 == 0 ? words.w[0] : t % 4 == 1 ? words.w[1] : t % 4 == 2 ? words.w[2] : words.w[3];
    s = step(s, word >> 31);
    sum += 1.0f;
    if (fabsf(s.x) > (float)kXLimit || fabsf(s.theta) > (float)kThetaLimit || ++elapsed >= kTimeLimit) {
      s = reset(resets, (uint32_t)t + 1);
      elapsed = 0;
      ++ended;
    }
  }
  returns[i] = sum;
  episodes[i] = ended;
}

}  // namespace

#ifdef __CUDACC__
#include <cuda_runtime.h>

namespace {

// Seconds of one of `repeats` runs, by events; negative: CUDA's error.
template <class F>
double timed(int repeats, const F& f) {
  cudaEvent_t start, end;
  cudaEventCreate(&start);
  cudaEventCreate(&end);
  f();
  cudaEventRecord(start);
  for (int i = 0; i < repeats; ++i) f();
  cudaEventRecord(end);
  cudaEventSynchronize(end);
  float milliseconds = 0;
  cudaEventElapsedTime(&milliseconds, start, end);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? milliseconds * 1e-3 / repeats : -(double)error;
}

}  // namespace

extern "C" double cartpole(uint32_t a, uint32_t b, int envs, int steps, int repeats, float* returns, int* episodes) {
  float* device_returns = nullptr;
  int* device_episodes = nullptr;
  const size_t bytes = (size_t)envs * 4;
  if (cudaMalloc(&device_returns, bytes) || cudaMalloc(&device_episodes, bytes)) return -(double)cudaGetLastError();
  const double seconds = timed(repeats, [&] {
    rollout<<<(envs + kThreads - 1) / kThreads, kThreads>>>({a, b}, envs, steps, device_returns, device_episodes);
  });
  cudaMemcpy(returns, device_returns, bytes, cudaMemcpyDeviceToHost);
  cudaMemcpy(episodes, device_episodes, bytes, cudaMemcpyDeviceToHost);
  cudaFree(device_returns);
  cudaFree(device_episodes);
  return seconds;
}

// Of one copy of `bytes` on the device: as many are read as written.
extern "C" double copy(size_t bytes, int repeats) {
  void *from = nullptr, *to = nullptr;
  if (cudaMalloc(&from, bytes) || cudaMalloc(&to, bytes)) return -(double)cudaGetLastError();
  const double seconds =
      timed(repeats, [&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice); });
  cudaFree(from);
  cudaFree(to);
  return seconds;
}
#endif
