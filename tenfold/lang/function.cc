#include "tenfold/lang/function.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/lang/tensor_impl.h"

namespace tenfold::lang {
namespace {

constexpr int64_t kMostOperations = 1'000'000;  // of one trace; more is a loop that does not end

// An unsigned, a signed, a floating and a complex number can be ordered by what they can hold.
int rank_of(Dtype d) { return is_bool(d) ? 0 : is_int(d) ? 1 : is_float(d) ? 2 : 3; }

bool is_weak(const Operand& o) { return o.is_number() || o.tensor().weak(); }

Dtype default_of(int rank) {
  constexpr Dtype kDefaults[] = {Dtype::boolean, Dtype::i64, Dtype::f32, Dtype::complex64};
  return kDefaults[rank];
}

std::string plain_name(const Prim& prim) {
  constexpr std::string_view kPrefix = "reduce_";
  return std::string(prim.name.starts_with(kPrefix) ? prim.name.substr(kPrefix.size()) : prim.name);
}

std::string operand_type(const Operand& o) {
  return o.is_number() ? o.number().str() : o.tensor().type().str();
}

Tensor binary(std::string_view name, const Operand& x, const Operand& y) {
  return apply_map(prim(name), {x, y});
}

bool all_bool(const Operand& x, const Operand& y) { return is_bool(x.dtype()) && is_bool(y.dtype()); }

Ints all_axes(const Operand& x) {
  Ints axes(static_cast<size_t>(x.shape().size()));
  std::iota(axes.begin(), axes.end(), int64_t{0});
  return axes;
}

Ints normal_axes(const Axes& axes, const Operand& x, std::string_view function) {
  if (!axes) return all_axes(x);
  Ints out;
  for (int64_t axis : *axes)
    out.push_back(normal_axis(axis, static_cast<int64_t>(x.shape().size()), function, x));
  std::ranges::sort(out);
  if (std::ranges::adjacent_find(out) != out.end())
    fail(fmt::format("{}: an axis is named twice in [{}]", function, fmt::join(*axes, ",")), {&x, 1});
  return out;
}

NodeRef keep_axes(const NodeRef& reduced, const Shape& full, const Ints& axes) {
  Shape shape = full;
  for (int64_t axis : axes) shape[axis] = 1;
  return build::reshape(reduced, shape);
}

}  // namespace

bool takes(const Prim& prim, Dtype dtype) {
  static std::mutex mutex;
  static std::unordered_map<const Prim*, std::array<int8_t, kDtypeCount>> known;
  const std::lock_guard lock(mutex);
  auto [at, is_new] = known.try_emplace(&prim);
  if (is_new) at->second.fill(-1);
  int8_t& answer = at->second[static_cast<size_t>(dtype)];
  if (answer < 0) {
    const bool is_reduce = prim.kind == Kind::reduce;
    const Type type = is_reduce ? Type{dtype, {Dim(1)}} : Type{dtype, {}};
    Nodes inputs;
    for (int k = 0; k < std::max(prim.arity, 1); ++k)
      inputs.push_back(build::parameter(
          k, !prim.operands.empty() && prim.operands[k] == "mask" ? Type{Dtype::boolean, type.shape} : type));
    Attrs attrs;
    if (is_reduce) attrs.set("axes", Ints{0});
    try {
      prim.type(attrs, inputs);
      answer = 1;
    } catch (const UserError&) {
      answer = 0;
    } catch (const InternalError&) {
      answer = 1;  // it wants attributes that we do not know: let the real call say
    }
  }
  return answer == 1;
}

void check_fits(std::string_view function, const Scalar& s, Dtype dtype, Location where) {
  if (!is_int(dtype) || !s.is_int()) return;
  const int bits = 8 * static_cast<int>(size_of(dtype)) - (is_signed_int(dtype) ? 1 : 0);
  const uint64_t highest = ~uint64_t{0} >> (64 - bits);
  const int64_t lowest = is_signed_int(dtype) ? -static_cast<int64_t>(highest) - 1 : 0;
  const bool is_negative = s.is_i64() && s.i() < 0;
  if (is_negative ? s.i() >= lowest : s.u() <= highest) return;
  user_error(
      "{}: {} does not fit into {}, which holds {} to {}.\n  called at {}\n  Pass a wider dtype, or "
      "wrap it on purpose: tn.asarray(a).astype(\"{}\").",
      function, s.str(), name(dtype), lowest, highest, where.str(), name(dtype));
}

void fail(std::string_view reason, std::span<const Operand> operands,
          std::span<const std::string_view> names) {
  constexpr std::string_view kPlain[] = {"x", "y", "z"};
  if (reason.find("\n  called at ") != std::string_view::npos) throw UserError(std::string(reason));  // said
  std::string text(reason);
  if (!operands.empty() && operands[0].where().file)
    text += fmt::format("\n  called at {}", operands[0].where().str());
  for (size_t i = 0; i < operands.size(); ++i) {
    const std::string name = i < names.size()       ? std::string(names[i])
                             : operands.size() <= 3 ? std::string(kPlain[i])
                                                    : fmt::format("input {}", i);
    text += fmt::format("\n  {}: {}", name, operand_type(operands[i]));
    if (!operands[i].is_number() && operands[i].tensor().where().file)
      text += fmt::format("   from {}", operands[i].tensor().where().str());
  }
  throw UserError(text);
}

int64_t normal_axis(int64_t axis, int64_t rank, std::string_view function, const Operand& x) {
  if (axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis;
  if (rank == 0) fail(fmt::format("{}: axis {} does not exist: x has no axes", function, axis), {&x, 1});
  fail(fmt::format("{}: axis {} does not exist: the axes go from {} to {}", function, axis, -rank, rank - 1),
       {&x, 1});
}

Dtype result_dtype(std::span<const Operand> operands, std::string_view function) {
  std::optional<Dtype> strong;
  int weak_rank = -1;
  bool weak_u64 = false;
  for (const Operand& o : operands) {
    if (is_weak(o)) {
      weak_rank = std::max(weak_rank, rank_of(o.dtype()));
      weak_u64 |= o.dtype() == Dtype::u64;
      continue;
    }
    if (!strong) {
      strong = o.dtype();
      continue;
    }
    const auto both = promote(*strong, o.dtype());
    if (!both)
      fail(fmt::format("{}: {} and {} have no common dtype: mixing kinds is left open by the Array API. "
                       "Convert one with astype.",
                       function, name(*strong), name(o.dtype())),
           operands);
    strong = *both;
  }
  if (!strong) return weak_u64 && weak_rank == 1 ? Dtype::u64 : default_of(std::max(weak_rank, 0));
  if (weak_rank <= rank_of(*strong)) return *strong;
  if (weak_rank == 3) return *strong == Dtype::f64 ? Dtype::complex128 : Dtype::complex64;
  return default_of(weak_rank);
}

Shape broadcast_shapes(std::span<const Operand> operands, std::string_view function) {
  Shape out;
  for (const Operand& o : operands) {
    const Shape shape = o.shape();
    if (shape.size() > out.size()) out.insert(out.begin(), shape.size() - out.size(), Dim(1));
    for (size_t d = 0; d < shape.size(); ++d) {
      Dim& extent = out[out.size() - shape.size() + d];
      if (shape[d] == extent || shape[d] == Dim(1)) continue;
      if (extent == Dim(1)) {
        extent = shape[d];
        continue;
      }
      fail(fmt::format("{}: the shapes do not broadcast: axis {} is {} in one operand and {} in another; "
                       "they must be equal or 1",
                       function, static_cast<int64_t>(d) - static_cast<int64_t>(shape.size()), extent.str(),
                       shape[d].str()),
           operands);
    }
  }
  return out;
}

NodeRef node_of(const Operand& o) {
  return o.is_number() ? build::constant(o.number(), o.dtype()) : node_for_use(o.tensor().value(), o.where());
}

NodeRef node_of(const Operand& o, Dtype dtype) {
  return o.is_number() ? build::constant(o.number(), dtype) : build::convert(node_of(o), dtype);
}

namespace {

// A number in eager code is an argument, so that another number needs no other program; in a trace it is a
// constant.
Operand settle(const Operand& o, Dtype dtype, std::string_view function) {
  if (!o.is_number()) return o;
  check_fits(function, o.number(), dtype, o.where());
  if (tracing()) return o;
  return {Tensor(make_number(o.number(), dtype, o.where(), true)), o.where()};
}

}  // namespace

std::vector<Tensor> finish(const Nodes& results, const Operands& operands, Location where, bool weak) {
  TraceRef trace;
  std::vector<ValueRef> inputs;
  for (const Operand& o : operands) {
    if (o.is_number()) continue;
    const ValueRef& value = o.tensor().value();
    if (value->trace && (!trace || value->trace->start > trace->start)) trace = value->trace;
    inputs.push_back(value);
  }
  if (tracing()) {
    TraceState& inner = *open_traces().back();
    if (++inner.operations > kMostOperations)
      user_error(
          "{} has recorded {} operations and goes on (now at {}).\n  A Python loop or a recursion on traced "
          "values does "
          "not end while tracing: use tn.scan, tn.while_loop or tn.cond.",
          inner.what, kMostOperations, where.str());
  }
  std::vector<Tensor> out;
  for (const NodeRef& node : results)
    out.emplace_back(trace ? make_traced(node, trace, where, weak) : make_pending(node, inputs, where, weak));
  return out;
}

Tensor finish(const NodeRef& result, const Operands& operands, Location where, bool weak) {
  return finish(Nodes{result}, operands, where, weak)[0];
}

Tensor apply_map(const Prim& prim, Operands operands, Attrs attrs) {
  const bool masked = !prim.operands.empty() && prim.operands[0] == "mask";
  const std::span<const Operand> valued(operands.begin() + masked, operands.end());
  Dtype dtype = result_dtype(valued, prim.name);
  if (is_int(dtype) && !takes(prim, dtype) && takes(prim, Dtype::f32)) dtype = Dtype::f32;
  const bool weak = std::ranges::all_of(valued, is_weak);
  if (weak && is_float(dtype)) dtype = Dtype::f64;  // kept exact until it meets a tensor
  const Location where = operands[0].where();
  try {
    const Shape shape = broadcast_shapes(operands, prim.name);
    Nodes nodes;
    for (size_t i = 0; i < operands.size(); ++i) {
      const bool is_mask = masked && i == 0;
      operands[i] = settle(operands[i], is_mask ? Dtype::boolean : dtype, prim.name);
      NodeRef node = is_mask ? node_of(operands[i]) : node_of(operands[i], dtype);
      nodes.push_back(build::broadcast_to(node, shape));
    }
    return finish(make(prim, std::move(nodes), std::move(attrs)), operands, where, weak);
  } catch (const UserError& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) throw;
    fail(error.what(), operands, prim.operands);
  }
}

Tensor apply_reduce(const Prim& prim, const Operand& x, const Axes& axes, bool keepdims) {
  const std::string function = plain_name(prim);
  const Ints over = normal_axes(axes, x, function);
  return compose(function, {x}, [&](const Nodes& in) {
    NodeRef node = in[0];
    const Dtype from = node->dtype();
    // Sums of narrow integers are taken in the default integer; flags are counted.
    const bool widens = prim.has("combine:add") || prim.has("combine:mul");
    if (widens && (is_signed_int(from) || is_bool(from)))
      node = build::convert(node, Dtype::i64);
    else if (widens && is_unsigned_int(from))
      node = build::convert(node, Dtype::u64);
    else if (!takes(prim, from) && takes(prim, Dtype::boolean))
      node = build::convert(node, Dtype::boolean);
    const Shape shape = node->shape();
    Ints reduced = over;
    const bool one_axis =
        prim.properties.empty() || !(widens || prim.has("combine:maximum") || prim.has("combine:minimum") ||
                                     prim.has("combine:logical_or") || prim.has("combine:logical_and"));
    if (one_axis && over.size() != 1) {  // argmax of everything
      if (axes) user_error("{}: takes one axis, but {} came", function, over.size());
      node = build::reshape(node, {volume(shape)});
      reduced = {0};
    }
    NodeRef y = reduced.empty() ? node : make(prim, {node}, {{"axes", reduced}});
    return keepdims ? keep_axes(y, shape, over) : y;
  });
}

// ---- creation

namespace {

Tensor constant_tensor(const NodeRef& node, Location where) { return Tensor(make_pending(node, {}, where)); }

}  // namespace

Tensor full(const Shape& shape, const Operand& value, std::optional<Dtype> dtype) {
  const Dtype d = dtype ? *dtype : value.dtype();
  const Operand settled(settle(value, d, "full").as_tensor(), value.where());  // with all its digits
  return compose("full", {settled},
                 [&](const Nodes& in) { return build::broadcast_to(build::convert(in[0], d), shape); });
}

Tensor zeros(const Shape& shape, Dtype dtype, Location where) {
  return constant_tensor(build::full(0, {dtype, shape}), where);
}
Tensor ones(const Shape& shape, Dtype dtype, Location where) {
  return constant_tensor(build::full(1, {dtype, shape}), where);
}

Tensor full_like(const Operand& x, const Operand& value, std::optional<Dtype> dtype) {
  const DeviceScope there(x.is_number() || x.tensor().traced() ? "cpu" : x.tensor().device());
  return full(x.shape(), value, dtype ? *dtype : x.dtype());
}

Tensor arange(const Operand& start, const Operand& stop, const Operand& step, std::optional<Dtype> dtype) {
  const Operand parts[] = {start, stop, step};
  for (const Operand& part : parts)
    if (!part.is_number())
      fail("arange: start, stop and step must be numbers, because they decide the shape", parts);
  const bool whole = start.number().is_int() && stop.number().is_int() && step.number().is_int();
  const Dtype d = dtype ? *dtype : whole ? Dtype::i64 : Dtype::f32;
  if (step.number().f() == 0) fail("arange: the step is 0", parts);
  const double count = std::max(std::ceil((stop.number().f() - start.number().f()) / step.number().f()), 0.0);
  if (std::isnan(count)) fail("arange: start, stop or step is not a number", parts);
  if (!(count < 1e12)) fail(fmt::format("arange: {} elements are too many", count), parts);
  const Dtype wide = whole ? Dtype::i64 : d == Dtype::f64 || is_int(d) ? Dtype::f64 : Dtype::f32;
  NodeRef node = build::iota({Dim(static_cast<int64_t>(count))}, 0, wide);
  const Type type = node->type();
  if (step.number().f() != 1) node = build::map("mul", {node, build::full(step.number(), type)});
  if (start.number().f() != 0) node = build::map("add", {node, build::full(start.number(), type)});
  return constant_tensor(build::convert(node, d), start.where());
}

Tensor linspace(const Operand& start, const Operand& stop, int64_t count, bool endpoint,
                std::optional<Dtype> dtype) {
  if (count < 0)
    user_error("linspace: {} elements were asked for; a count is at least 0\n  called at {}", count,
               start.where().str());
  const Operand ends[] = {start, stop};
  Dtype d = dtype ? *dtype : result_dtype(ends, "linspace");
  if (!dtype && !is_inexact(d)) d = Dtype::f32;
  const Operand low = settle(start, d, "linspace"), high = settle(stop, d, "linspace");
  return compose("linspace", {low, high}, [&](const Nodes& in) {
    const double parts = static_cast<double>(std::max<int64_t>(1, endpoint ? count - 1 : count));
    const NodeRef first = build::convert(in[0], d), last = build::convert(in[1], d);
    const NodeRef at = build::convert(build::iota({Dim(count)}, 0, Dtype::i64), real_of(d));
    const NodeRef t = build::convert(build::map("div", {at, build::full(parts, at->type())}), d);
    const NodeRef one = build::full(1, t->type());
    // Both ends are exact: first * (1 - t) + last * t.
    return build::map(
        "add", {build::map("mul", {build::map("sub", {one, t}), first}), build::map("mul", {t, last})});
  });
}

Tensor eye(const Dim& rows, std::optional<Dim> cols, int64_t diagonal, Dtype dtype, Location where) {
  const Shape shape{rows, cols ? *cols : rows};
  const NodeRef row = build::iota(shape, 0), col = build::iota(shape, 1);
  const NodeRef shifted = build::map("add", {row, build::full(diagonal, row->type())});
  return constant_tensor(build::convert(build::map("equal", {shifted, col}), dtype), where);
}

// ---- shape

Tensor astype(const Operand& x, Dtype dtype) {
  const Operand settled = settle(x, x.dtype(), "astype");
  const NodeRef node = build::convert(node_of(settled), dtype);
  return finish(node, {settled}, x.where());
}

Tensor broadcast_to(const Operand& x, const Shape& shape) {
  const Operand wanted[] = {x};
  const Shape from = x.shape();
  bool fits = from.size() <= shape.size();
  for (size_t d = 0; fits && d < from.size(); ++d) {
    const Dim& extent = shape[shape.size() - from.size() + d];
    fits = from[d] == extent || from[d] == Dim(1);
  }
  if (!fits)
    fail(fmt::format("broadcast_to: {} cannot become {}: each axis, from the right, must be equal or 1",
                     str(from), str(shape)),
         wanted);
  return compose("broadcast_to", {settle(x, x.dtype(), "broadcast_to")},
                 [&](const Nodes& in) { return build::broadcast_to(in[0], shape); });
}

Tensor reshape(const Operand& x, const Shape& shape) {
  Shape wanted = shape;
  const Dim total = volume(x.shape());
  const auto open = std::ranges::find(wanted, Dim(-1));
  if (open != wanted.end()) {
    *open = 1;
    const Dim rest = volume(wanted);
    const Dim extent = rest == Dim(0) ? Dim(0) : floordiv(total, rest);
    if (std::ranges::count(wanted, Dim(-1)) > 0 || !(extent * rest == total))
      fail(fmt::format("reshape: {} elements cannot be laid out as {}", total.str(), str(shape)), {&x, 1});
    *open = extent;
  } else if (!(volume(wanted) == total) && is_const(wanted) && is_const(x.shape())) {
    fail(fmt::format("reshape: x has {} elements, but {} has {}", total.str(), str(shape),
                     volume(wanted).str()),
         {&x, 1});
  }
  return compose("reshape", {x}, [&](const Nodes& in) { return build::reshape(in[0], wanted); });
}

Tensor permute(const Operand& x, const Ints& order) {
  const auto rank = static_cast<int64_t>(x.shape().size());
  Ints normal;
  for (int64_t axis : order) normal.push_back(normal_axis(axis, rank, "permute", x));
  Ints sorted = normal;
  std::ranges::sort(sorted);
  if (sorted != all_axes(x))
    fail(fmt::format("permute: [{}] is not an order of the axes 0 to {}, each once", fmt::join(order, ","),
                     rank - 1),
         {&x, 1});
  return compose("permute", {x}, [&](const Nodes& in) { return build::transpose(in[0], normal); });
}

Tensor transpose(const Operand& x) {
  Ints order = all_axes(x);
  std::ranges::reverse(order);
  return permute(x, order);
}

Tensor matrix_transpose(const Operand& x) {
  Ints order = all_axes(x);
  if (order.size() < 2) fail("matrix_transpose: x needs at least two axes", {&x, 1});
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return permute(x, order);
}

Tensor moveaxis(const Operand& x, int64_t from, int64_t to) {
  const auto rank = static_cast<int64_t>(x.shape().size());
  from = normal_axis(from, rank, "moveaxis", x);
  to = normal_axis(to, rank, "moveaxis", x);
  Ints order = all_axes(x);
  order.erase(order.begin() + from);
  order.insert(order.begin() + to, from);
  return permute(x, order);
}

Tensor expand_dims(const Operand& x, int64_t axis) {
  Shape shape = x.shape();
  axis = normal_axis(axis, static_cast<int64_t>(shape.size()) + 1, "expand_dims", x);
  shape.insert(shape.begin() + axis, Dim(1));
  return reshape(x, shape);
}

Tensor squeeze(const Operand& x, const Axes& axes) {
  Shape shape;
  const Ints gone = normal_axes(axes, x, "squeeze");
  for (int64_t d = 0; d < static_cast<int64_t>(x.shape().size()); ++d) {
    const bool named = std::ranges::binary_search(gone, d);
    const bool is_one = x.shape()[d] == Dim(1);
    if (named && axes && !is_one)
      fail(fmt::format("squeeze: axis {} has {} elements; only an axis of 1 can be dropped", d,
                       x.shape()[d].str()),
           {&x, 1});
    if (!named || !is_one) shape.push_back(x.shape()[d]);
  }
  return reshape(x, shape);
}

Tensor flip(const Operand& x, const Axes& axes) {
  const Ints over = normal_axes(axes, x, "flip");
  return compose("flip", {x}, [&](const Nodes& in) {
    return over.empty() ? in[0] : make("reverse", {in[0]}, {{"axes", over}});
  });
}

Tensor concatenate(const Operands& parts, std::optional<int64_t> axis) {
  if (parts.empty()) user_error("concatenate: there is nothing to concatenate; give at least one tensor");
  Operands inputs = parts;
  if (!axis)
    for (Operand& part : inputs) part = {reshape(part, {volume(part.shape())}), part.where()};
  const auto rank = static_cast<int64_t>(inputs[0].shape().size());
  if (rank == 0) fail("concatenate: tensors of rank 0 have no axis to be joined along; use stack", inputs);
  const int64_t along = normal_axis(axis.value_or(0), rank, "concatenate", inputs[0]);
  const Dtype dtype = result_dtype(inputs, "concatenate");
  for (size_t k = 1; k < inputs.size(); ++k) {
    bool fits = static_cast<int64_t>(inputs[k].shape().size()) == rank;
    for (int64_t d = 0; fits && d < rank; ++d)
      fits = d == along || inputs[k].shape()[d] == inputs[0].shape()[d];
    if (!fits)
      fail(fmt::format("concatenate: input {} does not fit input 0: every axis but axis {} must agree", k,
                       along),
           inputs);
  }
  return compose("concatenate", inputs, [&](Nodes in) {
    for (NodeRef& node : in) node = build::convert(node, dtype);
    return build::concatenate(in, along);
  });
}

Tensor stack(const Operands& parts, int64_t axis) {
  if (parts.empty()) user_error("stack: there is nothing to stack; give at least one tensor");
  Operands inputs;
  const Dtype dtype = result_dtype(parts, "stack");
  for (size_t k = 0; k < parts.size(); ++k) {
    const Operand& part = parts[k];
    if (!(part.shape() == parts[0].shape()))
      fail(fmt::format("stack: input {} is {}, but input 0 is {}; every tensor must have the same shape", k,
                       str(part.shape()), str(parts[0].shape())),
           parts);
    const Operand settled = settle(part, dtype, "stack");
    inputs.emplace_back(expand_dims({settled.as_tensor(), part.where()}, axis), part.where());
  }
  return concatenate(inputs,
                     normal_axis(axis, static_cast<int64_t>(parts[0].shape().size()) + 1, "stack", parts[0]));
}

Tensor pad(const Operand& x, const std::vector<std::pair<int64_t, int64_t>>& widths, const Operand& value) {
  const size_t rank = x.shape().size();
  if (widths.size() != rank)
    fail(fmt::format("pad: {} pairs of widths came, but x has {} axes", widths.size(), rank), {&x, 1});
  Shape low, high;
  for (const auto& [before, after] : widths) {
    if (before < 0 || after < 0)
      fail(fmt::format("pad: the width ({}, {}) is negative; use a slice to cut", before, after), {&x, 1});
    low.emplace_back(before);
    high.emplace_back(after);
  }
  const Operand fill = settle(value, x.dtype(), "pad");
  return compose("pad", {x, fill}, [&](const Nodes& in) {
    return build::pad(in[0], build::convert(in[1], in[0]->dtype()), low, high);
  });
}

// ---- indexing

namespace {

// Python's rule: negative counts from the end, outside is clamped.
Dim clamped(int64_t at, const Dim& extent) {
  return at >= 0 ? min(Dim(at), extent) : max(extent + at, Dim(0));
}

struct Picked {
  NodeRef node;
  bool is_dynamic = false;
};

}  // namespace

Tensor index(const Operand& x, const std::vector<Index>& items) {
  const auto rank = static_cast<int64_t>(x.shape().size());
  int64_t named = 0, ellipses = 0;
  Operands operands{x};
  for (const Index& item : items) {
    if (std::holds_alternative<Ellipsis>(item))
      ++ellipses;
    else if (!std::holds_alternative<NewAxis>(item))
      ++named;
    if (const auto* t = std::get_if<Tensor>(&item)) operands.emplace_back(*t, x.where());
  }
  if (ellipses > 1) fail("index: `...` stands twice; once is enough", operands);
  if (named > rank)
    fail(fmt::format("index: {} indices came, but x has {} ax{}", named, rank, rank == 1 ? "is" : "es"),
         {&x, 1});
  for (size_t i = 1; i < operands.size(); ++i) {
    if (is_bool(operands[i].dtype()))
      fail(
          "index: a mask cannot be an index, because the shape of the result would depend on its values. Use "
          "tn.where.",
          operands);
    if (!is_int(operands[i].dtype()))
      fail(fmt::format("index: an index must be integers, but it is {}", operands[i].tensor().type().str()),
           operands);
  }
  if (operands.size() > 2)
    fail("index: one tensor may stand among the indices; use tn.take one axis at a time", operands);

  return compose("index", operands, [&](const Nodes& in) {
    NodeRef node = in[0];
    // First the slices and integers, then the shape, and the tensor's axis last.
    Shape start(rank), stop = node->shape(), shape;
    Ints step(rank, 1), reversed;
    int64_t axis = 0, gathered = -1;
    std::vector<bool> drop(rank, false);
    std::vector<std::pair<int64_t, bool>> layout;  // axis, or a new one
    const auto keep = [&] { layout.emplace_back(axis++, false); };
    const auto all_items = [&] {
      std::vector<Index> all = items;
      if (ellipses == 0) all.emplace_back(Ellipsis{});
      return all;
    }();
    for (const Index& item : all_items) {
      if (std::holds_alternative<Ellipsis>(item)) {
        for (int64_t k = named; k < rank; ++k) keep();
      } else if (std::holds_alternative<NewAxis>(item)) {
        layout.emplace_back(-1, true);
      } else if (const auto* at = std::get_if<int64_t>(&item)) {
        const Dim extent = node->shape()[axis];
        const Dim place = *at < 0 ? extent + *at : Dim(*at);
        if (!provably_lt(place, extent) || !provably_le(Dim(0), place))
          user_error("index: {} is out of range for axis {}, which has {} elements", *at, axis, extent.str());
        start[axis] = place;
        stop[axis] = place + 1;
        drop[axis] = true;
        ++axis;
      } else if (const auto* slice = std::get_if<Slice>(&item)) {
        const Dim extent = node->shape()[axis];
        if (slice->step == 0) user_error("index: the step of the slice of axis {} is 0", axis);
        if (slice->step > 0) {
          start[axis] = slice->start ? clamped(*slice->start, extent) : Dim(0);
          stop[axis] = max(slice->stop ? clamped(*slice->stop, extent) : extent, start[axis]);
          step[axis] = slice->step;
        } else {  // x[a:b:-s] is the slice b+1 .. a of the reversed axis
          reversed.push_back(axis);
          const auto mirrored =
              [&](int64_t place) {  // of a place, negative from the end, in the reversed axis
                return place >= 0 ? max(extent - 1 - place, Dim(0)) : min(Dim(-place - 1), extent);
              };
          start[axis] = slice->start ? mirrored(*slice->start) : Dim(0);
          stop[axis] = max(slice->stop ? mirrored(*slice->stop) : extent, start[axis]);
          step[axis] = -slice->step;
        }
        keep();
      } else {
        gathered = axis;
        keep();
      }
    }
    if (!reversed.empty()) node = make("reverse", {node}, {{"axes", reversed}});
    node = build::slice(node, start, stop, step);
    int64_t gathered_at = -1;
    for (const auto& [from, is_new] : layout) {
      if (!is_new && from == gathered) gathered_at = static_cast<int64_t>(shape.size());
      shape.push_back(is_new ? Dim(1) : node->shape()[from]);
    }
    node = build::reshape(node, shape);
    if (gathered >= 0) {
      NodeRef indices = build::convert(in[1], Dtype::i64);
      // Negative indices count from the end, when the extent is known.
      const Dim extent = node->shape()[gathered_at];
      if (extent.is_const() && is_signed_int(in[1]->dtype())) {
        const NodeRef zero = build::zeros_like(indices);
        const NodeRef wrapped = build::map("add", {indices, build::full(extent.value(), indices->type())});
        indices = build::select(build::map("less", {indices, zero}), wrapped, indices);
      }
      node = make("gather", {node, indices}, {{"axis", gathered_at}});
    }
    return node;
  });
}

Tensor take(const Operand& x, const Operand& indices, std::optional<int64_t> axis) {
  const Operand both[] = {x, indices};
  if (!is_int(indices.dtype()))
    fail(fmt::format("take: indices must be integers, but they are {}", name(indices.dtype())), both);
  const Operand source = axis ? x : Operand(reshape(x, {volume(x.shape())}), x.where());
  const int64_t along =
      normal_axis(axis.value_or(0), static_cast<int64_t>(source.shape().size()), "take", source);
  return compose("take", {source, settle(indices, Dtype::i64, "take")}, [&](const Nodes& in) {
    return make("gather", {in[0], build::convert(in[1], Dtype::i64)}, {{"axis", along}});
  });
}

namespace {

Operands with_starts(std::string_view function, Operands first, const Operands& starts) {
  for (const Operand& s : starts) {
    if (!is_int(s.dtype()))
      fail(fmt::format("{}: a start must be an integer, but it is {}", function, name(s.dtype())), {&s, 1});
    first.push_back(settle(s, Dtype::i64, function));
  }
  return first;
}

}  // namespace

Tensor dynamic_slice(const Operand& x, const Operands& start, const Shape& sizes) {
  return compose("dynamic_slice", with_starts("dynamic_slice", {x}, start), [&](Nodes in) {
    for (size_t i = 1; i < in.size(); ++i) in[i] = build::convert(in[i], Dtype::i64);
    return make("dynamic_slice", in, {{"sizes", sizes}});
  });
}

Tensor update_slice(const Operand& x, const Operand& update, const Operands& starts) {
  return compose("update_slice",
                 with_starts("update_slice", {x, settle(update, x.dtype(), "update_slice")}, starts),
                 [&](Nodes in) {
                   in[1] = build::convert(in[1], in[0]->dtype());
                   for (size_t i = 2; i < in.size(); ++i) in[i] = build::convert(in[i], Dtype::i64);
                   return make("update_slice", in);
                 });
}

// ---- contractions

namespace {

struct Spec {
  std::vector<std::string> inputs;
  std::string output;
};

// "ij,jk->ik", "ij,jk", with `...` for leading axes that broadcast.
Spec parse_spec(std::string_view text, const Operands& operands) {
  Spec spec;
  std::string clean;
  for (char c : text)
    if (c != ' ') clean += c;
  const auto arrow = clean.find("->");
  if (arrow != std::string::npos && clean.find("->", arrow + 2) != std::string::npos)
    fail(fmt::format("einsum \"{}\": `->` stands twice", text), operands);
  for (size_t i = 0; i < clean.size(); ++i)
    if (!std::isalpha(static_cast<unsigned char>(clean[i])) && clean[i] != ',' && clean[i] != '.' &&
        (arrow == std::string::npos || i - arrow > 1))
      fail(fmt::format("einsum \"{}\": '{}' is no letter of an axis", text, clean[i]), operands);
  std::string left = clean.substr(0, arrow);
  size_t from = 0;
  while (true) {
    const auto comma = left.find(',', from);
    spec.inputs.push_back(left.substr(from, comma - from));
    if (comma == std::string::npos) break;
    from = comma + 1;
  }
  if (spec.inputs.size() != operands.size())
    fail(fmt::format("einsum \"{}\": it names {} inputs, but {} came", text, spec.inputs.size(),
                     operands.size()),
         operands);
  std::string ellipsis_letters;
  const auto is_used = [&](char c) {
    return clean.find(c) != std::string::npos || ellipsis_letters.find(c) != std::string::npos;
  };
  const auto fresh = [&] {
    for (char c = 'A'; c <= 'z'; ++c)
      if (std::isalpha(static_cast<unsigned char>(c)) && !is_used(c)) return c;
    fail(fmt::format("einsum \"{}\": no letter is left for an axis of `...`", text), operands);
  };
  std::vector<size_t> extra(spec.inputs.size(), 0);
  size_t most = 0;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    const auto dots = spec.inputs[i].find("...");
    const size_t letters = spec.inputs[i].size() - (dots == std::string::npos ? 0 : 3);
    const size_t rank = operands[i].shape().size();
    if (dots == std::string::npos ? letters != rank : letters > rank)
      fail(fmt::format("einsum \"{}\": \"{}\" names {} axes, but input {} has {}", text, spec.inputs[i],
                       letters, i, rank),
           operands);
    if (dots != std::string::npos) most = std::max(most, extra[i] = rank - letters);
  }
  while (ellipsis_letters.size() < most) ellipsis_letters += fresh();
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    if (const auto dots = spec.inputs[i].find("..."); dots != std::string::npos)
      spec.inputs[i].replace(dots, 3, ellipsis_letters.substr(most - extra[i]));
  if (arrow == std::string::npos) {  // the letters that occur once, in order
    spec.output = ellipsis_letters;
    std::string all;
    for (const std::string& input : spec.inputs) all += input;
    std::string once;
    for (char c : all)
      if (std::ranges::count(all, c) == 1 && ellipsis_letters.find(c) == std::string::npos) once += c;
    std::ranges::sort(once);
    spec.output += once;
  } else {
    spec.output = clean.substr(arrow + 2);
    if (const auto dots = spec.output.find("..."); dots != std::string::npos)
      spec.output.replace(dots, 3, ellipsis_letters);
  }
  for (char c : spec.output) {
    bool found = false;
    for (const std::string& input : spec.inputs) found |= input.find(c) != std::string::npos;
    if (!found) fail(fmt::format("einsum \"{}\": axis {} of the result is in no input", text, c), operands);
    if (std::ranges::count(spec.output, c) > 1)
      fail(fmt::format("einsum \"{}\": axis {} stands twice in the result", text, c), operands);
  }
  for (size_t i = 0; i < spec.inputs.size(); ++i)
    for (char c : spec.inputs[i])
      if (std::ranges::count(spec.inputs[i], c) > 1)
        fail(fmt::format("einsum \"{}\": axis {} stands twice in input {}; a diagonal is not supported, "
                         "gather it first",
                         text, c, i),
             operands);
  return spec;
}

NodeRef sum_and_order(NodeRef x, std::string letters, const std::string& output) {
  Ints gone;
  std::string kept;
  for (size_t d = 0; d < letters.size(); ++d)
    if (output.find(letters[d]) == std::string::npos)
      gone.push_back(static_cast<int64_t>(d));
    else
      kept += letters[d];
  x = build::reduce("sum", x, gone);
  Ints order;
  for (char c : output) order.push_back(static_cast<int64_t>(kept.find(c)));
  return build::transpose(x, order);
}

// An axis of 1 that meets another extent is dropped: that is what broadcasting it means.
void drop_ones(NodeRef& x, std::string& letters, const NodeRef& y, const std::string& y_letters) {
  Shape shape;
  std::string kept;
  for (size_t d = 0; d < letters.size(); ++d) {
    const auto other = y_letters.find(letters[d]);
    if (other != std::string::npos && x->shape()[d] == Dim(1) && !(y->shape()[other] == Dim(1))) continue;
    shape.push_back(x->shape()[d]);
    kept += letters[d];
  }
  x = build::reshape(x, shape);
  letters = kept;
}

// Summed in `sums` where it is given, else in the dtype that all promote to.
NodeRef contract_all(Nodes in, const Spec& spec, std::string_view function, std::optional<Dtype> sums,
                     const Operands& operands) {
  if (!sums) {
    const Dtype dtype = result_dtype(operands, function);
    for (NodeRef& node : in) node = build::convert(node, dtype);
  } else if (in.size() != 2) {
    user_error("{}: dtype= says in what the products of two operands are summed, but {} came", function,
               in.size());
  } else if (!sums_in(in[0]->dtype(), in[1]->dtype(), *sums)) {
    const std::string_view to = name(*sums);
    user_error(
        "{}: products of {} and {} are not summed in {} (f16 and bf16 are in f32, integers of 8 and 16 bits "
        "in i32). Write {}x.astype(tn.{}), y.astype(tn.{}))",
        function, name(in[0]->dtype()), name(in[1]->dtype()), to,
        function == "einsum" ? "einsum(spec, " : "matmul(", to, to);
  }
  std::vector<std::string> letters = spec.inputs;
  if (in.size() == 1) return sum_and_order(in[0], letters[0], spec.output);
  for (size_t i = 1; i < in.size(); ++i) {
    std::string result;
    if (i + 1 == in.size()) {
      result = spec.output;
    } else {  // keep what later inputs or the output name
      std::string later = spec.output;
      for (size_t k = i + 1; k < in.size(); ++k) later += letters[k];
      for (char c : letters[0] + letters[i])
        if (later.find(c) != std::string::npos && result.find(c) == std::string::npos) result += c;
    }
    drop_ones(in[0], letters[0], in[i], letters[i]);
    drop_ones(in[i], letters[i], in[0], letters[0]);
    in[0] = build::contract(in[0], in[i], fmt::format("{},{}->{}", letters[0], letters[i], result), sums);
    letters[0] = result;
  }
  return in[0];
}

}  // namespace

