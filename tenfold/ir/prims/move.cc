// Moves: elements change place, none changes value. Most are nothing but their tile relation.
#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "tenfold/base/fault.h"
#include "tenfold/ir/batch.h"
#include "tenfold/ir/build.h"

namespace tenfold {
namespace {

using Types = std::vector<Type>;
using AttrType = AttrSpec::Type;

// Calls `visit(index, flat)` for each element of a row-major array.
template <class Visit>
void for_each_index(const Ints& shape, const Visit& visit) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  Ints index(shape.size(), 0);
  for (int64_t flat = 0; flat < size; ++flat) {
    visit(index, flat);
    for (size_t d = shape.size(); d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
  }
}

int64_t flat_of(const Ints& index, const Ints& shape) {
  int64_t flat = 0;
  for (size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + index[d];
  return flat;
}

void copy_element(Array& to, int64_t at, const Array& from, int64_t source) {
  const int64_t bytes = size_of(to.dtype);
  std::memcpy(to.bytes.data() + at * bytes, from.bytes.data() + source * bytes, static_cast<size_t>(bytes));
}

// Fills the output element by element; `source(index)` gives the input's index.
template <class Source>
void gather_elements(const Array& in, Array& out, const Source& source) {
  for_each_index(out.shape, [&](const Ints& index, int64_t flat) {
    copy_element(out, flat, in, flat_of(source(index), in.shape));
  });
}

void check_rank(std::string_view what, std::string_view attribute, size_t came, const Type& type) {
  if (came != type.shape.size())
    user_error("{}: {} has {} entr{}, but {} has {} dimension{}; give one entry for each", what, attribute,
               came, came == 1 ? "y" : "ies", type.str(), type.rank(), type.rank() == 1 ? "" : "s");
}

Degree same_degree(std::span<const Degree> degrees) { return degrees[0]; }

Ints with_front(int64_t first, const Ints& rest) {
  Ints result{first};
  result.insert(result.end(), rest.begin(), rest.end());
  return result;
}

std::vector<Batched> batched(NodeRef node) { return {{std::move(node), true}}; }

bool is_stretched(const Dim& from, const Dim& to) { return from == Dim(1) && !(to == Dim(1)); }

// broadcast

Types broadcast_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const Shape& shape = attrs.shape("shape");
  const Ints& axes = attrs.ints("axes");
  const Type& x = in[0]->type();
  check_rank("broadcast", "axes", axes.size(), x);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= std::ssize(shape))
      user_error("broadcast: dimension {} of {} is sent to axis {}, but the result {} has axes 0 to {}", i,
                 x.str(), axes[i], str(shape), std::ssize(shape) - 1);
    if (i > 0 && axes[i] <= axes[i - 1])
      user_error("broadcast: axes [{}] must ascend; transpose before the broadcast to change the order",
                 fmt::join(axes, ","));
    const Dim& to = shape[static_cast<size_t>(axes[i])];
    if (!(x.shape[i] == to) && !(x.shape[i] == Dim(1)))
      user_error(
          "broadcast: {} does not fit {}: its dimension {} is {} and becomes axis {}, which is {}; it must "
          "be {} or 1",
          x.str(), str(shape), i, x.shape[i].str(), axes[i], to.str(), to.str());
  }
  for (const Dim& extent : shape)
    if (!provably_le(0, extent))
      user_error("broadcast: the shape {} has the extent {}, which can be negative", str(shape),
                 extent.str());
  return {{x.dtype, shape}};
}

Nodes broadcast_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const NodeRef& x = y->inputs[0];
  const Ints& axes = y->attrs.ints("axes");
  Ints summed;
  for (int64_t d = 0; d < y->rank(); ++d) {
    const auto from = std::find(axes.begin(), axes.end(), d);
    const auto i = static_cast<size_t>(from - axes.begin());
    if (from == axes.end() || is_stretched(x->shape()[i], y->shape()[static_cast<size_t>(d)]))
      summed.push_back(d);
  }
  return {build::reshape(build::reduce("sum", dy[0], summed), x->shape())};
}

Relation broadcast_relation(const Node& node, const Forms& out, Space&) {
  const Ints& axes = node.attrs.ints("axes");
  Forms in;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(axes[i]);
    in.push_back(is_stretched(node.inputs[0]->shape()[i], node.shape()[d]) ? Form::point() : out[d]);
  }
  return {{in}, {}};
}

