#include "tenfold/lang/transform.h"

#include <algorithm>

#include "tenfold/grad/gradient.h"
#include "tenfold/ir/batch.h"
#include "tenfold/ir/build.h"
#include "tenfold/lang/function.h"

namespace tenfold::lang {
namespace {

constexpr size_t kDeepest = 200;  // traces inside of each other: a recursion that does not end

// Opens a trace on this thread for as long as it lives.
class Open {
 public:
  Open(std::string what, Location where) : state(std::make_shared<TraceState>()) {
    if (open_traces().size() >= kDeepest)
      user_error(
          "{} is being traced inside of itself, {} levels deep: a recursion on traced values does not end.\n "
          " called at {}\n"
          "  Use tn.scan, tn.while_loop or tn.cond.",
          what, kDeepest, where.str());
    state->scope = build::fresh_scope();
    state->what = std::move(what);
    state->where = where;
    state->start = make_number(0, Dtype::i64, where, true)->serial;
    open_traces().push_back(state);
  }
  ~Open() {
    state->open = false;
    open_traces().pop_back();
  }
  TraceRef state;
};

std::string carry_name(const std::vector<std::string>& names, size_t i) {
  return i < names.size() && !names[i].empty() ? names[i] : fmt::format("{}", i);
}

[[noreturn]] void carry_fails(std::string_view what, const std::vector<std::string>& names, size_t i,
                              const Type& enters, const Type& next, Location where) {
  const bool same_shape = enters.shape == next.shape;
  user_error(
      "{}: carry {} enters as {} but the body returns {}; a carry keeps its type.\n  called at {}\n  {}",
      what, carry_name(names, i), enters.str(), next.str(), where.str(),
      same_shape ? fmt::format("Start from a {} carry, or convert the result with astype.", name(next.dtype))
                 : "Start from a carry of that shape, or reshape or reduce the result.");
}

// The initial carries: numbers take the default dtype, or the one that the body turned out to return.
Nodes start_nodes(const Operands& init, const std::vector<Dtype>& dtypes) {
  Nodes out;
  for (size_t i = 0; i < init.size(); ++i) out.push_back(node_of(init[i], dtypes[i]));
  return out;
}

bool is_weak(const Operand& o) { return o.is_number() || o.tensor().weak(); }

Dtype start_dtype(const Operand& o) {
  if (o.is_number()) return o.dtype();
  return o.tensor().weak() && is_float(o.dtype()) ? Dtype::f32 : o.dtype();
}

// Eager numbers become arguments, so that other numbers need no other program.
Operands settled(const Operands& init, const std::vector<Dtype>& dtypes) {
  if (tracing()) return init;
  Operands out = init;
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i].is_number())
      out[i] = {Tensor(make_number(out[i].number(), dtypes[i], out[i].where(), false)), out[i].where()};
  return out;
}

// On trial a carry that starts as a plain number is one in the body too, and takes the dtype of what it meets
// there.
std::vector<ArgumentType> carry_types(const Operands& start, const Nodes& nodes, bool is_trial) {
  std::vector<ArgumentType> out;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const bool weak = is_trial && is_weak(start[i]);
    Type type = nodes[i]->type();
    if (weak && is_float(type.dtype)) type.dtype = Dtype::f64;
    out.push_back({std::move(type), weak});
  }
  return out;
}

void learn_dtypes(const Operands& start, const Traced& traced, std::vector<Dtype>& dtypes) {
  for (size_t i = 0; i < start.size(); ++i) {
    if (!is_weak(start[i])) continue;
    const Dtype next = traced.results[i]->dtype();
    dtypes[i] = traced.weak[i] && is_float(next) ? Dtype::f32 : next;
  }
}

// A result that is a plain number takes the dtype it is compared with.
NodeRef settle_weak(const NodeRef& node, bool weak, Dtype wanted) {
  return weak ? build::convert(node, wanted) : node;
}

Operands all_operands(const Operands& first, const Traced& traced, Location where) {
  Operands out = first;
  for (Operand& o : captured_operands(traced, where)) out.push_back(std::move(o));
  return out;
}

}  // namespace

Traced trace(std::string what, Location where, const std::vector<ArgumentType>& types,
             const Function& function) {
  Open open(std::move(what), where);
  Traced out;
  out.state = open.state;
  Tensors arguments;
  for (size_t i = 0; i < types.size(); ++i) {
    out.parameters.push_back(build::parameter(static_cast<int64_t>(i), types[i].type, open.state->scope));
    arguments.emplace_back(make_traced(out.parameters.back(), open.state, where, types[i].weak));
  }
  for (const Tensor& result : function(arguments)) {
    if (!result) user_error("{} returned an empty tensor\n  called at {}", open.state->what, where.str());
    out.results.push_back(node_for_use(result.value(), where));
    out.weak.push_back(result.weak());
  }
  return out;
}

Operands captured_operands(const Traced& traced, Location where) {
  Operands out;
  for (const auto& [node, value] : traced.state->captured) out.emplace_back(Tensor(value), where);
  return out;
}

ValueAndGrad value_and_grad(const Function& function, const Tensors& arguments, const std::vector<int>& wrt,
                            Location where) {
  std::vector<ArgumentType> types;
  Operands operands;
  for (const Tensor& t : arguments) {
    types.push_back({t.type(), t.weak()});
    operands.emplace_back(t, where);
  }
  for (int i : wrt)
    if (!is_inexact(types[i].type.dtype))
      user_error(
          "grad: argument {} is {}; a derivative exists with respect to floating values only.\n  called at "
          "{}\n"
          "  Convert it with astype, or differentiate with respect to another argument.",
          i, types[i].type.str(), where.str());
  const Traced traced = trace("grad", where, types, function);
  if (traced.results.empty()) user_error("grad: the function returned nothing\n  called at {}", where.str());
  const Type& loss = traced.results[0]->type();
  if (loss.rank() != 0 || !is_float(loss.dtype))
    user_error(
        "grad: the function must return one floating number, but it returned {}.\n  called at {}\n  {}",
        loss.str(), where.str(),
        loss.rank() != 0 ? "Reduce it, with tn.sum or tn.mean, say." : "Convert it with astype.");

  const build::Closed closed = build::close(traced.parameters, traced.results);
  Graph graph;
  try {
    graph = tenfold::value_and_grad(*closed.graph, wrt);
  } catch (const UserError& error) {
    user_error("grad: {}\n  called at {}", error.what(), where.str());
  }
  Nodes nodes;
  for (const Operand& o : operands) nodes.push_back(node_of(o));
  nodes.insert(nodes.end(), closed.captured.begin(), closed.captured.end());
  const Nodes roots = build::call(graph, nodes);
  Tensors all = finish(roots, all_operands(operands, traced, where), where);
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(traced.results.size());
  return {Tensors(all.begin(), middle), Tensors(middle, all.end())};
}

Tensors vmap(const Function& function, const Tensors& arguments, const std::vector<BatchAxis>& in_axes,
             const std::function<BatchAxis(size_t)>& out_axis, Location where) {
  Operands operands;
  std::vector<ArgumentType> types;
  std::vector<bool> batched;
  std::optional<Dim> size;
  size_t first = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Operand argument(arguments[i], where);
    const BatchAxis axis = i < in_axes.size() ? in_axes[i] : BatchAxis();
    batched.push_back(axis.has_value());
    if (!axis) {
      operands.push_back(argument);
      types.push_back({arguments[i].type(), arguments[i].weak()});
      continue;
    }
    if (arguments[i].rank() == 0)
      user_error(
          "vmap: argument {} is {} and has no axis to go over.\n  called at {}\n  Give it the axis None to "
          "pass it whole.",
          i, arguments[i].type().str(), where.str());
    const int64_t along = normal_axis(*axis, arguments[i].rank(), "vmap", argument);
    const Dim extent = arguments[i].shape()[along];
    if (!size) {
      size = extent;
      first = i;
    } else if (!(*size == extent)) {
      user_error("vmap: the batch is {} in argument {} ({}) but {} in argument {} ({}).\n  called at {}",
                 size->str(), first, arguments[first].type().str(), extent.str(), i,
                 arguments[i].type().str(), where.str());
    }
    operands.emplace_back(along == 0 ? arguments[i] : moveaxis(argument, along, 0), where);
    Type type = operands.back().tensor().type();
    type.shape.erase(type.shape.begin());
    types.push_back({type, false});
  }
  if (!size)
    user_error("vmap: no argument has a batch axis, so there is nothing to go over.\n  called at {}",
               where.str());

  Traced traced = trace("vmap", where, types, function);
  for (size_t k = 0; k < traced.results.size(); ++k)  // plain numbers
    if (traced.weak[k] && traced.results[k]->dtype() == Dtype::f64)
      traced.results[k] = build::convert(traced.results[k], Dtype::f32);
  const build::Closed closed = build::close(traced.parameters, traced.results);
  batched.resize(closed.graph->parameters.size(), false);
  std::vector<bool> forced;
  for (size_t k = 0; k < traced.results.size(); ++k) forced.push_back(out_axis(k).has_value());
  BatchedGraph graph = batch_graph(*closed.graph, batched, *size, forced);
  Nodes nodes;
  for (const Operand& o : operands) nodes.push_back(node_of(o));
  nodes.insert(nodes.end(), closed.captured.begin(), closed.captured.end());
  const Nodes results = build::call(graph.graph, nodes);
  Tensors out = finish(results, all_operands(operands, traced, where), where);
  for (size_t k = 0; k < out.size(); ++k) {
    const BatchAxis axis = out_axis(k);
    if (!axis && graph.is_batched[k])
      user_error("vmap: result {} depends on the batch, so it cannot have the axis None.\n  called at {}", k,
                 where.str());
    if (axis && *axis != 0) out[k] = moveaxis({out[k], where}, 0, *axis);
  }
  return out;
}

