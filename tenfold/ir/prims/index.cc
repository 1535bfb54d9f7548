// Indexing: where an element is read from, or written to, is computed at run time.
//
// Indices are clamped into the dimension, so nothing outside is ever touched. Only `gather` is known to
// targets; the other records stand for graphs of gathers, selects and reductions.
#include <algorithm>

#include "tenfold/ir/batch.h"
#include "tenfold/ir/prims/map.h"

namespace tenfold::prims {
namespace {

using build::map;
using build::select;
using build::operator+;
using build::operator-;
using Types = std::vector<Type>;

int64_t batch_of(const Attrs& attrs) {
  const Attr* batch = attrs.find("batch");
  return batch ? std::get<int64_t>(*batch) : 0;
}

void append(Shape& to, const Shape& from, int64_t begin, int64_t end) {
  to.insert(to.end(), from.begin() + begin, from.begin() + end);
}

// ---- gather and scatter_add. x is [batch.., before.., n, after..], indices [batch.., at..], and what is
// gathered, or scattered, is [batch.., before.., at.., after..].

Shape gathered_shape(std::string_view prim, const Attrs& attrs, const Type& x, const Type& indices) {
  const int64_t axis = attrs.integer("axis"), batch = batch_of(attrs);
  check_dtype(prim, kInt, "indices", indices);
  if (batch < 0 || batch > indices.rank())
    user_error("{}: batch is {}, but indices is {} with {} dimensions.", prim, batch, indices.str(),
               indices.rank());
  if (axis < batch || axis >= x.rank())
    user_error("{}: axis {} is out of range: x is {}, and axes {} to {} can be indexed.", prim, axis, x.str(),
               batch, x.rank() - 1);
  for (int64_t d = 0; d < batch; ++d)
    if (x.shape[d] != indices.shape[d])
      user_error("{}: the first {} dimensions of x and indices must agree, but x is {} and indices is {}.",
                 prim, batch, x.str(), indices.str());
  Shape shape;
  append(shape, x.shape, 0, axis);
  append(shape, indices.shape, batch, indices.rank());
  append(shape, x.shape, axis + 1, x.rank());
  if (x.shape[axis] == Dim(0) && volume(shape) != Dim(0))
    user_error("{}: axis {} of x ({}) is empty: there is nothing to index.", prim, axis, x.str());
  return shape;
}

Types gather_type(const Attrs& attrs, In in) {
  return {{in[0]->dtype(), gathered_shape("gather", attrs, in[0]->type(), in[1]->type())}};
}

Types scatter_add_type(const Attrs& attrs, In in) {
  const Type& x = in[0]->type();
  check_dtype("scatter_add", kNumber, "x", x);
  const Type updates{x.dtype, gathered_shape("scatter_add", attrs, x, in[1]->type())};
  if (in[2]->type() != updates)
    user_error("scatter_add: updates is {}, but x {} with indices {} needs {}.", in[2]->type().str(), x.str(),
               in[1]->type().str(), updates.str());
  return {x};
}

int64_t clamped(const Scalar& index, int64_t extent) {
  if (index.is_u64()) return static_cast<int64_t>(std::min<uint64_t>(index.u(), extent - 1));
  return std::clamp<int64_t>(index.i(), 0, extent - 1);
}

// Calls visit(flat index of x, flat index of what is gathered), in the order of the latter.
template <class Visit>
void for_each_gathered(const Node& n, const Array& x, const Array& indices, Visit visit) {
  const int64_t axis = n.attrs.integer("axis"), batch = batch_of(n.attrs);
  auto product = [](const Ints& shape, int64_t begin, int64_t end) {
    int64_t size = 1;
    for (int64_t d = begin; d < end; ++d) size *= shape[d];
    return size;
  };
  const int64_t rank = static_cast<int64_t>(x.shape.size()),
                index_rank = static_cast<int64_t>(indices.shape.size());
  const int64_t batches = product(x.shape, 0, batch), before = product(x.shape, batch, axis),
                extent = x.shape[axis];
  const int64_t after = product(x.shape, axis + 1, rank), count = product(indices.shape, batch, index_rank);
  int64_t flat = 0;
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t p = 0; p < before; ++p)
      for (int64_t i = 0; i < count; ++i)
        for (int64_t q = 0; q < after; ++q) {
          const int64_t at = clamped(indices.at(b * count + i), extent);
          visit(((b * before + p) * extent + at) * after + q, flat++);
        }
}

void gather_reference(const Node& n, std::span<const Array* const> in, std::span<Array> out) {
  for_each_gathered(n, *in[0], *in[1], [&](int64_t from, int64_t to) { out[0].set(to, in[0]->at(from)); });
}

void scatter_add_reference(const Node& n, std::span<const Array* const> in, std::span<Array> out) {
  const Prim& add = prim("add");
  const Dtype d = in[0]->dtype;
  const Dtype wide = is_float(d) ? Dtype::f64 : is_complex(d) ? Dtype::complex128 : d;
  const Dtype dtypes[] = {wide, wide, wide};
  std::vector<Scalar> sum(in[0]->size());
  for (size_t k = 0; k < sum.size(); ++k) sum[k] = in[0]->at(static_cast<int64_t>(k));
  for_each_gathered(n, *in[0], *in[1], [&](int64_t to, int64_t from) {
    const Scalar pair[] = {sum[to], in[2]->at(from)};
    sum[to] = add.eval(Attrs(), Values(pair), Dtypes(dtypes)).round_to(wide);
  });
  for (size_t k = 0; k < sum.size(); ++k) out[0].set(static_cast<int64_t>(k), sum[k].round_to(d));
}

Attrs gather_attrs(int64_t axis, int64_t batch) {
  Attrs attrs{{"axis", axis}};
  if (batch) attrs.set("batch", batch);
  return attrs;
}

Nodes gather_vjp(const NodeRef& y, In dy) {
  if (!is_inexact(y->dtype())) return Nodes(2);
  return {make("scatter_add", {build::zeros_like(y->inputs[0]), y->inputs[1], dy[0]}, y->attrs), NodeRef()};
}

Nodes scatter_add_vjp(const NodeRef& y, In dy) {
  if (!is_inexact(y->dtype())) return Nodes(3);
  return {dy[0], NodeRef(), make("gather", {dy[0], y->inputs[1]}, y->attrs)};
}

std::vector<Batched> gather_batch(const Node& n, std::span<const Batched> in, const Dim& size) {
  const int64_t axis = n.attrs.integer("axis"), batch = batch_of(n.attrs);
  if (batch > 0 || (in[0].batched && in[1].batched))
    return {{make("gather", {with_batch(in[0], size), with_batch(in[1], size)},
                  gather_attrs(axis + 1, batch + 1)),
             true}};
  if (in[0].batched) return {{make("gather", {in[0].node, in[1].node}, gather_attrs(axis + 1, 0)), true}};
  // One table for the whole batch: the batch is the first index dimension, moved to the front.
  const NodeRef y = make("gather", {in[0].node, in[1].node}, gather_attrs(axis, 0));
  Ints order{axis};
  for (int64_t d = 0; d < y->rank(); ++d)
    if (d != axis) order.push_back(d);
  return {{axis == 0 ? y : build::transpose(y, order), true}};
}

std::vector<Batched> scatter_add_batch(const Node& n, std::span<const Batched> in, const Dim& size) {
  const int64_t axis = n.attrs.integer("axis") + 1, batch = batch_of(n.attrs);
  const NodeRef x = with_batch(in[0], size), updates = with_batch(in[2], size);
  if (!in[1].batched && batch == 0)
    return {{make("scatter_add", {x, in[1].node, updates}, gather_attrs(axis, 0)), true}};
  return {{make("scatter_add", {x, with_batch(in[1], size), updates}, gather_attrs(axis, batch + 1)), true}};
}

Relation gather_relation(const Node& n, const Forms& output, Space&) {
  const int64_t axis = n.attrs.integer("axis"), batch = batch_of(n.attrs), at = n.inputs[1]->rank() - batch;
  Forms x(output.begin(), output.begin() + axis);
  x.push_back(Form::all());
  x.insert(x.end(), output.begin() + axis + at, output.end());
  Forms indices(output.begin(), output.begin() + batch);
  indices.insert(indices.end(), output.begin() + axis, output.begin() + axis + at);
  return {{std::move(x), std::move(indices)}, {}};
}

Relation scatter_add_relation(const Node& n, const Forms& output, Space&) {
  const int64_t axis = n.attrs.integer("axis"), batch = batch_of(n.attrs), at = n.inputs[1]->rank() - batch;
  Forms indices(output.begin(), output.begin() + batch), updates(output.begin(), output.begin() + axis);
  indices.insert(indices.end(), at, Form::all());
  updates.insert(updates.end(), at, Form::all());
  updates.insert(updates.end(), output.begin() + axis + 1, output.end());
  return {{output, std::move(indices), std::move(updates)}, {}};
}

// ---- positions as values

NodeRef index_constant(int64_t value, const Shape& shape) {
  return build::full(Scalar(value), {Dtype::i64, shape});
}

// An index of any integer dtype as an i64 in [0, limit].
NodeRef clamp_index(const NodeRef& index, const NodeRef& limit) {
  NodeRef i = index;
  if (i->dtype() == Dtype::u64)  // the upper half would turn negative
    i = map("minimum", {i, build::full(Scalar(int64_t{1} << 62).round_to(Dtype::u64), i->type())});
  i = build::convert(i, Dtype::i64);
  i = map("minimum", {i, build::broadcast_to(limit, i->shape())});
  return map("maximum", {i, index_constant(0, i->shape())});
}

// Each place of the axis asks every index whether it is meant.
Nodes scatter_add_expand(const Node& n, In in) {
  const int64_t axis = n.attrs.integer("axis"), batch = batch_of(n.attrs);
  const NodeRef &x = in[0], &indices = in[1], &updates = in[2];
  const int64_t at = indices->rank() - batch;
  Shape shape;  // [batch.., before.., n, at.., after..]
  append(shape, x->shape(), 0, axis + 1);
  append(shape, indices->shape(), batch, indices->rank());
  append(shape, x->shape(), axis + 1, x->rank());
  Ints index_axes, update_axes, summed;
  for (int64_t d = 0; d < batch; ++d) index_axes.push_back(d);
  for (int64_t d = 0; d < at; ++d) index_axes.push_back(axis + 1 + d), summed.push_back(axis + 1 + d);
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d)
    if (d != axis) update_axes.push_back(d);
  const NodeRef i = clamp_index(indices, build::extent(x->shape()[axis] - 1));
  const NodeRef here = map("equal", {build::broadcast(i, shape, index_axes), build::iota(shape, axis)});
  const NodeRef u = build::broadcast(updates, shape, update_axes);
  return {x + build::reduce("sum", select(here, u, build::zeros_like(u)), summed)};
}

