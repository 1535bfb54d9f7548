#include "tenfold/base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>

#include "tenfold/base/dim.h"
#include "tenfold/base/error.h"

namespace tenfold {
namespace {

// <cctype> follows the locale; a file format must not.
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '%';
}
bool is_word(char c) { return is_word_start(c) || is_digit(c) || c == '.'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string described(const Token& token) {
  switch (token.kind) {
    case TokenKind::end: return "the end of the text";
    case TokenKind::string: return "the string " + quote(token.text);
    case TokenKind::section: return "the section line '---- " + token.text + "'";
    default: return "'" + token.text + "'";
  }
}

bool is_number(const Token& token) {
  return token.kind == TokenKind::integer || token.kind == TokenKind::floating;
}

}  // namespace

struct Lexer::State {
  std::string_view text;
  std::string file;
  size_t at = 0;
  size_t line_start = 0;
  int line = 1;
  std::optional<Token> ahead;
  std::map<std::string, Dim> symbols;

  char look(size_t offset = 0) const { return at + offset < text.size() ? text[at + offset] : '\0'; }

  [[noreturn]] void fail(const Token& where, std::string_view reason) const {
    user_error("{}:{}:{}: {}", file, where.line, where.column, reason);
  }

  void skip_blanks_and_comments() {
    while (at < text.size()) {
      if (text[at] == '\n') {
        line_start = ++at;
        ++line;
      } else if (is_space(text[at])) {
        ++at;
      } else if (text[at] == '#') {
        at = std::min(text.find('\n', at), text.size());
      } else {
        return;
      }
    }
  }

  Token scan() {
    skip_blanks_and_comments();
    Token token{
        .kind = TokenKind::end, .text = {}, .line = line, .column = static_cast<int>(at - line_start) + 1};
    if (at >= text.size()) return token;
    const char c = text[at];
    if (at == line_start && text.substr(at).starts_with("----")) {
      const size_t end = std::min(text.find('\n', at), text.size());
      token.kind = TokenKind::section;
      token.text = trimmed(text.substr(at + 4, end - at - 4));
      at = end;
    } else if (is_word_start(c)) {
      token.text = take_while(is_word);
      token.kind = token.text == "inf" || token.text == "nan" ? TokenKind::floating : TokenKind::identifier;
    } else if (is_digit(c) || (c == '.' && is_digit(look(1)))) {
      scan_number(token);
    } else if (c == '"') {
      scan_string(token);
    } else if ((c == '-' && look(1) == '>') || (c == '.' && look(1) == '.')) {
      token.kind = TokenKind::punctuation;
      token.text = c == '-' ? "->" : "..";
      at += 2;
    } else if (std::string_view("()[]{}<>,:;=+-*/@|!").find(c) != std::string_view::npos) {
      token.kind = TokenKind::punctuation;
      token.text = c;
      ++at;
    } else {
      fail(token, fmt::format("the character '{}' has no meaning here", c));
    }
    return token;
  }

  template <class Predicate>
  std::string take_while(Predicate holds) {
    const size_t start = at;
    while (at < text.size() && holds(text[at])) ++at;
    return std::string(text.substr(start, at - start));
  }

  // Takes letters, digits, dots and a sign after an exponent letter, then asks strtod whether that is a
  // number.
  void scan_number(Token& token) {
    const bool is_hex = look() == '0' && (look(1) == 'x' || look(1) == 'X');
    const auto is_exponent = [&](char c) { return is_hex ? c == 'p' || c == 'P' : c == 'e' || c == 'E'; };
    char last = 0;
    bool is_floating = false;
    token.text = take_while([&](char c) {
      if (!is_word(c) && !((c == '+' || c == '-') && is_exponent(last))) return false;
      if (c == '.' && look(1) == '.') return false;  // 1..4096 is a range
      is_floating |= c == '.' || is_exponent(c);
      last = c;
      return true;
    });
    char* end = nullptr;
    std::strtod(token.text.c_str(), &end);
    if (*end != '\0') fail(token, fmt::format("'{}' is not a number", token.text));
    token.kind = is_floating ? TokenKind::floating : TokenKind::integer;
  }

  void scan_string(Token& token) {
    token.kind = TokenKind::string;
    for (++at; look() != '"'; ++at) {
      if (at >= text.size() || text[at] == '\n') fail(token, "this string has no closing quote");
      token.text += text[at] == '\\' ? unescape(token) : text[at];
    }
    ++at;
  }

  char unescape(const Token& token) {  // leaves `at` on the escape's last character
    switch (const char c = text[at + 1 < text.size() ? ++at : at]) {
      case '"':
      case '\\': return c;
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'x': {
        unsigned value = 0;
        const std::string_view digits = text.substr(at + 1, 2);
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
        if (digits.size() < 2 || parsed.ptr != digits.data() + 2) break;
        at += 2;
        return static_cast<char>(value);
      }
      default: break;
    }
    fail(token, "this string has an escape other than \\\" \\\\ \\n \\t \\r \\xHH");
  }

  const Token& peek() {
    if (!ahead) ahead = scan();
    return *ahead;
  }

  Token next() {
    Token token = peek();
    ahead.reset();
    return token;
  }

