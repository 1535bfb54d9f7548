// DLPack, both versions of its structures (https://dmlc.github.io/dlpack/latest/c_api.html).
#include <algorithm>
#include <cstring>

#include "common.h"

namespace tenfold::python {
namespace {

struct Device {
  int32_t type;
  int32_t id;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Array {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct Managed {
  Array array;
  void* context;
  void (*deleter)(Managed*);
};
struct Version {
  uint32_t major, minor;
};
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Array array;
};
constexpr uint64_t kReadOnly = 1, kIsCopied = 2;
constexpr int32_t kCpu = 1, kCudaHost = 3;
enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

constexpr const char* kName = "dltensor";
constexpr const char* kNameVersioned = "dltensor_versioned";

DataType type_of(Dtype d) {
  const auto bits = static_cast<uint8_t>(8 * size_of(d));
  const uint8_t code = is_bool(d)           ? kBool
                       : is_signed_int(d)   ? kInt
                       : is_unsigned_int(d) ? kUInt
                       : d == Dtype::bf16   ? kBfloat
                       : is_float(d)        ? kFloat
                                            : kComplex;
  return {code, bits, 1};
}

std::optional<Dtype> dtype_of(DataType t) {
  for (int d = 0; d < kDtypeCount; ++d) {
    const DataType own = type_of(static_cast<Dtype>(d));
    if (own.code == t.code && own.bits == t.bits && t.lanes == 1) return static_cast<Dtype>(d);
  }
  return {};
}

// What a capsule of ours keeps alive.
struct Export {
  Tensor tensor;
  BufferRef buffer;
  Ints shape, strides;
};

Array array_of(const Tensor& t, Export& kept, void* data) {
  kept.shape = const_shape(t.shape());
  kept.strides.resize(kept.shape.size());
  for (int64_t stride = 1, d = static_cast<int64_t>(kept.shape.size()) - 1; d >= 0; --d) {
    kept.strides[d] = stride;
    stride *= kept.shape[d];
  }
  return {data,
          {kCpu, 0},
          static_cast<int32_t>(kept.shape.size()),
          type_of(t.dtype()),
          kept.shape.data(),
          kept.strides.data(),
          0};
}

// Calls the deleter of a capsule that nobody took.
template <class T>
void drop_capsule(PyObject* capsule) {
  const char* name = std::is_same_v<T, Managed> ? kName : kNameVersioned;
  if (!PyCapsule_IsValid(capsule, name)) return;
  auto* managed = static_cast<T*>(PyCapsule_GetPointer(capsule, name));
  if (managed && managed->deleter) managed->deleter(managed);
}

void copy_strided(const Array& a, int32_t axis, const std::byte* from, int64_t bytes, std::byte*& to) {
  if (axis == a.ndim) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    to += bytes;
    return;
  }
  int64_t stride = 1;
  if (a.strides)
    stride = a.strides[axis];
  else
    for (int32_t d = axis + 1; d < a.ndim; ++d) stride *= a.shape[d];
  for (int64_t i = 0; i < a.shape[axis]; ++i) copy_strided(a, axis + 1, from + i * stride * bytes, bytes, to);
}

bool is_row_major(const Array& a) {
  if (!a.strides || std::count(a.shape, a.shape + a.ndim, 0) > 0) return true;
  int64_t expected = 1;
  for (int32_t d = a.ndim - 1; d >= 0; --d) {
    if (a.shape[d] != 1 && a.strides[d] != expected) return false;
    expected *= a.shape[d];
  }
  return true;
}

}  // namespace

Tensor dlpack_import(nb::handle object, std::optional<bool> copy, Location where) {
  nb::object capsule;
  try {
    try {
      capsule = object.attr("__dlpack__")(nb::arg("max_version") = nb::make_tuple(1, 0));
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      capsule = object.attr("__dlpack__")();  // it knows the first version only
    }
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_Exception)) throw;
    user_error(
        "asarray: a {} does not give its memory away: {}\n  called at {}\n  Convert the array first, to "
        "float32, say.",
        type_name(object.ptr()), str_of(error.value()), where.str());
  }
  const bool versioned = PyCapsule_IsValid(capsule.ptr(), kNameVersioned);
  if (!versioned && !PyCapsule_IsValid(capsule.ptr(), kName))
    user_error("asarray: __dlpack__ of a {} returned no DLPack capsule.\n  called at {}",
               type_name(object.ptr()), where.str());
  void* pointer = PyCapsule_GetPointer(capsule.ptr(), versioned ? kNameVersioned : kName);
  auto* newer = versioned ? static_cast<ManagedVersioned*>(pointer) : nullptr;
  auto* older = versioned ? nullptr : static_cast<Managed*>(pointer);
  if (newer && newer->version.major > 1)
    user_error("asarray: the array speaks DLPack {}.{}, this library speaks 1.\n  called at {}",
               newer->version.major, newer->version.minor, where.str());
  const Array& a = newer ? newer->array : older->array;
  if (a.device.type != kCpu && a.device.type != kCudaHost)
    user_error(
        "asarray: the array is not in the memory of the CPU (DLPack device {}).\n  called at {}\n  Copy it "
        "there first.",
        a.device.type, where.str());
  const auto dtype = dtype_of(a.dtype);
  if (!dtype)
    user_error(
        "asarray: elements of DLPack code {} with {} bits and {} lanes have no dtype here.\n  called at {}",
        a.dtype.code, a.dtype.bits, a.dtype.lanes, where.str());
  const Ints shape(a.shape, a.shape + a.ndim);
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  auto* data = static_cast<std::byte*>(a.data) + a.byte_offset;
  const bool read_only = newer && (newer->flags & kReadOnly) != 0;
  const bool fresh = newer && (newer->flags & kIsCopied) != 0;
  const bool can_share =
      is_row_major(a) && reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(size_of(*dtype)) == 0;
  if (copy == false && !can_share)
    user_error(
        "asarray: copy=False was asked for, but the array is not row-major in memory.\n  called at {}\n  "
        "Pass copy=None to let it be copied.",
        where.str());
  if (can_share && copy != true && (read_only || fresh || copy == false)) {
    PyCapsule_SetName(capsule.ptr(), newer ? "used_dltensor_versioned" : "used_dltensor");
    auto buffer =
        std::make_shared<Buffer>(data, static_cast<size_t>(count * size_of(*dtype)), [newer, older] {
          if (!Py_IsInitialized()) return;
          const nb::gil_scoped_acquire gil;
          if (newer && newer->deleter) newer->deleter(newer);
          if (older && older->deleter) older->deleter(older);
        });
    return lang::from_buffer(std::move(buffer), *dtype, shape, where);
  }
  auto buffer = std::make_shared<Buffer>(static_cast<size_t>(count * size_of(*dtype)));
  std::byte* to = buffer->data();
  if (count > 0) copy_strided(a, 0, data, size_of(*dtype), to);
  return lang::from_buffer(std::move(buffer), *dtype, shape, where);
}

