#include "common.h"

#include <cstring>
#include <unordered_map>

#include <nanobind/stl/string.h>

#include "tenfold/base/error.h"

namespace tenfold::python {
namespace {

struct File {
  const char* name;  // kept for the life of the process
  bool is_ours;
};
std::string& package_folder() {
  static auto* const folder = new std::string;
  return *folder;
}

// By the name object of a code object, which is kept: there are few.
const File& file_of(PyObject* name) {
  static auto* const files = new std::unordered_map<PyObject*, File>;
  const auto found = files->find(name);
  if (found != files->end()) return found->second;
  Py_INCREF(name);
  const char* text = PyUnicode_AsUTF8(name);
  if (!text) {
    PyErr_Clear();
    text = "<unknown>";
  }
  const std::string& ours = package_folder();
  return files->emplace(name, File{strdup(text), !ours.empty() && std::string_view(text).starts_with(ours)})
      .first->second;
}

bool is_sequence(nb::handle h) { return PyList_Check(h.ptr()) || PyTuple_Check(h.ptr()); }

std::optional<Dtype> dtype_by_name(std::string_view text) {
  struct Alias {
    std::string_view name;
    Dtype dtype;
  };
  static constexpr Alias kAliases[] = {
      {"int8", Dtype::i8},       {"int16", Dtype::i16},     {"int32", Dtype::i32},
      {"int64", Dtype::i64},     {"uint8", Dtype::u8},      {"uint16", Dtype::u16},
      {"uint32", Dtype::u32},    {"uint64", Dtype::u64},    {"float16", Dtype::f16},
      {"bfloat16", Dtype::bf16}, {"float32", Dtype::f32},   {"float64", Dtype::f64},
      {"f4", Dtype::f32},        {"f8", Dtype::f64},        {"f2", Dtype::f16},
      {"i4", Dtype::i32},        {"bool_", Dtype::boolean}, {"complex", Dtype::complex64},
      {"float", Dtype::f32},     {"int", Dtype::i64}};
  if (const auto plain = parse_dtype(text)) return plain;
  for (const Alias& a : kAliases)
    if (a.name == text) return a.dtype;
  return {};
}

// The element type of a struct-module format; empty for what no dtype holds.
std::optional<Dtype> dtype_of_format(const char* format, Py_ssize_t bytes) {
  if (!format) return Dtype::u8;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  const auto integer = [&](bool is_signed) -> std::optional<Dtype> {
    switch (bytes) {
      case 1: return is_signed ? Dtype::i8 : Dtype::u8;
      case 2: return is_signed ? Dtype::i16 : Dtype::u16;
      case 4: return is_signed ? Dtype::i32 : Dtype::u32;
      case 8: return is_signed ? Dtype::i64 : Dtype::u64;
      default: return {};
    }
  };
  if (format[0] == 'Z' && format[1] == 'f' && !format[2]) return Dtype::complex64;
  if (format[0] == 'Z' && format[1] == 'd' && !format[2]) return Dtype::complex128;
  if (!format[0] || format[1]) return {};
  switch (format[0]) {
    case '?': return Dtype::boolean;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q': return integer(true);
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q': return integer(false);
    case 'e': return Dtype::f16;
    case 'f': return Dtype::f32;
    case 'd': return Dtype::f64;
    default: return {};
  }
}

// Lays the elements of a strided buffer out in row-major order.
void gather_rows(const Py_buffer& view, int axis, const char* from, std::byte*& to) {
  if (axis == view.ndim) {
    std::memcpy(to, from, static_cast<size_t>(view.itemsize));
    to += view.itemsize;
    return;
  }
  const bool is_last = axis + 1 == view.ndim;
  if (is_last && view.strides[axis] == view.itemsize) {
    std::memcpy(to, from, static_cast<size_t>(view.itemsize * view.shape[axis]));
    to += view.itemsize * view.shape[axis];
    return;
  }
  for (Py_ssize_t i = 0; i < view.shape[axis]; ++i)
    gather_rows(view, axis + 1, from + i * view.strides[axis], to);
}

bool is_row_major(const Py_buffer& view) {
  Py_ssize_t expected = view.itemsize;
  for (int d = view.ndim - 1; d >= 0; --d) {
    if (view.shape[d] == 0) return true;
    if (view.shape[d] != 1 && view.strides[d] != expected) return false;
    expected *= view.shape[d];
  }
  return true;
}

bool is_aligned(const Py_buffer& view) {
  return reinterpret_cast<uintptr_t>(view.buf) % static_cast<uintptr_t>(view.itemsize) == 0;
}

std::optional<Tensor> from_python_buffer(PyObject* object, std::optional<bool> copy, Location where) {
  if (!PyObject_CheckBuffer(object)) return {};
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(object, view.get(), PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    PyErr_Clear();
    return {};
  }
  struct Release {
    Py_buffer* view;
    ~Release() {
      if (view) PyBuffer_Release(view);
    }
  } release{view.get()};
  const auto dtype = dtype_of_format(view->format, view->itemsize);
  if (!dtype)
    user_error(
        "asarray: elements of the format \"{}\" of a {} have no dtype here.\n  called at {}\n  Convert the "
        "array first, to float32, say.",
        view->format ? view->format : "", type_name(object), where.str());
  Ints shape(view->shape, view->shape + view->ndim);
  const bool can_share = is_row_major(*view) && is_aligned(*view);
  if (copy == false && !can_share)
    user_error(
        "asarray: copy=False was asked for, but the {} is not row-major in memory.\n  called at {}\n  Pass "
        "copy=None to let it be copied.",
        type_name(object), where.str());
  if (can_share && copy != true && (view->readonly || copy == false)) {
    Py_buffer* kept = view.release();
    release.view = nullptr;
    auto buffer = std::make_shared<Buffer>(kept->buf, static_cast<size_t>(kept->len), [kept] {
      if (!Py_IsInitialized()) return;
      const nb::gil_scoped_acquire gil;
      PyBuffer_Release(kept);
      delete kept;
    });
    return lang::from_buffer(std::move(buffer), *dtype, shape, where);
  }
  auto buffer = std::make_shared<Buffer>(static_cast<size_t>(view->len));
  std::byte* to = buffer->data();
  if (view->len > 0) gather_rows(*view, 0, static_cast<const char*>(view->buf), to);
  return lang::from_buffer(std::move(buffer), *dtype, shape, where);
}

// ---- nested lists

// The shape of the first element of each list; every other must have it. `path` leads to the object, and
// `closed` says that a number was seen, so that nothing goes deeper.
void list_shape(nb::handle object, Ints& path, Ints& shape, bool& closed, Location where) {
  const Level level;
  const size_t depth = path.size();
  const auto ragged = [&](const std::string& is, const std::string& first) {
    const auto place = [](const Ints& at) {
      return at.empty() ? "" : fmt::format("[{}]", fmt::join(at, "]["));
    };
    user_error("asarray: the nested lists are ragged: obj{} {}, but obj{} {}.\n  called at {}", place(path),
               is, place(Ints(depth, 0)), first, where.str());
  };
  if (!is_sequence(object)) {
    if (depth != shape.size()) ragged("is a number", fmt::format("is a list of {}", shape[depth]));
    closed = true;
    return;
  }
  const auto size = static_cast<int64_t>(PySequence_Size(object.ptr()));
  if (depth == shape.size()) {
    if (closed) ragged(fmt::format("is a list of {}", size), "is a number");
    shape.push_back(size);
  } else if (shape[depth] != size) {
    ragged(fmt::format("is a list of {}", size), fmt::format("one of {}", shape[depth]));
  }
  path.push_back(0);
  for (nb::handle item : object) {
    list_shape(item, path, shape, closed, where);
    ++path.back();
  }
  path.pop_back();
}

void list_numbers(nb::handle object, std::vector<Scalar>& into, Location where) {
  if (is_sequence(object)) {
    for (nb::handle item : object) list_numbers(item, into, where);
    return;
  }
  const auto number = to_number(object.ptr());
  if (!number)
    user_error("asarray: a list holds a {}, which is no number.\n  called at {}", type_name(object.ptr()),
               where.str());
  into.push_back(*number);
}

bool holds_arrays(nb::handle object) {
  const Level level;
  if (!is_sequence(object)) return !to_number(object.ptr());
  for (nb::handle item : object)
    if (holds_arrays(item)) return true;
  return false;
}

Tensor from_list(nb::handle object, std::optional<Dtype> dtype, Location where) {
  if (holds_arrays(object)) {  // tensors and arrays inside: stacked
    Operands parts;
    for (nb::handle item : object) parts.emplace_back(to_tensor(item, {}, {}, where), where);
    const Tensor stacked = lang::stack(parts);
    return dtype ? lang::astype({stacked, where}, *dtype) : stacked;
  }
  Ints path, shape;
  bool closed = false;
  list_shape(object, path, shape, closed, where);
  std::vector<Scalar> numbers;
  list_numbers(object, numbers, where);
  Dtype d = Dtype::f32;
  if (dtype)
    d = *dtype;
  else if (!numbers.empty()) {
    int rank = 0;
    bool is_wide = false, is_negative = false;
    for (const Scalar& s : numbers) {
      rank = std::max(rank, s.is_bool() ? 0 : s.is_int() ? 1 : s.is_f64() ? 2 : 3);
      is_wide |= s.is_u64();
      is_negative |= s.is_i64() && s.i() < 0;
    }
    constexpr Dtype kDefaults[] = {Dtype::boolean, Dtype::i64, Dtype::f32, Dtype::complex64};
    d = rank == 1 && is_wide ? Dtype::u64 : kDefaults[rank];
    if (d == Dtype::u64 && is_negative)
      user_error(
          "asarray: a list holds integers below 0 and above 2^63 - 1, which no dtype has both.\n  called at "
          "{}\n  Pass dtype=tn.float64, say.",
          where.str());
  }
  auto buffer = std::make_shared<Buffer>(numbers.size() * static_cast<size_t>(size_of(d)));
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (dtype) lang::check_fits("asarray", numbers[i], d, where);
    // Floats are written as integers by truncation, as everywhere.
    numbers[i].round_to(d).store(d, buffer->data() + i * static_cast<size_t>(size_of(d)));
  }
  return lang::from_buffer(std::move(buffer), d, shape, where);
}

}  // namespace

