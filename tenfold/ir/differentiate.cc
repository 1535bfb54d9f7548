#include "tenfold/ir/differentiate.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "tenfold/base/fault.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"

namespace tenfold {
namespace {

using build::operator+;
using build::operator*;
using Flags = std::vector<bool>;

bool has_inexact(const Node& node) {
  return std::any_of(node.types.begin(), node.types.end(), [](const Type& t) { return is_inexact(t.dtype); });
}

bool any(const Nodes& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [](const NodeRef& n) { return static_cast<bool>(n); });
}

class Accumulator {
 public:
  void add(const Node& to, size_t output, const NodeRef& cotangent) {
    if (!cotangent || !is_inexact(to.types[output].dtype)) return;
    TENFOLD_CHECK(cotangent->type() == to.types[output], "the cotangent of {} is {}, but its output {} is {}",
                  to.prim->name, cotangent->type().str(), output, to.types[output].str());
    Nodes& sums = sums_[&to];
    if (sums.empty()) sums.resize(to.types.size());
    sums[output] = sums[output] && !fault("grad_accumulate") ? sums[output] + cotangent : cotangent;
  }
  const Nodes* of(const Node& node) const {
    const auto found = sums_.find(&node);
    return found == sums_.end() ? nullptr : &found->second;
  }

 private:
  std::unordered_map<const Node*, Nodes> sums_;
};

Nodes vjp_of(const NodeRef& y, const Nodes& dy) {
  if (y->prim->vjp) return y->prim->vjp(y, dy);
  if (y->prim->expand) return pullback_of_expansion(y, dy);
  user_error("{} has no derivative; keep it out of what is differentiated", y->prim->name);
}

GraphRef closed(const Nodes& parameters, const Nodes& results) {
  build::Closed body = build::close(parameters, results);
  TENFOLD_CHECK(body.captured.empty(), "the derivative of a body uses something from outside it");
  return std::move(body.graph);
}

// vjp of y as that of another graph over the same inputs. Over fresh leaves, so that an input that stands
// twice is counted once a place, and so that nothing above the inputs is walked through.
template <class Expand>
Nodes pull_through(const NodeRef& y, std::span<const NodeRef> dy, const Expand& expand) {
  const int64_t scope = build::fresh_scope();
  std::vector<std::pair<NodeRef, NodeRef>> replace;
  const auto leaf_for = [&](const NodeRef& node) {
    const NodeRef leaf = build::parameter(std::ssize(replace), node->type(), scope);
    replace.emplace_back(leaf, node);
    return leaf;
  };
  Nodes inputs, cotangents;
  for (const NodeRef& input : y->inputs) inputs.push_back(leaf_for(input));
  for (const NodeRef& d : dy) cotangents.push_back(d ? leaf_for(d) : NodeRef());
  Nodes pulled = pullback(expand(inputs), cotangents, inputs);
  Nodes known;
  for (const NodeRef& p : pulled)
    if (p) known.push_back(p);
  known = build::substitute(known, replace);
  size_t k = 0;
  for (NodeRef& p : pulled)
    if (p) p = known[k++];
  return pulled;
}

}  // namespace

Nodes pullback_of_expansion(const NodeRef& y, std::span<const NodeRef> dy) {
  return pull_through(y, dy, [&](const Nodes& inputs) { return y->prim->expand(*y, inputs); });
}

Nodes pullback(const Nodes& results, const Nodes& cotangents, const Nodes& wrt) {
  std::unordered_set<const Node*> active, leaves;  // active: depends on a wrt node by floating values
  for (const NodeRef& leaf : wrt)
    if (leaves.insert(leaf.get()).second && has_inexact(*leaf)) active.insert(leaf.get());
  const Nodes order = topological(results, wrt);
  for (const NodeRef& node : order)
    if (!leaves.contains(node.get()) && has_inexact(*node) &&
        std::any_of(node->inputs.begin(), node->inputs.end(),
                    [&](const NodeRef& input) { return active.contains(input.get()); }))
      active.insert(node.get());

  Accumulator sums;
  for (size_t k = 0; k < results.size(); ++k)
    if (active.contains(results[k].get())) sums.add(*results[k], 0, cotangents[k]);
  for (auto at = order.rbegin(); at != order.rend(); ++at) {
    const NodeRef& node = *at;
    const Nodes* dy = leaves.contains(node.get()) || !active.contains(node.get()) ? nullptr : sums.of(*node);
    if (!dy) continue;
    if (node->prim->has("projection")) {
      sums.add(*node->inputs[0], static_cast<size_t>(node->attrs.integer("index")), (*dy)[0]);
      continue;
    }
    const Nodes dx = vjp_of(node, *dy);
    TENFOLD_CHECK(dx.size() == node->inputs.size(), "the vjp of {} gives {} cotangents for {} inputs",
                  node->prim->name, dx.size(), node->inputs.size());
    for (size_t i = 0; i < dx.size(); ++i)
      if (active.contains(node->inputs[i].get())) sums.add(*node->inputs[i], 0, dx[i]);
  }
  Nodes pulled;
  for (const NodeRef& leaf : wrt) {
    const Nodes* dy = sums.of(*leaf);
    pulled.push_back(dy ? (*dy)[0] : NodeRef());
  }
  return pulled;
}

