// Moves are merged, dropped, and pushed to where less is computed.
#include <algorithm>
#include <numeric>

#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold::rewrite {
namespace {

using build::map;

bool is(const NodeRef& n, std::string_view name) { return n->prim->name == name; }
Graph graph(Nodes parameters, NodeRef result) { return {std::move(parameters), {std::move(result)}, {}}; }
NodeRef parameter(Dtype d, Shape shape) { return build::parameter(0, {d, std::move(shape)}); }

Ints counting(int64_t n) {
  Ints all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// ---- reshape

NodeRef join_reshapes(const NodeRef& n, Ranges&) {
  if (!is(n, "reshape")) return {};
  const NodeRef& x = n->inputs[0];
  if (x->shape() == n->shape()) return x;
  if (is(x, "reshape")) return build::reshape(x->inputs[0], n->shape());
  // A broadcast that repeats nothing is a reshape.
  if (is(x, "broadcast") && volume(x->shape()) == volume(x->inputs[0]->shape()))
    return build::reshape(x->inputs[0], n->shape());
  if (const auto c = constant_of(x)) return build::full(*c, n->type());
  return {};
}

std::vector<Graph> reshape_examples(Dtype d) {
  const NodeRef x = parameter(d, {2, 3, 4});
  return {graph({x}, build::reshape(build::reshape(x, {6, 4}), {4, 6})),
          graph({x}, build::reshape(build::reshape(x, {24}), {2, 3, 4})),
          graph({x}, build::reshape(build::broadcast(x, {2, 1, 3, 4}, {0, 2, 3}), {6, 4}))};
}

// ---- transpose

NodeRef join_transposes(const NodeRef& n, Ranges&) {
  if (!is(n, "transpose")) return {};
  const Ints& p = n->attrs.ints("permutation");
  const NodeRef& x = n->inputs[0];
  if (p == counting(x->rank())) return x;
  if (const auto c = constant_of(x)) return build::full(*c, n->type());
  if (is(x, "transpose")) {
    const Ints& inner = x->attrs.ints("permutation");
    Ints both;
    for (int64_t k : p) both.push_back(inner[static_cast<size_t>(k)]);
    return build::transpose(x->inputs[0], both);
  }
  if (is(x, "broadcast")) {  // where the order of the source's axes stays
    Ints axes;
    for (int64_t a : x->attrs.ints("axes")) axes.push_back(std::find(p.begin(), p.end(), a) - p.begin());
    if (std::is_sorted(axes.begin(), axes.end())) return build::broadcast(x->inputs[0], n->shape(), axes);
  }
  return {};
}

std::vector<Graph> transpose_examples(Dtype d) {
  const NodeRef x = parameter(d, {2, 3, 4}), v = parameter(d, {3});
  return {graph({x}, build::transpose(build::transpose(x, {1, 2, 0}), {1, 0, 2})),
          graph({x}, build::transpose(build::transpose(x, {1, 2, 0}), {2, 0, 1})),
          graph({v}, build::transpose(build::broadcast(v, {3, 5}, {0}), {1, 0}))};
}

// ---- broadcast

NodeRef join_broadcasts(const NodeRef& n, Ranges&) {
  if (!is(n, "broadcast")) return {};
  const NodeRef& x = n->inputs[0];
  const Ints& axes = n->attrs.ints("axes");
  if (x->shape() == n->shape() && axes == counting(x->rank())) return x;
  if (is(x, "broadcast")) {
    Ints both;
    for (int64_t a : x->attrs.ints("axes")) both.push_back(axes[static_cast<size_t>(a)]);
    return build::broadcast(x->inputs[0], n->shape(), both);
  }
  if (is(x, "iota")) {  // an iota along an axis that is kept
    const auto axis = static_cast<size_t>(x->attrs.integer("axis"));
    if (x->shape()[axis] == n->shape()[static_cast<size_t>(axes[axis])])
      return build::iota(n->shape(), axes[axis], n->dtype());
  }
  return {};
}

std::vector<Graph> broadcast_examples(Dtype d) {
  const NodeRef x = parameter(d, {3, 1});
  std::vector<Graph> all{
      graph({x}, build::broadcast(build::broadcast(x, {3, 5}, {0, 1}), {2, 3, 5}, {1, 2}))};
  if (is_int(d)) all.push_back(graph({}, build::broadcast(build::iota({4}, 0, d), {2, 4}, {1})));
  return all;
}

NodeRef short_iota(const NodeRef& n, Ranges&) {
  if (!is(n, "iota") || n->shape()[static_cast<size_t>(n->attrs.integer("axis"))] != Dim(1)) return {};
  return build::full(Scalar(0), n->type());
}
std::vector<Graph> iota_examples(Dtype d) {
  if (!is_int(d)) return {};
  return {graph({}, build::iota({4, 1}, 1, d))};
}

// The map of what is repeated, repeated: where all inputs are repeated in the same way, or constant.
NodeRef map_of_broadcasts(const NodeRef& n, Ranges&) {
  if (n->prim->kind != Kind::map || n->rank() == 0) return {};
  const Node* first = nullptr;
  for (const NodeRef& i : n->inputs) {
    if (constant_of(i)) continue;
    if (!is(i, "broadcast")) return {};
    if (!first) first = i.get();
    if (i->inputs[0]->shape() != first->inputs[0]->shape() || i->attrs != first->attrs) return {};
  }
  if (!first || volume(first->inputs[0]->shape()) == volume(n->shape())) return {};
  Nodes inputs;
  for (const NodeRef& i : n->inputs) {
    const auto c = constant_of(i);
    inputs.push_back(c ? build::full(*c, {i->dtype(), first->inputs[0]->shape()}) : i->inputs[0]);
  }
  return build::broadcast(make(*n->prim, std::move(inputs), n->attrs), n->shape(), first->attrs.ints("axes"));
}
std::vector<Graph> map_examples(Dtype d) {
  if (is_bool(d) || is_complex(d)) return {};
  const NodeRef a = build::parameter(0, {d, {3}}), b = build::parameter(1, {d, {3}});
  auto wide = [](const NodeRef& v) { return build::broadcast(v, {5, 3}, {1}); };
  return {graph({a, b}, map("maximum", {wide(a), wide(b)})),
          graph({a}, map("minimum", {wide(a), build::full(Scalar(1), {d, {5, 3}})}))};
}

// ---- slice

bool is_whole(const NodeRef& slice) { return slice->shape() == slice->inputs[0]->shape(); }
bool has_unit_steps(const NodeRef& slice) {
  const Ints& step = slice->attrs.ints("step");
  return std::all_of(step.begin(), step.end(), [](int64_t s) { return s == 1; });
}

NodeRef slice_of_constant(const NodeRef& n, Ranges&) {
  if (!is(n, "slice")) return {};
  if (const auto c = constant_of(n->inputs[0])) return build::full(*c, n->type());
  return is_whole(n) ? n->inputs[0] : NodeRef();
}

NodeRef join_slices(const NodeRef& n, Ranges&) {
  if (!is(n, "slice") || !is(n->inputs[0], "slice") || !has_unit_steps(n)) return {};
  if (fault("rules_slice_steps") ? false : !has_unit_steps(n->inputs[0])) return {};
  const NodeRef& inner = n->inputs[0];
  Shape start = inner->attrs.shape("start"), stop = start;
  for (size_t d = 0; d < start.size(); ++d) {
    stop[d] = start[d] + n->attrs.shape("stop")[d];
    start[d] = start[d] + n->attrs.shape("start")[d];
  }
  return build::slice(inner->inputs[0], start, stop, n->attrs.ints("step"));
}

// The slice of what is repeated: slice the source where it is not repeated.
NodeRef slice_of_broadcast(const NodeRef& n, Ranges&) {
  if (!is(n, "slice") || !is(n->inputs[0], "broadcast")) return {};
  const NodeRef &b = n->inputs[0], &x = b->inputs[0];
  const Ints &axes = b->attrs.ints("axes"), &step = n->attrs.ints("step");
  Shape start, stop;
  Ints steps;
  for (size_t d = 0; d < axes.size(); ++d) {
    const auto a = static_cast<size_t>(axes[d]);
    const bool repeated = x->shape()[d] != b->shape()[a];
    start.push_back(repeated ? Dim(0) : n->attrs.shape("start")[a]);
    stop.push_back(repeated ? x->shape()[d] : n->attrs.shape("stop")[a]);
    steps.push_back(repeated ? 1 : step[a]);
    if (repeated && n->shape()[a] == Dim(0)) return {};
  }
  return build::broadcast(x->shape().empty() ? x : build::slice(x, start, stop, steps), n->shape(), axes);
}

NodeRef slice_of_iota(const NodeRef& n, Ranges&) {
  if (!is(n, "slice") || !is(n->inputs[0], "iota")) return {};
  const auto axis = static_cast<size_t>(n->inputs[0]->attrs.integer("axis"));
  const Dim& start = n->attrs.shape("start")[axis];
  if (n->shape()[axis] != Dim(1) || !start.is_const()) return {};
  return build::full(Scalar(start.value()), n->type());
}

// The slice of a concatenation that lies in one piece.
NodeRef slice_of_concatenation(const NodeRef& n, Ranges&) {
  if (!is(n, "slice") || !is(n->inputs[0], "concatenate")) return {};
  const NodeRef& joined = n->inputs[0];
  const auto axis = static_cast<size_t>(joined->attrs.integer("axis"));
  Shape start = n->attrs.shape("start"), stop = n->attrs.shape("stop");
  Dim begin = 0;
  for (const NodeRef& piece : joined->inputs) {
    const Dim end = begin + piece->shape()[axis];
    if (provably_le(begin, start[axis]) && provably_le(stop[axis], end)) {
      start[axis] = start[axis] - begin;
      stop[axis] = stop[axis] - begin;
      return build::slice(piece, start, stop, n->attrs.ints("step"));
    }
    begin = end;
  }
  return {};
}

// A choice between lanes, of which one is taken: select(i == c, a, b)[.., k, ..] is a's or b's.
NodeRef slice_of_choice(const NodeRef& n, Ranges&) {
  if (!is(n, "slice") || !n->inputs[0]->prim->has("select")) return {};
  const NodeRef &choice = n->inputs[0], &mask = choice->inputs[0];
  if (!mask->prim->has("comparison")) return {};
  std::vector<Scalar> values;
  std::vector<Dtype> dtypes;
  for (const NodeRef& i : mask->inputs) {
    std::optional<Scalar> v = constant_of(i);
    if (!v && is(i, "iota")) {
      const auto axis = static_cast<size_t>(i->attrs.integer("axis"));
      const Dim& start = n->attrs.shape("start")[axis];
      if (n->shape()[axis] == Dim(1) && start.is_const()) v = Scalar(start.value()).round_to(i->dtype());
    }
    if (!v) return {};
    values.push_back(*v);
    dtypes.push_back(i->dtype());
  }
  dtypes.push_back(mask->dtype());
  const bool taken = mask->prim->eval(mask->attrs, values, dtypes).b();
  return make("slice", {choice->inputs[taken ? 1 : 2]}, n->attrs);
}

std::vector<Graph> slice_examples(Dtype d) {
  const NodeRef x = build::parameter(0, {d, {6, 4}}), y = build::parameter(1, {d, {6, 4}}),
                v = parameter(d, {4});
  auto part = [](const NodeRef& a, int64_t i, int64_t j) { return build::slice_axis(a, 1, i, j); };
  const NodeRef lane = map("equal", {build::iota({6, 4}, 1), build::full(Scalar(2), {Dtype::i64, {6, 4}})});
  std::vector<Graph> all{graph({x}, part(part(x, 1, 4), 1, 2)),
                         graph({x}, part(build::slice(x, {0, 0}, {6, 4}, {1, 2}), 1, 2)),
                         graph({}, part(build::full(Scalar(1), {d, {6, 4}}), 1, 2)),
                         graph({v}, part(build::broadcast(v, {6, 4}, {1}), 1, 3)),
                         graph({x, y}, part(build::concatenate({x, y}, 1), 5, 7)),
                         graph({x, y}, part(build::select(lane, x, y), 2, 3)),
                         graph({x, y}, part(build::select(lane, x, y), 1, 2))};
  if (is_int(d)) all.push_back(graph({}, part(build::iota({6, 4}, 1, d), 2, 3)));
  return all;
}

const Procedure kMoves[] = {
    {"join_reshapes", join_reshapes, reshape_examples, "one move less"},
    {"join_transposes", join_transposes, transpose_examples, "one move less"},
    {"join_broadcasts", join_broadcasts, broadcast_examples, "one move less"},
    {"short_iota", short_iota, iota_examples, "known"},
    {"map_of_broadcasts", map_of_broadcasts, map_examples, "each value is computed once"},
    {"slice_of_constant", slice_of_constant, slice_examples, "one move less"},
    {"join_slices", join_slices, slice_examples, "one move less"},
    {"slice_of_broadcast", slice_of_broadcast, slice_examples, "less is repeated"},
    {"slice_of_iota", slice_of_iota, slice_examples, "known"},
    {"slice_of_concatenation", slice_of_concatenation, slice_examples, "the other pieces are not needed"},
    {"slice_of_choice", slice_of_choice, slice_examples, "the other branch is not needed"},
};

}  // namespace

std::span<const Procedure> moves() { return kMoves; }

}  // namespace tenfold::rewrite
