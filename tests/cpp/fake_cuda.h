// A driver without a GPU: memory is the host's, launches do nothing, and errors come when they are told to.
// It stands in for libcuda where the calls themselves are tested. What a capturing stream is given becomes a
// graph, and runs when that is launched.
#pragma once

#include <string_view>

namespace tenfold::testing {

inline constexpr std::string_view kFakeCuda = R"(
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>
using P = unsigned long long;
static int failing = 0;      // what the next wait says, and from then on
static size_t most = 64 << 20, used = 0;
using Calls = std::vector<std::function<void()>>;
static P streams = 0, capturing = 0;
static Calls calls;
static int make(P stream, std::function<void()> call) {
  if (stream == capturing) return calls.push_back(std::move(call)), 0;
  return call(), 0;
}
extern "C" {
int most_shared = 48 << 10;  // that a kernel asked for
int pushed = 0, launched = 0, recorded = 0, instantiated = 0, updated = 0, replayed = 0, graphs = 0;
void fake_fail(int error) { failing = error; }
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* v) { return *v = 13000, 0; }
int cuGetErrorName(int e, const char** s) { return *s = e == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : e == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : nullptr, 0; }
int cuGetErrorString(int e, const char** s) { return *s = e == 2 ? "out of memory" : "an illegal memory access was encountered", 0; }
int cuDeviceGetCount(int* n) { return *n = 2, 0; }
int cuDeviceGet(int* d, int i) { return *d = i, 0; }
int cuDeviceGetName(char* s, int, int) { return strcpy(s, "Paper 9000"), 0; }
int cuDeviceTotalMem_v2(size_t* n, int) { return *n = most, 0; }
int cuDeviceGetAttribute(int* v, int what, int d) { return *v = what == 16 ? 132 : what == 75 ? 9 : what == 115 ? d == 0 : 0, 0; }
int cuDevicePrimaryCtxRetain(P* c, int) { return *c = 1, 0; }
int cuCtxPushCurrent_v2(P) { return ++pushed, 0; }
int cuCtxPopCurrent_v2(P*) { return --pushed, 0; }
int cuStreamCreate(P* s, unsigned) { return *s = ++streams, 0; }
int cuStreamBeginCapture_v2(P s, int) { return capturing ? 900 : (calls.clear(), capturing = s, 0); }
int cuStreamEndCapture(P s, P* g) {
  if (s != capturing) return 900;
  return capturing = 0, ++recorded, ++graphs, *g = (P) new Calls(calls), 0;
}
int cuGraphInstantiateWithFlags(P* e, P g, unsigned long long) {
  return ++instantiated, ++graphs, *e = (P) new Calls(*(Calls*)g), 0;
}
int cuGraphExecUpdate_v2(P e, P g, void*) {
  if (((Calls*)e)->size() != ((Calls*)g)->size()) return 910;
  return ++updated, *(Calls*)e = *(Calls*)g, 0;
}
int cuGraphLaunch(P e, P) {
  for (auto& call : *(Calls*)e) call();
  return ++replayed, 0;
}
int cuGraphExecDestroy(P e) { return --graphs, delete (Calls*)e, 0; }
int cuGraphDestroy(P g) { return --graphs, delete (Calls*)g, 0; }
int cuStreamSynchronize(P) { return failing; }
int cuEventCreate(P* e, unsigned) { return *e = 1, 0; }
int cuEventRecord(P, P) { return 0; }
int cuEventSynchronize(P) { return failing; }
int cuMemAlloc_v2(P* p, size_t n) {
  if (used + n > most) return 2;
  used += n;
  auto* block = (size_t*)aligned_alloc(256, (n + 511) / 256 * 256);
  *block = n;
  static size_t* latest[256];  // what a lost device keeps is no leak
  static size_t count = 0;
  latest[count++ % 256] = block;
  return *p = (P)block + 256, 0;
}
int cuMemFree_v2(P p) { used -= *(size_t*)(p - 256); return free((void*)(p - 256)), 0; }
int cuMemAllocAsync(P* p, size_t n, P) { return cuMemAlloc_v2(p, n); }
int cuMemFreeAsync(P p, P) { return cuMemFree_v2(p); }
int cuMemAllocHost_v2(void** p, size_t n) { return *p = malloc(n), 0; }
int cuMemcpyHtoDAsync_v2(P to, const void* from, size_t n, P) { return memcpy((void*)to, from, n), 0; }
int cuMemcpyDtoHAsync_v2(void* to, P from, size_t n, P) { return memcpy(to, (void*)from, n), 0; }
int cuMemcpyDtoDAsync_v2(P to, P from, size_t n, P s) { return make(s, [=] { memmove((void*)to, (void*)from, n); }); }
int cuMemsetD32Async(P to, unsigned x, size_t, P s) { return make(s, [=] { memcpy((void*)to, &x, 4); }); }
int cuModuleLoadData(P* m, const void*) { return *m = 1, 0; }
int cuModuleUnload(P) { return 0; }
int cuModuleGetFunction(P* f, P, const char*) { return *f = 1, 0; }
int cuFuncSetAttribute(P, int what, int bytes) {
  if (what != 8 || bytes > 227 << 10) return 1;
  most_shared = bytes;
  return 0;
}
int cuLaunchKernel(P, unsigned x, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, P s, void**,
                   void**) {
  if ((int)shared > most_shared) return 1;
  return x == 0 ? 1 : make(s, [] { ++launched; });
}
}
)";

}  // namespace tenfold::testing
