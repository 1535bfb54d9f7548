// Loops with several copies of their body per step, so that copies can share work: four words of one random
// block, say.
#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

using build::operator+;
using build::operator*;

NodeRef number(int64_t v) { return build::constant(Scalar(v), Dtype::i64); }

Shape with_front(const Dim& front, const Shape& shape, size_t dropped = 0) {
  Shape s{front};
  s.insert(s.end(), shape.begin() + static_cast<std::ptrdiff_t>(dropped), shape.end());
  return s;
}

Type row_type(const Type& whole) { return {whole.dtype, Shape(whole.shape.begin() + 1, whole.shape.end())}; }

struct Loop {
  const ScanView& view;
  Attrs attrs;  // of the scan: what is not changed here is kept
};

// `copies` copies of the body as one; rows of the xs and ys come in groups of that many. The step counts
// groups, from `first` steps on.
Nodes grouped(const Loop& loop, const Nodes& init, const Nodes& xs, const Dim& groups, int64_t copies,
              const Dim& first) {
  const ScanView& view = loop.view;
  Nodes parameters{build::parameter(0, {Dtype::i64, {}})};
  auto add = [&](const Type& t) {
    parameters.push_back(build::parameter(static_cast<int64_t>(parameters.size()), t));
    return parameters.back();
  };
  Nodes carries, rows, consts;
  for (const NodeRef& c : init) carries.push_back(add(c->type()));
  for (const NodeRef& x : xs) rows.push_back(add(row_type(x->type())));
  for (const NodeRef& c : view.consts) consts.push_back(add(c->type()));
  std::vector<Nodes> ys(view.ys.size(), Nodes(static_cast<size_t>(copies)));
  for (int64_t n = 0; n < copies; ++n) {
    const int64_t low = view.reverse ? copies - 1 - n : n;
    NodeRef step = copies == 1 ? parameters[0] : parameters[0] * number(copies) + number(low);
    if (first != Dim(0)) step = step + build::extent(first);
    Nodes arguments{step};
    arguments.insert(arguments.end(), carries.begin(), carries.end());
    for (const NodeRef& r : rows)
      arguments.push_back(build::reshape(build::slice_axis(r, 0, low, low + 1),
                                         Shape(r->shape().begin() + 1, r->shape().end())));
    arguments.insert(arguments.end(), consts.begin(), consts.end());
    const Nodes results = build::call(*view.body, arguments);
    carries.assign(results.begin(), results.begin() + static_cast<std::ptrdiff_t>(init.size()));
    for (size_t k = 0; k < ys.size(); ++k) {
      const NodeRef& y = results[init.size() + k];
      ys[k][static_cast<size_t>(low)] = build::reshape(y, with_front(1, y->shape()));
    }
  }
  Nodes results = carries;
  for (const Nodes& y : ys) results.push_back(y.size() == 1 ? y[0] : build::concatenate(y, 0));
  Nodes inputs = init;
  inputs.insert(inputs.end(), xs.begin(), xs.end());
  inputs.insert(inputs.end(), view.consts.begin(), view.consts.end());
  Attrs attrs = loop.attrs;
  attrs.set("body", std::make_shared<const Graph>(Graph{parameters, results, {}}));
  attrs.set("length", Shape{groups});
  Nodes outputs = build::items(make("scan", std::move(inputs), attrs));
  for (size_t k = init.size(); k < outputs.size(); ++k) {  // groups of rows to rows
    const Shape& s = outputs[k]->shape();
    outputs[k] = build::reshape(outputs[k], with_front(groups * copies, s, 2));
  }
  return outputs;
}

// Rows [begin, begin + groups * copies) in groups.
Nodes group_rows(std::span<const NodeRef> xs, const Dim& begin, const Dim& groups, int64_t copies) {
  Nodes out;
  for (const NodeRef& x : xs) {
    const NodeRef part = build::slice_axis(x, 0, begin, begin + groups * copies);
    Shape s = with_front(groups, x->shape());
    s[1] = copies;
    out.push_back(build::reshape(part, s));
  }
  return out;
}

}  // namespace

Nodes unroll(const NodeRef& scan, int64_t n) {
  const ScanView view(*scan);
  const Loop loop{view, scan->attrs};
  const Dim groups = floordiv(view.length, n), rest = mod(view.length, n), main = groups * n;
  const Nodes init(view.init.begin(), view.init.end());
  if (rest == Dim(0)) return grouped(loop, init, group_rows(view.xs, 0, groups, n), groups, n, 0);
  // The last steps stand in a loop of their own, which comes first where the loop runs backwards.
  const size_t carries = init.size();
  auto most = [&](const Nodes& from) {
    return grouped(loop, from, group_rows(view.xs, 0, groups, n), groups, n, 0);
  };
  auto last = [&](const Nodes& from) {
    return grouped(loop, from, group_rows(view.xs, main, rest, 1), rest, 1, main);
  };
  const Nodes one = view.reverse ? last(init) : most(init);
  const Nodes between(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(carries));
  const Nodes two = view.reverse ? most(between) : last(between);
  Nodes outputs(two.begin(), two.begin() + static_cast<std::ptrdiff_t>(carries));
  for (size_t k = carries; k < two.size(); ++k)
    outputs.push_back(build::concatenate(view.reverse ? Nodes{two[k], one[k]} : Nodes{one[k], two[k]}, 0));
  return outputs;
}

}  // namespace tenfold
