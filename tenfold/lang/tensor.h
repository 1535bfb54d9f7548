// Tensor: what a user programs with. A handle to a value that is computed when it is looked at.
//
// Outside of a trace an operation only notes what is to be done; looking at a value (reading it, exporting
// it, calling a jitted function on it) runs all that it needs as one program. Operations whose results nobody
// looks at for long are run anyway, see TENFOLD_PENDING_NODES and TENFOLD_PENDING_BYTES. Inside a trace (jit,
// grad, vmap, scan ...) a tensor has a type but no value. Tensors are immutable and may be shared between
// threads.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "tenfold/ir/node.h"
#include "tenfold/runtime/buffer.h"

namespace tenfold::lang {

// A line of the user's program. The file's name lives as long as the process.
struct Location {
  const char* file = nullptr;
  int line = 0;
  Location() = default;
  Location(const char* name, int number) : file(name), line(number) {}
  Location(const std::source_location& at) : file(at.file_name()), line(static_cast<int>(at.line())) {}
  std::string str() const;  // "train.py:41", or "" if unknown
};

struct Value;  // tensor_impl.h
using ValueRef = std::shared_ptr<Value>;

class Tensor {
 public:
  Tensor() = default;  // no tensor
  explicit Tensor(ValueRef value);
  Tensor(const Tensor&);
  Tensor(Tensor&&) noexcept;
  Tensor& operator=(Tensor) noexcept;
  ~Tensor();

  explicit operator bool() const { return value_ != nullptr; }
  const Type& type() const;
  Dtype dtype() const { return type().dtype; }
  const Shape& shape() const { return type().shape; }
  int rank() const { return type().rank(); }
  Dim size() const { return volume(shape()); }
  bool traced() const;         // it has no value yet: a function is being traced
  bool weak() const;           // made from plain numbers only: takes the dtype of what it meets
  std::string device() const;  // "cpu", "opencl:0": where its elements are, or will be; "traced"
  // The same elements there: the one way from one memory to another. Itself if it is there.
  Tensor to(std::string_view device, Location = std::source_location::current()) const;
  Location where() const;  // the operation that made it

  // Looking at it. UserError if it is traced.
  const Tensor& evaluate() const;  // computes it now; returns itself
  // Row-major elements, valid as long as the tensor; never to be written to. UserError if it is on a device.
  const void* data() const;
  BufferRef buffer() const;
  Scalar item() const;  // of a tensor with one element
  template <class T>
  std::vector<T> to_vector() const {  // UserError if T is not the dtype's C++ type
    check_host_type(sizeof(T), std::is_integral_v<T>, std::is_signed_v<T>);
    const Tensor here = to("cpu");
    const auto* first = static_cast<const T*>(here.data());
    return {first, first + size().value()};
  }
  std::string str() const;  // type and elements, shortened

  const ValueRef& value() const { return value_; }

 private:
  void check_host_type(size_t bytes, bool integral, bool is_signed) const;
  ValueRef value_;
};
using Tensors = std::vector<Tensor>;

// A tensor, or a number that takes the dtype of what it meets; with the line that wrote it. Every function of
// this library takes operands, so `x * 0.5` and `maximum(x, 0)` do what they say.
class Operand {
 public:
  Operand(const Tensor& tensor, std::source_location at = std::source_location::current())
      : tensor_(tensor), where_(at) {}
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  Operand(T number, std::source_location at = std::source_location::current())
      : number_(exact(number)), where_(at) {}
  Operand(Tensor tensor, Location where) : tensor_(std::move(tensor)), where_(where) {}
  Operand(const Scalar& number, Location where) : number_(number), where_(where) {}

  bool is_number() const { return !tensor_; }
  const Tensor& tensor() const { return tensor_; }  // empty for a number
  const Scalar& number() const { return number_; }
  const Location& where() const { return where_; }
  Tensor as_tensor() const;  // a number becomes a weak rank-0 tensor
  Dtype dtype() const;       // of a number: bool, i64 or f32, complex64
  Shape shape() const;

 private:
  template <class T>
  static Scalar exact(T number) {
    if constexpr (std::same_as<T, bool>)
      return Scalar(number);
    else if constexpr (std::integral<T>)
      return std::is_signed_v<T> ? Scalar(static_cast<int64_t>(number))
                                 : Scalar(static_cast<uint64_t>(number));
    else
      return Scalar(static_cast<double>(number));
  }
  Tensor tensor_;
  Scalar number_;
  Location where_;
};
using Operands = std::vector<Operand>;

// Tensors from memory. `shape` counts elements; the elements are row-major.
Tensor from_host(const void* elements, Dtype, const Ints& shape,
                 Location = std::source_location::current());  // a copy
Tensor from_buffer(BufferRef, Dtype, const Ints& shape,
                   Location = std::source_location::current());  // shared
template <class T>
constexpr Dtype dtype_of();
template <class T>
Tensor tensor(const std::vector<T>& elements, std::optional<Ints> shape = {},
              Location where = std::source_location::current()) {
  return from_host(elements.data(), dtype_of<T>(),
                   shape ? *shape : Ints{static_cast<int64_t>(elements.size())}, where);
}

// Computes several tensors as one program.
void evaluate(const Tensors&);

// While it lives, what this thread creates from nothing (zeros, arange, from_host ...) is on the device. What
// is computed of tensors is where they are; plain numbers are nowhere.
class DeviceScope {
 public:
  explicit DeviceScope(std::string_view device);  // "cpu", "opencl:0"; DeviceError if it is not there
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  static Device* current();  // null: the cpu

 private:
  Device* outer_;
};

struct PendingStatistics {
  int64_t nodes = 0;  // operations waiting
  int64_t bytes = 0;  // of their results
};
PendingStatistics pending_statistics();

template <>
constexpr Dtype dtype_of<bool>() {
  return Dtype::boolean;
}
template <>
constexpr Dtype dtype_of<int8_t>() {
  return Dtype::i8;
}
template <>
constexpr Dtype dtype_of<int16_t>() {
  return Dtype::i16;
}
template <>
constexpr Dtype dtype_of<int32_t>() {
  return Dtype::i32;
}
template <>
constexpr Dtype dtype_of<int64_t>() {
  return Dtype::i64;
}
template <>
constexpr Dtype dtype_of<uint8_t>() {
  return Dtype::u8;
}
template <>
constexpr Dtype dtype_of<uint16_t>() {
  return Dtype::u16;
}
template <>
constexpr Dtype dtype_of<uint32_t>() {
  return Dtype::u32;
}
template <>
constexpr Dtype dtype_of<uint64_t>() {
  return Dtype::u64;
}
template <>
constexpr Dtype dtype_of<float>() {
  return Dtype::f32;
}
template <>
constexpr Dtype dtype_of<double>() {
  return Dtype::f64;
}

}  // namespace tenfold::lang
