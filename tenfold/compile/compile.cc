#include "tenfold/compile/compile.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>

#include <fmt/ranges.h>

#include "tenfold/base/fault.h"
#include "tenfold/base/hash.h"
#include "tenfold/base/knobs.h"
#include "tenfold/compile/ahead.h"
#include "tenfold/compile/donate.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/eval.h"
#include "tenfold/ir/text.h"
#include "tenfold/plan/text.h"
#include "tenfold/plan/verify.h"
#include "tenfold/rewrite/simplify.h"
#include "tenfold/runtime/disk_cache.h"
#include "tenfold/target/cpu.h"
#include "tenfold/target/devices.h"

namespace tenfold::compile {
namespace {

constexpr std::string_view kGrants[] = {"bf16x3", "bf16x6", "factor", "online", "reassociate"};
constexpr size_t kMostEntries = 4096;  // of the in-memory cache

}  // namespace

struct Executable::Parts {
  Graph graph, core;
  Options options;
  plan::Plan plan;
  const tile::Machine* machine = nullptr;
  std::unique_ptr<Program> program;
  std::shared_ptr<Target> target;
  Device* device = nullptr;
  std::vector<SymbolSource> symbols;
  std::vector<Placement> placements;
  std::vector<std::pair<int, int>> donated;
  std::vector<Ahead> ahead;  // parameters of `core` after those of `graph`
  std::vector<Laid> laid;
  std::vector<std::string> notes;
  std::vector<PassTime> times;
  int64_t interpreted = 0;
  mutable std::mutex mutex;                         // guards the next
  mutable std::set<std::vector<int64_t>> accepted;  // values of the symbols that a replayed plan is safe for
};

Executable::Executable(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Executable::~Executable() = default;

// What the passes work on: the parts of an executable to be.
struct Maker {
  using Parts = Executable::Parts;
  static std::shared_ptr<const Executable> finish(std::unique_ptr<Parts> parts) {
    return std::shared_ptr<const Executable>(new Executable(std::move(parts)));
  }
};

namespace {

using State = Maker::Parts;

// ---- from the plan to a program

// Does a block pass over a part of its work by where it lies?
bool is_uneven(const tile::Kernel& kernel, const tile::Body& body) {
  return std::ranges::any_of(body, [&](const tile::Item& item) {
    if (const auto* loop = std::get_if<std::unique_ptr<tile::Loop>>(&item))
      return is_uneven(kernel, (*loop)->body);
    const auto* vote = std::get_if<std::unique_ptr<tile::If>>(&item);
    return vote && (kernel.values[(*vote)->mask.value].axes.empty() || is_uneven(kernel, (*vote)->body));
  });
}

// Is it made of fixed parameters, before the first call?
bool is_laid(const State& s, const plan::Buffer& b) {
  return b.kind == plan::Buffer::Kind::laid ||
         (b.kind == plan::Buffer::Kind::input && b.index >= std::ssize(s.graph.parameters));
}

class ProgramBuilder {
 public:
  explicit ProgramBuilder(State& state) : state_(state) {}

  void build() {
    collect(state_.plan.steps);
    std::vector<const tile::Kernel*> kernels;
    for (const auto& [kernel, index] : order_) kernels.push_back(kernel);
    codes_ = kernels.empty() ? std::vector<Code>() : state_.target->compile(kernels);
    std::vector<Slot> slots;
    auto inputs = static_cast<int>(state_.graph.parameters.size());
    for (const plan::Buffer& b : state_.plan.buffers) {
      const bool laid = is_laid(state_, b);
      const auto kind = laid || b.kind == plan::Buffer::Kind::input ? Slot::Kind::input
                        : b.kind == plan::Buffer::Kind::output      ? Slot::Kind::output
                                                                    : Slot::Kind::temporary;
      slots.push_back(
          {kind, laid ? inputs++ : b.index, volume(b.type.shape) * size_of(b.type.dtype), b.name});
    }
    std::vector<std::string> symbols;
    for (const SymbolSource& s : state_.symbols) symbols.push_back(s.symbol.name);
    state_.program = std::make_unique<Program>(std::move(slots), steps(state_.plan.steps), std::move(symbols),
                                               state_.device);
  }

 private:
  void collect(const std::vector<plan::Step>& steps) {
    for (const plan::Step& step : steps) {
      if (const auto* launch = std::get_if<plan::Launch>(&step.what)) {
        if (index_of_.try_emplace(launch->kernel.get(), order_.size()).second)
          order_.emplace_back(launch->kernel.get(), order_.size());
      } else if (const auto* repeat = std::get_if<std::shared_ptr<plan::Repeat>>(&step.what)) {
        collect((*repeat)->condition);
        collect((*repeat)->body);
      }
    }
  }

  std::vector<ProgramStep> steps(const std::vector<plan::Step>& from) {
    std::vector<ProgramStep> out;
    for (const plan::Step& step : from) {
      if (const auto* launch = std::get_if<plan::Launch>(&step.what)) {
        out.push_back({LaunchStep{.name = launch->kernel->name,
                                  .code = codes_[index_of_.at(launch->kernel.get())],
                                  .buffers = launch->buffers,
                                  .blocks = tile::blocks(*launch->kernel),
                                  .serial = launch->cost.serial,
                                  .uneven = is_uneven(*launch->kernel, launch->kernel->body),
                                  .seconds = launch->cost.seconds,
                                  .bytes = launch->cost.bytes_read + launch->cost.bytes_written}});
      } else if (const auto* copy = std::get_if<plan::Copy>(&step.what)) {
        CopyStep made{.from = copy->from, .to = copy->to};
        if (!copy->starts.empty()) {
          const Type &box = state_.plan.buffers[copy->from].type, &whole = state_.plan.buffers[copy->to].type;
          for (const auto& start : copy->starts) made.starts.push_back({start.buffer, start.value});
          made.box = box.shape;
          made.shape = whole.shape;
          made.element = size_of(whole.dtype);
        }
        out.push_back({std::move(made)});
      } else {
        const plan::Repeat& repeat = *std::get<std::shared_ptr<plan::Repeat>>(step.what);
        auto made = std::make_shared<RepeatStep>();
        made->length = repeat.length;
        made->reverse = repeat.reverse;
        made->step = repeat.step;
        made->go = repeat.go;
        made->condition = steps(repeat.condition);
        made->body = steps(repeat.body);
        for (const auto& c : repeat.carries) made->carries.push_back({c.init, c.value, c.next});
        for (const auto& s : repeat.reads) made->slices.push_back({s.whole, s.part});
        for (const auto& s : repeat.writes) made->slices.push_back({s.whole, s.part});
        out.push_back({std::move(made)});
      }
    }
    return out;
  }

  State& state_;
  std::unordered_map<const tile::Kernel*, size_t> index_of_;
  std::vector<std::pair<const tile::Kernel*, size_t>> order_;
  std::vector<Code> codes_;
};

// ---- the passes

void check(const std::vector<std::string>& complaints, std::string_view after, std::string_view text) {
  if (complaints.empty()) return;
  throw InternalError(fmt::format("after {}: {}\n{}", after, fmt::join(complaints, "\n"), text));
}

void for_each_kernel(const std::vector<plan::Step>& steps, const auto& visit) {
  for (const plan::Step& step : steps) {
    if (const auto* launch = std::get_if<plan::Launch>(&step.what))
      visit(*launch->kernel);
    else if (const auto* repeat = std::get_if<std::shared_ptr<plan::Repeat>>(&step.what)) {
      for_each_kernel((*repeat)->condition, visit);
      for_each_kernel((*repeat)->body, visit);
    }
  }
}

void run_expand(State& s) {
  s.placements = place_updates(s.core, s.options.donate);
  const auto& allow = s.options.allow;
  s.core = expand(s.core, std::ranges::find(allow, "online") != allow.end());
}

// The parameters of the core that are the same in every call.
std::vector<int> fixed_of(const State& s) {
  std::vector<int> fixed = s.options.fixed;
  for (size_t k = s.graph.parameters.size(); k < s.core.parameters.size(); ++k)
    fixed.push_back(static_cast<int>(k));
  return fixed;
}

// A replayed plan must take and give what the graph does.
void check_fits(const plan::Plan& plan, const State& s) {
  const auto compare = [&](plan::Buffer::Kind kind, std::string_view what, const Nodes& needed) {
    size_t count = 0;
    for (const plan::Buffer& b : plan.buffers) {
      if (b.kind != kind) continue;
      ++count;
      if (static_cast<size_t>(b.index) < needed.size() && !(b.type == needed[b.index]->type()))
        user_error("the plan does not fit the program: its {} {} is {}, but the program's is {}", what,
                   b.index, b.type.str(), needed[b.index]->type().str());
    }
    if (count != needed.size())
      user_error("the plan does not fit the program: it has {} {}{}, but the program has {}", count, what,
                 count == 1 ? "" : "s", needed.size());
  };
  compare(plan::Buffer::Kind::input, "input", s.core.parameters);
  compare(plan::Buffer::Kind::output, "output", s.graph.results);
  for (const plan::Buffer& b : plan.buffers)
    if (b.kind == plan::Buffer::Kind::laid && std::ranges::count(fixed_of(s), b.index) == 0)
      user_error(
          "the plan lays out input {} ahead, but it is an argument: only what the function captures is the "
          "same "
          "in every call",
          b.index);
  for (const auto& [name, symbol] : plan::symbols_of(plan))
    if (std::ranges::none_of(s.symbols, [&](const SymbolSource& x) { return x.symbol.name == name; }))
      user_error("the plan does not fit the program: it uses the symbol {}, which the program has not", name);
}

// The nodes of launches as numbers in an order of the graph: a line of words, one for each launch.
void for_each_launch(std::vector<plan::Step>& steps, const auto& visit) {
  for (plan::Step& step : steps)
    if (auto* launch = std::get_if<plan::Launch>(&step.what)) visit(*launch);
}

std::string numbers_of(plan::Plan& plan, const std::vector<NodeRef>& order) {
  std::unordered_map<const Node*, size_t> number;
  for (size_t k = 0; k < order.size(); ++k) number[order[k].get()] = k;
  std::string out;
  for_each_launch(plan.steps, [&](plan::Launch& launch) {
    for (const NodeRef& node : launch.nodes)
      if (const auto found = number.find(node.get()); found != number.end())
        out += fmt::format("{},", found->second);
    out += ' ';
  });
  return out;
}

void set_nodes(plan::Plan& plan, const std::vector<NodeRef>& order, std::string_view numbers) {
  for_each_launch(plan.steps, [&](plan::Launch& launch) {
    size_t number = 0;
    for (; !numbers.empty() && numbers[0] != ' '; numbers.remove_prefix(1)) {
      if (numbers[0] != ',') {
        number = number * 10 + static_cast<size_t>(numbers[0] - '0');
        continue;
      }
      if (number < order.size()) launch.nodes.push_back(order[number]);
      number = 0;
    }
    if (!numbers.empty()) numbers.remove_prefix(1);
  });
}

// A large graph is planned once: its plan is kept on disk, under all that it depends on.
plan::Plan plan_of(const State& s) {
  // A device's local memory and its coalesced reads want another order than a core's loops have.
  const plan::Options options{.allow = s.options.allow,
                              .fuse = s.options.fuse,
                              .donate = s.options.donate,
                              .fixed = s.machine->warp_bytes > 0 ? std::vector<int>() : fixed_of(s),
                              .loops = s.options.loops};
  constexpr size_t kLarge = 100;  // nodes
  DiskCache& cache = disk_cache();
  const std::vector<NodeRef> order = topological(s.core.results);
  if (cache.folder().empty() || order.size() < kLarge) return plan::make_plan(s.core, *s.machine, options);
  static const std::string planner = file_stamp(file_of(reinterpret_cast<void*>(&plan::make_plan)));
  const std::string key = digest(fmt::format("plan {} {} {} {} {} {} {}\n{}", planner, hash(*s.machine),
                                             fmt::join(options.allow, ","), options.fuse, options.donate,
                                             options.fixed, options.loops, print(s.core)));
  if (const auto kept = cache.load(key)) try {
      const size_t line = kept->find('\n');
      plan::Plan plan = plan::parse_plan(kept->substr(line + 1));
      set_nodes(plan, order, std::string_view(*kept).substr(0, line));
      return plan;
    } catch (const UserError&) {  // another's file: planned again
    }
  plan::Plan plan = plan::make_plan(s.core, *s.machine, options);
  cache.store(key, fmt::format("{}\n{}", numbers_of(plan, order), plan::print(plan)));
  return plan;
}

bool is_read(const std::vector<plan::Step>& steps, int buffer) {
  return std::ranges::any_of(steps, [&](const plan::Step& step) {
    if (const auto* launch = std::get_if<plan::Launch>(&step.what))
      return std::ranges::count(launch->buffers, buffer) > 0;
    if (const auto* copy = std::get_if<plan::Copy>(&step.what)) {
      return copy->from == buffer ||
             std::ranges::any_of(copy->starts, [&](const auto& start) { return start.buffer == buffer; });
    }
    const plan::Repeat& r = *std::get<std::shared_ptr<plan::Repeat>>(step.what);
    return is_read(r.condition, buffer) || is_read(r.body, buffer) ||
           std::ranges::any_of(r.carries,
                               [&](const auto& c) { return c.init == buffer || c.next == buffer; }) ||
           std::ranges::any_of(r.reads, [&](const auto& x) { return x.whole == buffer; });
  });
}

// What is laid out before the first call: each a program of its own, which equal weights of many programs
// share.
void compile_laid(State& s) {
  const auto given = static_cast<int>(s.graph.parameters.size());
  Options options;
  options.device = s.options.device;
  for (size_t k = 0; k < s.plan.buffers.size(); ++k) {
    const plan::Buffer& b = s.plan.buffers[k];
    if (!is_laid(s, b)) continue;
    const bool ordered = b.kind == plan::Buffer::Kind::laid;
    Laid laid{{b.index}, nullptr};
    Graph graph;
    if (b.index < given) {
      graph.parameters = graph.results = {build::parameter(0, s.graph.parameters[b.index]->type())};
    } else {
      const Ahead& ahead = s.ahead[static_cast<size_t>(b.index - given)];
      laid.from = ahead.from, graph = ahead.graph;
    }
    std::vector<std::string> names;
    for (const int from : laid.from)
      names.push_back(s.plan.buffers[from].name + " " + s.graph.parameters[from]->type().str());
    if (ordered) graph.results = {plan::laid(graph.results[0], b.layout, b.type.shape)};
    if (ordered || is_read(s.plan.steps, static_cast<int>(k))) {
      laid.layout = compile(graph, options);
      s.notes.push_back(
          fmt::format("{}{} {} ahead{}: {}, kept",
                      b.index < given ? "" : fmt::format("{} of ", s.plan.buffers[b.index].name),
                      fmt::join(names, ", "), b.index < given ? "is laid out" : "is computed",
                      ordered ? ", in the order in which it is read" : "", b.type.str()));
    }
    s.laid.push_back(std::move(laid));
  }
}

void run_plan(State& s) {
  if (s.options.plan.empty()) {
    s.plan = plan_of(s);
    add_placements(s.plan, s.placements, s.graph.results.size());
  } else {
    s.plan = plan::parse_plan(s.options.plan);
    check_fits(s.plan, s);
  }
  compile_laid(s);
  Donations donations = check_donations(s.plan, s.options.donate);
  s.donated = std::move(donations.safe);
  s.notes.insert(s.notes.end(), donations.notes.begin(), donations.notes.end());
}

void run_target(State& s) {
  if (const auto target = device_target(s.options.device)) {
    s.device = &target->device();
    s.target = target;
  } else {
    s.target = cpu_target(knob("TENFOLD_ISA"));
  }
  ProgramBuilder(s).build();
}

void verify_graph(const State& s, std::string_view after) { check(verify(s.core), after, print(s.core)); }

void verify_plan(const State& s, std::string_view after) {
  for_each_kernel(s.plan.steps,
                  [&](const tile::Kernel& k) { check(tile::verify(k), after, tile::print(k)); });
}

void verify_nothing(const State&, std::string_view) {}

std::string dump_graph(const State& s) { return print(s.core); }

std::string dump_plan(const State& s) {
  std::string out;
  for_each_kernel(s.plan.steps, [&](const tile::Kernel& k) { out += tile::print(k) + "\n"; });
  return out;
}

std::string dump_code(const State& s) {
  std::string out;
  for_each_kernel(s.plan.steps, [&](const tile::Kernel& k) { out += s.target->listing(k, "asm") + "\n"; });
  return out;
}

void run_widen(State& s) {
  const auto sums = [&](Dtype a, Dtype b, Dtype sum) { return tile::group_size(*s.machine, a, b, sum) > 1; };
  s.core = widen(s.core, {.bytes = sums(Dtype::u8, Dtype::i8, Dtype::i32),
                          .signed_bytes = sums(Dtype::i8, Dtype::i8, Dtype::i32),
                          .pairs = sums(Dtype::bf16, Dtype::bf16, Dtype::f32)});
}

struct Pass {
  std::string_view name;
  void (*run)(State&);
  void (*verify)(const State&, std::string_view after);
  std::string (*dump)(const State&);
  std::string_view stage;  // of TENFOLD_DUMP
  bool required = false;   // cannot be switched off by TENFOLD_DISABLE
};

// The pipeline, in order.
constexpr Pass kPasses[] = {
    {"verify", [](State& s) { verify_graph(s, "tracing"); }, verify_nothing, dump_graph, "graph"},
    {"simplify", [](State& s) { s.core = simplify(s.core); }, verify_graph, dump_graph, "graph"},
    {"expand", run_expand, verify_graph, dump_graph, "graph", true},
    {"widen", run_widen, verify_graph, dump_graph, "graph"},
    {"simplify_core", [](State& s) { s.core = simplify(s.core); }, verify_graph, dump_graph, "graph"},
    {"ahead", [](State& s) { s.ahead = compute_ahead(s.core, s.options.fixed); }, verify_graph, dump_graph,
     "graph"},
    {"orders", [](State& s) { s.core = orders(s.core); }, verify_graph, dump_graph, "graph"},
    {"plan", run_plan, verify_plan, dump_plan, "tile", true},
    {"target", run_target, verify_nothing, dump_code, "asm", true},
};

std::set<std::string> words(const std::string& list) {
  std::set<std::string> out;
  size_t from = 0;
  while (from <= list.size()) {
    const size_t comma = std::min(list.find(',', from), list.size());
    if (comma > from) out.insert(list.substr(from, comma - from));
    from = comma + 1;
  }
  return out;
}

void run_passes(State& state) {
  const std::set<std::string> disabled = words(knob("TENFOLD_DISABLE")), dumped = words(knob("TENFOLD_DUMP"));
  const bool verify_after = knob_bool("TENFOLD_VERIFY");
  for (const std::string& name : disabled) {
    const auto pass = std::ranges::find(kPasses, name, &Pass::name);
    if (pass == std::end(kPasses) || pass->required) {
      std::string names;
      for (const Pass& p : kPasses)
        if (!p.required) names += fmt::format("{}{}", names.empty() ? "" : ", ", p.name);
      user_error("TENFOLD_DISABLE names \"{}\", which is no pass that can be switched off: choose of {}",
                 name, names);
    }
  }
  constexpr std::string_view kStages[] = {"graph", "plan", "tile", "llvm", "asm"};
  for (const std::string& name : dumped)
    if (std::ranges::find(kStages, name) == std::end(kStages))
      user_error("TENFOLD_DUMP names \"{}\", which is no stage: choose of {}", name,
                 fmt::join(kStages, ", "));
  for (const Pass& pass : kPasses) {
    if (disabled.contains(std::string(pass.name))) continue;
    const auto start = std::chrono::steady_clock::now();
    pass.run(state);
    state.times.push_back({std::string(pass.name),
                           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()});
    if (verify_after) pass.verify(state, pass.name);
    if (dumped.contains(std::string(pass.stage))) {
      const std::string text = fmt::format("# after {}\n{}\n", pass.name, pass.dump(state));
      std::fwrite(text.data(), 1, text.size(), stderr);
    }
    if (pass.stage == "tile" && dumped.contains("plan")) fmt::print(stderr, "{}\n", plan::print(state.plan));
    if (pass.stage == "asm" && dumped.contains("llvm"))
      for_each_kernel(state.plan.steps, [&](const tile::Kernel& k) {
        fmt::print(stderr, "{}\n", state.target->listing(k, "llvm"));
      });
  }
}

std::vector<SymbolSource> symbol_sources(const Graph& graph) {
  std::map<std::string, SymbolSource> found;
  std::map<std::string, Symbol> all;
  for (size_t p = 0; p < graph.parameters.size(); ++p) {
    const Shape& shape = graph.parameters[p]->shape();
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d].is_const()) continue;
      std::map<std::string, Symbol> named;
      shape[d].symbols(named);
      all.insert(named.begin(), named.end());
      if (named.size() == 1 && shape[d] == Dim::symbol(named.begin()->second))
        found.try_emplace(named.begin()->first,
                          SymbolSource{named.begin()->second, static_cast<int>(p), static_cast<int>(d)});
    }
  }
  std::vector<SymbolSource> out;
  for (const auto& [name, symbol] : all) {
    const auto source = found.find(name);
    if (source == found.end())
      user_error("the symbol {} is the extent of no argument alone, so its value cannot be found", name);
    out.push_back(source->second);
  }
  return out;
}

