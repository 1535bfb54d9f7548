// What a launch costs: bytes, operations, seconds, by counting its tile program. There is no second model.
#pragma once

#include "tenfold/tile/machine.h"
#include "tenfold/tile/program.h"

namespace tenfold::plan {

struct Cost {
  double seconds = 0;                        // predicted
  double bytes_read = 0, bytes_written = 0;  // beyond the cache
  double flops = 0;
  double memory_seconds = 0, compute_seconds = 0;
  bool serial = false;  // too small to fork

  double bytes() const { return bytes_read + bytes_written; }
};

constexpr double kTie = 0.02;  // of the seconds: a difference that small is a tie, which fewer bytes decide

Cost cost_of(const tile::Kernel&, const tile::Machine&);
bool better(const Cost&, const Cost& than);

}  // namespace tenfold::plan
