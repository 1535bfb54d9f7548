// Functions that take Python functions: jit, gradients, batching, loops and branches.
#include <array>
#include <unordered_map>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tenfold/lang/contract.h"
#include "tenfold/lang/transform.h"

#include "common.h"
#include "jitted.h"

namespace tenfold::python {
namespace {

// A weak number, or a tensor.
Tensor leaf_tensor(const nb::object& leaf, Location where, std::string_view what) {
  PyObject* o = leaf.ptr();
  if (const Tensor* t = tensor_of(o)) return *t;
  if (const auto number = to_number(o)) return Operand(*number, where).as_tensor();
  if (PyUnicode_Check(o) || PyBytes_Check(o) || PyCallable_Check(o))
    user_error("{} is a {}, which is no tensor, number or structure of them.\n  called at {}", what,
               type_name(o), where.str());
  return to_tensor(leaf, {}, {}, where);
}

Operand leaf_operand(const nb::object& leaf, Location where, std::string_view what) {
  if (const auto number = to_number(leaf.ptr())) return {*number, where};
  return {leaf_tensor(leaf, where, what), where};
}

Tensors leaf_tensors(const std::vector<nb::object>& leaves, Location where, std::string_view what) {
  Tensors out;
  for (const nb::object& leaf : leaves) out.push_back(leaf_tensor(leaf, where, what));
  return out;
}

}  // namespace

nb::object call_traced(nb::handle function, nb::handle args, nb::handle kwargs, std::string_view what,
                       Location where) {
  PyObject* result = PyObject_Call(function.ptr(), args.ptr(), kwargs.ptr());
  if (result) return nb::steal(result);
  nb::python_error error;
  if (!error.matches(PyExc_RecursionError)) throw error;
  user_error(
      "{} of {} does not end: the function calls itself again and again while it is traced.\n  called at {}\n"
      "  A recursion whose end depends on a traced value never ends; use tn.while_loop, tn.scan or tn.cond.",
      what, function_name(function), where.str());
}

std::string function_name(nb::handle f) {
  PyObject* name = PyObject_GetAttr(f.ptr(), Names::get().name);
  if (!name) {
    PyErr_Clear();
    return std::string(type_name(f.ptr()));
  }
  return str_of(nb::steal(name));
}

namespace {

// ---- gradients

nb::object value_and_grad(nb::handle function, nb::tuple args, nb::dict kwargs, nb::handle argnums,
                          bool has_aux) {
  const Location where = here();
  const bool is_single = PyLong_Check(argnums.ptr());
  if (argnums.is_none()) to_int(argnums, "grad: argnums");
  const Ints wanted = *to_axes(argnums, "grad: argnums");
  const auto count = static_cast<int64_t>(args.size());
  struct Part {
    int64_t argument;
    Tree tree;
    size_t first;
  };
  std::vector<Part> parts;
  std::vector<nb::object> leaves;
  for (int64_t number : wanted) {
    const int64_t position = number < 0 ? number + count : number;
    if (position < 0 || position >= count)
      user_error("grad: argnums names argument {}, but {} came.\n  called at {}", number, count, where.str());
    for (const Part& part : parts)
      if (part.argument == position)
        user_error("grad: argnums names argument {} twice.\n  called at {}", position, where.str());
    const size_t first = leaves.size();
    Tree tree = flatten(args[position], leaves);
    parts.push_back({position, std::move(tree), first});
  }
  Tensors arguments;
  for (size_t i = 0; i < leaves.size(); ++i) {
    Tensor t = leaf_tensor(leaves[i], where, "grad: an argument");
    if (t.weak()) t = lang::astype({t, where}, is_float(t.dtype()) ? Dtype::f32 : t.dtype());
    arguments.push_back(std::move(t));
  }
  std::vector<int> wrt(arguments.size());
  for (size_t i = 0; i < wrt.size(); ++i) wrt[i] = static_cast<int>(i);

  Tree aux;
  const auto result = lang::value_and_grad(
      [&](const Tensors& in) {
        nb::object passed = nb::steal(PyList_New(0));
        for (nb::handle a : args) PyList_Append(passed.ptr(), a.ptr());
        for (const Part& part : parts) {
          const Tensor* from = in.data() + part.first;
          passed[part.argument] = unflatten(part.tree, from);
        }
        nb::object value =
            call_traced(function, nb::steal(PyList_AsTuple(passed.ptr())), kwargs, "grad", where);
        nb::object loss = value;
        std::vector<nb::object> out;
        if (has_aux) {
          if (!PyTuple_Check(value.ptr()) || PyTuple_GET_SIZE(value.ptr()) != 2)
            user_error(
                "grad: with has_aux=True the function must return (loss, aux), but it returned a {}.\n  "
                "called at {}",
                type_name(value.ptr()), where.str());
          loss = value[0];
        }
        out.push_back(loss);
        if (has_aux) aux = flatten(value[1], out);
        return leaf_tensors(out, where, "grad: what the function returned");
      },
      arguments, wrt, where);

  nb::object value = wrap(result.values[0]);
  if (has_aux) {
    const Tensor* rest = result.values.data() + 1;
    value = nb::make_tuple(value, unflatten(aux, rest));
  }
  nb::object gradients = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(parts.size())));
  for (size_t p = 0; p < parts.size(); ++p) {
    const Tensor* from = result.gradients.data() + parts[p].first;
    PyTuple_SET_ITEM(gradients.ptr(), static_cast<Py_ssize_t>(p),
                     unflatten(parts[p].tree, from).release().ptr());
  }
  return nb::make_tuple(value, is_single ? nb::object(gradients[0]) : gradients);
}

