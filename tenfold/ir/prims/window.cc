// Windows that slide along axes, and the addition of windows back to where they came from. Each is the
// other's derivative. A window is a relation alone: index stride * i + dilation * k of what is read, for tap
// k of position i. Nothing is outside of it: who wants a border pads first.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "tenfold/ir/batch.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"

namespace tenfold {
namespace {

using Types = std::vector<Type>;
using AttrType = AttrSpec::Type;

// The attributes of both records. Axis axes[a] of the whole has taps[a] taps for each position, and tap axis
// `rank of the whole + a`.
struct Windows {
  explicit Windows(const Attrs& attrs)
      : axes(attrs.ints("axes")),
        taps(attrs.ints("taps")),
        stride(attrs.ints("stride")),
        dilation(attrs.ints("dilation")) {}
  const Ints &axes, &taps, &stride, &dilation;

  size_t size() const { return axes.size(); }
  size_t axis(size_t a) const { return static_cast<size_t>(axes[a]); }
  int64_t reach(size_t a) const { return dilation[a] * (taps[a] - 1) + 1; }  // from the first tap to the last
  Dim positions(size_t a, const Dim& extent) const { return floordiv(extent - reach(a), stride[a]) + 1; }
  Attrs attrs() const { return {{"axes", axes}, {"taps", taps}, {"stride", stride}, {"dilation", dilation}}; }
};

void check(std::string_view what, const Windows& w, const Type& whole) {
  for (const auto& [name, list] :
       {std::pair("taps", &w.taps), {"stride", &w.stride}, {"dilation", &w.dilation}}) {
    if (list->size() != w.size())
      user_error("{}: {} has {} entries and axes has {}; give one entry for each axis", what, name,
                 list->size(), w.size());
    for (const int64_t n : *list)
      if (n < 1) user_error("{}: {} has the entry {}; it must be at least 1", what, name, n);
  }
  for (size_t a = 0; a < w.size(); ++a) {
    if (w.axes[a] < 0 || w.axes[a] >= whole.rank())
      user_error("{}: axis {} does not exist in {}; {}", what, w.axes[a], whole.str(),
                 whole.rank() == 0 ? "it has none" : fmt::format("axes go from 0 to {}", whole.rank() - 1));
    if (std::count(w.axes.begin(), w.axes.end(), w.axes[a]) > 1)
      user_error("{}: axis {} stands twice in [{}]; name each axis once", what, w.axes[a],
                 fmt::join(w.axes, ","));
    const Dim& extent = whole.shape[w.axis(a)];
    if (!provably_le(w.reach(a), extent))
      user_error(
          "{}: a window of {} taps with dilation {} reaches over {} elements, but axis {} of {} has {}; "
          "pad it first, or take fewer taps",
          what, w.taps[a], w.dilation[a], w.reach(a), w.axes[a], whole.str(), extent.str());
  }
}

Shape windowed(const Windows& w, Shape whole) {
  for (size_t a = 0; a < w.size(); ++a) whole[w.axis(a)] = w.positions(a, whole[w.axis(a)]);
  for (const int64_t taps : w.taps) whole.emplace_back(taps);
  return whole;
}

// Calls visit(place in the whole, place in the windows) for each tap of each position, in the windows' order.
template <class Visit>
void for_each_tap(const Windows& w, const Ints& whole, const Ints& windows, const Visit& visit) {
  const int64_t size = std::accumulate(windows.begin(), windows.end(), int64_t{1}, std::multiplies<>());
  Ints index(windows.size(), 0);
  for (int64_t flat = 0; flat < size; ++flat) {
    int64_t at = 0;
    for (size_t d = 0; d < whole.size(); ++d) {
      int64_t i = index[d];
      for (size_t a = 0; a < w.size(); ++a)
        if (w.axis(a) == d) i = w.stride[a] * i + w.dilation[a] * index[whole.size() + a];
      at = at * whole[d] + i;
    }
    visit(at, flat);
    for (size_t d = windows.size(); d-- > 0 && ++index[d] == windows[d];) index[d] = 0;
  }
}

Attrs batched_windows(const Windows& w) {
  Attrs attrs = w.attrs();
  Ints axes = w.axes;
  for (int64_t& axis : axes) ++axis;
  attrs.set("axes", axes);
  return attrs;
}

Relation window_relation(const Node& node, const Forms& out, Space&) {
  const Windows w(node.attrs);
  const size_t rank = out.size() - w.size();
  Forms in(out.begin(), out.begin() + static_cast<int64_t>(rank));
  for (size_t a = 0; a < w.size(); ++a)
    in[w.axis(a)] = added(scaled(in[w.axis(a)], w.stride[a], 0), scaled(out[rank + a], w.dilation[a], 0));
  return {{in}, {}};
}

// ---- adding back

const Shape& whole_of(const Attrs& attrs) { return attrs.shape("shape"); }

Types overlap_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const Type &x = in[0]->type(), whole{x.dtype, whole_of(attrs)};
  const Windows w(attrs);
  check("overlap_add", w, whole);
  if (is_bool(x.dtype)) user_error("overlap_add: x is {}, and bool has no sum; convert it first", x.str());
  const Type wanted{x.dtype, windowed(w, whole.shape)};
  if (!(wanted.shape == x.shape))
    user_error("overlap_add: x is {}, but the windows of {} are {}", x.str(), whole.str(), wanted.str());
  return {whole};
}

void overlap_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  // Summed in the widest format of the dtype's kind, rounded at the end.
  const Dtype d = node.dtype();
  const Dtype wide = is_float(d) ? Dtype::f64 : is_complex(d) ? Dtype::complex128 : d;
  Array sum(wide, out[0].shape);
  for (int64_t i = 0; i < sum.size(); ++i) sum.set(i, Scalar(0));
  const std::vector<Dtype> dtypes(3, wide);
  const auto add = [&, &eval = prim("add").eval](const Scalar& a, const Scalar& b) {
    return eval({}, std::vector<Scalar>{a, b}, dtypes);
  };
  for_each_tap(Windows(node.attrs), out[0].shape, in[0]->shape,
               [&](int64_t to, int64_t from) { sum.set(to, add(sum.at(to), in[0]->at(from))); });
  for (int64_t i = 0; i < sum.size(); ++i) out[0].set(i, sum.at(i));
}

