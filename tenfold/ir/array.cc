#include "tenfold/ir/array.h"

namespace tenfold {

Array::Array(Dtype d, Ints extents) : dtype(d), shape(std::move(extents)) {
  bytes.resize(static_cast<size_t>(size() * size_of(dtype)));
}

int64_t Array::size() const {
  int64_t total = 1;
  for (const int64_t extent : shape) total *= extent;
  return total;
}

}  // namespace tenfold