PullbackGraph pullback_graph(const Graph& graph, const Flags& given, const Flags& wrt, const Flags& forced) {
  PullbackGraph result;
  Nodes& parameters = result.graph.parameters = graph.parameters;
  Nodes cotangents, leaves;
  for (size_t k = 0; k < graph.results.size(); ++k) {
    cotangents.emplace_back();
    if (!given[k]) continue;
    cotangents.back() = build::parameter(std::ssize(parameters), graph.results[k]->type());
    parameters.push_back(cotangents.back());
  }
  for (size_t i = 0; i < wrt.size(); ++i)
    if (wrt[i]) leaves.push_back(graph.parameters[i]);
  const Nodes pulled = pullback(graph.results, cotangents, leaves);
  for (size_t i = 0, k = 0; i < wrt.size(); ++i) {
    const NodeRef dx = wrt[i] ? pulled[k++] : NodeRef();
    const bool is_forced = !forced.empty() && forced[i];
    result.is_used.push_back(dx || is_forced);
    if (result.is_used.back())
      result.graph.results.push_back(dx ? dx : build::zeros_like(graph.parameters[i]));
  }
  result.graph.results = prune_loops(share_loops(std::move(result.graph.results)));
  return result;
}

// Two scans are one if all but the ys of their bodies agree. Merging may make the inputs of later ones equal:
// until nothing changes.
Nodes share_loops(Nodes roots) {
  while (true) {
    std::map<std::vector<uint64_t>, Nodes> groups;
    std::vector<const Nodes*> shared;
    for (const NodeRef& node : topological(roots)) {
      if (node->prim->name != "scan") continue;
      const ScanView scan(*node);
      std::vector<uint64_t> key{scan.reverse, static_cast<uint64_t>(scan.checkpoint), scan.init.size(),
                                scan.xs.size()};
      for (const NodeRef& input : node->inputs) key.push_back(input->id);
      for (const NodeRef& parameter : scan.body->parameters) key.push_back(parameter->id);
      for (const NodeRef& next : scan.next_carries) key.push_back(next->id);
      key.push_back(scan.length.hash());
      groups[key].push_back(node);
    }
    std::vector<std::pair<NodeRef, NodeRef>> replace;
    for (const auto& [key, scans] : groups) {
      if (scans.size() < 2) continue;
      const ScanView first(*scans[0]);
      Graph body{
          first.body->parameters, {first.next_carries.begin(), first.next_carries.end()}, first.body->names};
      std::map<const Node*, size_t> at;  // a result -> its place
      for (const NodeRef& scan : scans)
        for (const NodeRef& y : ScanView(*scan).ys)
          if (at.emplace(y.get(), body.results.size()).second) body.results.push_back(y);
      const Nodes all =
          build::scan(std::make_shared<const Graph>(body), {first.init.begin(), first.init.end()},
                      {first.xs.begin(), first.xs.end()}, {first.consts.begin(), first.consts.end()},
                      first.length, first.reverse, first.checkpoint);
      for (const NodeRef& scan : scans) {
        const ScanView view(*scan);
        const Nodes outputs = build::items(scan);
        for (size_t k = 0; k < outputs.size(); ++k) {
          const NodeRef& to = k < view.init.size() ? all[k] : all[at.at(view.ys[k - view.init.size()].get())];
          if (!(to == outputs[k])) replace.emplace_back(outputs[k], to);
        }
      }
    }
    if (replace.empty()) return roots;
    roots = build::substitute(roots, replace);
  }
}

