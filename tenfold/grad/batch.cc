#include "tenfold/grad/batch.h"

#include <algorithm>

#include "tenfold/ir/batch.h"

namespace tenfold {

Graph vmap(const Graph& graph, const std::vector<bool>& batched_in, const Dim& size) {
  if (batched_in.size() != graph.parameters.size())
    user_error("vmap: the function has {} parameters, but {} say whether they are batched",
               graph.parameters.size(), batched_in.size());
  if (!provably_le(0, size)) user_error("vmap: the size of the batch, {}, can be negative", size.str());
  return batch_graph(graph, batched_in, size, std::vector<bool>(graph.results.size(), true)).graph;
}

}  // namespace tenfold
