// Control: loops and branches over closed graphs. They have several outputs, which `item` projects.
//
//   scan  inputs  [initial carries, xs, consts]
//         body    [step: i64[], carries, one row of each xs, consts] -> [next carries, one row of each ys]
//         outputs [final carries, ys]
//   while inputs  [initial carries, consts]
//         cond    [carries, consts] -> a bool of shape P; each element of P runs until ITS condition is false
//         body    [carries, consts] -> [next carries], each of which has P as its leading dimensions
//   cond  inputs  [pred, operands]; pred is a bool of shape P, each element of which chooses for itself
//         then, otherwise  [operands] -> results, each of which has P as its leading dimensions
#include "tenfold/ir/control.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tenfold/ir/batch.h"
#include "tenfold/ir/build.h"
#include "tenfold/ir/differentiate.h"
#include "tenfold/ir/eval.h"

namespace tenfold {

ScanView::ScanView(const Node& scan) : ScanView(scan.attrs, scan.inputs) {}

ScanView::ScanView(const Attrs& attrs, std::span<const NodeRef> inputs) : body(attrs.graph("body")) {
  const auto carries = static_cast<size_t>(attrs.integer("carries")),
             rows = static_cast<size_t>(attrs.integer("xs"));
  init = inputs.subspan(0, carries);
  xs = inputs.subspan(carries, rows);
  consts = inputs.subspan(carries + rows);
  length = attrs.shape("length")[0];
  const auto option = [&](std::string_view name) { return attrs.find(name) ? attrs.integer(name) : 0; };
  reverse = option("reverse") != 0;
  checkpoint = option("checkpoint");
  const std::span<const NodeRef> parameters(body->parameters), results(body->results);
  carry_parameters = parameters.subspan(1, carries);
  row_parameters = parameters.subspan(1 + carries, rows);
  const_parameters = parameters.subspan(1 + carries + rows);
  next_carries = results.subspan(0, carries);
  ys = results.subspan(carries);
}

namespace {

using AttrType = AttrSpec::Type;
using Types = std::vector<Type>;
using Flags = std::vector<bool>;

constexpr std::string_view plural(size_t count) { return count == 1 ? "" : "s"; }

Shape without_front(const Shape& shape) { return {shape.begin() + 1, shape.end()}; }

bool starts_with(const Shape& shape, const Shape& prefix) {
  return shape.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), shape.begin());
}

bool any(const Flags& flags) { return std::find(flags.begin(), flags.end(), true) != flags.end(); }

// Row-major: the part of an array at one index of its leading dimension.
Array row_of(const Array& whole, int64_t index) {
  Array row(whole.dtype, {whole.shape.begin() + 1, whole.shape.end()});
  std::memcpy(row.bytes.data(), whole.bytes.data() + index * std::ssize(row.bytes), row.bytes.size());
  return row;
}

void put_row(Array& whole, int64_t index, const Array& row) {
  std::memcpy(whole.bytes.data() + index * std::ssize(row.bytes), row.bytes.data(), row.bytes.size());
}

// to = mask ? from : to, where the mask has the leading dimensions.
void put_where(const Array& mask, bool wanted, const Array& from, Array& to) {
  const int64_t blocks = mask.size();
  if (blocks == 0) return;
  const size_t bytes = to.bytes.size() / static_cast<size_t>(blocks);
  for (int64_t p = 0; p < blocks; ++p)
    if (mask.at(p).b() == wanted)
      std::memcpy(to.bytes.data() + p * static_cast<int64_t>(bytes),
                  from.bytes.data() + p * static_cast<int64_t>(bytes), bytes);
}

// scan