void set_package_folder(const std::string& folder) { package_folder() = folder; }

Location here() {
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    const File& file = file_of(code->co_filename);
    Py_DECREF(code);
    if (!file.is_ours) {
      const Location where(file.name, PyFrame_GetLineNumber(frame));
      Py_DECREF(frame);
      return where;
    }
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  return {};
}

Tensor* tensor_of(PyObject* object) {
  static PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(nb::type<Tensor>().ptr());
  return Py_TYPE(object) == type ? nb::inst_ptr<Tensor>(object) : nullptr;
}

nb::object wrap(Tensor tensor) { return nb::cast(std::move(tensor), nb::rv_policy::move); }

nb::object wrap(const Tensors& tensors) {
  nb::object out = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(tensors.size())));
  for (size_t i = 0; i < tensors.size(); ++i)
    PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), wrap(tensors[i]).release().ptr());
  return out;
}

std::optional<Scalar> to_number(PyObject* o) {
  if (PyBool_Check(o)) return Scalar(o == Py_True);
  if (PyFloat_Check(o)) return Scalar(PyFloat_AS_DOUBLE(o));
  if (PyLong_Check(o)) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow == 0) return Scalar(static_cast<int64_t>(value));
    const unsigned long long wide = overflow > 0 ? PyLong_AsUnsignedLongLong(o) : 0;
    if (overflow < 0 || PyErr_Occurred()) {
      PyErr_Clear();
      user_error(
          "the integer {} does not fit into 64 bits.\n  called at {}\n  Pass a smaller one, or a float.",
          str_of(o), here().str());
    }
    return Scalar(static_cast<uint64_t>(wide));
  }
  if (PyComplex_Check(o)) return Scalar(Complex(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  return {};
}

Operand to_operand(nb::handle h, Location where) {
  if (const Tensor* t = tensor_of(h.ptr())) return {*t, where};
  if (const auto number = to_number(h.ptr())) return {*number, where};
  return {to_tensor(h, {}, {}, where), where};
}

Tensor to_tensor(nb::handle h, std::optional<Dtype> dtype, std::optional<bool> copy, Location where) {
  PyObject* o = h.ptr();
  const auto check_copy = [&](bool must_copy, const std::string& reason) {
    if (must_copy && copy == false)
      user_error(
          "asarray: copy=False was asked for, but {}.\n  called at {}\n  Pass copy=None to let it be "
          "copied.",
          reason, where.str());
  };
  const auto converted = [&](const Tensor& t) {
    if (!dtype || *dtype == t.dtype()) return t;
    check_copy(true, fmt::format("the elements are {} and {} was asked for", name(t.dtype()), name(*dtype)));
    return lang::astype({t, where}, *dtype);
  };
  if (const Tensor* t = tensor_of(o)) return converted(*t);
  const auto number = to_number(o);
  check_copy(number || is_sequence(h), fmt::format("a {} has no memory to share", type_name(o)));
  if (number) {
    const Operand operand(*number, where);
    if (dtype) lang::check_fits("asarray", *number, *dtype, where);
    return lang::full({}, operand, dtype ? *dtype : operand.dtype());
  }
  std::optional<Tensor> made;
  if (is_sequence(h)) {
    made = from_list(h, dtype, where);
  } else {
    const bool is_text = PyBytes_Check(o) || PyUnicode_Check(o);
    if (!is_text) made = from_python_buffer(o, copy, where);
    if (!made && PyObject_HasAttr(o, Names::get().dlpack)) made = dlpack_import(h, copy, where);
    if (!made && !is_text && PyObject_HasAttrString(o, "__array__"))
      made = from_python_buffer(h.attr("__array__")().ptr(), copy, where);
  }
  if (!made)
    user_error(
        "a {} cannot become a tensor.\n  called at {}\n  Pass a number, a list of numbers, or an array "
        "(NumPy, DLPack, buffer protocol).",
        type_name(o), where.str());
  return converted(*made);
}

Borrowed::Borrowed(Borrowed&& other) noexcept
    : view_(other.view_), held_(std::exchange(other.held_, false)), dtype_(other.dtype_) {}

Borrowed::~Borrowed() {
  if (held_) PyBuffer_Release(&view_);
}

bool Borrowed::take(PyObject* object) {
  if (!PyObject_CheckBuffer(object) || PyBytes_Check(object)) return false;
  if (PyObject_GetBuffer(object, &view_, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    PyErr_Clear();
    return false;
  }
  held_ = true;
  const auto dtype = dtype_of_format(view_.format, view_.itemsize);
  if (dtype && is_row_major(view_) && is_aligned(view_)) {
    dtype_ = *dtype;
    return true;
  }
  PyBuffer_Release(&view_);
  held_ = false;
  return false;
}

Dtype to_dtype(nb::handle h) {
  if (nb::isinstance<DtypeObject>(h)) return nb::cast<DtypeObject>(h).value;
  PyObject* o = h.ptr();
  if (PyType_Check(o)) {
    if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return Dtype::boolean;
    if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return Dtype::i64;
    if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return Dtype::f32;
    if (o == reinterpret_cast<PyObject*>(&PyComplex_Type)) return Dtype::complex64;
  }
  std::string text;
  if (PyUnicode_Check(o))
    text = nb::cast<std::string>(h);
  else if (nb::hasattr(h, "name") && PyUnicode_Check(h.attr("name").ptr()))
    text = nb::cast<std::string>(h.attr("name"));  // numpy.dtype
  else if (nb::hasattr(h, "__name__"))
    text = nb::cast<std::string>(h.attr("__name__"));  // numpy.float32
  if (const auto found = dtype_by_name(text)) return *found;
  std::string names;
  for (int d = 0; d < kDtypeCount; ++d)
    names += fmt::format("{}{}", d ? ", " : "", name(static_cast<Dtype>(d)));
  user_error("{} is no dtype; the dtypes are {}.\n  called at {}", str_of(nb::repr(h)), names, here().str());
}

std::optional<Dtype> to_optional_dtype(nb::handle h) {
  if (h.is_none()) return {};
  return to_dtype(h);
}

const char* buffer_format(Dtype d) {
  static constexpr const char* kFormats[] = {"?", "b", "h",     "i", "q", "B",  "H", "I",
                                             "Q", "e", nullptr, "f", "d", "Zf", "Zd"};
  return kFormats[static_cast<size_t>(d)];
}

int64_t to_int(nb::handle h, std::string_view what) {
  const nb::object index = nb::steal(PyNumber_Index(h.ptr()));
  if (!index) {
    PyErr_Clear();
    user_error("{} must be an integer, but a {} came.\n  called at {}", what, type_name(h.ptr()),
               here().str());
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow)
    user_error("{} is {}, which does not fit into 64 bits.\n  called at {}", what, str_of(index),
               here().str());
  return value;
}

Shape to_shape(nb::handle h) {
  if (!is_sequence(h)) return {to_int(h, "an extent")};
  Shape shape;
  for (nb::handle item : h) shape.emplace_back(to_int(item, "an extent"));
  return shape;
}

lang::Axes to_axes(nb::handle h, std::string_view what) {
  if (h.is_none()) return {};
  if (!is_sequence(h)) return Ints{to_int(h, what)};
  Ints axes;
  for (nb::handle item : h) axes.push_back(to_int(item, what));
  return axes;
}

nb::object python_number(const Scalar& s) {
  if (s.is_bool()) return nb::bool_(s.b());
  if (s.is_i64()) return nb::int_(s.i());
  if (s.is_u64()) return nb::int_(s.u());
  if (s.is_f64()) return nb::float_(s.f());
  return nb::steal(PyComplex_FromDoubles(s.c().real(), s.c().imag()));
}

nb::tuple python_shape(const Shape& shape) {
  nb::object out = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  for (size_t d = 0; d < shape.size(); ++d) {
    nb::object extent = shape[d].is_const() ? nb::object(nb::int_(shape[d].value()))
                                            : nb::object(nb::str(shape[d].str().c_str()));
    PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(d), extent.release().ptr());
  }
  return nb::borrow<nb::tuple>(out);
}

std::string_view type_name(PyObject* object) {
  const std::string_view full = Py_TYPE(object)->tp_name;
  const auto dot = full.rfind('.');
  return dot == std::string_view::npos ? full : full.substr(dot + 1);
}

std::string str_of(nb::handle h) { return nb::cast<std::string>(nb::str(h)); }

const Names& Names::get() {
  static const Names names{
      PyUnicode_InternFromString("_fields"),      PyUnicode_InternFromString("__dataclass_fields__"),
      PyUnicode_InternFromString("__dlpack__"),   PyUnicode_InternFromString("__code__"),
      PyUnicode_InternFromString("__wrapped__"),  PyUnicode_InternFromString("__name__"),
      PyUnicode_InternFromString("__qualname__"), PyUnicode_InternFromString("__array_ufunc__")};
  return names;
}

bool opts_out(PyObject* o) {
  if (tensor_of(o) || PyFloat_CheckExact(o) || PyLong_CheckExact(o)) return false;
  const nb::object said =
      nb::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(o)), Names::get().array_ufunc));
  if (!said) PyErr_Clear();
  return said.ptr() == Py_None;
}

