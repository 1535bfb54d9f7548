// Every rule is tested without being named: both sides on random inputs and special values, in every dtype it
// takes.
#include <cmath>
#include <ctime>
#include <limits>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "tenfold/ir/build.h"
#include "tenfold/ir/control.h"
#include "tenfold/ir/eval.h"
#include "tenfold/rewrite/engine.h"
#include "tenfold/rewrite/rule.h"
#include "tenfold/rewrite/simplify.h"

namespace tenfold {
namespace {

using build::map;
using build::operator+;
using build::operator-;
using build::operator*;
using rewrite::Procedure;
using rewrite::Ranges;
using rewrite::Rule;

constexpr Dtype dtype_at(int k) { return static_cast<Dtype>(k); }

Scalar random_scalar(std::mt19937_64& rng, Dtype d) {
  if (is_bool(d)) return rng() % 2 == 0;
  auto real = [&]() -> double {
    const double special[] = {0.0, -0.0,  1,     -1,   2,         0.5, INFINITY, -INFINITY,
                              NAN, 1e-40, 65504, 1e30, 0x1p-1074, 3,   -7.25};
    if (rng() % 3 == 0) return special[rng() % std::size(special)];
    return std::ldexp(static_cast<double>(rng() >> 11) * 0x1p-52 - 1, static_cast<int>(rng() % 12) - 4);
  };
  if (is_complex(d)) return Complex(real(), real());
  if (is_float(d)) return real();
  if (rng() % 3 == 0) {
    const int64_t special[] = {
        0, 1, -1, 2, 127, -128, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
    return special[rng() % std::size(special)];
  }
  return static_cast<int64_t>(rng()) >> (rng() % 64);
}

std::vector<Array> random_inputs(std::mt19937_64& rng, const Graph& g) {
  std::vector<Array> all;
  for (const NodeRef& p : g.parameters) {
    Array a(p->dtype(), const_shape(p->shape()));
    for (int64_t k = 0; k < a.size(); ++k) a.set(k, random_scalar(rng, p->dtype()).round_to(p->dtype()));
    all.push_back(std::move(a));
  }
  return all;
}

bool same_value(const Scalar& a, const Scalar& b, double bound) {
  auto close = [&](double x, double y) {
    if (std::isnan(x) && std::isnan(y)) return true;
    if (bound == 0) return x == y && std::signbit(x) == std::signbit(y);
    return x == y || std::abs(x - y) <= bound * std::max(std::abs(x), std::abs(y));
  };
  if (a.is_complex()) return close(a.c().real(), b.c().real()) && close(a.c().imag(), b.c().imag());
  if (a.is_f64()) return close(a.f(), b.f());
  return a == b;
}

// A relative difference that a record's bound allows, denormals aside.
double bound_of(Dtype d) {
  return d == Dtype::f64 ? 0x1p-50 : d == Dtype::f32 ? 0x1p-21 : d == Dtype::f16 ? 0x1p-8 : 0x1p-5;
}

void expect_same(const Graph& a, const Graph& b, double bound, const std::string& what, int tries = 8) {
  std::mt19937_64 rng(11);
  ASSERT_EQ(a.results.size(), b.results.size()) << what;
  for (size_t r = 0; r < a.results.size(); ++r) ASSERT_EQ(a.results[r]->type(), b.results[r]->type()) << what;
  for (int t = 0; t < tries; ++t) {
    const std::vector<Array> in = random_inputs(rng, a);
    const std::vector<Array> x = evaluate(a, in), y = evaluate(b, in);
    for (size_t r = 0; r < x.size(); ++r)
      for (int64_t k = 0; k < x[r].size(); ++k)
        ASSERT_TRUE(same_value(x[r].at(k), y[r].at(k), bound))
            << what << ": " << x[r].at(k).str() << " became " << y[r].at(k).str() << ", element " << k
            << (in.empty() ? "" : " of x = " + (k < in[0].size() ? in[0].at(k).str() : "..."));
  }
}

TEST(Rules, BothSidesAgree) {
  for (const Rule& rule : rewrite::algebra()) {
    int used = 0;
    for (int k = 0; k < kDtypeCount; ++k) {
      const auto sides = rewrite::instantiate(rule, {dtype_at(k), {24}});
      if (!sides) continue;
      ++used;
      const std::string what = fmt::format("{} in {}", rule.name, name(dtype_at(k)));
      const NodeRef applied = rewrite::apply(rule, sides->from.results[0]);
      ASSERT_TRUE(applied) << what << " does not match its own left side";
      EXPECT_EQ(applied, sides->to.results[0]) << what;
      expect_same(sides->from, sides->to,
                  rule.flags & rewrite::kWithinBound && is_float(dtype_at(k)) ? bound_of(dtype_at(k)) : 0,
                  what);
      EXPECT_LE(work(sides->to), work(sides->from)) << what;
    }
    EXPECT_GT(used, 0) << rule.name << " takes no dtype";
  }
}

void check_procedures(std::span<const Procedure> procedures) {
  for (const Procedure& p : procedures) {
    int fired = 0;
    for (int k = 0; k < kDtypeCount; ++k) {
      int number = 0;
      for (const Graph& g : p.examples(dtype_at(k))) {
        Ranges ranges;
        const NodeRef to = p.apply(g.results[0], ranges);
        ++number;
        if (!to) continue;
        ++fired;
        const std::string what = fmt::format("{} in {}, example {}", p.name, name(dtype_at(k)), number - 1);
        const Graph after{g.parameters, {to}, {}};
        expect_same(g, after, 0, what, 2);
        EXPECT_LE(work(after), work(g)) << what;
      }
    }
    EXPECT_GT(fired, 0) << p.name << " fires on none of its examples";
  }
}
TEST(Rules, FoldsAgree) { check_procedures(rewrite::folds()); }
TEST(Rules, MovesAgree) { check_procedures(rewrite::moves()); }
TEST(Rules, RangeRulesAgree) { check_procedures(rewrite::range_rules()); }

TEST(Rules, NamesAreUniqueAndReasonsGiven) {
  std::set<std::string_view> seen;
  for (const Rule& r : rewrite::algebra()) {
    EXPECT_TRUE(seen.insert(r.name).second) << r.name;
    EXPECT_FALSE(r.reason.empty()) << r.name;
  }
  for (auto table : {rewrite::folds(), rewrite::moves(), rewrite::range_rules()})
    for (const Procedure& p : table) {
      EXPECT_TRUE(seen.insert(p.name).second) << p.name;
      EXPECT_FALSE(p.reason.empty()) << p.name;
    }
}

// ---- ranges

NodeRef full(const NodeRef& like, double v) { return build::full(Scalar(v), like->type()); }

TEST(Ranges, OfEveryMapHold) {  // values computed from inputs in a box lie in the range of the box
  std::mt19937_64 rng(3);
  for (const Prim* p : all_prims()) {
    if (p->kind != Kind::map || !p->range) continue;
    if (HasFailure()) return;
    for (int k = 0; k < kDtypeCount; ++k) {
      const Dtype d = dtype_at(k);
      if (is_complex(d)) continue;
      for (int t = 0; t < 40; ++t) {
        Graph g;
        std::vector<Range> box;
        std::vector<std::vector<Scalar>> values;
        for (int i = 0; i < p->arity; ++i) {
          g.parameters.push_back(build::parameter(i, {d, {16}}));
          std::vector<Scalar> v;
          Range r{INFINITY, -INFINITY, false};
          const double centre = random_scalar(rng, d).round_to(d).f();
          for (int e = 0; e < 16; ++e) {
            Scalar s = t % 2 ? random_scalar(rng, d).round_to(d)
                             : Scalar(centre + static_cast<double>(rng() % 5)).round_to(d);
            if (is_float(d) && std::isnan(s.f()))
              r.nan = true;
            else
              r.low = std::min(r.low, s.f()), r.high = std::max(r.high, s.f());
            v.push_back(s);
          }
          box.push_back(r);
          values.push_back(v);
        }
        Attrs attrs;
        if (!p->attributes.empty()) attrs.set("dtype", dtype_at(static_cast<int>(rng() % 13)));
        NodeRef n;
        try {
          n = make(*p, g.parameters, attrs);
        } catch (const UserError&) {
          continue;
        }
        g.results = {n};
        std::vector<Array> in;
        for (int i = 0; i < p->arity; ++i) {
          in.emplace_back(d, Ints{16});
          for (int e = 0; e < 16; ++e) in.back().set(e, values[i][e]);
        }
        const Range r = p->range(*n, box);
        // The interpreter and the expansion both have to stay inside.
        for (const Graph& form : {g, expand(g)}) {
          const Array out = evaluate(form, in)[0];
          for (int e = 0; e < 16; ++e) {
            const Scalar s = out.at(e);
            if (s.is_f64() && std::isnan(s.f()))
              EXPECT_TRUE(r.nan) << p->name << " " << name(d) << " of " << values[0][e].str();
            else
              EXPECT_TRUE(s.f() >= r.low && s.f() <= r.high)
                  << p->name << " " << name(d) << ": " << s.str() << " from " << values[0][e].str()
                  << (p->arity > 1 ? " and " + values[1][e].str() : "") << " not in [" << r.low << ", "
                  << r.high << "]";
          }
        }
      }
    }
  }
}

TEST(Ranges, SelectIsRefinedByItsMask) {
  const NodeRef x = build::parameter(0, {Dtype::f32, {4}});
  const NodeRef outside =
      map("logical_or", {map("less", {x, full(x, -0.25)}), map("greater", {x, full(x, 0.25)})});
  Ranges ranges;
  const Range r = ranges.of(build::select(outside, full(x, 0), x));
  EXPECT_EQ(r, (Range{-0.25, 0.25, true}));
}

// theta' = outside ? reset : theta + rate * dt, as a cart pole has it
Graph pole(int64_t length) {
  const Type f{Dtype::f32, {}};
  Nodes p{build::parameter(0, {Dtype::i64, {}}), build::parameter(1, f), build::parameter(2, f)};
  const NodeRef theta = p[1], rate = p[2];
  const NodeRef next_rate = rate + map("sin", {theta}) * 0.02 - map("cos", {theta}) * 0.01,
                next = theta + rate * 0.02;
  const NodeRef outside = map(
      "logical_or", {map("less", {next, full(next, -0.2095)}), map("greater", {next, full(next, 0.2095)})});
  const auto body = std::make_shared<const Graph>(Graph{
      p,
      {build::select(outside, full(next, 0.05), next), build::select(outside, full(next, 0), next_rate)},
      {}});
  const Nodes init{build::constant(Scalar(0.01), Dtype::f32), build::constant(Scalar(0.0), Dtype::f32)};
  return {{}, build::scan(body, init, {}, {}, length), {}};
}

TEST(Simplify, SineOfASmallAngleLosesItsReduction) {
  const Graph g = pole(50), plain = simplify(expand(g), {.ranges = false}),
              small = simplify(expand(simplify(g)));
  const auto body_work = [](const Graph& graph) { return work(graph) / 50; };
  fmt::print("cart pole body: {} operations, with ranges {}\n", body_work(plain), body_work(small));
  EXPECT_LT(body_work(small), 25);
  expect_same(plain, small, 0, "cart pole", 1);
}

TEST(Simplify, ShortFormsHaveTheSameBits) {
  for (const char* op : {"sin", "cos", "exp", "tanh", "expm1", "erf", "log"})
    for (Dtype d : {Dtype::f32, Dtype::f64}) {
      const NodeRef x = build::parameter(0, {d, {64}});
      const NodeRef inside = map("minimum", {map("maximum", {x, full(x, op[0] == 'l' ? 0.75 : -0.3)}),
                                             full(x, op[0] == 'l' ? 1.25 : 0.3)});
      const Graph g{{x}, {map(op, {inside})}, {}};
      const Graph a = simplify(expand(g), {.ranges = false}), b = simplify(expand(simplify(g)));
      expect_same(a, b, 0, op, 6);
      fmt::print("{:5} {}: {} operations, short {}\n", op, name(d), work(a) / 64, work(b) / 64);
      EXPECT_LT(work(b), work(a)) << op;
    }
}

// ---- random and unrolling

Graph drawing(int64_t length, int64_t envs) {
  const Type key{Dtype::u32, {envs, 2}}, sum{Dtype::u32, {envs}};
  Nodes p{build::parameter(0, {Dtype::i64, {}}), build::parameter(1, sum), build::parameter(2, key)};
  const NodeRef offset = build::broadcast(p[0], {envs}, {});
  const NodeRef word = make("random_bits", {p[2], offset}, {{"shape", Shape{}}});
  const auto body =
      std::make_shared<const Graph>(Graph{p, {map("bitwise_xor", {p[1], word}) + full(p[1], 1)}, {}});
  const NodeRef k = build::parameter(0, key);
  return {{k}, build::scan(body, {build::zeros_like(build::parameter(1, sum))}, {}, {k}, length), {}};
}

TEST(Simplify, FourStepsShareOneRandomBlock) {
  const Graph g = drawing(24, 3), core = expand(g);
  const Graph one = simplify(core, {.unroll = false}), four = simplify(core);
  fmt::print("one draw a step: {} operations, {} when four steps share a block\n", work(one) / 72,
             work(four) / 72);
  EXPECT_LT(work(four), 0.35 * work(one));
  expect_same(g, one, 0, "random scan", 2);
  expect_same(g, four, 0, "unrolled random scan", 2);
  const Graph odd = drawing(23, 3);
  expect_same(odd, simplify(expand(odd)), 0, "a length that four does not divide", 2);
}

// What nobody asks a scan for is not computed: a state that no used output depends on, and what only it read.
TEST(Simplify, UnusedStatesAreDropped) {
  const Type t{Dtype::f32, {3}}, rows{Dtype::f32, {5, 3}};
  const NodeRef step = build::parameter(0, {Dtype::i64, {}}), a = build::parameter(1, t),
                b = build::parameter(2, t), c = build::parameter(3, t), x = build::parameter(4, t),
                y = build::parameter(5, t), k = build::parameter(6, t);
  // a needs b, c needs itself and y alone; the row of y's is collected too.
  const auto body = std::make_shared<const Graph>(
      Graph{{step, a, b, c, x, y, k}, {a + b, b * 0.5 + x, c * k + y, y * 2.0, a - c}, {}});
  const NodeRef p = build::parameter(0, t), xs = build::parameter(1, rows), ys = build::parameter(2, rows);
  const Nodes all = build::scan(body, {p, p * 2.0, p * 3.0}, {xs, ys}, {p - 1.0}, 5);
  auto inputs_of = [](const Graph& g) {
    for (const NodeRef& n : topological(g.results))
      if (n->prim->name == "scan") return n->inputs.size();
    return size_t{0};
  };
  const std::vector<std::pair<Nodes, size_t>> cases = {{{all[0]}, 3}, {{all[2]}, 3}, {{all[1]}, 2},
                                                       {{all[3]}, 1}, {{all[4]}, 6}, {{all[0], all[3]}, 4}};
  for (const auto& [results, inputs] : cases) {
    const Graph g{{p, xs, ys}, results, {}}, less = drop_unused(g);
    EXPECT_EQ(inputs_of(less), inputs);
    expect_same(g, less, 0, "fewer states", 2);
  }
}

TEST(Unroll, AnyLoop) {
  for (bool reverse : {false, true})
    for (int64_t length : {1, 2, 6, 7, 8}) {
      const Type f{Dtype::f64, {2}};
      Nodes p{build::parameter(0, {Dtype::i64, {}}), build::parameter(1, f), build::parameter(2, f),
              build::parameter(3, f)};
      const NodeRef step = build::broadcast(build::convert(p[0], Dtype::f64), {2}, {});
      const NodeRef next = p[1] * 0.5 + p[2] * p[3] + step;
      const auto body = std::make_shared<const Graph>(Graph{p, {next, next - step}, {}});
      const NodeRef init = build::parameter(0, f), xs = build::parameter(1, {Dtype::f64, {length, 2}}),
                    c = build::parameter(2, f);
      const Nodes plain = build::scan(body, {init}, {xs}, {c}, length, reverse);
      const Graph g{{init, xs, c}, plain, {}};
      for (int64_t n : {1, 2, 3, 4}) {
        if (n > length) continue;
        const Graph h{g.parameters, unroll(plain[0]->inputs[0], n), {}};
        expect_same(g, h, 0, fmt::format("length {} by {}{}", length, n, reverse ? " backwards" : ""), 2);
      }
    }
}

TEST(Random, SharedBlocksOfWholeDraws) {
  for (int64_t offset : {0, 4, 3, -8})
    for (Shape shape : {Shape{}, Shape{1}, Shape{8}, Shape{3, 4}, Shape{5}}) {
      const NodeRef key = build::parameter(0, {Dtype::u32, {3, 2}});
      const Graph g{
          {key},
          {make("random_bits", {key, build::full(Scalar(offset), {Dtype::i64, {3}})}, {{"shape", shape}})},
          {}};
      expect_same(g, expand(g), 0, "random_bits", 2);
      expect_same(g, simplify(expand(g)), 0, "random_bits simplified", 2);
    }
}

// ---- the engine

TEST(Engine, DeepGraphsInLinearTime) {
  auto chain = [](int n) {
    const NodeRef x = build::parameter(0, {Dtype::f32, {}});
    NodeRef y = x;
    for (int k = 0; k < n; ++k) y = -(y * 1.5) + x;
    return Graph{{x}, {y}, {}};
  };
  auto seconds = [&](int n, int turns) {  // of this process, the least of the turns: others may run beside it
    const Graph g = chain(n);
    double least = 1e9;
    for (int turn = 0; turn < turns; ++turn) {
      const std::clock_t start = std::clock();
      simplify(g);
      least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    return least;
  };
  const double small = seconds(10'000, 3), large = seconds(100'000, 1);  // both beyond the caches
  fmt::print("simplify: 30,000 nodes {:.3f} s, 300,000 nodes {:.3f} s\n", small, large);
  EXPECT_LT(large, 50 * small);
}

TEST(Widen, KeepsEveryBit) {
  std::mt19937_64 rng(5);
  for (const Dtype d :
       {Dtype::boolean, Dtype::i8, Dtype::i32, Dtype::u64, Dtype::f32, Dtype::f64, Dtype::complex64}) {
    Graph g;
    g.parameters = {build::parameter(0, {d, {3, 8}}), build::parameter(1, {d, {8, 5}})};
    g.results = {build::contract(g.parameters[0], g.parameters[1], "mk,kn->mn")};
    EXPECT_TRUE(same(widen(g, {.bytes = true, .signed_bytes = true, .pairs = true}), g)) << name(d);
  }
  const Dtype narrow[] = {Dtype::i8, Dtype::u8, Dtype::i16, Dtype::u16, Dtype::f16, Dtype::bf16};
  for (const Dtype a : narrow)
    for (const Dtype b : narrow) {
      if (is_float(a) != is_float(b)) continue;
      for (const char* spec : {"mk,kn->mn", "mk,kn->nm", "mk,kn->n", "mk,kn->", "mk,kn->nkm"})
        for (const bool grouped : {false, true}) {
          Graph g;
          g.parameters = {build::parameter(0, {a, {3, 8}}), build::parameter(1, {b, {8, 5}})};
          g.results = {
              build::contract(g.parameters[0], g.parameters[1], spec, is_float(a) ? Dtype::f32 : Dtype::i32)};
          const Graph wide = widen(g, {.bytes = grouped, .pairs = grouped});
          const bool bytes = a != b && size_of(a) == 1 && size_of(b) == 1;
          const bool pairs = a == Dtype::bf16 && b == a && std::string_view(spec) != "mk,kn->nkm";
          const bool stays = grouped && (bytes || pairs);
          EXPECT_EQ(same(wide, g), stays) << name(a) << " " << name(b) << " " << spec;
          const std::vector<Array> inputs = random_inputs(rng, g);
          const Array before = evaluate(g, inputs)[0], after = evaluate(wide, inputs)[0];
          for (int64_t i = 0; i < before.size(); ++i)
            EXPECT_TRUE(same_value(before.at(i), after.at(i), 0)) << name(a) << " " << name(b) << " " << spec;
        }
    }
}

}  // namespace
}  // namespace tenfold
