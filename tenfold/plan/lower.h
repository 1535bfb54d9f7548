// Instances and tile sizes to a tile program (PLANNER.md 1.3, 1.4).
#pragma once

#include <map>
#include <set>

#include "tenfold/plan/instances.h"
#include "tenfold/plan/lay.h"
#include "tenfold/tile/machine.h"
#include "tenfold/tile/program.h"

namespace tenfold::plan {

// How one atom is laid out: `inner` consecutive elements in a tile, the rest as blocks of the grid or as a
// loop.
struct Tiling {
  int64_t inner = 1;
  bool grid = false;
  bool loop = false;  // has an outer atom: extent > inner, or grid
};

struct Choice {
  std::vector<Tiling> atoms;  // by atom of the space
  AtomId vector = -1;
  std::vector<AtomId> grid;   // of the parallel loops, outermost first; empty: as memory lies
  std::vector<AtomId> order;  // of the sequential loops, outermost first
  bool keep = true;           // values needed by a later loop are kept in scratch; else recomputed
  bool online = false;        // a maximum runs beside what is scaled by it
  std::set<int> packed;       // instances kept in scratch although they could be loaded, or made, again
  AtomId around = -1;  // a loop around both making and use of what is kept; where a maximum runs, its loop
  AtomId group = -1;   // neighbours that a contraction of narrow numbers sums at once: they lie together
};

// The memory step of an atom in a buffer of this shape, 0 if it does not move.
Dim stride(const Shape&, const Forms& dims, AtomId);

// A contraction, or a reduction of maps over operands of which each lacks an axis of all that are multiplied
// out: min over k of a[i,k] + b[k,j]. An operand is used again for each element of what it lacks.
struct InnerProduct {
  int inst;
  std::set<AtomId> result, summed;
  std::vector<int> operands;  // instances, through the maps
  int registers;  // of as many results as a vector has numbers of four bytes, with those of products side by
                  // side
};
std::vector<InnerProduct> inner_products(const Flat&, const Instances&);

// Does one operand have all axes of a short sum, so that nothing of it is used for two results (but along a
// window), while another lies along the vectors too and is used for all rows?
bool goes_by(const Instances&, const InnerProduct&, AtomId vector);

// The place of an axis in what is stored: the larger, the nearer in memory.
size_t nearness(const Instances&, AtomId a);

// Which atoms may be parallel, and a good first choice. `unroll`: vectors side by side along the vector atom.
struct Axes {
  std::vector<AtomId> parallel, sequential, time;
  AtomId vector = -1;
};
Axes classify(const Flat&, const Instances&);
// Columns of an inner product along which its results lie, where vectors run along another axis: of few
// columns a part of each vector does nothing, but nothing is gathered or summed across. -1: none.
AtomId short_columns(const Flat&, const Instances&, const Axes&);
// The parallel loops, outermost first. Unless chosen, blocks run through memory in order: the atom with the
// smallest step in the first output is the fastest.
std::vector<AtomId> grid_order(const Instances&, const Choice&);
Choice first_choice(const Flat&, const Instances&, const Axes&, const tile::Machine&, int unroll);

struct Lowered {
  tile::Kernel kernel;
  std::vector<int> buffers;            // per argument: the op it loads or stores
  std::map<size_t, Layout> laid = {};  // arguments that are read in another order than the op's
};
Lowered lower(const Flat&, const Instances&, const Choice&, const tile::Machine&);

}  // namespace tenfold::plan
