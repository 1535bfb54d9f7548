// Composed primitives become graphs over core ones: the rewrite that every record's `expand` is a rule of.
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {

Graph expand(const Graph& graph, bool but_scaling) {
  Graph result = graph;
  // An expansion may use composed primitives itself; their depth is small and bounded by the records.
  for (bool changed = true; changed;) {
    changed = false;
    result = rewrite::rewrite(result, [&](const NodeRef& node) {
      const bool scales = but_scaling && node->prim->kind == Kind::map && node->prim->degree;
      if (!node->prim->expand || scales) return rewrite::outputs(node);
      changed = true;
      return node->prim->expand(*node, node->inputs);
    });
  }
  return result;
}

}  // namespace tenfold
