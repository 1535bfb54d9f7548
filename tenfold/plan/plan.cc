#include "tenfold/plan/plan.h"

#include <functional>
#include <map>
#include <set>
#include <unordered_map>

#include <fmt/ranges.h>

#include "tenfold/ir/build.h"
#include "tenfold/plan/cluster.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold::plan {
namespace {

// The clusters of a graph as steps, and the buffers between them.
class Planner {
 public:
  Planner(const Graph& graph, const tile::Machine& machine, const Options& options)
      : graph_(graph),
        machine_(machine),
        options_(options),
        flat_(flatten(graph, options.fixed)),
        clusters_(flat_, machine, options, [this](int unit) { return repeat_plan(unit); }) {}

  Plan make() {
    clusters_.find();
    return assemble();
  }

 private:
  const Graph& graph_;
  const tile::Machine& machine_;
  const Options& options_;
  Flat flat_;
  Clusters clusters_;
  std::set<int> in_memory_;                         // constants that a launch has stored
  std::unordered_map<const Node*, NodeRef> refs_;   // the graph's nodes, for Launch.nodes
  std::map<int, std::pair<Plan, double>> repeats_;  // loops of launches and their seconds, by unit

  const Prim& prim_of(int u) const { return *flat_.units[u].node->prim; }

  // ---- loops of launches
  // -----------------------------------------------------------------------------------------
  // Of the loop as launches; returns the seconds it takes.
  double repeat_plan(int u) {
    const Node& n = *flat_.units[u].node;
    const Graph& body = *n.attrs.graph("body");
    Options inner = options_;
    inner.donate.clear();
    // Never split in a loop: its order must not depend on whether it is one kernel.
    const Graph graph = is_scan(n) ? body : masked_body(n);
    Plan p = Planner(graph, machine_, inner).make();
    double length = is_scan(n) ? static_cast<double>(n.attrs.shape("length")[0].hint()) : 16;
    double seconds = p.seconds * length;
    repeats_.emplace(u, std::pair{std::move(p), seconds});
    return seconds;
  }

  // The body of a while loop whose condition is per element: where it does not hold, the state stays.
  static Graph masked_body(const Node& n) {
    const Graph &cond = *n.attrs.graph("cond"), &body = *n.attrs.graph("body");
    if (cond.results[0]->rank() == 0) return body;
    Nodes params = body.parameters;
    NodeRef go = build::call(cond, params)[0];
    Nodes next = build::call(body, params);
    for (size_t k = 0; k < next.size(); ++k) {
      Ints axes;
      for (int d = 0; d < go->rank(); ++d) axes.push_back(d);
      next[k] = build::select(build::broadcast(go, next[k]->shape(), axes), next[k], params[k]);
    }
    return Graph{params, next, body.names};
  }

  // A plan of a body, with its buffers added to the outer table. `given`: outer buffers for parameters and
  // results.
  void splice(const Plan& inner, const std::vector<int>& parameters, std::vector<int>& results, Plan& into,
              std::vector<Step>& steps) {
    std::vector<int> at(inner.buffers.size(), -1);
    results.assign(results.size(), -1);
    for (size_t b = 0; b < inner.buffers.size(); ++b) {
      const Buffer& x = inner.buffers[b];
      if (x.kind == Buffer::Kind::input)
        at[b] = parameters[x.index];
      else {
        at[b] = static_cast<int>(into.buffers.size());
        into.buffers.push_back({x.type, Buffer::Kind::temporary, -1, x.name});
        if (x.kind == Buffer::Kind::output) results[x.index] = at[b];
      }
    }
    std::function<void(std::vector<Step>&)> rename = [&](std::vector<Step>& list) {
      for (Step& s : list) {
        if (auto* l = std::get_if<Launch>(&s.what))
          for (int& b : l->buffers) b = at[b];
        else if (auto* c = std::get_if<Copy>(&s.what))
          c->from = at[c->from], c->to = at[c->to];
        else {
          auto r = std::make_shared<Repeat>(*std::get<std::shared_ptr<Repeat>>(s.what));
          auto move = [&](int& b) {
            if (b >= 0) b = at[b];
          };
          move(r->step);
          move(r->go);
          for (auto& c : r->carries) move(c.init), move(c.value), move(c.next);
          for (auto* slices : {&r->reads, &r->writes})
            for (auto& x : *slices) move(x.whole), move(x.part);
          rename(r->condition);
          rename(r->body);
          s.what = r;
        }
      }
    };
    std::vector<Step> copy = inner.steps;
    rename(copy);
    steps.insert(steps.end(), copy.begin(), copy.end());
  }