Types scan_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const int64_t carries = attrs.integer("carries"), rows = attrs.integer("xs");
  const Graph& graph = *attrs.graph("body");
  if (attrs.shape("length").size() != 1)
    user_error("scan: length is {}; it must be one extent, such as [16]", str(attrs.shape("length")));
  if (!provably_le(0, attrs.shape("length")[0]))
    user_error("scan: the length {} can be negative", attrs.shape("length")[0].str());
  if (carries < 0 || rows < 0 || carries > std::ssize(in) || rows > std::ssize(in) - carries)
    user_error("scan: {} carr{} and {} xs do not fit {} input{}", carries, carries == 1 ? "y" : "ies", rows,
               in.size(), plural(in.size()));
  if (graph.parameters.size() != in.size() + 1)
    user_error(
        "scan: the body takes {} parameter{}; for {} input{} it must take {}: the step (i64[]), then one for "
        "each input",
        graph.parameters.size(), plural(graph.parameters.size()), in.size(), plural(in.size()),
        in.size() + 1);
  if (std::ssize(graph.results) < carries)
    user_error(
        "scan: the body returns {} value{}, but there are {} carries; it must return each carry's next value "
        "first",
        graph.results.size(), plural(graph.results.size()), carries);
  if (graph.results.empty()) user_error("scan: the body returns nothing; give it a carry or an output");
  const ScanView scan(attrs, in);
  if (!(scan.step()->type() == Type{Dtype::i64, {}}))
    user_error("scan: the body's first parameter is the step and must be i64[], not {}",
               scan.step()->type().str());
  if (scan.checkpoint < 0)
    user_error("scan: checkpoint is {}; it must be 0 (none) or a number of steps", scan.checkpoint);

  Types types;
  for (size_t i = 0; i < scan.init.size(); ++i) {
    const Type &enters = scan.carry_parameters[i]->type(), &init = scan.init[i]->type(),
               &next = scan.next_carries[i]->type();
    if (!(init == enters))
      user_error("scan carry {} starts as {} but the body takes {}; they must be the same type", i,
                 init.str(), enters.str());
    if (!(next == enters))
      user_error(
          "scan carry {} enters as {} but the body returns {}; a carry keeps its type: convert or reshape "
          "the result, or start from {}",
          i, enters.str(), next.str(), next.str());
    types.push_back(enters);
  }
  for (size_t j = 0; j < scan.xs.size(); ++j) {
    const Type &x = scan.xs[j]->type(), &row = scan.row_parameters[j]->type();
    if (x.rank() == 0 || !(x.shape[0] == scan.length))
      user_error("scan xs {} is {}, but the loop has {} steps; its first dimension must be {}", j, x.str(),
                 scan.length.str(), scan.length.str());
    if (!(Type{x.dtype, without_front(x.shape)} == row))
      user_error("scan xs {} is {}, so its rows are {}, but the body takes {}", j, x.str(),
                 Type{x.dtype, without_front(x.shape)}.str(), row.str());
  }
  for (size_t k = 0; k < scan.consts.size(); ++k)
    if (!(scan.consts[k]->type() == scan.const_parameters[k]->type()))
      user_error("scan constant {} is {} but the body takes {}", k, scan.consts[k]->type().str(),
                 scan.const_parameters[k]->type().str());
  for (const NodeRef& y : scan.ys) types.push_back({y->dtype(), batched_shape(scan.length, y->shape())});
  return types;
}

void scan_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  const ScanView scan(node);
  const size_t carries = scan.init.size(), rows = scan.xs.size();
  const int64_t length = scan.length.value();
  std::vector<Array> arguments(in.size() + 1);
  for (size_t i = 0; i < in.size(); ++i)
    if (i < carries || i >= carries + rows) arguments[i + 1] = *in[i];
  for (int64_t t = 0; t < length; ++t) {
    const int64_t step = scan.reverse ? length - 1 - t : t;
    arguments[0] = Array(Dtype::i64, {});
    arguments[0].set(0, step);
    for (size_t j = 0; j < rows; ++j) arguments[1 + carries + j] = row_of(*in[carries + j], step);
    std::vector<Array> results = evaluate(*scan.body, arguments);
    for (size_t i = 0; i < carries; ++i) arguments[1 + i] = std::move(results[i]);
    for (size_t j = carries; j < results.size(); ++j) put_row(out[j], step, results[j]);
  }
  for (size_t i = 0; i < carries; ++i) out[i] = std::move(arguments[1 + i]);
}

