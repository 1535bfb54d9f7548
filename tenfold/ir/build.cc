#include "tenfold/ir/build.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

namespace tenfold::build {
namespace {

// Binary helpers: a rank-0 operand takes the other's shape.
Nodes spread(Nodes inputs) {
  const auto widest = std::max_element(
      inputs.begin(), inputs.end(), [](const NodeRef& a, const NodeRef& b) { return a->rank() < b->rank(); });
  if (widest == inputs.end() || (*widest)->rank() == 0) return inputs;
  const Shape shape = (*widest)->shape();
  for (NodeRef& input : inputs)
    if (input->rank() == 0) input = broadcast(input, shape, {});
  return inputs;
}

NodeRef number(double value, const NodeRef& like) { return constant(value, like->dtype()); }

bool is_iota(const Ints& ints, size_t size) {
  if (ints.size() != size) return false;
  for (size_t i = 0; i < size; ++i)
    if (ints[i] != static_cast<int64_t>(i)) return false;
  return true;
}

}  // namespace

NodeRef parameter(int64_t index, const Type& type, int64_t scope) {
  return make("parameter", {},
              {{"index", index}, {"scope", scope}, {"dtype", type.dtype}, {"shape", type.shape}});
}

int64_t fresh_scope() {
  static std::atomic<int64_t> next{1};
  return next.fetch_add(1);
}

NodeRef constant(const Scalar& value, Dtype dtype) {
  Scalar rounded = value.round_to(dtype);
  if (rounded.is_f64() && std::isnan(rounded.f()))
    rounded = std::numeric_limits<double>::quiet_NaN();  // one NaN, the one text has
  return make("constant", {}, {{"value", rounded}, {"dtype", dtype}});
}

NodeRef full(const Scalar& value, const Type& type) {
  return broadcast(constant(value, type.dtype), type.shape, {});
}

NodeRef zeros_like(const NodeRef& x) { return full(0, x->type()); }

NodeRef iota(const Shape& shape, int64_t axis, Dtype dtype) {
  return make("iota", {}, {{"shape", shape}, {"axis", axis}, {"dtype", dtype}});
}

NodeRef extent(const Dim& dim) {
  if (dim.is_const()) return constant(dim.value(), Dtype::i64);
  return reshape(slice_axis(iota({dim + 1}, 0), 0, dim, dim + 1), {});  // an index, so it costs nothing
}

NodeRef item(const NodeRef& x, int64_t k) {
  if (x->types.size() == 1 && k == 0) return x;
  return make("item", {x}, {{"index", k}});
}

NodeRef convert(const NodeRef& x, Dtype dtype) {
  if (x->dtype() == dtype) return x;
  return make("convert", {x}, {{"dtype", dtype}});
}

NodeRef broadcast(const NodeRef& x, const Shape& shape, const Ints& axes) {
  if (x->shape() == shape && is_iota(axes, shape.size())) return x;
  return make("broadcast", {x}, {{"shape", shape}, {"axes", axes}});
}

NodeRef broadcast_to(const NodeRef& x, const Shape& shape) {
  Ints axes(static_cast<size_t>(x->rank()));
  std::iota(axes.begin(), axes.end(), static_cast<int64_t>(shape.size()) - x->rank());
  return broadcast(x, shape, axes);
}

NodeRef reshape(const NodeRef& x, const Shape& shape) {
  return x->shape() == shape ? x : make("reshape", {x}, {{"shape", shape}});
}

NodeRef transpose(const NodeRef& x, const Ints& permutation) {
  return is_iota(permutation, x->shape().size()) ? x : make("transpose", {x}, {{"permutation", permutation}});
}

NodeRef slice(const NodeRef& x, const Shape& start, const Shape& stop, const Ints& step) {
  const bool is_whole = stop == x->shape() &&
                        std::all_of(start.begin(), start.end(), [](const Dim& d) { return d == Dim(0); }) &&
                        std::all_of(step.begin(), step.end(), [](int64_t s) { return s == 1; });
  return is_whole ? x : make("slice", {x}, {{"start", start}, {"stop", stop}, {"step", step}});
}

NodeRef slice_axis(const NodeRef& x, int64_t axis, const Dim& start, const Dim& stop) {
  Shape starts(x->shape().size()), stops = x->shape();
  starts.at(static_cast<size_t>(axis)) = start;
  stops.at(static_cast<size_t>(axis)) = stop;
  return slice(x, starts, stops, Ints(starts.size(), 1));
}

NodeRef pad(const NodeRef& x, const NodeRef& value, const Shape& low, const Shape& high) {
  const auto is_zero = [](const Dim& d) { return d == Dim(0); };
  const bool is_same =
      std::all_of(low.begin(), low.end(), is_zero) && std::all_of(high.begin(), high.end(), is_zero);
  return is_same ? x : make("pad", {x, value}, {{"low", low}, {"high", high}});
}

NodeRef concatenate(const Nodes& inputs, int64_t axis) {
  return inputs.size() == 1 ? inputs[0] : make("concatenate", inputs, {{"axis", axis}});
}

NodeRef reverse(const NodeRef& x, const Ints& axes) {
  return axes.empty() ? x : make("reverse", {x}, {{"axes", axes}});
}

NodeRef window(const NodeRef& x, const Ints& axes, const Ints& taps, const Ints& stride,
               const Ints& dilation) {
  if (axes.empty()) return x;
  return make("window", {x}, {{"axes", axes}, {"taps", taps}, {"stride", stride}, {"dilation", dilation}});
}

NodeRef reduce(std::string_view op, const NodeRef& x, const Ints& axes) {
  if (axes.empty()) return x;
  const std::string name = fmt::format("reduce_{}", op);
  return make(find_prim(name) ? name : op, {x}, {{"axes", axes}});
}

NodeRef contract(const NodeRef& a, const NodeRef& b, std::string_view spec, std::optional<Dtype> dtype) {
  Attrs attrs{{"spec", std::string(spec)}};
  if (dtype && !(a->dtype() == *dtype && b->dtype() == *dtype)) attrs.set("dtype", *dtype);
  return make("contract", {a, b}, std::move(attrs));
}

NodeRef select(const NodeRef& mask, const NodeRef& then, const NodeRef& otherwise) {
  return map("select", {mask, then, otherwise});
}

NodeRef map(std::string_view op, Nodes inputs) { return make(op, spread(std::move(inputs))); }

Nodes items(const NodeRef& x) {
  Nodes outputs;
  for (size_t k = 0; k < x->types.size(); ++k) outputs.push_back(item(x, static_cast<int64_t>(k)));
  return outputs;
}

namespace {

Nodes joined(Nodes a, const Nodes& b, const Nodes& c = {}) {
  a.insert(a.end(), b.begin(), b.end());
  a.insert(a.end(), c.begin(), c.end());
  return a;
}

}  // namespace

Nodes scan(const GraphRef& body, const Nodes& init, const Nodes& xs, const Nodes& consts, const Dim& length,
           bool reverse, int64_t checkpoint) {
  return items(make("scan", joined(init, xs, consts),
                    {{"body", body},
                     {"carries", std::ssize(init)},
                     {"xs", std::ssize(xs)},
                     {"length", Shape{length}},
                     {"reverse", int64_t{reverse}},
                     {"checkpoint", checkpoint}}));
}

Nodes while_loop(const GraphRef& cond, const GraphRef& body, const Nodes& init, const Nodes& consts) {
  return items(
      make("while", joined(init, consts), {{"cond", cond}, {"body", body}, {"carries", std::ssize(init)}}));
}

Nodes cond(const NodeRef& pred, const GraphRef& then, const GraphRef& otherwise, const Nodes& operands) {
  return items(make("cond", joined({pred}, operands), {{"then", then}, {"otherwise", otherwise}}));
}

NodeRef operator+(const NodeRef& a, const NodeRef& b) { return map("add", {a, b}); }
NodeRef operator-(const NodeRef& a, const NodeRef& b) { return map("sub", {a, b}); }
NodeRef operator*(const NodeRef& a, const NodeRef& b) { return map("mul", {a, b}); }
NodeRef operator/(const NodeRef& a, const NodeRef& b) { return map("div", {a, b}); }
NodeRef operator-(const NodeRef& a) { return map("neg", {a}); }
NodeRef operator+(const NodeRef& a, double b) { return a + number(b, a); }
NodeRef operator-(const NodeRef& a, double b) { return a - number(b, a); }
NodeRef operator*(const NodeRef& a, double b) { return a * number(b, a); }
NodeRef operator/(const NodeRef& a, double b) { return a / number(b, a); }
NodeRef operator+(double a, const NodeRef& b) { return number(a, b) + b; }
NodeRef operator-(double a, const NodeRef& b) { return number(a, b) - b; }
NodeRef operator*(double a, const NodeRef& b) { return number(a, b) * b; }
NodeRef operator/(double a, const NodeRef& b) { return number(a, b) / b; }

Nodes substitute(const Nodes& roots, const std::vector<std::pair<NodeRef, NodeRef>>& replace) {
  std::unordered_map<const Node*, NodeRef> done;
  for (const auto& [from, to] : replace) done.emplace(from.get(), to);
  std::vector<std::pair<const NodeRef*, bool>> stack;  // a node, and whether its inputs are done
  Nodes results;
  for (const NodeRef& root : roots) {
    stack.emplace_back(&root, false);
    while (!stack.empty()) {
      const auto [node, is_ready] = stack.back();
      if (done.contains(node->get())) {
        stack.pop_back();
        continue;
      }
      const Nodes& inputs = (*node)->inputs;
      if (!is_ready) {
        stack.back().second = true;
        for (auto input = inputs.rbegin(); input != inputs.rend(); ++input)
          if (!done.contains(input->get())) stack.emplace_back(&*input, false);
        continue;
      }
      Nodes changed;
      changed.reserve(inputs.size());
      for (const NodeRef& input : inputs) changed.push_back(done.at(input.get()));
      NodeRef result = changed == inputs ? *node : make(*(*node)->prim, std::move(changed), (*node)->attrs);
      done.emplace(node->get(), std::move(result));
      stack.pop_back();
    }
    results.push_back(done.at(root.get()));
  }
  return results;
}

Closed close(const Nodes& parameters, const Nodes& results, std::vector<std::string> names) {
  struct Uses {
    bool own = false, outer = false;  // parameters of this body; of others
  };
  std::unordered_map<const Node*, Uses> uses;
  for (const NodeRef& parameter : parameters) uses[parameter.get()].own = true;
  for (const NodeRef& node : topological(results)) {
    if (uses.contains(node.get())) continue;
    Uses of_node{.own = false, .outer = node->prim->has("parameter")};
    for (const NodeRef& input : node->inputs) {
      of_node.own |= uses[input.get()].own;
      of_node.outer |= uses[input.get()].outer;
    }
    uses[node.get()] = of_node;
  }

  // What is captured: the largest expressions that do not depend on this body, so that they are computed
  // once, outside. A broadcast stays inside: it costs nothing there.
  Closed closed;
  std::unordered_set<const Node*> seen;
  std::vector<NodeRef> stack(results.rbegin(), results.rend());
  while (!stack.empty()) {
    const NodeRef node = std::move(stack.back());
    stack.pop_back();
    if (!seen.insert(node.get()).second || !uses[node.get()].outer) continue;
    const bool is_free = !uses[node.get()].own && !node->prim->has("enlarges");
    if (is_free)
      closed.captured.push_back(node);
    else
      stack.insert(stack.end(), node->inputs.rbegin(), node->inputs.rend());
  }

  std::vector<std::pair<NodeRef, NodeRef>> replace;
  auto graph = std::make_shared<Graph>();
  const auto bind = [&](const NodeRef& node) {
    graph->parameters.push_back(parameter(static_cast<int64_t>(replace.size()), node->type()));
    replace.emplace_back(node, graph->parameters.back());
  };
  for (const NodeRef& node : parameters) bind(node);
  for (const NodeRef& node : closed.captured) bind(node);
  graph->results = substitute(results, replace);
  if (!names.empty())
    for (size_t i = names.size(); i < graph->parameters.size(); ++i)
      names.push_back(fmt::format("captured{}", i - parameters.size()));
  graph->names = std::move(names);
  closed.graph = std::move(graph);
  return closed;
}

Nodes call(const Graph& graph, const Nodes& arguments) {
  TENFOLD_CHECK(arguments.size() == graph.parameters.size(),
                "a graph of {} parameters is called with {} arguments", graph.parameters.size(),
                arguments.size());
  std::vector<std::pair<NodeRef, NodeRef>> replace;
  for (size_t i = 0; i < arguments.size(); ++i) {
    TENFOLD_CHECK(arguments[i]->type() == graph.parameters[i]->type(), "parameter {} is {}, the argument {}",
                  i, graph.parameters[i]->type().str(), arguments[i]->type().str());
    replace.emplace_back(graph.parameters[i], arguments[i]);
  }
  return substitute(graph.results, replace);
}

}  // namespace tenfold::build