// ---- the in-memory cache

struct Key {
  Graph graph;
  Options options;
  std::string environment;  // the knobs that passes read
  friend bool operator==(const Key& a, const Key& b) {
    return same(a.graph, b.graph) && (fault("compile_key_options") || a.options == b.options) &&
           a.environment == b.environment;
  }
};

struct KeyHash {
  size_t operator()(const Key& key) const {
    size_t seed = hash(key.graph);
    if (fault("compile_key_options")) return seed;
    for (const std::string& grant : key.options.allow) seed = hash_of(seed, grant);
    for (const auto& [from, to] : key.options.donate) seed = hash_of(hash_of(seed, from), to);
    for (const auto& [name, loops] : key.options.loops) seed = hash_of(hash_of(seed, name), loops);
    return hash_of(hash_of(hash_of(seed, key.options.device), key.options.plan), key.environment);
  }
};

struct Entry {
  std::shared_ptr<const Executable> executable;
  uint64_t used = 0;
};

struct Cache {
  std::mutex mutex;
  std::unordered_map<Key, Entry, KeyHash> entries;
  uint64_t clock = 0;
  CacheStatistics statistics;
};

Cache& cache() {
  static auto* const instance = new Cache;
  return *instance;
}

void drop_oldest_half(Cache& c) {  // under the lock
  std::vector<uint64_t> used;
  for (const auto& [key, entry] : c.entries) used.push_back(entry.used);
  const auto middle = used.begin() + static_cast<std::ptrdiff_t>(used.size() / 2);
  std::ranges::nth_element(used, middle);
  const uint64_t limit = *middle;
  std::erase_if(c.entries, [&](const auto& item) { return item.second.used < limit; });
}

