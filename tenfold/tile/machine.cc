#include "tenfold/tile/machine.h"

#include <algorithm>

#include <fmt/format.h>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"

namespace tenfold::tile {
namespace {

// Measured on a two-core Cascade Lake, rounded down: 11 GB/s from memory and 90 GB/s from L2 a
// core, 76 G fma/s on AVX-512 of which mixed code reaches half.
constexpr Machine kMachines[] = {
    {.name = "avx512"},
    // Two cores of an AMD Zen 4 server: multiplications and additions have pipes of their own.
    {.name = "zen4",
     .cache = 768 << 10,
     .memory_bandwidth = 25e9,
     .shared_bandwidth = 40e9,
     .scalar_rate = 70e9,
     .launch = 1e-6,
     .issue = 1e-9},
    {.name = "avx2", .vector_bytes = 32, .registers = 16, .cache_bandwidth = 60e9, .scalar_rate = 18e9},
    {.name = "portable", .vector_bytes = 16, .registers = 16, .cache_bandwidth = 40e9, .scalar_rate = 8e9},
    // For tests: a cache so small that everything larger than a few tiles leaves it.
    {.name = "generic",
     .vector_bytes = 16,
     .registers = 16,
     .cache = 16 << 10,
     .shared_cache = 0,
     .cache_bandwidth = 40e9,
     .scalar_rate = 8e9},
};

}  // namespace

std::span<const Machine> machines() { return kMachines; }

const Machine& machine(std::string_view name) {
  const auto found = std::ranges::find(kMachines, name, &Machine::name);
  if (found != std::end(kMachines)) return *found;
  std::string names;
  for (const Machine& record : kMachines) names.append(names.empty() ? "" : ", ").append(record.name);
  user_error("there is no machine record named \"{}\": choose one of {}", name, names);
}

std::string hash(const Machine& m) {
  return digest(fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", m.name, m.units, m.vector_bytes,
                            m.registers, m.cache, m.memory_bandwidth, m.shared_cache, m.shared_bandwidth,
                            m.cache_bandwidth, m.scalar_rate, m.launch, m.serial_launch, m.call, m.issue,
                            m.serial_limit));
}

}  // namespace tenfold::tile