// ---- structures

namespace {

bool is_named_tuple(PyObject* o) {
  return PyTuple_Check(o) && !PyTuple_CheckExact(o) && PyObject_HasAttr(o, Names::get().fields);
}

// Of the types that were met, which are kept: there are few.
std::unordered_map<PyObject*, std::vector<Field>>& known_fields() {
  static auto* const known = new std::unordered_map<PyObject*, std::vector<Field>>;
  return *known;
}

nb::object type_of(nb::handle h) { return nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(h.ptr()))); }

constexpr int kMostLevels = 500;
thread_local int levels = 0;

}  // namespace

Level::Level() {
  if (levels >= kMostLevels)
    user_error(
        "lists or structures are nested more than {} deep; perhaps one contains itself.\n  called at {}",
        kMostLevels, here().str());
  ++levels;
}

Level::~Level() { --levels; }

const std::vector<Field>& fields_of(nb::handle type) {
  auto& known = known_fields();
  if (const auto found = known.find(type.ptr()); found != known.end()) return found->second;
  std::vector<Field> fields;
  for (nb::handle field : nb::module_::import_("dataclasses").attr("fields")(type))
    fields.push_back({field.attr("name"), nb::cast<bool>(field.attr("init"))});
  Py_INCREF(type.ptr());
  return known.emplace(type.ptr(), std::move(fields)).first->second;
}

