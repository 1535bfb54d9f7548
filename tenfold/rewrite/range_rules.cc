// What interval analysis decides.
#include <bit>
#include <cmath>

#include "tenfold/ir/build.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold::rewrite {
namespace {

using build::map;
using build::operator+;
using build::operator-;

Graph graph(Nodes parameters, NodeRef result) { return {std::move(parameters), {std::move(result)}, {}}; }

// A value that can only be one number. A float zero may be -0 or +0, so it does not count.
NodeRef decided(const NodeRef& n, Ranges& ranges) {
  if (n->prim->kind != Kind::map || is_complex(n->dtype()) || n->prim->expand) return {};
  const Range r = ranges.of(n);
  constexpr double kExact = 0x1p53;
  if (!r.is_point() || (is_float(n->dtype()) && r.low == 0) || std::abs(r.low) >= kExact) return {};
  if (is_float(n->dtype())) return build::full(Scalar(r.low), n->type());
  return build::full(Scalar(static_cast<int64_t>(r.low)), n->type());
}

std::vector<Graph> decided_examples(Dtype d) {
  if (!is_float(d) && !is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  auto full = [&](double v) { return build::full(Scalar(v), t); };
  const NodeRef small = map("minimum", {map("maximum", {x, full(1)}), full(5)});
  std::vector<Graph> all{graph({x}, map("less", {small, full(6)})),
                         graph({x}, map("equal", {small, full(0)})),
                         graph({x}, map("greater", {small, full(7)}))};
  if (d == Dtype::f32) {  // the whole part of a reduction: rounding to a large number leaves only that
    const NodeRef tiny = build::convert(
        map("bitwise_and", {build::convert(x, Dtype::i32), build::full(Scalar(1), {Dtype::i32, {9}})}), d);
    all.push_back(graph({x}, map("fma", {tiny, full(0.25), full(12582912)})));
  }
  return all;
}

// minimum(x, c) where x <= c anyway. Where both are equal they are the same, zeros excepted.
NodeRef redundant_bound(const NodeRef& n, Ranges& ranges) {
  const Prim& p = *n->prim;
  const bool lower = p.has("identity:highest"), upper = p.has("identity:lowest");
  if (p.kind != Kind::map || (!lower && !upper)) return {};
  for (int k = 0; k < 2; ++k) {
    const NodeRef &x = n->inputs[k], &bound = n->inputs[1 - k];
    const Range a = ranges.of(x), b = ranges.of(bound);
    if (b.nan || a.low > a.high) continue;
    const bool is_zero = is_float(n->dtype()) && a.low <= 0 && a.high >= 0 && b.low <= 0 && b.high >= 0;
    if (!is_zero && (lower ? a.high <= b.low : a.low >= b.high)) return x;
  }
  return {};
}

std::vector<Graph> bound_examples(Dtype d) {
  if (!is_float(d) && !is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  auto full = [&](double v) { return build::full(Scalar(v), t); };
  const NodeRef inside = map("minimum", {map("maximum", {x, full(1)}), full(5)});
  return {graph({x}, map("minimum", {inside, full(5)})), graph({x}, map("maximum", {full(1), inside}))};
}

// x & (2^k - 1) = x where 0 <= x < 2^k.
NodeRef redundant_mask(const NodeRef& n, Ranges& ranges) {
  if (n->prim->name != "bitwise_and" || !is_int(n->dtype())) return {};
  for (int k = 0; k < 2; ++k) {
    const auto mask = constant_of(n->inputs[1 - k]);
    if (!mask || !std::has_single_bit(mask->u() + 1)) continue;
    const Range r = ranges.of(n->inputs[k]);
    if (r.low >= 0 && r.high <= static_cast<double>(mask->u())) return n->inputs[k];
  }
  return {};
}

std::vector<Graph> mask_examples(Dtype d) {
  if (!is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  auto full = [&](int64_t v) { return build::full(Scalar(v), t); };
  return {graph({x}, map("bitwise_and", {map("bitwise_and", {x, full(5)}), full(7)}))};
}

NodeRef redundant_abs(const NodeRef& n, Ranges& ranges) {
  if (n->prim->name != "abs" || is_complex(n->inputs[0]->dtype())) return {};
  const Range r = ranges.of(n->inputs[0]);
  const bool positive = is_float(n->dtype()) ? r.low > 0 && !r.nan : r.low >= 0;
  return positive ? n->inputs[0] : NodeRef();
}

std::vector<Graph> abs_examples(Dtype d) {
  if (!is_float(d) && !is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  if (is_float(d))
    return {graph({}, map("abs", {build::convert(
                                     build::iota({9}, 0) + build::full(Scalar(1), {Dtype::i64, {9}}), d)}))};
  return {graph({x}, map("abs", {map("maximum", {x, build::full(Scalar(1), t)})}))};
}

const Procedure kRangeRules[] = {
    {"decided", decided, decided_examples, "known"},
    {"redundant_bound", redundant_bound, bound_examples, "one operation less"},
    {"redundant_mask", redundant_mask, mask_examples, "one operation less"},
    {"redundant_abs", redundant_abs, abs_examples, "one operation less"},
};

}  // namespace

std::span<const Procedure> range_rules() { return kRangeRules; }

}  // namespace tenfold::rewrite