// x with stride - 1 zeros after each element of the axis, cut or filled to this extent.
NodeRef spaced(NodeRef x, size_t axis, int64_t stride, const Dim& extent, const Dim& low, const Dim& high) {
  const NodeRef zero = build::constant(0, x->dtype());
  const auto pad = [&](const NodeRef& y, const Dim& before, const Dim& after) {
    Shape lows(y->shape().size(), 0), highs(y->shape().size(), 0);
    lows[axis] = before, highs[axis] = after;
    return build::pad(y, zero, lows, highs);
  };
  if (stride > 1) {
    Shape apart = x->shape(), low_each(apart.size() + 1, 0), high_each = low_each, joined = apart;
    apart.insert(apart.begin() + static_cast<int64_t>(axis) + 1, 1);
    high_each[axis + 1] = stride - 1;
    joined[axis] = joined[axis] * stride;
    x = build::reshape(build::pad(build::reshape(x, apart), zero, low_each, high_each), joined);
    const Dim last = joined[axis] - (stride - 1);  // the zeros after the last element are not needed
    x = build::slice_axis(x, static_cast<int64_t>(axis), 0, last);
  }
  return pad(x, low, extent - x->shape()[axis] + high);
}

// y's elements along an axis as [n / parts, parts], with zeros after them to fill the last.
NodeRef in_parts(const NodeRef& y, size_t axis, int64_t parts) {
  Shape shape = y->shape(), low(shape.size(), 0), high = low;
  const Dim count = floordiv(shape[axis] + parts - 1, parts);
  high[axis] = count * parts - shape[axis];
  shape[axis] = count;
  shape.insert(shape.begin() + static_cast<int64_t>(axis) + 1, parts);
  return build::reshape(build::pad(y, build::constant(0, y->dtype()), low, high), shape);
}

