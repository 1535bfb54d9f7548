#include "tenfold/rewrite/simplify.h"

#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"
#include "tenfold/ir/eval.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold {
namespace {

using rewrite::Procedure;
using rewrite::Ranges;
using rewrite::Rule;

constexpr int kMostPasses = 24;  // a fixpoint comes after a few; each pass is linear
constexpr int kMostRulesPerNode = 16;

const std::vector<const Rule*>& rules_of(const Prim& p) {
  static const auto* table = [] {
    auto* t = new std::unordered_map<std::string_view, std::vector<const Rule*>>;
    for (const Rule& r : rewrite::algebra()) (*t)[r.from.primitive].push_back(&r);
    return t;
  }();
  static const auto* none = new std::vector<const Rule*>;
  const auto found = table->find(p.name);
  return found == table->end() ? *none : found->second;
}

NodeRef first_of(std::span<const Procedure> procedures, const NodeRef& n, Ranges& ranges) {
  for (const Procedure& p : procedures)
    if (NodeRef r = p.apply(n, ranges); r && r != n) return r;
  return {};
}

double points(const Shape& shape) {
  double n = 1;
  for (const Dim& d : shape) n *= static_cast<double>(d.hint());
  return n;
}

// A graph of maps over scalars, on values of another shape.
NodeRef lifted(const Graph& g, const NodeRef& x) {
  std::unordered_map<const Node*, NodeRef> done{{g.parameters[0].get(), x}};
  for (const NodeRef& n : topological(g.results)) {
    if (done.contains(n.get())) continue;
    if (n->prim->has("constant")) {
      done[n.get()] = build::full(n->attrs.scalar("value"), {n->dtype(), x->shape()});
      continue;
    }
    Nodes inputs;
    for (const NodeRef& i : n->inputs) inputs.push_back(done.at(i.get()));
    done[n.get()] = make(*n->prim, std::move(inputs), n->attrs);
  }
  return done.at(g.results[0].get());
}

Graph fixpoint(const Graph&, std::span<const Range> parameters, const SimplifyOptions&);

// The expansion of a composed map for arguments in a range, as a graph over a scalar; empty if the range
// helps nothing. A NaN is outside every range, so it is tried.
std::optional<Graph> short_form(const Prim& p, Dtype d, const Range& range) {
  Graph whole;
  whole.parameters = {build::parameter(0, {d, {}})};
  whole.results = {make(p, whole.parameters)};
  whole = expand(whole);
  const Range anything[] = {Range::all(d)}, here[] = {{range.low, range.high, false}};
  whole = fixpoint(whole, anything, {});
  const Graph small = fixpoint(whole, here, {});
  constexpr double kWorthIt = 0.9;
  if (work(small) > kWorthIt * work(whole)) return {};
  if (range.nan) {
    Array nan(d, {});
    nan.set(0, Scalar(std::numeric_limits<double>::quiet_NaN()));
    const Array a = evaluate(whole, {&nan, 1})[0], b = evaluate(small, {&nan, 1})[0];
    if (!std::isnan(a.at(0).f()) || !std::isnan(b.at(0).f())) return {};
  }
  return small;
}

NodeRef shorten(const NodeRef& n, Ranges& ranges) {
  if (n->prim->kind != Kind::map || !n->prim->expand || n->inputs.size() != 1) return {};
  const NodeRef& x = n->inputs[0];
  if (!is_float(x->dtype()) || n->dtype() != x->dtype()) return {};
  const Range r = ranges.of(x);
  if (!r.is_bounded() || r.low > r.high) return {};
  // Outwards to a quarter of a power of two: few ranges differ then, and each is worked out once.
  auto outward = [](double v, bool up) {
    if (v == 0) return 0.0;
    const double unit = std::ldexp(1.0, std::ilogb(v) - 2);
    return (up ? std::ceil(v / unit) : std::floor(v / unit)) * unit;
  };
  using Key = std::tuple<const Prim*, Dtype, double, double, bool>;
  static thread_local std::map<Key, std::optional<Graph>> known;
  constexpr size_t kMostKnown = 1024;
  if (known.size() > kMostKnown) known.clear();
  const Key key{n->prim, x->dtype(), outward(r.low, false), outward(r.high, true), r.nan};
  const auto [at, is_new] = known.try_emplace(key);
  if (is_new) at->second = short_form(*n->prim, x->dtype(), {std::get<2>(key), std::get<3>(key), r.nan});
  return at->second ? lifted(*at->second, x) : NodeRef();
}

// The scan with as many steps in one as share something (a power of two that the step is divided by), if that
// saves a good part of the work. Loops that read rows are left: their rows would have to be regrouped.
int64_t shared_steps(const ScanView& view) {
  for (const NodeRef& n : topological(view.body->results)) {
    if (n->prim->name != "shift_right") continue;
    const std::optional<Scalar> count = rewrite::constant_of(n->inputs[1]);
    if (!count || count->i() < 1 || count->i() > 3) continue;
    NodeRef x = n->inputs[0];
    for (bool moved = true; moved;) {  // through sums with constants, and what only repeats
      moved = false;
      if (x->prim->kind == Kind::move && x->inputs.size() == 1) x = x->inputs[0], moved = true;
      for (int k = 0; !moved && k < 2 && x->prim->name == "add"; ++k)
        if (rewrite::constant_of(x->inputs[1 - k])) x = x->inputs[k], moved = true;
    }
    if (x == view.step()) return int64_t{1} << count->i();
  }
  return 1;
}

Nodes share_steps(const NodeRef& n, Ranges& ranges) {
  if (!is_scan(*n)) return {};
  const ScanView view(*n);
  if (!view.xs.empty() || view.init.empty()) return {};
  const int64_t copies = shared_steps(view);
  if (copies == 1 || !provably_divides(copies, view.length) || provably_lt(view.length, 2 * copies))
    return {};
  const Nodes outputs = unroll(n, copies);
  const NodeRef& first = outputs[0];
  const NodeRef unrolled = first->prim->has("projection") ? first->inputs[0] : first;
  std::vector<Range> parameters = ranges.of_parameters(n, *view.body);
  parameters[0].high = std::max(0.0, static_cast<double>(floordiv(view.length, copies).upper()) - 1);
  const Graph body = fixpoint(*unrolled->attrs.graph("body"), parameters, {.unroll = false});
  constexpr double kClearly = 0.9;
  if (work(body) > kClearly * static_cast<double>(copies) * work(*view.body)) return {};
  Attrs attrs = unrolled->attrs;
  attrs.set("body", std::make_shared<const Graph>(body));
  Nodes made = build::items(make(*n->prim, unrolled->inputs, attrs));
  for (size_t k = view.init.size(); k < made.size(); ++k)
    made[k] = build::reshape(made[k], outputs[k]->shape());
  return made;
}

// A graph under what is known of its parameters. Ranges and settled bodies are kept from pass to pass.
class Simplifier {
 public:
  Simplifier(const Graph& graph, std::span<const Range> parameters, const SimplifyOptions& options)
      : options_(options), ranges_(options.ranges ? Ranges(graph, parameters) : Ranges()) {}

