#include "tenfold/rewrite/engine.h"

#include "tenfold/ir/build.h"

namespace tenfold::rewrite {

NodeRef remake(const NodeRef& node, Nodes inputs, Attrs attrs) {
  if (inputs == node->inputs && attrs == node->attrs) return node;
  return make(*node->prim, std::move(inputs), std::move(attrs));
}

Nodes outputs(const NodeRef& node) {
  if (node->types.size() == 1) return {node};
  Nodes items;
  for (size_t k = 0; k < node->types.size(); ++k) items.push_back(build::item(node, static_cast<int64_t>(k)));
  return items;
}

namespace {

class Rewriter {
 public:
  explicit Rewriter(const Visit& visit) : visit_(visit) {}

  Graph graph(const Graph& g) {
    std::unordered_map<const Node*, Nodes> done;
    for (const NodeRef& n : topological(g.results)) done[n.get()] = node(n, done);
    Graph result = g;
    for (NodeRef& r : result.results) r = done.at(r.get())[0];
    return result;
  }

 private:
  Nodes node(const NodeRef& n, const std::unordered_map<const Node*, Nodes>& done) {
    if (n->prim->has("projection")) return {done.at(n->inputs[0].get())[n->attrs.integer("index")]};
    Nodes inputs;
    inputs.reserve(n->inputs.size());
    for (const NodeRef& i : n->inputs) inputs.push_back(done.at(i.get())[0]);
    Attrs attrs = n->attrs;
    for (const auto& [name, value] : n->attrs)
      if (const GraphRef* body = std::get_if<GraphRef>(&value)) attrs.set(name, subgraph(*body));
    return visit_(remake(n, std::move(inputs), std::move(attrs)));
  }

  GraphRef subgraph(const GraphRef& g) {
    const auto [at, is_new] = bodies_.try_emplace(g.get(), nullptr);
    if (!is_new) return at->second.second;
    Graph changed = graph(*g);
    const GraphRef result = same(changed, *g) ? g : std::make_shared<const Graph>(std::move(changed));
    bodies_[g.get()] = {g, result};
    return result;
  }

  struct Body {
    GraphRef first, second;  // the first is held so that its address stays its own
    Body(std::nullptr_t = nullptr) {}
    Body(GraphRef a, GraphRef b) : first(std::move(a)), second(std::move(b)) {}
  };
  const Visit& visit_;
  std::unordered_map<const Graph*, Body> bodies_;
};

}  // namespace

Graph rewrite(const Graph& graph, const Visit& visit) { return Rewriter(visit).graph(graph); }

}  // namespace tenfold::rewrite
