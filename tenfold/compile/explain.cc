#include "tenfold/compile/explain.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "tenfold/compile/page.h"
#include "tenfold/ir/text.h"
#include "tenfold/tile/matrix.h"

namespace tenfold::compile {
namespace {

std::string bytes_text(double bytes) {
  if (bytes < 1e4) return fmt::format("{:.0f} B", bytes);
  if (bytes < 1e7) return fmt::format("{:.1f} KB", bytes / 1e3);
  if (bytes < 1e10) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.1f} GB", bytes / 1e9);
}

std::string seconds_text(double s) {
  if (s < 1e-3) return fmt::format("{:.2f} us", s * 1e6);
  return s < 1 ? fmt::format("{:.2f} ms", s * 1e3) : fmt::format("{:.2f} s", s);
}

std::string matrix_text(const LaunchCost& k) {
  return k.matrix > 0 ? fmt::format(", {:.4g} of them multiplications on matrix units", k.matrix) : "";
}

std::string bound_of(const plan::Cost& cost) {
  std::string bound = cost.memory_seconds > cost.compute_seconds ? "memory" : "arithmetic";
  if (cost.serial) bound += ", serial";
  return bound;
}

// A donated argument and its result.
bool shares_memory(const Executable& e, const plan::Buffer& from, const plan::Buffer& to) {
  return from.kind == plan::Buffer::Kind::input && to.kind == plan::Buffer::Kind::output &&
         std::ranges::count(e.donated(), std::pair(from.index, to.index)) > 0;
}

// A result that is a donated argument costs nothing; what is written into it stands among the results.
double least_bytes(const Executable& e) {
  Graph graph = e.core();
  for (const auto& [parameter, result] : e.donated())
    if (graph.results[result] == graph.parameters[parameter]) graph.results[result] = {};
  std::erase_if(graph.results, [](const NodeRef& r) { return !r; });
  return plan::least_bytes(graph);
}

void add_steps(const std::vector<plan::Step>& steps, double times, Explanation& into) {
  const tile::Machine& machine = into.executable->machine();
  for (const plan::Step& step : steps) {
    if (const auto* launch = std::get_if<plan::Launch>(&step.what)) {
      const tile::Traffic traffic = tile::count(*launch->kernel, machine.cache);
      LaunchCost cost{
          .name = launch->kernel->name,
          .times = times,
          .bytes_read = launch->cost.bytes_read,
          .bytes_written = launch->cost.bytes_written,
          .touched = static_cast<double>(traffic.counts.bytes_read + traffic.counts.bytes_written),
          .scratch = static_cast<double>(traffic.counts.scratch_bytes),
          .matrix = machine.matrix_rate > 0 ? tile::matrix_work(*launch->kernel) : 0,
          .flops = launch->cost.flops,
          .seconds = launch->cost.seconds,
          .bound = bound_of(launch->cost),
          .loops = launch->loops,
          .axes = launch->axes,
          .operations = launch->operations,
          .kernel = launch->kernel};
      into.launches += static_cast<int64_t>(times);
      into.bytes_read += times * cost.bytes_read;
      into.bytes_written += times * cost.bytes_written;
      into.flops += times * cost.flops;
      into.seconds += times * cost.seconds;
      into.kernels.push_back(std::move(cost));
    } else if (const auto* copy = std::get_if<plan::Copy>(&step.what)) {
      const auto& buffers = into.executable->plan().buffers;
      const plan::Buffer &from = buffers[copy->from], &to = buffers[copy->to];
      if (copy->starts.empty() && shares_memory(*into.executable, from, to)) continue;
      const Type& type = copy->starts.empty() ? to.type : from.type;
      const double bytes = static_cast<double>(volume(type.shape).hint() * size_of(type.dtype));
      into.bytes_read += times * bytes;
      into.bytes_written += times * bytes;
      into.seconds += times * 2 * bytes / machine.memory_bandwidth;
    } else {
      const plan::Repeat& repeat = *std::get<std::shared_ptr<plan::Repeat>>(step.what);
      const double trips = repeat.go >= 0 ? 1 : static_cast<double>(repeat.length.hint());
      add_steps(repeat.condition, times * (trips + 1), into);
      add_steps(repeat.body, times * trips, into);
    }
  }
}

}  // namespace