// slice

Types slice_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const Type& x = in[0]->type();
  const Shape &start = attrs.shape("start"), &stop = attrs.shape("stop");
  const Ints& step = attrs.ints("step");
  check_rank("slice", "start", start.size(), x);
  check_rank("slice", "stop", stop.size(), x);
  check_rank("slice", "step", step.size(), x);
  Shape shape;
  for (size_t d = 0; d < step.size(); ++d) {
    if (step[d] < 1)
      user_error(
          "slice: the step of axis {} is {}; it must be at least 1 (reverse the axis for a negative one)", d,
          step[d]);
    if (!provably_le(0, start[d]) || !provably_le(start[d], stop[d]) || !provably_le(stop[d], x.shape[d]))
      user_error("slice: axis {} of {} is cut from {} to {}; it needs 0 <= start <= stop <= {}", d, x.str(),
                 start[d].str(), stop[d].str(), x.shape[d].str());
    shape.push_back(ceildiv(stop[d] - start[d], step[d]));
  }
  return {{x.dtype, shape}};
}

// Zeros between the elements of dy, then around them.
Nodes slice_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const Shape& whole = y->inputs[0]->shape();
  const Shape& start = y->attrs.shape("start");
  const Ints& step = y->attrs.ints("step");
  const NodeRef zero = build::constant(0, y->dtype());
  Shape apart, between, spaced, tail, cut, none;
  for (size_t d = 0; d < step.size(); ++d) {
    const Dim& extent = y->shape()[d];
    const Dim length = extent * step[d], rest = whole[d] - start[d];
    apart.insert(apart.end(), {extent, 1});
    between.insert(between.end(), {0, step[d] - 1});
    spaced.push_back(length);
    tail.push_back(max(rest - length, 0));
    cut.push_back(rest);
    none.push_back(0);
  }
  NodeRef dx = dy[0];
  if (std::any_of(step.begin(), step.end(), [](int64_t s) { return s > 1; }))
    dx = build::reshape(build::pad(build::reshape(dx, apart), zero, Shape(apart.size()), between), spaced);
  dx = build::slice(build::pad(dx, zero, none, tail), none, cut, Ints(step.size(), 1));
  return {build::pad(dx, zero, start, none)};
}

// pad

Types pad_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const Type &x = in[0]->type(), &value = in[1]->type();
  const Shape &low = attrs.shape("low"), &high = attrs.shape("high");
  check_rank("pad", "low", low.size(), x);
  check_rank("pad", "high", high.size(), x);
  if (value.rank() != 0 || value.dtype != x.dtype)
    user_error("pad: the value is {}, but it must be one {} as the elements of {} are: {}[]", value.str(),
               name(x.dtype), x.str(), name(x.dtype));
  Shape shape;
  for (size_t d = 0; d < low.size(); ++d) {
    if (!provably_le(0, low[d]) || !provably_le(0, high[d]))
      user_error("pad: axis {} of {} is padded by {} and {}; both must be at least 0 (use slice to cut)", d,
                 x.str(), low[d].str(), high[d].str());
    shape.push_back(low[d] + x.shape[d] + high[d]);
  }
  return {{x.dtype, shape}};
}

NodeRef border_of(const NodeRef& x, const Shape& low, const Shape& high) {  // true where the padding is
  return build::pad(build::full(false, {Dtype::boolean, x->shape()}), build::constant(true, Dtype::boolean),
                    low, high);
}

Nodes pad_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const Shape &low = y->attrs.shape("low"), &high = y->attrs.shape("high");
  Shape stop = low;
  for (size_t d = 0; d < stop.size(); ++d) stop[d] += y->inputs[0]->shape()[d];
  Ints axes(low.size());
  std::iota(axes.begin(), axes.end(), 0);
  const NodeRef outside = build::select(border_of(y->inputs[0], low, high), dy[0], build::zeros_like(dy[0]));
  return {build::slice(dy[0], low, stop, Ints(low.size(), 1)), build::reduce("sum", outside, axes)};
}

