// Graphs as text, .ten files. print and parse are inverse: parse(print(g)) is the same graph.
//
//   tenfold 1
//   symbol n in 1..4096 hint 1024
//   graph main(x: f32[n,1024], scale: f32[]) {
//     %0 = reduce_max(%x) axes=[1]
//     %1 = broadcast(%0) shape=[n,1024] axes=[0]
//     %2 = sub(%x, %1)
//     ...
//     body0 = graph(step: i64[], c: f32[], ...) { ... return %3, %4 }    # sub-graphs, before their use
//     %5, %6 = scan(%2, ...) body=body0 carries=1 length=[16] xs=0
//     return %4, %6
//   }
//
// A statement names every output of its primitive. Attributes stand on the line of the primitive; a number is
// rounded to the dtype beside it. Text after the graph may start with a section line ('----'), which the
// parser leaves alone.
#pragma once

#include "tenfold/base/text.h"
#include "tenfold/ir/prim.h"

namespace tenfold {

std::string print(const Graph&, std::string_view name = "main");
Graph parse_graph(std::string_view text, std::string file = "<text>");  // UserError "file:line:column: ..."

// Structure, types, scopes; returns readable complaints, empty if the graph is well formed.
std::vector<std::string> verify(const Graph&);

}  // namespace tenfold