  int temporary(Plan& plan, const Type& t, std::string name) {
    plan.buffers.push_back({t, Buffer::Kind::temporary, -1, std::move(name)});
    return static_cast<int>(plan.buffers.size()) - 1;
  }

  void assemble_repeat(int u, Plan& plan, std::map<int, int>& buffer) {
    const Node& n = *flat_.units[u].node;
    bool scan = is_scan(n);
    int64_t carries = n.attrs.integer("carries"), xs = scan ? n.attrs.integer("xs") : 0;
    // The ops of the loop's inputs and outputs.
    std::vector<int> inputs, outs;
    for (int o : flat_.units[u].operands) inputs.push_back(buffer.at(o));
    for (int o : flat_.units[u].ops)
      if (flat_.ops[o].is_unit_output) outs.push_back(o);
    auto repeat = std::make_shared<Repeat>();
    const Plan& body = repeats_.at(u).first;
    std::vector<int> parameters;
    if (scan) {
      repeat->length = n.attrs.shape("length")[0];
      repeat->reverse = n.attrs.integer("reverse") != 0;
      repeat->step = temporary(plan, {Dtype::i64, {}}, "step");
      parameters.push_back(repeat->step);
    } else {
      repeat->length = -1;
    }
    std::vector<int> values;
    for (int64_t k = 0; k < carries; ++k) {
      int out = outs[k];
      int b = buffer.contains(out) ? buffer.at(out) : temporary(plan, flat_.ops[out].type, "state");
      buffer[out] = b;
      values.push_back(b);
      parameters.push_back(b);
    }
    for (int64_t k = 0; k < xs; ++k) {
      Type row = n.inputs[carries + k]->type();
      row.shape.erase(row.shape.begin());
      int part = temporary(plan, row, "row");
      repeat->reads.push_back({inputs[carries + k], part});
      parameters.push_back(part);
    }
    for (size_t k = carries + xs; k < inputs.size(); ++k) parameters.push_back(inputs[k]);
    std::vector<int> results(n.attrs.graph("body")->results.size());
    splice(body, parameters, results, plan, repeat->body);
    for (int64_t k = 0; k < carries; ++k) repeat->carries.push_back({inputs[k], values[k], results[k]});
    for (size_t k = carries; k < results.size(); ++k) {
      int out = outs[k];
      if (!buffer.contains(out)) buffer[out] = temporary(plan, flat_.ops[out].type, "rows");
      repeat->writes.push_back({buffer.at(out), results[k]});
    }
    if (!scan) {
      Options inner = options_;
      inner.donate.clear();
      Plan condition = Planner(*n.attrs.graph("cond"), machine_, inner).make();
      std::vector<int> go(1);
      splice(condition, parameters, go, plan, repeat->condition);
      repeat->go = go[0];
    }
    plan.steps.push_back({repeat});
    plan.seconds += repeats_.at(u).second;
  }
  static void add_copy(Plan& plan, int from, int to) {
    plan.steps.emplace_back().what.emplace<Copy>(Copy{.from = from, .to = to});
  }

  // ---- buffers and steps
  // -----------------------------------------------------------------------------------------
  Plan assemble() {
    Plan plan;
    std::map<int, int> buffer;  // op -> buffer
    for (size_t k = 0; k < flat_.parameters.size(); ++k) {
      std::string name = k < graph_.names.size() ? graph_.names[k] : "p" + std::to_string(k);
      buffer[flat_.parameters[k]] = static_cast<int>(plan.buffers.size());
      plan.buffers.push_back(
          {flat_.ops[flat_.parameters[k]].type, Buffer::Kind::input, static_cast<int>(k), name});
    }
    std::vector<std::pair<int, int>> copies;
    for (size_t k = 0; k < flat_.results.size(); ++k) {
      int op = flat_.results[k], b = static_cast<int>(plan.buffers.size());
      plan.buffers.push_back(
          {flat_.ops[op].type, Buffer::Kind::output, static_cast<int>(k), "r" + std::to_string(k)});
      if (buffer.contains(op))
        copies.push_back({op, b});
      else
        buffer[op] = b;
    }
    // Clusters in topological order.
    std::map<int, int> waiting;
    std::map<int, std::set<int>> after;
    for (const auto& [c, units] : clusters_.units()) {
      std::set<int> before;
      for (int u : units)
        for (int v : flat_.units[u].inputs)
          if (const int d = clusters_.cluster_of(v); d != c) before.insert(d);
      waiting[c] = static_cast<int>(before.size());
      for (int b : before) after[b].insert(c);
    }
    std::set<std::pair<int, int>> ready;  // by first unit: deterministic
    for (const auto& [c, units] : clusters_.units())
      if (!waiting[c]) ready.insert({units[0], c});
    size_t done = 0;
    for (int r : flat_.results) materialise(r, plan, buffer);
    while (!ready.empty()) {
      auto [first, c] = *ready.begin();
      ready.erase(ready.begin());
      ++done;
      const std::vector<int>& units = clusters_.units().at(c);
      if (clusters_.is_repeat(units)) {
        int u = units[0];
        for (int o : flat_.units[u].operands) materialise(o, plan, buffer);
        assemble_repeat(u, plan, buffer);
      } else if (units.size() == 1 && prim_of(units[0]).has("same_bytes") &&
                 !clusters_.candidate(units).barrier.empty()) {
        // Another shape of the same bytes: the same buffer, unless it is a result.
        int from = flat_.units[units[0]].operands[0], to = flat_.units[units[0]].ops[0];
        materialise(from, plan, buffer);
        if (buffer.contains(to))
          add_copy(plan, buffer.at(from), buffer.at(to));
        else
          buffer[to] = buffer.at(from);
      } else {
        launch(units, clusters_.outputs(units), plan, buffer);
      }
      for (int d : after[c])
        if (--waiting[d] == 0) ready.insert({clusters_.units().at(d)[0], d});
    }
    TENFOLD_CHECK(done == clusters_.units().size(), "clusters form a cycle");
    for (auto [op, b] : copies) add_copy(plan, buffer.at(op), b);
    plan.notes = clusters_.notes();
    return plan;
  }

  // A constant that a step needs in memory.
  void materialise(int op, Plan& plan, std::map<int, int>& buffer) {
    if (flat_.ops[op].kind == Op::Kind::constant && in_memory_.insert(op).second)
      launch({}, {op}, plan, buffer);
  }

  void launch(const std::vector<int>& units, const std::vector<int>& outs, Plan& plan,
              std::map<int, int>& buffer) {
    if (outs.empty()) return;
    const auto [found, ops] = clusters_.search(units, outs);
    if (!found->barrier.empty()) {
      std::string names;
      for (int u : units) names += std::string(prim_of(u).name) + " ";
      throw InternalError(fmt::format("no kernel for [{}]: {}", names, found->barrier));
    }
    Launch l;
    for (size_t a = 0; a < ops.size(); ++a)
      if (!found->lowered.kernel.args[a].output) materialise(ops[a], plan, buffer);
    const std::string name = name_of(units, plan.steps.size());
    std::vector<std::string> names;
    for (const int o : ops)
      names.push_back(buffer.contains(o) ? plan.buffers[buffer.at(o)].name : "t" + std::to_string(o));
    l.axes = axes_text(*found, names);
    const auto written = std::ranges::find_if(
        options_.loops, [&](const auto& entry) { return entry.first.empty() || entry.first == name; });
    Candidate hand;
    if (written != options_.loops.end()) try {
        hand = clusters_.by_hand(units, outs, written->second, *found);
      } catch (const Barrier& b) {
        std::vector<std::string> types;
        for (size_t a = 0; a < ops.size(); ++a)
          types.push_back(names[a] + ": " + flat_.ops[ops[a]].type.str());
        user_error(
            "loops of {}: {}.\n  came   {}\n  axes   {}\n  types  {}\n  Write, as the planner does: {}", name,
            b.why, written->second, l.axes, fmt::join(types, ", "), found->loops);
      }
    const Candidate& c = written == options_.loops.end() ? *found : hand;
    for (size_t a = 0; a < ops.size(); ++a) {
      const int o = ops[a];
      if (const auto laid = c.lowered.laid.find(a); laid != c.lowered.laid.end()) {
        l.buffers.push_back(laid_buffer(o, c.lowered.kernel.args[a].shape, laid->second, plan));
        continue;
      }
      if (!buffer.contains(o)) buffer[o] = temporary(plan, flat_.ops[o].type, "t" + std::to_string(o));
      l.buffers.push_back(buffer.at(o));
    }
    auto kernel = std::make_shared<tile::Kernel>(tile::clone(c.lowered.kernel));
    kernel->name = name;
    for (size_t a = 0; a < l.buffers.size(); ++a) kernel->args[a].name = plan.buffers[l.buffers[a]].name;
    std::set<std::string> distinct;
    for (auto& a : kernel->args)
      while (!distinct.insert(a.name).second) a.name += "_";
    l.kernel = std::move(kernel);
    std::map<std::string_view, int> operations;
    if (refs_.empty())
      for (const NodeRef& n : topological(graph_.results)) refs_.emplace(n.get(), n);
    for (int u : units) {
      ++operations[prim_of(u).name];
      if (auto at = refs_.find(flat_.units[u].node); at != refs_.end()) l.nodes.push_back(at->second);
    }
    for (const auto& [name, count] : operations)
      l.operations += fmt::format("{}{}{}", l.operations.empty() ? "" : ", ", name,
                                  count > 1 ? fmt::format(" x{}", count) : "");
    l.cost = c.cost;
    l.loops = c.loops;
    plan.seconds += c.cost.seconds;
    plan.steps.emplace_back().what = std::move(l);
  }

  // One array for all kernels that read an input in the same order.
  int laid_buffer(int op, const Shape& shape, const Layout& layout, Plan& plan) const {
    const auto index = static_cast<int>(std::ranges::find(flat_.parameters, op) - flat_.parameters.begin());
    const auto found = std::ranges::find_if(plan.buffers, [&](const Buffer& b) {
      return b.kind == Buffer::Kind::laid && b.index == index && b.type.shape == shape && b.layout == layout;
    });
    if (found != plan.buffers.end()) return static_cast<int>(found - plan.buffers.begin());
    plan.buffers.push_back({{flat_.ops[op].type.dtype, shape},
                            Buffer::Kind::laid,
                            index,
                            plan.buffers[index].name + "_laid",
                            layout});
    return static_cast<int>(plan.buffers.size()) - 1;
  }

  // What the letters of its loops stand for, and where they stand.
  static std::string axes_text(const Candidate& c, const std::vector<std::string>& arguments) {
    if (c.axes.empty()) return "";
    std::string text = c.axes + ":";
    bool outputs = false;
    for (size_t a = 0; a < arguments.size(); ++a) {
      const bool first = outputs != c.lowered.kernel.args[a].output;
      outputs |= first;
      text += (first ? " -> " : a ? ", " : " ") + arguments[a] + c.places[a];
    }
    return text;
  }

  // The last two operations that are not moves: enough to recognise it in a profile.
  std::string name_of(const std::vector<int>& units, size_t k) const {
    std::string name = "k" + std::to_string(k);
    int shown = 0;
    for (auto u = units.rbegin(); u != units.rend() && shown < 2; ++u) {
      if (prim_of(*u).kind == Kind::move) continue;
      name += "_" + std::string(prim_of(*u).name);
      ++shown;
    }
    return name;
  }
};

void add_launches(const std::vector<Step>& steps, std::vector<const Launch*>& into) {
  for (const Step& s : steps)
    if (const auto* l = std::get_if<Launch>(&s.what)) {
      into.push_back(l);
    } else if (const auto* r = std::get_if<std::shared_ptr<Repeat>>(&s.what)) {
      add_launches((*r)->condition, into);
      add_launches((*r)->body, into);
    }
}

void check_names(const Plan& plan, const std::vector<std::pair<std::string, std::string>>& loops) {
  std::vector<const Launch*> launches;
  add_launches(plan.steps, launches);
  std::string known;
  for (const Launch* l : launches) known += fmt::format("\n  {}: {}", l->kernel->name, l->loops);
  for (const auto& [name, text] : loops) {
    if (name.empty() && launches.size() != 1)
      user_error(
          "loops \"{}\" name no launch, and there are {}: say of which, by its name, of{}{}", text,
          launches.size(), known.empty() ? " none" : known,
          known.empty() ? "" : "\nIn Python a dict, {\"name\": \"loops\"}; in a shell name=\"loops\".");
    if (!name.empty() &&
        std::ranges::none_of(launches, [&](const Launch* l) { return l->kernel->name == name; }))
      user_error("loops name \"{}\", which is no launch: choose of{}", name, known.empty() ? " none" : known);
  }
}

}  // namespace

Plan make_plan(const Graph& graph, const tile::Machine& machine, const Options& options) {
  Options plain = options;  // what is cut where does not depend on how launches run by hand
  plain.loops.clear();
  std::vector<Graph> proposed{split_reductions(graph)};
  const auto propose = [&](Graph other) {
    other = split_reductions(other);
    if (std::ranges::none_of(proposed, [&](const Graph& g) { return same(g, other); }))
      proposed.push_back(std::move(other));
  };
  if (options.granted("reassociate"))
    for (const Graph& g : {graph, common_factors(graph), distribute(graph)}) propose(reassociate(g));
  if (options.granted("factor") || options.granted("online")) {
    propose(factor(graph));
    if (options.granted("reassociate")) propose(reassociate(factor(graph)));
  }
  const size_t exact = proposed.size();
  for (const int pieces : {2, 3})
    if (machine.pairs && options.granted(pieces == 2 ? "bf16x3" : "bf16x6"))
      for (size_t k = 0, n = proposed.size(); k < n; ++k) propose(in_bf16(proposed[k], pieces));
  const Graph* chosen = nullptr;
  Plan best;
  for (const Graph& g : proposed)
    if (Plan plan = Planner(g, machine, plain).make(); !chosen || plan.seconds < best.seconds)
      best = std::move(plan), chosen = &g;
  if ((options.granted("bf16x3") || options.granted("bf16x6")) && chosen < &proposed[0] + exact)
    best.notes.push_back(
        proposed.size() > exact
            ? "f32 as pieces of bf16 is granted, not taken: it takes longer on this machine"
        : machine.pairs ? "f32 as pieces of bf16 is granted, but no product of f32 runs along an even axis"
                        : "f32 as pieces of bf16 is granted, but this machine does not add pairs of them");
  if (options.loops.empty()) return best;
  check_names(best, options.loops);
  return Planner(*chosen, machine, options).make();
}

double least_bytes(const Graph& graph) {
  auto size = [](const Type& t) { return static_cast<double>(volume(t.shape).hint() * size_of(t.dtype)); };
  // A move or an index takes an element of its first input for each of its own, at most.
  std::unordered_map<const Node*, double> needed;
  for (const NodeRef& n : topological(graph.results))
    for (size_t k = 0; k < n->inputs.size(); ++k) {
      const Node& from = *n->inputs[k];
      if (from.types.size() != 1) continue;
      const bool part = k == 0 && (n->prim->kind == Kind::move || n->prim->kind == Kind::index);
      needed[&from] += part ? std::min(size(n->type()), size(from.type())) : size(from.type());
    }
  double bytes = 0;
  for (const NodeRef& r : graph.results) {
    bytes += size(r->type());
    needed[r.get()] += size(r->type());
  }
  for (const NodeRef& p : graph.parameters)
    if (const auto found = needed.find(p.get()); found != needed.end())
      bytes += std::min(found->second, size(p->type()));
  return bytes;
}

}  // namespace tenfold::plan
