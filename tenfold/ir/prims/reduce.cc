// Reductions: a map record combines all elements along some axes.
#include "tenfold/ir/reduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tenfold/base/fault.h"
#include "tenfold/ir/batch.h"
#include "tenfold/ir/prims/map.h"

namespace tenfold {

namespace {

// The word after "<key>:" in the properties of a record.
std::string_view property_value(const Prim& prim, std::string_view key) {
  for (std::string_view p : prim.properties)
    if (p.size() > key.size() && p.starts_with(key) && p[key.size()] == ':') return p.substr(key.size() + 1);
  return {};
}

}  // namespace

const Prim& combine_of(const Prim& reduce) {
  const std::string_view combine = property_value(reduce, "combine");
  TENFOLD_CHECK(!combine.empty(), "{} has no property \"combine:...\"", reduce.name);
  return prim(combine);
}

Scalar lowest(Dtype d) {
  if (is_bool(d)) return false;
  if (is_unsigned_int(d)) return uint64_t{0};
  if (is_signed_int(d)) return std::numeric_limits<int64_t>::min() >> (64 - 8 * size_of(d));
  return -std::numeric_limits<double>::infinity();
}

Scalar highest(Dtype d) {
  if (is_bool(d)) return true;
  if (is_unsigned_int(d)) return std::numeric_limits<uint64_t>::max() >> (64 - 8 * size_of(d));
  if (is_signed_int(d)) return std::numeric_limits<int64_t>::max() >> (64 - 8 * size_of(d));
  return std::numeric_limits<double>::infinity();
}

Scalar identity(const Prim& combine, Dtype d) {
  if (!property_value(combine, "combine").empty()) return identity(combine_of(combine), d);
  const std::string_view word = property_value(combine, "identity");
  if (word == "zero") return Scalar(0).round_to(d);
  if (word == "one") return Scalar(1).round_to(d);
  if (word == "ones") return is_bool(d) ? Scalar(true) : Scalar(int64_t{-1}).round_to(d);
  if (word == "lowest") return lowest(d);
  TENFOLD_CHECK(word == "highest", "{} has no identity", combine.name);
  return highest(d);
}

namespace prims {
namespace {

using build::map;
using build::reduce;
using build::select;
using build::operator*;
using build::operator/;
using Types = std::vector<Type>;

// ---- axes

void check_axes(std::string_view prim, const Ints& axes, const Type& x) {
  for (size_t k = 0; k < axes.size(); ++k) {
    if (axes[k] < 0 || axes[k] >= x.rank())
      user_error("{}: axis {} is out of range: x is {}, whose axes are 0 to {}.", prim, axes[k], x.str(),
                 x.rank() - 1);
    if (k > 0 && axes[k] <= axes[k - 1])
      user_error("{}: the axes must ascend, each once, but axis {} follows {}.", prim, axes[k], axes[k - 1]);
  }
}

bool contains(const Ints& axes, int64_t axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

Ints kept_axes(const Node& n) {
  Ints kept;
  for (int64_t d = 0; d < n.inputs[0]->rank(); ++d)
    if (!contains(n.attrs.ints("axes"), d)) kept.push_back(d);
  return kept;
}

Shape kept_shape(const Attrs& attrs, const Type& x) {
  Shape shape;
  for (int64_t d = 0; d < x.rank(); ++d)
    if (!contains(attrs.ints("axes"), d)) shape.push_back(x.shape[d]);
  return shape;
}

// The result of the reduction (or its cotangent), repeated along the reduced axes.
NodeRef spread(const NodeRef& value, const Node& n) {
  return build::broadcast(value, n.inputs[0]->shape(), kept_axes(n));
}

template <Name name, unsigned accepted>
Types reduce_type(const Attrs& attrs, In in) {
  const Type& x = in[0]->type();
  check_dtype(name.view(), accepted, "x", x);
  check_axes(name.view(), attrs.ints("axes"), x);
  return {{x.dtype, kept_shape(attrs, x)}};
}

template <Name name>
Types arg_type(const Attrs& attrs, In in) {
  const Type& x = in[0]->type();
  check_dtype(name.view(), kReal, "x", x);
  const Ints& axes = attrs.ints("axes");
  check_axes(name.view(), axes, x);
  if (axes.size() != 1)
    user_error("{} takes one axis, but axes has {}. Reshape x to join axes first.", name.view(), axes.size());
  if (x.shape[axes[0]] == Dim(0))
    user_error("{}: axis {} of x ({}) is empty: there is no element to find.", name.view(), axes[0], x.str());
  return {{Dtype::i64, kept_shape(attrs, x)}};
}

// ---- reference

// Calls visit(flat index of x, flat index of the result, index along the last reduced axis) in row-major
// order.
template <class Visit>
void for_each_element(const Node& n, const Array& x, Visit visit) {
  const Ints& axes = n.attrs.ints("axes");
  const int64_t rank = static_cast<int64_t>(x.shape.size());
  Ints stride(rank, 0), at(rank, 0);
  for (int64_t d = rank - 1, run = 1; d >= 0; --d)
    if (!contains(axes, d)) stride[d] = run, run *= x.shape[d];
  int64_t to = 0;
  for (int64_t from = 0, size = x.size(); from < size; ++from) {
    visit(from, to, axes.empty() ? 0 : at[axes.back()]);
    for (int64_t d = rank - 1; d >= 0; --d) {
      to += stride[d];
      if (++at[d] < x.shape[d]) break;
      to -= stride[d] * at[d];
      at[d] = 0;
    }
  }
}

void reduce_reference(const Node& n, std::span<const Array* const> inputs, std::span<Array> outputs) {
  const Array& x = *inputs[0];
  Array& y = outputs[0];
  const Prim& combine = combine_of(*n.prim);
  // Floats accumulate in f64: the running value is rounded to the dtype once, at the end.
  const Dtype wide = is_float(x.dtype) ? Dtype::f64 : is_complex(x.dtype) ? Dtype::complex128 : x.dtype;
  const std::array dtypes{wide, wide, wide};
  std::vector<Scalar> sum(y.size(), identity(combine, wide));
  for_each_element(n, x, [&](int64_t from, int64_t to, int64_t) {
    const std::array pair{sum[to], x.at(from)};
    sum[to] = combine.eval(Attrs(), pair, dtypes).round_to(wide);
  });
  for (int64_t k = 0; k < y.size(); ++k) y.set(k, sum[k].round_to(y.dtype));
}

// The first NaN, else the first of the extreme elements.
template <bool larger>
void arg_reference(const Node& n, std::span<const Array* const> inputs, std::span<Array> outputs) {
  const Array& x = *inputs[0];
  const int64_t size = outputs[0].size();
  std::vector<Scalar> best(size);
  std::vector<int64_t> where(size, -1);
  auto beats = [](const Scalar& a, const Scalar& b) {
    if (a.is_f64())
      return !std::isnan(b.f()) && (std::isnan(a.f()) || (larger ? a.f() > b.f() : a.f() < b.f()));
    if (a.is_i64()) return larger ? a.i() > b.i() : a.i() < b.i();
    return larger ? a.u() > b.u() : a.u() < b.u();
  };
  for_each_element(n, x, [&](int64_t from, int64_t to, int64_t at) {
    const Scalar v = x.at(from);
    if (where[to] < 0 || beats(v, best[to])) best[to] = v, where[to] = at;
  });
  for (int64_t k = 0; k < size; ++k) outputs[0].set(k, Scalar(where[k]));
}

// ---- batching, tiles, derivatives

std::vector<Batched> reduce_batch(const Node& n, std::span<const Batched> inputs, const Dim&) {
  const Ints& axes = n.attrs.ints("axes");
  return {
      {make(*n.prim, {inputs[0].node}, {{"axes", fault("batch_reduce_axes") ? axes : batched_axes(axes)}}),
       true}};
}

Relation reduce_relation(const Node& n, const Forms& output, Space& space) {
  Relation relation;
  Forms forms;
  size_t next = 0;
  for (int64_t d = 0; d < n.inputs[0]->rank(); ++d) {
    if (!contains(n.attrs.ints("axes"), d)) {
      forms.push_back(output[next++]);
      continue;
    }
    forms.push_back(space.fresh(n.inputs[0]->shape()[d], "r"));
    for (const Term& t : forms.back().terms) relation.reduced.push_back(t.atom);
  }
  relation.inputs = {std::move(forms)};
  return relation;
}

Nodes sum_vjp(const NodeRef& y, In dy) { return {spread(dy[0], *y)}; }

// Equal extreme elements share the cotangent evenly.
Nodes extreme_vjp(const NodeRef& y, In dy) {
  const NodeRef& x = y->inputs[0];
  if (!is_float(x->dtype())) return Nodes(1);
  const NodeRef is_extreme = map("equal", {x, spread(y, *y)});
  const NodeRef one = build::full(Scalar(1.0), x->type()), zero = build::zeros_like(x);
  const NodeRef count = reduce("sum", select(is_extreme, one, zero), y->attrs.ints("axes"));
  return {select(is_extreme, spread(dy[0] / count, *y), zero)};
}

// The product of the others: y / x, but where zeros occur the product of what is not zero.
Nodes prod_vjp(const NodeRef& y, In dy) {
  const NodeRef& x = y->inputs[0];
  if (!is_inexact(x->dtype())) return Nodes(1);
  const Ints& axes = y->attrs.ints("axes");
  const NodeRef zero = build::zeros_like(x), one = build::full(Scalar(1.0), x->type());
  const NodeRef is_zero = map("equal", {x, zero});
  const NodeRef others = reduce("prod", select(is_zero, one, x), axes);
  const Type count_type{Dtype::i64, x->shape()};
  const NodeRef zeros = spread(
      reduce("sum", select(is_zero, build::full(Scalar(1), count_type), build::full(Scalar(0), count_type)),
             axes),
      *y);
  const NodeRef none = map("equal", {zeros, build::full(Scalar(0), count_type)});
  const NodeRef only =
      map("logical_and", {is_zero, map("equal", {zeros, build::full(Scalar(1), count_type)})});
  const NodeRef rest = spread(others, *y);
  const NodeRef factor = select(only, rest, select(none, rest / select(is_zero, one, x), zero));
  return {spread(dy[0], *y) * (is_complex(x->dtype()) ? map("conj", {factor}) : factor)};
}

Nodes no_derivative(const NodeRef&, In) { return Nodes(1); }

template <bool larger>
Nodes arg_expand(const Node& n, In in) {
  const NodeRef& x = in[0];
  const int64_t axis = n.attrs.ints("axes")[0];
  const NodeRef extreme = reduce(larger ? "max" : "min", x, {axis});
  Ints kept;
  for (int64_t d = 0; d < x->rank(); ++d)
    if (d != axis) kept.push_back(d);
  NodeRef found = map("equal", {x, build::broadcast(extreme, x->shape(), kept)});
  if (is_float(x->dtype())) found = map("logical_or", {found, map("not_equal", {x, x})});  // or NaN
  const NodeRef index = build::iota(x->shape(), axis, Dtype::i64);
  return {reduce("min", select(found, index, build::full(highest(Dtype::i64), index->type())), {axis})};
}

// ---- degrees

Degree sum_degree(std::span<const Degree> d) {
  return d[0].kind == Degree::Kind::number ? d[0] : Degree{Degree::Kind::none, 0};
}

Degree max_degree(std::span<const Degree> d) {
  if (d[0] == Degree{Degree::Kind::number, 0}) return {Degree::Kind::running, 0};
  return sum_degree(d);
}

const std::vector<AttrSpec> kAxes = {
    {"axes", AttrSpec::Type::ints, "the axes to reduce, ascending; they are removed"}};
const std::vector<AttrSpec> kAxis = {{"axes", AttrSpec::Type::ints, "the one axis to search; it is removed"}};

const Prim kPrims[] = {
    {.name = "reduce_sum",
     .doc = "Sum along axes. f16 and bf16 accumulate in f32; integers wrap. The sum of nothing is 0.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_sum", kNumber>,
     .reference = reduce_reference,
     .vjp = sum_vjp,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .degree = sum_degree,
     .properties = {"combine:add"}},
    {.name = "reduce_prod",
     .doc = "Product along axes. f16 and bf16 accumulate in f32; integers wrap. The product of nothing is 1.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_prod", kNumber>,
     .reference = reduce_reference,
     .vjp = prod_vjp,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .properties = {"combine:mul"}},
    {.name = "reduce_max",
     .doc = "The largest element along axes; NaN if any is. Of nothing: the lowest value of the dtype.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_max", kReal>,
     .reference = reduce_reference,
     .vjp = extreme_vjp,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .degree = max_degree,
     .properties = {"combine:maximum"}},
    {.name = "reduce_min",
     .doc = "The smallest element along axes; NaN if any is. Of nothing: the highest value of the dtype.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_min", kReal>,
     .reference = reduce_reference,
     .vjp = extreme_vjp,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .degree = sum_degree,
     .properties = {"combine:minimum"}},
    {.name = "reduce_any",
     .doc = "Whether any element along axes holds. Of nothing: no.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_any", kBool>,
     .reference = reduce_reference,
     .vjp = no_derivative,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .properties = {"combine:logical_or"}},
    {.name = "reduce_all",
     .doc = "Whether every element along axes holds. Of nothing: yes.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxes,
     .type = reduce_type<"reduce_all", kBool>,
     .reference = reduce_reference,
     .vjp = no_derivative,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .properties = {"combine:logical_and"}},
    {.name = "argmax",
     .doc = "The index (i64) of the first largest element along an axis, or of the first NaN.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxis,
     .type = arg_type<"argmax">,
     .reference = arg_reference<true>,
     .vjp = no_derivative,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .cost = 4,
     .expand = arg_expand<true>},
    {.name = "argmin",
     .doc = "The index (i64) of the first smallest element along an axis, or of the first NaN.",
     .kind = Kind::reduce,
     .operands = {"x"},
     .attributes = kAxis,
     .type = arg_type<"argmin">,
     .reference = arg_reference<false>,
     .vjp = no_derivative,
     .batch = reduce_batch,
     .relation = reduce_relation,
     .cost = 4,
     .expand = arg_expand<false>},
};

const Family kFamily{kPrims};

}  // namespace
}  // namespace prims
}  // namespace tenfold
