// Large reductions in two steps.
#include <algorithm>
#include <unordered_map>

#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

constexpr int64_t kSplitElements = 1 << 18;
constexpr int64_t kSplitResults = 128;
constexpr int64_t kSplitParts = 64;

// The reduction of x in two steps, or null where it does not pay or no axis divides.
NodeRef split_reduction(const Node& n, const NodeRef& x) {
  if (n.prim->kind != Kind::reduce || n.prim->expand || !is_const(x->shape())) return {};
  if (volume(x->shape()).value() < kSplitElements || volume(n.shape()).value() >= kSplitResults) return {};
  const Ints& axes = n.attrs.ints("axes");
  auto reduced = [&](int64_t d) { return std::find(axes.begin(), axes.end(), d) != axes.end(); };
  int64_t kept = 0;  // where the parts end up among what is left
  for (int64_t axis = 0; axis < x->rank(); ++axis) {
    if (!reduced(axis)) {
      ++kept;
      continue;
    }
    int64_t extent = x->shape()[axis].value(), parts = kSplitParts;
    while (parts > 1 && (extent % parts || extent / parts < 2)) parts /= 2;
    if (parts == 1) continue;
    Shape shape = x->shape();
    shape[axis] = extent / parts;
    shape.insert(shape.begin() + axis, parts);
    Ints inner;
    for (int64_t a : axes) inner.push_back(a < axis ? a : a + 1);
    NodeRef partial = make(*n.prim, {build::reshape(x, shape)}, {{"axes", inner}});
    if (fault("plan_split_tail")) partial = build::slice_axis(partial, kept, 0, parts - 1);
    return make(*n.prim, {partial}, {{"axes", Ints{kept}}});
  }
  return {};
}

}  // namespace

Graph split_reductions(const Graph& graph) {
  std::unordered_map<const Node*, NodeRef> done;
  for (const NodeRef& n : topological(graph.results)) {
    Nodes inputs;
    bool same = true;
    for (const NodeRef& i : n->inputs) {
      inputs.push_back(done.at(i.get()));
      same = same && inputs.back() == i;
    }
    NodeRef split = inputs.empty() ? NodeRef() : split_reduction(*n, inputs[0]);
    done[n.get()] = split ? split : same ? n : make(*n->prim, inputs, n->attrs);
  }
  Graph out = graph;
  for (NodeRef& r : out.results) r = done.at(r.get());
  return out;
}

}  // namespace tenfold