// ---- vmap

lang::BatchAxis to_batch_axis(nb::handle h) {
  if (h.is_none()) return {};
  return to_int(h, "vmap: an axis");
}

nb::object vmap(nb::handle function, nb::handle in_axes, nb::handle out_axes, nb::tuple args,
                nb::dict kwargs) {
  const Location where = here();
  const bool per_argument = PyTuple_Check(in_axes.ptr()) || PyList_Check(in_axes.ptr());
  if (per_argument && nb::len(in_axes) != args.size())
    user_error("vmap: in_axes has {} entries, but {} arguments came.\n  called at {}", nb::len(in_axes),
               args.size(), where.str());
  std::vector<nb::object> leaves;
  std::vector<lang::BatchAxis> axes;
  std::vector<std::optional<Tree>> trees;  // of the batched arguments; the others are passed as they are
  for (size_t i = 0; i < args.size(); ++i) {
    const lang::BatchAxis axis = to_batch_axis(per_argument ? nb::object(in_axes[i]) : nb::borrow(in_axes));
    if (!axis) {
      trees.emplace_back();
      continue;
    }
    trees.emplace_back(flatten(args[i], leaves));
    axes.resize(leaves.size(), axis);
  }
  const Tensors arguments = leaf_tensors(leaves, where, "vmap: an argument");
  Tree result;
  const auto out_axis = [&](size_t) { return to_batch_axis(out_axes); };
  const Tensors out = lang::vmap(
      [&](const Tensors& in) {
        nb::object passed = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(args.size())));
        const Tensor* from = in.data();
        for (size_t i = 0; i < args.size(); ++i) {
          nb::object value = trees[i] ? unflatten(*trees[i], from) : nb::object(args[i]);
          PyTuple_SET_ITEM(passed.ptr(), static_cast<Py_ssize_t>(i), value.release().ptr());
        }
        const nb::object value = call_traced(function, passed, kwargs, "vmap", where);
        std::vector<nb::object> flat;
        result = flatten(value, flat);
        return leaf_tensors(flat, where, "vmap: what the function returned");
      },
      arguments, axes, out_axis, where);
  const Tensor* from = out.data();
  return unflatten(result, from);
}

// ---- loops and branches

void check_structure(const Tree& before, const Tree& after, std::string_view what, Location where) {
  if (!same(before, after))
    user_error(
        "{}: the carry enters as {} but the body returns {}; a carry keeps its structure.\n  called at {}",
        what, str(before), str(after), where.str());
}

// Numbers stay numbers, so that a carry that starts as one takes the dtype of what the body returns.
Operands carry_operands(const std::vector<nb::object>& leaves, Location where, std::string_view what) {
  Operands out;
  for (const nb::object& leaf : leaves) out.push_back(leaf_operand(leaf, where, what));
  return out;
}

