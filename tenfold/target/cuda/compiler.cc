#include "tenfold/target/cuda/compiler.h"

#include <algorithm>
#include <vector>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"
#include "tenfold/runtime/disk_cache.h"
#include "tenfold/target/cuda/api.h"

namespace tenfold::cuda {
namespace {

struct Program {
  const Nvrtc& rtc;
  NvrtcProgram handle = nullptr;
  ~Program() {
    if (handle) rtc.nvrtcDestroyProgram(&handle);
  }
};

std::string text_of(auto size_of_text, auto get, NvrtcProgram program) {
  size_t size = 0;
  if (size_of_text(program, &size) != kSuccess || size == 0) return "";
  std::string text(size, '\0');
  get(program, text.data());
  return text;
}

// "sm_90a", or "compute_90" for the newest that this NVRTC knows and the GPU can run. Architectures named
// with an "a" have what no later one has; their code runs on that one only, as any cubin does.
std::string architecture(const Nvrtc& rtc, int capability) {
  int count = 0;
  rtc.nvrtcGetNumSupportedArchs(&count);
  std::vector<int> known(static_cast<size_t>(count));
  if (count > 0) rtc.nvrtcGetSupportedArchs(known.data());
  if (std::ranges::find(known, capability) != known.end())
    return fmt::format("sm_{}{}", capability, capability >= 90 ? "a" : "");
  std::erase_if(known, [&](int arch) { return arch > capability; });
  if (known.empty())
    throw DeviceError(fmt::format(
        "NVRTC does not compile for compute capability {}.{} any more: install an older CUDA toolkit",
        capability / 10, capability % 10));
  return fmt::format("compute_{}", *std::ranges::max_element(known));
}

}  // namespace

Image compile(const std::string& text, int capability, std::string_view what, bool report) {
  std::string missing;
  const Nvrtc* const rtc = nvrtc(&missing);
  if (!rtc) throw DeviceError(missing);
  int major = 0, minor = 0;
  rtc->nvrtcVersion(&major, &minor);
  const std::string target = architecture(*rtc, capability);
  const std::string architecture_option = "--gpu-architecture=" + target;
  // What ir/prim.h promises: nothing is contracted, divisions and roots round correctly, denormals stay.
  std::vector<const char*> options{architecture_option.c_str(), "--std=c++17",      "--fmad=false",
                                   "--prec-div=true",           "--prec-sqrt=true", "--ftz=false"};
  if (report) options.push_back("--ptxas-options=-v");
  std::string key = fmt::format("cuda {}.{}", major, minor);
  for (const char* option : options) key += fmt::format(" {}", option);
  key = digest(key + "\n" + text);
  if (!report)
    if (auto kept = disk_cache().load(key)) return {std::move(*kept), ""};

  Program program{*rtc};
  const std::string file = fmt::format("{}.cu", what);
  Result error = rtc->nvrtcCreateProgram(&program.handle, text.c_str(), file.c_str(), 0, nullptr, nullptr);
  if (error == kSuccess)
    error = rtc->nvrtcCompileProgram(program.handle, static_cast<int>(options.size()), options.data());
  Image image;
  if (program.handle)
    image.log = text_of(rtc->nvrtcGetProgramLogSize, rtc->nvrtcGetProgramLog, program.handle);
  while (!image.log.empty() && image.log.back() == '\0') image.log.pop_back();
  if (error != kSuccess)
    throw DeviceError(fmt::format("NVRTC {}.{} does not compile kernel {} for {} (error {}):\n{}\n{}", major,
                                  minor, what, target, error, image.log, text));
  image.binary = target.starts_with("sm_")
                     ? text_of(rtc->nvrtcGetCUBINSize, rtc->nvrtcGetCUBIN, program.handle)
                     : text_of(rtc->nvrtcGetPTXSize, rtc->nvrtcGetPTX, program.handle);
  TENFOLD_CHECK(!image.binary.empty(), "NVRTC gave no code for {}", what);
  if (!report) disk_cache().store(key, image.binary);
  return image;
}

}  // namespace tenfold::cuda