NodeRef swapped_front(const NodeRef& x) {  // [a,b,...] to [b,a,...]
  Ints permutation(static_cast<size_t>(x->rank()));
  std::iota(permutation.begin(), permutation.end(), 0);
  std::swap(permutation[0], permutation[1]);
  return build::transpose(x, permutation);
}

// A carry is batched if its start is, or if the body makes it so: a fixpoint. Rows have the batch at their
// front, so the xs and ys have it at axis 1 inside.
std::vector<Batched> scan_batch(const Node& node, std::span<const Batched> in, const Dim& size) {
  const ScanView scan(node);
  const size_t carries = scan.init.size(), rows = scan.xs.size();
  Flags flags{false};
  for (const Batched& input : in) flags.push_back(input.batched);
  BatchedGraph body;
  for (bool changed = true; changed;) {
    Flags forced(scan.body->results.size(), false);
    std::copy_n(flags.begin() + 1, carries, forced.begin());
    body = batch_graph(*scan.body, flags, size, forced);
    changed = false;
    for (size_t i = 0; i < carries; ++i) {
      changed |= body.is_batched[i] != flags[1 + i];
      flags[1 + i] = body.is_batched[i];
    }
  }
  Nodes inputs;
  for (size_t i = 0; i < in.size(); ++i) {
    NodeRef input = flags[1 + i] ? with_batch(in[i], size) : in[i].node;
    inputs.push_back(flags[1 + i] && i >= carries && i < carries + rows ? swapped_front(input) : input);
  }
  Attrs attrs = node.attrs;
  attrs.set("body", std::make_shared<const Graph>(body.graph));
  std::vector<Batched> outputs;
  for (const NodeRef& output : build::items(make(*node.prim, std::move(inputs), attrs))) {
    const size_t k = outputs.size();
    const bool is_batched = body.is_batched[k];
    outputs.push_back({is_batched && k >= carries ? swapped_front(output) : output, is_batched});
  }
  return outputs;
}

// while

Types while_type(const Attrs& attrs, std::span<const NodeRef> in) {
  const int64_t carries = attrs.integer("carries");
  const Graph &cond = *attrs.graph("cond"), &body = *attrs.graph("body");
  if (carries < 1 || carries > std::ssize(in))
    user_error(
        "while: {} carries do not fit {} input{}; there must be at least one, and the inputs are [carries, "
        "constants]",
        carries, in.size(), plural(in.size()));
  for (const auto& [graph, whose] : {std::pair(&cond, "condition"), {&body, "body"}}) {
    if (graph->parameters.size() != in.size())
      user_error("while: the {} takes {} parameter{}, but there are {} input{}", whose,
                 graph->parameters.size(), plural(graph->parameters.size()), in.size(), plural(in.size()));
    for (size_t i = 0; i < in.size(); ++i)
      if (!(graph->parameters[i]->type() == in[i]->type()))
        user_error("while {} {} is {} but the {} takes {}",
                   static_cast<int64_t>(i) < carries ? "carry" : "constant",
                   static_cast<int64_t>(i) < carries ? i : i - static_cast<size_t>(carries),
                   in[i]->type().str(), whose, graph->parameters[i]->type().str());
  }
  if (cond.results.size() != 1 || cond.results[0]->dtype() != Dtype::boolean)
    user_error("while: the condition must return one bool{}",
               cond.results.size() == 1 ? ", not " + cond.results[0]->type().str() : "");
  if (std::ssize(body.results) != carries)
    user_error(
        "while: the body returns {} value{}, but there are {} carries; it must return the next value of each",
        body.results.size(), plural(body.results.size()), carries);
  const Shape& each = cond.results[0]->shape();
  Types types;
  for (size_t i = 0; i < body.results.size(); ++i) {
    const Type &enters = in[i]->type(), &next = body.results[i]->type();
    if (!(enters == next))
      user_error(
          "while carry {} enters as {} but the body returns {}; a carry keeps its type: convert or reshape "
          "the result, or start from {}",
          i, enters.str(), next.str(), next.str());
    if (!starts_with(enters.shape, each))
      user_error(
          "while carry {} is {}, but the condition is bool{}: every carry must have {} as its leading "
          "dimensions, or the condition must be one bool",
          i, enters.str(), str(each), str(each));
    types.push_back(enters);
  }
  return types;
}

