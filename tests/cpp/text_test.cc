#include "tenfold/base/text.h"

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

#include "tenfold/base/dim.h"
#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"

namespace tenfold {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string message(std::string_view text, const std::function<void(Lexer&)>& body) {
  Lexer lexer(text, "a.ten");
  try {
    body(lexer);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Lexer, Tokens) {
  Lexer lexer("%12 = add.f32(x, -3) # sum\n  -> \"a\\\"\\x41\\n\" 1.5 |\n---- plan machine=avx512 \n}",
              "a.ten");
  EXPECT_EQ(lexer.identifier("a name"), "%12");
  lexer.expect("=");
  EXPECT_EQ(lexer.identifier("an operation"), "add.f32");
  lexer.expect("(");
  EXPECT_TRUE(lexer.accept("x"));
  EXPECT_FALSE(lexer.accept("x"));
  lexer.expect(",");
  EXPECT_EQ(lexer.integer("a count"), -3);
  lexer.expect(")");
  EXPECT_EQ(lexer.peek().line, 2);
  EXPECT_EQ(lexer.peek().column, 3);
  lexer.expect("->");
  EXPECT_EQ(lexer.string("text"), "a\"A\n");
  EXPECT_EQ(lexer.number("a value"), 1.5);
  lexer.expect("|");
  EXPECT_EQ(lexer.peek().kind, TokenKind::section);
  EXPECT_EQ(lexer.next().text, "plan machine=avx512");
  lexer.expect("}");
  EXPECT_EQ(lexer.next().kind, TokenKind::end);
  EXPECT_EQ(lexer.next().kind, TokenKind::end);
}

TEST(Lexer, Numbers) {
  Lexer lexer("1.5 -1e-5 inf -inf nan 0x1.8p3 7 .5 2e+3 0x1p-2 1.0", "a.ten");
  for (const double expected : {1.5, -1e-5, kInfinity, -kInfinity}) EXPECT_EQ(lexer.number("x"), expected);
  EXPECT_TRUE(std::isnan(lexer.number("x")));
  for (const double expected : {12.0, 7.0, .5, 2e3, .25}) EXPECT_EQ(lexer.number("x"), expected);
  EXPECT_EQ(lexer.peek().kind, TokenKind::floating);
  Lexer integers("9223372036854775807 -9223372036854775808 0xff n-1", "a.ten");
  EXPECT_EQ(integers.integer("i"), INT64_MAX);
  EXPECT_EQ(integers.integer("i"), INT64_MIN);
  EXPECT_EQ(integers.integer("i"), 255);
  integers.expect("n");
  EXPECT_EQ(integers.integer("i"), -1);
}

TEST(Lexer, Errors) {
  const auto next = [](Lexer& lexer) { lexer.next(); };
  EXPECT_EQ(message("\n  ;", [](Lexer& l) { l.expect("("); }), "a.ten:2:3: expected '(', found ';'");
  EXPECT_EQ(message("", [](Lexer& l) { l.expect("("); }),
            "a.ten:1:1: expected '(', found the end of the text");
  EXPECT_EQ(message("\"s\"", [](Lexer& l) { l.identifier("a name"); }),
            "a.ten:1:1: expected a name, found the string \"s\"");
  EXPECT_EQ(message("1.5", [](Lexer& l) { l.integer("axis"); }),
            "a.ten:1:1: expected axis (an integer), found '1.5'");
  EXPECT_EQ(message("x", [](Lexer& l) { l.number("scale"); }),
            "a.ten:1:1: expected scale (a number), found 'x'");
  EXPECT_EQ(message("9223372036854775808", [](Lexer& l) { l.integer("axis"); }),
            "a.ten:1:1: 9223372036854775808 does not fit 64 bits");
  EXPECT_EQ(message("1.2.3", next), "a.ten:1:1: '1.2.3' is not a number");
  EXPECT_EQ(message("\"abc\n\"", next), "a.ten:1:1: this string has no closing quote");
  EXPECT_EQ(message("\"\\q\"", next),
            "a.ten:1:1: this string has an escape other than \\\" \\\\ \\n \\t \\r \\xHH");
  EXPECT_EQ(message("a\n ?", [](Lexer& l) { l.next(), l.next(); }),
            "a.ten:2:2: the character '?' has no meaning here");
}

TEST(Lexer, Dims) {
  const Dim n = Dim::symbol({.name = "n"}), m = Dim::symbol({.name = "m"});
  Lexer lexer("4*n + 1, -n*(m - 2), ceildiv(n, 8), min(n, m*2)", "a.ten");
  lexer.declare(n);
  lexer.declare(m);
  for (const Dim& expected : {4 * n + 1, n * (2 - m), ceildiv(n, 8), min(n, 2 * m)}) {
    EXPECT_EQ(lexer.dim(), expected);
    lexer.accept(",");
  }
  EXPECT_EQ(message("4*q", [](Lexer& l) { l.dim(); }), "a.ten:1:3: the symbol 'q' has not been declared");
  EXPECT_EQ(message("gcd(1, 2)", [](Lexer& l) { l.dim(); }),
            "a.ten:1:1: 'gcd' is none of floordiv, ceildiv, mod, min, max");
  EXPECT_EQ(message("floordiv(1, 0)", [](Lexer& l) { l.dim(); }), "a.ten:1:1: a dimension divides 1 by zero");
  EXPECT_EQ(message(std::string(100000, '('), [](Lexer& l) { l.dim(); }),
            "a.ten:1:257: this dimension is nested more than 256 deep");
}

TEST(Text, QuoteReadsBack) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  const std::string quoted = quote(all);
  EXPECT_EQ(Lexer(quoted, "a.ten").string("text"), all);
  EXPECT_EQ(quote("a\"\n\x01"), "\"a\\\"\\n\\x01\"");
}

TEST(Text, FloatTextReadsBack) {
  for (const double x :
       {0.0, -0.0, 1.0, 0.1, -1e-5, 1e300, 0x1p-1074, 123456789.0, 1e16, kInfinity, -kInfinity}) {
    const std::string text = float_text(x);
    Lexer lexer(text, "a.ten");
    const double back = lexer.number("x");
    EXPECT_EQ(back, x);
    EXPECT_EQ(std::signbit(back), std::signbit(x));
  }
  EXPECT_EQ(float_text(1), "1.0");
  EXPECT_EQ(float_text(0.1), "0.1");
  EXPECT_EQ(float_text(-NAN), "nan");
}

TEST(Hash, DigestsAreStable) {
  EXPECT_EQ(digest(""), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing, from its specification
  EXPECT_NE(digest("a"), digest("b"));
  EXPECT_EQ(hash_bytes("", 0), 0x2d06800538d394c2u);
  EXPECT_NE(hash_bytes("a", 1, 0), hash_bytes("a", 1, 1));
  EXPECT_NE(hash_combine(hash_combine(0, 1), 2), hash_combine(hash_combine(0, 2), 1));
}

}  // namespace
}  // namespace tenfold