namespace {

Nodes chosen(std::span<const NodeRef> nodes, const Flags& flags) {
  Nodes result;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (flags[i]) result.push_back(nodes[i]);
  return result;
}

bool all(const Flags& flags) { return std::find(flags.begin(), flags.end(), false) == flags.end(); }

Nodes joined(Nodes a, const Nodes& b, const Nodes& c = {}) {
  a.insert(a.end(), b.begin(), b.end());
  a.insert(a.end(), c.begin(), c.end());
  return a;
}

// What of a scan serves the used outputs; nothing if that is all of it. Gives an entry for each used output.
Nodes pruned(const Node& node, const Flags& is_used) {
  const ScanView scan(node);
  const auto carries = static_cast<int64_t>(scan.init.size());
  Flags live(is_used.begin(), is_used.begin() + carries);
  const Flags live_ys(is_used.begin() + carries, is_used.end());
  Flags rows, consts;
  Nodes results;
  for (bool changed = true; changed;) {
    results = joined(chosen(scan.next_carries, live), chosen(scan.ys, live_ys));
    std::unordered_set<const Node*> needed;
    for (const NodeRef& n : topological(results)) needed.insert(n.get());
    const auto of = [&](std::span<const NodeRef> parameters) {
      Flags flags;
      for (const NodeRef& p : parameters) flags.push_back(needed.contains(p.get()));
      return flags;
    };
    const Flags reached = of(scan.carry_parameters);
    rows = of(scan.row_parameters);
    consts = of(scan.const_parameters);
    changed = false;
    for (size_t i = 0; i < live.size(); ++i) {
      changed |= reached[i] && !live[i];
      live[i] = live[i] || reached[i];
    }
  }
  if (all(live) && all(live_ys) && all(rows) && all(consts)) return {};
  const GraphRef body =
      closed(joined({scan.step()}, chosen(scan.carry_parameters, live),
                    joined(chosen(scan.row_parameters, rows), chosen(scan.const_parameters, consts))),
             prune_loops(results));
  const Nodes outputs = build::scan(body, chosen(scan.init, live), chosen(scan.xs, rows),
                                    chosen(scan.consts, consts), scan.length, scan.reverse, scan.checkpoint);
  Nodes replacing(is_used.size());
  size_t next = 0;
  for (size_t k = 0; k < is_used.size(); ++k)
    if (k < live.size() ? live[k] : is_used[k]) replacing[k] = outputs[next++];
  return replacing;
}

}  // namespace

Nodes prune_loops(Nodes roots) {
  while (true) {
    std::unordered_map<const Node*, Flags> used;  // of each scan
    const Nodes order = topological(roots);
    for (const NodeRef& node : order) {
      if (node->prim->name == "scan") used[node.get()] = Flags(node->types.size(), node->types.size() == 1);
      if (!node->prim->has("projection")) continue;
      const auto found = used.find(node->inputs[0].get());
      if (found != used.end()) found->second[static_cast<size_t>(node->attrs.integer("index"))] = true;
    }
    std::vector<std::pair<NodeRef, NodeRef>> replace;
    for (const NodeRef& node : order) {
      const auto found = used.find(node.get());
      const Nodes replacing = found == used.end() ? Nodes() : pruned(*node, found->second);
      for (size_t k = 0; k < replacing.size(); ++k)
        if (found->second[k]) replace.emplace_back(build::item(node, static_cast<int64_t>(k)), replacing[k]);
    }
    if (replace.empty()) return roots;
    roots = build::substitute(roots, replace);
  }
}

namespace {

Type accumulated(const Type& type) {  // f16 and bf16 are summed in f32
  return {type.dtype == Dtype::f16 || type.dtype == Dtype::bf16 ? Dtype::f32 : type.dtype, type.shape};
}

// The parameters and results of the loop that goes back, as they are found.
struct Backward {
  Nodes parameters, results, inputs;
  void add(const NodeRef& parameter, const NodeRef& input) {
    parameters.push_back(parameter);
    inputs.push_back(input);
  }
};

}  // namespace