// ---- dynamic_slice and update_slice: a box of x, at run-time positions

constexpr size_t kSliceStarts = 1, kUpdateStarts = 2;  // the first input that is a start

void check_starts(std::string_view prim, In in, size_t first) {
  const Type& x = in[0]->type();
  if (in.size() != first + x.shape.size())
    user_error("{}: takes one start per dimension: x is {} with {} dimensions, but {} starts came.", prim,
               x.str(), x.rank(), in.size() - std::min(first, in.size()));
  for (size_t k = first; k < in.size(); ++k) {
    const std::string operand = fmt::format("start {}", k - first);
    check_dtype(prim, kInt, operand, in[k]->type());
    if (in[k]->rank() != 0)
      user_error("{}: {} is {}, but each start is a scalar.", prim, operand, in[k]->type().str());
  }
}

void check_fits(std::string_view prim, std::string_view what, const Shape& sizes, const Type& x) {
  bool fits = static_cast<int>(sizes.size()) == x.rank();
  for (size_t d = 0; fits && d < sizes.size(); ++d)
    fits = !provably_lt(x.shape[d], sizes[d]) && sizes[d].upper() >= 0;
  if (!fits) user_error("{}: {} {} does not fit in x, which is {}.", prim, what, str(sizes), x.str());
}

