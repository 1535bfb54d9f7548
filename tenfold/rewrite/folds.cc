// Constants are computed, and integer arithmetic in shifts and masks is resolved. Overflow is excluded by
// ranges where it matters.
#include <bit>
#include <cmath>

#include "tenfold/ir/build.h"
#include "tenfold/rewrite/rule.h"

namespace tenfold::rewrite {
namespace {

using build::map;
using build::operator+;
using build::operator*;

NodeRef full(const Scalar& v, const Type& t) { return build::full(v, t); }
bool is(const NodeRef& n, std::string_view name) {
  return n->prim->name == name;
}  // rules name what they are rules of

Graph graph(Nodes parameters, NodeRef result) { return {std::move(parameters), {std::move(result)}, {}}; }

// ---- constants

NodeRef fold_constants(const NodeRef& n, Ranges&) {
  const Prim& p = *n->prim;
  if (p.kind != Kind::map || !p.eval || n->inputs.empty()) return {};
  std::vector<Scalar> values;
  std::vector<Dtype> dtypes;
  for (const NodeRef& i : n->inputs) {
    const std::optional<Scalar> c = constant_of(i);
    if (!c) return {};
    values.push_back(*c);
    dtypes.push_back(i->dtype());
  }
  // A composed primitive is computed by its expansion, so that folding does not change a bit; it gets here
  // again when expanded.
  if (p.expand) return {};
  dtypes.push_back(n->dtype());
  return full(p.eval(n->attrs, values, dtypes), n->type());
}

std::vector<Graph> constants_examples(Dtype d) {
  if (is_bool(d) || is_complex(d)) return {};
  const Type t{d, {3}};
  const NodeRef a = full(Scalar(5), t), b = full(Scalar(2), t);
  return {graph({}, a * b), graph({}, map("less", {a, b})), graph({}, build::convert(a, Dtype::i8))};
}

// a * b + z with an exact product: z, or one addition.
NodeRef fold_fma(const NodeRef& n, Ranges&) {
  if (!is(n, "fma")) return {};
  const auto a = constant_of(n->inputs[0]), b = constant_of(n->inputs[1]);
  if (!a || !b) return {};
  const double product = a->f() * b->f();
  const bool exact =
      std::fma(a->f(), b->f(), -product) == 0 && Scalar(product).round_to(n->dtype()).f() == product;
  const bool tiny = product != 0 && std::abs(product) < 0x1p-1000;  // the test itself may underflow
  if (!exact || tiny || !std::isfinite(product)) return {};
  return n->inputs[2] + full(product, n->type());
}

std::vector<Graph> fma_examples(Dtype d) {
  if (!is_float(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  return {graph({x}, map("fma", {full(0.0, t), full(-1.5, t), x})),
          graph({x}, map("fma", {full(2.0, t), full(1.5, t), x}))};
}

// ---- integers: sums with a constant, c + x m where m is a power of two

struct Sum {
  NodeRef x;  // null: 0
  int64_t plus = 0;
};
std::optional<Sum> sum_of(const NodeRef& n) {
  if (!is_int(n->dtype())) return {};
  for (int k = 0; k < 2 && is(n, "add"); ++k)
    if (const auto c = constant_of(n->inputs[1 - k])) return Sum{n->inputs[k], c->i()};
  if (is(n, "sub"))
    if (const auto c = constant_of(n->inputs[1])) return Sum{n->inputs[0], static_cast<int64_t>(0 - c->u())};
  return {};
}

// (x + a) + b = x + (a + b): integers wrap, so this always holds.
NodeRef join_sums(const NodeRef& n, Ranges&) {
  const auto outer = sum_of(n);
  if (!outer) return {};
  const auto inner = sum_of(outer->x);
  if (!inner) return {};
  const auto plus =
      static_cast<int64_t>(static_cast<uint64_t>(outer->plus) + static_cast<uint64_t>(inner->plus));
  return inner->x + full(Scalar(plus), n->type());
}

std::vector<Graph> sums_examples(Dtype d) {
  if (!is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t);
  return {graph({x}, (x + full(Scalar(100), t)) + full(Scalar(99), t)),
          graph({x}, map("sub", {x + full(Scalar(5), t), full(Scalar(7), t)}))};
}

// x as factor * 2^bits, or null.
struct Multiple {
  NodeRef x;
  int bits = 0;
  int64_t rest = 1;  // the odd part of the constant
};
std::optional<Multiple> multiple_of(const NodeRef& n) {
  if (is(n, "shift_left"))
    if (const auto c = constant_of(n->inputs[1])) {
      const auto width = static_cast<uint64_t>(8 * size_of(n->dtype()));
      return Multiple{n->inputs[0], static_cast<int>(c->u() % width), 1};
    }
  for (int k = 0; k < 2 && is(n, "mul"); ++k)
    if (const auto c = constant_of(n->inputs[1 - k])) {
      if (c->u() == 0) return {};
      const int bits = std::countr_zero(c->u());
      return Multiple{n->inputs[k], bits, c->i() >> bits};
    }
  return {};
}

// n as multiple + constant.
std::optional<std::pair<Multiple, int64_t>> linear(const NodeRef& n) {
  if (!is_int(n->dtype())) return {};
  if (const auto m = multiple_of(n)) return std::pair{*m, int64_t{0}};
  if (const auto s = sum_of(n))
    if (const auto m = multiple_of(s->x)) return std::pair{*m, s->plus};
  return {};
}

bool fits(const NodeRef& n, const Range& r) {
  const Range all = Range::all(n->dtype());
  constexpr double kSure = 0x1p53;
  return r.low >= std::max(all.low, -kSure) && r.high <= std::min(all.high, kSure);
}

// (x 2^a r + c) >> b = x 2^(a-b) r + (c >> b) for a >= b, where nothing overflows.
NodeRef shift_of_multiple(const NodeRef& n, Ranges& ranges) {
  if (!is(n, "shift_right")) return {};
  const auto count = constant_of(n->inputs[1]);
  const auto l = linear(n->inputs[0]);
  if (!count || !l) return {};
  const auto& [m, plus] = *l;
  const int64_t b = count->i(), width = 8 * size_of(n->dtype());
  if (b < 0 || b >= width || m.bits < b || m.bits >= 31 || std::abs(m.rest) > (1 << 20)) return {};
  if (is_unsigned_int(n->dtype()) && (plus < 0 || m.rest < 0)) return {};
  const Range x = ranges.of(m.x);
  const double factor = std::ldexp(static_cast<double>(m.rest), m.bits);
  const double ends[] = {x.low * factor, x.high * factor, x.low * factor + static_cast<double>(plus),
                         x.high * factor + static_cast<double>(plus)};
  for (double e : ends)
    if (!fits(n, {e, e, false})) return {};
  const int64_t scale = m.rest << (m.bits - b);
  return (scale == 1 ? m.x : m.x * full(Scalar(scale), n->type())) + full(Scalar(plus >> b), n->type());
}

// (x 2^a r + c) & mask = c & mask where the mask is below 2^a: the multiple has no such bits, overflow or
// not.
NodeRef mask_of_multiple(const NodeRef& n, Ranges&) {
  if (!is(n, "bitwise_and") || !is_int(n->dtype())) return {};
  for (int k = 0; k < 2; ++k) {
    const auto mask = constant_of(n->inputs[1 - k]);
    const auto l = linear(n->inputs[k]);
    if (!mask || !l) continue;
    const uint64_t bits = mask->u();
    if (l->first.bits >= 64 || bits >> l->first.bits != 0) continue;
    return full(Scalar(static_cast<int64_t>(static_cast<uint64_t>(l->second) & bits)), n->type());
  }
  return {};
}

std::vector<Graph> shift_examples(Dtype d) {
  if (!is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = map("bitwise_and", {build::parameter(0, t), full(Scalar(15), t)});
  auto shifted = [&](const NodeRef& v, int64_t by) { return map("shift_right", {v, full(Scalar(by), t)}); };
  const NodeRef p = build::parameter(0, t), four = x * full(Scalar(4), t);
  std::vector<Graph> all{
      graph({p}, shifted(four + full(Scalar(3), t), 2)), graph({p}, shifted(four, 1)),
      graph({p}, shifted(map("shift_left", {x, full(Scalar(2), t)}) + full(Scalar(1), t), 2))};
  if (is_signed_int(d)) all.push_back(graph({p}, shifted(four + full(Scalar(-7), t), 2)));
  return all;
}
std::vector<Graph> mask_examples(Dtype d) {
  if (!is_int(d)) return {};
  const Type t{d, {9}};
  const NodeRef x = build::parameter(0, t), four = x * full(Scalar(4), t);
  return {graph({x}, map("bitwise_and", {four + full(Scalar(3), t), full(Scalar(3), t)})),
          graph({x}, map("bitwise_and", {four, full(Scalar(2), t)}))};
}

// ---- conversions

// Whether every value of `from` is held by `to`.
bool is_lossless(Dtype from, Dtype to) {
  if (from == to || is_bool(from)) return true;
  if (is_complex(to)) return is_complex(from) ? size_of(from) <= size_of(to) : is_lossless(from, real_of(to));
  if (is_complex(from)) return false;
  auto digits = [](Dtype d) -> int64_t {
    if (is_int(d)) return 8 * size_of(d) - (is_signed_int(d) ? 1 : 0);
    return d == Dtype::f64 ? 53 : d == Dtype::f32 ? 24 : d == Dtype::f16 ? 11 : 8;
  };
  if (is_float(to))
    return is_float(from) ? to == Dtype::f64 || (to == Dtype::f32 && from != Dtype::f64)
                          : digits(from) <= digits(to) && to != Dtype::f16;
  if (is_float(from) || (is_signed_int(from) && is_unsigned_int(to))) return false;
  return digits(from) <= digits(to) && !is_bool(to);
}

// convert(convert(x)) = convert(x) where the first step loses nothing, or both only drop high bits.
NodeRef join_conversions(const NodeRef& n, Ranges&) {
  if (!is(n, "convert")) return {};
  const NodeRef& inner = n->inputs[0];
  if (n->dtype() == inner->dtype()) return inner;
  if (!is(inner, "convert")) return {};
  const NodeRef& x = inner->inputs[0];
  const bool drops_bits = is_int(x->dtype()) && is_int(inner->dtype()) && is_int(n->dtype()) &&
                          size_of(n->dtype()) <= size_of(inner->dtype());
  // To a narrow float, an integer goes by way of f32: skipping a step could round differently.
  const bool rounds_twice = is_int(x->dtype()) && (n->dtype() == Dtype::f16 || n->dtype() == Dtype::bf16);
  if (!drops_bits && (!is_lossless(x->dtype(), inner->dtype()) || rounds_twice)) return {};
  // A float saturates where an integer wraps.
  if (is_int(x->dtype()) && is_inexact(inner->dtype()) && is_int(n->dtype()) &&
      !is_lossless(x->dtype(), n->dtype()))
    return {};
  return build::convert(x, n->dtype());
}

NodeRef join_bitcasts(const NodeRef& n, Ranges&) {
  if (!is(n, "bitcast")) return {};
  NodeRef x = n->inputs[0];
  if (n->dtype() == x->dtype()) return x;
  if (!is(x, "bitcast") || !is_int(x->dtype())) return {};  // a float on the way may lose which NaN it is
  return make("bitcast", {x->inputs[0]}, n->attrs);
}

std::vector<Graph> conversion_examples(Dtype d) {
  std::vector<Graph> all;
  const NodeRef x = build::parameter(0, {d, {9}});
  for (int a = 0; a < kDtypeCount; ++a)
    for (int b = 0; b < kDtypeCount; ++b)
      all.push_back(graph({x}, make("convert", {make("convert", {x}, {{"dtype", static_cast<Dtype>(a)}})},
                                    {{"dtype", static_cast<Dtype>(b)}})));
  return all;
}
std::vector<Graph> bitcast_examples(Dtype d) {
  std::vector<Graph> all;
  const NodeRef x = build::parameter(0, {d, {9}});
  for (int a = 1; a < kDtypeCount; ++a)
    for (int b = 0; b < kDtypeCount; ++b)
      if (size_of(static_cast<Dtype>(a)) == size_of(d) && size_of(static_cast<Dtype>(b)) == size_of(d))
        all.push_back(graph({x}, make("bitcast", {make("bitcast", {x}, {{"dtype", static_cast<Dtype>(a)}})},
                                      {{"dtype", static_cast<Dtype>(b)}})));
  return all;
}

const Procedure kFolds[] = {
    {"fold_constants", fold_constants, constants_examples, "known before the program runs"},
    {"fold_fma", fold_fma, fma_examples, "an addition, or nothing"},
    {"join_sums", join_sums, sums_examples, "one operation less"},
    {"shift_of_multiple", shift_of_multiple, shift_examples,
     "a shift less; steps that share a random block get the same block number"},
    {"mask_of_multiple", mask_of_multiple, mask_examples, "known"},
    {"join_conversions", join_conversions, conversion_examples, "one operation less"},
    {"join_bitcasts", join_bitcasts, bitcast_examples, "one node less"},
};

}  // namespace

std::span<const Procedure> folds() { return kFolds; }

}  // namespace tenfold::rewrite
