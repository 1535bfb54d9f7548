#include "jitted.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tenfold/runtime/device.h"

namespace tenfold::python {

// An argument of a call: a tensor, a number, or a borrowed array.
struct Jitted::Leaf {
  const Tensor* tensor = nullptr;
  Tensor owned;  // made of something that could not be borrowed
  Borrowed borrowed;
  Dtype dtype = Dtype::f32;
  bool weak = false;
  Ints shape;  // only where dims are symbolic
  const std::vector<DimSpec>* dims = nullptr;
  alignas(16) std::byte number[16];
  const void* data = nullptr;
};

struct Jitted::Call {
  std::string signature;
  std::vector<Leaf> leaves;
  std::vector<PyObject*> fixed;
  std::vector<nb::object> kept;  // fields that were made when they were asked for
  std::vector<int> donated;      // leaves
  bool traced = false;           // an argument is a traced tensor
  Call() {
    signature.reserve(128);
    leaves.reserve(8);
  }
};

namespace {

nb::object code_of(nb::handle function) {
  nb::object f = nb::borrow(function);
  for (int depth = 0; depth < 16 && nb::hasattr(f, "__wrapped__"); ++depth) f = f.attr("__wrapped__");
  return nb::hasattr(f, "__code__") ? nb::object(f.attr("__code__")) : nb::none();
}

std::vector<std::string> parameter_names(nb::handle function) {
  const nb::object code = code_of(function);
  if (code.is_none()) return {};
  std::vector<std::string> names;
  const auto count =
      nb::cast<size_t>(code.attr("co_argcount")) + nb::cast<size_t>(code.attr("co_kwonlyargcount"));
  for (nb::handle name : code.attr("co_varnames")) {
    if (names.size() >= count) break;
    names.push_back(str_of(name));
  }
  if (PyMethod_Check(function.ptr()) && !names.empty()) names.erase(names.begin());  // self is bound
  return names;
}

// What == does not see of a static value: the types inside (1, 1.0 and True are equal) and the sign of zero.
void append_static(std::string& signature, PyObject* o) {
  const Level level;
  const void* const type = Py_TYPE(o);
  signature.append(reinterpret_cast<const char*>(&type), sizeof type);
  const auto zero = [&](double x) {
    if (x == 0) signature += std::signbit(x) ? '-' : '+';
  };
  if (PyFloat_Check(o)) {
    zero(PyFloat_AS_DOUBLE(o));
  } else if (PyComplex_Check(o)) {
    zero(PyComplex_RealAsDouble(o));
    zero(PyComplex_ImagAsDouble(o));
  } else if (PyTuple_Check(o)) {
    const Py_ssize_t size = PyTuple_GET_SIZE(o);
    signature.append(reinterpret_cast<const char*>(&size), sizeof size);
    for (Py_ssize_t i = 0; i < size; ++i) append_static(signature, PyTuple_GET_ITEM(o, i));
  } else if (PyFrozenSet_Check(o)) {
    std::vector<std::string> parts;  // in an order of their own
    for (nb::handle item : nb::borrow(o)) append_static(parts.emplace_back(), item.ptr());
    std::ranges::sort(parts);
    for (const std::string& part : parts) signature += part;
  } else if (PyObject_HasAttr(reinterpret_cast<PyObject*>(Py_TYPE(o)), Names::get().dataclass_fields)) {
    for (const Field& field : fields_of(reinterpret_cast<PyObject*>(Py_TYPE(o))))
      append_static(signature, nb::getattr(nb::handle(o), field.name).ptr());
  } else if (!PyLong_Check(o) && Py_TYPE(o)->tp_as_number && Py_TYPE(o)->tp_as_number->nb_float) {
    const double x = PyFloat_AsDouble(o);  // numpy.float32
    if (x == -1 && PyErr_Occurred()) PyErr_Clear();
    zero(x);
  }
}

bool takes_any_number(nb::handle function) {  // of positional arguments
  constexpr int64_t kVarArgs = 4;             // inspect.CO_VARARGS
  const nb::object code = code_of(function);
  return code.is_none() || (nb::cast<int64_t>(code.attr("co_flags")) & kVarArgs) != 0;
}

// The items of an iterable, or the one that it is itself.
std::vector<nb::object> items_of(nb::handle h, bool is_one, std::string_view what, std::string_view needed) {
  if (is_one) return {nb::borrow(h)};
  std::vector<nb::object> items;
  if (h.is_none()) return items;
  const nb::object iterator = nb::steal(PyObject_GetIter(h.ptr()));
  if (!iterator) {
    PyErr_Clear();
    user_error("jit: {} must be {}, but a {} came.\n  called at {}", what, needed, type_name(h.ptr()),
               here().str());
  }
  for (nb::handle item : h) items.push_back(nb::borrow(item));
  return items;
}

// "x", 0, ("x", 1) ...
void names_and_positions(nb::handle h, std::string_view what, const std::vector<std::string>& known,
                         bool open_ended, std::vector<std::string>& names, std::vector<int64_t>& positions) {
  constexpr std::string_view kNeeded = "names or positions of arguments";
  for (const nb::object& item :
       items_of(h, PyUnicode_Check(h.ptr()) || PyLong_Check(h.ptr()), what, kNeeded)) {
    if (PyLong_Check(item.ptr())) {
      const auto count = static_cast<int64_t>(known.size());
      const int64_t asked = to_int(item, what), position = asked < 0 && !open_ended ? asked + count : asked;
      if (position < 0 || (position >= count && !open_ended))
        user_error("jit: {} names argument {}, but the function has {} parameters.\n  called at {}", what,
                   asked, count, here().str());
      positions.push_back(position);
      if (position < count) names.push_back(known[position]);
    } else if (!PyUnicode_Check(item.ptr())) {
      user_error("jit: {} must be {}, but a {} came.\n  called at {}", what, kNeeded, type_name(item.ptr()),
                 here().str());
    } else {
      names.push_back(str_of(item));
      const auto at = std::ranges::find(known, names.back());
      if (at != known.end())
        positions.push_back(at - known.begin());
      else if (!known.empty())
        user_error("jit: {} names \"{}\", but the function's parameters are {}.\n  called at {}", what,
                   names.back(), fmt::join(known, ", "), here().str());
    }
  }
}

// How the only launch runs, or each by its name.
std::vector<std::pair<std::string, std::string>> loops_of(nb::handle loops) {
  if (PyUnicode_Check(loops.ptr())) return {{"", str_of(loops)}};
  std::vector<std::pair<std::string, std::string>> out;
  const auto wrong = [](nb::handle came) {
    user_error(
        "jit: loops must be a text, or a dict of them by the names of launches, but a {} came.\n  called at "
        "{}\n  Pass tn.explain(f, x).kernels[0].loops, say.",
        type_name(came.ptr()), here().str());
  };
  if (!PyDict_Check(loops.ptr())) wrong(loops);
  for (nb::handle item : nb::borrow<nb::dict>(loops).items()) {
    for (const int k : {0, 1})
      if (!PyUnicode_Check(nb::object(item[k]).ptr())) wrong(item[k]);
    out.emplace_back(str_of(item[0]), str_of(item[1]));
  }
  return out;
}

}  // namespace

Jitted::Jitted(nb::object function, nb::handle static_arguments, nb::handle dims, nb::handle donate,
               nb::handle allow, nb::handle plan, nb::handle loops)
    : function_(std::move(function)) {
  if (!PyCallable_Check(function_.ptr()))
    user_error("jit: a function is needed, but a {} came.\n  called at {}", type_name(function_.ptr()),
               here().str());
  parameters_ = parameter_names(function_);
  const bool open_ended = takes_any_number(function_);
  names_and_positions(static_arguments, "static", parameters_, open_ended, static_names_, static_positions_);
  names_and_positions(donate, "donate", parameters_, open_ended, donated_, donated_positions_);
  options_.name = function_name(function_);
  for (const nb::object& grant : items_of(allow, PyUnicode_Check(allow.ptr()), "allow", "names of grants"))
    options_.allow.push_back(str_of(grant));
  for (const std::string& grant : options_.allow)
    if (std::ranges::find(compile::allowed_grants(), grant) == compile::allowed_grants().end())
      user_error("jit: allow names \"{}\", which is no grant: choose of {}.\n  called at {}", grant,
                 fmt::join(compile::allowed_grants(), ", "), here().str());
  if (!plan.is_none()) {
    if (!PyUnicode_Check(plan.ptr()))
      user_error(
          "jit: plan must be a text, but a {} came.\n  called at {}\n  Pass tn.explain(f, x).plan, say.",
          type_name(plan.ptr()), here().str());
    options_.plan = str_of(plan);
    if (options_.plan.empty()) user_error("jit: plan is an empty text.\n  called at {}", here().str());
  }
  if (!loops.is_none()) options_.loops = loops_of(loops);
  if (dims.is_none()) return;
  if (!PyDict_Check(dims.ptr()))
    user_error(
        "jit: dims must be a dict, but a {} came.\n  called at {}\n  Pass {{\"x\": (\"n\", 1024)}}, say.",
        type_name(dims.ptr()), here().str());
  for (nb::handle item : nb::borrow<nb::dict>(dims).items()) {
    const std::string name = str_of(item[0]);
    if (!parameters_.empty() && std::ranges::find(parameters_, name) == parameters_.end())
      user_error("jit: dims names \"{}\", but the function's parameters are {}.\n  called at {}", name,
                 fmt::join(parameters_, ", "), here().str());
    auto& specs = dims_[name];
    const nb::object extents = item[1];
    for (const nb::object& part :
         items_of(extents, PyUnicode_Check(extents.ptr()) || PyLong_Check(extents.ptr()), "dims",
                  "the extents of an argument")) {
      if (part.is_none()) {
        specs.push_back({});
      } else if (PyUnicode_Check(part.ptr())) {
        specs.push_back({str_of(part), -1});
        Dim::symbol({.name = specs.back().symbol});  // is it a name?
      } else {
        specs.push_back({"", to_int(part, fmt::format("jit: an extent of {} in dims", name))});
        if (specs.back().extent < 0)
          user_error("jit: dims gives {} the extent {}; an extent is 0 or more.\n  called at {}", name,
                     specs.back().extent, here().str());
      }
    }
  }
}

bool Jitted::is_static(size_t position, nb::handle name) const {
  if (name.is_valid())
    return !static_names_.empty() && std::ranges::find(static_names_, str_of(name)) != static_names_.end();
  return !static_positions_.empty() &&
         std::ranges::find(static_positions_, static_cast<int64_t>(position)) != static_positions_.end();
}

void Jitted::read(nb::handle args, nb::handle kwargs, Call& call) const {
  lang::append_signature(call.signature, lang::DeviceScope::current());
  const auto argument = [&](size_t position, PyObject* value, nb::handle name) {
    if (is_static(position, name)) {
      const Py_hash_t hash = PyObject_Hash(value);
      if (hash == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        user_error(
            "jit of {}: the static argument {} is a {}, which has no hash.\n  called at {}\n  Pass something "
            "hashable: a number, a string, a tuple, a function.",
            options_.name, name.is_valid() ? str_of(name) : parameter_name(position), type_name(value),
            here().str());
      }
      call.signature += 's';
      append_static(call.signature, value);
      call.signature.append(reinterpret_cast<const char*>(&hash), sizeof hash);
      call.fixed.push_back(value);
      return;
    }
    const std::vector<DimSpec>* dims = nullptr;
    if (!dims_.empty()) {
      const auto found = dims_.find(name.is_valid() ? str_of(name) : parameter_name(position));
      if (found != dims_.end()) dims = &found->second;
    }
    const size_t first = call.leaves.size();
    read(value, dims, call);
    if (donated_positions_.empty() && donated_.empty()) return;
    const bool donated = name.is_valid()
                             ? std::ranges::find(donated_, str_of(name)) != donated_.end()
                             : std::ranges::find(donated_positions_, static_cast<int64_t>(position)) !=
                                   donated_positions_.end();
    for (size_t leaf = first; donated && leaf < call.leaves.size(); ++leaf)
      call.donated.push_back(static_cast<int>(leaf));
  };
  const Py_ssize_t count = PyTuple_GET_SIZE(args.ptr());
  for (Py_ssize_t i = 0; i < count; ++i)
    argument(static_cast<size_t>(i), PyTuple_GET_ITEM(args.ptr(), i), nb::handle());
  if (!kwargs.is_valid()) return;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(kwargs.ptr(), &at, &key, &value)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(key, &size);
    call.signature += 'k';
    call.signature.append(text, static_cast<size_t>(size) + 1);
    argument(parameters_.size(), value, key);
  }
}