void register_structure(nb::handle type, nb::handle names) {
  std::vector<Field> fields;
  for (nb::handle name : names) fields.push_back({nb::borrow(name), true});
  Py_INCREF(type.ptr());
  known_fields().insert_or_assign(type.ptr(), std::move(fields));
}

bool has_fields(PyObject* o) {
  auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(o));
  if (PyType_Check(o)) return false;
  return known_fields().contains(type) || PyObject_HasAttr(type, Names::get().dataclass_fields);
}

Tree flatten(nb::handle h, std::vector<nb::object>& leaves) {
  const Level level;
  PyObject* o = h.ptr();
  Tree tree;
  if (h.is_none()) {
    tree.kind = Tree::Kind::none;
  } else if (tensor_of(o)) {
    leaves.push_back(nb::borrow(h));
  } else if (PyTuple_Check(o)) {
    tree.kind = is_named_tuple(o) ? Tree::Kind::named : Tree::Kind::tuple;
    if (tree.kind == Tree::Kind::named) tree.type = type_of(h);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i)
      tree.children.push_back(flatten(PyTuple_GET_ITEM(o, i), leaves));
  } else if (PyList_Check(o)) {
    tree.kind = Tree::Kind::list;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o); ++i)
      tree.children.push_back(flatten(PyList_GET_ITEM(o, i), leaves));
  } else if (PyDict_Check(o)) {
    tree.kind = Tree::Kind::dict;
    tree.type = nb::steal(PyDict_Keys(o));
    const nb::object values = nb::steal(PyDict_Values(o));
    for (nb::handle value : values) tree.children.push_back(flatten(value, leaves));
  } else if (has_fields(o)) {
    tree.kind = Tree::Kind::data;
    tree.type = type_of(h);
    for (const Field& field : fields_of(tree.type))
      tree.children.push_back(flatten(nb::getattr(h, field.name), leaves));
  } else {
    leaves.push_back(nb::borrow(h));
  }
  return tree;
}

