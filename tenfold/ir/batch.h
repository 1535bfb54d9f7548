// Batching: a graph over one more dimension. The batch is always axis 0.
#pragma once

#include "tenfold/ir/prim.h"

namespace tenfold {

// The node with its batch axis: an unbatched one is broadcast.
NodeRef with_batch(const Batched&, const Dim& size);

// The same shape with the batch in front, and the same axes counted behind it.
Shape batched_shape(const Dim& size, const Shape&);
Ints batched_axes(const Ints&);  // each + 1

struct BatchedGraph {
  Graph graph;                   // the batched parameters and results have the batch as axis 0
  std::vector<bool> is_batched;  // of each result
};

// `batched_in` says which parameters get the batch; results for which `forced` holds are batched in any case
// (empty: none is forced; a result that depends on no batched parameter stays as it is).
BatchedGraph batch_graph(const Graph&, const std::vector<bool>& batched_in, const Dim& size,
                         const std::vector<bool>& forced = {});

}  // namespace tenfold
