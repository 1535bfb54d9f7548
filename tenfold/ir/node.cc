#include "tenfold/ir/node.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_set>

#include "tenfold/base/hash.h"
#include "tenfold/ir/prim.h"

namespace tenfold {

std::string Type::str() const { return fmt::format("{}{}", name(dtype), tenfold::str(shape)); }

// Attributes.

namespace {

struct HashAttr {
  size_t operator()(int64_t v) const { return hash_of(1, v); }
  size_t operator()(const std::string& v) const { return hash_of(2, v); }
  size_t operator()(const Ints& v) const {
    size_t seed = 3;
    for (const int64_t i : v) seed = hash_of(seed, i);
    return seed;
  }
  size_t operator()(const Shape& v) const {
    size_t seed = 4;
    for (const Dim& d : v) seed = hash_of(seed, d);
    return seed;
  }
  size_t operator()(Dtype v) const { return hash_of(5, static_cast<int>(v)); }
  size_t operator()(const Scalar& v) const { return hash_combine(6, v.hash()); }
  size_t operator()(const GraphRef& v) const { return hash_combine(7, tenfold::hash(*v)); }
};

bool same_attr(const Attr& a, const Attr& b) {
  if (a.index() != b.index()) return false;
  const auto* x = std::get_if<GraphRef>(&a);
  return x ? same(**x, **std::get_if<GraphRef>(&b)) : a == b;
}

}  // namespace

Attrs::Attrs(std::initializer_list<std::pair<std::string_view, Attr>> items) {
  for (const auto& [name, value] : items) set(name, value);
}

void Attrs::set(std::string_view name, Attr value) {
  const auto at = std::lower_bound(items_.begin(), items_.end(), name,
                                   [](const auto& item, std::string_view key) { return item.first < key; });
  if (at != items_.end() && at->first == name)
    at->second = std::move(value);
  else
    items_.emplace(at, std::string(name), std::move(value));
}

const Attr* Attrs::find(std::string_view name) const {
  for (const auto& [key, value] : items_)
    if (key == name) return &value;
  return nullptr;
}

const Attr& Attrs::at(std::string_view name) const {
  const Attr* value = find(name);
  TENFOLD_CHECK(value, "there is no attribute '{}'", name);
  return *value;
}

size_t Attrs::hash() const {
  size_t seed = items_.size();
  for (const auto& [name, value] : items_)
    seed = hash_combine(hash_of(seed, name), std::visit(HashAttr{}, value));
  return seed;
}

bool operator==(const Attrs& a, const Attrs& b) {
  return std::equal(
      a.items_.begin(), a.items_.end(), b.items_.begin(), b.items_.end(),
      [](const auto& x, const auto& y) { return x.first == y.first && same_attr(x.second, y.second); });
}

// The intern table.
//
// A node whose count has reached zero is dead: only the thread that brought it there touches it further. A
// lookup never revives it (the count leaves zero never), it takes its place in the table instead. So there is
// one owner of each death.

class Interner {
 public:
  static Interner& get() {
    static auto* table = new Interner;  // never destroyed: static nodes may outlive any order of destruction
    return *table;
  }

  static size_t key(const Prim& prim, const Nodes& inputs, const Attrs& attrs) {
    size_t seed = hash_of(attrs.hash(), &prim);
    for (const NodeRef& input : inputs) seed = hash_of(seed, input->id);
    return seed;
  }

  NodeRef find(size_t hash, const Prim& prim, const Nodes& inputs, const Attrs& attrs) {
    Shard& shard = shard_of(hash);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.nodes.find(Key{hash, &prim, &inputs, &attrs});
    return found == shard.nodes.end() ? NodeRef() : revive(*found);
  }

  // The node itself, or the equal one that another thread made first.
  NodeRef insert(const Prim& prim, Nodes inputs, Attrs attrs, std::vector<Type> types, size_t hash) {
    auto* node = new Node;
    node->prim = &prim;
    node->inputs = std::move(inputs);
    node->attrs = std::move(attrs);
    node->types = std::move(types);
    node->hash_ = hash;
    std::unique_ptr<Node> fresh(node);
    Shard& shard = shard_of(hash);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.nodes.find(node);
    if (found != shard.nodes.end()) {
      if (NodeRef alive = revive(*found)) return alive;
      shard.nodes.erase(found);
    }
    node->id = next_id_.fetch_add(1, std::memory_order_relaxed);
    node->count_.store(1, std::memory_order_relaxed);
    shard.nodes.insert(node);
    return NodeRef(fresh.release());
  }

  static void acquire(const Node* node) { node->count_.fetch_add(1, std::memory_order_relaxed); }

