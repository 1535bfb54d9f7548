// What the binding files share: locations of Python lines, conversions of Python objects, structures of
// tensors.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "tenfold/lang/function.h"
#include "tenfold/lang/tensor.h"
#include "tenfold/lang/tensor_impl.h"

namespace nb = nanobind;

namespace tenfold::python {

using lang::Location;
using lang::Operand;
using lang::Operands;
using lang::Tensor;
using lang::Tensors;

// ---- where: the innermost Python line outside of this package
Location here();
void set_package_folder(const std::string& folder);

// ---- tensors
Tensor* tensor_of(PyObject*);  // borrowed; null if the object is no Tensor
nb::object wrap(Tensor);
nb::object wrap(const Tensors&);  // a tuple

// A number, a Tensor, anything with a buffer or __dlpack__, a nested list. UserError for anything else.
Operand to_operand(nb::handle, Location);
inline Operand to_operand(nb::handle object) { return to_operand(object, here()); }
std::optional<Scalar> to_number(PyObject*);
bool opts_out(PyObject*);  // of operators of arrays and of tensors, NumPy's way: __array_ufunc__ is None
Tensor to_tensor(nb::handle, std::optional<Dtype>, std::optional<bool> copy,
                 Location);  // numbers become strong
Tensor dlpack_import(nb::handle, std::optional<bool> copy, Location);
nb::object dlpack_export(const Tensor&, nb::handle max_version, nb::handle copy);

// The memory of a Python object with a buffer, for as long as it lives; row-major elements.
class Borrowed {
 public:
  Borrowed() = default;
  Borrowed(Borrowed&& other) noexcept;
  Borrowed& operator=(Borrowed&&) = delete;
  ~Borrowed();
  // False if the object has no buffer that can be used without a copy (then nothing is held).
  bool take(PyObject*);
  bool is_writable() const { return !view_.readonly; }
  const void* data() const { return view_.buf; }
  Dtype dtype() const { return dtype_; }
  std::span<const int64_t> shape() const {
    return {reinterpret_cast<const int64_t*>(view_.shape), static_cast<size_t>(view_.ndim)};
  }

 private:
  Py_buffer view_{};
  bool held_ = false;
  Dtype dtype_ = Dtype::f32;
};

// ---- devices
struct DeviceObject {
  std::string name;                                        // "cpu", "opencl:0"
  std::vector<std::shared_ptr<lang::DeviceScope>> scopes;  // of open `with` statements
};
std::string device_name_of(nb::handle);  // a Device or its name
// While it lives, what is created is there; None changes nothing.
std::unique_ptr<lang::DeviceScope> creating_on(nb::handle device);

// ---- small conversions
Dtype to_dtype(nb::handle);  // a Dtype, "f32", "float32", float, numpy.float32 ...
std::optional<Dtype> to_optional_dtype(nb::handle);
const char* buffer_format(Dtype);                                   // null if the buffer protocol has none
int64_t to_int(nb::handle, std::string_view what);                  // UserError: "what must be an integer"
Shape to_shape(nb::handle);                                         // an integer, or a sequence of them
lang::Axes to_axes(nb::handle, std::string_view what = "an axis");  // None, an integer, or a sequence
nb::object python_number(const Scalar&);
nb::tuple python_shape(const Shape&);
std::string str_of(nb::handle);
std::string_view type_name(PyObject*);  // without its module

// ---- structures: tuples, lists, dicts, named tuples, dataclasses and registered classes of tensors; None is
// an empty one
struct Tree {
  enum class Kind : uint8_t { leaf, none, tuple, list, dict, named, data } kind = Kind::leaf;
  std::vector<Tree> children;
  nb::object type;  // of a named tuple or a class; of a dict its keys
};

// One level of a recursion into a Python object: UserError where it has no end.
class Level {
 public:
  Level();
  ~Level();
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
};

// The fields of a dataclass; no class variables.
struct Field {
  nb::object name;
  bool is_argument;  // of its constructor
};
const std::vector<Field>& fields_of(nb::handle type);
void register_structure(nb::handle type, nb::handle names);  // a class whose constructor takes the names
bool has_fields(PyObject*);  // an instance of a dataclass or of a registered class

Tree flatten(nb::handle, std::vector<nb::object>& leaves);
nb::object unflatten(const Tree&, const Tensor*& leaves);
nb::object unflatten(const Tree&, const nb::object*& leaves);
bool same(const Tree&, const Tree&);
std::string str(const Tree&);                                               // "(tensor, {'a': tensor})"
std::vector<std::string> leaf_names(const Tree&, const std::string& root);  // "carry.x", "carry[0]"

// Attributes of types and objects that pytrees ask for, interned.
struct Names {
  PyObject *fields, *dataclass_fields, *dlpack, *code, *wrapped, *name, *qualname, *array_ufunc;
  static const Names& get();
};

void bind_tensor(nb::module_&);
void bind_ops(nb::module_&);
void bind_transforms(nb::module_&);
void bind_explain(nb::module_&);
void bind_env(nb::module_&);
struct DtypeObject {  // a Dtype as Python sees it
  Dtype value;
};
nb::object dtype_object(Dtype);  // the same object for the same dtype

}  // namespace tenfold::python