  bool is_next(std::string_view text_of_token) {
    const Token& token = peek();
    return (token.kind == TokenKind::punctuation || token.kind == TokenKind::identifier) &&
           token.text == text_of_token;
  }
};

Lexer::Lexer(std::string_view text, std::string file) : state_(std::make_shared<State>()) {
  state_->text = text;
  state_->file = std::move(file);
}

const Token& Lexer::peek() { return state_->peek(); }
Token Lexer::next() { return state_->next(); }
void Lexer::fail(std::string_view reason) { state_->fail(peek(), reason); }
void Lexer::fail(const Token& at, std::string_view reason) { state_->fail(at, reason); }

bool Lexer::accept(std::string_view text) {
  if (!state_->is_next(text)) return false;
  next();
  return true;
}

void Lexer::expect(std::string_view text) {
  if (!accept(text)) fail(fmt::format("expected '{}', found {}", text, described(peek())));
}

std::string Lexer::identifier(std::string_view what) {
  if (peek().kind != TokenKind::identifier)
    fail(fmt::format("expected {}, found {}", what, described(peek())));
  return next().text;
}

int64_t Lexer::integer(std::string_view what) {
  std::string digits = accept("-") ? "-" : "";
  if (peek().kind != TokenKind::integer)
    fail(fmt::format("expected {} (an integer), found {}", what, described(peek())));
  const Token token = next();
  const bool is_hex = token.text.starts_with("0x") || token.text.starts_with("0X");
  digits += token.text.substr(is_hex ? 2 : 0);
  int64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, is_hex ? 16 : 10);
  if (parsed.ec != std::errc{}) fail(token, fmt::format("{} does not fit 64 bits", token.text));
  return value;
}

double Lexer::number(std::string_view what) {
  const bool is_negative = accept("-");
  if (!is_number(peek())) fail(fmt::format("expected {} (a number), found {}", what, described(peek())));
  const double value = std::strtod(next().text.c_str(), nullptr);
  return is_negative ? -value : value;
}

std::string Lexer::string(std::string_view what) {
  if (peek().kind != TokenKind::string)
    fail(fmt::format("expected {} (a string), found {}", what, described(peek())));
  return next().text;
}

void Lexer::version() {
  const Token token = peek();
  if (integer("the format's version") != kTextVersion)
    fail(token, fmt::format("this tenfold reads version {} of the format", kTextVersion));
}

Symbol Lexer::symbol() {
  Symbol made;
  const Token token = peek();
  made.name = identifier("the symbol's name");
  expect("in");
  made.lower = integer("the least value");
  expect("..");
  made.upper = integer("the largest value");
  if (accept("hint")) made.hint = integer("the hint");
  if (state_->symbols.contains(made.name))
    fail(token, fmt::format("the symbol '{}' is declared twice", made.name));
  return made;
}

void Lexer::declare(const Dim& symbol) { state_->symbols[symbol.str()] = symbol; }

// sum     = product { ("+" | "-") product }
// product = factor { "*" factor }
// factor  = integer | symbol | "-" factor | "(" sum ")" | function "(" sum "," sum ")"
Dim Lexer::dim() {
  static constexpr int kMaxDepth = 256;  // the stack a hostile file may use
  struct Parser {
    Lexer& lexer;
    Token start;
    int depth = 0;

    // Arithmetic does not know where its operands were written.
    Dim apply(const std::function<Dim(const Dim&, const Dim&)>& function, const Dim& a, const Dim& b) {
      try {
        return function(a, b);
      } catch (const UserError& error) {
        lexer.fail(start, error.what());
      }
    }

    Dim sum() {
      Dim total = product();
      while (true) {
        if (lexer.accept("+")) {
          total = apply(std::plus{}, total, product());
        } else if (lexer.accept("-")) {
          total = apply(std::minus{}, total, product());
        } else {
          return total;
        }
      }
    }

    Dim product() {
      Dim total = factor();
      while (lexer.accept("*")) total = apply(std::multiplies{}, total, factor());
      return total;
    }

    Dim factor() {
      if (++depth > kMaxDepth)
        lexer.fail(fmt::format("this dimension is nested more than {} deep", kMaxDepth));
      const Dim value = atom();
      --depth;
      return value;
    }

    Dim atom() {
      if (lexer.peek().kind == TokenKind::integer) return lexer.integer("a dimension");
      if (lexer.accept("-")) return apply(std::minus{}, 0, factor());
      if (lexer.accept("(")) {
        const Dim inner = sum();
        lexer.expect(")");
        return inner;
      }
      const Token token = lexer.peek();
      const std::string name = lexer.identifier("a dimension");
      if (lexer.accept("(")) return call(token);
      const auto found = lexer.state_->symbols.find(name);
      if (found == lexer.state_->symbols.end())
        lexer.fail(token, fmt::format("the symbol '{}' has not been declared", name));
      return found->second;
    }

    Dim call(const Token& function) {
      static const std::map<std::string, Dim (*)(const Dim&, const Dim&)> kFunctions{
          {"floordiv", floordiv}, {"ceildiv", ceildiv}, {"mod", mod}, {"min", min}, {"max", max}};
      const auto found = kFunctions.find(function.text);
      if (found == kFunctions.end())
        lexer.fail(function, fmt::format("'{}' is none of floordiv, ceildiv, mod, min, max", function.text));
      const Dim left = sum();
      lexer.expect(",");
      const Dim right = sum();
      lexer.expect(")");
      return apply(found->second, left, right);
    }
  };
  return Parser{*this, peek()}.sum();
}

std::string quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': quoted += "\\\""; break;
      case '\\': quoted += "\\\\"; break;
      case '\n': quoted += "\\n"; break;
      case '\t': quoted += "\\t"; break;
      case '\r': quoted += "\\r"; break;
      default:
        if (static_cast<unsigned char>(c) < ' ')
          quoted += fmt::format("\\x{:02x}", c);
        else
          quoted += c;
    }
  }
  return quoted + '"';
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

}  // namespace tenfold