std::string environment() {
  std::string out;
  for (const char* name :
       {"TENFOLD_ISA", "TENFOLD_MACHINE", "TENFOLD_DISABLE", "TENFOLD_INTERPRET", "TENFOLD_SEED_FAULT"})
    if (const char* value = std::getenv(name)) out += fmt::format("{}={};", name, value);
  return out;
}

std::shared_ptr<const Executable> make_executable(const Graph& graph, const Options& options) {
  auto parts = std::make_unique<State>();
  parts->graph = parts->core = graph;
  parts->options = options;
  if (options.interpret && options.device != "cpu")
    user_error("{}: the reference interpreter runs on the cpu only; copy the arguments there first",
               options.device);
  parts->machine = &current_machine(options.device);
  parts->symbols = symbol_sources(graph);
  if (options.interpret)
    parts->interpreted = static_cast<int64_t>(topological(graph.results).size() - graph.parameters.size());
  else
    run_passes(*parts);
  return Maker::finish(std::move(parts));
}

// No proof covers all values of the symbols of a plan that was edited by hand: new ones are checked.
void check_symbols(const State& parts, std::span<const int64_t> symbols) {
  constexpr size_t kMost = 4096;
  std::vector<int64_t> values(symbols.begin(), symbols.end());
  const std::lock_guard lock(parts.mutex);
  if (parts.accepted.contains(values)) return;
  std::map<std::string, int64_t> bindings;
  for (size_t i = 0; i < symbols.size(); ++i) bindings[parts.symbols[i].symbol.name] = symbols[i];
  if (const auto complaints = plan::verify_sizes(parts.plan, bindings); !complaints.empty()) {
    std::string text;
    for (const auto& [name, value] : bindings)
      text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, value);
    user_error("the plan cannot run for {}: {}", text, complaints[0].text);
  }
  if (parts.accepted.size() >= kMost) parts.accepted.clear();
  parts.accepted.insert(std::move(values));
}