void Jitted::read(PyObject* o, const std::vector<DimSpec>* dims, Call& call) const {
  const Level level;
  const auto add = [&](Leaf& leaf, Dtype dtype, std::span<const int64_t> shape, bool weak) {
    leaf.dtype = dtype;
    leaf.weak = weak;
    if (!dims) {
      lang::append_signature(call.signature, dtype, shape, weak);
      return;
    }
    leaf.dims = dims;
    leaf.shape.assign(shape.begin(), shape.end());
    const auto argument = [&] {
      for (const auto& [name, specs] : dims_)
        if (&specs == dims) return name;
      return std::string("an argument");
    };
    if (dims->size() != shape.size())
      user_error("jit of {}: dims gives {} extents for {}, which has {} axes.\n  called at {}", options_.name,
                 dims->size(), argument(), shape.size(), here().str());
    Ints seen = leaf.shape;
    for (size_t d = 0; d < seen.size(); ++d) {
      const DimSpec& spec = (*dims)[d];
      if (!spec.symbol.empty())
        seen[d] = -1;
      else if (spec.extent >= 0 && spec.extent != seen[d])
        user_error("jit of {}: axis {} of {} is {}, but dims says {}.\n  called at {}", options_.name, d,
                   argument(), seen[d], spec.extent, here().str());
    }
    lang::append_signature(call.signature, dtype, seen, weak);
  };
  const auto add_tensor = [&](Leaf& leaf, const Tensor& t) {
    constexpr size_t kFew = 8;
    int64_t few[kFew];
    const Shape& shape = t.shape();
    leaf.tensor = &t;
    if (t.traced()) {
      call.traced = true;
      return;
    }
    if (shape.size() > kFew) return add(leaf, t.dtype(), const_shape(shape), t.weak());
    for (size_t d = 0; d < shape.size(); ++d) few[d] = shape[d].value();
    add(leaf, t.dtype(), {few, shape.size()}, t.weak());
  };
  if (const Tensor* t = tensor_of(o)) {
    lang::append_signature(call.signature, t->value()->device);
    add_tensor(call.leaves.emplace_back(), *t);
  } else if (const auto number = to_number(o)) {
    Leaf& leaf = call.leaves.emplace_back();
    const Dtype dtype = number->is_bool()  ? Dtype::boolean
                        : number->is_i64() ? Dtype::i64
                        : number->is_u64() ? Dtype::u64
                        : number->is_f64() ? Dtype::f64
                                           : Dtype::complex128;
    number->store(dtype, leaf.number);
    add(leaf, dtype, {}, true);
  } else if (o == Py_None) {
    call.signature += '0';
  } else if (PyTuple_Check(o)) {
    call.signature += 'T';
    const void* type = Py_TYPE(o);
    const Py_ssize_t size = PyTuple_GET_SIZE(o);
    call.signature.append(reinterpret_cast<const char*>(&type), sizeof type);
    call.signature.append(reinterpret_cast<const char*>(&size), sizeof size);
    for (Py_ssize_t i = 0; i < size; ++i) read(PyTuple_GET_ITEM(o, i), dims, call);
  } else if (PyList_Check(o)) {
    call.signature += 'L';
    const Py_ssize_t size = PyList_GET_SIZE(o);
    call.signature.append(reinterpret_cast<const char*>(&size), sizeof size);
    for (Py_ssize_t i = 0; i < size; ++i) read(PyList_GET_ITEM(o, i), dims, call);
  } else if (PyDict_Check(o)) {
    call.signature += 'D';
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(o, &at, &key, &value)) {
      const std::string text = str_of(nb::repr(key));
      call.signature.append(text.c_str(), text.size() + 1);
      read(value, dims, call);
    }
    call.signature += ';';
  } else if (has_fields(o)) {
    call.signature += 'C';
    const void* type = Py_TYPE(o);
    call.signature.append(reinterpret_cast<const char*>(&type), sizeof type);
    for (const Field& field : fields_of(reinterpret_cast<PyObject*>(Py_TYPE(o))))
      read(call.kept.emplace_back(nb::getattr(nb::handle(o), field.name)).ptr(), dims, call);
  } else {
    Leaf& leaf = call.leaves.emplace_back();
    if (leaf.borrowed.take(o)) {
      add(leaf, leaf.borrowed.dtype(), leaf.borrowed.shape(), false);
      leaf.data = leaf.borrowed.data();
      return;
    }
    if (PyUnicode_Check(o) || PyBytes_Check(o) || PyCallable_Check(o))
      user_error(
          "jit of {}: an argument is a {}, which is no tensor, number or structure of them.\n  called at {}\n"
          "  Name it in static=, so that the function is compiled for each value of it.",
          options_.name, type_name(o), here().str());
    leaf.owned = to_tensor(o, {}, {}, here());
    const Tensor owned = leaf.owned;
    lang::append_signature(call.signature, owned.value()->device);
    add_tensor(leaf, owned);
    leaf.tensor = nullptr;
  }
}