nb::object scan(nb::handle step, nb::handle init, nb::handle xs, std::optional<int64_t> length,
                bool reverse) {
  const Location where = here();
  std::vector<nb::object> init_leaves, row_leaves;
  const Tree carry = flatten(init, init_leaves);
  const Tree rows = flatten(xs, row_leaves);
  lang::ScanOptions options;
  if (length) options.length = Dim(*length);
  options.reverse = reverse;
  options.names = leaf_names(carry, "");
  if (nb::hasattr(step, "__tenfold_checkpoint__"))
    options.checkpoint = to_int(step.attr("__tenfold_checkpoint__"), "checkpoint: every");
  Tree ys;
  const auto result = lang::scan(
      [&](const Tensors& in) {
        const Tensor* from = in.data();
        nb::object state = unflatten(carry, from);
        nb::object row = xs.is_none() ? wrap(*from) : unflatten(rows, from);
        const nb::object returned =
            call_traced(step, nb::make_tuple(state, row), nb::handle(), "scan", where);
        if (!PyTuple_Check(returned.ptr()) || PyTuple_GET_SIZE(returned.ptr()) != 2)
          user_error(
              "scan: the body must return (carry, y), but it returned {}.\n  called at {}\n  Return (carry, "
              "None) if there is nothing to collect.",
              PyTuple_Check(returned.ptr()) ? fmt::format("a tuple of {}", PyTuple_GET_SIZE(returned.ptr()))
                                            : fmt::format("a {}", type_name(returned.ptr())),
              where.str());
        std::vector<nb::object> out;
        check_structure(carry, flatten(returned[0], out), "scan", where);
        ys = flatten(returned[1], out);
        return leaf_tensors(out, where, "scan: what the body returned");
      },
      carry_operands(init_leaves, where, "scan: the initial carry"),
      leaf_tensors(row_leaves, where, "scan: xs"), options, where);
  const Tensor* carries = result.carries.data();
  const Tensor* collected = result.ys.data();
  nb::object last = unflatten(carry, carries);
  return nb::make_tuple(last, unflatten(ys, collected));
}

nb::object while_loop(nb::handle condition, nb::handle body, nb::handle init) {
  const Location where = here();
  std::vector<nb::object> leaves;
  const Tree carry = flatten(init, leaves);
  const auto run = [&](nb::handle function, const Tensors& in) {
    const Tensor* from = in.data();
    return call_traced(function, nb::make_tuple(unflatten(carry, from)), nb::handle(), "while_loop", where);
  };
  const Tensors out = lang::while_loop(
      [&](const Tensors& in) {
        return Tensors{leaf_tensor(run(condition, in), where, "while_loop: the condition")};
      },
      [&](const Tensors& in) {
        std::vector<nb::object> next;
        check_structure(carry, flatten(run(body, in), next), "while_loop", where);
        return leaf_tensors(next, where, "while_loop: what the body returned");
      },
      carry_operands(leaves, where, "while_loop: the initial carry"), leaf_names(carry, ""), where);
  const Tensor* from = out.data();
  return unflatten(carry, from);
}

nb::object cond(nb::handle predicate, nb::handle then, nb::handle otherwise, nb::tuple args) {
  const Location where = here();
  std::vector<nb::object> leaves;
  const Tree tree = flatten(args, leaves);
  std::optional<Tree> result;
  const auto branch = [&](nb::handle function) {
    return [&, function](const Tensors& in) {
      const Tensor* from = in.data();
      const nb::object value = call_traced(function, unflatten(tree, from), nb::handle(), "cond", where);
      std::vector<nb::object> flat;
      Tree returned = flatten(value, flat);
      if (result && !same(*result, returned))
        user_error(
            "cond: one branch returned {} but the other {}; both must return the same structure.\n  called "
            "at {}",
            str(*result), str(returned), where.str());
      result = std::move(returned);
      return leaf_tensors(flat, where, "cond: what a branch returned");
    };
  };
  const Tensors out = lang::cond(to_operand(predicate, where), branch(then), branch(otherwise),
                                 leaf_tensors(leaves, where, "cond: an operand"), where);
  const Tensor* from = out.data();
  return unflatten(*result, from);
}

// ---- contractions over an operator