  Graph run(const Graph& graph) {
    Graph now = graph;
    for (int k = 0; k < kMostPasses; ++k) {
      Graph next = pass(now);
      if (same(next, now)) break;
      now = std::move(next);
    }
    return options_.unroll ? shared(now) : now;
  }

 private:
  Graph pass(const Graph& graph) {
    return drop_unused(rewrite::rewrite(
        graph, [&](const NodeRef& n) { return n->types.size() == 1 ? Nodes{node(n)} : rewrite::outputs(n); },
        [&](const NodeRef& control, const GraphRef& body) { return sub_graph(control, body); }));
  }

  NodeRef node(NodeRef n) {
    for (int k = 0; k < kMostRulesPerNode; ++k) {
      const NodeRef next = once(n);
      if (!next || next == n) break;
      n = next;
    }
    return n;
  }

  NodeRef once(const NodeRef& n) {
    for (const Rule* r : rules_of(*n->prim))
      if (NodeRef next = rewrite::apply(*r, n)) return next;
    if (NodeRef next = first_of(rewrite::folds(), n, ranges_)) return next;
    if (NodeRef next = first_of(rewrite::moves(), n, ranges_)) return next;
    if (!options_.ranges) return {};
    if (NodeRef next = first_of(rewrite::range_rules(), n, ranges_)) return next;
    return shorten(n, ranges_);
  }

  GraphRef sub_graph(const NodeRef& control, const GraphRef& body) {
    std::vector<Range> parameters = ranges_.of_parameters(control, *body);
    if (const auto known = settled_.find(body); known != settled_.end() && known->second == parameters)
      return body;
    Graph changed = fixpoint(*body, parameters, options_);
    const GraphRef result = same(changed, *body) ? body : std::make_shared<const Graph>(std::move(changed));
    settled_[result] = std::move(parameters);
    return result;
  }

  // Loops whose steps share work, unrolled. Loops inside them were entered by the passes.
  Graph shared(const Graph& graph) {
    bool changed = false;
    Graph result = rewrite::rewrite(
        graph,
        [&](const NodeRef& n) {
          Nodes unrolled = share_steps(n, ranges_);
          changed = changed || !unrolled.empty();
          return unrolled.empty() ? rewrite::outputs(n) : unrolled;
        },
        [](const NodeRef&, const GraphRef& body) { return body; });
    return changed ? result : graph;
  }

  SimplifyOptions options_;
  Ranges ranges_;
  std::unordered_map<GraphRef, std::vector<Range>>
      settled_;  // bodies that no rule changes, under these ranges
};

Graph fixpoint(const Graph& graph, std::span<const Range> parameters, const SimplifyOptions& options) {
  return Simplifier(graph, parameters, options).run(graph);
}

}  // namespace

Graph simplify(const Graph& graph, const SimplifyOptions& options) {
  std::vector<Range> anything;
  for (const NodeRef& p : graph.parameters) anything.push_back(Range::all(p->dtype()));
  return fixpoint(graph, anything, options);
}

double work(const Graph& graph) {
  double total = 0;
  for (const NodeRef& n : topological(graph.results)) {
    const Prim& p = *n->prim;
    if (is_scan(*n)) {
      const ScanView view(*n);
      total += static_cast<double>(view.length.hint()) * work(*view.body);
    } else if (p.kind == Kind::control) {
      for (const auto& [name, value] : n->attrs)
        if (const GraphRef* body = std::get_if<GraphRef>(&value)) total += work(**body);
    } else if (p.kind == Kind::map || p.kind == Kind::random) {
      total += p.cost * points(n->shape());
    } else if (p.kind == Kind::reduce) {
      total += p.cost * points(n->inputs[0]->shape());
    }
  }
  return total;
}

}  // namespace tenfold
