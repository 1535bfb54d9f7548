// The graph: an immutable, hash-consed DAG of nodes. Structural equality is pointer equality.
//
// * A node has a primitive, inputs, attributes and one type per output. Only control primitives (scan, while,
//   cond) have several outputs; `item(n, k)` projects one. Every other input is a node with one output.
// * Sub-graphs are closed: what the body of a loop uses from outside is an explicit operand.
// * The intern table is weak and locked; nodes are counted, and releasing a deep graph does not recurse.
// * Source locations live on handles (lang::Tensor), not on nodes: two lines may share a node.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenfold/base/dim.h"
#include "tenfold/base/dtype.h"
#include "tenfold/base/error.h"
#include "tenfold/ir/scalar.h"

namespace tenfold {

struct Prim;
class Node;
struct Graph;

struct Type {
  Dtype dtype = Dtype::f32;
  Shape shape;
  int rank() const { return static_cast<int>(shape.size()); }
  std::string str() const;  // "f32[64,1024]"
  friend bool operator==(const Type&, const Type&) = default;
};

// A counted pointer to a node.
class NodeRef {
 public:
  NodeRef() = default;
  NodeRef(const NodeRef& o);
  NodeRef(NodeRef&& o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
  NodeRef& operator=(NodeRef o) noexcept {
    std::swap(node_, o.node_);
    return *this;
  }
  ~NodeRef();
  const Node* operator->() const { return node_; }
  const Node& operator*() const { return *node_; }
  const Node* get() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }
  friend bool operator==(const NodeRef& a, const NodeRef& b) { return a.node_ == b.node_; }
  friend auto operator<=>(const NodeRef& a, const NodeRef& b) { return a.node_ <=> b.node_; }

 private:
  friend class Interner;
  explicit NodeRef(const Node* counted) : node_(counted) {}
  const Node* node_ = nullptr;
};
using Nodes = std::vector<NodeRef>;

using Ints = std::vector<int64_t>;
using GraphRef = std::shared_ptr<const Graph>;
using Attr = std::variant<int64_t, std::string, Ints, Shape, Dtype, Scalar, GraphRef>;

// Attributes: a short list sorted by name. Names are string literals of the records.
class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<std::string_view, Attr>> items);
  void set(std::string_view name, Attr value);
  const Attr* find(std::string_view name) const;
  const Attr& at(std::string_view name) const;  // InternalError if missing
  int64_t integer(std::string_view name) const { return std::get<int64_t>(at(name)); }
  const std::string& text(std::string_view name) const { return std::get<std::string>(at(name)); }
  const Ints& ints(std::string_view name) const { return std::get<Ints>(at(name)); }
  const Shape& shape(std::string_view name) const { return std::get<Shape>(at(name)); }
  Dtype dtype(std::string_view name) const { return std::get<Dtype>(at(name)); }
  const Scalar& scalar(std::string_view name) const { return std::get<Scalar>(at(name)); }
  const GraphRef& graph(std::string_view name) const { return std::get<GraphRef>(at(name)); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  bool empty() const { return items_.empty(); }
  size_t hash() const;
  friend bool operator==(const Attrs&, const Attrs&);

 private:
  std::vector<std::pair<std::string, Attr>> items_;
};

class Node {
 public:
  const Prim* prim;
  Nodes inputs;
  Attrs attrs;
  std::vector<Type> types;
  uint64_t id;  // creation order: inputs have smaller ids than their users. Never part of a key that outlives
                // the process.

  const Type& type() const;  // the type of a single-output node; InternalError otherwise
  const Shape& shape() const { return type().shape; }
  Dtype dtype() const { return type().dtype; }
  int rank() const { return type().rank(); }

 private:
  friend class Interner;
  friend class NodeRef;
  Node() = default;
  mutable std::atomic<int64_t> count_{0};
  mutable const Node* next_dead_ = nullptr;  // links nodes that wait to be deleted: releasing never recurses
  size_t hash_ = 0;
};

// The one way to make a node: checks attributes and arity (InternalError), runs the type rule (UserError),
// then interns.
NodeRef make(const Prim& prim, Nodes inputs, Attrs attrs = {});
NodeRef make(std::string_view prim, Nodes inputs,
             Attrs attrs = {});  // InternalError if there is no such record

// A closed graph: parameters are `parameter` nodes (scope 0, index = position), in order.
struct Graph {
  Nodes parameters;
  Nodes results;
  std::vector<std::string> names;  // of the parameters, for printing; may be empty
};
size_t hash(const Graph&);              // within this process
bool same(const Graph&, const Graph&);  // names do not count

int64_t live_nodes();  // for tests: nodes now in the intern table

// Every node the roots need, inputs first. Iterative, linear. Does not enter sub-graphs, nor go past the
// given leaves (which are listed if they are reached).
Nodes topological(std::span<const NodeRef> roots, std::span<const NodeRef> leaves = {});

}  // namespace tenfold

template <>
struct std::hash<tenfold::NodeRef> {
  size_t operator()(const tenfold::NodeRef& n) const { return std::hash<const void*>()(n.get()); }
};