nb::object call_multiply(nb::handle multiply, nb::handle elements, const std::string& name, Location where) {
  try {
    return call_traced(multiply, elements, nb::handle(), "contract", where);
  } catch (nb::python_error& error) {
    // Without a frame nothing of the function has run: it does not take two arguments.
    if (!error.matches(PyExc_TypeError) || error.traceback().is_valid()) throw;
    user_error(
        "contract over {}: multiply cannot be called with two elements: {}\n  called at {}\n  Write a "
        "function of one element of a and one of b: tn.Operator(lambda a, b: a * b, \"sum\").",
        name, str_of(error.value()), where.str());
  }
}

nb::object contract(const std::string& spec, nb::handle a, nb::handle b, nb::handle multiply,
                    const std::string& add, const std::string& name) {
  const Location where = here();
  if (multiply.is_none()) return wrap(lang::contract(spec, to_operand(a, where), to_operand(b, where)));
  const auto read = [&](nb::handle x, Operands& into) {
    std::vector<nb::object> leaves;
    Tree tree = flatten(x, leaves);
    for (const nb::object& leaf : leaves) into.push_back(leaf_operand(leaf, where, "contract: an input"));
    return tree;
  };
  Operands left, right;
  const Tree a_tree = read(a, left), b_tree = read(b, right);
  std::optional<Tree> result;
  const lang::Operator op{
      [&](const Tensors& x, const Tensors& y) {
        const Tensor *from_x = x.data(), *from_y = y.data();
        const nb::tuple elements = nb::make_tuple(unflatten(a_tree, from_x), unflatten(b_tree, from_y));
        const nb::object product = call_multiply(multiply, elements, name, where);
        std::vector<nb::object> leaves;
        result = flatten(product, leaves);
        Tensors products =
            leaf_tensors(leaves, where, fmt::format("contract over {}: what multiply returned", name));
        for (size_t i = 0; i < leaves.size(); ++i)  // a number is the product of every two elements
          if (to_number(leaves[i].ptr()))
            products[i] = lang::broadcast_to({products[i], where}, x[0].shape());
        return products;
      },
      add, name};
  const Tensors sums = lang::contract(spec, left, right, op);
  const Tensor* from = sums.data();
  return unflatten(*result, from);
}

}  // namespace

void bind_transforms(nb::module_& m) {
  m.def("_value_and_grad_call", &value_and_grad, nb::arg("function"), nb::arg("args"), nb::arg("kwargs"),
        nb::arg("argnums").none(), nb::arg("has_aux"));
  m.def("_vmap_call", &vmap, nb::arg("function"), nb::arg("in_axes").none(), nb::arg("out_axes").none(),
        nb::arg("args"), nb::arg("kwargs"));
  m.def("_scan", &scan, nb::arg("step"), nb::arg("init").none(), nb::arg("xs") = nb::none(),
        nb::arg("length") = nb::none(), nb::kw_only(), nb::arg("reverse") = false,
        "Runs carry, y = step(carry, x) over the rows x of xs; without xs, `length` times with the step's "
        "number.\n\n"
        "Returns (carry, ys): the last carry, and the ys stacked along axis 0. A carry keeps its structure, "
        "shapes and dtypes.\n"
        "The whole loop is one program: where a carry's elements do not mix, one launch with the state in "
        "registers.");
  m.def("_contract", &contract, nb::arg("spec"), nb::arg("a").none(), nb::arg("b").none(),
        nb::arg("multiply") = nb::none(), nb::arg("add") = "sum", nb::arg("name") = "");
  m.def(
      "_check_operator",
      [](const std::string& add, const std::string& name) { lang::check_operator({{}, add, name}); },
      nb::arg("add"), nb::arg("name"));
  m.def("_is_traced", [](const Tensor& t) { return t.traced(); }, nb::arg("x"));
  m.def("_register_structure", &register_structure, nb::arg("type"), nb::arg("names"));
  m.def("while_loop", &while_loop, nb::arg("cond"), nb::arg("body"), nb::arg("init").none(),
        "Runs carry = body(carry) as long as cond(carry) holds.");
  m.def("_cond", &cond, nb::arg("pred").none(), nb::arg("true_fn"), nb::arg("false_fn"), nb::arg("operands"),
        "true_fn(*operands) where pred holds, else false_fn(*operands). Both must return the same structure "
        "and types.");
  bind_jitted(m);
}

}  // namespace tenfold::python
