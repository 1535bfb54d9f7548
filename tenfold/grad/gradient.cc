#include "tenfold/grad/gradient.h"

#include <unordered_set>

#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"
#include "tenfold/ir/differentiate.h"

namespace tenfold {
namespace {

std::string described(const Graph& graph, int index) {
  const auto i = static_cast<size_t>(index);
  return fmt::format("parameter {}{}", index,
                     i < graph.names.size() && !graph.names[i].empty() ? " (" + graph.names[i] + ")" : "");
}

Nodes leaves_of(std::string_view what, const Graph& graph, std::span<const int> wrt) {
  Nodes leaves;
  for (const int index : wrt) {
    if (index < 0 || index >= std::ssize(graph.parameters))
      user_error("{}: there is no parameter {}; the function has {}", what, index, graph.parameters.size());
    const NodeRef& leaf = graph.parameters[static_cast<size_t>(index)];
    if (!is_float(leaf->dtype()))
      user_error(
          "{}: {} is {}; only floating parameters have a gradient: convert it to f32 before the call, or "
          "leave it out",
          what, described(graph, index), leaf->type().str());
    leaves.push_back(leaf);
  }
  return leaves;
}

// Scans under checkpoint that the gradient goes through become the loops over chunks that it differentiates,
// so that value and gradient share them.
Nodes with_chunks(Nodes results, const Nodes& leaves) {
  while (true) {
    std::unordered_set<const Node*> active;
    for (const NodeRef& leaf : leaves) active.insert(leaf.get());
    std::vector<std::pair<NodeRef, NodeRef>> replace;
    for (const NodeRef& node : topological(results)) {
      bool is_active = active.contains(node.get());
      for (const NodeRef& input : node->inputs) is_active |= active.contains(input.get());
      if (!is_active) continue;
      active.insert(node.get());
      if (node->prim->name != "scan" || ScanView(*node).checkpoint == 0) continue;
      const Nodes outputs = chunked_scan(*node, node->inputs);
      for (size_t k = 0; k < outputs.size(); ++k)
        replace.emplace_back(build::item(node, static_cast<int64_t>(k)), outputs[k]);
    }
    if (replace.empty()) return results;
    results = build::substitute(results, replace);
  }
}

Graph with_cotangents(const Graph& graph, Nodes results, const Nodes& cotangents, const Nodes& leaves) {
  const Nodes pulled = pullback(results, cotangents, leaves);
  for (size_t i = 0; i < leaves.size(); ++i)
    results.push_back(pulled[i] ? pulled[i] : build::zeros_like(leaves[i]));
  return {graph.parameters, prune_loops(share_loops(std::move(results))), graph.names};
}

}  // namespace

Graph value_and_grad(const Graph& graph, std::span<const int> wrt) {
  if (graph.results.empty())
    user_error("grad: the function returns nothing; it must return a number to differentiate");
  const Type& type = graph.results[0]->type();
  if (type.rank() != 0 || !is_float(type.dtype))
    user_error("grad: the function returns {}; it must return one floating number: {}", type.str(),
               !is_float(type.dtype) ? "convert it to f32" : "reduce it, with sum or mean");
  const Nodes leaves = leaves_of("grad", graph, wrt);
  const Nodes results = with_chunks(graph.results, leaves);
  Nodes cotangents(results.size());
  cotangents[0] = build::constant(1, type.dtype);
  return with_cotangents(graph, results, cotangents, leaves);
}

Graph value_and_pullback(const Graph& graph, std::span<const int> wrt) {
  const Nodes leaves = leaves_of("vjp", graph, wrt);
  const Nodes results = with_chunks(graph.results, leaves);
  Graph with_parameters = graph;
  Nodes cotangents(results.size());
  for (size_t k = 0; k < results.size(); ++k) {
    if (!is_float(results[k]->dtype())) continue;
    cotangents[k] = build::parameter(std::ssize(with_parameters.parameters), results[k]->type());
    with_parameters.parameters.push_back(cotangents[k]);
    if (!graph.names.empty()) with_parameters.names.push_back(fmt::format("cotangent{}", k));
  }
  return with_cotangents(with_parameters, results, cotangents, leaves);
}

}  // namespace tenfold
