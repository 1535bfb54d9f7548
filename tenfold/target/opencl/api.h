// The part of OpenCL 1.2 that is used, declared here and found in libOpenCL at run time: building needs
// neither its headers nor the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tenfold::opencl {

using Int = int32_t;
using Uint = uint32_t;
using Bits = uint64_t;
using Platform = struct PlatformHandle*;
using DeviceId = struct DeviceHandle*;
using Context = struct ContextHandle*;
using Queue = struct QueueHandle*;
using Memory = struct MemoryHandle*;
using ProgramHandle = struct ClProgramHandle*;
using KernelHandle = struct ClKernelHandle*;
using Event = struct EventHandle*;

inline constexpr Int kSuccess = 0, kDeviceNotFound = -1, kBuildFailure = -11;
inline constexpr Uint kTrue = 1;
inline constexpr Bits kTypeCpu = 2, kTypeAll = 0xFFFFFFFF, kReadWrite = 1;
inline constexpr Uint kPlatformName = 0x0902;
inline constexpr Uint kDeviceType = 0x1000, kDeviceUnits = 0x1002, kDeviceGroupSize = 0x1004,
                      kDeviceMemory = 0x101F, kDeviceLocalMemory = 0x1023, kDeviceName = 0x102B,
                      kDriverVersion = 0x102D, kDeviceVersion = 0x102F, kDeviceExtensions = 0x1030,
                      kDeviceFloats = 0x101B, kDeviceEndian = 0x1026;
inline constexpr Bits kFloatDenormals = 1, kCorrectDivision = 1 << 7;
inline constexpr Uint kBuildLog = 0x1183, kBinarySizes = 0x1165, kBinaries = 0x1166;

struct Api {
#define TENFOLD_OPENCL_FUNCTIONS(f)                                                                         \
  f(clGetPlatformIDs, Int, (Uint, Platform*, Uint*))                                                        \
      f(clGetPlatformInfo, Int, (Platform, Uint, size_t, void*, size_t*)) f(                                \
          clGetDeviceIDs, Int, (Platform, Bits, Uint, DeviceId*, Uint*))                                    \
          f(clGetDeviceInfo, Int, (DeviceId, Uint, size_t, void*, size_t*)) f(                              \
              clCreateContext, Context,                                                                     \
              (const intptr_t*, Uint, const DeviceId*, void (*)(const char*, const void*, size_t, void*),   \
               void*, Int*)) f(clCreateCommandQueue, Queue, (Context, DeviceId, Bits, Int*))                \
              f(clCreateBuffer, Memory, (Context, Bits, size_t, void*, Int*)) f(                            \
                  clReleaseMemObject, Int, (Memory)) f(clCreateProgramWithSource, ProgramHandle,            \
                                                       (Context, Uint, const char**, const size_t*, Int*))  \
                  f(clCreateProgramWithBinary, ProgramHandle,                                               \
                    (Context, Uint, const DeviceId*, const size_t*, const unsigned char**, Int*, Int*))     \
                      f(clBuildProgram, Int,                                                                \
                        (ProgramHandle, Uint, const DeviceId*, const char*, void (*)(ProgramHandle, void*), \
                         void*)) f(clGetProgramBuildInfo, Int,                                              \
                                   (ProgramHandle, DeviceId, Uint, size_t, void*, size_t*))                 \
                          f(clGetProgramInfo, Int, (ProgramHandle, Uint, size_t, void*, size_t*))           \
                              f(clReleaseProgram, Int, (ProgramHandle))                                     \
                                  f(clCreateKernel, KernelHandle, (ProgramHandle, const char*, Int*))       \
                                      f(clReleaseKernel, Int, (KernelHandle))                               \
                                          f(clSetKernelArg, Int, (KernelHandle, Uint, size_t, const void*)) \
                                              f(clEnqueueNDRangeKernel, Int,                                \
                                                (Queue, KernelHandle, Uint, const size_t*, const size_t*,   \
                                                 const size_t*, Uint, const Event*, Event*))                \
                                                  f(clEnqueueReadBuffer, Int,                               \
                                                    (Queue, Memory, Uint, size_t, size_t, void*, Uint,      \
                                                     const Event*, Event*))                                 \
                                                      f(clEnqueueWriteBuffer, Int,                          \
                                                        (Queue, Memory, Uint, size_t, size_t, const void*,  \
                                                         Uint, const Event*, Event*))                       \
                                                          f(clEnqueueCopyBuffer, Int,                       \
                                                            (Queue, Memory, Memory, size_t, size_t, size_t, \
                                                             Uint, const Event*, Event*))                   \
                                                              f(clFinish, Int, (Queue))
#define TENFOLD_OPENCL_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
  TENFOLD_OPENCL_FUNCTIONS(TENFOLD_OPENCL_MEMBER)
#undef TENFOLD_OPENCL_MEMBER
};

// Null where there is no libOpenCL (TENFOLD_OPENCL_LIBRARY); `missing` then says so.
const Api* api(std::string* missing = nullptr);

std::string error_name(Int code);  // "CL_OUT_OF_RESOURCES"

}  // namespace tenfold::opencl
