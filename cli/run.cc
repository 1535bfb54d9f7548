// tenfold run f.ten, tenfold explain f.ten, tenfold knobs
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <limits>
#include <optional>

#include "tenfold/base/error.h"
#include "tenfold/base/knobs.h"
#include "tenfold/compile/explain.h"
#include "tenfold/ir/eval.h"
#include "tenfold/plan/text.h"
#include "tenfold/target/devices.h"

#include "commands.h"
#include "program.h"

namespace tenfold::cli {
namespace {

struct Settings {
  std::string file, html, plan, device = "cpu";
  std::vector<std::string> inputs, symbols, allow, loops;
  int64_t seed = 0;
  int repeat = 1;
  std::optional<double> tolerance;
  bool interpret = false, check = false, unfused = false;
};

compile::Options options_of(const Settings& s) {
  compile::Options out;
  out.allow = s.allow;
  out.fuse = !s.unfused;
  out.interpret = s.interpret;
  const auto target = device_target(s.device);
  if (target) out.device = target->device().name();
  for (const std::string& text : s.loops) {
    const size_t equals = text.find('=');
    const bool named = equals != std::string::npos;
    out.loops.emplace_back(named ? text.substr(0, equals) : "", text.substr(named ? equals + 1 : 0));
  }
  if (s.plan.empty()) return out;
  out.plan = read_file(s.plan);
  plan::parse_plan(out.plan, s.plan);  // so that an error names the file
  return out;
}

// The largest |a - b| / (|b| + the mean |b|); infinity where only one is NaN or they are different
// infinities.
double difference(const Array& a, const Array& b) {
  double sum = 0, finite = 0, worst = 0;
  for (int64_t i = 0; i < b.size(); ++i)
    if (const double magnitude = std::abs(b.at(i).c()); std::isfinite(magnitude))
      sum += magnitude, finite += 1;
  const double mean = finite > 0 ? sum / finite : 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const Complex x = a.at(i).c(), y = b.at(i).c();
    if (std::isnan(std::abs(x)) != std::isnan(std::abs(y))) return INFINITY;
    if (x == y || std::isnan(std::abs(x))) continue;
    if (!std::isfinite(std::abs(y)) || mean == 0) return INFINITY;
    worst = std::max(worst, std::abs(x - y) / (std::abs(y) + mean));
  }
  return worst;
}

double epsilon_of(Dtype d) {
  switch (real_of(d)) {
    case Dtype::f16: return 0x1p-10;
    case Dtype::bf16: return 0x1p-7;
    case Dtype::f32: return 0x1p-23;
    default: return 0x1p-52;
  }
}

// Half of the digits of the narrowest float that the graph computes with: roundings add up in long
// reductions. Integers and flags must be the same.
double default_tolerance(const Graph& graph, Dtype result) {
  if (!is_inexact(result)) return 0;
  double epsilon = 0;
  for (const NodeRef& node : topological(graph.results))
    for (const Type& type : node->types)
      if (is_inexact(type.dtype)) epsilon = std::max(epsilon, epsilon_of(type.dtype));
  return std::sqrt(epsilon);
}

// UserError where a result is further from the interpreter's than the tolerance.
void check(const Settings& s, const Graph& graph, const std::vector<Array>& results,
           const std::vector<Array>& expected) {
  std::string failed;
  for (size_t k = 0; k < results.size(); ++k) {
    const double tolerance = s.tolerance.value_or(default_tolerance(graph, results[k].dtype));
    const double worst = difference(results[k], expected[k]);
    std::cout << fmt::format(
        "result {}: differs from the interpreter by at most {:.3g} (relative to |value| + the mean |value|); "
        "tolerance {:.3g}\n",
        k, worst, tolerance);
    if (!(worst <= tolerance)) failed += fmt::format("{}{}", failed.empty() ? "" : ", ", k);
  }
  if (!failed.empty())
    user_error("the check failed: result {} differs from the interpreter's by more than the tolerance",
               failed);
}

void run(const Settings& s) {
  const Graph graph = read_graph(s.file);
  const std::vector<Array> arguments =
      make_arguments(graph, s.inputs, read_symbols(s.symbols), static_cast<uint64_t>(s.seed));
  const auto executable = compile::compile(graph, options_of(s));
  std::vector<void*> inputs;
  Device* const device = executable->device();
  std::vector<BufferRef> on_device;
  for (const Array& a : arguments) {
    if (device) {
      on_device.push_back(std::make_shared<Buffer>(a.bytes.size(), device));
      device->to_device(on_device.back()->data(), a.bytes.data(), a.bytes.size());
    }
    inputs.push_back(device ? on_device.back()->data() : const_cast<std::byte*>(a.bytes.data()));
  }
  std::vector<int64_t> symbols;
  std::map<std::string, int64_t> bindings;
  for (const compile::SymbolSource& source : executable->symbols()) {
    symbols.push_back(arguments[source.parameter].shape[source.axis]);
    bindings[source.symbol.name] = symbols.back();
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Type& type = graph.parameters[i]->type();
    bool fits = type.dtype == arguments[i].dtype && type.shape.size() == arguments[i].shape.size();
    for (size_t d = 0; fits && d < type.shape.size(); ++d)
      fits = type.shape[d].evaluate(bindings) == arguments[i].shape[d];
    if (!fits)
      user_error("parameter {} is {}, but {} came", i < graph.names.size() ? graph.names[i] : "", type.str(),
                 text_of(arguments[i], 0));
  }
  std::vector<BufferRef> outputs;
  double best = INFINITY;
  for (int i = 0; i < s.repeat; ++i) {
    outputs.assign(graph.results.size(), nullptr);
    const auto start = std::chrono::steady_clock::now();
    executable->run(inputs, symbols, outputs);
    if (device) device->synchronize();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::vector<Array> results;
  for (size_t k = 0; k < outputs.size(); ++k) {
    Ints shape;
    for (const Dim& d : graph.results[k]->shape()) shape.push_back(d.evaluate(bindings));
    Array& result = results.emplace_back(graph.results[k]->dtype(), shape);
    if (device)
      device->to_host(result.bytes.data(), outputs[k]->data(), result.bytes.size());
    else
      std::copy_n(outputs[k]->data(), result.bytes.size(), result.bytes.data());
    std::cout << text_of(result) << "\n";
  }
  if (s.repeat > 1) std::cout << fmt::format("best of {}: {:.2f} us\n", s.repeat, best * 1e6);
  if (s.check) check(s, graph, results, evaluate(graph, arguments, bindings));
}

void explain(const Settings& s) {
  const auto explanation = compile::explain(compile::compile(read_graph(s.file), options_of(s)));
  std::cout << explanation.str();
  if (s.html.empty()) return;
  std::ofstream file(s.html);
  file << explanation.html(s.file);
  if (!file.flush()) user_error("cannot write {}", s.html);
}

void print_plan(const Settings& s) {
  const auto executable = compile::compile(read_graph(s.file), options_of(s));
  if (!executable->program()) user_error("the interpreter is asked for: it runs the graph, no plan");
  std::cout << plan::print(executable->plan());
}

void add_common(CLI::App& command, Settings& s) {
  command.add_option("file", s.file, "a graph as text")->required();
  command.add_option("--allow", s.allow, "rewrites that change rounding: factor, online")->delimiter(',');
  command.add_flag("--unfused", s.unfused, "one launch for each operation");
  command.add_flag("--interpret", s.interpret, "run on the reference interpreter");
  command.add_option("--device", s.device, "where it runs: cpu, opencl:0 (see tenfold devices)");
  command
      .add_option(
          "--loops", s.loops,
          "how a launch runs instead of the planner's choice, as explain prints it: \"J i k | i4 j64\", or "
          "k0_contract=\"...\" where there are several")
      ->allow_extra_args(false);
  command.add_option("--plan", s.plan, "a plan to run instead of the planner's, as `tenfold plan` prints it");
}

}  // namespace

void add_run(CLI::App& app) {
  auto s = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand("run", "Compiles a .ten file, runs it and prints the results.");
  add_common(*command, *s);
  command->add_option("--input,-i", s->inputs, "x=values.npy: a parameter's value; the others are drawn");
  command->add_option("--symbol,-s", s->symbols, "n=128: the value of a symbol, for drawn parameters");
  command->add_option("--seed", s->seed, "of the drawn parameters")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  command->add_option("--repeat", s->repeat, "runs it so often and prints the best time")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  CLI::Option* check =
      command->add_flag("--check", s->check,
                        "compares the results with those of the interpreter, which computes each operation "
                        "in f64 and rounds what "
                        "it stores; exit status 1 if one differs by more than the tolerance");
  command
      ->add_option(
          "--tolerance", s->tolerance,
          "of --check, relative to |value| + the mean |value| of a result; without it the square root of "
          "the epsilon of the narrowest float of the program (f32: 3.5e-4), 0 for integers")
      ->check(CLI::NonNegativeNumber)
      ->needs(check);
  command->callback([s] { run(*s); });
}

void add_explain(CLI::App& app) {
  auto s = std::make_shared<Settings>();
  CLI::App* command =
      app.add_subcommand("explain", "Prints what a .ten file costs: launches, bytes, tile programs.");
  add_common(*command, *s);
  command->add_option("--html", s->html, "writes a page with the graph and the assembly");
  command->callback([s] { explain(*s); });
}

void add_plan(CLI::App& app) {
  auto s = std::make_shared<Settings>();
  CLI::App* command = app.add_subcommand(
      "plan", "Prints the plan of a .ten file: it can be edited and given to `tenfold run --plan`.");
  add_common(*command, *s);
  command->callback([s] { print_plan(*s); });
}

void add_knobs(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("knobs", "Prints the environment variables, their values and what they do.");
  command->callback([] {
    for (const Knob& k : knobs()) std::cout << fmt::format("{:<24} {:<20} {}\n", k.name, knob(k.name), k.doc);
  });
}

}  // namespace tenfold::cli
