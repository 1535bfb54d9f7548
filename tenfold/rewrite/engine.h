// The engine under every rewrite: bottom-up over a graph and the bodies of its loops, each node once, in time
// linear in size.
#pragma once

#include <functional>
#include <unordered_map>

#include "tenfold/ir/prim.h"

namespace tenfold::rewrite {

// What a node becomes, given its inputs as already rewritten; `node` is the node over those inputs. Outputs
// one by one.
using Visit = std::function<Nodes(const NodeRef& node)>;

// What a sub-graph becomes; `node` is the control node over its rewritten inputs.
using Enter = std::function<GraphRef(const NodeRef& node, const GraphRef& body)>;

// What a node becomes, given its inputs as already rewritten: the walk under `rewrite`.
using Remake = std::function<Nodes(const NodeRef& before, Nodes inputs)>;
Graph walk(const Graph&, const Remake&);

Graph rewrite(const Graph&, const Visit&);  // sub-graphs in the same way
Graph rewrite(const Graph&, const Visit&, const Enter&);

// The node over other inputs and with other attributes; itself if nothing changed.
NodeRef remake(const NodeRef&, Nodes inputs, Attrs attrs);

Nodes outputs(const NodeRef&);  // the node itself, or its items

}  // namespace tenfold::rewrite
