#include "tenfold/ir/eval.h"

#include <algorithm>
#include <unordered_map>

#include "tenfold/ir/build.h"

namespace tenfold {
namespace {

using Symbols = std::map<std::string, int64_t>;

bool has_symbols(const Nodes& order);

bool has_symbols(const Attr& attr) {
  if (const auto* shape = std::get_if<Shape>(&attr)) return !is_const(*shape);
  const auto* graph = std::get_if<GraphRef>(&attr);
  return graph && (has_symbols((*graph)->parameters) || has_symbols(topological((*graph)->results)));
}

bool has_symbols(const Nodes& order) {
  return std::any_of(order.begin(), order.end(), [](const NodeRef& node) {
    return std::any_of(node->types.begin(), node->types.end(),
                       [](const Type& t) { return !is_const(t.shape); }) ||
           std::any_of(node->attrs.begin(), node->attrs.end(),
                       [](const auto& item) { return has_symbols(item.second); });
  });
}

Shape with_symbols(const Shape& shape, const Symbols& symbols) {
  Shape result;
  for (const Dim& dim : shape) result.push_back(dim.evaluate(symbols));
  return result;
}

Attrs with_symbols(const Attrs& attrs, const Symbols& symbols) {
  Attrs result = attrs;
  for (const auto& [name, value] : attrs) {
    if (const auto* shape = std::get_if<Shape>(&value)) result.set(name, with_symbols(*shape, symbols));
    if (const auto* graph = std::get_if<GraphRef>(&value))
      result.set(name, std::make_shared<const Graph>(with_symbols(**graph, symbols)));
  }
  return result;
}

// A parameter [n] given an array [5] says that n is 5.
void bind(const Type& type, const Array& argument, Symbols& symbols) {
  for (size_t d = 0; d < type.shape.size() && d < argument.shape.size(); ++d) {
    std::map<std::string, Symbol> named;
    type.shape[d].symbols(named);
    if (named.size() == 1 && type.shape[d] == Dim::symbol(named.begin()->second))
      symbols.emplace(named.begin()->first, argument.shape[d]);
  }
}

void check_argument(const Graph& graph, size_t i, const Array& argument, const Symbols& symbols) {
  const Type& type = graph.parameters[i]->type();
  bool fits = argument.dtype == type.dtype && argument.shape.size() == type.shape.size();
  for (size_t d = 0; fits && d < type.shape.size(); ++d)
    fits = type.shape[d].evaluate(symbols) == argument.shape[d];
  if (!fits)
    user_error("argument {}{} is {}[{}]; the graph needs {}", i,
               i < graph.names.size() ? " (" + graph.names[i] + ")" : "", name(argument.dtype),
               fmt::join(argument.shape, ","), type.str());
}

void evaluate_map(const Node& node, std::span<const Array* const> in, Array& out) {
  std::vector<Dtype> dtypes;
  for (const Array* x : in) dtypes.push_back(x->dtype);
  dtypes.push_back(out.dtype);
  std::vector<Scalar> values(in.size());
  for (int64_t i = 0; i < out.size(); ++i) {
    for (size_t k = 0; k < in.size(); ++k) values[k] = in[k]->at(i);
    out.set(i, node.prim->eval(node.attrs, values, dtypes));
  }
}

using Values = std::unordered_map<const Node*, std::vector<Array>>;

void evaluate_node(const NodeRef& node, Values& values) {
  std::vector<const Array*> in;
  if (node->prim->has("projection")) {
    values[node.get()] = {
        values.at(node->inputs[0].get()).at(static_cast<size_t>(node->attrs.integer("index")))};
    return;
  }
  for (const NodeRef& input : node->inputs) in.push_back(&values.at(input.get())[0]);
  std::vector<Array> out;
  for (const Type& type : node->types) out.emplace_back(type.dtype, const_shape(type.shape));
  if (node->prim->kind == Kind::map && node->prim->eval) {
    evaluate_map(*node, in, out[0]);
  } else {
    TENFOLD_CHECK(node->prim->reference, "{} has no reference", node->prim->name);
    node->prim->reference(*node, in, out);
  }
  values[node.get()] = std::move(out);
}

}  // namespace

Graph with_symbols(const Graph& graph, const Symbols& symbols) {
  const Nodes order = topological(graph.results);
  std::unordered_map<const Node*, NodeRef> done;
  Graph result{{}, {}, graph.names};
  const auto rebuild = [&](const NodeRef& node) {
    if (done.contains(node.get())) return;
    Nodes inputs;
    for (const NodeRef& input : node->inputs) inputs.push_back(done.at(input.get()));
    done.emplace(node.get(), make(*node->prim, std::move(inputs), with_symbols(node->attrs, symbols)));
  };
  for (const NodeRef& node : graph.parameters) rebuild(node);
  for (const NodeRef& node : order) rebuild(node);
  for (const NodeRef& node : graph.parameters) result.parameters.push_back(done.at(node.get()));
  for (const NodeRef& node : graph.results) result.results.push_back(done.at(node.get()));
  return result;
}

std::vector<Array> evaluate(const Graph& graph, std::span<const Array> arguments, const Symbols& given) {
  if (arguments.size() != graph.parameters.size())
    user_error("the graph takes {} arguments, but {} came", graph.parameters.size(), arguments.size());
  Symbols symbols = given;
  for (size_t i = 0; i < arguments.size(); ++i) bind(graph.parameters[i]->type(), arguments[i], symbols);
  for (size_t i = 0; i < arguments.size(); ++i) check_argument(graph, i, arguments[i], symbols);
  Nodes order = topological(graph.results);
  if (has_symbols(order)) return evaluate(with_symbols(graph, symbols), arguments, symbols);

  // Values live until their last use.
  std::unordered_map<const Node*, int64_t> uses;
  for (const NodeRef& node : order)
    for (const NodeRef& input : node->inputs) ++uses[input.get()];
  for (const NodeRef& result : graph.results) ++uses[result.get()];
  Values values;
  for (size_t i = 0; i < arguments.size(); ++i)
    if (uses[graph.parameters[i].get()] > 0) values[graph.parameters[i].get()] = {arguments[i]};
  for (const NodeRef& node : order) {
    if (values.contains(node.get())) continue;
    TENFOLD_CHECK(!node->prim->has("parameter"), "a parameter of scope {} is not one of the graph's",
                  node->attrs.integer("scope"));
    evaluate_node(node, values);
    for (const NodeRef& input : node->inputs)
      if (--uses[input.get()] == 0) values.erase(input.get());
  }
  std::vector<Array> results;
  for (const NodeRef& result : graph.results) results.push_back(values.at(result.get())[0]);
  return results;
}

}  // namespace tenfold
