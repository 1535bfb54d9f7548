// The CPU target as the rest of the library sees it: instruction sets, the object cache, and the LLVM module
// that is opened only when a kernel is in no cache.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenfold/runtime/code.h"
#include "tenfold/runtime/object.h"

namespace tenfold {

struct Isa {
  std::string name;       // "amx", "avx512bf16", "avx512vnni", "avx512", "avx2", "portable"
  std::string cpu;        // as LLVM names it: "x86-64-v4"
  int vector_bytes = 16;  // of one register
  int registers = 16;     // vector registers
  bool avx512 = false;
  bool avx2 = false;
  bool fma = false;           // fused multiply-add instructions
  bool half = false;          // conversions between f16 and f32
  bool rounding = false;      // floor, ceil ... as instructions (SSE4.1)
  bool vnni = false;          // vpdpbusd: adds four products of bytes to each i32
  bool bf16 = false;          // vdpbf16ps: adds two products of bf16 to each f32
  bool amx = false;           // tile registers: tdpbusd, tdpbf16ps
  std::string features = {};  // beyond those of `cpu`, as LLVM names them
};

// "native" is the widest that this machine runs. UserError for an unknown name.
const Isa& find_isa(std::string_view name);
std::string machine_class(const Isa&);     // the machine record of this processor with these instructions
std::vector<std::string> runnable_isas();  // narrowest first

// A loaded object's function as the code of a kernel.
Code make_code(const tile::Kernel&, const std::shared_ptr<LoadedObject>&, const std::string& function);

// What libtenfold_llvm makes: `objects` is one relocatable ELF file with a function for each kernel, under
// the given names.
class ObjectTarget : public Target {
 public:
  virtual std::string object(std::span<const tile::Kernel* const>, std::span<const std::string> names) = 0;
};

// Compiled kernels by way of the disk cache (TENFOLD_CACHE_DIR). The same object for the same name. It lists
// what it would make for any instruction set, and compiles for those that this machine runs (else UserError).
std::shared_ptr<Target> cpu_target(std::string_view isa);

}  // namespace tenfold
