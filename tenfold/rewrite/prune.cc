// Loops without what nobody asks for: a state that no used output depends on, rows and constants that only it
// read.
#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

using Flags = std::vector<bool>;

// Which outputs of a scan are needed: the used ones, and the states that those depend on. `reached`: what
// they need of the body.
Flags needed_outputs(const ScanView& view, Flags used, std::unordered_map<const Node*, bool>& reached) {
  for (bool changed = true; changed;) {
    changed = false;
    Nodes roots;
    for (size_t k = 0; k < used.size(); ++k)
      if (used[k]) roots.push_back(view.body->results[k]);
    reached.clear();
    for (const NodeRef& n : topological(roots)) reached[n.get()] = true;
    for (size_t k = 0; k < view.carry_parameters.size(); ++k)
      if (!used[k] && reached.contains(view.carry_parameters[k].get())) used[k] = changed = true;
  }
  return used;
}

// The outputs of the scan; null where one is not used.
Nodes pruned(const NodeRef& scan, const Flags& used) {
  const ScanView view(*scan);
  std::unordered_map<const Node*, bool> reached;
  const Flags needed = needed_outputs(view, used, reached);
  Nodes arguments{build::parameter(0, view.step()->type())}, parameters = arguments, inputs;
  // Keeps the inputs that are needed; the others' parameters stand in for themselves, and vanish.
  auto keep = [&](std::span<const NodeRef> from, std::span<const NodeRef> given, auto&& wanted) {
    int64_t kept = 0;
    for (size_t k = 0; k < given.size(); ++k) {
      if (!wanted(k, from[k])) {
        arguments.push_back(from[k]);
        continue;
      }
      parameters.push_back(build::parameter(static_cast<int64_t>(parameters.size()), from[k]->type()));
      arguments.push_back(parameters.back());
      inputs.push_back(given[k]);
      ++kept;
    }
    return kept;
  };
  auto read = [&](size_t, const NodeRef& p) { return reached.contains(p.get()); };
  const int64_t carries =
      keep(view.carry_parameters, view.init, [&](size_t k, const NodeRef&) { return needed[k]; });
  const int64_t xs = keep(view.row_parameters, view.xs, read);
  keep(view.const_parameters, view.consts, read);
  const Nodes all = build::call(*view.body, arguments);
  Nodes results;
  for (size_t k = 0; k < all.size(); ++k)
    if (needed[k]) results.push_back(all[k]);
  if (inputs.size() == scan->inputs.size() && results.size() == all.size()) return rewrite::outputs(scan);
  Attrs attrs = scan->attrs;
  attrs.set("body", std::make_shared<const Graph>(Graph{parameters, results, {}}));
  attrs.set("carries", carries);
  attrs.set("xs", xs);
  const Nodes made = build::items(make("scan", inputs, attrs));
  Nodes outputs(all.size());
  for (size_t k = 0, next = 0; k < all.size(); ++k)
    if (needed[k]) outputs[k] = made[next++];
  return outputs;
}

}  // namespace

Graph drop_unused(const Graph& graph) {
  std::unordered_map<const Node*, Flags> used;  // outputs, by scan
  for (const NodeRef& n : topological(graph.results))
    if (n->prim->has("projection")) {
      const Node* from = n->inputs[0].get();
      Flags& outputs = used.try_emplace(from, from->types.size()).first->second;
      outputs[static_cast<size_t>(n->attrs.integer("index"))] = true;
    }
  if (used.empty()) return graph;
  return rewrite::walk(graph, [&](const NodeRef& before, Nodes inputs) {
    const NodeRef node = rewrite::remake(before, std::move(inputs), before->attrs);
    const auto found = used.find(before.get());
    return found != used.end() && is_scan(*node) ? pruned(node, found->second) : rewrite::outputs(node);
  });
}

}  // namespace tenfold