void interpret(const State& parts, std::span<void* const> inputs, std::span<const int64_t> symbols,
               std::span<BufferRef> outputs) {
  std::map<std::string, int64_t> bindings;
  for (size_t i = 0; i < symbols.size(); ++i) bindings[parts.symbols[i].symbol.name] = symbols[i];
  std::vector<Array> arguments;
  for (size_t i = 0; i < parts.graph.parameters.size(); ++i) {
    const Type& type = parts.graph.parameters[i]->type();
    Ints shape;
    for (const Dim& d : type.shape) shape.push_back(d.evaluate(bindings));
    Array array(type.dtype, shape);
    if (!array.bytes.empty()) std::memcpy(array.bytes.data(), inputs[i], array.bytes.size());
    arguments.push_back(std::move(array));
  }
  const std::vector<Array> results = evaluate(parts.graph, arguments, bindings);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!outputs[i]) outputs[i] = std::make_shared<Buffer>(results[i].bytes.size());
    if (!results[i].bytes.empty())
      std::memcpy(outputs[i]->data(), results[i].bytes.data(), results[i].bytes.size());
  }
}

}  // namespace

std::span<const std::string_view> allowed_grants() { return kGrants; }

const tile::Machine& current_machine(std::string_view device) {
  const std::string asked = knob("TENFOLD_MACHINE");
  if (asked == "auto")
    if (const auto target = device_target(device)) return tile::machine(target->machine());
  return tile::machine(asked == "auto" ? machine_class(find_isa(knob("TENFOLD_ISA"))) : asked);
}