nb::object dlpack_export(const Tensor& t, nb::handle max_version, nb::handle copy) {
  const bool versioned = !max_version.is_none() && nb::len(max_version) > 0 &&
                         to_int(max_version[0], "__dlpack__: the major part of max_version") >= 1;
  // The first version cannot say "read-only": whoever speaks it gets a copy of its own.
  const bool must_copy = !versioned || (!copy.is_none() && nb::cast<bool>(copy));
  auto kept = std::make_unique<Export>(Export{t, t.buffer(), {}, {}});
  void* data = const_cast<void*>(t.data());
  if (must_copy) {
    const auto bytes = static_cast<size_t>(t.size().value() * size_of(t.dtype()));
    kept->buffer = std::make_shared<Buffer>(bytes);
    if (bytes > 0) std::memcpy(kept->buffer->data(), data, bytes);
    data = kept->buffer->data();
  }
  const Array array = array_of(t, *kept, data);
  if (versioned) {
    auto* managed = new ManagedVersioned{{1, 0},
                                         kept.release(),
                                         [](ManagedVersioned* m) {
                                           delete static_cast<Export*>(m->context);
                                           delete m;
                                         },
                                         must_copy ? kIsCopied : kReadOnly,
                                         array};
    return nb::steal(PyCapsule_New(managed, kNameVersioned, drop_capsule<ManagedVersioned>));
  }
  auto* managed = new Managed{array, kept.release(), [](Managed* m) {
                                delete static_cast<Export*>(m->context);
                                delete m;
                              }};
  return nb::steal(PyCapsule_New(managed, kName, drop_capsule<Managed>));
}

}  // namespace tenfold::python
