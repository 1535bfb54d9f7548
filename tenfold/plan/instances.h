// Demands propagated from what a cluster stores back to what it loads (PLANNER.md section 1.1). Two demands
// of one value become one instance when their forms unify; else the value is loaded, or computed, twice, and
// that is counted.
#pragma once

#include <vector>

#include "tenfold/plan/flat.h"
#include "tenfold/plan/space.h"

namespace tenfold::plan {

struct Inst {
  enum class Kind : uint8_t {
    load,  // of a buffer
    constant,
    index,    // an element's own number: iota, the step of a loop. forms[0] is its value
    compute,  // map, piecewise move, gather
    reduce,   // with combine
    contract,
    carry,  // a loop's state; inputs: init, next
    store,
  };
  Kind kind;
  int op;                     // store: the op whose value it stores
  Forms dims;                 // of the value (load, store: of the buffer)
  std::vector<Form> reduced;  // one per reduced axis
  struct Use {
    int inst = -1;
    Forms at;  // only where a carry is read elsewhere than it is written: the forms asked for
  };
  std::vector<Use> inputs;
  std::vector<Forms>
      asked;  // per input of the op: the forms of the demand (piecewise and index ops need them)
  std::vector<AtomId> time = {};  // loops it stands in without being indexed by them
  Shape shape = {};               // load, store: of the buffer, as the kernel sees it
};

struct Instances {
  AtomSpace space;
  std::vector<Inst> insts;         // inputs first (but for carry -> next)
  std::vector<AtomId> scope_time;  // per scope of the flat graph: its atom, or -1
  std::vector<int> loads, stores;
};

// The instances of a cluster of units; `outputs`: the ops it must store. Throws Barrier.
Instances build_instances(const Flat&, const std::vector<int>& units, const std::vector<int>& outputs);

// Writes every form over the atoms that stand for what was substituted.
void resolve(Instances&);

// Makes one atom of adjacent ones, and one dimension of theirs in the buffers, wherever all instances agree.
void coalesce(const Flat&, Instances&);

}  // namespace tenfold::plan