// The loop goes back over the steps. Its carries are the cotangents of the carries and sums of those of the
// constants; it reads the xs, the cotangents of the ys and the carries that a second forward scan stores
// (share_loops makes it the first), as far as the body's derivative needs them; the cotangents of the xs are
// its ys.
Nodes scan_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const ScanView scan(*y);
  if (scan.checkpoint > 0)
    return pull_through(y, dy, [&](const Nodes& inputs) { return chunked_scan(*y, inputs); });
  const size_t carries = scan.init.size(), rows = scan.xs.size(), consts = scan.consts.size();
  const Graph& body = *scan.body;
  const int64_t scope = build::fresh_scope();
  int64_t leaves = 0;
  const auto leaf = [&](const Type& type) { return build::parameter(leaves++, type, scope); };

  // Which carries have a cotangent at all: a fixpoint.
  Nodes cotangents(body.results.size()), pulled;
  const Nodes wrt(body.parameters.begin() + 1, body.parameters.end());
  for (size_t k = 0; k < dy.size(); ++k)
    if (dy[k]) cotangents[k] = leaf(body.results[k]->type());
  for (bool changed = true; changed;) {
    pulled = pullback(body.results, cotangents, wrt);
    changed = false;
    for (size_t i = 0; i < carries; ++i) {
      if (!pulled[i] || cotangents[i]) continue;
      cotangents[i] = leaf(body.results[i]->type());
      changed = true;
    }
  }
  Nodes dx(y->inputs.size());
  if (!any(pulled) && provably_lt(0, scan.length)) return dx;

  // Carries: cotangents of the carries, sums for the constants.
  Backward back;
  Nodes init, sums(consts), ys;
  back.parameters.push_back(scan.step());
  for (size_t i = 0; i < carries; ++i) {
    if (!cotangents[i]) continue;
    back.add(cotangents[i], dy[i] ? dy[i] : build::zeros_like(scan.init[i]));
    back.results.push_back(pulled[i] ? pulled[i] : build::zeros_like(scan.init[i]));
  }
  for (size_t k = 0; k < consts; ++k) {
    const NodeRef& d = pulled[carries + rows + k];
    if (!d) continue;
    sums[k] = leaf(accumulated(d->type()));
    back.add(sums[k], build::zeros_like(sums[k]));
    back.results.push_back(sums[k] + build::convert(d, sums[k]->dtype()));
  }
  const auto back_carries = std::ssize(back.inputs);
  for (size_t j = 0; j < rows; ++j)
    if (pulled[carries + j]) back.results.push_back(pulled[carries + j]);
  if (back.results.empty()) return dx;
  back.results = prune_loops(share_loops(std::move(back.results)));

  // What else the body's derivative reads.
  std::unordered_set<const Node*> needed;
  for (const NodeRef& node : topological(back.results)) needed.insert(node.get());
  for (size_t j = 0; j < rows; ++j)
    if (needed.contains(scan.row_parameters[j].get())) back.add(scan.row_parameters[j], scan.xs[j]);
  for (size_t k = carries; k < dy.size(); ++k)
    if (dy[k] && needed.contains(cotangents[k].get())) back.add(cotangents[k], dy[k]);
  Graph storing = body;
  std::vector<size_t> stored;
  const auto is_fixed = [&](size_t i) { return scan.next_carries[i] == scan.carry_parameters[i]; };
  for (size_t i = 0; i < carries; ++i) {
    if (!needed.contains(scan.carry_parameters[i].get()) || is_fixed(i)) continue;
    stored.push_back(storing.results.size());
    storing.results.push_back(scan.carry_parameters[i]);
  }
  if (!stored.empty()) {
    const Nodes outputs = build::scan(std::make_shared<const Graph>(storing),
                                      {scan.init.begin(), scan.init.end()}, {scan.xs.begin(), scan.xs.end()},
                                      {scan.consts.begin(), scan.consts.end()}, scan.length, scan.reverse);
    for (const size_t at : stored) back.add(storing.results[at], outputs[at]);
  }
  const auto back_rows = std::ssize(back.inputs) - back_carries;
  for (size_t i = 0; i < carries; ++i)
    if (needed.contains(scan.carry_parameters[i].get()) && is_fixed(i))
      back.add(scan.carry_parameters[i], scan.init[i]);
  for (size_t k = 0; k < consts; ++k)
    if (needed.contains(scan.const_parameters[k].get())) back.add(scan.const_parameters[k], scan.consts[k]);

  const auto part = [&](int64_t from, int64_t count) {
    return Nodes(back.inputs.begin() + from, back.inputs.begin() + from + count);
  };
  const int64_t fixed_from = back_carries + back_rows;
  const Nodes outputs =
      build::scan(closed(back.parameters, back.results), part(0, back_carries), part(back_carries, back_rows),
                  part(fixed_from, std::ssize(back.inputs) - fixed_from), scan.length,
                  fault("grad_scan_order") ? scan.reverse : !scan.reverse);

  size_t next = 0;
  for (size_t i = 0; i < carries; ++i)
    if (cotangents[i]) dx[i] = outputs[next++];
  for (size_t k = 0; k < consts; ++k)
    if (sums[k]) dx[carries + rows + k] = build::convert(outputs[next++], scan.consts[k]->dtype());
  for (size_t j = 0; j < rows; ++j)
    if (pulled[carries + j]) dx[carries + j] = outputs[next++];
  return dx;
}

