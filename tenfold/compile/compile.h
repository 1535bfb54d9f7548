// From a graph to something that runs. The passes are one list, see kPasses in compile.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenfold/ir/node.h"
#include "tenfold/plan/plan.h"
#include "tenfold/runtime/device.h"
#include "tenfold/runtime/program.h"

namespace tenfold::compile {

struct Options {
  std::vector<std::string> allow = {};           // grants by name, see allowed_grants()
  std::vector<std::pair<int, int>> donate = {};  // parameter -> result: its memory may become the result's
  bool fuse = true;                              // false: a launch for every operation
  bool interpret = false;                        // run on the reference interpreter; explain counts it
  std::string plan = {};  // text of a plan (plan/text.h) to run instead of the planner's
  // By a launch's name, how it runs instead of the planner's choice (plan/loops.h). No name: the only launch.
  std::vector<std::pair<std::string, std::string>> loops = {};
  std::string device = "cpu";   // where the arguments and the results lie
  std::vector<int> fixed = {};  // parameters that are the same in every call: they may be laid out ahead
  friend bool operator==(const Options&, const Options&) = default;
};

std::span<const std::string_view> allowed_grants();  // "bf16x3", "bf16x6", "factor", "online", "reassociate"

struct PassTime {
  std::string name;
  double seconds = 0;
};

// Where the value of a symbol is found: the extent of an axis of a parameter.
struct SymbolSource {
  Symbol symbol;
  int parameter = -1;
  int axis = -1;
};

class Executable;

// A further input of a compiled graph: what `layout` makes of parameters `from`, fixed ones: computes of
// them, in the order in which it is read. Null where no launch reads it as it is.
struct Laid {
  std::vector<int> from;
  std::shared_ptr<const Executable> layout;
};

// A compiled graph. Immutable: any number of threads may run it at once.
class Executable {
 public:
  ~Executable();

  // Inputs and outputs lie on the device, where addresses are opaque (runtime/device.h).
  Device* device() const;  // null: the host
  // Inputs: the graph's parameters, then laid(). Outputs that are set are written in place (see
  // Program::run), the others allocated. `symbols`: one value for each of symbols().
  void run(std::span<void* const> inputs, std::span<const int64_t> symbols,
           std::span<BufferRef> outputs) const;

  const Graph& graph() const;  // as it was given
  const Graph& core() const;   // as it was planned: core primitives only
  const Options& options() const;
  const plan::Plan& plan() const;  // empty if interpreted
  const tile::Machine& machine() const;
  const Program* program() const;                    // null if interpreted
  const std::shared_ptr<Target>& target() const;     // null if interpreted
  const std::vector<SymbolSource>& symbols() const;  // sorted by name
  const std::vector<std::pair<int, int>>& donated()
      const;  // the donations that are safe: run() may get such an output set to its input
  const std::vector<Laid>& laid() const;
  const std::vector<std::string>& notes() const;  // why a donation needs a copy, say
  int64_t interpreted() const;                    // nodes that the interpreter runs; 0 unless asked for
  const std::vector<PassTime>& times() const;

 private:
  friend struct Maker;
  struct Parts;
  explicit Executable(std::unique_ptr<Parts>);
  std::unique_ptr<Parts> parts_;
};

// From the in-memory cache if the same graph was compiled before with the same options.
std::shared_ptr<const Executable> compile(const Graph&, const Options& = {});

struct CacheStatistics {
  int64_t entries = 0;
  int64_t hits = 0;
  int64_t misses = 0;  // graphs that were planned
};
CacheStatistics cache_statistics();
void clear_cache();

// The record that plans are made with: TENFOLD_MACHINE, or the one of TENFOLD_ISA's instruction set, or of
// the device's class.
const tile::Machine& current_machine(std::string_view device = "cpu");

}  // namespace tenfold::compile