// The sum over positions and taps of a[.., i, ..] b[.., k, ..] at stride * i + dilation * k is a contraction
// over windows of a, turned round: what is at j has met tap k at j - dilation * k. With a stride s, elements
// s * i + r of each phase r have met the taps s * k + r at i - k: the phases are an axis of b and of the
// result.
NodeRef of_contraction(const Windows& w, const Shape& whole, const NodeRef& product) {
  const ContractSpec spec = parse_contract(product->attrs.text("spec"));
  const size_t rank = whole.size();
  std::string unused;
  for (char c = 'a'; c <= 'z'; ++c)
    if ((spec.a + spec.b).find(c) == std::string::npos) unused += c;
  for (const bool swapped : {false, true}) {
    const std::string& a = swapped ? spec.b : spec.a;
    std::string b = swapped ? spec.a : spec.b;
    bool apart = true;
    for (size_t k = 0; k < w.size(); ++k) {
      const char position = spec.out[w.axis(k)], tap = spec.out[rank + k];
      apart = apart && a.find(position) != std::string::npos && b.find(position) == std::string::npos &&
              b.find(tap) != std::string::npos && a.find(tap) == std::string::npos;
    }
    if (!apart) continue;
    NodeRef x = product->inputs[swapped ? 1 : 0], y = product->inputs[swapped ? 0 : 1];
    std::string out = spec.out.substr(0, rank);
    Ints axes, taps, turned, phases;
    for (size_t k = 0; k < w.size(); ++k) {
      const auto at = a.find(spec.out[w.axis(k)]), tap = b.find(spec.out[rank + k]);
      const int64_t stride = w.stride[k], parts = (w.taps[k] + stride - 1) / stride;
      const Dim &positions = x->shape()[at], &extent = whole[w.axis(k)];
      const bool by_phases = stride > 1 && w.dilation[k] == 1 && k < unused.size() &&
                             (extent - (positions + (parts - 1)) * stride).is_const();
      axes.push_back(static_cast<int64_t>(at));
      phases.push_back(by_phases ? stride : 1);
      taps.push_back(by_phases ? parts : w.taps[k]);
      if (!by_phases) {
        x = spaced(x, at, stride, extent, w.reach(k) - 1, 0);
        continue;
      }
      x = spaced(x, at, 1, positions, parts - 1, parts - 1);
      y = in_parts(y, tap, stride);
      b.insert(tap + 1, 1, unused[k]);
      out += unused[k];
    }
    for (size_t k = 0; k < w.size(); ++k) turned.push_back(static_cast<int64_t>(b.find(spec.out[rank + k])));
    std::sort(turned.begin(), turned.end());
    NodeRef sum = build::contract(
        build::window(x, axes, taps, Ints(w.size(), 1), w.dilation), build::reverse(y, turned),
        fmt::format("{},{}->{}", a + spec.out.substr(rank), b, out), product->dtype());
    if (out.size() == rank) return sum;
    Ints order;  // each phase after its positions
    Shape shape(sum->shape().begin(), sum->shape().begin() + static_cast<int64_t>(rank));
    for (size_t d = 0; d < rank; ++d) {
      order.push_back(static_cast<int64_t>(d));
      for (size_t k = 0; k < w.size(); ++k)
        if (w.axis(k) == d && phases[k] > 1) {
          order.push_back(static_cast<int64_t>(out.find(unused[k])));
          shape[d] = shape[d] * phases[k];
        }
    }
    sum = build::reshape(build::transpose(sum, order), shape);
    for (size_t k = 0; k < w.size(); ++k) {  // no tap has met what is beyond, and nobody asks for the rest
      if (phases[k] == 1) continue;
      const size_t d = w.axis(k);
      if (provably_le(whole[d], sum->shape()[d]))
        sum = build::slice_axis(sum, static_cast<int64_t>(d), 0, whole[d]);
      else
        sum = spaced(sum, d, 1, whole[d], 0, 0);
    }
    return sum;
  }
  return {};
}