namespace {

template <class Leaf, class ToObject>
nb::object build(const Tree& tree, const Leaf*& leaves, ToObject to_object) {
  switch (tree.kind) {
    case Tree::Kind::leaf: return to_object(*leaves++);
    case Tree::Kind::none: return nb::none();
    case Tree::Kind::list: {
      nb::list out;
      for (const Tree& child : tree.children) out.append(build(child, leaves, to_object));
      return out;
    }
    case Tree::Kind::dict: {
      nb::dict out;
      size_t i = 0;
      for (nb::handle key : tree.type) out[key] = build(tree.children[i++], leaves, to_object);
      return out;
    }
    default: break;
  }
  nb::object items = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(tree.children.size())));
  for (size_t i = 0; i < tree.children.size(); ++i)
    PyTuple_SET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i),
                     build(tree.children[i], leaves, to_object).release().ptr());
  if (tree.kind == Tree::Kind::tuple) return items;
  if (tree.kind == Tree::Kind::named) return tree.type(*nb::borrow<nb::tuple>(items));
  const std::vector<Field>& fields = fields_of(tree.type);
  nb::dict arguments;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].is_argument) arguments[fields[i].name] = items[i];
  nb::object made = tree.type(**arguments);
  for (size_t i = 0; i < fields.size(); ++i)  // frozen ones too
    if (!fields[i].is_argument &&
        PyObject_GenericSetAttr(made.ptr(), fields[i].name.ptr(), nb::object(items[i]).ptr()))
      throw nb::python_error();
  return made;
}

}  // namespace

