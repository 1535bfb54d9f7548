// CUDA C to machine code by NVRTC, which needs no GPU.
#pragma once

#include <string>
#include <string_view>

#include "tenfold/target/ctext/emit.h"

namespace tenfold::cuda {

// Shared memory is what every GPU gives a block without being asked. Two elements to an item cost more
// registers than a block of twice the items.
inline const ctext::Limits kLimits{.items = 512, .local_bytes = 48 << 10, .arithmetic = {}};

// With what the GPU's warps have beside: matrix units for f16 and bf16 with sums in f32, from 8.0 on.
inline ctext::Limits limits(int capability) {
  ctext::Limits limits = kLimits;
  limits.matrix = capability >= 80;
  // Of what a multiprocessor has, so much that two groups or more share it: 228 KiB, 164, 100.
  const bool large = capability == 90 || capability == 100 || capability == 103;
  limits.staged_bytes = large ? 112 << 10 : capability == 80 ? 80 << 10 : 48 << 10;
  limits.matrix_groups = capability == 90;  // wgmma: of no other
  return limits;
}

struct Image {
  std::string binary;  // a cubin; PTX for a GPU that this NVRTC does not know
  std::string log;     // what ptxas says about registers and spills; empty from the cache
};

// `capability`: of the GPU, 90 for 9.0. `what` names the first kernel, for the error. Kept in the disk cache
// unless `report` is asked for. DeviceError where there is no NVRTC, or the text does not compile.
Image compile(const std::string& text, int capability, std::string_view what, bool report = false);

}  // namespace tenfold::cuda