// Where the arguments are. Arrays that are borrowed are on the host.
Device* Jitted::device_of(const Call& call, Location where) const {
  std::vector<lang::Value*> values;
  const Leaf* array = nullptr;
  for (const Leaf& leaf : call.leaves) {
    const Tensor* t = leaf.tensor ? leaf.tensor : leaf.owned ? &leaf.owned : nullptr;
    if (t) values.push_back(t->value().get());
    if (leaf.borrowed.data()) array = &leaf;
  }
  Device* const device = lang::common_device(values, "jit of " + options_.name, where);
  if (device && array)
    user_error(
        "jit of {}: the arguments are on two devices: a tensor on {}, and an array {}[{}] on the cpu.\n  "
        "called at "
        "{}\n  Copies are explicit: write tn.asarray(a, device=\"{}\").",
        options_.name, device->name(), name(array->dtype), fmt::join(array->borrowed.shape(), ","),
        where.str(), device->name());
  return device;
}

Jitted::Entry Jitted::trace(nb::handle args, nb::handle kwargs, Call& call, Location where) const {
  std::vector<lang::ArgumentType> types;
  for (const Leaf& leaf : call.leaves) {
    Type type{leaf.dtype, {}};
    if (leaf.dims) {
      for (size_t d = 0; d < leaf.shape.size(); ++d) {
        const DimSpec& spec = (*leaf.dims)[d];
        type.shape.push_back(spec.symbol.empty() ? Dim(leaf.shape[d]) : Dim::symbol({.name = spec.symbol}));
      }
    } else if (leaf.tensor) {
      type.shape = leaf.tensor->shape();
    } else if (leaf.owned) {
      type.shape = leaf.owned.shape();
    } else if (leaf.borrowed.data()) {
      for (int64_t extent : leaf.borrowed.shape()) type.shape.emplace_back(extent);
    }
    types.push_back({std::move(type), leaf.weak});
  }
  // The structure of the arguments, with the static ones as they are.
  std::vector<std::pair<nb::object, std::optional<Tree>>> positional;
  std::vector<std::pair<nb::object, std::optional<Tree>>> named;
  std::vector<nb::object> ignored;
  const auto describe = [&](nb::handle value, bool fixed) {
    std::optional<Tree> tree;
    if (!fixed) tree = flatten(value, ignored);
    return std::pair(nb::borrow(value), std::move(tree));
  };
  for (size_t i = 0; i < nb::len(args); ++i)
    positional.push_back(describe(nb::object(args[i]), is_static(i, nb::handle())));
  if (kwargs.is_valid())
    for (nb::handle key : kwargs)
      named.push_back(describe(nb::object(kwargs[key]), is_static(parameters_.size(), key)));

  Entry entry;
  for (const auto* described : {&positional, &named})
    for (const auto& [value, tree] : *described)
      if (tree) entry.arguments.push_back(*tree);
  for (PyObject* s : call.fixed) entry.fixed.push_back(nb::borrow(s));
  lang::JitOptions options = options_;
  options.donate = call.donated;
  options.device = device_of(call, where);
  entry.compiled = std::make_shared<const lang::Compiled>(
      [&](const Tensors& in) {
        const Tensor* from = in.data();
        const auto rebuild = [&](const auto& described) {
          return described.second ? unflatten(*described.second, from) : described.first;
        };
        nb::object passed = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(positional.size())));
        for (size_t i = 0; i < positional.size(); ++i)
          PyTuple_SET_ITEM(passed.ptr(), static_cast<Py_ssize_t>(i), rebuild(positional[i]).release().ptr());
        nb::dict keywords;
        size_t i = 0;
        if (kwargs.is_valid())
          for (nb::handle key : kwargs) keywords[key] = rebuild(named[i++]);
        const nb::object value = call_traced(function_, passed, keywords, "jit", where);
        std::vector<nb::object> leaves;
        entry.result = flatten(value, leaves);
        Tensors out;
        for (const nb::object& leaf : leaves) {
          if (PyUnicode_Check(leaf.ptr()) || PyBytes_Check(leaf.ptr()) || PyCallable_Check(leaf.ptr()))
            user_error(
                "jit of {}: the function returned a {}, but it must return tensors or structures of them.\n  "
                "called at {}",
                options_.name, type_name(leaf.ptr()), where.str());
          out.push_back(to_operand(leaf, where).as_tensor());
        }
        return out;
      },
      types, options, where);
  return entry;
}

