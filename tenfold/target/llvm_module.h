// The entry of libtenfold_llvm.so. tenfold/target/cpu opens the library at the first kernel that is in no
// cache.
#pragma once

#include "tenfold/target/cpu.h"

namespace tenfold {

inline constexpr const char* kLlvmModule = "libtenfold_llvm.so";
inline constexpr const char* kLlvmFactory = "tenfold_make_llvm_target";
using LlvmFactory = Target* (*)(const char* isa);

}  // namespace tenfold

// A name that find_isa takes. The result
// is a tenfold::ObjectTarget; the caller owns it.
extern "C" tenfold::Target* tenfold_make_llvm_target(const char* isa);
