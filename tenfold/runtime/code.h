// What a target makes of a tile program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tenfold::tile {
struct Kernel;
}

namespace tenfold {

// One compiled kernel. Runs blocks [begin, end) of the grid; `scratch` is aligned to 64 bytes and belongs to
// the calling thread.
using KernelFunction = void (*)(void* const* buffers, const int64_t* symbols, int64_t begin, int64_t end,
                                void* scratch);

struct Code {
  std::string name;
  KernelFunction function = nullptr;  // null: code of a device, known to it by `keep`
  int64_t scratch_bytes = 0;
  std::vector<std::string> symbols;  // order of the `symbols` argument
  std::vector<int64_t> arguments;    // of device code: bytes of an element of each buffer
  std::shared_ptr<void> keep;        // owns the machine code
};

// A target compiles several kernels at once (one module).
class Target {
 public:
  virtual ~Target() = default;
  virtual std::string name() const = 0;  // "llvm avx512": part of cache keys
  virtual std::vector<Code> compile(std::span<const tile::Kernel* const>) = 0;
  virtual std::string listing(const tile::Kernel&,
                              std::string_view what) = 0;  // what: "llvm" or "asm"; devices: "c"
};

}  // namespace tenfold