Types dynamic_slice_type(const Attrs& attrs, In in) {
  if (in.empty()) user_error("dynamic_slice: x is missing.");
  check_starts("dynamic_slice", in, kSliceStarts);
  check_fits("dynamic_slice", "sizes", attrs.shape("sizes"), in[0]->type());
  return {{in[0]->dtype(), attrs.shape("sizes")}};
}

Types update_slice_type(const Attrs&, In in) {
  if (in.size() < 2)
    user_error("update_slice: takes x, update and the starts, but {} inputs came.", in.size());
  check_starts("update_slice", in, kUpdateStarts);
  if (in[1]->dtype() != in[0]->dtype())
    user_error("update_slice: update is {}, but x is {}. Convert it to x's dtype.", in[1]->type().str(),
               in[0]->type().str());
  check_fits("update_slice", "update", in[1]->shape(), in[0]->type());
  return {in[0]->type()};
}

// Calls visit(flat index of x, flat index of the box), in the order of the latter.
template <class Visit>
void for_each_in_box(std::span<const Array* const> in, size_t first, const Ints& sizes, Visit visit) {
  const Ints& shape = in[0]->shape;
  const size_t rank = shape.size();
  int64_t count = 1;
  for (int64_t s : sizes) count *= s;
  for (int64_t flat = 0; flat < count; ++flat) {
    int64_t rest = flat, at = 0;
    for (size_t d = rank, stride = 1; d-- > 0; stride *= static_cast<size_t>(shape[d])) {
      const int64_t start = clamped(in[first + d]->at(0), shape[d] - sizes[d] + 1);
      at += (start + rest % sizes[d]) * static_cast<int64_t>(stride);
      rest /= sizes[d];
    }
    visit(at, flat);
  }
}