Jitted::Entry& Jitted::entry(nb::handle args, nb::handle kwargs, Call& call, Location where) {
  const auto matches = [&](const Entry& e) {
    for (size_t i = 0; i < e.fixed.size(); ++i) {
      if (e.fixed[i].ptr() == call.fixed[i]) continue;
      const int equal = PyObject_RichCompareBool(e.fixed[i].ptr(), call.fixed[i], Py_EQ);
      if (equal < 0) throw nb::python_error();
      if (!equal) return false;
    }
    return true;
  };
  if (const auto found = entries_.find(call.signature); found != entries_.end())
    for (Entry& e : found->second)
      if (matches(e)) return e;
  Entry made = trace(args, kwargs, call, where);
  auto& list = entries_[call.signature];
  list.push_back(std::move(made));
  return list.back();
}

std::shared_ptr<const lang::Compiled> Jitted::compiled(nb::handle args, nb::handle kwargs) {
  const Location where = here();
  Call call;
  read(args, kwargs, call);
  if (call.traced)
    user_error("explain: an argument is a traced tensor; explain a function from outside.\n  called at {}",
               where.str());
  return entry(args, kwargs, call, where).compiled;
}

nb::object Jitted::call(nb::handle args, nb::handle kwargs) {
  if (lang::tracing())
    return call_traced(function_, args, kwargs, "jit", Location());  // part of the outer function
  Call call;
  read(args, kwargs, call);
  if (call.traced)
    return nb::steal(PyObject_Call(function_.ptr(), args.ptr(), kwargs.ptr()));  // its trace is over: says so
  const Location where = here();
  const Entry& found = entry(args, kwargs, call, where);
  const std::shared_ptr<const lang::Compiled> compiled = found.compiled;
  const Tree result = found.result;  // a copy: another call may grow the table meanwhile

  std::vector<lang::Argument> arguments;
  arguments.reserve(call.leaves.size());
  for (Leaf& leaf : call.leaves) {
    const Tensor* t = leaf.tensor ? leaf.tensor : leaf.owned ? &leaf.owned : nullptr;
    if (t && !lang::is_concrete(*t->value())) {
      const nb::gil_scoped_release unlocked;
      t->evaluate();
    }
    const void* data = t ? t->value()->data : leaf.data ? leaf.data : leaf.number;
    arguments.push_back({data, leaf.shape, t ? t->value().get() : nullptr});
  }
  Tensors out;
  {
    const nb::gil_scoped_release unlocked;
    out = (*compiled)(arguments, where);
  }
  if (result.kind == Tree::Kind::leaf) return wrap(std::move(out[0]));
  const Tensor* from = out.data();
  return unflatten(result, from);
}

