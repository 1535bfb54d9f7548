// The parts of CUDA's driver API and of NVRTC that are used, declared here and found at run time: building
// needs neither headers nor libraries. Names and values as in cuda.h and nvrtc.h of CUDA 12 and 13.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tenfold::cuda {

using Result = int;
using DeviceId = int;
using Address = unsigned long long;
using Context = struct ContextHandle*;
using Stream = struct StreamHandle*;
using Event = struct EventHandle*;
using Module = struct ModuleHandle*;
using FunctionHandle = struct CuFunctionHandle*;
using Graph = struct GraphHandle*;
using GraphExec = struct GraphExecHandle*;
using NvrtcProgram = struct NvrtcProgramHandle*;

inline constexpr Result kSuccess = 0, kOutOfMemory = 2;
inline constexpr unsigned kStreamNonBlocking = 1, kEventDisableTiming = 2;
inline constexpr int kCaptureRelaxed = 2;
inline constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76, kMemoryPools = 115;
inline constexpr int kMostDynamicShared = 8;  // of a kernel, in bytes

struct GraphUpdate {  // CUgraphExecUpdateResultInfo
  int result = 0;
  void *node = nullptr, *from = nullptr;
};

// clang-format off
#define TENFOLD_CUDA_FUNCTIONS(f)                                                              \
  f(cuInit, "cuInit", (unsigned))                                                              \
  f(cuDriverGetVersion, "cuDriverGetVersion", (int*))                                          \
  f(cuGetErrorName, "cuGetErrorName", (Result, const char**))                                  \
  f(cuGetErrorString, "cuGetErrorString", (Result, const char**))                              \
  f(cuDeviceGetCount, "cuDeviceGetCount", (int*))                                              \
  f(cuDeviceGet, "cuDeviceGet", (DeviceId*, int))                                              \
  f(cuDeviceGetName, "cuDeviceGetName", (char*, int, DeviceId))                                \
  f(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t*, DeviceId))                              \
  f(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int*, int, DeviceId))                       \
  f(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (Context*, DeviceId))                \
  f(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (Context))                                        \
  f(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (Context*))                                         \
  f(cuStreamCreate, "cuStreamCreate", (Stream*, unsigned))                                     \
  f(cuStreamSynchronize, "cuStreamSynchronize", (Stream))                                      \
  f(cuEventCreate, "cuEventCreate", (Event*, unsigned))                                        \
  f(cuEventRecord, "cuEventRecord", (Event, Stream))                                           \
  f(cuEventSynchronize, "cuEventSynchronize", (Event))                                         \
  f(cuMemAlloc, "cuMemAlloc_v2", (Address*, size_t))                                           \
  f(cuMemFree, "cuMemFree_v2", (Address))                                                      \
  f(cuMemAllocAsync, "cuMemAllocAsync", (Address*, size_t, Stream))                            \
  f(cuMemFreeAsync, "cuMemFreeAsync", (Address, Stream))                                       \
  f(cuMemAllocHost, "cuMemAllocHost_v2", (void**, size_t))                                     \
  f(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (Address, const void*, size_t, Stream))         \
  f(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void*, Address, size_t, Stream))               \
  f(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (Address, Address, size_t, Stream))             \
  f(cuMemsetD32Async, "cuMemsetD32Async", (Address, unsigned, size_t, Stream))                 \
  f(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (Stream, int))                            \
  f(cuStreamEndCapture, "cuStreamEndCapture", (Stream, Graph*))                                \
  f(cuGraphInstantiate, "cuGraphInstantiateWithFlags", (GraphExec*, Graph, unsigned long long)) \
  f(cuGraphExecUpdate, "cuGraphExecUpdate_v2", (GraphExec, Graph, GraphUpdate*))               \
  f(cuGraphLaunch, "cuGraphLaunch", (GraphExec, Stream))                                       \
  f(cuGraphExecDestroy, "cuGraphExecDestroy", (GraphExec))                                     \
  f(cuGraphDestroy, "cuGraphDestroy", (Graph))                                                 \
  f(cuModuleLoadData, "cuModuleLoadData", (Module*, const void*))                              \
  f(cuModuleUnload, "cuModuleUnload", (Module))                                                \
  f(cuModuleGetFunction, "cuModuleGetFunction", (FunctionHandle*, Module, const char*))        \
  f(cuFuncSetAttribute, "cuFuncSetAttribute", (FunctionHandle, int, int))                      \
  f(cuLaunchKernel, "cuLaunchKernel",                                                          \
    (FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, void**, void**))

#define TENFOLD_NVRTC_FUNCTIONS(f)                                                             \
  f(nvrtcVersion, "nvrtcVersion", (int*, int*))                                                \
  f(nvrtcGetNumSupportedArchs, "nvrtcGetNumSupportedArchs", (int*))                            \
  f(nvrtcGetSupportedArchs, "nvrtcGetSupportedArchs", (int*))                                  \
  f(nvrtcCreateProgram, "nvrtcCreateProgram",                                                  \
    (NvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*))    \
  f(nvrtcDestroyProgram, "nvrtcDestroyProgram", (NvrtcProgram*))                               \
  f(nvrtcCompileProgram, "nvrtcCompileProgram", (NvrtcProgram, int, const char* const*))       \
  f(nvrtcGetProgramLogSize, "nvrtcGetProgramLogSize", (NvrtcProgram, size_t*))                 \
  f(nvrtcGetProgramLog, "nvrtcGetProgramLog", (NvrtcProgram, char*))                           \
  f(nvrtcGetCUBINSize, "nvrtcGetCUBINSize", (NvrtcProgram, size_t*))                           \
  f(nvrtcGetCUBIN, "nvrtcGetCUBIN", (NvrtcProgram, char*))                                     \
  f(nvrtcGetPTXSize, "nvrtcGetPTXSize", (NvrtcProgram, size_t*))                               \
  f(nvrtcGetPTX, "nvrtcGetPTX", (NvrtcProgram, char*))
// clang-format on

#define TENFOLD_CUDA_MEMBER(name, symbol, parameters) Result(*name) parameters = nullptr;
struct Driver {
  TENFOLD_CUDA_FUNCTIONS(TENFOLD_CUDA_MEMBER)
};
struct Nvrtc {
  TENFOLD_NVRTC_FUNCTIONS(TENFOLD_CUDA_MEMBER)
};
#undef TENFOLD_CUDA_MEMBER

// Null where there is no libcuda that starts (TENFOLD_CUDA_LIBRARY); `missing` then says why.
const Driver* driver(std::string* missing = nullptr);
// Null where there is no NVRTC (TENFOLD_NVRTC_LIBRARY).
const Nvrtc* nvrtc(std::string* missing = nullptr);

std::string error_text(const Driver&, Result);  // "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory ...)"

}  // namespace tenfold::cuda