std::vector<Batched> pad_batch(const Node& node, std::span<const Batched> in, const Dim& size) {
  const Shape low = batched_shape(0, node.attrs.shape("low")),
              high = batched_shape(0, node.attrs.shape("high"));
  const NodeRef x = with_batch(in[0], size);
  if (!in[1].batched) return batched(build::pad(x, in[1].node, low, high));
  const NodeRef padded = build::pad(x, build::constant(0, x->dtype()), low, high);
  return batched(
      build::select(border_of(x, low, high), build::broadcast(in[1].node, padded->shape(), {0}), padded));
}

// concatenate

Types concatenate_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const int64_t axis = attrs.integer("axis");
  if (in.empty()) user_error("concatenate: there is nothing to concatenate; give at least one input");
  const Type& first = in[0]->type();
  if (axis < 0 || axis >= first.rank())
    user_error("concatenate: axis {} does not exist in {}; {}", axis, first.str(),
               first.rank() == 0 ? "reshape the inputs to [1] first"
                                 : fmt::format("axes go from 0 to {}", first.rank() - 1));
  Type result = first;
  for (size_t k = 1; k < in.size(); ++k) {
    const Type& type = in[k]->type();
    bool fits = type.dtype == first.dtype && type.rank() == first.rank();
    for (int64_t d = 0; fits && d < first.rank(); ++d)
      fits = d == axis || type.shape[static_cast<size_t>(d)] == first.shape[static_cast<size_t>(d)];
    if (!fits)
      user_error(
          "concatenate: input {} is {} and input 0 is {}; along axis {} they must agree in dtype and in "
          "every other extent",
          k, type.str(), first.str(), axis);
    result.shape[static_cast<size_t>(axis)] += type.shape[static_cast<size_t>(axis)];
  }
  return {result};
}

Nodes concatenate_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const int64_t axis = y->attrs.integer("axis");
  Nodes cotangents;
  Dim start = 0;
  for (const NodeRef& x : y->inputs) {
    const Dim stop = start + x->shape()[static_cast<size_t>(axis)];
    cotangents.push_back(build::slice_axis(dy[0], axis, start, stop));
    start = stop;
  }
  return cotangents;
}

void check_axes(std::string_view what, const Ints& axes, const Type& x) {
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= x.rank())
      user_error("{}: axis {} does not exist in {}; {}", what, axes[i], x.str(),
                 x.rank() == 0 ? "it has none" : fmt::format("axes go from 0 to {}", x.rank() - 1));
    if (std::find(axes.begin(), axes.begin() + static_cast<int64_t>(i), axes[i]) !=
        axes.begin() + static_cast<int64_t>(i))
      user_error("{}: axis {} stands twice in [{}]; name each axis once", what, axes[i],
                 fmt::join(axes, ","));
  }
}