Tensor einsum(std::string_view text, const Operands& operands, std::optional<Dtype> dtype) {
  if (operands.empty()) user_error("einsum \"{}\": no tensors came", text);
  const Spec spec = parse_spec(text, operands);
  return compose("einsum", operands,
                 [&](Nodes in) { return contract_all(std::move(in), spec, "einsum", dtype, operands); });
}

Tensor matmul(const Operand& x, const Operand& y, std::optional<Dtype> dtype) {
  constexpr std::string_view kBatch = "abcdefghij";
  const Operand both[] = {x, y};
  const size_t x_rank = x.shape().size(), y_rank = y.shape().size();
  if (x_rank == 0 || y_rank == 0)
    fail("matmul: both operands need at least one axis; use * for numbers", both);
  const size_t batch = std::max({x_rank, y_rank, size_t{2}}) - 2;
  if (batch > kBatch.size())
    fail(fmt::format("matmul: at most {} leading axes are supported", kBatch.size()), both);
  const Dim k_of_x = x.shape().back(), k_of_y = y_rank == 1 ? y.shape()[0] : y.shape()[y_rank - 2];
  if (!(k_of_x == k_of_y))
    fail(fmt::format("matmul: the last axis of x is {} but the {} of y is {}; they must be equal{}",
                     k_of_x.str(), y_rank == 1 ? "axis" : "axis before the last", k_of_y.str(),
                     y_rank == 2 && y.shape()[1] == k_of_x ? ". Did you mean y.T?" : ""),
         both);
  Spec spec;
  spec.inputs.push_back(x_rank == 1 ? "m"
                                    : std::string(kBatch.substr(batch - (x_rank - 2), x_rank - 2)) + "xm");
  spec.inputs.push_back(y_rank == 1 ? "m"
                                    : std::string(kBatch.substr(batch - (y_rank - 2), y_rank - 2)) + "my");
  spec.output = std::string(kBatch.substr(0, batch)) + (x_rank > 1 ? "x" : "") + (y_rank > 1 ? "y" : "");
  return compose("matmul", {x, y},
                 [&](Nodes in) { return contract_all(std::move(in), spec, "matmul", dtype, {x, y}); });
}

