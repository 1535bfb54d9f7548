#include "tenfold/target/cuda/api.h"

#include <cstdlib>
#include <vector>

#include <dlfcn.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tenfold/base/knobs.h"

namespace tenfold::cuda {
namespace {

// The first of the files that opens; it stays open.
void* open_first(const std::vector<std::string>& files, std::string& failure) {
  for (const std::string& file : files) {
    if (void* const handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const std::string why = dlerror();
    // A file that is there and does not open says more than one that is not.
    if (failure.empty() || why.find("No such file") == std::string::npos) failure = why;
  }
  return nullptr;
}

std::vector<std::string> nvrtc_files() {
  if (const std::string named = knob("TENFOLD_NVRTC_LIBRARY"); !named.empty()) return {named};
  std::vector<std::string> files{"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  // Where the toolkit's installer puts it when nobody says otherwise.
  const char* home = std::getenv("CUDA_HOME");
  const std::string folder = fmt::format("{}/lib64/", home ? home : "/usr/local/cuda");
  for (size_t i = 0; i < 3; ++i) files.push_back(folder + files[i]);
  return files;
}

}  // namespace

#define TENFOLD_CUDA_FIND(name, symbol, parameters)                           \
  made->name = reinterpret_cast<Result(*) parameters>(dlsym(handle, symbol)); \
  if (!made->name && failure.empty()) failure = fmt::format("{} has no function {}", library, symbol);

const Driver* driver(std::string* missing) {
  static std::string failure;
  static const Driver* const instance = []() -> const Driver* {
    const std::string library = knob("TENFOLD_CUDA_LIBRARY");
    std::string why;
    void* const handle = open_first({library}, why);
    if (!handle) {
      failure = fmt::format("cannot open {} ({}). Install NVIDIA's driver", library, why);
      return nullptr;
    }
    auto* const made = new Driver;
    TENFOLD_CUDA_FUNCTIONS(TENFOLD_CUDA_FIND)
    if (!failure.empty()) return nullptr;
    if (const Result error = made->cuInit(0); error != kSuccess) {
      failure = fmt::format("NVIDIA's driver does not start: {}", error_text(*made, error));
      return nullptr;
    }
    return made;
  }();
  if (!instance && missing) *missing = failure;
  return instance;
}

const Nvrtc* nvrtc(std::string* missing) {
  static std::string failure;
  static const Nvrtc* const instance = []() -> const Nvrtc* {
    const std::vector<std::string> files = nvrtc_files();
    const std::string library = files.front();
    std::string why;
    void* const handle = open_first(files, why);
    if (!handle) {
      failure = fmt::format(
          "cannot open NVRTC, CUDA's compiler ({}). Install CUDA's toolkit or its package cuda-nvrtc, or "
          "name "
          "the file in TENFOLD_NVRTC_LIBRARY (pip's nvidia-cuda-nvrtc has it too)",
          why);
      return nullptr;
    }
    auto* const made = new Nvrtc;
    TENFOLD_NVRTC_FUNCTIONS(TENFOLD_CUDA_FIND)
    return failure.empty() ? made : nullptr;
  }();
  if (!instance && missing) *missing = failure;
  return instance;
}

#undef TENFOLD_CUDA_FIND

std::string error_text(const Driver& cu, Result code) {
  const char *name = nullptr, *text = nullptr;
  cu.cuGetErrorName(code, &name);
  cu.cuGetErrorString(code, &text);
  if (!name) return fmt::format("CUDA error {}", code);
  return fmt::format("{} ({})", name, text ? text : "");
}

}  // namespace tenfold::cuda
