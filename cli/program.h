// A .ten file and arguments for it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tenfold/ir/array.h"
#include "tenfold/ir/node.h"

namespace tenfold::cli {

std::string read_file(const std::string& path);
Graph read_graph(const std::string& path);  // UserError with line and column
std::map<std::string, int64_t> read_symbols(const std::vector<std::string>& settings);  // "n=128"

// Arguments of the types of the parameters: those named "x=file.npy" are read, the others drawn from the seed
// (floats in
// [-1, 1), integers in [0, 10)).
std::vector<Array> make_arguments(const Graph&, const std::vector<std::string>& files,
                                  const std::map<std::string, int64_t>& symbols, uint64_t seed);

std::string text_of(const Array&, int64_t most = 12);  // type and the first elements

}  // namespace tenfold::cli
