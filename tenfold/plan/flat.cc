#include "tenfold/plan/flat.h"

#include <algorithm>
#include <unordered_map>

namespace tenfold::plan {
namespace {

using Frame = std::unordered_map<const Node*, int>;

// A scan whose body holds no loop of unknown length.
bool lays_out(const Node& n) {
  if (!is_scan(n)) return false;
  for (const NodeRef& inner : topological(n.attrs.graph("body")->results))
    if (inner->prim->kind == Kind::control && !inner->prim->has("projection") && !lays_out(*inner))
      return false;
  return true;
}

class Flattener {
 public:
  Flat flat;

  int add(Op op) {
    int id = static_cast<int>(flat.ops.size());
    if (op.unit >= 0) flat.units[op.unit].ops.push_back(id);
    flat.ops.push_back(std::move(op));
    return id;
  }

  // The ops of one graph's nodes. `frame` holds its parameters already.
  std::vector<int> body(const Graph& graph, Frame& frame, int scope, int unit) {
    std::unordered_map<const Node*, std::vector<int>> outputs;  // of nodes with several
    for (const NodeRef& n : topological(graph.results)) {
      if (frame.contains(n.get())) continue;
      const Prim& p = *n->prim;
      if (p.kind == Kind::leaf) {
        Op op{Op::Kind::constant, n.get(), 0, {}, scope, -1, -1, n->type(), false};
        frame[n.get()] = add(std::move(op));
        continue;
      }
      if (p.has("projection")) {
        frame[n.get()] = outputs.at(n->inputs[0].get())[n->attrs.integer("index")];
        continue;
      }
      // The same scalar everywhere: no cluster owns it either.
      if (p.kind == Kind::move && n->inputs.size() == 1) {
        const Op& from = flat.ops[frame.at(n->inputs[0].get())];
        if (from.kind == Op::Kind::constant && from.node->rank() == 0) {
          frame[n.get()] = add({Op::Kind::constant, from.node, 0, {}, scope, -1, -1, n->type(), false});
          continue;
        }
      }
      int mine = unit;
      if (unit < 0) {
        mine = static_cast<int>(flat.units.size());
        flat.units.push_back({n.get(), {}, {}, {}});
      }
      std::vector<int> inputs;
      for (const NodeRef& i : n->inputs) inputs.push_back(frame.at(i.get()));
      if (unit < 0) flat.units[mine].operands = inputs;
      if (lays_out(*n)) {
        outputs[n.get()] = scan(*n, inputs, scope, mine);
      } else if (p.kind == Kind::control) {
        std::vector<int> made;
        for (size_t k = 0; k < n->types.size(); ++k)
          made.push_back(add(
              {Op::Kind::opaque, n.get(), static_cast<int>(k), inputs, scope, mine, -1, n->types[k], true}));
        outputs[n.get()] = made;
      } else {
        frame[n.get()] = add({Op::Kind::node, n.get(), 0, inputs, scope, mine, -1, n->type(), scope < 0});
      }
      if (p.kind == Kind::control && n->types.size() == 1) frame[n.get()] = outputs[n.get()][0];
    }
    std::vector<int> results;
    for (const NodeRef& r : graph.results) results.push_back(frame.at(r.get()));
    return results;
  }

  std::vector<int> scan(const Node& n, const std::vector<int>& inputs, int scope, int unit) {
    const Graph& graph = *n.attrs.graph("body");
    int64_t carries = n.attrs.integer("carries"), xs = n.attrs.integer("xs");
    int me = static_cast<int>(flat.scopes.size());
    flat.scopes.push_back({scope, &n, n.attrs.shape("length")[0], n.attrs.integer("reverse") != 0, {}});
    Frame frame;
    for (size_t k = 0; k < graph.parameters.size(); ++k) {
      const NodeRef& parameter = graph.parameters[k];
      int64_t i = static_cast<int64_t>(k) - 1;
      int op;
      if (i < 0)
        op = add({Op::Kind::step, parameter.get(), 0, {}, me, unit, -1, parameter->type(), false});
      else if (i < carries) {
        op = add(
            {Op::Kind::carry, &n, static_cast<int>(i), {inputs[i]}, me, unit, -1, parameter->type(), false});
        flat.scopes[me].carries.push_back(op);
      } else if (i < carries + xs)
        op = add(
            {Op::Kind::row, &n, static_cast<int>(i), {inputs[i]}, me, unit, -1, parameter->type(), false});
      else
        op = inputs[i];
      frame[parameter.get()] = op;
    }
    std::vector<int> results = body(graph, frame, me, unit), made;
    for (size_t k = 0; k < results.size(); ++k) {
      bool state = static_cast<int64_t>(k) < carries;
      std::vector<int> from{results[k]};
      if (state) {
        int carry = flat.scopes[me].carries[k];
        flat.ops[carry].next = results[k];
        from.push_back(carry);
      }
      made.push_back(add({state ? Op::Kind::last : Op::Kind::stack, &n, static_cast<int>(k), from, scope,
                          unit, -1, n.types[k], scope < 0}));
    }
    return made;
  }
};

}  // namespace

bool inside(const Flat& flat, int scope, int ancestor) {
  for (; scope >= 0; scope = flat.scopes[scope].parent)
    if (scope == ancestor) return true;
  return ancestor < 0;
}

Flat flatten(const Graph& graph, const std::vector<int>& fixed) {
  Flattener f;
  Frame frame;
  for (const NodeRef& p : graph.parameters) {
    int op = f.add({Op::Kind::leaf, p.get(), 0, {}, -1, -1, -1, p->type(), false});
    frame[p.get()] = op;
    f.flat.parameters.push_back(op);
  }
  for (const int p : fixed) f.flat.ops[f.flat.parameters[p]].fixed = true;
  f.flat.results = f.body(graph, frame, -1, -1);
  for (size_t u = 0; u < f.flat.units.size(); ++u) {
    Unit& unit = f.flat.units[u];
    for (int op : unit.ops)
      for (int i : f.flat.ops[op].inputs)
        if (int v = f.flat.ops[i].unit; v >= 0 && v != static_cast<int>(u)) unit.inputs.push_back(v);
    std::sort(unit.inputs.begin(), unit.inputs.end());
    unit.inputs.erase(std::unique(unit.inputs.begin(), unit.inputs.end()), unit.inputs.end());
  }
  return std::move(f.flat);
}

}  // namespace tenfold::plan
