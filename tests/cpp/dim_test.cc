#include "tenfold/base/dim.h"

#include <functional>
#include <map>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "tenfold/base/error.h"
#include "tenfold/base/text.h"

namespace tenfold {
namespace {

const Dim n = Dim::symbol({.name = "n", .lower = 0, .upper = 1000, .hint = 100});
const Dim m = Dim::symbol({.name = "m", .lower = 1, .upper = 6, .hint = 3});
const Dim lane = Dim::symbol({.name = "lane", .lower = 0, .upper = 7});

TEST(Dim, IntegersAreJustIntegers) {
  EXPECT_EQ(Dim(3) * 4 + 1, 13);
  EXPECT_EQ(floordiv(-7, 2), -4);
  EXPECT_EQ(mod(-7, 2), 1);
  EXPECT_EQ(mod(7, -2), -1);
  EXPECT_EQ(ceildiv(7, 2), 4);
  EXPECT_EQ(min(3, Dim(4)), 3);
  EXPECT_EQ(max(3, Dim(4)), 4);
  EXPECT_TRUE((n - n).is_const());
}

TEST(Dim, EqualPolynomialsAreEqual) {
  EXPECT_EQ((n + 1) * (n - 1), n * n - 1);
  EXPECT_EQ(n * m, m * n);
  EXPECT_EQ((n * m).hash(), (m * n).hash());
  EXPECT_FALSE(n == m);
  EXPECT_FALSE(n == 4);
  EXPECT_EQ(min(n, m * 7), min(7 * m, n));
}

TEST(Dim, Division) {
  EXPECT_EQ(floordiv(4 * n, 4), n);
  EXPECT_EQ(mod(4 * n, 2), 0);
  EXPECT_EQ(floordiv(4 * n + 3, 4), n);
  EXPECT_EQ(mod(4 * n + 3, 4), 3);
  EXPECT_EQ(floordiv(5 * n, 4), n + floordiv(n, 4));
  EXPECT_EQ(floordiv(6 * n, 4), n + floordiv(n, 2));
  EXPECT_EQ(floordiv(floordiv(n, 4), 8), floordiv(n, 32));
  EXPECT_EQ(mod(mod(n, 16), 4), mod(n, 4));
  EXPECT_EQ(4 * floordiv(n, 4) + mod(n, 4), n);
  EXPECT_EQ(floordiv(n * m + 3 * m, m), n + 3);
  EXPECT_EQ(mod(n * m, m), 0);
  EXPECT_EQ(floordiv(n * 8 + lane, 8), n);
  EXPECT_EQ(mod(n * 8 + lane, 8), lane);
  EXPECT_EQ(floordiv(n * 8 + lane, 16), floordiv(n, 2));
  EXPECT_EQ(ceildiv(8 * n, 8), n);
  EXPECT_EQ(floordiv(n, -2), floordiv(-1 * n, 2));
}

TEST(Dim, Bounds) {
  EXPECT_EQ((n - 2 * m).lower(), -12);
  EXPECT_EQ((n - 2 * m).upper(), 998);
  EXPECT_EQ(mod(n, 4).lower(), 0);
  EXPECT_EQ(mod(n, 4).upper(), 3);
  EXPECT_EQ(ceildiv(n, 8).upper(), 125);
  EXPECT_EQ(floordiv(n, m).upper(), 1000);
  EXPECT_EQ((8 * mod(n, 4) + lane).upper(), 31);
  const Dim big = Dim::symbol({.name = "big"});
  EXPECT_EQ((big * big).upper(), INT64_MAX);
  EXPECT_EQ((7 - big * big).lower(), INT64_MIN);
  EXPECT_EQ((big * big - 7).upper(), INT64_MAX);
}

TEST(Dim, Proofs) {
  EXPECT_TRUE(provably_le(4 * floordiv(n, 4), n));
  EXPECT_TRUE(provably_le(n, 4 * ceildiv(n, 4)));
  EXPECT_TRUE(provably_le(floordiv(n, 2), n));
  EXPECT_TRUE(provably_lt(8 * floordiv(lane, 8) + lane, 8));
  EXPECT_TRUE(provably_le(min(n, m), m));
  EXPECT_TRUE(provably_le(n, max(n, m) + 1));
  EXPECT_TRUE(provably_le(2 * min(n, m) - m, m));
  EXPECT_FALSE(provably_le(n, m));
  EXPECT_FALSE(provably_le(n, min(n, m)));
  EXPECT_TRUE(may_equal(n, m));
  EXPECT_FALSE(may_equal(lane, lane + 1));
  EXPECT_TRUE(provably_divides(4, 8 * n + 4));
  EXPECT_TRUE(provably_divides(8, 8 * ceildiv(n, 8)));
  EXPECT_FALSE(provably_divides(4, 2 * n));
  EXPECT_EQ(min(n, n + 1), n);
  EXPECT_EQ(max(lane, 7), 7);
  EXPECT_EQ(min(min(n, m), n), min(n, m));
}

TEST(Dim, EvaluatesAndHints) {
  const Dim dim = ceildiv(n, 8) * m + max(n, 50);
  EXPECT_EQ(dim.hint(), 13 * 3 + 100);
  EXPECT_EQ(dim.evaluate({{"n", 9}, {"m", 2}}), 54);
  EXPECT_THROW(dim.evaluate({{"n", 9}}), InternalError);
  std::map<std::string, Symbol> symbols;
  dim.symbols(symbols);
  EXPECT_EQ(symbols.size(), 2u);
  EXPECT_EQ(symbols["n"].upper, 1000);
}

TEST(Dim, PrintsReadably) {
  EXPECT_EQ((4 * n * m - n + 1).str(), "4*m*n - n + 1");
  EXPECT_EQ((-1 * n).str(), "-n");
  EXPECT_EQ(floordiv(n, 2).str(), "floordiv(n, 2)");
  EXPECT_EQ((3 * mod(n, 4)).str(), "3*mod(n, 4)");
  EXPECT_EQ(min(n, m + 1).str(), "min(m + 1, n)");
  EXPECT_EQ(str(Shape{64, n, 2 * m}), "[64,n,2*m]");
  EXPECT_EQ(str(Shape{}), "[]");
}

TEST(Dim, Shapes) {
  EXPECT_EQ(volume({n, 4, m}), 4 * m * n);
  EXPECT_EQ(volume({}), 1);
  EXPECT_EQ(const_shape({2, 3}), (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(is_const(Shape{2, 3}));
  EXPECT_THROW(const_shape({2, n}), InternalError);
}

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Dim, Errors) {
  EXPECT_EQ(message([] { Dim::symbol({.name = "n", .lower = 0, .upper = 5}); }),
            "dimension n is declared with bounds [0, 1000] and with [0, 5]: use another name");
  EXPECT_EQ(message([] { Dim::symbol({.name = "q", .lower = 2, .upper = 1}); }),
            "dimension q has no values: its bounds are [2, 1]");
  EXPECT_EQ(message([] { Dim::symbol({.name = "2 x"}); }),
            "\"2 x\" cannot name a dimension: use letters, digits, _ . %, and do not start with a digit");
  EXPECT_EQ(message([] { floordiv(n, 0); }), "dimension n is divided by zero");
  EXPECT_EQ(message([] { Dim(INT64_MAX) + 1; }), "a dimension does not fit 64 bits: 9223372036854775807 + 1");
}

TEST(Dim, NamesAreFreeAgainOnceUnused) {
  {
    const Dim q = floordiv(Dim::symbol({.name = "q", .lower = 0, .upper = 5}), 2);
  }
  EXPECT_EQ(Dim::symbol({.name = "q", .lower = 0, .upper = 9}).upper(), 9);
}

// A random expression, as the Dim it makes and as the plain tree it means.
class Fuzz {
 public:
  struct Tree {
    char op;  // 'n' for a constant, 's' for a symbol, else an operation
    int64_t value;
    std::vector<Tree> operands;
  };
  static constexpr std::pair<int64_t, int64_t> kBounds[] = {{0, 9}, {1, 6}, {-5, 5}};

  explicit Fuzz(unsigned seed) : random_(seed) {
    for (const auto& [lower, upper] : kBounds)
      symbols_.push_back(Dim::symbol(
          {.name = "s" + std::to_string(symbols_.size()), .lower = lower, .upper = upper, .hint = lower}));
  }

  int64_t pick(int64_t lower, int64_t upper) {
    return std::uniform_int_distribution<int64_t>(lower, upper)(random_);
  }

  Tree tree(int depth) {
    if (depth == 0) return pick(0, 2) ? Tree{'s', pick(0, 2), {}} : Tree{'n', pick(-9, 9), {}};
    const char op = "++-**///%%<>"[pick(0, 11)];
    Tree left = tree(static_cast<int>(pick(0, depth - 1)));
    const bool by_integer = (op == '/' || op == '%') && pick(0, 2);
    Tree right = by_integer ? Tree{'n', pick(1, 8), {}} : tree(static_cast<int>(pick(0, depth - 1)));
    return {op, 0, {std::move(left), std::move(right)}};
  }

  Dim dim(const Tree& tree) const {
    if (tree.op == 'n') return tree.value;
    if (tree.op == 's') return symbols_[tree.value];
    const Dim a = dim(tree.operands[0]), b = dim(tree.operands[1]);
    switch (tree.op) {
      case '+': return a + b;
      case '-': return a - b;
      case '*': return a * b;
      case '/': return floordiv(a, b);
      case '%': return mod(a, b);
      case '<': return min(a, b);
      default: return max(a, b);
    }
  }

  // Nothing where the tree divides by zero.
  static std::optional<int64_t> value(const Tree& tree, const std::vector<int64_t>& at) {
    if (tree.op == 'n') return tree.value;
    if (tree.op == 's') return at[tree.value];
    const auto a = value(tree.operands[0], at), b = value(tree.operands[1], at);
    if (!a || !b || ((tree.op == '/' || tree.op == '%') && *b == 0)) return {};
    const auto floor = [](int64_t x, int64_t y) { return (x - ((x % y) + y) % y) / y; };
    switch (tree.op) {
      case '+': return *a + *b;
      case '-': return *a - *b;
      case '*': return *a * *b;
      case '/': return floor(*a, *b);
      case '%': return *a - *b * floor(*a, *b);
      case '<': return std::min(*a, *b);
      default: return std::max(*a, *b);
    }
  }

  std::vector<int64_t> point() {
    std::vector<int64_t> at;
    for (const auto& [lower, upper] : kBounds) at.push_back(pick(lower, upper));
    return at;
  }

  Dim parsed(const std::string& text) const {
    Lexer lexer(text, "fuzz");
    for (const Dim& symbol : symbols_) lexer.declare(symbol);
    return lexer.dim();
  }

 private:
  std::mt19937 random_;
  std::vector<Dim> symbols_;
};

TEST(Dim, NormalFormMeansWhatTheExpressionMeans) {
  Fuzz fuzz(1);
  for (int round = 0; round < 20000; ++round) {
    const Fuzz::Tree left = fuzz.tree(4), right = fuzz.tree(3);
    Dim a, b;
    try {
      a = fuzz.dim(left);
      b = fuzz.dim(right);
    } catch (const UserError&) {
      continue;  // a divisor that is the integer zero
    }
    SCOPED_TRACE(a.str() + "  and  " + b.str());
    ASSERT_EQ(fuzz.parsed(a.str()), a);
    ASSERT_EQ(a + b - b, a);
    const bool is_le = provably_le(a, b), divides = provably_divides(4, a);
    for (int i = 0; i < 10; ++i) {
      const std::vector<int64_t> at = fuzz.point();
      const auto x = Fuzz::value(left, at), y = Fuzz::value(right, at);
      if (!x || !y) continue;
      ASSERT_EQ(a.evaluate({{"s0", at[0]}, {"s1", at[1]}, {"s2", at[2]}}), *x);
      ASSERT_LE(a.lower(), *x);
      ASSERT_GE(a.upper(), *x);
      ASSERT_TRUE(!is_le || *x <= *y);
      ASSERT_TRUE(!divides || *x % 4 == 0);
    }
  }
}

}  // namespace
}  // namespace tenfold
