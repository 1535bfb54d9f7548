// The symbols of a kernel: what a launch must know beside the buffers.
#pragma once

#include <string>
#include <vector>

namespace tenfold {

namespace tile {
struct Kernel;
}

// Names of the symbols in a kernel's dims, sorted: the order of the `symbols` argument of a launch.
std::vector<std::string> symbol_names(const tile::Kernel&);

}  // namespace tenfold
