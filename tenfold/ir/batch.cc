#include "tenfold/ir/batch.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "tenfold/ir/build.h"

namespace tenfold {

Shape batched_shape(const Dim& size, const Shape& shape) {
  Shape result{size};
  result.insert(result.end(), shape.begin(), shape.end());
  return result;
}

Ints batched_axes(const Ints& axes) {
  Ints result;
  for (const int64_t axis : axes) result.push_back(axis + 1);
  return result;
}

NodeRef with_batch(const Batched& x, const Dim& size) {
  if (x.batched) return x.node;
  Ints axes(static_cast<size_t>(x.node->rank()));
  std::iota(axes.begin(), axes.end(), 1);
  return build::broadcast(x.node, batched_shape(size, x.node->shape()), axes);
}

namespace {

using Outputs = std::vector<Batched>;

// A map: each input over the batch. One that is the same for all of it is broadcast.
Outputs batch_map(const Node& node, std::span<const Batched> inputs, const Dim& size) {
  Nodes spread;
  for (const Batched& input : inputs) spread.push_back(with_batch(input, size));
  return {{make(*node.prim, std::move(spread), node.attrs), true}};
}

Outputs batch_node(const Node& node, std::span<const Batched> inputs, const Dim& size);

// The nodes over other leaves, some of them batched. Linear, iterative.
class Batcher {
 public:
  explicit Batcher(const Dim& size) : size_(size) {}

  void bind(const NodeRef& node, Batched value) { done_[node.get()] = {std::move(value)}; }

  Outputs run(const Nodes& roots) {
    for (const NodeRef& node : topological(roots)) {
      if (done_.contains(node.get())) continue;
      if (node->prim->has("projection")) {
        project(node);
        continue;
      }
      Outputs inputs;
      for (const NodeRef& input : node->inputs) inputs.push_back(done_.at(input.get())[0]);
      const bool is_batched =
          std::any_of(inputs.begin(), inputs.end(), [](const Batched& x) { return x.batched; });
      done_[node.get()] = is_batched ? batch_node(*node, inputs, size_) : same(*node, inputs);
    }
    Outputs results;
    for (const NodeRef& root : roots) results.push_back(done_.at(root.get())[0]);
    return results;
  }

 private:
  void project(const NodeRef& node) {
    const auto k = static_cast<size_t>(node->attrs.integer("index"));
    Outputs& all = done_.at(node->inputs[0].get());
    done_[node.get()] = {all[k]};
  }

  static Outputs same(const Node& node, const Outputs& inputs) {
    Nodes changed;
    for (const Batched& input : inputs) changed.push_back(input.node);
    const NodeRef copy = make(*node.prim, std::move(changed), node.attrs);
    Outputs outputs;
    for (size_t k = 0; k < node.types.size(); ++k)
      outputs.push_back({build::item(copy, static_cast<int64_t>(k)), false});
    return outputs;
  }

  Dim size_;
  std::unordered_map<const Node*, Outputs> done_;
};

// By way of the simpler graph it stands for.
Outputs batch_expansion(const Node& node, std::span<const Batched> inputs, const Dim& size) {
  Nodes leaves;
  const int64_t scope = build::fresh_scope();
  Batcher batcher(size);
  for (const NodeRef& input : node.inputs) {
    leaves.push_back(build::parameter(static_cast<int64_t>(leaves.size()), input->type(), scope));
    batcher.bind(leaves.back(), inputs[leaves.size() - 1]);
  }
  return batcher.run(node.prim->expand(node, leaves));
}

Outputs batch_node(const Node& node, std::span<const Batched> inputs, const Dim& size) {
  if (node.prim->batch) return node.prim->batch(node, inputs, size);
  if (node.prim->kind == Kind::map) return batch_map(node, inputs, size);
  TENFOLD_CHECK(node.prim->expand, "{} has neither a batch rule nor an expansion", node.prim->name);
  return batch_expansion(node, inputs, size);
}

}  // namespace

BatchedGraph batch_graph(const Graph& graph, const std::vector<bool>& batched_in, const Dim& size,
                         const std::vector<bool>& forced) {
  TENFOLD_CHECK(batched_in.size() == graph.parameters.size(), "{} parameters, {} flags",
                graph.parameters.size(), batched_in.size());
  Batcher batcher(size);
  BatchedGraph result;
  result.graph.names = graph.names;
  for (size_t i = 0; i < batched_in.size(); ++i) {
    Type type = graph.parameters[i]->type();
    if (batched_in[i]) type.shape = batched_shape(size, type.shape);
    result.graph.parameters.push_back(build::parameter(static_cast<int64_t>(i), type));
    batcher.bind(graph.parameters[i], {result.graph.parameters.back(), batched_in[i]});
  }
  const std::vector<Batched> outputs = batcher.run(graph.results);
  for (size_t k = 0; k < outputs.size(); ++k) {
    const bool is_batched = outputs[k].batched || (!forced.empty() && forced[k]);
    result.graph.results.push_back(is_batched ? with_batch(outputs[k], size) : outputs[k].node);
    result.is_batched.push_back(is_batched);
  }
  return result;
}

}  // namespace tenfold