void while_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  const Graph &cond = *node.attrs.graph("cond"), &body = *node.attrs.graph("body");
  std::vector<Array> arguments;
  for (const Array* x : in) arguments.push_back(*x);
  while (true) {
    const Array go = std::move(evaluate(cond, arguments)[0]);
    if (std::none_of(go.bytes.begin(), go.bytes.end(), [](std::byte b) { return b != std::byte{0}; })) break;
    const std::vector<Array> next = evaluate(body, arguments);
    for (size_t i = 0; i < next.size(); ++i) put_where(go, true, next[i], arguments[i]);
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::move(arguments[i]);
}

// Once the condition is batched (or already has dimensions, which must stay in front) every carry is.
std::vector<Batched> while_batch(const Node& node, std::span<const Batched> in, const Dim& size) {
  const Graph &cond = *node.attrs.graph("cond"), &body = *node.attrs.graph("body");
  const auto carries = static_cast<size_t>(node.attrs.integer("carries"));
  Flags flags;
  for (const Batched& input : in) flags.push_back(input.batched);
  const bool has_dims = cond.results[0]->rank() > 0;
  BatchedGraph batched_cond, batched_body;
  for (bool changed = true; changed;) {
    batched_cond = batch_graph(cond, flags, size, {has_dims});
    if (batched_cond.is_batched[0]) std::fill_n(flags.begin(), carries, true);
    batched_body =
        batch_graph(body, flags, size, Flags(flags.begin(), flags.begin() + static_cast<int64_t>(carries)));
    changed = false;
    for (size_t i = 0; i < carries; ++i) {
      changed |= batched_body.is_batched[i] != flags[i];
      flags[i] = batched_body.is_batched[i];
    }
    changed |= !batched_cond.is_batched[0] && batch_graph(cond, flags, size).is_batched[0];
  }
  batched_cond = batch_graph(cond, flags, size, {has_dims});
  Nodes inputs;
  for (size_t i = 0; i < in.size(); ++i) inputs.push_back(flags[i] ? with_batch(in[i], size) : in[i].node);
  Attrs attrs = node.attrs;
  attrs.set("cond", std::make_shared<const Graph>(batched_cond.graph));
  attrs.set("body", std::make_shared<const Graph>(batched_body.graph));
  std::vector<Batched> outputs;
  for (const NodeRef& output : build::items(make(*node.prim, std::move(inputs), attrs)))
    outputs.push_back({output, flags[outputs.size()]});
  return outputs;
}

// cond

Types cond_type(const Attrs& attrs, std::span<const NodeRef> in) {
  if (in.empty()) user_error("cond: the predicate is missing");
  const Type& pred = in[0]->type();
  if (pred.dtype != Dtype::boolean)
    user_error("cond: the predicate is {}; it must be bool (compare it with something)", pred.str());
  const Graph &then = *attrs.graph("then"), &otherwise = *attrs.graph("otherwise");
  for (const auto& [graph, whose] : {std::pair(&then, "then"), {&otherwise, "otherwise"}}) {
    if (graph->parameters.size() != in.size() - 1)
      user_error("cond: the branch '{}' takes {} parameter{}, but there are {} operand{}", whose,
                 graph->parameters.size(), plural(graph->parameters.size()), in.size() - 1,
                 plural(in.size() - 1));
    for (size_t i = 1; i < in.size(); ++i)
      if (!(graph->parameters[i - 1]->type() == in[i]->type()))
        user_error("cond: operand {} is {} but the branch '{}' takes {}", i - 1, in[i]->type().str(), whose,
                   graph->parameters[i - 1]->type().str());
  }
  if (then.results.size() != otherwise.results.size())
    user_error(
        "cond: the branch 'then' returns {} value{} and the branch 'otherwise' {}; they must return the same "
        "types",
        then.results.size(), plural(then.results.size()), otherwise.results.size());
  if (then.results.empty()) user_error("cond: the branches return nothing");
  Types types;
  for (size_t k = 0; k < then.results.size(); ++k) {
    const Type &a = then.results[k]->type(), &b = otherwise.results[k]->type();
    if (!(a == b))
      user_error(
          "cond: result {} is {} from the branch 'then' but {} from the branch 'otherwise'; they must be the "
          "same type",
          k, a.str(), b.str());
    if (!starts_with(a.shape, pred.shape))
      user_error(
          "cond: result {} is {}, but the predicate is {}: every result must have {} as its leading "
          "dimensions, or the predicate must be one bool",
          k, a.str(), pred.str(), str(pred.shape));
    types.push_back(a);
  }
  return types;
}

void cond_reference(const Node& node, std::span<const Array* const> in, std::span<Array> out) {
  const Graph &then = *node.attrs.graph("then"), &otherwise = *node.attrs.graph("otherwise");
  std::vector<Array> arguments;
  for (size_t i = 1; i < in.size(); ++i) arguments.push_back(*in[i]);
  const auto give = [&](const Graph& branch, bool wanted) {
    const std::vector<Array> results = evaluate(branch, arguments);
    for (size_t k = 0; k < out.size(); ++k) put_where(*in[0], wanted, results[k], out[k]);
  };
  const auto some = [&](bool wanted) {
    for (int64_t p = 0; p < in[0]->size(); ++p)
      if (in[0]->at(p).b() == wanted) return true;
    return false;
  };
  if (some(true)) give(then, true);
  if (some(false)) give(otherwise, false);
}

Nodes cond_expand(const Node& node, std::span<const NodeRef> in) {
  const Nodes operands(in.begin() + 1, in.end());
  const Nodes then = build::call(*node.attrs.graph("then"), operands),
              otherwise = build::call(*node.attrs.graph("otherwise"), operands);
  Ints axes(in[0]->shape().size());
  std::iota(axes.begin(), axes.end(), 0);
  Nodes results;
  for (size_t k = 0; k < then.size(); ++k)
    results.push_back(then[k] == otherwise[k] ? then[k]
                                              : build::select(build::broadcast(in[0], then[k]->shape(), axes),
                                                              then[k], otherwise[k]));
  return results;
}

std::vector<Batched> cond_batch(const Node& node, std::span<const Batched> in, const Dim& size) {
  const Graph &then = *node.attrs.graph("then"), &otherwise = *node.attrs.graph("otherwise");
  Flags flags;
  for (size_t i = 1; i < in.size(); ++i) flags.push_back(in[i].batched);
  const bool is_each = in[0].batched || in[0].node->rank() > 0;
  Flags forced(then.results.size(), is_each);
  if (!is_each) {  // what one branch batches, the other must
    const BatchedGraph a = batch_graph(then, flags, size), b = batch_graph(otherwise, flags, size);
    for (size_t k = 0; k < forced.size(); ++k) forced[k] = a.is_batched[k] || b.is_batched[k];
  }
  Attrs attrs;
  attrs.set("then", std::make_shared<const Graph>(batch_graph(then, flags, size, forced).graph));
  attrs.set("otherwise", std::make_shared<const Graph>(batch_graph(otherwise, flags, size, forced).graph));
  Nodes inputs{is_each ? with_batch(in[0], size) : in[0].node};
  for (size_t i = 1; i < in.size(); ++i) inputs.push_back(in[i].node);
  std::vector<Batched> outputs;
  for (const NodeRef& output : build::items(make(*node.prim, std::move(inputs), attrs)))
    outputs.push_back({output, forced[outputs.size()]});
  return outputs;
}