void dynamic_slice_reference(const Node&, std::span<const Array* const> in, std::span<Array> out) {
  for_each_in_box(in, kSliceStarts, out[0].shape,
                  [&](int64_t from, int64_t to) { out[0].set(to, in[0]->at(from)); });
}

void update_slice_reference(const Node&, std::span<const Array* const> in, std::span<Array> out) {
  out[0].bytes = in[0]->bytes;
  for_each_in_box(in, kUpdateStarts, in[1]->shape,
                  [&](int64_t to, int64_t from) { out[0].set(to, in[1]->at(from)); });
}

Nodes starts_of(const Node& n, size_t first) {
  return Nodes(n.inputs.begin() + static_cast<int64_t>(first), n.inputs.end());
}

Nodes dynamic_slice_vjp(const NodeRef& y, In dy) {
  Nodes gradients(y->inputs.size());
  if (!is_inexact(y->dtype())) return gradients;
  Nodes inputs = starts_of(*y, kSliceStarts);
  inputs.insert(inputs.begin(), {build::zeros_like(y->inputs[0]), dy[0]});
  gradients[0] = make("update_slice", std::move(inputs));
  return gradients;
}

Nodes update_slice_vjp(const NodeRef& y, In dy) {
  Nodes gradients(y->inputs.size());
  if (!is_inexact(y->dtype())) return gradients;
  const NodeRef& update = y->inputs[1];
  Nodes cut = starts_of(*y, kUpdateStarts), read = cut;
  cut.insert(cut.begin(), {dy[0], build::zeros_like(update)});
  read.insert(read.begin(), dy[0]);
  gradients[0] = make("update_slice", std::move(cut));
  gradients[1] = make("dynamic_slice", std::move(read), {{"sizes", update->shape()}});
  return gradients;
}

// A dimension that is kept whole stays affine; a cut one is read anywhere.
Forms box_forms(const Shape& x, const Shape& sizes, const Forms& forms) {
  Forms result;
  for (size_t d = 0; d < x.size(); ++d) result.push_back(x[d] == sizes[d] ? forms[d] : Form::all());
  return result;
}

Relation dynamic_slice_relation(const Node& n, const Forms& output, Space&) {
  Relation r{std::vector<Forms>(n.inputs.size()), {}};
  r.inputs[0] = box_forms(n.inputs[0]->shape(), n.attrs.shape("sizes"), output);
  return r;
}

Relation update_slice_relation(const Node& n, const Forms& output, Space&) {
  Relation r{std::vector<Forms>(n.inputs.size()), {}};
  r.inputs[0] = output;
  r.inputs[1] = box_forms(n.inputs[0]->shape(), n.inputs[1]->shape(), output);
  return r;
}

