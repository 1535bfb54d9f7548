// The Tensor type: properties, operators, indexing, and views of its memory.
#include <algorithm>
#include <array>
#include <cstring>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "tenfold/generated/ops.h"
#include "tenfold/target/devices.h"

#include "common.h"
#include "jitted.h"

namespace tenfold::python {
namespace {

const Tensor& self(nb::handle h) { return *tensor_of(h.ptr()); }

// ---- the buffer protocol: read-only, keeps the memory (and so blocks its donation) as long as the view
// lives

struct View {
  Tensor tensor;
  BufferRef buffer;
  std::vector<Py_ssize_t> shape, strides;
};

int get_buffer(PyObject* object, Py_buffer* view, int flags) {
  try {
    const Tensor& t = self(object);
    if (!t.traced() && t.value()->device)
      user_error("the tensor is on {}: copy it to the host with .numpy() or .to(\"cpu\")", t.device());
    const char* format = buffer_format(t.dtype());
    if (!format) user_error("bf16 has no buffer format: convert with astype(tn.float32) first");
    if (flags & PyBUF_WRITABLE) user_error("a tensor is immutable: its memory can be read but not written");
    const void* data = nullptr;
    {
      const nb::gil_scoped_release unlocked;
      data = t.data();
    }
    auto kept = std::make_unique<View>(View{t, t.buffer(), {}, {}});
    for (const Dim& d : t.shape()) kept->shape.push_back(d.value());
    kept->strides.resize(kept->shape.size());
    Py_ssize_t stride = size_of(t.dtype());
    for (size_t d = kept->shape.size(); d-- > 0;) {
      kept->strides[d] = stride;
      stride *= kept->shape[d];
    }
    view->buf = const_cast<void*>(data);
    view->itemsize = size_of(t.dtype());
    view->len = t.size().value() * view->itemsize;
    view->readonly = 1;
    view->ndim = static_cast<int>(kept->shape.size());
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(format) : nullptr;
    view->shape = flags & PyBUF_ND ? kept->shape.data() : nullptr;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? kept->strides.data() : nullptr;
    view->suboffsets = nullptr;
    view->internal = kept.release();
    view->obj = object;
    Py_INCREF(object);
    return 0;
  } catch (const nb::python_error& error) {
    nb::python_error copy = error;
    copy.restore();
  } catch (...) {
    set_buffer_error();
  }
  view->obj = nullptr;
  return -1;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<View*>(view->internal); }

PyType_Slot kSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                        {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                        {0, nullptr}};

// ---- looking at values

void evaluate(const Tensor& t) {
  if (!t.traced() && lang::is_concrete(*t.value())) return;
  const nb::gil_scoped_release unlocked;
  t.evaluate();
}

Scalar item(const Tensor& t) {
  if (!t.traced()) evaluate(t);
  return t.item();
}

Scalar real_item(const Tensor& t) {
  const Scalar s = item(t);
  if (s.is_complex())
    user_error(
        "a number of {} has an imaginary part, but a real one is needed.\n  called at {}\n  Take "
        "tn.real of it, or complex(x).",
        name(t.dtype()), here().str());
  return s;
}

// An extent as a number: not known while a function is compiled for any extent.
int64_t known(const Dim& d, std::string_view what, const Tensor& t) {
  if (d.is_const()) return d.value();
  user_error(
      "the {} of {} was asked for, but {} is a symbol: the function is compiled for any value of it.\n  "
      "called "
      "at {}\n  Compute with functions of tn, or leave the argument out of dims.",
      what, t.type().str(), d.str(), here().str());
}

bool truth(const Tensor& t) {
  if (t.traced())
    lang::fail_traced(
        *t.value(), "the truth (if, while, and, or, not)", here(),
        "Use tn.where to choose between values, or tn.cond or tn.while_loop to choose what is computed.");
  if (!(t.size() == Dim(1)))
    user_error("the truth of {} with {} elements is not defined.\n  called at {}\n  Use tn.any or tn.all.",
               t.type().str(), t.size().str(), here().str());
  const Scalar s = item(t);
  return s.is_complex() ? s.c() != Complex(0) : s.is_f64() ? s.f() != 0 : s.is_bool() ? s.b() : s.u() != 0;
}

Tensor on_host(const Tensor& t) {
  const Location where = here();
  const nb::gil_scoped_release unlocked;
  return t.to("cpu", where);
}

nb::object nested_list(const Tensor& t, size_t axis, int64_t& at) {
  const auto* bytes = static_cast<const std::byte*>(t.data());
  if (axis == t.shape().size())
    return python_number(Scalar::load(t.dtype(), bytes + at++ * size_of(t.dtype())));
  nb::list out;
  for (int64_t i = 0; i < t.shape()[axis].value(); ++i) out.append(nested_list(t, axis + 1, at));
  return out;
}

nb::object to_numpy(nb::handle h) {
  const Tensor& t = self(h);
  if (t.traced())
    lang::fail_traced(*t.value(), "the NumPy array", here(),
                      "Compute with the functions of tn instead of NumPy's.");
  if (t.dtype() == Dtype::bf16)
    user_error("numpy: NumPy has no bf16.\n  called at {}\n  Convert it first: x.astype(tn.float32).",
               here().str());
  if (t.value()->device) return to_numpy(wrap(on_host(t)));
  {
    const nb::gil_scoped_release unlocked;
    t.data();  // what goes wrong here is no matter of buffers
  }
  return nb::module_::import_("numpy").attr("asarray")(nb::steal(PyMemoryView_FromObject(h.ptr())));
}

// Others look at the host's memory only.
void refuse_device(const Tensor& t, std::string_view what) {
  if (t.traced() || !t.value()->device) return;
  user_error(
      "{} of {}: it is on {}, and only what is on the cpu is exported.\n  called at {}\n  Copy it first: "
      "x.numpy() or x.to(\"cpu\").",
      what, t.type().str(), t.device(), here().str());
}

// ---- indexing

std::optional<int64_t> slice_part(PyObject* part) {
  if (part == Py_None) return {};
  const nb::object index = nb::steal(PyNumber_Index(part));
  if (!index) {
    PyErr_Clear();
    const Tensor* t = tensor_of(part);
    if (t && t->traced())
      user_error(
          "index: a bound of a slice is a traced tensor, but a shape cannot depend on a value.\n  called at "
          "{}\n"
          "  Use tn.dynamic_slice, whose size is fixed.",
          here().str());
    user_error("index: a bound of a slice is a {}, which is no integer.\n  called at {}", type_name(part),
               here().str());
  }
  return PyNumber_AsSsize_t(index.ptr(), nullptr);  // bounds beyond 64 bits are clipped, as Python's are
}

void add_index(nb::handle item, std::vector<lang::Index>& into) {
  PyObject* o = item.ptr();
  if (o == Py_Ellipsis)
    into.emplace_back(lang::Ellipsis{});
  else if (o == Py_None)
    into.emplace_back(lang::NewAxis{});
  else if (PySlice_Check(o)) {
    const auto* slice = reinterpret_cast<PySliceObject*>(o);
    constexpr int64_t kMost = int64_t{1} << 62;  // no axis is as long
    into.emplace_back(lang::Slice{slice_part(slice->start), slice_part(slice->stop),
                                  std::clamp(slice_part(slice->step).value_or(1), -kMost, kMost)});
  } else if (PyLong_Check(o) && !PyBool_Check(o)) {
    into.emplace_back(to_int(item, "index: an index"));
  } else if (PyBool_Check(o)) {
    user_error(
        "index: True and False are no indices.\n  called at {}\n  Use None for a new axis, or tn.where for a "
        "mask.",
        here().str());
  } else {
    if (!tensor_of(o) && PyIndex_Check(o)) {  // numpy.int64, say; arrays claim it too, and then fail
      const nb::object number = nb::steal(PyNumber_Index(o));
      if (number) {
        into.emplace_back(to_int(number, "index: an index"));
        return;
      }
      PyErr_Clear();
    }
    into.emplace_back(to_tensor(item, {}, {}, here()));
  }
}

Tensor get_item(const Tensor& t, nb::handle key) {
  std::vector<lang::Index> items;
  if (PyTuple_Check(key.ptr()))
    for (nb::handle item : key) add_index(item, items);
  else
    add_index(key, items);
  return lang::index({t, here()}, items);
}

// ---- operators

using Binary = Tensor (*)(const Operand&, const Operand&);
Tensor subtract(const Operand& x, const Operand& y) { return x - y; }
Tensor product(const Operand& x, const Operand& y) { return lang::matmul(x, y); }

template <Binary function, bool reflected>
nb::object binary(nb::handle a, nb::handle b) {
  if (b.is_none() || PyUnicode_Check(b.ptr()) || opts_out(b.ptr())) return nb::borrow(Py_NotImplemented);
  const Location where = here();
  const Operand x(self(a), where), y = to_operand(b, where);
  return wrap(reflected ? function(y, x) : function(x, y));
}

template <Binary function>
void operators(nb::class_<Tensor>& c, const char* name, const char* reflected) {
  c.def(name, binary<function, false>, nb::is_operator());
  if (reflected) c.def(reflected, binary<function, true>, nb::is_operator());
}

// NumPy's functions come here: what its operators mean, as in np_array + tensor, is ours; others are refused.
nb::object array_ufunc(nb::handle, nb::handle ufunc, const std::string& method, nb::args inputs,
                       nb::kwargs keywords) {
  struct Reflected {
    std::string_view ufunc;
    const char* method;  // of the right operand
  };
  static constexpr Reflected kReflected[] = {
      {"add", "__radd__"},           {"subtract", "__rsub__"},        {"multiply", "__rmul__"},
      {"divide", "__rtruediv__"},    {"true_divide", "__rtruediv__"}, {"floor_divide", "__rfloordiv__"},
      {"remainder", "__rmod__"},     {"power", "__rpow__"},           {"matmul", "__rmatmul__"},
      {"bitwise_and", "__rand__"},   {"bitwise_or", "__ror__"},       {"bitwise_xor", "__rxor__"},
      {"left_shift", "__rlshift__"}, {"right_shift", "__rrshift__"},  {"less", "__gt__"},
      {"less_equal", "__ge__"},      {"greater", "__lt__"},           {"greater_equal", "__le__"},
      {"equal", "__eq__"},           {"not_equal", "__ne__"}};
  const std::string name = str_of(ufunc.attr("__name__"));
  if (method == "__call__" && inputs.size() == 2 && keywords.size() == 0) {
    const nb::object left = inputs[0], right = inputs[1];
    if (!tensor_of(left.ptr()))
      for (const Reflected& r : kReflected)
        if (r.ufunc == name) return right.attr(r.method)(left);
  }
  const bool is_ours = method == "__call__" && keywords.size() == 0 &&
                       nb::hasattr(nb::module_::import_("tenfold"), name.c_str());
  const std::string full = method == "__call__" ? name : name + "." + method;
  user_error(
      "np.{}: NumPy's functions take arrays, and a Tensor came.\n  called at {}\n  Write {}np.{}(x.numpy()).",
      full, here().str(), is_ours ? fmt::format("tn.{}(x), or ", name) : "", full);
}

using Reduction = Tensor (*)(const Operand&, const lang::Axes&, bool);

// np.sum(t) passes dtype=None and out=None: what is None asks for nothing.
template <Reduction function>
void reduction(nb::class_<Tensor>& c, const char* name) {
  c.def(
      name,
      [name](const Tensor& t, nb::handle axis, bool keepdims, nb::kwargs others) {
        for (const auto [other, value] : others)
          if (!value.is_none())
            user_error("{}: it takes axis and keepdims, but {}={} came.\n  called at {}", name, str_of(other),
                       str_of(value), here().str());
        return function({t, here()}, to_axes(axis), keepdims);
      },
      nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, nb::arg("others"));
}

Shape shape_arguments(nb::args args) {
  if (args.size() == 1) return to_shape(args[0]);
  Shape shape;
  for (nb::handle item : args) shape.emplace_back(to_int(item, "an extent"));
  return shape;
}

}  // namespace

nb::object dtype_object(Dtype d) {
  static const auto objects = [] {
    std::array<PyObject*, kDtypeCount> all{};  // kept for the life of the process
    for (int k = 0; k < kDtypeCount; ++k)
      all[k] = nb::cast(DtypeObject{static_cast<Dtype>(k)}).release().ptr();
    return all;
  }();
  return nb::borrow(objects[static_cast<size_t>(d)]);
}

std::string device_name_of(nb::handle device) {
  if (nb::isinstance<DeviceObject>(device)) return nb::cast<const DeviceObject&>(device).name;
  if (PyUnicode_Check(device.ptr())) return str_of(device);
  user_error("a device is tn.device(...) or its name, but a {} came.\n  called at {}",
             type_name(device.ptr()), here().str());
}

std::unique_ptr<lang::DeviceScope> creating_on(nb::handle device) {
  if (device.is_none()) return nullptr;
  return std::make_unique<lang::DeviceScope>(device_name_of(device));
}

void bind_devices(nb::module_& m) {
  nb::class_<DeviceObject>(m, "Device", "Where arrays live. `with` it, what is created is there.")
      .def_prop_ro("name", [](const DeviceObject& d) { return d.name; })
      .def("__str__", [](const DeviceObject& d) { return d.name; })
      .def("__repr__", [](const DeviceObject& d) { return fmt::format("tenfold.device(\"{}\")", d.name); })
      .def("__hash__", [](const DeviceObject& d) { return nb::hash(nb::cast(d.name)); })
      .def("__eq__",
           [](const DeviceObject& d, nb::handle other) {
             return (PyUnicode_Check(other.ptr()) || nb::isinstance<DeviceObject>(other)) &&
                    device_name_of(other) == d.name;
           })
      .def("__enter__",
           [](nb::handle h) {
             auto& d = nb::cast<DeviceObject&>(h);
             d.scopes.push_back(std::make_shared<lang::DeviceScope>(d.name));
             return nb::borrow(h);
           })
      .def("__exit__", [](DeviceObject& d, nb::args) { d.scopes.pop_back(); });
  m.def(
      "device",
      [](const std::string& name) {
        const auto target = device_target(name);
        return DeviceObject{target ? target->device().name() : "cpu", {}};
      },
      nb::arg("name"),
      "\"cpu\", \"opencl:0\" ...: a device, for device= and x.to(). DeviceError if it is missing.");
  m.def(
      "devices",
      [] {
        nb::list out;
        out.append(nb::make_tuple("cpu", "this machine's cores"));
        for (const DeviceRow& row : list_devices()) out.append(nb::make_tuple(row.name, row.description));
        return out;
      },
      "(name, what it is or why it is missing) of each device.");
}

void bind_tensor(nb::module_& m) {
  bind_devices(m);
  nb::class_<DtypeObject>(m, "Dtype", "The type of a tensor's elements.")
      .def_prop_ro("name", [](const DtypeObject& d) { return std::string(name(d.value)); })
      .def_prop_ro("itemsize", [](const DtypeObject& d) { return size_of(d.value); })
      .def("__repr__", [](const DtypeObject& d) { return fmt::format("tenfold.{}", name(d.value)); })
      .def("__str__", [](const DtypeObject& d) { return std::string(name(d.value)); })
      .def("__hash__", [](const DtypeObject& d) { return static_cast<Py_hash_t>(d.value); })
      .def(
          "__eq__",
          [](const DtypeObject& d, nb::handle other) {
            try {
              return !other.is_none() && to_dtype(other) == d.value;
            } catch (const UserError&) {
              return false;
            }
          },
          nb::arg("other").none());
  for (int d = 0; d < kDtypeCount; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    // In the stub a variable `bool` would shadow the type: tenfold/__init__.py gives the dtype its name.
    const std::string attribute = is_bool(dtype) ? "_bool" : std::string(name(dtype));
    m.attr(attribute.c_str()) = dtype_object(dtype);
  }

  auto c = nb::class_<Tensor>(m, "Tensor", nb::type_slots(kSlots),
                              "An immutable array whose elements are computed when they are looked at.");
  c.def_prop_ro("shape", [](const Tensor& t) { return python_shape(t.shape()); })
      .def_prop_ro("dtype",
                   [](const Tensor& t) {
                     return dtype_object(t.weak() && t.dtype() == Dtype::f64 ? Dtype::f32 : t.dtype());
                   })
      .def_prop_ro("ndim", [](const Tensor& t) { return t.rank(); })
      .def_prop_ro("size", [](const Tensor& t) { return known(t.size(), "size", t); })
      .def_prop_ro("nbytes", [](const Tensor& t) { return known(t.size(), "size", t) * size_of(t.dtype()); })
      .def_prop_ro("device", [](const Tensor& t) { return DeviceObject{t.device(), {}}; })
      .def(
          "to",
          [](const Tensor& t, nb::handle device) {
            const std::string name = device_name_of(device);
            const Location where = here();
            const nb::gil_scoped_release unlocked;
            return t.to(name, where);
          },
          nb::arg("device"), "The same elements on another device: a copy. Itself if it is there.")
      .def_prop_ro("T", [](const Tensor& t) { return lang::transpose({t, here()}); })
      .def_prop_ro("mT", [](const Tensor& t) { return lang::matrix_transpose({t, here()}); })
      .def("__repr__",
           [](const Tensor& t) {
             if (!t.traced()) evaluate(t);
             return t.str();
           })
      .def("__len__",
           [](const Tensor& t) {
             if (t.rank() == 0) throw nb::type_error("len() of a tensor without axes");
             return known(t.shape()[0], "length", t);
           })
      .def("__iter__",
           [](const Tensor& t) {
             if (t.rank() == 0) throw nb::type_error("a tensor without axes has no rows to iterate over");
             nb::list rows;
             const Location where = here();
             const int64_t count = known(t.shape()[0], "length", t);
             for (int64_t i = 0; i < count; ++i) rows.append(wrap(lang::index({t, where}, {i})));
             return nb::iter(rows);
           })
      .def("__bool__", &truth)
      .def("__float__", [](const Tensor& t) { return real_item(t).f(); })
      .def("__int__", [](const Tensor& t) { return python_number(real_item(t)).attr("__int__")(); })
      .def("__complex__",
           [](const Tensor& t) {
             const Complex z = item(t).c();
             return nb::steal(PyComplex_FromDoubles(z.real(), z.imag()));
           })
      .def("__index__",
           [](const Tensor& t) {
             if (!is_int(t.dtype())) throw nb::type_error("only an integer tensor can be an index");
             return python_number(item(t));
           })
      .def("__getitem__", &get_item, nb::arg("key").none())
      .def(
          "__setitem__",
          [](const Tensor&, nb::handle, nb::handle) {
            user_error(
                "a tensor is immutable: x[i] = y does nothing.\n  called at {}\n  Use tn.update_slice or "
                "tn.where, which return a new tensor.",
                here().str());
          },
          nb::arg("key").none(), nb::arg("value").none())
      .def(
          "item", [](const Tensor& t) { return python_number(item(t)); },
          "The element of a tensor that has one.")
      .def(
          "tolist",
          [](const Tensor& t) {
            evaluate(t);
            int64_t at = 0;
            return nested_list(on_host(t), 0, at);
          },
          "The elements as nested lists of numbers.")
      .def(
          "evaluate",
          [](nb::handle h) {
            evaluate(self(h));
            return nb::borrow(h);
          },
          "Computes the value now; returns the tensor itself.")
      .def("numpy", &to_numpy, "A read-only NumPy view of the elements; of a device's tensor, of a copy.")
      .def(
          "__array__",
          [](nb::handle h, nb::handle dtype, nb::handle copy) {
            refuse_device(self(h), "an array");
            nb::object array = to_numpy(h);
            if (!dtype.is_none())
              array = array.attr("astype")(dtype);
            else if (!copy.is_none() && nb::cast<bool>(copy))
              array = array.attr("copy")();
            return array;
          },
          nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none())
      .def(
          "__dlpack__",
          [](const Tensor& t, nb::handle, nb::handle max_version, nb::handle, nb::handle copy) {
            if (t.traced()) lang::fail_traced(*t.value(), "the memory", here(), "");
            refuse_device(t, "DLPack");
            evaluate(t);
            return dlpack_export(t, max_version, copy);
          },
          nb::kw_only(), nb::arg("stream") = nb::none(), nb::arg("max_version") = nb::none(),
          nb::arg("dl_device") = nb::none(), nb::arg("copy") = nb::none())
      .def("__format__",
           [](nb::handle h, nb::handle spec) {
             if (nb::len(spec) == 0) return nb::object(nb::str(h));
             const nb::object number = python_number(item(self(h)));
             return nb::steal(PyObject_Format(number.ptr(), spec.ptr()));
           })
      .def("__copy__", [](nb::handle h) { return nb::borrow(h); })
      .def("__deepcopy__", [](nb::handle h, nb::handle) { return nb::borrow(h); })  // it is immutable
      .def("__reduce__",
           [](nb::handle h) {
             const Dtype d = self(h).dtype();
             const nb::object from = nb::module_::import_("tenfold").attr("_unpickled");
             if (d != Dtype::bf16) return nb::make_tuple(from, nb::make_tuple(to_numpy(h)));
             const nb::object wide = h.attr("astype")("f32");  // NumPy has no bf16
             return nb::make_tuple(from, nb::make_tuple(to_numpy(wide), "bf16"));
           })
      .def("__dlpack_device__",
           [](const Tensor& t) {
             refuse_device(t, "DLPack");
             return nb::make_tuple(1, 0);
           })
      .def(
          "astype",
          [](const Tensor& t, nb::handle dtype) { return lang::astype({t, here()}, to_dtype(dtype)); },
          nb::arg("dtype"))
      .def("reshape",
           [](const Tensor& t, nb::args shape) { return lang::reshape({t, here()}, shape_arguments(shape)); })
      .def("transpose",
           [](const Tensor& t, nb::args axes) {
             const auto order = to_axes(axes.size() == 1 ? nb::object(axes[0]) : nb::object(axes));
             if (!order || axes.size() == 0) return lang::transpose({t, here()});
             return lang::permute({t, here()}, *order);
           })
      .def(
          "squeeze",
          [](const Tensor& t, nb::handle axis) { return lang::squeeze({t, here()}, to_axes(axis)); },
          nb::arg("axis") = nb::none())
      .def("flatten", [](const Tensor& t) { return lang::reshape({t, here()}, {volume(t.shape())}); })
      .def("__neg__", [](const Tensor& t) { return -Operand(t, here()); })
      .def("__pos__", [](const Tensor& t) { return t; })
      .def("__abs__", [](const Tensor& t) { return lang::abs({t, here()}); })
      .def("__invert__", [](const Tensor& t) { return ~Operand(t, here()); });
  c.attr("__hash__") = nb::none();
  c.def("__array_ufunc__", &array_ufunc);
  operators<lang::operator+ >(c, "__add__", "__radd__");
  operators<subtract>(c, "__sub__", "__rsub__");
  operators<lang::operator*>(c, "__mul__", "__rmul__");
  operators<lang::operator/ >(c, "__truediv__", "__rtruediv__");
  operators<lang::floor_divide>(c, "__floordiv__", "__rfloordiv__");
  operators<lang::mod>(c, "__mod__", "__rmod__");
  operators<lang::power>(c, "__pow__", "__rpow__");
  operators<product>(c, "__matmul__", "__rmatmul__");
  operators<lang::operator&>(c, "__and__", "__rand__");
  operators<lang::operator| >(c, "__or__", "__ror__");
  operators<lang::operator^ >(c, "__xor__", "__rxor__");
  operators<lang::shift_left>(c, "__lshift__", "__rlshift__");
  operators<lang::shift_right>(c, "__rshift__", "__rrshift__");
  operators<lang::less>(c, "__lt__", nullptr);
  operators<lang::less_equal>(c, "__le__", nullptr);
  operators<lang::greater>(c, "__gt__", nullptr);
  operators<lang::greater_equal>(c, "__ge__", nullptr);
  operators<lang::equal>(c, "__eq__", nullptr);
  operators<lang::not_equal>(c, "__ne__", nullptr);
  reduction<lang::sum>(c, "sum");
  reduction<lang::prod>(c, "prod");
  reduction<lang::max>(c, "max");
  reduction<lang::min>(c, "min");
  reduction<lang::any>(c, "any");
  reduction<lang::all>(c, "all");
  reduction<lang::argmax>(c, "argmax");
  reduction<lang::argmin>(c, "argmin");
  reduction<lang::mean>(c, "mean");
}

}  // namespace tenfold::python