// With one predicate the derivative is a cond too, so that the branch not taken can give no NaN. With many it
// is that of the expansion (a null result asks for it): an operand they share gets a sum over them.
Nodes cond_vjp(const NodeRef& y, std::span<const NodeRef> dy) {
  const Nodes& in = y->inputs;
  if (in[0]->rank() > 0) return pullback_of_expansion(y, dy);
  Flags given, wrt(in.size() - 1, true);
  Nodes operands(in.begin() + 1, in.end());
  for (const NodeRef& d : dy) {
    given.push_back(static_cast<bool>(d));
    if (d) operands.push_back(d);
  }
  const Graph &then = *y->attrs.graph("then"), &otherwise = *y->attrs.graph("otherwise");
  const PullbackGraph a = pullback_graph(then, given, wrt), b = pullback_graph(otherwise, given, wrt);
  Flags used(wrt.size());
  for (size_t i = 0; i < used.size(); ++i) used[i] = a.is_used[i] || b.is_used[i];
  Nodes cotangents(in.size());
  if (!any(used)) return cotangents;
  const Nodes outputs =
      build::cond(in[0], std::make_shared<const Graph>(pullback_graph(then, given, wrt, used).graph),
                  std::make_shared<const Graph>(pullback_graph(otherwise, given, wrt, used).graph), operands);
  for (size_t i = 0, k = 0; i < used.size(); ++i)
    if (used[i]) cotangents[i + 1] = outputs[k++];
  return cotangents;
}

const Prim kPrims[] = {
    {
        .name = "scan",
        .doc = "A loop of `length` steps. The body takes the step (i64[]), the carries, one row of each xs "
               "and the constants, and returns the next "
               "carries and one row of each output. Gives the final carries, then the outputs with the steps "
               "along their first dimension.",
        .kind = Kind::control,
        .arity = -1,
        .attributes = {{"body", AttrType::graph, "one step"},
                       {"carries", AttrType::integer, "how many inputs are initial carries"},
                       {"xs", AttrType::integer, "how many inputs after them are read row by row"},
                       {"length", AttrType::shape, "the number of steps, as a shape of one extent"},
                       {"reverse", AttrType::integer,
                        "1: from the last step to the first, each at its own row", true},
                       {"checkpoint", AttrType::integer,
                        "n: the derivative stores the carries of every nth step and computes the others "
                        "anew; 0: stores all",
                        true}},
        .type = scan_type,
        .reference = scan_reference,
        .vjp = scan_vjp,
        .batch = scan_batch,
    },
    {
        .name = "while",
        .doc = "Applies the body to the carries as long as the condition holds. A condition with dimensions "
               "holds for each of its elements alone: the "
               "carries of an element stay as they are once its condition is false.",
        .kind = Kind::control,
        .arity = -1,
        .attributes = {{"cond", AttrType::graph, "of the carries and constants: goes on where it is true"},
                       {"body", AttrType::graph, "of the carries and constants: the next carries"},
                       {"carries", AttrType::integer, "how many inputs are initial carries"}},
        .type = while_type,
        .reference = while_reference,
        .vjp = [](const NodeRef&, std::span<const NodeRef>) -> Nodes {
          user_error(
              "while has no reverse-mode derivative: its number of steps is known only when it ends, so its "
              "carries cannot be stored; "
              "use scan with a fixed length (and select to keep the carries of finished elements)");
        },
        .batch = while_batch,
    },
    {
        .name = "cond",
        .doc = "The results of one of two branches. A predicate with dimensions chooses for each of its "
               "elements alone.",
        .kind = Kind::control,
        .arity = -1,
        .attributes = {{"then", AttrType::graph, "of the operands: where the predicate is true"},
                       {"otherwise", AttrType::graph, "of the operands: where it is false"}},
        .type = cond_type,
        .reference = cond_reference,
        .vjp = cond_vjp,
        .batch = cond_batch,
        .expand = cond_expand,
    },
    {
        .name = "item",
        .doc = "One output of a primitive with several.",
        .kind = Kind::control,
        .arity = 1,
        .attributes = {{"index", AttrType::integer, "which one"}},
        .type =
            [](const Attrs& attrs, std::span<const NodeRef> in) {
              const int64_t k = attrs.integer("index");
              const Types& types = in[0]->types;
              if (types.size() == 1)
                user_error("item: {} has one output and needs no item", in[0]->prim->name);
              if (k < 0 || k >= std::ssize(types))
                user_error("item: {} has no output {}; its outputs are 0 to {}", in[0]->prim->name, k,
                           std::ssize(types) - 1);
              return Types{types[static_cast<size_t>(k)]};
            },
        .cost = 0,
        .properties = {"projection"},
    },
};
const Family kFamily{kPrims};

}  // namespace
}  // namespace tenfold