namespace {

// The body with its step counted from `base`, its last constant.
GraphRef body_from_base(const ScanView& scan) {
  Graph body = *scan.body;
  const NodeRef base = build::parameter(std::ssize(body.parameters), {Dtype::i64, {}});
  body.results = build::substitute(body.results, {{scan.step(), base + scan.step()}});
  body.parameters.push_back(base);
  body.names.clear();
  return std::make_shared<const Graph>(std::move(body));
}

// One chunk of `length` steps from `base`.
Nodes chunk(const ScanView& scan, const GraphRef& body, const Nodes& init, const Nodes& xs, Nodes consts,
            const NodeRef& base, const Dim& length) {
  consts.push_back(base);
  return build::scan(body, init, xs, consts, length, scan.reverse);
}

}  // namespace

Nodes chunked_scan(const Node& node, std::span<const NodeRef> inputs) {
  const ScanView scan(node.attrs, inputs);
  const GraphRef body = body_from_base(scan);
  const Dim size = scan.checkpoint, chunks = floordiv(scan.length, size), whole = chunks * size,
            rest = scan.length - whole;
  const size_t carries = scan.init.size();
  const Nodes consts(scan.consts.begin(), scan.consts.end());

  // Outer body: [chunk number, carries, the chunk's rows, consts].
  const int64_t scope = build::fresh_scope();
  Nodes parameters{build::parameter(0, {Dtype::i64, {}}, scope)}, outer_init, outer_rows, outer_consts;
  const auto leaf = [&](Nodes& role, const Type& type) {
    parameters.push_back(build::parameter(std::ssize(parameters), type, scope));
    role.push_back(parameters.back());
  };
  for (const NodeRef& c : scan.init) leaf(outer_init, c->type());
  for (const NodeRef& row : scan.row_parameters) {
    Shape shape{size};
    shape.insert(shape.end(), row->shape().begin(), row->shape().end());
    leaf(outer_rows, {row->dtype(), shape});
  }
  for (const NodeRef& k : scan.consts) leaf(outer_consts, k->type());
  const NodeRef base = parameters[0] * build::constant(scan.checkpoint, Dtype::i64);
  const GraphRef outer =
      closed(parameters, chunk(scan, body, outer_init, outer_rows, outer_consts, base, size));

  const auto rows_between = [&](const Dim& start, const Dim& stop) {
    Nodes cut;
    for (const NodeRef& x : scan.xs) cut.push_back(build::slice_axis(x, 0, start, stop));
    return cut;
  };
  const auto run_chunks = [&](const Nodes& init) {
    Nodes xs = rows_between(0, whole);
    for (NodeRef& x : xs) {
      Shape shape{chunks, size};
      shape.insert(shape.end(), x->shape().begin() + 1, x->shape().end());
      x = build::reshape(x, shape);
    }
    Nodes outputs = build::scan(outer, init, xs, consts, chunks, scan.reverse);
    for (size_t k = carries; k < outputs.size(); ++k) {
      Shape shape{whole};
      shape.insert(shape.end(), outputs[k]->shape().begin() + 2, outputs[k]->shape().end());
      outputs[k] = build::reshape(outputs[k], shape);
    }
    return outputs;
  };
  const auto run_rest = [&](const Nodes& init) {
    // An extent as a number: known only for integers. A symbolic rest starts at the length of an iota.
    return chunk(scan, body, init, rows_between(whole, scan.length), consts, build::extent(whole), rest);
  };

  const Nodes init(scan.init.begin(), scan.init.end());
  if (rest == Dim(0)) return run_chunks(init);
  if (chunks == Dim(0)) return run_rest(init);
  const auto carries_of = [&](const Nodes& outputs) {
    return Nodes(outputs.begin(), outputs.begin() + static_cast<int64_t>(carries));
  };
  // The rest stands behind the chunks; in reverse it comes first.
  const Nodes first = scan.reverse ? run_rest(init) : run_chunks(init);
  const Nodes second = scan.reverse ? run_chunks(carries_of(first)) : run_rest(carries_of(first));
  Nodes outputs = carries_of(second);
  for (size_t k = carries; k < first.size(); ++k)
    outputs.push_back(
        build::concatenate({scan.reverse ? second[k] : first[k], scan.reverse ? first[k] : second[k]}, 0));
  return outputs;
}

}  // namespace tenfold
