// The block function of the random records, as numbers and as a graph, for those who know its published
// answers.
#pragma once

#include <array>
#include <cstdint>

#include "tenfold/ir/node.h"

namespace tenfold::prims {

// Philox4x32-10 of a counter under a key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The same over u32 nodes of one shape, of core operations only.
std::array<NodeRef, 4> philox(std::array<NodeRef, 4> counter, std::array<NodeRef, 2> key);

}  // namespace tenfold::prims
