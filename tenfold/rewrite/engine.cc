#include "tenfold/rewrite/engine.h"

#include "tenfold/ir/build.h"

namespace tenfold::rewrite {

NodeRef remake(const NodeRef& node, Nodes inputs, Attrs attrs) {
  if (inputs == node->inputs && attrs == node->attrs) return node;
  return make(*node->prim, std::move(inputs), std::move(attrs));
}

Nodes outputs(const NodeRef& node) { return build::items(node); }

Graph walk(const Graph& graph, const Remake& remade) {
  std::unordered_map<const Node*, Nodes> done;
  for (const NodeRef& n : topological(graph.results)) {
    if (n->prim->has("projection")) {
      done[n.get()] = {done.at(n->inputs[0].get())[static_cast<size_t>(n->attrs.integer("index"))]};
      continue;
    }
    Nodes inputs;
    inputs.reserve(n->inputs.size());
    for (const NodeRef& i : n->inputs) inputs.push_back(done.at(i.get())[0]);
    done[n.get()] = remade(n, std::move(inputs));
  }
  Graph result = graph;
  for (NodeRef& r : result.results) r = done.at(r.get())[0];
  return result;
}

Graph rewrite(const Graph& graph, const Visit& visit, const Enter& enter) {
  return walk(graph, [&](const NodeRef& before, Nodes inputs) {
    NodeRef node = remake(before, std::move(inputs), before->attrs);
    if (before->prim->kind == Kind::control) {
      Attrs attrs = node->attrs;
      for (const auto& [name, value] : node->attrs)
        if (const GraphRef* body = std::get_if<GraphRef>(&value)) attrs.set(name, enter(node, *body));
      node = remake(node, node->inputs, std::move(attrs));
    }
    return visit(node);
  });
}

Graph rewrite(const Graph& graph, const Visit& visit) {
  // Bodies are shared by the nodes that a batching or a derivative made of one loop: each is done once. The
  // originals are held, so that their addresses stay their own.
  std::unordered_map<GraphRef, GraphRef> bodies;
  Enter enter = [&](const NodeRef&, const GraphRef& body) {
    if (const auto found = bodies.find(body); found != bodies.end()) return found->second;
    Graph changed = rewrite(*body, visit, enter);
    return bodies[body] = same(changed, *body) ? body : std::make_shared<const Graph>(std::move(changed));
  };
  return rewrite(graph, visit, enter);
}

}  // namespace tenfold::rewrite