  static void release(const Node* node) {
    if (node->count_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    // Thread-local and without a destructor: static nodes are released after other thread-locals are gone.
    static thread_local const Node* pending = nullptr;
    static thread_local bool is_draining = false;
    node->next_dead_ = pending;
    pending = node;
    if (is_draining) return;
    is_draining = true;
    while (pending) {
      const Node* dead = std::exchange(pending, pending->next_dead_);
      get().forget(dead);
      delete dead;  // its inputs, and the graphs in its attributes, go to `pending`
    }
    is_draining = false;
  }

  int64_t size() {
    int64_t total = 0;
    for (Shard& shard : shards_) {
      const std::lock_guard lock(shard.mutex);
      total += static_cast<int64_t>(shard.nodes.size());
    }
    return total;
  }

 private:
  struct Key {
    size_t hash;
    const Prim* prim;
    const Nodes* inputs;
    const Attrs* attrs;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(const Key& key) const { return key.hash; }
    size_t operator()(const Node* node) const { return node->hash_; }
  };
  struct Equal {
    using is_transparent = void;
    static bool same(size_t hash, const Prim* prim, const Nodes& inputs, const Attrs& attrs, const Node* b) {
      return hash == b->hash_ && prim == b->prim && inputs == b->inputs && attrs == b->attrs;
    }
    bool operator()(const Node* a, const Node* b) const {
      return same(a->hash_, a->prim, a->inputs, a->attrs, b);
    }
    bool operator()(const Key& a, const Node* b) const {
      return same(a.hash, a.prim, *a.inputs, *a.attrs, b);
    }
    bool operator()(const Node* b, const Key& a) const {
      return same(a.hash, a.prim, *a.inputs, *a.attrs, b);
    }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_set<const Node*, Hash, Equal> nodes;
  };

  Shard& shard_of(size_t hash) { return shards_[(hash >> 7) % shards_.size()]; }

  static NodeRef revive(const Node* node) {
    int64_t count = node->count_.load(std::memory_order_relaxed);
    while (count > 0)
      if (node->count_.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel))
        return NodeRef(node);
    return {};
  }

  void forget(const Node* node) {
    Shard& shard = shard_of(node->hash_);
    const std::lock_guard lock(shard.mutex);
    const auto [begin, end] = shard.nodes.equal_range(node);
    for (auto at = begin; at != end; ++at) {
      if (*at != node) continue;  // an equal one that took its place
      shard.nodes.erase(at);
      return;
    }
  }

  std::array<Shard, 16> shards_;
  std::atomic<uint64_t> next_id_{0};
};

NodeRef::NodeRef(const NodeRef& o) : node_(o.node_) {
  if (node_) Interner::acquire(node_);
}

NodeRef::~NodeRef() {
  if (node_) Interner::release(node_);
}

int64_t live_nodes() { return Interner::get().size(); }

const Type& Node::type() const {
  TENFOLD_CHECK(types.size() == 1, "{} has {} outputs, not one: project one with item", prim->name,
                types.size());
  return types[0];
}

NodeRef make(const Prim& prim, Nodes inputs, Attrs attrs) {
  const size_t hash = Interner::key(prim, inputs, attrs);
  if (NodeRef known = Interner::get().find(hash, prim, inputs, attrs)) return known;
  const std::string wrong = complaint(prim, inputs.size(), attrs);
  TENFOLD_CHECK(wrong.empty(), "{}", wrong);
  for (const NodeRef& input : inputs)
    TENFOLD_CHECK(input->types.size() == 1 || prim.has("projection"),
                  "{}: an input is a {} with {} outputs: project one", prim.name, input->prim->name,
                  input->types.size());
  std::vector<Type> types = prim.type(attrs, inputs);
  return Interner::get().insert(prim, std::move(inputs), std::move(attrs), std::move(types), hash);
}

NodeRef make(std::string_view name, Nodes inputs, Attrs attrs) {
  return make(prim(name), std::move(inputs), std::move(attrs));
}

size_t hash(const Graph& graph) {
  size_t seed = graph.parameters.size();
  for (const NodeRef& node : graph.parameters) seed = hash_of(seed, node->id);
  for (const NodeRef& node : graph.results) seed = hash_of(seed, node->id);
  return seed;
}

bool same(const Graph& a, const Graph& b) { return a.parameters == b.parameters && a.results == b.results; }

Nodes topological(std::span<const NodeRef> roots, std::span<const NodeRef> leaves) {
  Nodes order;
  std::unordered_set<const Node*> seen, closed;
  for (const NodeRef& leaf : leaves) closed.insert(leaf.get());
  struct Visit {
    const NodeRef* node;
    size_t next_input;
  };
  std::vector<Visit> stack;
  const auto enter = [&](const NodeRef& node) {
    if (node && seen.insert(node.get()).second) stack.push_back({&node, 0});
  };
  for (const NodeRef& root : roots) {
    enter(root);
    while (!stack.empty()) {
      Visit& visit = stack.back();
      const Nodes& inputs = (*visit.node)->inputs;
      if (visit.next_input < inputs.size() && (closed.empty() || !closed.contains(visit.node->get()))) {
        enter(inputs[visit.next_input++]);
      } else {
        order.push_back(*visit.node);
        stack.pop_back();
      }
    }
  }
  return order;
}

}  // namespace tenfold