const Prim kPrims[] = {
    {
        .name = "broadcast",
        .doc = "Repeats x along new dimensions and along those of extent 1. Dimension i of x becomes "
               "dimension axes[i] of the result.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"shape", AttrType::shape, "shape of the result"},
                       {"axes", AttrType::ints, "ascending; one for each dimension of x"}},
        .type = broadcast_type,
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const Ints& axes = node.attrs.ints("axes");
              gather_elements(*in[0], out[0], [&](const Ints& index) {
                Ints source;
                for (size_t i = 0; i < axes.size(); ++i)
                  source.push_back(in[0]->shape[i] == 1 ? 0 : index[static_cast<size_t>(axes[i])]);
                return source;
              });
            },
        .vjp = broadcast_vjp,
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim& size) {
              return batched(build::broadcast(in[0].node, batched_shape(size, node.attrs.shape("shape")),
                                              with_front(0, batched_axes(node.attrs.ints("axes")))));
            },
        .relation = broadcast_relation,
        .cost = 0,
        .degree = same_degree,
        .properties = {"enlarges"},
    },
    {
        .name = "reshape",
        .doc = "The same elements in the same row-major order under another shape.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"shape", AttrType::shape, "shape of the result, with as many elements as x"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef> in) {
              const Type& x = in[0]->type();
              const Shape& shape = attrs.shape("shape");
              const Dim came = volume(x.shape), wanted = volume(shape);
              for (const Dim& extent : shape)
                if (!provably_le(0, extent))
                  user_error("reshape: the shape {} has the extent {}, which can be negative", str(shape),
                             extent.str());
              if (!(came == wanted))
                user_error("reshape: {} has {} elements and {} has {}; they must be {}", x.str(), came.str(),
                           str(shape), wanted.str(),
                           came.is_const() && wanted.is_const() ? "as many" : "provably as many");
              return Types{{x.dtype, shape}};
            },
        .reference = [](const Node&, std::span<const Array* const> in,
                        std::span<Array> out) { out[0].bytes = in[0]->bytes; },
        .vjp =
            [](const NodeRef& y, std::span<const NodeRef> dy) {
              return Nodes{build::reshape(dy[0], y->inputs[0]->shape())};
            },
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim& size) {
              return batched(build::reshape(in[0].node, batched_shape(size, node.attrs.shape("shape"))));
            },
        .relation =
            [](const Node& node, const Forms& out, Space& space) {
              return Relation{{space.reshape(node.shape(), out, node.inputs[0]->shape())}, {}};
            },
        .cost = 0,
        .degree = same_degree,
        .properties = {"same_bytes"},
    },
    {
        .name = "transpose",
        .doc = "Permutes the dimensions: dimension i of the result is dimension permutation[i] of x.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"permutation", AttrType::ints, "each axis of x once"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef> in) {
              const Type& x = in[0]->type();
              const Ints& permutation = attrs.ints("permutation");
              check_rank("transpose", "permutation", permutation.size(), x);
              check_axes("transpose", permutation, x);
              Type result{x.dtype, {}};
              for (const int64_t axis : permutation)
                result.shape.push_back(x.shape[static_cast<size_t>(axis)]);
              return Types{result};
            },
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const Ints& permutation = node.attrs.ints("permutation");
              Ints source(permutation.size());
              gather_elements(*in[0], out[0], [&](const Ints& index) -> const Ints& {
                for (size_t i = 0; i < permutation.size(); ++i)
                  source[static_cast<size_t>(permutation[i])] = index[i];
                return source;
              });
            },
        .vjp =
            [](const NodeRef& y, std::span<const NodeRef> dy) {
              const Ints& permutation = y->attrs.ints("permutation");
              Ints inverse(permutation.size());
              for (size_t i = 0; i < permutation.size(); ++i)
                inverse[static_cast<size_t>(permutation[i])] = static_cast<int64_t>(i);
              return Nodes{build::transpose(dy[0], inverse)};
            },
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim&) {
              return batched(
                  build::transpose(in[0].node, with_front(0, batched_axes(node.attrs.ints("permutation")))));
            },
        .relation =
            [](const Node& node, const Forms& out, Space&) {
              const Ints& permutation = node.attrs.ints("permutation");
              Forms in(out.size());
              for (size_t i = 0; i < out.size(); ++i) in[static_cast<size_t>(permutation[i])] = out[i];
              return Relation{{in}, {}};
            },
        .cost = 0,
        .degree = same_degree,
        .properties = {"permutes"},
    },
    {
        .name = "slice",
        .doc = "The elements start, start + step, ... below stop of each dimension.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"start", AttrType::shape, "first index of each axis"},
                       {"stop", AttrType::shape, "end of each axis, exclusive"},
                       {"step", AttrType::ints, "at least 1 for each axis"}},
        .type = slice_type,
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const Ints start = const_shape(node.attrs.shape("start"));
              const Ints& step = node.attrs.ints("step");
              Ints source(step.size());
              gather_elements(*in[0], out[0], [&](const Ints& index) -> const Ints& {
                for (size_t d = 0; d < step.size(); ++d) source[d] = start[d] + index[d] * step[d];
                return source;
              });
            },
        .vjp = slice_vjp,
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim& size) {
              return batched(build::slice(in[0].node, batched_shape(0, node.attrs.shape("start")),
                                          batched_shape(size, node.attrs.shape("stop")),
                                          with_front(1, node.attrs.ints("step"))));
            },
        .relation =
            [](const Node& node, const Forms& out, Space&) {
              Forms in;
              for (size_t d = 0; d < out.size(); ++d)
                in.push_back(scaled(out[d], node.attrs.ints("step")[d],
                                    node.attrs.shape("start")[d] + (fault("plan_slice_start") ? 1 : 0)));
              return Relation{{in}, {}};
            },
        .cost = 0,
        .degree = same_degree,
    },
    {
        .name = "pad",
        .doc = "x with `low` elements of the given value before and `high` after it in each dimension.",
        .kind = Kind::move,
        .arity = 2,
        .operands = {"x", "value"},
        .attributes = {{"low", AttrType::shape, "at least 0 for each axis"},
                       {"high", AttrType::shape, "at least 0 for each axis"}},
        .type = pad_type,
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const Ints low = const_shape(node.attrs.shape("low"));
              for_each_index(out[0].shape, [&](const Ints& index, int64_t flat) {
                Ints source = index;
                bool is_inside = true;
                for (size_t d = 0; d < low.size(); ++d) {
                  source[d] -= low[d];
                  is_inside &= source[d] >= 0 && source[d] < in[0]->shape[d];
                }
                copy_element(out[0], flat, is_inside ? *in[0] : *in[1],
                             is_inside ? flat_of(source, in[0]->shape) : 0);
              });
            },
        .vjp = pad_vjp,
        .batch = pad_batch,
        .relation =
            [](const Node& node, const Forms& out, Space&) {
              Forms in;
              for (size_t d = 0; d < out.size(); ++d)
                in.push_back(scaled(out[d], 1, Dim(0) - node.attrs.shape("low")[d]));
              return Relation{{in, {}}, {}};
            },
        .cost = 1,
        .degree = [](std::span<const Degree> d) { return d[0] == d[1] ? d[0] : Degree{Degree::Kind::none}; },
        .properties = {"piecewise", "encloses"},
    },
    {
        .name = "concatenate",
        .doc = "The inputs one after another along an axis.",
        .kind = Kind::move,
        .arity = -1,
        .attributes = {{"axis", AttrType::integer, "the axis that grows"}},
        .type = concatenate_type,
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const auto axis = static_cast<size_t>(node.attrs.integer("axis"));
              int64_t start = 0;
              for (const Array* piece : in) {
                for_each_index(piece->shape, [&](const Ints& index, int64_t flat) {
                  Ints to = index;
                  to[axis] += start;
                  copy_element(out[0], flat_of(to, out[0].shape), *piece, flat);
                });
                start += piece->shape[axis];
              }
            },
        .vjp = concatenate_vjp,
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim& size) {
              Nodes pieces;
              for (const Batched& piece : in) pieces.push_back(with_batch(piece, size));
              return batched(build::concatenate(pieces, node.attrs.integer("axis") + 1));
            },
        .relation =
            [](const Node& node, const Forms& out, Space&) {
              const auto axis = static_cast<size_t>(node.attrs.integer("axis"));
              Relation relation;
              Dim start = 0;
              for (const NodeRef& piece : node.inputs) {
                relation.inputs.push_back(out);
                relation.inputs.back()[axis] = scaled(out[axis], 1, Dim(0) - start);
                start += piece->shape()[axis];
              }
              return relation;
            },
        .cost = 1,
        .degree =
            [](std::span<const Degree> d) {
              return std::all_of(d.begin(), d.end(), [&](const Degree& x) { return x == d[0]; })
                         ? d[0]
                         : Degree{Degree::Kind::none};
            },
        .properties = {"piecewise"},
    },
    {
        .name = "reverse",
        .doc = "Turns the given axes round: the last element comes first.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"axes", AttrType::ints, "the axes to turn round"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef> in) {
              check_axes("reverse", attrs.ints("axes"), in[0]->type());
              return Types{in[0]->type()};
            },
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              gather_elements(*in[0], out[0], [&](const Ints& index) {
                Ints source = index;
                for (const int64_t axis : node.attrs.ints("axes")) {
                  const auto d = static_cast<size_t>(axis);
                  source[d] = in[0]->shape[d] - 1 - index[d];
                }
                return source;
              });
            },
        .vjp =
            [](const NodeRef& y, std::span<const NodeRef> dy) {
              return Nodes{build::reverse(dy[0], y->attrs.ints("axes"))};
            },
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim&) {
              return batched(build::reverse(in[0].node, batched_axes(node.attrs.ints("axes"))));
            },
        .relation =
            [](const Node& node, const Forms& out, Space&) {
              Forms in = out;
              for (const int64_t axis : node.attrs.ints("axes")) {
                const auto d = static_cast<size_t>(axis);
                in[d] = scaled(out[d], -1, node.shape()[d] - 1);
              }
              return Relation{{in}, {}};
            },
        .cost = 0,
        .degree = same_degree,
        .properties = {"permutes", "mirrors"},
    },
};
const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold
