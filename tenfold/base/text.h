// The one lexer of the .ten files: graph, plan and tile programs share its tokens and its errors.
// Tokens: identifier ([A-Za-z_%][A-Za-z0-9_.%]*), integer, float (1.5, 1e-5, inf, nan, 0x1.8p3), string "..."
// (escapes: \" \\ \n \t \r \xHH),
// punctuation (one of ()[]{}<>,:;=+-*/@|! and the pairs -> and ..). '#' starts a comment to the end of the
// line, except that a line starting with '----' is one token of kind Section (the rest of the line is its
// text).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace tenfold {

class Dim;
struct Symbol;

inline constexpr int64_t kTextVersion = 1;  // of the format: the first line is "tenfold 1"

enum class TokenKind : uint8_t { end, identifier, integer, floating, string, punctuation, section };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  // strings: unescaped
  int line = 1;
  int column = 1;
};

class Lexer {
 public:
  Lexer(std::string_view text, std::string file);  // the text must outlive the lexer

  const Token& peek();
  Token next();
  bool accept(std::string_view punctuation_or_word);  // consumes the token if it is this one
  void expect(std::string_view punctuation_or_word);  // UserError "file:line:column: expected ..., found ..."
  std::string identifier(std::string_view what);      // `what` names it in the error
  int64_t integer(std::string_view what);             // accepts a leading '-'
  double number(std::string_view what);               // integer or float, leading '-', inf, nan
  std::string string(std::string_view what);
  Dim dim();        // an expression in the form Dim::str() prints; symbols
                    // must have been declared (declare) first
  void version();   // what follows `tenfold`: UserError if this is another version of the format
  Symbol symbol();  // what follows `symbol`: n in 1..4096 hint 1024; UserError if n is declared already
  void declare(const Dim& symbol);  // makes a symbol's name known to dim()
  // Elements between commas up to `close`, which is consumed.
  template <class Each>
  void list(std::string_view close, const Each& each) {
    if (accept(close)) return;
    do each();
    while (accept(","));
    expect(close);
  }
  [[noreturn]] void fail(std::string_view reason);  // at the token peek() would give
  [[noreturn]] void fail(const Token& at, std::string_view reason);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

std::string quote(std::string_view);  // "..." with escapes, as the lexer reads it
std::string float_text(
    double);  // shortest float token that reads back to the same double: 1.0, 0.1, 1e-05, -inf

}  // namespace tenfold
