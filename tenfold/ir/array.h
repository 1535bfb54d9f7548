// A plain array for the interpreters: dtype, concrete shape, row-major bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "tenfold/ir/node.h"

namespace tenfold {

struct Array {
  Dtype dtype = Dtype::f32;
  Ints shape;
  std::vector<std::byte> bytes;

  Array() = default;
  Array(Dtype, Ints shape);  // zeros
  int64_t size() const;      // elements
  Scalar at(int64_t flat) const { return Scalar::load(dtype, bytes.data() + flat * size_of(dtype)); }
  void set(int64_t flat, const Scalar& v) { v.store(dtype, bytes.data() + flat * size_of(dtype)); }
  template <class T>
  T* data() {
    return reinterpret_cast<T*>(bytes.data());
  }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
};

}  // namespace tenfold
