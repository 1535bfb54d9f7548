// The plan: a graph cut into clusters, each one launch with its tile program; loops of launches where a carry
// mixes across blocks; and the buffers between them.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tenfold/plan/cost.h"
#include "tenfold/plan/lay.h"
#include "tenfold/tile/machine.h"
#include "tenfold/tile/program.h"

namespace tenfold::plan {

struct Buffer {
  Type type;
  enum class Kind : uint8_t {
    input,
    output,
    temporary,
    laid,  // made of a fixed input before the first call
  } kind = Kind::temporary;
  int index = -1;  // which parameter or result of the graph; a result that is a parameter is a copy step
  std::string name;
  Layout layout = {};  // laid
};

struct Launch {
  std::shared_ptr<const tile::Kernel> kernel;
  std::vector<int> buffers;  // one per kernel argument
  Cost cost;
  Nodes nodes;             // what it computes
  std::string operations;  // in words: "broadcast x2, exp"
  std::string loops;       // how it runs in a line: plan/loops.h
  std::string axes;        // what the letters stand for: "i 512, k 256 reduced: x[i,k] -> r0[i]"
};

struct Copy {
  int from = -1, to = -1;
  // Where `from` is a box of `to`: the first element of the box along each dimension, clamped so that the box
  // lies in `to`. Empty: all is copied.
  struct Start {
    int buffer = -1;    // an i64[], or
    int64_t value = 0;  // a number
  };
  std::vector<Start> starts = {};
};

struct Step;

// `length` times the steps. The body's buffers stand in the same table as everything else.
struct Repeat {
  Dim length;  // -1 with `go` for a while loop
  bool reverse = false;
  int step = -1;  // an i64[] buffer that holds the iteration's number, or -1
  int go = -1;    // a bool[...] buffer computed by `condition`: goes on while any holds
  std::vector<Step> condition;
  std::vector<Step> body;
  struct Carry {
    int init, value, next;
  };  // value = init before; value = next after each iteration (swap, not copy)
  std::vector<Carry> carries;  // `value` holds the final one afterwards
  struct Slice {
    int whole, part;
  };  // part is row `step` of whole: an address, not a copy
  std::vector<Slice> reads, writes;
};

struct Step {
  std::variant<Launch, Copy, std::shared_ptr<Repeat>> what;
};

struct Plan {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  std::vector<std::string> notes;  // "not fused: ..." sentences for explain
  double seconds = 0;
};

struct Options {
  std::vector<std::string> allow = {};  // grants: "bf16x3", "bf16x6", "factor", "online", "reassociate"
  bool fuse = true;
  std::vector<std::pair<int, int>> donate = {};  // parameter -> result
  std::vector<int> fixed = {};                   // parameters that are the same in every call
  // By a launch's name, how it runs instead of the planner's choice (plan/loops.h). No name: the only launch.
  std::vector<std::pair<std::string, std::string>> loops = {};

  bool granted(std::string_view name) const { return std::ranges::find(allow, name) != allow.end(); }
};

// The graph is simplified and expanded already (core primitives only).
Plan make_plan(const Graph&, const tile::Machine&, const Options& = {});

double least_bytes(const Graph&);  // every needed element of the parameters once, every result once

}  // namespace tenfold::plan
