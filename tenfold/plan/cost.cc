#include "tenfold/plan/cost.h"

#include <algorithm>
#include <cmath>

#include "tenfold/tile/matrix.h"

namespace tenfold::plan {
namespace {

constexpr double kTaken = 0.03;   // of what stands under a vote: it is rare, or packed
constexpr double kGather = 40;    // scalar operations that an element costs which vectors gather or scatter
constexpr double kExposed = 0.1;  // of the lesser of arithmetic and memory: what the greater does not hide

}  // namespace

Cost cost_of(const tile::Kernel& kernel, const tile::Machine& m) {
  tile::Traffic t = tile::count(kernel, m.cache);
  Cost c;
  c.bytes_read = t.memory_read;
  c.bytes_written = t.memory_written;
  c.flops = t.counts.flops;
  double blocks = std::max<double>(1, static_cast<double>(tile::blocks(kernel).hint()));
  double units = std::min<double>(m.units, blocks);
  double lanes = m.vector_bytes / 4.0, width = 1;
  if (kernel.vector >= 0)
    width = std::min(lanes, static_cast<double>(kernel.atoms[kernel.vector].extent.hint()));
  // Where parts of a vector run alone, blocks of few elements run side by side in a unit.
  const double side = m.warp_bytes > 0 ? std::clamp(blocks / m.units, 1.0, lanes / width) : 1;
  const double moved = t.memory_read + t.memory_written;
  const auto touched =
      static_cast<double>(t.counts.bytes_read + t.counts.bytes_written + t.counts.scratch_bytes);
  const bool near = moved <= static_cast<double>(m.shared_cache);  // and still there from the launch before
  // A store that does not go around the caches reads its line first.
  const bool around = std::all_of(kernel.args.begin(), kernel.args.end(),
                                  [](const tile::Arg& a) { return !a.output || a.streaming; });
  const double far = moved + (around ? 0 : t.memory_written);
  c.memory_seconds = (near ? moved / m.shared_bandwidth : far / m.memory_bandwidth) +
                     std::max(0.0, touched - moved) / m.cache_bandwidth;
  const double matrix = m.matrix_rate > 0 ? tile::matrix_work(kernel) : 0;
  double flops = t.counts.flops - matrix - (1 - kTaken) * t.voted;
  if (t.grouped > 0)  // by fours or by twos, as the axis has them
    flops -= t.grouped * (1 - 1 / tile::group_speed(m, kernel.atoms[kernel.vectors[0]].extent.value()));
  c.compute_seconds = flops / m.scalar_rate * (lanes / width / side) + t.gathered * kGather / m.scalar_rate +
                      (matrix > 0 ? matrix / m.matrix_rate : 0);
  double work = std::max(c.memory_seconds, c.compute_seconds) +
                kExposed * std::min(c.memory_seconds, c.compute_seconds) + t.issued * m.issue / lanes;
  c.serial = work < m.serial_limit || units < 2;
  c.seconds = c.serial ? m.serial_launch + work : m.launch + work / units;
  return c;
}

bool better(const Cost& a, const Cost& b) {
  return a.seconds < b.seconds * (a.bytes() < b.bytes() * (1 - kTie) ? 1 + kTie : 1 - kTie);
}

}  // namespace tenfold::plan
