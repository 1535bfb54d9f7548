// Machine records: what the planner and explain know of a target. Named, rounded class records ship with the
// project, so plans do not change with measurement noise; `tenfold probe` says how far one is off.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tenfold/base/dtype.h"

namespace tenfold::tile {

struct Machine {
  std::string_view name;            // "avx512", "avx2", "portable"
  int units = 2;                    // blocks that run at once
  int vector_bytes = 64;            // of one register
  int warp_bytes = 0;               // of the least part of one that runs alone, beside others that hide its
                                    // latency; 0: there is no such part
  int registers = 32;               // vector registers
  bool quads = false;               // one instruction adds four products of bytes (u8 with i8) to an i32
  bool pairs = false;               // and one adds two products of bf16 to an f32
  int tile_rows = 0;                // of a tile register, 64 bytes each: one instruction multiplies two tiles
                                    // of such groups, or of i8 with i8 too; 0: there are none
  int64_t cache = 512 << 10;        // bytes of fast memory of one unit (L2 share)
  double memory_bandwidth = 11e9;   // bytes/s from memory, one unit
  int64_t shared_cache = 32 << 20;  // bytes of the cache between, which all units share
  double shared_bandwidth = 22e9;   // bytes/s of it, one unit
  double cache_bandwidth = 90e9;    // bytes/s of the cache, one unit
  double scalar_rate = 35e9;        // cost units/s of one unit when vectorised
  double matrix_rate = 0;  // multiplications/s of one unit's matrix unit (tile/matrix.h); 0: it has none
  int64_t matrix_stage = 16 << 10;  // bytes of operands that it takes at a time
  double launch = 2e-6;             // s, a parallel region
  double serial_launch = 0.1e-6;    // s, a launch run by the calling thread alone
  double call = 1e-6;               // s, a call of a compiled function from Python, before its first launch
  double issue = 3e-9;              // s, one tile statement that is not unrolled away
  double serial_limit = 20e-6;      // s of work under which a launch stays on the calling thread
};

std::span<const Machine> machines();
const Machine& machine(std::string_view name);  // UserError that lists the names
std::string hash(const Machine&);               // part of every cache key and of explain

// Neighbours along a summed axis whose products one instruction adds up; 1: there is no such instruction.
int64_t group_size(const Machine&, Dtype a, Dtype b, Dtype sum);
// How many times faster than a multiply-add of f32 that makes a term.
double group_speed(const Machine&, int64_t group);

}  // namespace tenfold::tile
