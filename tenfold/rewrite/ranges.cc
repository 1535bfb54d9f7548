#include "tenfold/rewrite/ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "tenfold/base/fault.h"
#include "tenfold/ir/control.h"

namespace tenfold::rewrite {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// What a mask says of the values it compares.
struct Fact {
  NodeRef node;
  Range range;
};
using Facts = std::vector<Fact>;

bool is_integer(const NodeRef& n) { return is_int(n->dtype()); }

// A bound of |x| is one of x.
void add_fact(const NodeRef& node, Range range, Facts& facts) {
  if (node->prim->name == "abs") facts.push_back({node->inputs[0], {-range.high, range.high, range.nan}});
  facts.push_back({node, range});
}

void facts_of(const NodeRef& mask, bool truth, Ranges& ranges, Facts& facts, int depth = 0) {
  constexpr int kDepth = 16;
  const Prim& p = *mask->prim;
  if (depth > kDepth) return;
  if (p.has("negation")) return facts_of(mask->inputs[0], !truth, ranges, facts, depth + 1);
  if (p.has(truth ? "conjunction" : "disjunction"))
    for (const NodeRef& part : mask->inputs) facts_of(part, truth, ranges, facts, depth + 1);
  const bool less = p.has("less"), greater = p.has("greater");
  if (!less && !greater && !(p.has("equality") && truth)) return;
  const NodeRef &a = mask->inputs[0], &b = mask->inputs[1];
  if (is_complex(a->dtype()) || is_bool(a->dtype())) return;
  if (!less && !greater) {
    facts.push_back({a, ranges.of(b)});
    facts.push_back({b, ranges.of(a)});
    return;
  }
  // In the form  small <= large - gap. Where the comparison is false, an operand may also be NaN.
  const bool first_is_small = less == truth;
  const bool strict = p.has("or_equal") != truth;
  const double gap = strict && is_integer(a) ? 1 : 0;
  const NodeRef &small = first_is_small ? a : b, &large = first_is_small ? b : a;
  const Range low = ranges.of(small), high = ranges.of(large);
  const bool may_be_nan = fault("ranges_nan") ? false : !truth;
  // A comparison with NaN is false and says nothing.
  if (truth || !high.nan) add_fact(small, {-kInf, high.high - gap, may_be_nan}, facts);
  if (truth || !low.nan) add_fact(large, {low.low + gap, kInf, may_be_nan}, facts);
}

// The range of a node under facts, looking a few nodes deep.
class Refined {
 public:
  Refined(const Facts& facts, Ranges& ranges) : facts_(facts), ranges_(ranges) {}

  Range of(const NodeRef& n, int depth = 0) {
    constexpr int kDepth = 6;
    const auto found = known_.find(n.get());
    if (found != known_.end()) return found->second;
    Range r = ranges_.of(n);
    for (const Fact& f : facts_)
      if (f.node == n) r = meet(r, f.range);
    if (depth < kDepth && n->prim->range && n->prim->kind == Kind::map) {
      std::vector<Range> in;
      for (const NodeRef& i : n->inputs) in.push_back(of(i, depth + 1));
      r = meet(r, n->prim->range(*n, in));
    }
    return known_[n.get()] = r;
  }

 private:
  const Facts& facts_;
  Ranges& ranges_;
  std::unordered_map<const Node*, Range> known_;
};

// Numbers that bounds are likely to stop at: the constants of a body, and their neighbours.
std::vector<double> thresholds(const Graph& body) {
  std::set<double> values{0};
  for (const NodeRef& n : topological(body.results)) {
    if (!n->prim->has("constant")) continue;
    const Scalar& s = n->attrs.scalar("value");
    if (s.is_complex()) continue;
    values.insert(s.f());
    if (s.is_int()) values.insert({s.f() - 1, s.f() + 1});
    if (s.is_f64()) values.insert(-s.f());
  }
  return {values.begin(), values.end()};
}

}  // namespace

Ranges::Ranges(const Graph& graph, std::span<const Range> parameters) {
  for (size_t k = 0; k < graph.parameters.size(); ++k) learn(graph.parameters[k], {parameters[k], {}});
}

void Ranges::learn(const NodeRef& node, Known known) {
  if (known_.insert_or_assign(node.get(), std::move(known)).second) held_.push_back(node);
}

Range Ranges::of(const NodeRef& root, size_t output) {
  const auto found = known_.find(root.get());
  if (found != known_.end()) return found->second.at(output);
  std::vector<std::pair<NodeRef, size_t>> stack{{root, 0}};  // not recursive: graphs are deep
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next < node->inputs.size()) {
      const NodeRef& input = node->inputs[next++];
      if (!known_.contains(input.get())) stack.push_back({input, 0});
      continue;
    }
    const NodeRef done = node;
    stack.pop_back();
    if (!known_.contains(done.get())) learn(done, compute(done));
  }
  return known_.at(root.get()).at(output);
}

