// What a compiled graph costs and why: as data, as text, and as a page of HTML that needs nothing else.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenfold/compile/compile.h"

namespace tenfold::compile {

struct LaunchCost {
  std::string name;
  double times = 1;       // in one call: the product of the lengths of the loops around it
  double bytes_read = 0;  // beyond the cache, each time
  double bytes_written = 0;
  double touched = 0;  // loaded and stored by the kernel, wherever from
  double scratch = 0;  // read and written in scratch memory
  double matrix = 0;   // of flops, multiplications that matrix units do
  double flops = 0;
  double seconds = 0;      // predicted, each time
  std::string bound;       // "memory" or "arithmetic", and "serial" if it is not worth a fork
  std::string loops;       // how it runs in a line: plan/loops.h
  std::string axes;        // what its letters stand for
  std::string operations;  // "broadcast x2, exp": what it computes
  std::shared_ptr<const tile::Kernel> kernel;
};

struct Explanation {
  int64_t launches = 0;   // in one call; symbols and trip counts at their hints
  double bytes_read = 0;  // beyond the cache
  double bytes_written = 0;
  double bytes_least = 0;  // every needed element of the arguments once, every result once
  double flops = 0;
  double seconds = 0;       // predicted, of a call from Python
  int64_t clusters = 0;     // different kernels
  int64_t interpreted = 0;  // operations run by the interpreter
  int64_t workspace_bytes = 0;
  std::vector<LaunchCost> kernels;
  std::vector<std::string> notes;  // what was not fused or not done in place, and why
  std::vector<PassTime> times;
  std::string machine, machine_hash;
  std::string device;
  std::shared_ptr<const Executable> executable;

  std::string str() const;
  std::string html(
      const std::string& title = "tenfold explain") const;  // graph, clusters, tile programs, assembly
};

Explanation explain(std::shared_ptr<const Executable>);

}  // namespace tenfold::compile
