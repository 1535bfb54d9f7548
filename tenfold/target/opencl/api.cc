#include "tenfold/target/opencl/api.h"

#include <dlfcn.h>

#include <fmt/format.h>

#include "tenfold/base/knobs.h"

namespace tenfold::opencl {

const Api* api(std::string* missing) {
  static std::string failure;
  static const Api* const instance = []() -> const Api* {
    const std::string library = knob("TENFOLD_OPENCL_LIBRARY");
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays open
    if (!handle) {
      failure = fmt::format(
          "cannot open {} ({}). Install an OpenCL loader and a driver (Debian: ocl-icd-libopencl1 "
          "and pocl-opencl-icd, or the GPU vendor's)",
          library, dlerror());
      return nullptr;
    }
    auto* const made = new Api;
#define TENFOLD_OPENCL_FIND(name, result, parameters)                        \
  made->name = reinterpret_cast<result(*) parameters>(dlsym(handle, #name)); \
  if (!made->name && failure.empty()) failure = fmt::format("{} has no function " #name, library);
    TENFOLD_OPENCL_FUNCTIONS(TENFOLD_OPENCL_FIND)
#undef TENFOLD_OPENCL_FIND
    return failure.empty() ? made : nullptr;
  }();
  if (!instance && missing) *missing = failure;
  return instance;
}

std::string error_name(Int code) {
  switch (code) {
    case -1: return "CL_DEVICE_NOT_FOUND";
    case -2: return "CL_DEVICE_NOT_AVAILABLE";
    case -3: return "CL_COMPILER_NOT_AVAILABLE";
    case -4: return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
    case -5: return "CL_OUT_OF_RESOURCES";
    case -6: return "CL_OUT_OF_HOST_MEMORY";
    case -11: return "CL_BUILD_PROGRAM_FAILURE";
    case -14: return "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST";
    case -36: return "CL_INVALID_COMMAND_QUEUE";
    case -42: return "CL_INVALID_BINARY";
    case -52: return "CL_INVALID_KERNEL_ARGS";
    case -54: return "CL_INVALID_WORK_GROUP_SIZE";
    case -61: return "CL_INVALID_BUFFER_SIZE";
    case -1001: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return fmt::format("OpenCL error {}", code);
  }
}

}  // namespace tenfold::opencl