ScanResult scan(const Function& body, const Operands& start, const Tensors& xs, const ScanOptions& options,
                Location where) {
  std::optional<Dim> length = options.length;
  for (size_t j = 0; j < xs.size(); ++j) {
    if (xs[j].rank() == 0)
      user_error("scan: xs {} is {} and has no rows to go over.\n  called at {}", j, xs[j].type().str(),
                 where.str());
    if (!length) length = xs[j].shape()[0];
    if (!(xs[j].shape()[0] == *length))
      user_error("scan: xs {} is {}, but the loop has {} steps; its first axis must be {}.\n  called at {}",
                 j, xs[j].type().str(), length->str(), length->str(), where.str());
  }
  if (!length)
    user_error(
        "scan: neither xs nor a length was given, so the number of steps is not known.\n  called at {}\n  "
        "Pass length=.",
        where.str());
  if (length->lower() < 0)
    user_error("scan: the length is {}; it must be at least 0.\n  called at {}", length->str(), where.str());

  std::vector<Dtype> dtypes;
  for (const Operand& o : start) dtypes.push_back(start_dtype(o));
  const Type step_type{Dtype::i64, {}};
  // A carry that starts as a plain number takes the dtype that the body returns: found by a first trace.
  for (int attempt = 0;; ++attempt) {
    const bool is_trial = attempt == 0 && std::ranges::any_of(start, is_weak);
    const Operands init = settled(start, dtypes);
    const Nodes init_nodes = start_nodes(init, dtypes);
    std::vector<ArgumentType> types{{step_type, false}};
    for (const ArgumentType& t : carry_types(start, init_nodes, is_trial)) types.push_back(t);
    for (const Tensor& x : xs) {
      Type row = x.type();
      row.shape.erase(row.shape.begin());
      types.push_back({row, false});
    }
    Traced traced = trace("scan", where, types, [&](const Tensors& in) {
      Tensors passed(in.begin() + 1, in.end());
      if (xs.empty()) passed.push_back(in[0]);
      return body(passed);
    });
    if (traced.results.size() < init.size())
      user_error("scan: the body returned {} values, but there are {} carries.\n  called at {}",
                 traced.results.size(), init.size(), where.str());
    if (is_trial) {
      learn_dtypes(start, traced, dtypes);
      continue;
    }
    for (size_t i = 0; i < init.size(); ++i) {
      const Type& enters = init_nodes[i]->type();
      traced.results[i] = settle_weak(traced.results[i], traced.weak[i], enters.dtype);
      const Type& next = traced.results[i]->type();
      if (!(next == enters)) carry_fails("scan", options.names, i, enters, next, where);
    }
    for (size_t k = init.size(); k < traced.results.size(); ++k)
      if (traced.weak[k] && traced.results[k]->dtype() == Dtype::f64)
        traced.results[k] = build::convert(traced.results[k], Dtype::f32);

    const build::Closed closed = build::close(traced.parameters, traced.results);
    Operands operands = init;
    Nodes rows;
    for (const Tensor& x : xs) {
      operands.emplace_back(x, where);
      rows.push_back(node_of(operands.back()));
    }
    const Nodes outputs = build::scan(closed.graph, init_nodes, rows, closed.captured, *length,
                                      options.reverse, options.checkpoint);
    Tensors all = finish(outputs, all_operands(operands, traced, where), where);
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(init.size());
    return {Tensors(all.begin(), middle), Tensors(middle, all.end())};
  }
}

namespace {

// Two bodies over the same parameters: each gets the captured nodes of both, those of the first in front.
struct Pair {
  GraphRef first, second;
  Nodes captured;
};

Pair close_pair(const Traced& a, const Traced& b) {
  const build::Closed first = build::close(a.parameters, a.results),
                      second = build::close(b.parameters, b.results);
  Pair pair;
  pair.captured = first.captured;
  for (const NodeRef& node : second.captured)
    if (std::ranges::find(pair.captured, node) == pair.captured.end()) pair.captured.push_back(node);
  const size_t own = a.parameters.size();
  const auto widen = [&](const build::Closed& closed) {
    auto graph = std::make_shared<Graph>();
    for (size_t i = 0; i < own; ++i) graph->parameters.push_back(closed.graph->parameters[i]);
    for (size_t i = 0; i < pair.captured.size(); ++i)
      graph->parameters.push_back(build::parameter(static_cast<int64_t>(own + i), pair.captured[i]->type()));
    std::vector<std::pair<NodeRef, NodeRef>> replace;
    for (size_t i = 0; i < closed.captured.size(); ++i) {
      const auto at = std::ranges::find(pair.captured, closed.captured[i]) - pair.captured.begin();
      replace.emplace_back(closed.graph->parameters[own + i], graph->parameters[own + at]);
    }
    graph->results = build::substitute(closed.graph->results, replace);
    return graph;
  };
  pair.first = widen(first);
  pair.second = widen(second);
  return pair;
}

void check_predicate(const Type& type, std::string_view what, Location where) {
  if (type.rank() == 0 && is_bool(type.dtype)) return;
  user_error("{} must be one bool, but it is {}.\n  called at {}\n  {}", what, type.str(), where.str(),
             type.rank() != 0 ? "Reduce it with tn.any or tn.all, or choose element by element with tn.where."
                              : "Compare it, as in x != 0.");
}

}  // namespace

