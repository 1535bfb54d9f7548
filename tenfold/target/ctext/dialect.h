// What the C dialects of devices spell differently. A row is data; the emitter knows no dialect by name.
#pragma once

#include <string_view>

namespace tenfold::ctext {

struct Dialect {
  std::string_view name;
  std::string_view head;        // of every file: pragmas, and the names below where the language lacks them
  std::string_view head_f64;    // further, where a kernel computes in f64
  std::string_view function;    // before a helper function
  std::string_view kernel;      // before a kernel's name; {0} is the number of items of a group
  std::string_view global;      // before the type of what lies in device memory
  std::string_view local;       // before the type of what a work-group shares
  std::string_view item;        // number of the work-item in its group
  std::string_view group;       // number of the group in the launch
  std::string_view barrier;     // all items of the group meet, and see what the others wrote
  std::string_view raise_flag;  // `flag`, shared by the group, becomes 1
  std::string_view pair;        // a complex number: {0} is the type of its parts, {1} and {2} are the parts
  std::string_view unroll;      // before a loop whose private arrays are registers only if it is unrolled
  int warp = 0;                 // items that exchange values without local memory; 0: there are no such
  std::string_view partner;     // {0} of the item of this warp whose number differs in the bit {1}
  std::string_view first;       // {0} of the first item of this warp
  int run = 0;                  // consecutive elements that one access moves, of 16 bytes for f32; 0: no such
  std::string_view load_run;    // into the private array {0} from the address {1}
  std::string_view store_run;   // from the private array {0} to the address {1}
  // Matrix units, where a warp has one; empty: it has none. The functions that matrix.cc calls:
  //   STAGED(bytes)                        local memory that a launch asks for: `staged`, ushort, aligned to
  //   1024 copy_run(to, from, count)            eight numbers of 16 bits into local memory, of which the
  //   first
  //                                        `count` exist, beside what goes on until await_stages
  //   run_length(left)                     `left` as such a count
  //   end_stage(), await_stages<n>()       all but the last n stages of copies have come
  //   load_tiles(to, row)                  four tiles of 8 by 8: item i names row i % 8 of tile i / 8, and
  //   gets load_tiles_transposed(to, row)       elements 2*(i % 4), + 1 of row i / 4 (column, transposed) of
  //   each multiply_f16 | multiply_bf16(c.., a, b..)   16 by 8 sums, of 16 products each
  std::string_view matrix;
  // Four warps that run one, on what lies in local memory alone (Writer::Staged::width); empty: they do not.
  //   describe(tile, leading, stride, width)   a descriptor of the operand that begins there
  //   order_copies()                           what this item wrote is there for the unit, once items have
  //   met begin_products(), end_products()         around products: the sums are not touched between
  //   multiply_f16 | multiply_bf16<a, b>(up, down, a, b)   64 by 128 sums, of 16 products each; rows 0 to 7
  //   and
  //                                            8 to 15 of this warp's 16; 1 for an operand along rows,
  //                                            columns
  std::string_view matrix_groups;
  bool offsets = false;  // a buffer comes as a handle and an offset in elements, not as an address
};

extern const Dialect kOpenCl;
extern const Dialect kCuda;

}  // namespace tenfold::ctext