void Executable::run(std::span<void* const> inputs, std::span<const int64_t> symbols,
                     std::span<BufferRef> outputs) const {
  if (!symbols.empty() && !parts_->options.plan.empty()) check_symbols(*parts_, symbols);
  if (parts_->program)
    parts_->program->run(inputs, symbols, outputs);
  else
    interpret(*parts_, inputs, symbols, outputs);
}

const Graph& Executable::graph() const { return parts_->graph; }
const Graph& Executable::core() const { return parts_->core; }
const Options& Executable::options() const { return parts_->options; }
const plan::Plan& Executable::plan() const { return parts_->plan; }
const tile::Machine& Executable::machine() const { return *parts_->machine; }
Device* Executable::device() const { return parts_->device; }
const Program* Executable::program() const { return parts_->program.get(); }
const std::shared_ptr<Target>& Executable::target() const { return parts_->target; }
const std::vector<SymbolSource>& Executable::symbols() const { return parts_->symbols; }
const std::vector<std::pair<int, int>>& Executable::donated() const { return parts_->donated; }
const std::vector<Laid>& Executable::laid() const { return parts_->laid; }
const std::vector<std::string>& Executable::notes() const { return parts_->notes; }
int64_t Executable::interpreted() const { return parts_->interpreted; }
const std::vector<PassTime>& Executable::times() const { return parts_->times; }