namespace {

PyObject* call_slot(PyObject* self, PyObject* args, PyObject* kwargs) {
  try {
    return nb::inst_ptr<Jitted>(self)->call(args, kwargs).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

int traverse_slot(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<Jitted>(self)->function().ptr());
  return 0;
}

PyObject* get_slot(PyObject* self, PyObject* instance, PyObject*) {  // a method of a class
  if (!instance || instance == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, instance);
}

PyType_Slot kSlots[] = {{Py_tp_call, reinterpret_cast<void*>(call_slot)},
                        {Py_tp_traverse, reinterpret_cast<void*>(traverse_slot)},
                        {Py_tp_descr_get, reinterpret_cast<void*>(get_slot)},
                        {0, nullptr}};

}  // namespace

void bind_jitted(nb::module_& m) {
  nb::class_<Jitted>(m, "Jitted", nb::type_slots(kSlots), nb::dynamic_attr(),
                     "A function that is compiled for the types of its arguments when it is called.")
      .def(nb::init<nb::object, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle>(),
           nb::arg("function"), nb::arg("static").none(), nb::arg("dims").none(), nb::arg("donate").none(),
           nb::arg("allow").none(), nb::arg("plan") = nb::none(), nb::arg("loops") = nb::none())
      .def_prop_ro("__wrapped__", [](const Jitted& j) { return j.function(); })
      .def("__getattr__",
           [](const Jitted& j, nb::handle name) {
             return nb::object(nb::getattr(j.function(), name));
           })  // __name__ ...
      .def_prop_ro(
          "versions", [](const Jitted& j) { return j.versions(); },
          "For how many different types of arguments it has been compiled.");
}

}  // namespace tenfold::python
