// tenfold probe: measures the machine, or a device of it, and says how far its record is off.
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
#include "tenfold/target/devices.h"
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

constexpr int kChains = 4, kSteps = 64;                      // chains side by side hide the latency of one
constexpr double kChainOperations = 2.0 * kChains * kSteps;  // of an element

// Multiplications and additions that stay in registers.
Graph chains(int64_t elements) {
  using build::operator*;
  using build::operator+;
  const NodeRef x = build::parameter(0, {Dtype::f32, {Dim(elements)}});
  Nodes y(kChains, x);
  for (int i = 0; i < kSteps; ++i)
    for (int chain = 0; chain < kChains; ++chain) y[chain] = y[chain] * x + (1.0 + i + kSteps * chain);
  return {{x}, {(y[0] + y[1]) + (y[2] + y[3])}, {"x"}};
}

// Seconds of a run of the graph, whose argument and result have as many elements; `times` before each wait.
double run_seconds(const Graph& graph, int64_t elements, Device* device, int times) {
  compile::Options options;
  options.device = device_name(device);
  const auto executable = compile::compile(graph, options);
  const std::vector<float> data(static_cast<size_t>(elements), 0.5f);
  const Buffer x(data.size() * sizeof(float), device);
  if (device)
    device->to_device(x.data(), data.data(), data.size() * sizeof(float));
  else
    std::ranges::copy(data, reinterpret_cast<float*>(x.data()));
  void* inputs[] = {x.data()};
  return seconds(
             [&] {
               for (int i = 0; i < times; ++i) {
                 std::vector<BufferRef> outputs(1);
                 executable->run(inputs, {}, outputs);
               }
               if (device) device->synchronize();
             },
             1) /
         times;
}

// Of one thread, in a kernel whose data stay in first-level cache.
double arithmetic_rate() {
  constexpr int64_t kElements = 4096;
  return kChainOperations * kElements / run_seconds(chains(kElements), kElements, nullptr, 200);
}

double fork_seconds() {
  return seconds([] { parallel_ranges(thread_count(), [](void*, int64_t, int64_t) {}, nullptr); }, 1000);
}

void row(std::string_view what, double measured, double recorded, std::string_view unit) {
  std::cout << fmt::format("{:<34} {:>10.3g} {:>10.3g} {:<5} {:>6.2f}\n", what, measured, recorded, unit,
                           measured / recorded);
}

void head(const tile::Machine& m, const std::string& what) {
  std::cout << fmt::format("record {} ({}), {}\n\n", m.name, tile::hash(m).substr(0, 8), what);
  std::cout << fmt::format("{:<34} {:>10} {:>10} {:<5} {:>6}\n", "", "measured", "record", "", "ratio");
}

// All units together: what a whole device does.
void probe(const std::string& name, Device& device, const std::string& description) {
  constexpr size_t kLarge = size_t{64} << 20;
  constexpr int kLaunches = 100, kCopies = 10;
  const tile::Machine& m = compile::current_machine(name);
  head(m, description);
  const Buffer from(kLarge, &device), to(kLarge, &device);
  const auto copy = [&] {
    for (int i = 0; i < kCopies; ++i) device.copy(to.data(), from.data(), kLarge);
    device.synchronize();
  };
  row("memory", 2 * kCopies * static_cast<double>(kLarge) / seconds(copy, 1) / 1e9,
      m.memory_bandwidth * m.units / 1e9, "GB/s");
  const int64_t elements = int64_t{m.units} * m.vector_bytes * 16;
  row("arithmetic",
      kChainOperations * static_cast<double>(elements) / run_seconds(chains(elements), elements, &device, 4) /
          1e9,
      m.scalar_rate * m.units / 1e9, "Gop/s");
  using build::operator+;
  const NodeRef x = build::parameter(0, {Dtype::f32, {Dim(1)}});
  row("launch, one after the other", run_seconds({{x}, {x + 1.0}, {"x"}}, 1, &device, kLaunches) * 1e6,
      m.launch * 1e6, "us");
}

void probe_cpu() {
  const tile::Machine& m = compile::current_machine();
  constexpr size_t kLarge = size_t{256} << 20;
  head(m, fmt::format("{} threads; instruction sets that run here: {}", thread_count(),
                      fmt::join(runnable_isas(), ", ")));
  row("memory, one thread", copy_rate(kLarge, 1) / 1e9, m.memory_bandwidth / 1e9, "GB/s");
  row("cache, one thread", copy_rate(static_cast<size_t>(m.cache) / 4, 200) / 1e9, m.cache_bandwidth / 1e9,
      "GB/s");
  row("arithmetic, one thread", arithmetic_rate() / 1e9, m.scalar_rate / 1e9, "Gop/s");
  row("fork and join, hot", fork_seconds() * 1e6, m.launch * 1e6, "us");
}

void probe(const std::string& name) {
  if (const auto target = device_target(name))
    probe(target->device().name(), target->device(), target->description());
  else
    probe_cpu();
  std::cout << "\nPlans are made with the record, so that they do not change with noise; TENFOLD_MACHINE "
               "chooses another.\n";
}

}  // namespace

void add_probe(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "probe", "Measures this machine or a device of it, and says how far its record is off.");
  auto device = std::make_shared<std::string>("cpu");
  command->add_option("--device", *device, "cpu, or a device that `tenfold devices` lists: opencl:0, cuda:0")
      ->capture_default_str();
  command->callback([device] { probe(*device); });
}

}  // namespace tenfold::cli
