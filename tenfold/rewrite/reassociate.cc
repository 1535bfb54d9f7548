// (a b) c = a (b c): products of several arrays in the order of the fewest multiplications. It rounds
// otherwise, so it is done only where the user grants it.
#include <algorithm>
#include <bit>
#include <map>
#include <unordered_map>

#include "tenfold/ir/build.h"
#include "tenfold/ir/contract.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

constexpr size_t kMostFactors = 8;  // all orders are compared: 3^n pairs of sets
constexpr double kWorth = 0.9;      // of the multiplications, at most: else the order stays

using Users = std::unordered_map<const Node*, int>;
using Axes = std::vector<int>;

// A tree of contractions as one sum over many factors.
class Product {
 public:
  Product(const NodeRef& root, const Users& users) : root_(root), users_(users) {
    for (int d = 0; d < root->rank(); ++d) out_.push_back(axis(root->shape()[static_cast<size_t>(d)]));
    add(root, out_);
  }

  // The same in the best order over `done` factors, or null where that is worth nothing.
  NodeRef reordered(const std::unordered_map<const Node*, NodeRef>& done) {
    const size_t n = factors_.size();
    if (n < 3 || n > kMostFactors || extents_.size() > 26) return {};
    const size_t all = (size_t{1} << n) - 1;
    best_.assign(all + 1, {});
    for (size_t set = 1; set <= all; ++set) {
      if (std::popcount(set) == 1) continue;
      best_[set].cost = -1;
      // Subsets from the largest down: below half they are the complements of those before.
      for (size_t left = (set - 1) & set; left > (set ^ left); left = (left - 1) & set) {
        const size_t right = set ^ left;
        const double cost = best_[left].cost + best_[right].cost + multiplications(left, right);
        if (best_[set].cost < 0 || cost < best_[set].cost) best_[set] = {cost, left};
      }
    }
    if (best_[all].cost > kWorth * cost_) return {};
    return made(all, done);
  }

 private:
  struct Factor {
    NodeRef node;
    Axes axes;
  };
  struct Best {
    double cost = 0;
    size_t left = 0;
  };

  int axis(const Dim& extent) {
    extents_.push_back(static_cast<double>(extent.hint()));
    return static_cast<int>(extents_.size()) - 1;
  }

  bool inner(const NodeRef& n) const { return n == root_ || users_.at(n.get()) == 1; }

  void add(const NodeRef& n, const Axes& axes) {
    if (inner(n) && n->prim->name == "transpose") {
      const Ints& permutation = n->attrs.ints("permutation");
      Axes from(axes.size());
      for (size_t d = 0; d < axes.size(); ++d) from[static_cast<size_t>(permutation[d])] = axes[d];
      return add(n->inputs[0], from);
    }
    const auto same_dtype = [&](const NodeRef& i) { return i->dtype() == root_->dtype(); };
    if (!inner(n) || n->prim->kind != Kind::contract || !std::ranges::all_of(n->inputs, same_dtype)) {
      factors_.push_back({n, axes});
      return;
    }
    const ContractSpec spec = parse_contract(n->attrs.text("spec"));
    std::map<char, int> of;
    for (size_t d = 0; d < axes.size(); ++d) of[spec.out[d]] = axes[d];
    double cost = 1;
    for (const bool second : {false, true}) {
      const std::string& letters = second ? spec.b : spec.a;
      for (size_t d = 0; d < letters.size(); ++d)
        if (!of.contains(letters[d])) of[letters[d]] = axis(n->inputs[second]->shape()[d]);
    }
    for (const auto& [letter, a] : of) cost *= extents_[static_cast<size_t>(a)];
    cost_ += cost;
    for (const bool second : {false, true}) {
      Axes from;
      for (const char letter : second ? spec.b : spec.a) from.push_back(of.at(letter));
      add(n->inputs[second], from);
    }
  }

  // The axes of what is made of a set of factors: those that are asked for outside of it.
  Axes axes(size_t set) const {
    if (set == (size_t{1} << factors_.size()) - 1) return out_;
    Axes kept;
    for (size_t f = 0; f < factors_.size(); ++f) {
      if ((set >> f & 1) == 0) continue;
      if (std::popcount(set) == 1) return factors_[f].axes;
      for (const int a : factors_[f].axes) {
        bool asked = std::ranges::find(out_, a) != out_.end();
        for (size_t g = 0; g < factors_.size(); ++g)
          asked |= (set >> g & 1) == 0 && std::ranges::find(factors_[g].axes, a) != factors_[g].axes.end();
        if (asked && std::ranges::find(kept, a) == kept.end()) kept.push_back(a);
      }
    }
    return kept;
  }

  double multiplications(size_t left, size_t right) const {
    Axes together = axes(left);
    for (const int a : axes(right))
      if (std::ranges::find(together, a) == together.end()) together.push_back(a);
    double n = 1;
    for (const int a : together) n *= extents_[static_cast<size_t>(a)];
    return n;
  }

  NodeRef made(size_t set, const std::unordered_map<const Node*, NodeRef>& done) const {
    if (std::popcount(set) == 1)
      return done.at(factors_[static_cast<size_t>(std::countr_zero(set))].node.get());
    const size_t left = best_[set].left;
    const auto letters = [](const Axes& axes) {
      std::string text;
      for (const int a : axes) text += static_cast<char>('a' + a);
      return text;
    };
    const std::string spec =
        letters(axes(left)) + "," + letters(axes(set ^ left)) + "->" + letters(axes(set));
    return build::contract(made(left, done), made(set ^ left, done), spec, root_->dtype());
  }

  const NodeRef root_;
  const Users& users_;
  std::vector<Factor> factors_;
  std::vector<double> extents_;  // by axis
  Axes out_;
  double cost_ = 0;  // multiplications as it stands
  std::vector<Best> best_;
};

}  // namespace

Graph reassociate(const Graph& graph) {
  const std::vector<NodeRef> order = topological(graph.results);
  Users users;
  for (const NodeRef& r : graph.results) users[r.get()] += 2;  // a result is needed as it is
  for (const NodeRef& n : order)
    for (const NodeRef& i : n->inputs) ++users[i.get()];
  std::unordered_map<const Node*, NodeRef> done;
  for (const NodeRef& n : order) {
    Nodes inputs;
    for (const NodeRef& i : n->inputs) inputs.push_back(done.at(i.get()));
    NodeRef better;
    if (n->prim->kind == Kind::contract && is_inexact(n->dtype())) better = Product(n, users).reordered(done);
    done[n.get()] = better ? better : inputs == n->inputs ? n : make(*n->prim, inputs, n->attrs);
  }
  Graph out = graph;
  for (NodeRef& r : out.results) r = done.at(r.get());
  return simplify(out);
}

}  // namespace tenfold