Ranges::Known Ranges::compute(const NodeRef& node) {
  const Node& n = *node;
  const Prim& p = *n.prim;
  if (p.has("projection")) return {of(n.inputs[0], static_cast<size_t>(n.attrs.integer("index"))), {}};
  if (p.kind == Kind::control) {
    if (n.attrs.find("length")) return {{}, scan(node)};
    Known all;
    for (const Type& t : n.types) all.all.push_back(Range::all(t.dtype));
    return all;
  }
  if (p.has("select")) return {select(n), {}};
  constexpr size_t kFew = 4;
  std::array<Range, kFew> few;
  std::vector<Range> many(n.inputs.size() > kFew ? n.inputs.size() : 0);
  const std::span<Range> in = many.empty() ? std::span(few).first(n.inputs.size()) : std::span(many);
  for (size_t k = 0; k < in.size(); ++k) in[k] = of(n.inputs[k]);
  return {compute_map(n, in), {}};
}

Range Ranges::compute_map(const Node& n, std::span<const Range> in) {
  const Prim& p = *n.prim;
  const Range all = Range::all(n.dtype());
  if (is_complex(n.dtype())) return all;
  if (p.range) return p.range(n, in);
  if (p.has("constant")) {
    const double v = n.attrs.scalar("value").f();
    return std::isnan(v) ? Range{kInf, -kInf, true} : Range::point(v);
  }
  if (p.kind == Kind::leaf && n.attrs.find("axis")) {  // counts along an axis
    const Dim& extent = n.shape()[static_cast<size_t>(n.attrs.integer("axis"))];
    const Range counted{0, std::max(0.0, static_cast<double>(extent.upper()) - 1), false};
    return counted.high <= all.high && is_int(n.dtype()) ? counted : all;
  }
  if (p.kind == Kind::move && !in.empty()) {
    Range r = in[0];
    for (const Range& other : in) r = join(r, other);
    return r;
  }
  if (p.kind == Kind::index && !p.expand) return in[0];  // a table looked up
  return all;
}

Range Ranges::select(const Node& n) {
  const NodeRef& mask = n.inputs[0];
  const Range truth = of(mask);
  auto branch = [&](bool taken) {
    Facts facts;
    facts_of(mask, taken, *this, facts);
    return Refined(facts, *this).of(n.inputs[taken ? 1 : 2]);
  };
  if (truth.low == 1) return branch(true);
  if (truth.high == 0) return branch(false);
  const Range a = branch(true), b = branch(false);
  if (a.low > a.high && !a.nan) return b;  // never taken
  if (b.low > b.high && !b.nan) return a;
  return join(a, b);
}

void Ranges::widen(const Graph& graph, size_t parameter, const Range& r) {
  const NodeRef& p = graph.parameters[parameter];
  learn(p, {r, {}});
  changed_[p.get()] = true;
}

void Ranges::settle(const Nodes& order) {
  for (const NodeRef& n : order) {
    const bool stale = std::any_of(n->inputs.begin(), n->inputs.end(),
                                   [&](const NodeRef& i) { return changed_.contains(i.get()); });
    if (!stale) continue;
    Known now = compute(n);
    Known& before = known_.at(n.get());
    if (now == before) continue;
    before = std::move(now);
    changed_[n.get()] = true;
  }
  changed_.clear();
}

// Carries: from their first values, joined with what the body makes of them, until nothing changes. Bounds
// that keep growing jump to the next constant of the body, then to the end of the dtype.
std::vector<Range> Ranges::scan(const NodeRef& node) {
  constexpr int kPlainRounds = 3, kStopRounds = 12;
  const ScanView view(*node);
  const Graph& body = *view.body;
  const size_t carries = view.init.size();
  std::vector<Range> parameters{{0, std::max(0.0, static_cast<double>(view.length.upper()) - 1), false}};
  for (const NodeRef& i : node->inputs) parameters.push_back(of(i));
  const std::vector<double> stops = thresholds(body);
  const Nodes order = topological(body.results);
  Ranges inside(body, parameters);
  for (const NodeRef& r : body.results) inside.of(r);
  for (int round = 0;; ++round) {
    bool changed = false;
    for (size_t c = 0; c < carries; ++c) {
      Range& now = parameters[1 + c];
      const Range all = Range::all(node->inputs[c]->dtype());
      Range next = join(now, inside.of(body.results[c]));
      if (next == now) continue;
      const bool jump = round >= kPlainRounds, far = round >= kStopRounds;
      if (jump && next.high > now.high) {
        const auto stop = std::lower_bound(stops.begin(), stops.end(), next.high);
        next.high = far || stop == stops.end() ? all.high : std::min(*stop, all.high);
      }
      if (jump && next.low < now.low) {
        const auto stop = std::upper_bound(stops.begin(), stops.end(), next.low);
        next.low = far || stop == stops.begin() ? all.low : std::max(*std::prev(stop), all.low);
      }
      now = next;
      inside.widen(body, 1 + c, next);
      changed = true;
    }
    if (!changed) break;
    inside.settle(order);
  }
  std::vector<Range> results(parameters.begin() + 1,
                             parameters.begin() + 1 + static_cast<std::ptrdiff_t>(carries));
  for (size_t k = carries; k < body.results.size(); ++k) results.push_back(inside.of(body.results[k]));
  of_bodies_[node.get()] = std::move(parameters);
  return results;
}

std::vector<Range> Ranges::of_parameters(const NodeRef& control, const Graph& body) {
  of(control, 0);
  const auto found = of_bodies_.find(control.get());
  if (found != of_bodies_.end() && found->second.size() == body.parameters.size()) return found->second;
  std::vector<Range> all;
  for (const NodeRef& p : body.parameters) all.push_back(Range::all(p->dtype()));
  return all;
}

}  // namespace tenfold::rewrite
