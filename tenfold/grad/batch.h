// Batching for users: the graph of f over one more dimension.
#pragma once

#include <vector>

#include "tenfold/ir/prim.h"

namespace tenfold {

// f over a batch: the parameters for which `batched_in` holds get a leading dimension of `size`, the others
// are the same for all of it. Every result has the leading dimension. UserError if the flags do not fit.
Graph vmap(const Graph&, const std::vector<bool>& batched_in, const Dim& size);

}  // namespace tenfold
