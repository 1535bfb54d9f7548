// Functions on tensors. Those of the primitives' records come from the generated list.
#include "tenfold/generated/ops.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tenfold/ir/prim.h"
#include "tenfold/lang/random.h"
#include "tenfold/lang/window.h"
#include "tenfold/runtime/device.h"

#include "common.h"

namespace tenfold::python {
namespace {

void bind_map1(nb::module_& m, const char* name, const char* record, const char* signature, const char* doc,
               const char* x) {
  const Prim* p = &prim(record);
  m.def(
      name, [p](nb::handle a) { return lang::apply_map(*p, {to_operand(a)}); }, nb::arg(x).none(),
      nb::sig(signature), doc);
}

void bind_map2(nb::module_& m, const char* name, const char* record, const char* signature, const char* doc,
               const char* x, const char* y) {
  const Prim* p = &prim(record);
  m.def(
      name,
      [p](nb::handle a, nb::handle b) {
        const Location where = here();
        return lang::apply_map(*p, {to_operand(a, where), to_operand(b, where)});
      },
      nb::arg(x).none(), nb::arg(y).none(), nb::sig(signature), doc);
}

void bind_map3(nb::module_& m, const char* name, const char* record, const char* signature, const char* doc,
               const char* x, const char* y, const char* z) {
  const Prim* p = &prim(record);
  m.def(
      name,
      [p](nb::handle a, nb::handle b, nb::handle c) {
        const Location where = here();
        return lang::apply_map(*p, {to_operand(a, where), to_operand(b, where), to_operand(c, where)});
      },
      nb::arg(x).none(), nb::arg(y).none(), nb::arg(z).none(), nb::sig(signature), doc);
}

void bind_dtype_map1(nb::module_& m, const char* name, const char* record, const char* signature,
                     const char* doc, const char* x) {
  const Prim* p = &prim(record);
  m.def(
      name,
      [p](nb::handle a, nb::handle dtype) {
        return lang::apply_map(*p, {to_operand(a)}, {{"dtype", to_dtype(dtype)}});
      },
      nb::arg(x), nb::arg("dtype"), nb::sig(signature), doc);
}

void bind_reduce(nb::module_& m, const char* name, const char* record, const char* signature,
                 const char* doc) {
  const Prim* p = &prim(record);
  m.def(
      name,
      [p](nb::handle x, nb::handle axis, bool keepdims) {
        return lang::apply_reduce(*p, to_operand(x), to_axes(axis), keepdims);
      },
      nb::arg("x").none(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, nb::sig(signature),
      doc);
}

Operands operands_of(nb::handle sequence, Location where) {
  Operands out;
  for (nb::handle item : sequence) out.push_back(to_operand(item, where));
  return out;
}

Operand operand(nb::handle x) { return to_operand(x); }

using Moment = Tensor (*)(const Operand&, const lang::Axes&, bool, double);

void bind_moment(nb::module_& m, const char* name, Moment function, const char* doc) {
  m.def(
      name,
      [function](nb::handle x, nb::handle axis, bool keepdims, double correction) {
        return function(operand(x), to_axes(axis), keepdims, correction);
      },
      nb::arg("x").none(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false,
      nb::arg("correction") = 0.0, doc);
}

Tensor moved(const Tensor& t, const std::string& device) {
  const Location where = here();
  const nb::gil_scoped_release unlocked;
  return t.to(device, where);
}

void bind_creation(nb::module_& m) {
  m.def(
      "asarray",
      [](nb::handle x, nb::handle dtype, std::optional<bool> copy, nb::handle device) {
        const Tensor made = to_tensor(x, to_optional_dtype(dtype), copy, here());
        if (!device.is_none()) return moved(made, device_name_of(device));
        const Device* const creating = lang::DeviceScope::current();
        return creating && !tensor_of(x.ptr()) && !made.traced() ? moved(made, creating->name()) : made;
      },
      nb::arg("obj").none(), nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none(), nb::kw_only(),
      nb::arg("device") = nb::none(),
      "A tensor of the elements of obj: a number, nested lists, or an array (buffer protocol, DLPack).\n\n"
      "copy=None copies what could still be written to; copy=False shares the memory (the caller must not "
      "write to it);\n"
      "copy=True always copies. Python floats become f32, integers i64.");
  m.def(
      "zeros",
      [](nb::handle shape, nb::handle dtype, nb::handle device) {
        const auto there = creating_on(device);
        return lang::zeros(to_shape(shape), dtype.is_none() ? Dtype::f32 : to_dtype(dtype), here());
      },
      nb::arg("shape").none(), nb::arg("dtype") = nb::none(), nb::kw_only(), nb::arg("device") = nb::none());
  m.def(
      "ones",
      [](nb::handle shape, nb::handle dtype, nb::handle device) {
        const auto there = creating_on(device);
        return lang::ones(to_shape(shape), dtype.is_none() ? Dtype::f32 : to_dtype(dtype), here());
      },
      nb::arg("shape").none(), nb::arg("dtype") = nb::none(), nb::kw_only(), nb::arg("device") = nb::none());
  m.def(
      "full",
      [](nb::handle shape, nb::handle value, nb::handle dtype, nb::handle device) {
        const auto there = creating_on(device);
        return lang::full(to_shape(shape), operand(value), to_optional_dtype(dtype));
      },
      nb::arg("shape").none(), nb::arg("fill_value").none(), nb::arg("dtype") = nb::none(), nb::kw_only(),
      nb::arg("device") = nb::none());
  m.def(
      "full_like",
      [](nb::handle x, nb::handle value, nb::handle dtype) {
        return lang::full_like(operand(x), operand(value), to_optional_dtype(dtype));
      },
      nb::arg("x").none(), nb::arg("fill_value").none(), nb::arg("dtype") = nb::none());
  m.def(
      "zeros_like",
      [](nb::handle x, nb::handle dtype) {
        return lang::full_like(operand(x), {Scalar(0), here()}, to_optional_dtype(dtype));
      },
      nb::arg("x").none(), nb::arg("dtype") = nb::none());
  m.def(
      "ones_like",
      [](nb::handle x, nb::handle dtype) {
        return lang::full_like(operand(x), {Scalar(1), here()}, to_optional_dtype(dtype));
      },
      nb::arg("x").none(), nb::arg("dtype") = nb::none());
  m.def(
      "arange",
      [](nb::handle start, nb::handle stop, nb::handle step, nb::handle dtype, nb::handle device) {
        const auto there = creating_on(device);
        const Location where = here();
        const bool only_stop = stop.is_none();
        return lang::arange(only_stop ? Operand(Scalar(0), where) : to_operand(start, where),
                            to_operand(only_stop ? start : stop, where), to_operand(step, where),
                            to_optional_dtype(dtype));
      },
      nb::arg("start"), nb::arg("stop") = nb::none(), nb::arg("step") = 1, nb::arg("dtype") = nb::none(),
      nb::kw_only(), nb::arg("device") = nb::none());
  m.def(
      "linspace",
      [](nb::handle start, nb::handle stop, int64_t num, nb::handle dtype, bool endpoint, nb::handle device) {
        const auto there = creating_on(device);
        const Location where = here();
        return lang::linspace(to_operand(start, where), to_operand(stop, where), num, endpoint,
                              to_optional_dtype(dtype));
      },
      nb::arg("start"), nb::arg("stop"), nb::arg("num"), nb::kw_only(), nb::arg("dtype") = nb::none(),
      nb::arg("endpoint") = true, nb::arg("device") = nb::none());
  m.def(
      "eye",
      [](int64_t rows, std::optional<int64_t> cols, int64_t k, nb::handle dtype, nb::handle device) {
        const auto there = creating_on(device);
        return lang::eye(rows, cols ? std::optional<Dim>(*cols) : std::nullopt, k,
                         dtype.is_none() ? Dtype::f32 : to_dtype(dtype), here());
      },
      nb::arg("n_rows"), nb::arg("n_cols") = nb::none(), nb::kw_only(), nb::arg("k") = 0,
      nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none());
}

std::vector<std::pair<int64_t, int64_t>> to_widths(nb::handle widths, Location where) {
  const auto wrong = [&](const std::string& came) {
    user_error(
        "pad: widths must be a pair (before, after) for each axis, but {} came.\n  called at {}\n  Write "
        "[(0, "
        "0), (1, 1)], say.",
        came, where.str());
  };
  const auto is_sequence = [](nb::handle h) {
    return PySequence_Check(h.ptr()) && !PyUnicode_Check(h.ptr());
  };
  if (!is_sequence(widths)) wrong(fmt::format("a {}", type_name(widths.ptr())));
  std::vector<std::pair<int64_t, int64_t>> out;
  for (nb::handle item : widths) {
    if (!is_sequence(item)) wrong(fmt::format("a {} within them", type_name(item.ptr())));
    if (nb::len(item) != 2) wrong(fmt::format("{} numbers in an entry", nb::len(item)));
    out.emplace_back(to_int(item[0], "pad: a width"), to_int(item[1], "pad: a width"));
  }
  return out;
}

void bind_shape(nb::module_& m) {
  m.def(
      "astype", [](nb::handle x, nb::handle dtype) { return lang::astype(operand(x), to_dtype(dtype)); },
      nb::arg("x").none(), nb::arg("dtype"));
  m.def(
      "broadcast_to",
      [](nb::handle x, nb::handle shape) { return lang::broadcast_to(operand(x), to_shape(shape)); },
      nb::arg("x").none(), nb::arg("shape"));
  m.def(
      "reshape", [](nb::handle x, nb::handle shape) { return lang::reshape(operand(x), to_shape(shape)); },
      nb::arg("x").none(), nb::arg("shape"));
  m.def(
      "permute_dims", [](nb::handle x, nb::handle axes) { return lang::permute(operand(x), *to_axes(axes)); },
      nb::arg("x").none(), nb::arg("axes"));
  m.def(
      "matrix_transpose", [](nb::handle x) { return lang::matrix_transpose(operand(x)); },
      nb::arg("x").none());
  m.def(
      "moveaxis", [](nb::handle x, int64_t from, int64_t to) { return lang::moveaxis(operand(x), from, to); },
      nb::arg("x").none(), nb::arg("source"), nb::arg("destination"));
  m.def(
      "expand_dims", [](nb::handle x, int64_t axis) { return lang::expand_dims(operand(x), axis); },
      nb::arg("x").none(), nb::arg("axis") = 0);
  m.def(
      "squeeze", [](nb::handle x, nb::handle axis) { return lang::squeeze(operand(x), to_axes(axis)); },
      nb::arg("x").none(), nb::arg("axis") = nb::none());
  m.def(
      "flip", [](nb::handle x, nb::handle axis) { return lang::flip(operand(x), to_axes(axis)); },
      nb::arg("x").none(), nb::arg("axis") = nb::none());
  m.def(
      "concatenate",
      [](nb::handle arrays, std::optional<int64_t> axis) {
        return lang::concatenate(operands_of(arrays, here()), axis);
      },
      nb::arg("arrays"), nb::arg("axis").none() = 0);
  m.def(
      "stack", [](nb::handle arrays, int64_t axis) { return lang::stack(operands_of(arrays, here()), axis); },
      nb::arg("arrays"), nb::arg("axis") = 0);
  m.def(
      "pad",
      [](nb::handle x, nb::handle widths, nb::handle value) {
        const Location where = here();
        return lang::pad(to_operand(x, where), to_widths(widths, where), to_operand(value, where));
      },
      nb::arg("x").none(), nb::arg("widths").none(), nb::arg("value") = 0);
  m.def(
      "take",
      [](nb::handle x, nb::handle indices, std::optional<int64_t> axis) {
        const Location where = here();
        return lang::take(to_operand(x, where), {to_tensor(indices, {}, {}, where), where}, axis);
      },
      nb::arg("x").none(), nb::arg("indices"), nb::arg("axis") = nb::none(),
      "Elements of x along an axis (of the flattened x if None) at the indices, clamped into range.");
  m.def(
      "dynamic_slice",
      [](nb::handle x, nb::handle start, nb::handle sizes) {
        const Location where = here();
        return lang::dynamic_slice(to_operand(x, where), operands_of(start, where), to_shape(sizes));
      },
      nb::arg("x").none(), nb::arg("start"), nb::arg("sizes"),
      "The box of x of fixed sizes that begins at start, moved into x if it reaches outside.");
  m.def(
      "update_slice",
      [](nb::handle x, nb::handle update, nb::handle start) {
        const Location where = here();
        return lang::update_slice(to_operand(x, where), to_operand(update, where), operands_of(start, where));
      },
      nb::arg("x").none(), nb::arg("update"), nb::arg("start"),
      "x with the box that begins at start replaced by update; in place where x is donated.");
}

void bind_composed(nb::module_& m) {
  const auto binary = [&m](const char* name, Tensor (*function)(const Operand&, const Operand&),
                           const char* doc) {
    m.def(
        name,
        [function](nb::handle x, nb::handle y) {
          const Location where = here();
          return function(to_operand(x, where), to_operand(y, where));
        },
        nb::arg("x").none(), nb::arg("y").none(), doc);
  };
  binary("divide", lang::divide, "x / y of each pair of elements; integers become f32.");
  binary("power", lang::power, "x to the power y; whole constant powers are multiplications.");
  m.def(
      "matmul",
      [](nb::handle x, nb::handle y, nb::handle dtype) -> nb::object {
        if (opts_out(y.ptr())) {
          if (dtype.is_none()) return y.attr("__rmatmul__")(x);
          return y.attr("__rmatmul__")(x, nb::arg("dtype") = dtype);
        }
        const Location where = here();
        return wrap(lang::matmul(to_operand(x, where), to_operand(y, where), to_optional_dtype(dtype)));
      },
      nb::arg("x").none(), nb::arg("y").none(), nb::kw_only(), nb::arg("dtype") = nb::none(),
      "The matrix product, over any leading axes, which broadcast.\n\n"
      "dtype: of the sums and the result. Without it what x and y promote to: i8 @ i8 is i8, and wraps. One "
      "may\n"
      "ask for f32 of f16 and bf16, and for i32, modulo 2^32, of integers of 8 or 16 bits (u8 with i8 too).");
  m.def(
      "where",
      [](nb::handle mask, nb::handle x, nb::handle y) {
        const Location where = here();
        return lang::where(to_operand(mask, where), to_operand(x, where), to_operand(y, where));
      },
      nb::arg("condition").none(), nb::arg("x").none(), nb::arg("y").none(),
      "x where the condition holds, y elsewhere.");
  m.def(
      "clip",
      [](nb::handle x, nb::handle low, nb::handle high) {
        const Location where = here();
        Tensor out = to_operand(x, where).as_tensor();
        if (!low.is_none()) out = lang::maximum({out, where}, to_operand(low, where));
        if (!high.is_none()) out = lang::minimum({out, where}, to_operand(high, where));
        return out;
      },
      nb::arg("x").none(), nb::arg("min") = nb::none(), nb::arg("max") = nb::none(),
      "x with what is below min raised to it and what is above max lowered to it; None: no bound.");
  m.def("square", [](nb::handle x) { return lang::square(operand(x)); }, nb::arg("x").none());
  m.def(
      "mean",
      [](nb::handle x, nb::handle axis, bool keepdims) {
        return lang::mean(operand(x), to_axes(axis), keepdims);
      },
      nb::arg("x").none(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false);
  bind_moment(m, "var", lang::var,
              "The mean of the squared distances from the mean, times n / (n - correction).");
  bind_moment(m, "std", lang::std_dev, "The square root of var.");
  m.def(
      "_einsum",
      [](const std::string& spec, nb::args operands, nb::handle dtype) {
        return lang::einsum(spec, operands_of(operands, here()), to_optional_dtype(dtype));
      },
      nb::arg("spec"), nb::arg("operands"), nb::arg("dtype") = nb::none(),
      "Sums of products in Einstein's notation: einsum(\"mk,kn->mn\", x, y). `...` stands for leading axes "
      "that broadcast.");
  m.def(
      "tensordot",
      [](nb::handle x, nb::handle y, nb::handle axes, nb::handle dtype) {
        const Location where = here();
        const Operand a = to_operand(x, where), b = to_operand(y, where);
        Ints left, right;
        if (PyLong_Check(axes.ptr())) {
          const int64_t count = to_int(axes, "tensordot: axes");
          if (count < 0)
            user_error("tensordot: axes is {}, but a number of axes is 0 or more.\n  called at {}", count,
                       where.str());
          for (int64_t i = 0; i < count; ++i) left.push_back(i - count), right.push_back(i);
        } else {
          const bool is_pair = PySequence_Check(axes.ptr()) && PySequence_Size(axes.ptr()) == 2;
          if (!is_pair || nb::object(axes[0]).is_none() || nb::object(axes[1]).is_none())
            user_error(
                "tensordot: axes must be a number, or a pair of axes of x and of y.\n  called at {}\n  Pass "
                "([0, 1], [1, 0]), say.",
                where.str());
          left = *to_axes(axes[0]);
          right = *to_axes(axes[1]);
        }
        return lang::tensordot(a, b, left, right, to_optional_dtype(dtype));
      },
      nb::arg("x").none(), nb::arg("y").none(), nb::arg("axes") = 2, nb::kw_only(),
      nb::arg("dtype") = nb::none());
  m.def(
      "evaluate",
      [](nb::args args) {
        std::vector<nb::object> leaves;
        flatten(args, leaves);
        Tensors tensors;
        for (const nb::object& leaf : leaves)
          if (const Tensor* t = tensor_of(leaf.ptr())) tensors.push_back(*t);
        const nb::gil_scoped_release unlocked;
        lang::evaluate(tensors);
      },
      "Computes several tensors, or structures of them, now and as one program.");
}

Ints to_ints(nb::handle h, const std::string& what) {
  const lang::Axes list = to_axes(h, what);
  if (!list)
    user_error("{} must be an integer, or one for each axis, but None came.\n  called at {}", what,
               here().str());
  return *list;
}

// padding: "valid", "same", a number, or a number or a pair (before, after) for each axis.
lang::Sliding to_sliding(const std::string& function, nb::handle stride, nb::handle padding,
                         nb::handle dilation) {
  lang::Sliding s;
  s.stride = to_ints(stride, function + ": stride");
  s.dilation = to_ints(dilation, function + ": dilation");
  const std::string what = function + ": padding";
  if (PyUnicode_Check(padding.ptr())) {
    const std::string word = nb::cast<std::string>(padding);
    if (word != "same" && word != "valid")
      user_error(
          "{} is \"{}\".\n  called at {}\n  Write \"valid\", \"same\", a number, or a pair for each axis.",
          what, word, here().str());
    s.same = word == "same";
    return s;
  }
  const auto one = [&](nb::handle item) -> std::pair<int64_t, int64_t> {
    if (!PySequence_Check(item.ptr()) || PyUnicode_Check(item.ptr())) {
      const int64_t both = to_int(item, what);
      return {both, both};
    }
    const Ints pair = to_ints(item, what);
    if (pair.size() != 2)
      user_error(
          "{}: an entry has {} numbers.\n  called at {}\n  Write one for both sides, or (before, after).",
          what, pair.size(), here().str());
    return {pair[0], pair[1]};
  };
  if (!PySequence_Check(padding.ptr()))
    s.padding.push_back(one(padding));
  else
    for (nb::handle item : padding) s.padding.push_back(one(item));
  return s;
}

void bind_windows(nb::module_& m) {
  using Convolution = Tensor (*)(const Operand&, const Operand&, const lang::Sliding&, int64_t);
  const auto convolution = [&m](const char* name, Convolution function, const char* doc) {
    m.def(
        name,
        [name, function](nb::handle x, nb::handle w, nb::handle stride, nb::handle padding,
                         nb::handle dilation, nb::handle groups) {
          const Location where = here();
          return function(to_operand(x, where), to_operand(w, where),
                          to_sliding(name, stride, padding, dilation),
                          to_int(groups, std::string(name) + ": groups"));
        },
        nb::arg("x").none(), nb::arg("w").none(), nb::arg("stride").none() = 1,
        nb::arg("padding").none() = "valid", nb::arg("dilation").none() = 1, nb::arg("groups").none() = 1,
        doc);
  };
  convolution(
      "conv", lang::conv,
      "Sums of products of w and the windows of x, along 1 to 3 spatial axes.\n\n"
      "x         [n, c, *spatial]\n"
      "w         [o, c / groups, *taps], of a dtype that promotes with x's\n"
      "stride    from one window to the next: a number, or one for each spatial axis\n"
      "padding   \"valid\" (none), \"same\" (ceil(extent / stride) windows), a number of zeros on both\n"
      "          sides, or for each axis a number or (before, after)\n"
      "dilation  from one tap to the next\n"
      "groups    outputs of group g read channels of group g; groups = c is a depthwise convolution\n"
      "Returns [n, o, *positions], y[n, o, p] = sum of x[n, c, stride p + dilation k - before] w[o, c, k].\n"
      "Moves   x and w in, the result out: windows are read in place, and what follows is fused.\n"
      "Raises  UserError if ranks, channels or groups do not fit, or a window is larger than x.");
  convolution(
      "conv_transpose", lang::conv_transpose,
      "The transpose of conv as a linear map of x, with the w of that conv.\n\n"
      "x         [n, o, *positions]\n"
      "w         [o, c / groups, *taps]\n"
      "Returns [n, c, *spatial] of stride (p - 1) + dilation (taps - 1) + 1 elements less the padding for\n"
      "        p positions; padding=\"same\": stride p. The other parameters are those of conv.\n"
      "Raises  UserError if ranks, channels or groups do not fit, or the padding cuts off more than all.");
  using Pool = Tensor (*)(const Operand&, const Ints&, const lang::Sliding&);
  const auto pooling = [&m](const char* name, Pool function, const char* doc) {
    m.def(
        name,
        [name, function](nb::handle x, nb::handle taps, nb::handle stride, nb::handle padding,
                         nb::handle dilation) {
          const Operand image = to_operand(x);
          const Ints extents = to_ints(taps, std::string(name) + ": window");
          return function(image, extents,
                          to_sliding(name, stride.is_none() ? taps : stride, padding, dilation));
        },
        nb::arg("x").none(), nb::arg("window").none(), nb::arg("stride") = nb::none(),
        nb::arg("padding").none() = "valid", nb::arg("dilation").none() = 1, doc);
  };
  pooling("max_pool", lang::max_pool,
          "The largest element of each window of x, [n, c, *spatial]. Padding is never the largest;\n"
          "of a window of nothing else it is the least value of the dtype.\n\n"
          "window  elements along each spatial axis: a number, or one for each\n"
          "stride  from one window to the next; None: the window, so that none overlap\n"
          "padding, dilation: as in conv. Raises UserError if a window is larger than x.");
  pooling("mean_pool", lang::mean_pool,
          "The mean of each window of x, [n, c, *spatial]. Padding counts as zeros; integers become f32.\n\n"
          "window  elements along each spatial axis: a number, or one for each\n"
          "stride  from one window to the next; None: the window, so that none overlap\n"
          "padding, dilation: as in conv. Raises UserError if a window is larger than x.");
  m.def(
      "window",
      [](nb::handle x, nb::handle axes, nb::handle taps, nb::handle stride, nb::handle padding,
         nb::handle dilation) {
        const Operand operand = to_operand(x);
        return lang::window(operand, to_ints(axes, "window: axes"), to_ints(taps, "window: taps"),
                            to_sliding("window", stride, padding, dilation));
      },
      nb::arg("x").none(), nb::arg("axes"), nb::arg("taps"), nb::arg("stride") = 1,
      nb::arg("padding") = "valid", nb::arg("dilation") = 1,
      "The windows of x along axes: y[.., i, .., k] = x[.., stride i + dilation k - before, ..], 0 in the "
      "padding.\n\n"
      "Positions take the place of each axis, taps are new axes at the end. What is computed of them reads "
      "x:\n"
      "the windows lie nowhere, unless they are the result. stride, padding, dilation: as in conv.");
}

void bind_random(nb::module_& parent) {
  nb::module_ m = parent.def_submodule(
      "random", "Random numbers as pure functions of a key and a position (Philox4x32-10).");
  m.def(
      "key",
      [](nb::handle seed, nb::handle device) {
        const auto there = creating_on(device);
        return lang::random::key(operand(seed));
      },
      nb::arg("seed"), nb::kw_only(), nb::arg("device") = nb::none(), "A key, u32[2], from an integer seed.");
  m.def(
      "split", [](nb::handle key, int64_t n) { return lang::random::split(operand(key), n); }, nb::arg("key"),
      nb::arg("n") = 2, "n new keys, u32[n,2].");
  m.def(
      "fold_in",
      [](nb::handle key, nb::handle data) {
        const Location where = here();
        return lang::random::fold_in(to_operand(key, where), to_operand(data, where));
      },
      nb::arg("key"), nb::arg("data"), "A new key from a key and an integer.");
  m.def(
      "bits",
      [](nb::handle key, nb::handle shape, nb::handle offset) {
        const Location where = here();
        return lang::random::bits(to_operand(key, where), to_shape(shape), to_operand(offset, where));
      },
      nb::arg("key"), nb::arg("shape") = nb::make_tuple(), nb::arg("offset") = 0,
      "Random u32 words. Word j is word (offset + j) % 4 of block (offset + j) // 4.");
  m.def(
      "uniform",
      [](nb::handle key, nb::handle shape, nb::handle low, nb::handle high, nb::handle offset,
         nb::handle dtype) {
        const Location where = here();
        return lang::random::uniform(to_operand(key, where), to_shape(shape), to_operand(low, where),
                                     to_operand(high, where), to_operand(offset, where),
                                     dtype.is_none() ? Dtype::f32 : to_dtype(dtype));
      },
      nb::arg("key"), nb::arg("shape") = nb::make_tuple(), nb::arg("low") = 0.0, nb::arg("high") = 1.0,
      nb::kw_only(), nb::arg("offset") = 0, nb::arg("dtype") = nb::none(), "Uniform floats in [low, high).");
  m.def(
      "normal",
      [](nb::handle key, nb::handle shape, nb::handle offset, nb::handle dtype) {
        const Location where = here();
        return lang::random::normal(to_operand(key, where), to_shape(shape), to_operand(offset, where),
                                    dtype.is_none() ? Dtype::f32 : to_dtype(dtype));
      },
      nb::arg("key"), nb::arg("shape") = nb::make_tuple(), nb::kw_only(), nb::arg("offset") = 0,
      nb::arg("dtype") = nb::none(), "Standard normal floats.");
  m.def(
      "integers",
      [](nb::handle key, nb::handle low, nb::handle high, nb::handle shape, nb::handle offset,
         nb::handle dtype) {
        const Location where = here();
        return lang::random::integers(to_operand(key, where), to_operand(low, where), to_operand(high, where),
                                      to_shape(shape), to_operand(offset, where),
                                      dtype.is_none() ? Dtype::i32 : to_dtype(dtype));
      },
      nb::arg("key"), nb::arg("low"), nb::arg("high"), nb::arg("shape") = nb::make_tuple(), nb::kw_only(),
      nb::arg("offset") = 0, nb::arg("dtype") = nb::none(), "Integers in [low, high).");
}

}  // namespace

void bind_ops(nb::module_& m) {
#define TENFOLD_BIND_MAP1(...) bind_map1(m, __VA_ARGS__)
#define TENFOLD_BIND_MAP2(...) bind_map2(m, __VA_ARGS__)
#define TENFOLD_BIND_MAP3(...) bind_map3(m, __VA_ARGS__)
#define TENFOLD_BIND_DTYPE_MAP1(...) bind_dtype_map1(m, __VA_ARGS__)
#define TENFOLD_BIND_REDUCE(...) bind_reduce(m, __VA_ARGS__)
#include "tenfold/generated/ops_bind.inc"
  bind_creation(m);
  bind_shape(m);
  bind_composed(m);
  bind_windows(m);
  bind_random(m);
}

}  // namespace tenfold::python