nb::object unflatten(const Tree& tree, const Tensor*& leaves) {
  return build(tree, leaves, [](const Tensor& t) { return wrap(t); });
}
nb::object unflatten(const Tree& tree, const nb::object*& leaves) {
  return build(tree, leaves, [](const nb::object& o) { return o; });
}

bool same(const Tree& a, const Tree& b) {
  if (a.kind != b.kind || a.children.size() != b.children.size()) return false;
  if (a.kind == Tree::Kind::dict ? !a.type.equal(b.type) : !a.type.is(b.type)) return false;
  for (size_t i = 0; i < a.children.size(); ++i)
    if (!same(a.children[i], b.children[i])) return false;
  return true;
}

namespace {

std::vector<std::string> child_names(const Tree& tree) {
  std::vector<std::string> out;
  if (tree.kind == Tree::Kind::named)
    for (nb::handle name : tree.type.attr("_fields")) out.push_back("." + str_of(name));
  else if (tree.kind == Tree::Kind::data)
    for (const Field& field : fields_of(tree.type)) out.push_back("." + str_of(field.name));
  else if (tree.kind == Tree::Kind::dict)
    for (nb::handle key : tree.type) out.push_back("[" + str_of(nb::repr(key)) + "]");
  else
    for (size_t i = 0; i < tree.children.size(); ++i) out.push_back(fmt::format("[{}]", i));
  return out;
}

}  // namespace

