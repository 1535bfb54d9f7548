#include "tenfold/base/knobs.h"

#include <charconv>
#include <cstdlib>

#include "tenfold/base/error.h"

namespace tenfold {
namespace {

#ifdef NDEBUG
constexpr std::string_view kVerifyDefault = "0";
#else
constexpr std::string_view kVerifyDefault = "1";
#endif

constexpr Knob kKnobs[] = {
    {"TENFOLD_CACHE_BYTES", "268435456",
     "Bytes the kernel cache may hold on disk; the least recently used files go first."},
    {"TENFOLD_CACHE_DIR", "~/.cache/tenfold",
     "Folder of the kernel cache; an empty value keeps nothing on disk."},
    {"TENFOLD_CUDA_GRAPHS", "1",
     "Keep a program's launches on a CUDA device as a graph, which takes one call; 0 makes each call anew."},
    {"TENFOLD_CUDA_LIBRARY", "libcuda.so.1", "NVIDIA's driver, opened when a CUDA device is asked for."},
    {"TENFOLD_DISABLE", "", "Passes to switch off, separated by commas."},
    {"TENFOLD_DUMP", "", "Stages to print to stderr, separated by commas: graph, plan, tile, llvm, asm."},
    {"TENFOLD_INTERPRET", "0",
     "Run programs on the reference interpreter instead of compiling them; explain counts it."},
    {"TENFOLD_ISA", "native",
     "Instruction set of CPU kernels: native, amx, avx512bf16, avx512vnni, avx512, avx2, portable."},
    {"TENFOLD_MACHINE", "auto", "Machine class whose record the planner uses; auto asks the machine."},
    {"TENFOLD_NVRTC_LIBRARY", "",
     "NVRTC, CUDA's compiler; empty looks for libnvrtc.so.13, .12 and the toolkit's own folder."},
    {"TENFOLD_OPENCL_LIBRARY", "libOpenCL.so.1",
     "The OpenCL loader, opened when an OpenCL device is asked for."},
    {"TENFOLD_PENDING_BYTES", "1073741824",
     "Bytes of results that lazy evaluation may leave pending before it runs them."},
    {"TENFOLD_PENDING_NODES", "512",
     "Operations that lazy evaluation may leave pending before it runs them."},
    {"TENFOLD_SEED_FAULT", "", "Name of a fault to plant; read in test builds only."},
    {"TENFOLD_THREADS", "0", "Threads of a CPU launch; 0 is one per core."},
    {"TENFOLD_VERIFY", kVerifyDefault,
     "Run the verifier after each pass: 0 in release builds, 1 in debug builds."},
};

const Knob& find(std::string_view name) {
  for (const Knob& knob : kKnobs)
    if (knob.name == name) return knob;
  internal_error("knob is in the table", fmt::format("there is no knob {}", name));
}

}  // namespace

std::span<const Knob> knobs() { return kKnobs; }

std::string knob(std::string_view name) {
  const Knob& row = find(name);
  const char* set = std::getenv(row.name.data());
  std::string value = set ? set : std::string(row.default_text);
  if (value.starts_with("~/"))
    if (const char* home = std::getenv("HOME")) value.replace(0, 1, home);
  return value;
}

int64_t knob_int(std::string_view name) {
  const std::string text = knob(name);
  const char* end = text.data() + text.size();
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end)
    user_error("{} is \"{}\", which is not an integer (its default is {})", name, text,
               find(name).default_text);
  return value;
}

bool knob_bool(std::string_view name) {
  const std::string text = knob(name);
  if (text == "1" || text == "true" || text == "on") return true;
  if (text == "0" || text == "false" || text == "off") return false;
  user_error("{} is \"{}\", which is none of 0, 1, true, false, on, off", name, text);
}

}  // namespace tenfold