NodeRef clamped_start(const NodeRef& start, const Dim& extent, const Dim& size) {
  return clamp_index(start, build::extent(extent - size));
}

Nodes dynamic_slice_expand(const Node& n, In in) {
  NodeRef y = in[0];
  const Shape& sizes = n.attrs.shape("sizes");
  for (int64_t d = 0; d < y->rank(); ++d) {
    if (y->shape()[d] == sizes[d]) continue;
    const NodeRef start = clamped_start(in[kSliceStarts + d], y->shape()[d], sizes[d]);
    y = make("gather", {y, start + build::iota({sizes[d]}, 0)}, {{"axis", d}});
  }
  return {y};
}

// Where the box lies comes from the update, the rest from x.
Nodes update_slice_expand(const Node&, In in) {
  const NodeRef& x = in[0];
  NodeRef update = in[1], inside;
  for (int64_t d = 0; d < x->rank(); ++d) {
    const Dim &extent = x->shape()[d], size = in[1]->shape()[d];
    if (extent == size) continue;
    if (size == Dim(0)) return {x};
    const NodeRef at = build::iota({extent}, 0) - clamped_start(in[kUpdateStarts + d], extent, size);
    update = make("gather", {update, at}, {{"axis", d}});
    const NodeRef here =
        map("logical_and", {map("greater_equal", {at, index_constant(0, {extent})}),
                            map("less", {at, build::broadcast_to(build::extent(size), {extent})})});
    const NodeRef along = build::broadcast(here, x->shape(), {d});
    inside = inside ? map("logical_and", {inside, along}) : along;
  }
  return {inside ? select(inside, update, x) : update};
}

const AttrSpec kAxis{"axis", AttrSpec::Type::integer, "the axis of x that is indexed"};
const AttrSpec kBatch{"batch", AttrSpec::Type::integer,
                      "how many leading dimensions x and indices share; 0 if left out", true};

const Prim kPrims[] = {
    {.name = "gather",
     .doc = "Elements of x along an axis, at the given indices (clamped into range). The result has the "
            "dimensions of indices in "
            "place of the axis.",
     .kind = Kind::index,
     .arity = 2,
     .operands = {"x", "indices"},
     .attributes = {kAxis, kBatch},
     .type = gather_type,
     .reference = gather_reference,
     .vjp = gather_vjp,
     .batch = gather_batch,
     .relation = gather_relation},
    {.name = "scatter_add",
     .doc = "x with each slice of updates added at its index (clamped into range) along an axis; equal "
            "indices add up. The shape of "
            "updates is that of gather's result.",
     .kind = Kind::index,
     .arity = 3,
     .operands = {"x", "indices", "updates"},
     .attributes = {kAxis, kBatch},
     .type = scatter_add_type,
     .reference = scatter_add_reference,
     .vjp = scatter_add_vjp,
     .batch = scatter_add_batch,
     .relation = scatter_add_relation,
     .expand = scatter_add_expand},
    {.name = "dynamic_slice",
     .doc = "A box of x of the given sizes, from starts (one scalar per dimension), which are clamped so "
            "that the box lies in x.",
     .kind = Kind::index,
     .arity = -1,
     .operands = {"x", "starts"},
     .attributes = {{"sizes", AttrSpec::Type::shape, "the shape of the box"}},
     .type = dynamic_slice_type,
     .reference = dynamic_slice_reference,
     .vjp = dynamic_slice_vjp,
     .relation = dynamic_slice_relation,
     .expand = dynamic_slice_expand},
    {.name = "update_slice",
     .doc = "x with a box of it replaced by update, from starts (one scalar per dimension), which are "
            "clamped so that the box lies "
            "in x.",
     .kind = Kind::index,
     .arity = -1,
     .operands = {"x", "update", "starts"},
     .type = update_slice_type,
     .reference = update_slice_reference,
     .vjp = update_slice_vjp,
     .relation = update_slice_relation,
     .expand = update_slice_expand,
     .properties = {"replaces_box"}},
};

const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold::prims