std::string str(const Tree& tree) {
  if (tree.kind == Tree::Kind::leaf) return "tensor";
  if (tree.kind == Tree::Kind::none) return "None";
  const auto names = child_names(tree);
  const bool has_names = tree.kind != Tree::Kind::tuple && tree.kind != Tree::Kind::list;
  std::string inside;
  for (size_t i = 0; i < tree.children.size(); ++i) {
    std::string label;
    if (tree.kind == Tree::Kind::dict)
      label = names[i].substr(1, names[i].size() - 2) + ": ";
    else if (has_names)
      label = names[i].substr(1) + "=";
    inside += fmt::format("{}{}{}", i ? ", " : "", label, str(tree.children[i]));
  }
  switch (tree.kind) {
    case Tree::Kind::list: return "[" + inside + "]";
    case Tree::Kind::dict: return "{" + inside + "}";
    case Tree::Kind::tuple: return "(" + inside + (tree.children.size() == 1 ? ",)" : ")");
    default: return str_of(tree.type.attr("__name__")) + "(" + inside + ")";
  }
}

std::vector<std::string> leaf_names(const Tree& tree, const std::string& root) {
  if (tree.kind == Tree::Kind::leaf) return {root};
  std::vector<std::string> out;
  const auto names = child_names(tree);
  for (size_t i = 0; i < tree.children.size(); ++i)
    for (std::string& name : leaf_names(tree.children[i], root + names[i])) out.push_back(std::move(name));
  return out;
}

}  // namespace tenfold::python
