// Plans as text, .ten files: a plan can be edited by hand and replayed. print and parse_plan are inverse, but
// for the nodes of a launch, which stand in no text.
//
//   tenfold 1
//   symbol n in 1..4096 hint 1024
//   plan seconds 2.5e-06 {
//     buffer x: f32[n,64] input 0
//     buffer r0: f32[n,64] output 0
//     buffer t3: f32[64] temporary
//     launch k0_exp(x, t3) serial seconds 1e-06 read 256.0 written 256.0 operations 64.0 memory 1e-07
//       arithmetic 2e-07 computes "exp, reduce_sum" loops "..." axes "..."
//     copy x -> r0
//     copy box -> r0 at [0, start]         # a box of r0: its first element, a number or an i64[] buffer each
//     repeat 16 reverse step i {           # `reverse` and `step` as needed
//       carry state = first next after     # `state` is `first`, then what the body wrote to `after`
//       read row of rows                   # `row` is row i of `rows`, and `out` of `outs`
//       write out of outs
//       launch k1_add(state, row, after)
//       ...
//     }
//     while {
//       carry ...
//       launch k2_less(state, go)          # the condition
//       test go                            # goes on while any element holds
//       launch ...
//     }
//     note "not fused: ..."
//   }
//
//   kernel k0_exp(x: f32[n,64], out y: f32[64]) {     # as in a file of its own, without its head
//   ...
//
// The words after a launch's buffers say what is predicted; a word that is left out stands for 0. A kernel
// may see a buffer under another shape of as many elements.
#pragma once

#include <string>
#include <string_view>

#include "tenfold/plan/plan.h"

namespace tenfold::plan {

std::string print(const Plan&);  // every kernel once; names are made words and unique

// UserError "file:line:column: ..." where the text is no plan, or not one that verify() accepts.
Plan parse_plan(std::string_view text, std::string file = "<plan>");

}  // namespace tenfold::plan
