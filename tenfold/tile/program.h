// The tile program of one cluster: one launch. Loops over atoms, and statements over whole tiles.
//
// Every loop goes over one atom in steps of one. An axis that is tiled has been split beforehand into an
// outer atom (a loop or the grid) and an inner one: j = 64*jo + ji. A value is a tile: it is indexed by the
// atoms in `axes`, each over its full extent. The axes of a value are never atoms of a loop around its
// definition; an atom of such a loop takes part through the forms. So softmax over rows of 1000 reads
//
//     tenfold 1
//     kernel softmax(x: f32[64,1000], out y: f32[64,1000]) {
//       atom r in 64, jo in 16, ji in 64
//       vector ji
//       guard 64*jo + ji < 1000
//       scratch %e: f32[jo,ji]
//       grid r {
//         %m = fill f32[ji] -inf
//         for jo {
//           %0 = load x[r, 64*jo + ji] : f32[ji]
//           %m = accumulate maximum %0 : f32[ji]
//         }
//         %mm = reduce maximum %m over ji : f32[]
//         %s = fill f32[ji] 0.0
//         for jo {
//           %1 = load x[r, 64*jo + ji] : f32[ji]
//           %2 = sub %1, %mm : f32[ji]
//           %3 = exp %2 : f32[ji]
//           write %e[jo, ji] = %3
//           %s = accumulate add %3 : f32[ji]
//         }
//         %ss = reduce add %s over ji : f32[]
//         for jo {
//           %4 = read %e[jo, ji] : f32[ji]
//           %5 = div %4, %ss : f32[ji]
//           store y[r, 64*jo + ji] = %5
//         }
//       }
//     }
//
// The rest of the syntax; print and parse_kernel are inverse:
//
//     symbol n in 1..4096 hint 1024                 # before `kernel`
//     kernel k(x: f32[n,8], out streaming y: f32[n]) {
//       vector ji, r                                # `vector`, then `vectors`; `-` for no first choice
//       for t reverse { ... }                       # from the last index down
//       while t {                                   # statements before `test` are the condition
//         %go = less %x, %limit : bool[ji]
//         test %go
//         ...
//         carry %x <- %next                         # at the end of a loop, all at once
//       }
//       if any %mask { ... }
//       %1 = load table[%i, ji] : f32[r,ji]         # a dimension that is Whole is indexed by an operand
//       %2 = load x[%i[r: 2*ro + ri], ji] : ...     # an operand read at a place: `%5[k: 0, j: jo]` or, in
//       the order of
//                                                   # its axes, `%5[0, jo]`
//       %3 = convert %2 dtype=i32 : i32[r,ji]       # attributes of a map
//       %4 = constant 1.5 : f32[]
//       %5 = index 64*jo + ji : i32[ji]
//       %6 = copy %3 : i32[r,ji]
//       %7 = accumulate add %8 over k : f32[r]
//       %9 = contract %a, %b over k : f32[r,c]
//       store y[r] = %7 : [r]                       # the axes, where they are not just those of the operand
//     }
//
// Three kinds of values: a plain one is defined once by its statement, per execution; a variable (defined by
// `fill` or `copy`, updated by accumulate, contract or a loop's carries) holds what it was last given; a
// scratch value is memory of the block, declared once, accessed by `read` and `write` (a read element must
// have been written in the same block execution). A plain value or a variable is known from its definition to
// the end of the body that defines it; what an `if` defines is known after it too, and what a while loop's
// condition defines is known in its body.
//
// Guards: where a guard's form is not below its limit, the point does not exist: loads give 0, stores and
// scratch writes do not happen, accumulate, reduce and contract pass over it (nothing left: the identity).
// Votes (`if any`, `test`) ask existing points only. Other statements compute an unused element (the
// interpreter makes it a NaN to find uses). A guard holds for the statements where all its atoms are axes (or
// `over`), loops around it or the grid; a statement outside the guard's loop is not guarded. A load whose
// form may leave [0, extent) of a dimension reads 0 outside (padding, concatenation). Stores, scratch and
// values read at a place may not leave it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tenfold/ir/prim.h"
#include "tenfold/ir/space.h"