Nodes overlap_expand(const Node& node, std::span<const NodeRef> in) {
  const Windows w(node.attrs);
  const Shape& whole = whole_of(node.attrs);
  if (in[0]->prim->name == "contract")
    if (NodeRef made = of_contraction(w, whole, in[0])) return {made};
  NodeRef x = in[0];  // the last axis first: its taps are the last axis
  for (size_t a = w.size(); a-- > 0;) {
    const int64_t last = x->rank() - 1;
    Shape shape = x->shape();
    shape.pop_back();
    const Dim &extent = whole[w.axis(a)], rest = extent - shape[w.axis(a)] * w.stride[a];
    if (w.taps[a] == w.stride[a] && w.dilation[a] == 1 && rest == Dim(0)) {  // they do not overlap
      Ints order;
      for (int64_t d = 0; d < last; ++d) {
        order.push_back(d);
        if (d == w.axes[a]) order.push_back(last);
      }
      shape[w.axis(a)] = extent;
      x = build::reshape(build::transpose(x, order), shape);
      continue;
    }
    NodeRef sum;
    for (int64_t k = 0; k < w.taps[a]; ++k) {
      const int64_t before = w.dilation[a] * k;
      const NodeRef tap = spaced(build::reshape(build::slice_axis(x, last, k, k + 1), shape), w.axis(a),
                                 w.stride[a], extent - before, before, 0);
      sum = sum ? build::map("add", {sum, tap}) : tap;
    }
    x = sum;
  }
  return {x};
}

const Prim kPrims[] = {
    {
        .name = "window",
        .doc =
            "Windows of x: position i and tap k of a windowed axis is element stride * i + dilation * k of "
            "it. The axis becomes that of the positions; the taps are new axes at the end.",
        .kind = Kind::move,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"axes", AttrType::ints, "the windowed axes"},
                       {"taps", AttrType::ints, "elements of a window, for each of them"},
                       {"stride", AttrType::ints, "elements from one window to the next"},
                       {"dilation", AttrType::ints, "elements from one tap to the next"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef> in) {
              const Windows w(attrs);
              check("window", w, in[0]->type());
              return Types{{in[0]->dtype(), windowed(w, in[0]->shape())}};
            },
        .reference =
            [](const Node& node, std::span<const Array* const> in, std::span<Array> out) {
              const int64_t bytes = size_of(node.dtype());
              for_each_tap(Windows(node.attrs), in[0]->shape, out[0].shape, [&](int64_t from, int64_t to) {
                std::memcpy(out[0].bytes.data() + to * bytes, in[0]->bytes.data() + from * bytes,
                            static_cast<size_t>(bytes));
              });
            },
        .vjp =
            [](const NodeRef& y, std::span<const NodeRef> dy) {
              Attrs attrs = y->attrs;
              attrs.set("shape", y->inputs[0]->shape());
              return Nodes{make("overlap_add", {dy[0]}, attrs)};
            },
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim&) {
              return std::vector<Batched>{
                  {make("window", {in[0].node}, batched_windows(Windows(node.attrs))), true}};
            },
        .relation = window_relation,
        .cost = 0,
        .degree = [](std::span<const Degree> d) { return d[0]; },
        .properties = {"enlarges", "repeats"},
    },
    {
        .name = "overlap_add",
        .doc = "Adds windows back: element j is the sum of x over all positions i and taps k with "
               "stride * i + dilation * k = j. The derivative of window; after a contraction, itself a "
               "contraction over windows.",
        .kind = Kind::index,
        .arity = 1,
        .operands = {"x"},
        .attributes = {{"shape", AttrType::shape, "of the result: what the windows are of"},
                       {"axes", AttrType::ints, "its windowed axes; their taps are the last axes of x"},
                       {"taps", AttrType::ints, "elements of a window, for each of them"},
                       {"stride", AttrType::ints, "elements from one window to the next"},
                       {"dilation", AttrType::ints, "elements from one tap to the next"}},
        .type = overlap_type,
        .reference = overlap_reference,
        .vjp =
            [](const NodeRef& y, std::span<const NodeRef> dy) {
              return Nodes{make("window", {dy[0]}, Windows(y->attrs).attrs())};
            },
        .batch =
            [](const Node& node, std::span<const Batched> in, const Dim& size) {
              Attrs attrs = batched_windows(Windows(node.attrs));
              attrs.set("shape", batched_shape(size, whole_of(node.attrs)));
              return std::vector<Batched>{{make("overlap_add", {in[0].node}, attrs), true}};
            },
        .cost = 1,
        .expand = overlap_expand,
    },
};
const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold
