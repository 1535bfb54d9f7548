// Plans run by the tile interpreter agree with the reference interpreter, and say how many launches they
// take.
#include "tenfold/plan/plan.h"

#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tenfold/ir/build.h"
#include "tenfold/ir/eval.h"
#include "tenfold/ir/text.h"
#include "tenfold/rewrite/simplify.h"

#include "random_graph.h"

namespace tenfold {
namespace {

using namespace build;

Array random_array(const Type& t, std::mt19937& rng) {
  Array a(t.dtype, const_shape(t.shape));
  std::uniform_real_distribution<double> real(-2, 2);
  for (int64_t i = 0; i < a.size(); ++i)
    a.set(i, is_inexact(t.dtype) ? Scalar(real(rng)).round_to(t.dtype)
                                 : Scalar(int64_t(rng() % 5)).round_to(t.dtype));
  return a;
}

struct Machinist {
  const plan::Plan& plan;
  std::vector<Array> buffers;
  int launches = 0;

  void run(const std::vector<plan::Step>& steps) {
    for (const plan::Step& s : steps) {
      if (auto* l = std::get_if<plan::Launch>(&s.what)) {
        std::vector<std::string> complaints = tile::verify(*l->kernel);
        ASSERT_TRUE(complaints.empty()) << complaints[0] << "\n" << tile::print(*l->kernel);
        std::string text = tile::print(*l->kernel);
        ASSERT_EQ(text, tile::print(tile::parse_kernel(text)));
        if (getenv("TENFOLD_SEED")) printf("%s\n", text.c_str());
        std::vector<Array> seen;  // a buffer may be seen under several shapes
        std::vector<Array*> args;
        for (size_t k = 0; k < l->buffers.size(); ++k) {
          seen.push_back(buffers[l->buffers[k]]);
          seen.back().shape = const_shape(l->kernel->args[k].shape);
        }
        for (Array& a : seen) args.push_back(&a);
        tile::Counts counted = tile::run(*l->kernel, args);
        tile::Counts predicted = tile::count(*l->kernel, 512 << 10).counts;
        EXPECT_EQ(counted.bytes_read, predicted.bytes_read) << text;
        EXPECT_EQ(counted.bytes_written, predicted.bytes_written) << text;
        for (size_t k = 0; k < l->buffers.size(); ++k)
          if (l->kernel->args[k].output) buffers[l->buffers[k]].bytes = seen[k].bytes;
        ++launches;
      } else if (auto* c = std::get_if<plan::Copy>(&s.what)) {
        buffers[c->to] = buffers[c->from];
      } else {
        const plan::Repeat& r = *std::get<std::shared_ptr<plan::Repeat>>(s.what);
        for (auto& c : r.carries) buffers[c.value] = buffers[c.init];
        int64_t n = r.length == Dim(-1) ? 1000 : r.length.value();
        for (int64_t k = 0; k < n; ++k) {
          int64_t at = r.reverse ? n - 1 - k : k;
          if (r.step >= 0) buffers[r.step].set(0, Scalar(at));
          auto row = [&](const plan::Repeat::Slice& x) {
            size_t bytes = buffers[x.part].bytes.size();
            return std::pair{buffers[x.whole].bytes.begin() + at * bytes, bytes};
          };
          for (auto& x : r.reads) {
            auto [from, bytes] = row(x);
            std::copy(from, from + bytes, buffers[x.part].bytes.begin());
          }
          if (r.go >= 0) {
            run(r.condition);
            bool any = false;
            for (int64_t i = 0; i < buffers[r.go].size(); ++i) any = any || buffers[r.go].at(i).b();
            if (!any) break;
          }
          run(r.body);
          for (auto& x : r.writes) {
            auto [to, bytes] = row(x);
            std::copy(buffers[x.part].bytes.begin(), buffers[x.part].bytes.end(), to);
          }
          std::vector<Array> next;
          for (auto& c : r.carries) next.push_back(buffers[c.next]);
          for (size_t c = 0; c < next.size(); ++c) buffers[r.carries[c].value] = next[c];
        }
      }
    }
  }
};

Array laid(const plan::Buffer& b, const Array& input) {
  const NodeRef x = parameter(0, {b.type.dtype, Shape(input.shape.begin(), input.shape.end())});
  const std::vector<Array> inputs{input};
  return evaluate({{x}, {plan::laid(x, b.layout, b.type.shape)}, {}}, inputs)[0];
}

// The number of launches; `read`: bytes beyond the cache.
int check(const Graph& g, const tile::Machine& machine, const plan::Options& options, double tolerance,
          double* read = nullptr) {
  std::mt19937 rng(7);
  std::vector<Array> inputs;
  for (const NodeRef& p : g.parameters) inputs.push_back(random_array(p->type(), rng));
  plan::Plan p = plan::make_plan(g, machine, options);
  if (read) *read = 0;
  for (const plan::Step& s : p.steps)
    if (auto* l = std::get_if<plan::Launch>(&s.what); l && read) *read += l->cost.bytes_read;
  Machinist m{p, {}};
  for (const plan::Buffer& b : p.buffers)
    m.buffers.push_back(b.kind == plan::Buffer::Kind::input ? inputs[b.index]
                        : b.kind == plan::Buffer::Kind::laid
                            ? laid(b, inputs[b.index])
                            : Array(b.type.dtype, const_shape(b.type.shape)));
  m.run(p.steps);
  if (getenv("TENFOLD_SHOW"))
    for (const plan::Step& s : p.steps)
      if (auto* l = std::get_if<plan::Launch>(&s.what)) printf("%s\n", tile::print(*l->kernel).c_str());
  if (getenv("TENFOLD_SHOW"))
    for (auto& n : p.notes) printf("%s\n", n.c_str());
  std::vector<Array> want = evaluate(g, inputs);
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    if (p.buffers[b].kind != plan::Buffer::Kind::output) continue;
    const Array &got = m.buffers[b], &ref = want[p.buffers[b].index];
    for (int64_t i = 0; i < ref.size(); ++i) {
      double x = got.at(i).f(), y = ref.at(i).f();
      if (std::isnan(y)) {
        EXPECT_TRUE(std::isnan(x));
        continue;
      }
      if (std::abs(x - y) > tolerance * (1 + std::abs(y))) {
        ADD_FAILURE() << "result " << p.buffers[b].index << " element " << i << ": " << x << " instead of "
                      << y;
        return m.launches;
      }
    }
  }
  return m.launches;
}
int check(const Graph& g, std::string_view machine = "avx512", bool fuse = true, double tolerance = 1e-5) {
  plan::Options options;
  options.fuse = fuse;
  return check(g, tile::machine(machine), options, tolerance);
}

NodeRef in(int k, Shape s, Dtype d = Dtype::f32) { return parameter(k, {d, std::move(s)}); }
NodeRef rows(const NodeRef& r, const Shape& s) {
  Ints axes;
  for (int d = 0; d < r->rank(); ++d) axes.push_back(d);
  return broadcast(r, s, axes);
}
NodeRef softmax(const NodeRef& x) {
  Ints last{x->rank() - 1};
  NodeRef e = map("exp", {x - rows(reduce("max", x, last), x->shape())});
  return e / rows(reduce("sum", e, last), x->shape());
}
NodeRef layernorm(const NodeRef& x, const NodeRef& g, const NodeRef& b) {
  Ints last{x->rank() - 1};
  double n = static_cast<double>(x->shape().back().value());
  NodeRef d = x - rows(reduce("sum", x, last) * (1 / n), x->shape());
  NodeRef v = reduce("sum", d * d, last) * (1 / n);
  return d * rows(map("div", {full(Scalar(1.0), v->type()), map("sqrt", {v + 1e-5})}), x->shape()) *
             broadcast_to(g, x->shape()) +
         broadcast_to(b, x->shape());
}

TEST(Plan, ElementwiseChain) {
  for (Shape s : {Shape{7}, Shape{4096}, Shape{3, 100}, Shape{1}, Shape{0}, Shape{}, Shape{2, 3, 5}}) {
    NodeRef x = in(0, s), y = in(1, s);
    EXPECT_EQ(check({{x, y}, {(x + y) * x - 2.0 * y}, {}}), 1);
  }
}
TEST(Plan, Softmax) {
  for (Shape s : {Shape{4, 1000}, Shape{5, 7}, Shape{64, 1024}, Shape{3, 130}}) {
    NodeRef x = in(0, s);
    EXPECT_EQ(check({{x}, {softmax(x)}, {}}), 1);
  }
}
// Products of bytes: four along the summed axis lie together in scratch.
TEST(Plan, BytesLieByFours) {
  for (const Dtype left : {Dtype::u8, Dtype::i8})
    for (const Shape& s : {Shape{48, 64, 64}, Shape{37, 32, 70}}) {
      const NodeRef x = in(0, {s[0], s[1]}, left), y = in(1, {s[1], s[2]}, Dtype::i8);
      const Graph g = widen({{x, y}, {contract(x, y, "mk,kn->mn", Dtype::i32)}, {}}, {.bytes = true});
      check(g, tile::machine("avx512"), {}, 0);
      check(g, tile::machine("portable"), {}, 0);
      std::string text;
      for (const plan::Step& step : plan::make_plan(g, tile::machine("avx512"), {}).steps)
        if (const auto* l = std::get_if<plan::Launch>(&step.what)) text += tile::print(*l->kernel);
      EXPECT_THAT(text, ::testing::ContainsRegex("scratch %[0-9]+: i8\\[[a-z0-9]+,ji,[km]1\\]")) << text;
      EXPECT_THAT(text, ::testing::ContainsRegex("contract %[0-9]+, %[0-9]+ over [km]1 : i32\\[ii,ji\\]"))
          << text;
    }
}

TEST(Plan, LayerNorm) {
  NodeRef x = in(0, {16, 768}), g = in(1, {768}), b = in(2, {768}), r = in(3, {16, 768});
  EXPECT_EQ(check({{x, g, b}, {layernorm(x, g, b)}, {}}), 1);
  NodeRef h = x + r;
  EXPECT_EQ(check({{x, g, b, r}, {layernorm(h, g, b), h}, {}}), 1);
}
// A row that does not fit is read once less where a maximum may run beside what is scaled by it.
TEST(Plan, OnlineMaximum) {
  tile::Machine starved = tile::machine("generic");
  starved.memory_bandwidth = 1e8;
  const double row = 4 * 16384 * 4;
  const Shape shape{4, 16384};
  NodeRef x = in(0, shape);
  const NodeRef column = iota(shape, 1, Dtype::i32),
                late = map("less", {column, full(Scalar(3000), column->type())});
  const NodeRef masked = select(late, full(Scalar(-std::numeric_limits<double>::infinity()), x->type()), x);
  for (const NodeRef& logits : {x, masked}) {
    const NodeRef m = reduce("max", logits, {1}), e = map("exp", {logits - rows(m, shape)});
    const NodeRef sum = reduce("sum", e, {1});
    plan::Options online;
    online.allow = {"online"};
    double read = 0;
    EXPECT_EQ(check({{x}, {e / rows(sum, shape)}, {}}, starved, {}, 1e-5, &read), 1);
    EXPECT_EQ(read, 3 * row);
    EXPECT_EQ(check({{x}, {e / rows(sum, shape)}, {}}, starved, online, 1e-5, &read), 1);
    EXPECT_EQ(read, 2 * row);
    const NodeRef squares = reduce("sum", e * e, {1});  // of degree 2
    EXPECT_EQ(check({{x}, {map("log", {sum}) + m, squares / sum}, {}}, starved, {}, 1e-5, &read), 1);
    EXPECT_EQ(read, 2 * row);
    EXPECT_EQ(check({{x}, {map("log", {sum}) + m, squares / sum}, {}}, starved, online, 1e-5, &read), 1);
    EXPECT_EQ(read, row);
    // A value that does not scale waits for the final maximum.
    EXPECT_EQ(check({{x}, {reduce("sum", map("tanh", {logits - rows(m, shape)}), {1}) / sum}, {}}, starved,
                    online, 1e-4),
              1);
  }
}
// A final state that one reader takes whole and another in part is kept whole.
TEST(Plan, StateOfTwoReaders) {
  const Graph g = parse_graph(R"(tenfold 1
graph main(p0: f32[4], p1: f32[4]) {
  body0 = graph(p0: i64[], p1: f32[4], p2: f32[4]) {
    %0 = mul(%p1, %p2)
    %1 = sub(%p2, %0)
    return %0, %1
  }
  %0, %1 = scan(%p0, %p1) body=body0 carries=2 length=[3] reverse=0 xs=0
  %2 = window(%0) axes=[0] dilation=[1] stride=[2] taps=[3]
  %3 = reduce_max(%2) axes=[1]
  %4 = mul(%0, %p0)
  %5 = add(%4, %1)
  return %5, %3
}
)");
  EXPECT_LE(check(g, tile::machine("zen4"), {}, 1e-6), 2);
}
// Over blocks of its axis the memory is that of a block, and blocks that a mask leaves empty are passed over:
// what is counted says so, and equals what is predicted (check).
TEST(Plan, MaximumByBlocks) {
  for (const int64_t d : {8, 16}) {  // the sum of a score is a step, or a loop
    const int64_t n = 384;
    const NodeRef q = in(0, {n, d}), k = in(1, {n, d}), v = in(2, {n, d});
    const NodeRef s = contract(q, k, "qd,kd->qk");
    const NodeRef row = iota(s->shape(), 0, Dtype::i32), column = iota(s->shape(), 1, Dtype::i32);
    const NodeRef none = full(Scalar(-std::numeric_limits<double>::infinity()), s->type());
    plan::Options online;
    online.allow = {"online"};
    tile::Machine starved = tile::machine("zen4");
    starved.cache = 128 << 10;  // rows of 384 are not kept
    double flops[2] = {};
    for (const bool masked : {false, true}) {
      const NodeRef logits = masked ? select(map("less_equal", {column, row}), s, none) : s;
      const NodeRef e = map("exp", {logits - rows(reduce("max", logits, {1}), s->shape())});
      const Graph g{{q, k, v}, {contract(e / rows(reduce("sum", e, {1}), s->shape()), v, "qk,kd->qd")}, {}};
      EXPECT_EQ(check(g, starved, online, 1e-5), 1);
      const plan::Plan p = plan::make_plan(g, starved, online);
      const auto& launch = std::get<plan::Launch>(p.steps[0].what);
      EXPECT_LE(tile::scratch_bytes(*launch.kernel), 32 << 10);
      flops[masked] = launch.cost.flops;
    }
    EXPECT_LT(flops[1], 0.75 * flops[0]);
  }
}
// A scale that the sum does not touch comes after the contraction, where it is granted.
TEST(Plan, FactoredScale) {
  NodeRef x = in(0, {64, 512}), v = in(1, {512, 8});
  const NodeRef p = softmax(x * 0.125);
  const Graph g{{x, v}, {contract(p, v, "mk,kn->mn")}, {}};
  plan::Options granted;
  granted.allow = {"factor"};
  check(g, tile::machine("avx512"), {}, 1e-5);
  check(g, tile::machine("avx512"), granted, 1e-5);
  auto flops = [&](const plan::Options& options) {
    double sum = 0;
    for (const plan::Step& s : plan::make_plan(g, tile::machine("avx512"), options).steps)
      sum += std::get<plan::Launch>(s.what).cost.flops;
    return sum;
  };
  EXPECT_LT(flops(granted), flops({}) - 64 * 512 * 3);  // 8 divisions a row instead of 512
  // One that varies along the summed axis stays, on either side.
  NodeRef c = in(2, {512});
  const NodeRef scaled = x / broadcast_to(c, {64, 512});
  const Graph stays{{x, v, c}, {contract(scaled, v, "mk,kn->mn"), contract(v, scaled, "kn,mk->nm")}, {}};
  EXPECT_TRUE(same(factor(stays), stays));
  check(stays, tile::machine("avx512"), granted, 1e-3);
  // The axes of a scale find their place in a transposed result.
  NodeRef r = in(2, {64});
  const NodeRef by_row = x * broadcast(r, {64, 512}, {0});
  const Graph turned{{x, v, r}, {contract(v, by_row, "kn,mk->nm")}, {}};
  EXPECT_FALSE(same(factor(turned), turned));
  check(turned, tile::machine("avx512"), granted, 1e-3);
}
// Two axes of one result are never one, not even inside a form: 2 a + b is not 3 a.
TEST(Plan, ReassociatedProducts) {
  // Granted, several factors are multiplied in the cheapest order, through transposes; results stay.
  const auto flops = [](const Graph& g, bool granted) {
    plan::Options options;
    if (granted) options.allow = {"reassociate"};
    check(g, tile::machine("avx512"), options, 1e-3);
    double sum = 0;
    for (const plan::Step& s : plan::make_plan(g, tile::machine("avx512"), options).steps)
      if (const auto* l = std::get_if<plan::Launch>(&s.what)) sum += l->cost.flops;
    return sum;
  };
  NodeRef a = in(0, {60, 50}), b = in(1, {50, 60}), x = in(2, {60, 2});
  const NodeRef ab = contract(a, b, "ij,jk->ik"), abx = contract(ab, x, "ik,kn->in");
  const Graph chain{{a, b, x}, {abx}, {}};
  EXPECT_LT(flops(chain, true), flops(chain, false) / 5);
  const Graph kept{{a, b, x}, {abx, ab}, {}};  // a b is needed anyhow
  EXPECT_EQ(flops(kept, true), flops(kept, false));
  // Attention without a softmax: (q k^T) v as q (k^T v), with batches and a transpose between.
  NodeRef q = in(0, {2, 64, 8}), k = in(1, {2, 64, 8}), v = in(2, {2, 64, 8});
  const NodeRef scores = build::transpose(contract(q, k, "bqd,bkd->bkq"), {0, 2, 1});
  const Graph linear{{q, k, v}, {map("tanh", {contract(scores, v, "bqk,bkd->bqd")})}, {}};
  EXPECT_LT(flops(linear, true), flops(linear, false) / 2);
  // Four factors, one of them twice, axes that are summed alone.
  NodeRef u = in(2, {60, 3, 4});
  const NodeRef many = contract(contract(ab, a, "ik,kj->ij"), contract(b, u, "jk,knm->jn"), "ij,jn->ni");
  const Graph four{{a, b, u}, {many}, {}};
  EXPECT_LT(flops(four, true), flops(four, false));
  // A common factor, written in two ways; and a sum with a product of low rank, which is not made.
  NodeRef w = in(0, {60, 50}), y = in(1, {50, 60}), z = in(2, {50, 60});
  const NodeRef sum = contract(w, y, "mk,kn->mn") - contract(z, w, "an,ba->bn");
  EXPECT_LT(flops({{w, y, z}, {sum}, {}}, true), flops({{w, y, z}, {sum}, {}}, false) * 0.6);
  NodeRef h = in(0, {60, 50}, Dtype::bf16), k1 = in(1, {50, 60}, Dtype::bf16),
          k2 = in(2, {50, 60}, Dtype::bf16);
  const NodeRef wide = contract(h, k1, "mk,kn->mn", Dtype::f32) + contract(h, k2, "mk,kn->mn", Dtype::f32);
  const Graph narrow{{h, k1, k2}, {wide}, {}};  // k1 + k2 in bf16 would lose what f32 keeps
  EXPECT_TRUE(same(common_factors(narrow), narrow));
  NodeRef down = in(1, {60, 2}), up = in(2, {2, 50}), t = in(3, {50, 8});
  const NodeRef adapted = contract(w + contract(down, up, "ir,rj->ij"), t, "ij,jn->in");
  const Graph low{{w, down, up, t}, {adapted}, {}};
  EXPECT_LT(flops(low, true), flops(low, false) * 0.9);
}

TEST(Plan, NoDiagonalIsStored) {
  NodeRef x = in(0, {70, 2}), y = in(1, {70, 2});
  const NodeRef wide = reshape(x, {35, 4});
  check({{x, y}, {concatenate({y * 2.0, x}, 0), wide * wide + wide}, {}});
}
TEST(Plan, AdjacentAxesAreOne) {
  NodeRef x = in(0, {1000, 4}), y = in(1, {4});
  auto loops = [](const Graph& g) {
    return std::get<plan::Launch>(plan::make_plan(g, tile::machine("avx512")).steps[0].what).loops;
  };
  EXPECT_EQ(loops({{x}, {x * 2.0}, {}}), "I | i64");
  EXPECT_EQ(loops({{x, y}, {x * broadcast_to(y, {1000, 4})}, {}}), "I J | j4");  // y has one of the two alone
  check({{x, y}, {x * broadcast_to(y, {1000, 4}), x + 1.0}, {}});
  NodeRef z = in(0, {6, 4, 5}), w = in(1, {4, 6, 5});
  check({{z, w}, {transpose(z * 2.0, {1, 0, 2}) + w, z + 1.0}, {}});
  check({{z}, {reduce("sum", z, {2}), slice(z, {0, 0, 0}, {6, 4, 4}, {1, 1, 1})}, {}});
  check({{z}, {reshape(z, {24, 5}) * 2.0 + reshape(iota({120}, 0, Dtype::f32), {24, 5})}, {}});
}
TEST(Plan, RowAndColumnSums) {
  NodeRef x = in(0, {40, 70});
  check({{x}, {reduce("sum", x, {1}), reduce("sum", x, {0}), reduce("max", x, {0, 1})}, {}});
  check({{x}, {reduce("sum", x, {0})}, {}});
}
TEST(Plan, ALargeSumIsSplitForTheUnits) {
  NodeRef x = in(0, {640, 512});
  EXPECT_EQ(check({{x}, {reduce("sum", x, {0, 1}), reduce("max", x, {0, 1})}, {}}, "avx512", true, 1e-3),
            3);  // x is read once
  NodeRef d = x - broadcast_to(reduce("sum", x, {0, 1}) * (1.0 / (640 * 512)), {640, 512});
  check({{x}, {reduce("sum", d * d, {0, 1})}, {}}, "avx512", true, 1e-3);
}
TEST(Plan, Moves) {
  NodeRef x = in(0, {12, 20}), y = in(1, {20, 12});
  check({{x, y}, {x + transpose(y, {1, 0})}, {}});
  NodeRef s = in(0, {9, 9});
  check({{s}, {s + transpose(s, {1, 0})}, {}});
  check({{x}, {reshape(reshape(x, {12, 4, 5}) * 2.0, {48, 5})}, {}});
  check({{x}, {slice(x * 2.0, {1, 3}, {11, 20}, {2, 3})}, {}});
  check({{x}, {concatenate({x, x * 2.0, slice_axis(x, 1, 0, 3)}, 1)}, {}});
  check({{x}, {pad(x + 1.0, constant(Scalar(5.0), Dtype::f32), {1, 2}, {0, 3})}, {}});
  NodeRef h = in(0, {4, 64});
  NodeRef rotated = concatenate({-slice_axis(h, 1, 32, 64), slice_axis(h, 1, 0, 32)}, 1);
  check({{h}, {h * 0.5 + rotated * 0.25}, {}});
  check({{h}, {h}, {}});
  check({{h}, {iota({4, 5}, 1), full(Scalar(2.0), {Dtype::f32, {3}})}, {}});
}
TEST(Plan, Contractions) {
  NodeRef x = in(0, {20, 33}), w = in(1, {33, 70}), b = in(2, {70});
  EXPECT_EQ(check({{x, w, b},
                   {map("maximum", {contract(x, w, "mk,kn->mn") + broadcast_to(b, {20, 70}),
                                    full(Scalar(0.0), {Dtype::f32, {20, 70}})})},
                   {}}),
            1);
  NodeRef q = in(0, {2, 9, 16}), k = in(1, {2, 11, 16}), v = in(2, {2, 11, 16});
  check({{q, k, v}, {contract(softmax(contract(q, k, "bqd,bkd->bqk") * 0.25), v, "bqk,bkd->bqd")}, {}});
  NodeRef s = in(0, {8, 8});
  check({{s}, {contract(s, s, "ij,jk->ik") + s}, {}});
}
TEST(Plan, Windows) {
  const NodeRef x = in(0, {2, 3, 9, 20}), w = in(1, {5, 3, 3, 3}), b = in(2, {5});
  auto bordered = [](const NodeRef& y, double border, int64_t by) {
    return pad(y, constant(Scalar(border), Dtype::f32), {0, 0, by, by}, {0, 0, by, by});
  };
  for (const int64_t by : {0, 1})
    for (const int64_t stride : {1, 2}) {  // a bias, a maximum: one launch
      const NodeRef every = window(bordered(x, 0, by), {2, 3}, {3, 3}, {stride, stride}, {1, 1});
      const NodeRef y = contract(every, w, "ncpqij,ocij->nopq");
      EXPECT_EQ(check({{x, w, b}, {map("maximum", {y + broadcast(b, y->shape(), {1}), zeros_like(y)})}, {}}),
                1);
    }
  const NodeRef plane = in(0, {4, 12, 17});
  for (const int64_t stride : {1, 2, 3}) {
    const NodeRef every = window(plane * 2.0, {1, 2}, {3, 2}, {stride, 3}, {1, 4});
    EXPECT_EQ(check({{plane}, {reduce("max", every, {3, 4})}, {}}), 1);
    check({{plane}, {every}, {}});
  }
  // Windows of what windows made: the inner sum is made again where they overlap, or kept.
  const NodeRef once = reduce("sum", window(plane, {2}, {3}, {1}, {1}), {3});
  check({{plane}, {reduce("max", window(once, {2}, {2}, {2}, {1}), {3})}, {}});
  check({{plane}, {reduce("max", window(once, {2}, {4}, {1}, {1}), {3}), once}, {}});
}
// Every channel with its own taps: the image goes by, so a tile is a vector of channels, a few neighbours
// along the rows and the whole window; the taps are loaded once a row.
TEST(Plan, OneOperandGoesBy) {
  for (const int64_t stride : {1, 2}) {
    const NodeRef x = in(0, {1, 56, 56, 48}), w = in(1, {48, 3, 3});
    const NodeRef zero = constant(Scalar(0.0), Dtype::f32);
    const NodeRef every =
        window(pad(x, zero, {0, 1, 1, 0}, {0, 1, 1, 0}), {1, 2}, {3, 3}, {stride, stride}, {1, 1});
    const Graph g{{x, w}, {contract(every, w, "npqcij,cij->npqc")}, {}};
    plan::Options fixed;
    fixed.fixed = {1};
    const plan::Plan p = plan::make_plan(g, tile::machine("avx512"), fixed);
    ASSERT_EQ(p.steps.size(), 1);
    const auto& launch = std::get<plan::Launch>(p.steps[0].what);
    EXPECT_EQ(launch.loops, "J L k | k4 i3 m3 l16, packed lim");
    check(g, "avx512", true, 1e-4);
  }
}
// What is between a product and the windows of it lies in the order of the result, and a border is a part of
// its windows.
TEST(Plan, WindowsOfAProductHaveTheOrderOfTheResult) {
  const NodeRef x = in(0, {1, 40, 40, 8}), w = in(1, {32, 8, 3, 3});
  const NodeRef least = constant(Scalar(-HUGE_VAL), Dtype::f32);
  const NodeRef image = window(build::transpose(x, {0, 3, 1, 2}), {2, 3}, {3, 3}, {1, 1}, {1, 1});
  const NodeRef y = map("tanh", {contract(image, w, "ncpqij,ocij->nopq")});
  const NodeRef most = reduce(
      "max", window(pad(y, least, {0, 0, 1, 1}, {0, 0, 1, 1}), {2, 3}, {3, 3}, {2, 2}, {1, 1}), {4, 5});
  const Graph g{{x, w}, {build::transpose(most, {0, 2, 3, 1})}, {}};
  const Graph ordered = orders(g);
  check(ordered, "avx512", true, 1e-4);
  const plan::Plan p = plan::make_plan(ordered, tile::machine("avx512"), {});
  for (const plan::Buffer& b : p.buffers)
    if (b.kind == plan::Buffer::Kind::temporary) {
      EXPECT_EQ(b.type.shape, (Shape{1, 38, 38, 32}));
    }
  // Not where what is transposed is a result too, nor where there is no window.
  const Graph both{{x, w}, {most, g.results[0]}, {}};
  EXPECT_TRUE(same(orders(both), both));
  const Graph plain{{x, w}, {build::transpose(y, {0, 2, 3, 1})}, {}};
  EXPECT_TRUE(same(orders(plain), plain));
}
TEST(Plan, SharedOperandsArePacked) {
  // With a cache of 16 KiB: rows inside a block over a packed operand; sums that are too long for it in
  // parts.
  auto text = [](const Graph& g) {
    const plan::Plan p = plan::make_plan(g, tile::machine("generic"), {});
    return tile::print(*std::get<plan::Launch>(p.steps.back().what).kernel);
  };
  struct Case {
    int64_t m, k, n;
    const char *packed, *parts;  // what its text says
  };
  for (const Case& c : {Case{64, 96, 70, "write %", ""},
                        {61, 120, 48, "write %", ""},
                        {40, 900, 64, "write %", "k1s in 60"},
                        {1, 300, 64, "", ""},
                        {64, 96, 5, "", ""}}) {
    NodeRef x = in(0, {c.m, c.k}), w = in(1, {c.k, c.n}), b = in(2, {c.n});
    const Graph g{{x, w, b},
                  {map("tanh", {contract(x * 2.0, w * 0.5, "mk,kn->mn") + broadcast_to(b, {c.m, c.n})})},
                  {}};
    check(g, "generic", true, 1e-4);
    EXPECT_NE(text(g).find(c.packed), std::string::npos) << text(g);
    EXPECT_EQ(text(g).find("write %") != std::string::npos, *c.packed != 0) << text(g);
    EXPECT_NE(text(g).find(c.parts), std::string::npos) << text(g);
  }
  NodeRef q = in(0, {3, 40, 64}), k = in(1, {3, 64, 50});
  check({{q, k}, {reduce("sum", contract(q, k, "bmk,bkn->bmn"), {2})}, {}}, "generic", true, 1e-4);
}
// What is the same in every call is laid out in the order of its reading, and not packed in each.
TEST(Plan, FixedOperandsAreLaidOutAhead) {
  struct Case {
    Shape x, w;
    std::string spec;
    Dtype dtype = Dtype::f32;
    std::string shape;  // of what is laid out; empty: it lies well
  };
  const std::vector<Case> cases = {
      {{48, 96}, {96, 128}, "ik,kj->ij", Dtype::f32, "f32[2,96,64]"},
      {{48, 96}, {128, 96}, "ik,jk->ij", Dtype::f32, "f32[2,96,64]"},  // transposed
      {{48, 96}, {96, 100}, "ik,kj->ij", Dtype::f32, "f32[2,96,64]"},  // ragged: zeros beside it
      {{48, 96}, {96, 64}, "ik,kj->ij", Dtype::f32, ""},               // in order as it is
      {{48, 96}, {96, 65}, "ik,kj->ij", Dtype::f32, "f32[2,96,48]"},   // narrower tiles have less to spare
      {{3, 20, 24}, {3, 24, 128}, "bik,bkj->bij", Dtype::f32, "f32[3,2,24,64]"},
      {{48, 96}, {96, 128}, "ik,kj->ij", Dtype::bf16, "bf16[2,96,64]"},  // converted when packed
      {{6, 512}, {512, 3}, "ik,kj->ij", Dtype::f32, "f32[32,3,16]"},     // vectors along the sum
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec + str(c.w));
    const NodeRef x = in(0, c.x, c.dtype), w = in(1, c.w, c.dtype);
    const Graph g{{x, w}, {build::contract(x, w, c.spec)}, {}};
    plan::Options options;
    options.fixed = {1};
    const tile::Machine& m = tile::machine("avx512");
    std::string found;
    for (const plan::Buffer& b : plan::make_plan(g, m, options).buffers)
      if (b.kind == plan::Buffer::Kind::laid) found += b.type.str();
    EXPECT_EQ(found, c.shape);
    EXPECT_EQ(check(g, m, options, c.dtype == Dtype::bf16 ? 0.02 : 1e-4), 1);
  }
  // Bytes for instructions that sum four of them.
  const NodeRef x = in(0, {48, 96}, Dtype::u8), w = in(1, {96, 128}, Dtype::i8);
  const Graph g{{x, w}, {build::contract(x, w, "ik,kj->ij", Dtype::i32)}, {}};
  plan::Options options;
  options.fixed = {1};
  const plan::Plan p = plan::make_plan(g, tile::machine("zen4"), options);
  EXPECT_EQ(p.buffers.back().type.str(), "i8[2,24,64,4]");
  EXPECT_EQ(check(g, tile::machine("zen4"), options, 0), 1);
}

// Of few columns, vectors run along the rows' sum, whose records are shuffled, or along the columns, and a
// part of each does nothing: nothing is gathered.
TEST(Plan, FewColumnsAreNotGathered) {
  const tile::Machine& m = tile::machine("zen4");
  for (const int64_t n : {2, 3, 5, 8, 10, 15}) {
    SCOPED_TRACE(n);
    const NodeRef x = in(0, {100, 256}), w = in(1, {256, n});
    const Graph g{{x, w}, {build::contract(x, w, "ik,kj->ij")}, {}};
    EXPECT_EQ(check(g, m, {}, 1e-4), 1);
    const plan::Plan p = plan::make_plan(g, m, {});
    const auto& launch = std::get<plan::Launch>(p.steps[0].what);
    EXPECT_EQ(tile::count(*launch.kernel, m.cache).gathered, 0) << tile::print(*launch.kernel);
  }
}

TEST(Plan, InnerProductsOfMapsAreTiledAndPacked) {
  // What is said of contractions holds for any reduction of maps over operands that each lack an axis.
  const auto text = [](const Graph& g) {
    const plan::Plan p = plan::make_plan(g, tile::machine("generic"), {});
    EXPECT_EQ(p.steps.size(), 1u);
    return tile::print(*std::get<plan::Launch>(p.steps.back().what).kernel);
  };
  const auto says = [&](const Graph& g, std::initializer_list<const char*> parts) {
    check(g, "generic", true, 1e-4);
    const std::string found = text(g);
    for (const char* part : parts) EXPECT_NE(found.find(part), std::string::npos) << part << "\n" << found;
  };
  const auto rows = [](const NodeRef& x, int64_t n) {
    return broadcast(x, {x->shape()[0], x->shape()[1], n}, {0, 1});
  };
  const auto cols = [](const NodeRef& x, int64_t m) {
    return broadcast(x, {m, x->shape()[0], x->shape()[1]}, {1, 2});
  };
  const NodeRef a = in(0, {64, 96}), b = in(1, {96, 64}), c = in(2, {64, 96}), d = in(3, {96, 64});
  const NodeRef sums = rows(a, 64) + cols(b, 64), apart = rows(a, 64) - cols(b, 64);
  // Two terms a step, where their order does not matter; a sum takes one after the other.
  says({{a, b}, {reduce("min", sums, {1})}, {}}, {"write %", "accumulate minimum", "f32[ii,ri,ji]"});
  says({{a, b}, {reduce("sum", apart * apart, {1})}, {}}, {"write %", "accumulate add", "f32[ii,ji]"});
  const NodeRef value = rows(a, 64) * cols(b, 64),
                change = rows(a, 64) * cols(d, 64) + rows(c, 64) * cols(b, 64);
  says({{a, b, c, d}, {reduce("sum", value, {1}), reduce("sum", change, {1})}, {}},
       {"write %1[", "write %3[", "accumulate add"});
  const NodeRef x = in(0, {40, 900}), y = in(1, {900, 64});
  says({{x, y}, {reduce("max", rows(x, 64) + cols(y, 40), {1})}, {}}, {"write %", "r1os in 60"});  // in parts
  // A reduction of what has all axes is none.
  const NodeRef all = in(0, {64, 96, 64});
  EXPECT_EQ(text({{all, b}, {reduce("min", all + cols(b, 64), {1})}, {}}).find("write %"), std::string::npos);
}
NodeRef scan_of(const Closed& body, Nodes inputs, int64_t carries, int64_t xs, int64_t length) {
  inputs.insert(inputs.end(), body.captured.begin(), body.captured.end());
  return make("scan", std::move(inputs),
              {{"body", body.graph},
               {"carries", carries},
               {"xs", xs},
               {"length", Shape{length}},
               {"reverse", int64_t{0}}});
}
TEST(Plan, ScanInOneKernel) {
  // A recurrence per element, with the step number, a trajectory, and a prologue and an epilogue.
  Type t{Dtype::f32, {100}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), a = parameter(1, t, scope),
          v = parameter(2, t, scope);
  NodeRef x = in(0, {100}), y = in(1, {100});
  NodeRef force = a * -0.1 + broadcast_to(convert(step, Dtype::f32) * 0.01, {100}) + y;
  Closed body = close({step, a, v}, {a + v * 0.1, v + force * 0.1, a});
  NodeRef s = scan_of(body, {x * 2.0, y - 1.0}, 2, 0, 17);
  EXPECT_EQ(check({{x, y}, {item(s, 0) * 3.0, item(s, 1)}, {}}), 1);
  EXPECT_EQ(check({{x, y}, {item(s, 0) * 3.0, item(s, 2)}, {}}), 1);
  EXPECT_EQ(check({{x, y}, {reduce("sum", item(s, 2), {0}), item(s, 0)}, {}}), 1);
}
TEST(Plan, RowsOfAStepSideBySide) {
  // Each row that a step puts beside others is stored where it belongs: no select chooses among them.
  Type t{Dtype::f32, {100}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), c = parameter(1, t, scope);
  NodeRef x = in(0, {100});
  NodeRef half = c * 0.5, next = half + broadcast_to(convert(step, Dtype::f32), {100});
  auto row = [](const NodeRef& n) { return reshape(n, {1, 100}); };
  Closed body = close({step, c}, {next, concatenate({row(c), row(half), row(half + c), row(next)}, 0),
                                  concatenate({broadcast_to(row(c), {2, 100}), row(next * next)}, 0)});
  NodeRef s = scan_of(body, {x}, 1, 0, 5);
  const NodeRef four = reshape(item(s, 1), {20, 100});
  const Graph stored{{x}, {item(s, 0), four, item(s, 2)}, {}};
  EXPECT_EQ(check(stored), 1);
  const plan::Plan p = plan::make_plan(stored, tile::machine("avx512"), {});
  EXPECT_EQ(tile::print(*std::get<plan::Launch>(p.steps[0].what).kernel).find("select"), std::string::npos);
  check({{x}, {item(s, 0), four, reduce("sum", four, {0})}, {}});
  check({{x}, {four * 2.0, item(s, 2)}, {}});
}
TEST(Plan, HalvesPutSideBySide) {
  // A rotation computes each half once and stores it where it belongs; both halves share what they load.
  NodeRef x = in(0, {6, 64}), cosine = in(1, {6, 32}), sine = in(2, {6, 32});
  const NodeRef a = slice(x, {0, 0}, {6, 32}, {1, 1}), b = slice(x, {0, 32}, {6, 64}, {1, 1});
  const NodeRef first = a * cosine - b * sine, second = a * sine + b * cosine;
  auto text = [](const Graph& g) {
    const plan::Plan p = plan::make_plan(g, tile::machine("avx512"), {});
    return tile::print(*std::get<plan::Launch>(p.steps[0].what).kernel);
  };
  auto count = [](const std::string& s, std::string_view part) {
    int n = 0;
    for (size_t at = s.find(part); at != std::string::npos; at = s.find(part, at + 1)) ++n;
    return n;
  };
  for (int axis : {0, 1}) {
    const Graph g{{x, cosine, sine}, {concatenate({first, second}, axis)}, {}};
    EXPECT_EQ(check(g), 1);
    EXPECT_EQ(count(text(g), "select"), 0);
    EXPECT_EQ(count(text(g), "load"), 4);
  }
  check({{x, cosine, sine}, {concatenate({first, second}, 1), reduce("sum", first, {1})}, {}});
  check({{x}, {concatenate({x, broadcast(reduce("max", x, {0}), {6, 64}, {1})}, 1)}, {}});
  NodeRef square = in(0, {32, 32});
  check({{square}, {concatenate({square, transpose(square, {1, 0})}, 1)}, {}});
  check(
      {{square}, {transpose(concatenate({square, square * 2.0, transpose(square, {1, 0})}, 1), {1, 0})}, {}});
  // Pieces of different extents, or of a few elements next to each other, are selected.
  const Graph uneven{{x}, {concatenate({x * 2.0, slice(x, {0, 0}, {6, 3}, {1, 1})}, 1)}, {}};
  check(uneven);
  EXPECT_GT(count(text(uneven), "select"), 0);
}
TEST(Plan, AScanIsSpreadOverTheUnitsOfAGpu) {
  const auto tile_of = [](int64_t n, std::string_view machine) {
    Type t{Dtype::f32, {n}};
    int64_t scope = fresh_scope();
    NodeRef step = parameter(0, {Dtype::i64, {}}, scope), c = parameter(1, t, scope), x = in(0, {n});
    const NodeRef last = item(scan_of(close({step, c}, {c * c + c}), {x}, 1, 0, 64), 0);
    const plan::Plan p = plan::make_plan({{x}, {last}, {}}, tile::machine(machine), {});
    const tile::Kernel& k = *std::get<plan::Launch>(p.steps[0].what).kernel;
    return std::pair(tile::blocks(k).value(), k.atoms[k.vector].extent.value());
  };
  using Tile = std::pair<int64_t, int64_t>;  // blocks, elements of one
  EXPECT_EQ(tile_of(4096, "h200"), Tile(128, 32));
  EXPECT_EQ(tile_of(1 << 14, "h200"), Tile(512, 32));
  EXPECT_EQ(tile_of(1 << 20, "h200"), Tile(4096, 256));
  EXPECT_EQ(tile_of(4096, "gpu"), Tile(128, 32));
  EXPECT_EQ(tile_of(4096, "avx512"), Tile(32, 128));
}
TEST(Plan, WhatAStepKeepsFitsAGroupOfFewerElements) {
  // A policy of 64 units inside: of 256 elements, what a step keeps is more than a group of a GPU shares.
  constexpr int64_t kElements = 1 << 20, kUnits = 64;
  Type t{Dtype::f32, {kElements}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), c = parameter(1, t, scope);
  NodeRef x = in(0, {kElements}), u = in(1, {1, kUnits}), v = in(2, {kUnits, kUnits}), w = in(3, {kUnits, 1});
  NodeRef hidden = map("abs", {contract(reshape(c, {kElements, 1}), u, "bi,ij->bj")});
  NodeRef next =
      reshape(contract(map("abs", {contract(hidden, v, "bi,ij->bj")}), w, "bi,ij->bj"), {kElements});
  const NodeRef last = item(scan_of(close({step, c}, {next}), {x}, 1, 0, 64), 0);
  const tile::Machine& gpu = tile::machine("h200");
  const plan::Plan p = plan::make_plan({{x, u, v, w}, {last}, {}}, gpu, {});
  ASSERT_EQ(p.steps.size(), 1u);
  const tile::Kernel& k = *std::get<plan::Launch>(p.steps[0].what).kernel;
  EXPECT_LE(tile::scratch_bytes(k), gpu.cache);
  EXPECT_GE(tile::blocks(k).value(), 2 * gpu.units);
}
TEST(Plan, TrajectoryThatIsNormalisedOverTime) {
  Type t{Dtype::f32, {1, 17}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), c = parameter(1, t, scope), x = in(0, {1, 17});
  const NodeRef rows = item(scan_of(close({step, c}, {c + c, c + c}), {x}, 1, 0, 5), 1);
  EXPECT_EQ(check({{x}, {rows / broadcast(reduce("sum", rows, {0}), {5, 1, 17}, {1, 2})}, {}}), 2);
}
TEST(Plan, RecurrentNetwork) {
  Type t{Dtype::f32, {10, 24}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), h = parameter(1, t, scope),
          row = parameter(2, t, scope);
  NodeRef h0 = in(0, {10, 24}), u = in(1, {24, 24}), xs = in(2, {6, 10, 24});
  NodeRef next = map("tanh", {contract(h, u, "bi,ij->bj") + row});
  Closed body = close({step, h, row}, {next, next});
  NodeRef s = scan_of(body, {h0, xs}, 1, 1, 6);
  check({{h0, u, xs}, {item(s, 0), item(s, 1)}, {}});
}
TEST(Plan, CarryThatMixesTheBatchIsALoopOfLaunches) {
  Type t{Dtype::f32, {300}};
  int64_t scope = fresh_scope();
  NodeRef step = parameter(0, {Dtype::i64, {}}, scope), c = parameter(1, t, scope);
  NodeRef x = in(0, {300});
  NodeRef next = c * 0.5 + broadcast_to(reduce("sum", c, {0}) * (0.5 / 300), {300});
  Closed body = close({step, c}, {next, reduce("max", c, {0})});
  NodeRef s = scan_of(body, {x}, 1, 0, 5);
  check({{x}, {item(s, 0), item(s, 1)}, {}});
}

TEST(Plan, RandomGraphs) {
  int first = getenv("TENFOLD_SEED") ? atoi(getenv("TENFOLD_SEED")) : 0, count = getenv("TENFOLD_SEED") ? 1
                                                                                 : getenv("TENFOLD_TEST_FULL")
                                                                                     ? 20000
                                                                                     : 3000;
  std::map<std::string, int> coverage;
  for (int seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(seed);
    testing::RandomGraph r = testing::Generator(seed).make(3 + seed % 12);
    for (auto& [name, n] : r.coverage) coverage[name] += n;
    try {
      check(r.graph, "avx512", true, 2e-4);
      check(r.graph, "generic", false, 2e-4);
    } catch (const std::exception& e) {
      ADD_FAILURE() << "seed " << seed << ": " << e.what();
    }
    if (HasFailure()) break;
  }
  for (auto& [name, n] : coverage) printf("%s:%d ", name.c_str(), n);
  printf("\n");
}

}  // namespace
}  // namespace tenfold
