// Tile kernels as C text of a dialect: a grid block is a work-group.
//
// Of a value's axes one is laid over the items of the group, its lane axis (Kernel::vector; for a large value
// without it another one); item i owns the elements i, i + items, ... of it. Where a kernel only maps
// elements that lie side by side, it owns a run of them, which one access moves. What an item owns lies in
// its private variables. A value that another item reads lies in local memory, and so does scratch. A value
// without a lane axis is computed by every item alike.
//
// A product that matrix units run (tile/matrix.h; Dialect::matrix) has its result in fragments: along rows
// and columns, an item owns what the unit gives it. Whatever else has both axes is laid out alike, so that an
// epilogue stays in registers. Its operands lie in local memory, in rows a little apart; where a loop only
// loads and multiplies, they come in stages, copied ahead of their use.
//
// Branches and loops are the same for the whole group, so that items may meet anywhere, but for votes and
// while loops whose bodies concern each item alone. A reduction along the lane axis is the tree that
// tile/program.h states; where the dialect has warps, its steps across them are taken by every warp alike
// from local memory, and those within one by exchange.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "tenfold/target/ctext/math.h"
#include "tenfold/tile/program.h"

namespace tenfold::ctext {

// What the emitter must know of a device.
struct Limits {
  int items = 256;                 // of a work-group; a power of two
  int64_t local_bytes = 32 << 10;  // of a work-group
  int64_t staged_bytes = 0;        // further, of what matrix units read
  bool matrix = false;             // its warps have the dialect's matrix units
  bool matrix_groups = false;      // and those of four warps
  Arithmetic arithmetic;
};

// One kernel in a file. Its parameters, in order: of each buffer the handle (and, where the dialect has
// offsets, where it begins, in elements, a long); each symbol (a long); the number of the first block (a
// long); the workspace, where workspace_bytes > 0.
struct Function {
  std::string name;
  int items = 1;  // of a work-group
  int64_t local_bytes = 0;
  int64_t staged_bytes = 0;     // local memory that a launch has to ask for
  int64_t workspace_bytes = 0;  // of one work-group: scratch that local memory cannot hold
  std::vector<std::string> symbols;
};

struct File {
  std::string text;
  std::vector<Function> functions;  // one per kernel
};

// "tn_softmax": no name of a dialect begins so, and no two are the same.
std::vector<std::string> function_names(std::span<const tile::Kernel* const>);

// DeviceError where a kernel needs what the device lacks (f64).
File emit(std::span<const tile::Kernel* const>, std::span<const std::string> names, const Dialect&,
          const Limits&);

}  // namespace tenfold::ctext