Tensor tensordot(const Operand& x, const Operand& y, const Ints& x_axes, const Ints& y_axes,
                 std::optional<Dtype> dtype) {
  const Operand both[] = {x, y};
  const auto x_rank = static_cast<int64_t>(x.shape().size()), y_rank = static_cast<int64_t>(y.shape().size());
  if (x_axes.size() != y_axes.size()) fail("tensordot: as many axes of x as of y must be named", both);
  std::string x_letters, y_letters(static_cast<size_t>(y_rank), ' '), output;
  for (int64_t d = 0; d < x_rank; ++d) x_letters += static_cast<char>('a' + d);
  for (int64_t d = 0; d < y_rank; ++d) y_letters[d] = static_cast<char>('A' + d);
  for (size_t i = 0; i < x_axes.size(); ++i) {
    const int64_t a = normal_axis(x_axes[i], x_rank, "tensordot", x),
                  b = normal_axis(y_axes[i], y_rank, "tensordot", y);
    if (!(x.shape()[a] == y.shape()[b]))
      fail(fmt::format("tensordot: axis {} of x is {}, but axis {} of y is {}", a, x.shape()[a].str(), b,
                       y.shape()[b].str()),
           both);
    y_letters[b] = x_letters[a];
  }
  for (char c : x_letters)
    if (y_letters.find(c) == std::string::npos) output += c;
  for (char c : y_letters)
    if (x_letters.find(c) == std::string::npos) output += c;
  return einsum(fmt::format("{},{}->{}", x_letters, y_letters, output), {x, y}, dtype);
}

// ---- composed

Tensor divide(const Operand& x, const Operand& y) {
  Operand both[] = {x, y};
  const Dtype dtype = result_dtype(both, "divide");
  if (is_inexact(dtype)) return binary("div", x, y);
  for (Operand& o : both)
    if (!o.is_number())
      o = {astype(o, Dtype::f32), o.where()};
    else
      o = {Scalar(o.number().f()), o.where()};
  return binary("div", both[0], both[1]);
}

Tensor power(const Operand& x, const Operand& y) {
  constexpr int64_t kLongest = 64;
  if (!y.is_number() || !y.number().is_int() || std::abs(y.number().i()) > kLongest || x.is_number())
    return binary("pow", x, y);
  const int64_t exponent = y.number().i();
  if (exponent < 0 && !is_inexact(x.dtype())) return binary("pow", x, y);
  if (is_bool(x.dtype())) fail("power: x is bool. Convert it first.", {&x, 1});
  return compose("power", {x}, [&](const Nodes& in) {
    NodeRef base = in[0], result;
    for (int64_t rest = std::abs(exponent); rest > 0; rest /= 2) {
      if (rest % 2 != 0) result = result ? build::map("mul", {result, base}) : base;
      if (rest > 1) base = build::map("mul", {base, base});
    }
    const NodeRef one = build::full(Scalar(1).round_to(base->dtype()), in[0]->type());
    if (!result) return one;
    return exponent < 0 ? build::map("div", {one, result}) : result;
  });
}

Tensor where(const Operand& mask, const Operand& then, const Operand& otherwise) {
  const Operand condition =
      is_bool(mask.dtype()) ? mask : Operand(astype(mask, Dtype::boolean), mask.where());
  return apply_map(prim("select"), {condition, then, otherwise});
}

Tensor clip(const Operand& x, const Operand& low, const Operand& high) {
  return binary("minimum", {binary("maximum", x, low), x.where()}, high);
}

Tensor square(const Operand& x) { return binary("mul", x, x); }

namespace {

NodeRef mean_node(NodeRef x, const Ints& axes) {
  if (!is_inexact(x->dtype())) x = build::convert(x, Dtype::f32);
  Dim count = 1;
  for (int64_t axis : axes) count *= x->shape()[axis];
  const NodeRef sum = build::reduce("sum", x, axes);
  if (count.is_const())
    return build::map("div", {sum, build::full(static_cast<double>(count.value()), sum->type())});
  return build::map("div", {sum, build::reduce("sum", build::full(1, x->type()), axes)});
}

}  // namespace

Tensor mean(const Operand& x, const Axes& axes, bool keepdims) {
  const Ints over = normal_axes(axes, x, "mean");
  return compose("mean", {x}, [&](const Nodes& in) {
    const NodeRef y = mean_node(in[0], over);
    return keepdims ? keep_axes(y, in[0]->shape(), over) : y;
  });
}

Tensor var(const Operand& x, const Axes& axes, bool keepdims, double correction) {
  const Ints over = normal_axes(axes, x, "var");
  return compose("var", {x}, [&](const Nodes& in) {
    const NodeRef value = is_inexact(in[0]->dtype()) ? in[0] : build::convert(in[0], Dtype::f32);
    const NodeRef center = keep_axes(mean_node(value, over), value->shape(), over);
    const NodeRef off = build::map("sub", {value, build::broadcast_to(center, value->shape())});
    NodeRef y = mean_node(build::map("mul", {off, off}), over);
    if (correction != 0) {
      Dim count = 1;
      for (int64_t axis : over) count *= value->shape()[axis];
      if (!count.is_const())
        user_error("var: a correction needs a count that is known, but the reduced axes have {} elements",
                   count.str());
      const auto n = static_cast<double>(count.value());
      y = build::map("mul", {y, build::full(n / (n - correction), y->type())});
    }
    return keepdims ? keep_axes(y, value->shape(), over) : y;
  });
}

Tensor std_dev(const Operand& x, const Axes& axes, bool keepdims, double correction) {
  return apply_map(prim("sqrt"), {{var(x, axes, keepdims, correction), x.where()}});
}

Tensor operator+(const Operand& x, const Operand& y) { return binary("add", x, y); }
Tensor operator-(const Operand& x, const Operand& y) { return binary("sub", x, y); }
Tensor operator*(const Operand& x, const Operand& y) { return binary("mul", x, y); }
Tensor operator/(const Operand& x, const Operand& y) { return divide(x, y); }
Tensor operator%(const Operand& x, const Operand& y) { return binary("mod", x, y); }
Tensor operator-(const Operand& x) { return apply_map(prim("neg"), {x}); }
Tensor operator<(const Operand& x, const Operand& y) { return binary("less", x, y); }
Tensor operator<=(const Operand& x, const Operand& y) { return binary("less_equal", x, y); }
Tensor operator>(const Operand& x, const Operand& y) { return binary("greater", x, y); }
Tensor operator>=(const Operand& x, const Operand& y) { return binary("greater_equal", x, y); }
Tensor operator==(const Operand& x, const Operand& y) { return binary("equal", x, y); }
Tensor operator!=(const Operand& x, const Operand& y) { return binary("not_equal", x, y); }
Tensor operator&(const Operand& x, const Operand& y) {
  return binary(all_bool(x, y) ? "logical_and" : "bitwise_and", x, y);
}
Tensor operator|(const Operand& x, const Operand& y) {
  return binary(all_bool(x, y) ? "logical_or" : "bitwise_or", x, y);
}
Tensor operator^(const Operand& x, const Operand& y) {
  return binary(all_bool(x, y) ? "logical_xor" : "bitwise_xor", x, y);
}
Tensor operator~(const Operand& x) {
  return apply_map(prim(is_bool(x.dtype()) ? "logical_not" : "bitwise_not"), {x});
}
Tensor operator<<(const Operand& x, const Operand& y) { return binary("shift_left", x, y); }
Tensor operator>>(const Operand& x, const Operand& y) { return binary("shift_right", x, y); }

}  // namespace tenfold::lang
