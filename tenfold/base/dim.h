// A dimension: an integer, or an expression in named, bounded symbols with + * floordiv mod min max.
// Expressions are kept in a normal form (a polynomial over symbols and opaque floordiv / min / max
// terms; mod(a, b) is a - b*floordiv(a, b)), so that equal polynomials compare equal. Legality never
// uses a hint; costs do. Division rounds down; dividing by zero has no meaning, so floordiv(n*m, m) is n.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tenfold {

struct Symbol {
  std::string name;
  int64_t lower = 0;
  int64_t upper = int64_t{1} << 40;
  int64_t hint = 1024;  // the value costs are evaluated at
};

struct Atom;

class Dim {
 public:
  struct Expr;  // below
  Dim(int64_t value = 0) : value_(value) {}
  static Dim symbol(Symbol);  // the same name must come with the same bounds: UserError otherwise

  bool is_const() const { return !expr_; }
  int64_t value() const;  // InternalError unless is_const()
  int64_t lower() const;  // proven bounds, inclusive
  int64_t upper() const;
  int64_t hint() const;
  int64_t evaluate(const std::map<std::string, int64_t>& bindings) const;  // InternalError if one is missing
  void symbols(std::map<std::string, Symbol>& into) const;

  std::string str() const;  // "128", "n", "4*n + 1", "floordiv(n, 2)": parses back with Lexer::dim
  size_t hash() const;
  const std::shared_ptr<const Expr>& expr() const { return expr_; }

  friend bool operator==(const Dim&, const Dim&);  // structural, on the normal form
  friend Dim operator+(const Dim&, const Dim&);
  friend Dim operator-(const Dim&, const Dim&);
  friend Dim operator*(const Dim&, const Dim&);
  Dim& operator+=(const Dim& o) { return *this = *this + o; }
  Dim& operator*=(const Dim& o) { return *this = *this * o; }

 private:
  friend Dim make_dim(std::shared_ptr<const Expr>);
  int64_t value_ = 0;
  std::shared_ptr<const Expr> expr_;  // null for an integer: the common case costs nothing
};

Dim floordiv(const Dim&, const Dim&);  // UserError if the divisor is the integer 0
Dim ceildiv(const Dim&, const Dim&);
Dim mod(const Dim&, const Dim&);
Dim min(const Dim&, const Dim&);
Dim max(const Dim&, const Dim&);

bool provably_le(const Dim&, const Dim&);
inline bool provably_lt(const Dim& a, const Dim& b) { return provably_le(a + 1, b); }
bool provably_divides(int64_t divisor, const Dim&);  // every value of the dim is a multiple of divisor
inline bool may_equal(const Dim& a, const Dim& b) { return !(provably_lt(a, b) || provably_lt(b, a)); }

using Shape = std::vector<Dim>;
std::string str(const Shape&);  // "[64,1024]"
Dim volume(const Shape&);
bool is_const(const Shape&);
std::vector<int64_t> const_shape(const Shape&);  // InternalError unless is_const

// What an expression is made of, for those who print or lower one. Atoms are interned: equal ones
// are the same object while any Dim holds them.
struct Atom {
  enum class Op : uint8_t { symbol, floordiv, mod, min, max };
  Op op = Op::symbol;
  Symbol symbol;    // of Op::symbol
  Dim left, right;  // of the others
  std::string text;
  int64_t lower = 0, upper = 0;
};
using Monomial = std::vector<std::shared_ptr<const Atom>>;  // a sorted product; empty is 1
struct MonomialOrder {                                      // by falling degree, then by text
  bool operator()(const Monomial&, const Monomial&) const;
};
using Polynomial = std::map<Monomial, int64_t, MonomialOrder>;  // no zero coefficients

struct Dim::Expr {
  Polynomial terms;  // the normal form: holds no mod
  Polynomial shown;  // the same value with mod where that is no longer: printed, bounded, lowered
  int64_t lower = 0, upper = 0;
};

}  // namespace tenfold

template <>
struct std::hash<tenfold::Dim> {
  size_t operator()(const tenfold::Dim& dim) const { return dim.hash(); }
};
