// tenfold probe: measures the machine and says how far its record is off.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>

#include "tenfold/compile/compile.h"
#include "tenfold/ir/build.h"
#include "tenfold/runtime/parallel.h"
#include "tenfold/runtime/program.h"
#include "tenfold/target/cpu.h"
#include "tenfold/tile/machine.h"

#include "commands.h"

namespace tenfold::cli {
namespace {

double seconds(const std::function<void()>& work, int times) {
  double best = 1e9;
  for (int attempt = 0; attempt < 7; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) work();
    best = std::min(best,
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times);
  }
  return best;
}

// Bytes a second of one thread copying; reads and writes both count.
double copy_rate(size_t bytes, int times) {
  Buffer from(bytes), to(bytes);
  std::memset(from.data(), 1, bytes);
  std::memset(to.data(), 1, bytes);
  return 2 * static_cast<double>(bytes) / seconds([&] { std::memcpy(to.data(), from.data(), bytes); }, times);
}

// Multiplications and additions a second of one thread, in a compiled kernel that stays in registers and
// first-level cache; four chains hide their latency.
double arithmetic_rate() {
  constexpr int64_t kElements = 4096;
  constexpr int kSteps = 64;
  using build::operator*;
  using build::operator+;
  const NodeRef x = build::parameter(0, {Dtype::f32, {Dim(kElements)}});
  constexpr int kChains = 4;
  Nodes y(kChains, x);
  for (int i = 0; i < kSteps; ++i)
    for (int chain = 0; chain < kChains; ++chain) y[chain] = y[chain] * x + (1.0 + i + kSteps * chain);
  Graph graph{{x}, {(y[0] + y[1]) + (y[2] + y[3])}, {"x"}};
  const auto executable = compile::compile(graph);
  std::vector<float> data(kElements, 0.5f);
  void* inputs[] = {data.data()};
  const double s = seconds(
      [&] {
        std::vector<BufferRef> outputs(1);
        executable->run(inputs, {}, outputs);
      },
      200);
  return 2.0 * kChains * kSteps * kElements / s;
}

double fork_seconds() {
  return seconds([] { parallel_ranges(thread_count(), [](void*, int64_t, int64_t) {}, nullptr); }, 1000);
}

void row(std::string_view what, double measured, double recorded, std::string_view unit) {
  std::cout << fmt::format("{:<34} {:>10.3g} {:>10.3g} {:<5} {:>6.2f}\n", what, measured, recorded, unit,
                           measured / recorded);
}

void probe() {
  const tile::Machine& m = compile::current_machine();
  constexpr size_t kLarge = size_t{256} << 20;
  std::cout << fmt::format("record {} ({}), {} threads; instruction sets that run here: {}\n\n", m.name,
                           tile::hash(m).substr(0, 8), thread_count(), fmt::join(runnable_isas(), ", "));
  std::cout << fmt::format("{:<34} {:>10} {:>10} {:<5} {:>6}\n", "", "measured", "record", "", "ratio");
  row("memory, one thread", copy_rate(kLarge, 1) / 1e9, m.memory_bandwidth / 1e9, "GB/s");
  row("cache, one thread", copy_rate(static_cast<size_t>(m.cache) / 4, 200) / 1e9, m.cache_bandwidth / 1e9,
      "GB/s");
  row("arithmetic, one thread", arithmetic_rate() / 1e9, m.scalar_rate / 1e9, "Gop/s");
  row("fork and join, hot", fork_seconds() * 1e6, m.launch * 1e6, "us");
  std::cout << "\nPlans are made with the record, so that they do not change with noise; TENFOLD_MACHINE "
               "chooses another.\n";
}

}  // namespace

void add_probe(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("probe", "Measures this machine and says how far its record is off.");
  command->callback(probe);
}

}  // namespace tenfold::cli
