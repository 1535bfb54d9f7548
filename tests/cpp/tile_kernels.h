// What the tests of tile/ share: kernels from files, arguments for them, and errors as text.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include <gtest/gtest.h>

#include "tenfold/tile/program.h"

#include "error_of.h"

namespace tenfold::tile {

using Symbols = std::map<std::string, int64_t>;

inline std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

inline std::vector<std::filesystem::path> kernel_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(TENFOLD_TESTS_DIR "/tile"))
    if (entry.path().extension() == ".ten") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

inline Kernel kernel_file(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(TENFOLD_TESTS_DIR "/tile") / (name + ".ten");
  return parse_kernel(read_file(path), name + ".ten");
}

inline Symbols hints(const Kernel& kernel) {
  std::map<std::string, Symbol> found;
  for (const Arg& arg : kernel.args)
    for (const Dim& dim : arg.shape) dim.symbols(found);
  Symbols result;
  for (const auto& [name, symbol] : found) result[name] = symbol.hint;
  return result;
}

// Arrays for the arguments of a kernel: inputs random (floats in [-2, 2), integers in [0, 40)), outputs zero.
struct Buffers {
  std::vector<Array> arrays;
  std::vector<Array*> pointers;

  explicit Buffers(const Kernel& kernel, const Symbols& symbols = {}, uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    for (const Arg& arg : kernel.args) {
      Ints shape;
      for (const Dim& dim : arg.shape) shape.push_back(dim.evaluate(symbols));
      Array& array = arrays.emplace_back(arg.dtype, shape);
      if (arg.output) continue;
      for (int64_t i = 0; i < array.size(); ++i) {
        const auto bits = static_cast<int64_t>(random() >> 40);
        if (is_bool(arg.dtype)) {
          array.set(i, bits % 2 == 0);
        } else if (is_int(arg.dtype)) {
          array.set(i, bits % 40);
        } else {
          array.set(i, static_cast<double>(bits) * 0x1p-22 - 2.0);
        }
      }
    }
    for (Array& array : arrays) pointers.push_back(&array);
  }
};

}  // namespace tenfold::tile
