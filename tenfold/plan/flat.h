// The graph with the bodies of its scans laid out: what instances are made of.
#pragma once

#include <vector>

#include "tenfold/ir/control.h"

namespace tenfold::plan {

struct Op {
  enum class Kind : uint8_t {
    leaf,      // a parameter of the whole graph
    constant,  // constant, iota: no cluster owns it, each user has its own
    step,      // the number of the iteration
    node,      // a node of the graph or of a body
    carry,     // a scan's state inside the body; inputs: [init]; `next` is set
    row,       // one row of a scanned-over input; inputs: [whole]
    last,      // a scan's final state; inputs: [next, carry]
    stack,     // rows collected from a body; inputs: [row value]
    opaque,    // a loop of unknown length: a step of the program, never part of a kernel
  };
  Kind kind;
  const Node* node = nullptr;
  int output = 0;  // which output of the node (last, stack, opaque items)
  std::vector<int> inputs;
  int scope = -1;  // innermost loop body it stands in
  int unit = -1;   // the top-level node it belongs to; -1: leaf or constant
  int next = -1;   // carry: the op that makes its next value
  Type type;
  bool is_unit_output = false;  // may be needed outside its unit
  bool fixed = false;           // leaf: the same in every call
};

struct Scope {
  int parent = -1;
  const Node* node = nullptr;  // the scan
  Dim length;
  bool reverse = false;
  std::vector<int> carries;  // ops of kind carry
};

struct Unit {
  const Node* node;
  std::vector<int> ops;       // in topological order
  std::vector<int> inputs;    // units it needs, each once
  std::vector<int> operands;  // ops of the node's inputs
};

struct Flat {
  std::vector<Op> ops;  // topological: but for the edge carry -> next
  std::vector<Scope> scopes;
  std::vector<Unit> units;
  std::vector<int> parameters;  // op per parameter of the graph
  std::vector<int> results;     // op per result
};

Flat flatten(const Graph&,
             const std::vector<int>& fixed = {});  // fixed: parameters that are the same in every call

bool inside(const Flat&, int scope, int ancestor);  // scope == ancestor or within it

}  // namespace tenfold::plan
