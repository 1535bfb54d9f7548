// The reference interpreter: slow, obvious, exact. Each node is computed on exact scalars and rounded to its
// dtype.
#pragma once

#include <map>

#include "tenfold/ir/array.h"
#include "tenfold/ir/prim.h"

namespace tenfold {

// Extents of the parameters that are plain symbols are taken from the arguments; `symbols` gives the others.
std::vector<Array> evaluate(const Graph&, std::span<const Array> arguments,
                            const std::map<std::string, int64_t>& symbols = {});

// The same graph with integers for its symbols, in bodies too. InternalError if one has no value.
Graph with_symbols(const Graph&, const std::map<std::string, int64_t>& symbols);

}  // namespace tenfold