namespace tenfold {
class Lexer;
}

namespace tenfold::tile {

using ValueId = int32_t;

struct Atom {
  std::string name;
  Dim extent;  // of an axis of a value: an integer (only loop and grid atoms may be symbolic)
};

// form < limit, else the point does not exist. The form has a loop atom and an inner atom.
struct Guard {
  Form form;
  Dim limit;
};

struct Value {
  std::string name;  // "%5"
  Dtype dtype = Dtype::f32;
  std::vector<AtomId> axes;  // storage order: the last is innermost and contiguous where it is memory
  bool scratch = false;
};

// A value read at a place: one form per axis of the value, over the atoms of the reader and its loops.
// Empty means identity: each axis at its own atom. Every atom of `at` (of the axes, where it is empty) is an
// axis of the reader
// (`over` included) or a loop around it. A value that lacks an axis of the reader is the same for all of it
// (broadcast). The readers of a vote, a test and a carry have the axes of the mask, of the tested value and
// of the variable.
struct Operand {
  ValueId value = -1;
  std::vector<Form> at;
};

struct Arg {  // a buffer in device memory, row-major and contiguous
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  bool output = false;     // written; a donated buffer that is read and written is two args that may alias
                           // exactly (same forms)
  bool streaming = false;  // an output too large to stay in any cache: non-temporal stores pay
};

enum class Op : uint8_t {
  load,        // result[axes] = arg[forms]; dimension d of a form that is Whole is indexed by the next of
               // `operands` (an integer tile, clamped into the dimension): gather, dynamic_slice
  store,       // arg[forms] = operand[0]; `result` is -1
  fill,        // variable = scalar
  copy,        // variable = operand[0]
  constant,    // result = scalar
  index,       // result = forms[0] evaluated at the point, converted to the result's dtype (an integer type)
  map,         // result = prim(operands), point by point
  accumulate,  // variable = combine(variable, operand[0]), point by point; the operand may have further axes:
               // `over`, combined in first, as `reduce` does (so `over` empty is the plain running form)
  reduce,  // result = combine of operand[0] over the axes `over`, as a balanced tree: neighbours at distance
           // half the (power of two padded) extent first, for each axis in turn
  contract,  // variable += sum over the axes `over` of operand[0] * operand[1], each step one fma in the
             // variable's dtype (operands are converted to it), in ascending order, the last of `over`
             // fastest; f16 and bf16: fma in f32, then rounded. Of bf16 added in f32 over an axis of
             // Kernel::vectors a target may take the second of each two first, and denormals as zero; a
             // matrix unit adds several terms at once (tile/matrix.h)
  read,      // result[axes] = scratch value `source` at `forms` (one per axis of it)
  write,     // scratch value `result` at `forms` = operand[0]
};

std::string_view name(Op);

struct Stmt {
  Op op = Op::map;
  ValueId result = -1;
  std::vector<AtomId> axes;  // the points it runs over (for store and write: those of the operand)
  std::vector<Operand> operands;
  const Prim* prim = nullptr;  // map: a map record; accumulate, reduce: the combining map record (add, mul,
                               // maximum, minimum, logical_and, logical_or)
  Attrs attrs;                 // of the map record
  Scalar scalar;               // fill, constant
  std::vector<AtomId> over;
  int arg = -1;             // load, store
  ValueId source = -1;      // read
  std::vector<Form> forms;  // load, store, index, read, write
};

struct Loop;
struct If;
using Item = std::variant<Stmt, std::unique_ptr<Loop>, std::unique_ptr<If>>;
using Body = std::vector<Item>;

struct Carry {  // at the end of an iteration, all at once: variable = next
  ValueId variable;
  Operand next;
};

struct Loop {
  AtomId atom =
      -1;  // its extent is the trip count; for a while loop the atom counts and its extent is the bound
  bool reverse = false;  // from the last index down to 0
  Body condition;        // while only: computes `go`; not run again once the bound is reached
  Operand go;  // while only (value >= 0): the loop ends when no element of this bool tile holds; carries of
               // elements that do not hold stay (so a carry has every axis of `go`)
  Body body;
  std::vector<Carry> carries;
};

// A uniform vote: the body runs where any element of the mask tile holds. Values it defines and that are used
// after it must be used under a select by the same mask only: where the vote fails they are unspecified (but
// not poison). An emitter may vote on pieces of the tile.
struct If {
  Operand mask;
  Body body;
};

struct Kernel {
  std::string name;
  std::vector<Arg> args;
  std::vector<Atom> atoms;
  std::vector<Guard> guards;
  std::vector<Value> values;
  std::vector<AtomId> grid;  // parallel; blocks are numbered with the last fastest
  AtomId vector =
      -1;  // the atom along which tiles are laid in vector registers; a value without it is laid along none
  std::vector<AtomId> vectors;  // further choices, in order, for values that lack `vector`
  Body body;
};

Dim blocks(const Kernel&);             // number of grid points
int64_t scratch_bytes(const Kernel&);  // of one block, each value aligned to 64 bytes

Kernel clone(const Kernel&);
void for_each_statement(const Body&,
                        const std::function<void(const Stmt&, std::span<const Loop* const> loops)>&);

std::string print(const Kernel&);
std::string print(const Kernel&, const Stmt&);  // one line
std::string print(const Kernel&, const Form&);  // "64*jo + ji"
Kernel parse_kernel(std::string_view text, std::string file = "<text>");
std::vector<std::string> verify(const Kernel&);  // readable complaints, empty if the kernel is well formed
std::vector<std::string> verify(
    const Kernel&, const std::map<std::string, int64_t>& symbols);  // bounds at these values only

// For a text with several kernels under one head (version and symbols).
std::map<std::string, Symbol> symbols_of(const Kernel&);
std::vector<std::string> symbol_names(const Kernel&);  // sorted: the order of a launch's `symbols`
std::string print_headless(const Kernel&);             // from `kernel` on
Kernel parse_kernel(Lexer&, const std::map<std::string, Dim>& symbols);  // to its closing brace

// The tile interpreter: UserError for a kernel that `verify` rejects, a bound that is left, a read of what
// was never written, an output element that is not written exactly once, a race between blocks. Counts what
// moves.
struct Counts {
  int64_t bytes_read = 0;  // elements loaded (guarded and outside ones not), each time
  int64_t bytes_written = 0;
  int64_t scratch_bytes = 0;  // read and written in scratch (guarded points not)
  double flops = 0;  // cost of the scalar operations: of whole tiles, guarded points too, as vector units pay
                     // it; a contraction's step costs 1
  int64_t statements = 0;  // executed, over all blocks
  friend bool operator==(const Counts&, const Counts&) = default;
};
using Access = std::function<void(const void* address, int64_t bytes,
                                  bool write)>;  // called for every element, scratch too
Counts run(const Kernel&, std::span<Array* const> args, const std::map<std::string, int64_t>& symbols = {},
           const Access& = {});

// Elements of a record, at most, that vectors take whole and shuffle; what lies further apart is gathered.
inline constexpr int64_t kRecord = 8;
// Elements from one lane to the next, at most, of what is loaded with all that lies between, and picked.
inline constexpr int64_t kStrided = 4;

// The same counts without running it; symbols at their hints (or as given). Exact for loops without a
// data-dependent end (a while loop counts its bound); an `if` counts `vote` of its body.
struct Traffic {
  Counts counts;
  double memory_read = 0;  // bytes from beyond a cache of the given capacity: what a loop touches again while
                           // it all fits is read once
  double memory_written = 0;
  double voted = 0;     // of counts.flops, those that stand under a vote
  double issued = 0;    // of counts.statements, those that are neither constants nor under a vote
  double gathered = 0;  // elements loaded or stored one by one, as they do not lie together along the vectors
  double grouped = 0;  // of counts.flops, those of contractions over an axis of Kernel::vectors: dot products
  double chain = 0;    // longest dependent chain of scalar operations in one block
};
Traffic count(const Kernel&, int64_t cache_bytes, const std::map<std::string, int64_t>& symbols = {},
              double vote = 1.0);

}  // namespace tenfold::tile