std::shared_ptr<const Executable> compile(const Graph& graph, const Options& options) {
  for (const std::string& grant : options.allow)
    if (std::ranges::find(kGrants, grant) == std::end(kGrants))
      user_error("allow names \"{}\", which is no grant: choose of {}", grant, fmt::join(kGrants, ", "));
  Key key{graph, options, environment()};
  key.options.interpret |= knob_bool("TENFOLD_INTERPRET");
  if (key.options.interpret && !options.plan.empty())
    user_error("a plan is given, but the interpreter is asked for: it runs the graph, no plan");
  if (!options.loops.empty() && (key.options.interpret || !options.plan.empty()))
    user_error("loops are given, but {}",
               key.options.interpret ? "the interpreter is asked for: it runs the graph, no loops"
                                     : "a plan too, which says how its launches run: edit its kernels");
  Cache& c = cache();
  {
    const std::lock_guard lock(c.mutex);
    if (const auto found = c.entries.find(key); found != c.entries.end()) {
      found->second.used = ++c.clock;
      ++c.statistics.hits;
      return found->second.executable;
    }
    ++c.statistics.misses;
  }
  auto made = make_executable(graph, key.options);
  const std::lock_guard lock(c.mutex);
  if (c.entries.size() >= kMostEntries) drop_oldest_half(c);
  return c.entries.try_emplace(std::move(key), Entry{std::move(made), ++c.clock}).first->second.executable;
}

CacheStatistics cache_statistics() {
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  CacheStatistics out = c.statistics;
  out.entries = static_cast<int64_t>(c.entries.size());
  return out;
}

void clear_cache() {
  std::unordered_map<Key, Entry, KeyHash> dropped;
  Cache& c = cache();
  const std::lock_guard lock(c.mutex);
  std::swap(dropped, c.entries);
}

}  // namespace tenfold::compile
