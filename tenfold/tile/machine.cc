#include "tenfold/tile/machine.h"

#include <algorithm>
#include <tuple>

#include <fmt/ranges.h>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"

namespace tenfold::tile {
namespace {

constexpr Machine kGpu = {
    .name = "gpu",
    .units = 64,
    .vector_bytes = 512,
    .warp_bytes = 128,
    .registers = 64,
    .cache = 32 << 10,
    .memory_bandwidth = 6e9,
    .cache_bandwidth = 60e9,
    .scalar_rate = 60e9,
    .launch = 10e-6,
    .serial_launch = 10e-6,
    .issue = 30e-9,
    .serial_limit = 0,
};

// Measured on a two-core Cascade Lake, rounded down: 11 GB/s from memory and 90 GB/s from L2 a
// core, 76 G fma/s on AVX-512 of which mixed code reaches half.
constexpr Machine kMachines[] = {
    {.name = "avx512", .quads = true},
    {.name = "avx512bf16", .quads = true, .pairs = true},
    // Two cores of an AMD Zen 4 server: multiplications and additions have pipes of their own.
    {.name = "zen4",
     .quads = true,
     .pairs = true,
     .cache = 768 << 10,
     .memory_bandwidth = 25e9,
     .shared_bandwidth = 40e9,
     .scalar_rate = 70e9,
     .launch = 1e-6,
     .issue = 1e-9,
     .serial_limit = 5e-6},
    // Two cores of a Sapphire Rapids: tile registers take 1024 products of bytes, or 512 of bf16, a cycle.
    {.name = "amx",
     .quads = true,
     .pairs = true,
     .tile_rows = 16,
     .cache = 1 << 20,
     .memory_bandwidth = 14e9,
     .shared_bandwidth = 25e9,
     .scalar_rate = 40e9},
    {.name = "avx2", .vector_bytes = 32, .registers = 16, .cache_bandwidth = 60e9, .scalar_rate = 18e9},
    {.name = "portable", .vector_bytes = 16, .registers = 16, .cache_bandwidth = 40e9, .scalar_rate = 8e9},
    // Devices, by their public figures, rounded down; one unit is a work-group's share. A "register" is one
    // of each item of a group of 256 or 128; the cache is the local memory of a group.
    {.name = "pocl", .launch = 30e-6, .serial_launch = 30e-6, .serial_limit = 0},
    {.name = "h200",
     .units = 264,  // two groups on each of 132 multiprocessors
     .vector_bytes = 1024,
     .warp_bytes = 128,
     .registers = 64,
     .cache = 48 << 10,  // of what a multiprocessor has, a group gets this without being asked
     .memory_bandwidth = 16e9,
     .cache_bandwidth = 100e9,
     .scalar_rate = 120e9,
     .matrix_rate = 1e12,  // half of what it could
     .matrix_stage = 32 << 10,
     .launch = 4e-6,
     .serial_launch = 4e-6,
     .issue = 20e-9,
     .serial_limit = 0},
    kGpu,
    [] {
      Machine m = kGpu;  // of compute capability 8.0 and later
      m.name = "gpu80", m.matrix_rate = 300e9;
      return m;
    }(),
    // For tests: a cache so small that everything larger than a few tiles leaves it.
    {.name = "generic",
     .vector_bytes = 16,
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
  return digest(fmt::format(
      "{}", fmt::join(std::tuple(m.name, m.units, m.vector_bytes, m.warp_bytes, m.registers, m.quads, m.pairs,
                                 m.tile_rows, m.cache, m.memory_bandwidth, m.shared_cache, m.shared_bandwidth,
                                 m.cache_bandwidth, m.scalar_rate, m.matrix_rate, m.matrix_stage, m.launch,
                                 m.serial_launch, m.call, m.issue, m.serial_limit),
                      " ")));
}

int64_t group_size(const Machine& m, Dtype a, Dtype b, Dtype sum) {
  const bool bytes = (a == Dtype::u8 && b == Dtype::i8) || (a == Dtype::i8 && b == Dtype::u8) ||
                     (a == Dtype::i8 && b == Dtype::i8 && m.tile_rows > 0);
  if (m.quads && bytes && sum == Dtype::i32) return 4;
  if (m.pairs && a == Dtype::bf16 && b == Dtype::bf16 && sum == Dtype::f32) return 2;
  return 1;
}

double group_speed(const Machine& m, int64_t group) {
  constexpr double kTiles = 8;  // of the time of dot instructions, while they are fed
  return static_cast<double>(group) * (m.tile_rows > 0 ? kTiles : 1);
}

}  // namespace tenfold::tile
