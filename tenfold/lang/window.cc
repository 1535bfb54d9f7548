#include "tenfold/lang/window.h"

#include <numeric>

#include "tenfold/ir/build.h"
#include "tenfold/ir/reduce.h"

namespace tenfold::lang {
namespace {

constexpr size_t kFirst = 2;                                   // spatial axis: n and c stand before
constexpr std::string_view kPositions = "pqr", kTaps = "ijk";  // letters of the spatial axes
constexpr std::string_view kNames[] = {"x", "w"};

// Sliding with one entry for each of the axes.
struct Each {
  Ints stride, dilation;
  Shape low, high;

  int64_t reach(size_t a, const Dim& taps) const { return dilation[a] * (taps.value() - 1) + 1; }
};

Ints each(const Ints& list, size_t axes, std::string_view function, std::string_view name,
          std::span<const Operand> operands) {
  if (list.size() != 1 && list.size() != axes)
    fail(fmt::format("{}: {} has {} entries for {} axes; give one for all, or one for each", function, name,
                     list.size(), axes),
         operands, kNames);
  for (const int64_t n : list)
    if (n < 1) fail(fmt::format("{}: {} is {}; it must be at least 1", function, name, n), operands, kNames);
  return list.size() == axes ? list : Ints(axes, list[0]);
}

// The spatial axes of x and their taps, checked against each other. `extents`: of those axes.
Each slid(std::string_view function, const Sliding& s, const Shape& extents, const Shape& taps,
          std::span<const Operand> operands) {
  const size_t axes = extents.size();
  Each out{each(s.stride, axes, function, "stride", operands),
           each(s.dilation, axes, function, "dilation", operands), Shape(axes, 0), Shape(axes, 0)};
  if (!s.padding.empty() && s.padding.size() != 1 && s.padding.size() != axes)
    fail(fmt::format("{}: padding has {} entries for {} axes; give one for all, or one for each", function,
                     s.padding.size(), axes),
         operands, kNames);
  for (size_t a = 0; a < axes; ++a) {
    const int64_t reach = out.reach(a, taps[a]);
    if (s.same) {
      const Dim over = max((ceildiv(extents[a], out.stride[a]) - 1) * out.stride[a] + reach - extents[a], 0);
      out.low[a] = floordiv(over, 2);
      out.high[a] = over - out.low[a];
    } else if (!s.padding.empty()) {
      const auto [low, high] = s.padding[s.padding.size() == 1 ? 0 : a];
      if (low < 0 || high < 0)
        fail(fmt::format("{}: the padding ({}, {}) is negative; use a slice to cut", function, low, high),
             operands, kNames);
      out.low[a] = low, out.high[a] = high;
    }
  }
  return out;
}

void check_fits(std::string_view function, const Each& s, const Shape& extents, const Shape& taps,
                std::span<const Operand> operands) {
  for (size_t a = 0; a < extents.size(); ++a) {
    const Dim padded = s.low[a] + extents[a] + s.high[a];
    if (provably_le(s.reach(a, taps[a]), padded)) continue;
    fail(fmt::format("{}: a window of {} taps{} reaches over {} elements, but spatial axis {} has {}{}. Pad "
                     "it (padding=\"same\", say), or take fewer taps.",
                     function, taps[a].str(),
                     s.dilation[a] > 1 ? fmt::format(" with dilation {}", s.dilation[a]) : "",
                     s.reach(a, taps[a]), a, padded.str(), padded == extents[a] ? "" : " with its padding"),
         operands, kNames);
  }
}

Shape spatial(const Operand& x) {
  const Shape shape = x.shape();
  return {shape.begin() + kFirst, shape.end()};
}

void check_image(std::string_view function, const Operand& x, std::span<const Operand> operands) {
  const size_t rank = x.shape().size();
  if (rank > kFirst && rank <= kFirst + kTaps.size()) return;
  fail(fmt::format("{}: x has {} ax{}, but it must be [n, c, *spatial] with 1 to {} spatial axes. {}",
                   function, rank, rank == 1 ? "is" : "es", kTaps.size(),
                   rank <= kFirst ? "Add axes of extent 1 with expand_dims."
                                  : "Join axes with reshape, or use vmap."),
       operands, kNames);
}

// w as the filters of `outer` channels on its first axis; x has `channels`. Taps have to be known.
void check_filters(std::string_view function, const Operand& x, const Operand& w, int64_t groups,
                   const Dim& of_x, const Dim& of_w, std::string_view needed) {
  const Operand both[] = {x, w};
  if (!(of_x == of_w))
    fail(fmt::format("{}: x has {} channels and w is for {}{}. {}", function, of_x.str(), of_w.str(),
                     groups > 1 ? fmt::format(" ({} groups)", groups) : "", needed),
         both, kNames);
}

void check_groups(std::string_view function, std::string_view what, const Dim& channels, int64_t groups,
                  std::span<const Operand> both) {
  if (groups >= 1 && provably_divides(groups, channels)) return;
  fail(fmt::format("{}: {} has {} channels, which {} groups do not divide. groups must be at least 1 and "
                   "divide the channels of x and the first axis of w.",
                   function, what, channels.str(), groups),
       both, kNames);
}

void check_taps(std::string_view function, const Operand& x, const Operand& w) {
  const Operand both[] = {x, w};
  if (w.shape().size() != x.shape().size())
    fail(fmt::format(
             "{}: x has {} spatial axes, so w must have {} axes, but it has {}. w is [outputs, channels "
             "/ groups, *taps].",
             function, x.shape().size() - kFirst, x.shape().size(), w.shape().size()),
         both, kNames);
  for (const Dim& taps : spatial(w))
    if (!taps.is_const() || taps.value() < 1)
      fail(fmt::format("{}: w has {} taps along an axis; their number must be known, and at least 1",
                       function, taps.str()),
           both, kNames);
}

NodeRef padded(const NodeRef& x, const Scalar& value, const Each& s, size_t first) {
  Shape low(x->shape().size(), 0), high = low;
  std::copy(s.low.begin(), s.low.end(), low.begin() + static_cast<int64_t>(first));
  std::copy(s.high.begin(), s.high.end(), high.begin() + static_cast<int64_t>(first));
  return build::pad(x, build::constant(value.round_to(x->dtype()), x->dtype()), low, high);
}

NodeRef windows(const NodeRef& x, const Each& s, const Shape& taps, size_t first) {
  Ints axes(taps.size());
  std::iota(axes.begin(), axes.end(), static_cast<int64_t>(first));
  return build::window(x, axes, const_shape(taps), s.stride, s.dilation);
}

// Axis `axis` as [groups, extent / groups].
NodeRef grouped(const NodeRef& x, size_t axis, int64_t groups) {
  if (groups == 1) return x;
  Shape shape = x->shape();
  shape[axis] = floordiv(shape[axis], groups);
  shape.insert(shape.begin() + static_cast<int64_t>(axis), groups);
  return build::reshape(x, shape);
}
NodeRef joined(const NodeRef& x, size_t axis, int64_t groups) {
  if (groups == 1) return x;
  Shape shape = x->shape();
  shape[axis] = shape[axis] * shape[axis + 1];
  shape.erase(shape.begin() + static_cast<int64_t>(axis) + 1);
  return build::reshape(x, shape);
}

Tensor pool(std::string_view function, const Operand& x, const Ints& taps, const Sliding& sliding,
            const Scalar& fill, NodeRef (*reduced)(const NodeRef&, const Ints&)) {
  check_image(function, x, {&x, 1});
  const Shape extents = spatial(x);
  Shape every;
  for (const int64_t n : each(taps, extents.size(), function, "the window", {&x, 1})) every.emplace_back(n);
  const Each s = slid(function, sliding, extents, every, {&x, 1});
  check_fits(function, s, extents, every, {&x, 1});
  return compose(function, {x}, [&](const Nodes& in) {
    const NodeRef all = windows(padded(in[0], fill, s, kFirst), s, every, kFirst);
    Ints axes(every.size());
    std::iota(axes.begin(), axes.end(), in[0]->rank());
    return reduced(all, axes);
  });
}

}  // namespace

Tensor conv(const Operand& x, const Operand& w, const Sliding& sliding, int64_t groups) {
  const Operand both[] = {x, w};
  check_image("conv", x, both);
  check_taps("conv", x, w);
  check_groups("conv", "x", x.shape()[1], groups, both);
  check_groups("conv", "the result", w.shape()[0], groups, both);
  check_filters("conv", x, w, groups, x.shape()[1], w.shape()[1] * groups,
                fmt::format("w is [outputs, channels / groups, *taps]: its second axis must be {}.",
                            floordiv(x.shape()[1], groups).str()));
  const Shape extents = spatial(x), taps = spatial(w);
  const Each s = slid("conv", sliding, extents, taps, both);
  check_fits("conv", s, extents, taps, both);
  const Dtype dtype = result_dtype(both, "conv");
  return compose("conv", {x, w}, [&](Nodes in) {
    for (NodeRef& node : in) node = build::convert(node, dtype);
    const std::string g(groups == 1 ? "" : "g"), p(kPositions.substr(0, taps.size())),
        k(kTaps.substr(0, taps.size()));
    const NodeRef image = grouped(padded(in[0], 0, s, kFirst), 1, groups);
    const NodeRef y =
        build::contract(windows(image, s, taps, image->shape().size() - taps.size()),
                        grouped(in[1], 0, groups), fmt::format("n{0}c{1}{2},{0}oc{2}->n{0}o{1}", g, p, k));
    return joined(y, 1, groups);
  });
}

Tensor conv_transpose(const Operand& x, const Operand& w, const Sliding& sliding, int64_t groups) {
  const Operand both[] = {x, w};
  check_image("conv_transpose", x, both);
  check_taps("conv_transpose", x, w);
  check_groups("conv_transpose", "x", x.shape()[1], groups, both);
  check_filters(
      "conv_transpose", x, w, groups, x.shape()[1], w.shape()[0],
      "w is that of the conv in the other direction, [channels of x, channels of the result / groups, "
      "*taps]: its first axis must be the channels of x.");
  const Shape positions = spatial(x), taps = spatial(w);
  Shape whole;  // before the padding is cut off
  Sliding plain = sliding;
  plain.same = false;
  Each s = slid("conv_transpose", plain, positions, taps, both);
  for (size_t a = 0; a < taps.size(); ++a) {
    const int64_t reach = s.reach(a, taps[a]);
    whole.push_back((positions[a] - 1) * s.stride[a] + reach);
    if (sliding.same) {
      if (reach < s.stride[a])
        fail(fmt::format(
                 "conv_transpose: padding=\"same\" needs windows that meet, but those of spatial axis {} "
                 "reach over {} elements with stride {}. Use padding=0.",
                 a, reach, s.stride[a]),
             both, kNames);
      s.low[a] = floordiv(Dim(reach - s.stride[a]), 2);
      s.high[a] = Dim(reach - s.stride[a]) - s.low[a];
    }
    if (!provably_le(s.low[a] + s.high[a], whole[a]))
      fail(fmt::format("conv_transpose: spatial axis {} of the result has {} elements, of which the padding "
                       "cuts off {} and {}. Take less padding.",
                       a, whole[a].str(), s.low[a].str(), s.high[a].str()),
           both, kNames);
  }
  const Dtype dtype = result_dtype(both, "conv_transpose");
  return compose("conv_transpose", {x, w}, [&](Nodes in) {
    for (NodeRef& node : in) node = build::convert(node, dtype);
    const std::string g(groups == 1 ? "" : "g"), p(kPositions.substr(0, taps.size())),
        k(kTaps.substr(0, taps.size()));
    const NodeRef products = build::contract(grouped(in[0], 1, groups), grouped(in[1], 0, groups),
                                             fmt::format("n{0}o{1},{0}oc{2}->n{0}c{1}{2}", g, p, k));
    const size_t first = products->shape().size() - 2 * taps.size();
    Shape shape(products->shape().begin(), products->shape().begin() + static_cast<int64_t>(first));
    shape.insert(shape.end(), whole.begin(), whole.end());
    Ints axes(taps.size());
    std::iota(axes.begin(), axes.end(), static_cast<int64_t>(first));
    const NodeRef sum = joined(make("overlap_add", {products},
                                    {{"shape", shape},
                                     {"axes", axes},
                                     {"taps", const_shape(taps)},
                                     {"stride", s.stride},
                                     {"dilation", s.dilation}}),
                               1, groups);
    Shape start(sum->shape().size(), 0), stop = sum->shape();
    for (size_t a = 0; a < taps.size(); ++a) {
      start[kFirst + a] = s.low[a];
      stop[kFirst + a] = whole[a] - s.high[a];
    }
    return build::slice(sum, start, stop, Ints(start.size(), 1));
  });
}

Tensor max_pool(const Operand& x, const Ints& taps, const Sliding& sliding) {
  return pool("max_pool", x, taps, sliding, identity(prim("reduce_max"), x.dtype()),
              [](const NodeRef& all, const Ints& axes) { return build::reduce("max", all, axes); });
}

Tensor mean_pool(const Operand& x, const Ints& taps, const Sliding& sliding) {
  const Operand value = is_inexact(x.dtype()) ? x : Operand(astype(x, Dtype::f32), x.where());
  return pool("mean_pool", value, taps, sliding, 0, [](const NodeRef& all, const Ints& axes) {
    double count = 1;
    for (const int64_t axis : axes) count *= static_cast<double>(all->shape()[axis].value());
    const NodeRef sum = build::reduce("sum", all, axes);
    return build::map("div", {sum, build::full(count, sum->type())});
  });
}

Tensor window(const Operand& x, const Ints& axes, const Ints& taps, const Sliding& sliding) {
  Ints named;
  Shape extents, every;
  for (const int64_t axis : axes) {
    named.push_back(normal_axis(axis, static_cast<int64_t>(x.shape().size()), "window", x));
    extents.push_back(x.shape()[named.back()]);
  }
  for (const int64_t n : each(taps, axes.size(), "window", "taps", {&x, 1})) every.emplace_back(n);
  const Each s = slid("window", sliding, extents, every, {&x, 1});
  return compose("window", {x}, [&](const Nodes& in) {
    Shape low(in[0]->shape().size(), 0), high = low;
    for (size_t a = 0; a < named.size(); ++a) low[named[a]] += s.low[a], high[named[a]] += s.high[a];
    return build::window(build::pad(in[0], build::constant(0, in[0]->dtype()), low, high), named,
                         const_shape(every), s.stride, s.dilation);
  });
}

}  // namespace tenfold::lang