Tensors while_loop(const Function& condition, const Function& body, const Operands& start,
                   const std::vector<std::string>& names, Location where) {
  std::vector<Dtype> dtypes;
  for (const Operand& o : start) dtypes.push_back(start_dtype(o));
  for (int attempt = 0;; ++attempt) {
    const bool is_trial = attempt == 0 && std::ranges::any_of(start, is_weak);
    const Operands init = settled(start, dtypes);
    const Nodes nodes = start_nodes(init, dtypes);
    const auto types = carry_types(start, nodes, is_trial);
    Traced step = trace("while_loop", where, types, body);
    if (step.results.size() != init.size())
      user_error("while_loop: the body returned {} values, but there are {} carries.\n  called at {}",
                 step.results.size(), init.size(), where.str());
    if (is_trial) {
      learn_dtypes(start, step, dtypes);
      continue;
    }
    for (size_t i = 0; i < init.size(); ++i) {
      const Type& enters = nodes[i]->type();
      step.results[i] = settle_weak(step.results[i], step.weak[i], enters.dtype);
      const Type& next = step.results[i]->type();
      if (!(next == enters)) carry_fails("while_loop", names, i, enters, next, where);
    }
    const Traced test = trace("while_loop", where, types, condition);
    if (test.results.size() != 1)
      user_error("while_loop: the condition must return one bool, but it returned {} values.\n  called at {}",
                 test.results.size(), where.str());
    check_predicate(test.results[0]->type(), "while_loop: the condition", where);
    const Pair pair = close_pair(test, step);
    Operands operands = all_operands(init, test, where);
    for (Operand& o : captured_operands(step, where)) operands.push_back(std::move(o));
    return finish(build::while_loop(pair.first, pair.second, nodes, pair.captured), operands, where);
  }
}

Tensors cond(const Operand& predicate, const Function& then, const Function& otherwise,
             const Tensors& arguments, Location where) {
  check_predicate({predicate.dtype(), predicate.shape()}, "cond: the predicate", where);
  Operands operands{{predicate.as_tensor(), where}};
  std::vector<ArgumentType> types;
  for (const Tensor& t : arguments) {
    operands.emplace_back(t, where);
    types.push_back({t.type(), t.weak()});
  }
  Traced yes = trace("cond", where, types, then), no = trace("cond", where, types, otherwise);
  if (yes.results.size() != no.results.size())
    user_error("cond: one branch returned {} values, the other {}.\n  called at {}", yes.results.size(),
               no.results.size(), where.str());
  for (size_t k = 0; k < yes.results.size(); ++k) {
    NodeRef &a = yes.results[k], &b = no.results[k];
    const auto plain = [](const NodeRef& node) {
      return node->dtype() == Dtype::f64 ? Dtype::f32 : node->dtype();
    };
    if (yes.weak[k] && no.weak[k])
      a = build::convert(a, plain(a)), b = build::convert(b, plain(b));
    else if (yes.weak[k])
      a = build::convert(a, b->dtype());
    else if (no.weak[k])
      b = build::convert(b, a->dtype());
    if (!(a->type() == b->type()))
      user_error(
          "cond: result {} is {} in one branch but {} in the other; both must return the same type.\n  "
          "called at {}",
          k, a->type().str(), b->type().str(), where.str());
  }
  const Pair pair = close_pair(yes, no);
  Nodes nodes;
  for (size_t i = 1; i < operands.size(); ++i) nodes.push_back(node_of(operands[i]));
  nodes.insert(nodes.end(), pair.captured.begin(), pair.captured.end());
  const NodeRef test = node_of(operands[0]);
  Operands all = all_operands(operands, yes, where);
  for (Operand& o : captured_operands(no, where)) all.push_back(std::move(o));
  return finish(build::cond(test, pair.first, pair.second, nodes), all, where);
}

}  // namespace tenfold::lang