Explanation explain(std::shared_ptr<const Executable> executable) {
  Explanation out;
  out.executable = std::move(executable);
  const Executable& e = *out.executable;
  out.interpreted = e.interpreted();
  out.times = e.times();
  out.machine = e.machine().name;
  out.device = e.options().device;
  out.machine_hash = tile::hash(e.machine()).substr(0, 8);
  out.notes = e.plan().notes;
  out.notes.insert(out.notes.end(), e.notes().begin(), e.notes().end());
  out.bytes_least = least_bytes(e);
  out.seconds = e.machine().call;
  add_steps(e.plan().steps, 1, out);
  out.clusters = static_cast<int64_t>(out.kernels.size());
  if (e.program()) {
    std::vector<int64_t> hints;
    for (const SymbolSource& s : e.symbols()) hints.push_back(Dim::symbol(s.symbol).hint());
    out.workspace_bytes = e.program()->layout(hints)->total;
  }
  return out;
}

std::string Explanation::str() const {
  std::string out;
  const double moved = bytes_read + bytes_written;
  out += fmt::format("launches     {}\n", launches);
  out += fmt::format("clusters     {}\n", clusters);
  out += fmt::format("bytes        {:.0f} read, {:.0f} written ({})\n", bytes_read, bytes_written,
                     bytes_text(moved));
  out += fmt::format("least bytes  {:.0f} ({}); moved / least = {:.2f}\n", bytes_least,
                     bytes_text(bytes_least), bytes_least > 0 ? moved / bytes_least : 1.0);
  out += fmt::format("operations   {:.4g}\n", flops);
  out += fmt::format("predicted    {}\n", seconds_text(seconds));
  out += fmt::format("workspace    {} bytes\n", workspace_bytes);
  out += fmt::format("machine      {} ({})\n", machine, machine_hash);
  out += fmt::format("device       {}\n", device);
  if (interpreted > 0)
    out += fmt::format("interpreted  {} operations: this program runs on the reference interpreter\n",
                       interpreted);
  for (const LaunchCost& k : kernels) {
    out += fmt::format("\n{}{}\n", k.name, k.times != 1 ? fmt::format("   x{:.0f}", k.times) : "");
    if (!k.operations.empty()) out += fmt::format("  computes   {}\n", k.operations);
    if (!k.loops.empty()) out += fmt::format("  loops      {}\n", k.loops);
    if (!k.axes.empty()) out += fmt::format("  axes       {}\n", k.axes);
    out += fmt::format("  memory     {:.0f} read, {:.0f} written\n", k.bytes_read, k.bytes_written);
    out += fmt::format("  cache      {:.0f} loaded and stored, {:.0f} in scratch\n", k.touched, k.scratch);
    out += fmt::format("  operations {:.4g}{}\n", k.flops, matrix_text(k));
    out += fmt::format("  bound by   {}; {}\n", k.bound, seconds_text(k.seconds));
  }
  if (!notes.empty()) out += "\n";
  for (const std::string& note : notes) out += note + "\n";
  for (const LaunchCost& k : kernels)
    if (k.kernel) out += "\n" + tile::print(*k.kernel);
  double total = 0;
  std::string passes;
  for (const PassTime& t : times) {
    total += t.seconds;
    passes += fmt::format("{}{} {:.2f}", passes.empty() ? "" : ", ", t.name, t.seconds * 1e3);
  }
  if (!times.empty()) out += fmt::format("\ncompiled in {:.2f} ms: {}\n", total * 1e3, passes);
  return out;
}

std::string Explanation::html(const std::string& title) const { return html_page(*this, title); }

}  // namespace tenfold::compile
