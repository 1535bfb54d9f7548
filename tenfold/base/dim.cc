#include "tenfold/base/dim.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "tenfold/base/error.h"
#include "tenfold/base/hash.h"

namespace tenfold {

Dim make_dim(std::shared_ptr<const Dim::Expr> expr) {
  Dim dim;
  dim.expr_ = std::move(expr);
  return dim;
}

bool MonomialOrder::operator()(const Monomial& a, const Monomial& b) const {
  if (a.size() != b.size()) return a.size() > b.size();
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i]) return a[i]->text < b[i]->text;
  return false;
}

namespace {

using AtomRef = std::shared_ptr<const Atom>;
using Op = Atom::Op;

// Arithmetic on integers: exact, or an error.

int64_t add_exact(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) user_error("a dimension does not fit 64 bits: {} + {}", a, b);
  return sum;
}

int64_t mul_exact(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) user_error("a dimension does not fit 64 bits: {} * {}", a, b);
  return product;
}

int64_t floordiv_exact(int64_t a, int64_t b) {
  if (b == 0) user_error("a dimension divides {} by zero", a);
  if (b == -1) return mul_exact(a, -1);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// Arithmetic on bounds: the ends of int64 stand for no bound, and nothing leads back from them.

constexpr int64_t kUnder = std::numeric_limits<int64_t>::min();
constexpr int64_t kOver = std::numeric_limits<int64_t>::max();

struct Interval {
  int64_t lower, upper;
};

bool is_unbounded(int64_t a) { return a == kUnder || a == kOver; }

int64_t add_bound(int64_t a, int64_t b, int64_t unbounded) {
  int64_t sum = 0;
  if (a == unbounded || b == unbounded) return unbounded;
  if (__builtin_add_overflow(a, b, &sum)) return a < 0 ? kUnder : kOver;
  return sum;
}

int64_t mul_bound(int64_t a, int64_t b) {
  int64_t product = 0;
  if (a == 0 || b == 0) return 0;
  if (is_unbounded(a) || is_unbounded(b) || __builtin_mul_overflow(a, b, &product))
    return (a < 0) == (b < 0) ? kOver : kUnder;
  return product;
}

int64_t floordiv_bound(int64_t a, int64_t b) {
  if (is_unbounded(a)) return (a < 0) == (b < 0) ? kOver : kUnder;
  return floordiv_exact(a, b);
}

Interval add(Interval a, Interval b) {
  return {add_bound(a.lower, b.lower, kUnder), add_bound(a.upper, b.upper, kOver)};
}

template <class F>  // f takes its extremes over a x b at the corners
Interval corners(Interval a, Interval b, F f) {
  const auto [least, most] =
      std::minmax({f(a.lower, b.lower), f(a.lower, b.upper), f(a.upper, b.lower), f(a.upper, b.upper)});
  return {least, most};
}

Interval bounds_of(const Dim& dim) { return {dim.lower(), dim.upper()}; }

Interval bounds_of(const Polynomial& terms) {
  Interval total{0, 0};
  for (const auto& [monomial, coefficient] : terms) {
    Interval product{coefficient, coefficient};
    for (const AtomRef& atom : monomial) product = corners(product, {atom->lower, atom->upper}, mul_bound);
    total = add(total, product);
  }
  return total;
}

Interval bounds_of(Op op, const Dim& left, const Dim& right) {
  const Interval a = bounds_of(left), b = bounds_of(right);
  switch (op) {
    case Op::min: return {std::min(a.lower, b.lower), std::min(a.upper, b.upper)};
    case Op::max: return {std::max(a.lower, b.lower), std::max(a.upper, b.upper)};
    case Op::mod:  // between 0 and the divisor, which it never reaches
      return {b.lower > 0 ? 0 : std::min<int64_t>(0, add_bound(b.lower, 1, kUnder)),
              b.upper < 0 ? 0 : std::max<int64_t>(0, add_bound(b.upper, -1, kOver))};
    default: break;
  }
  Interval quotient{kOver, kUnder};  // monotone on each side of a zero divisor
  for (const Interval side : {Interval{b.lower, std::min<int64_t>(b.upper, -1)},
                              Interval{std::max<int64_t>(b.lower, 1), b.upper}}) {
    if (side.lower > side.upper) continue;
    const Interval part = corners(a, side, floordiv_bound);
    quotient = {std::min(quotient.lower, part.lower), std::max(quotient.upper, part.upper)};
  }
  if (quotient.lower > quotient.upper) user_error("a dimension divides {} by zero", left.str());
  return quotient;
}

// Atoms.

struct Interned {
  std::mutex mutex;
  std::unordered_map<std::string, std::weak_ptr<const Atom>> atoms;
};

Interned& interned() {
  static auto* table = new Interned;  // never destroyed: static Dims may outlive any order of destruction
  return *table;
}

void forget(const Atom* atom) {
  {
    const std::lock_guard lock(interned().mutex);
    const auto found = interned().atoms.find(atom->text);
    if (found != interned().atoms.end() && found->second.expired()) interned().atoms.erase(found);
  }
  delete atom;  // may forget its operands in turn, so not under the lock
}

AtomRef intern(Atom atom) {
  AtomRef fresh(new Atom(std::move(atom)), forget);
  const std::lock_guard lock(interned().mutex);
  std::weak_ptr<const Atom>& slot = interned().atoms[fresh->text];
  if (AtomRef known = slot.lock()) return known;
  slot = fresh;
  return fresh;
}

AtomRef make_atom(Op op, const Dim& left, const Dim& right) {
  static constexpr std::string_view kNames[] = {"", "floordiv", "mod", "min", "max"};
  const Interval bounds = bounds_of(op, left, right);
  return intern({.op = op,
                 .symbol = {},
                 .left = left,
                 .right = right,
                 .text = fmt::format("{}({}, {})", kNames[static_cast<int>(op)], left.str(), right.str()),
                 .lower = bounds.lower,
                 .upper = bounds.upper});
}

// Polynomials.

Polynomial terms_of(const Dim& dim) {
  if (!dim.is_const()) return dim.expr()->terms;
  if (dim.value() == 0) return {};
  return {{{}, dim.value()}};
}

void add_term(Polynomial& terms, const Monomial& monomial, int64_t coefficient) {
  int64_t& sum = terms[monomial];
  sum = add_exact(sum, coefficient);
  if (sum == 0) terms.erase(monomial);
}

Monomial times(const Monomial& a, const Monomial& b) {
  Monomial product;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(product),
             [](const AtomRef& x, const AtomRef& y) { return x->text < y->text; });
  return product;
}

std::optional<Monomial> divide(Monomial a, const Monomial& b) {
  for (const AtomRef& atom : b) {
    const auto found = std::find(a.begin(), a.end(), atom);
    if (found == a.end()) return {};
    a.erase(found);
  }
  return a;
}

// terms += coefficient * monomial * factor
void add_product(Polynomial& terms, const Polynomial& factor, const Monomial& monomial, int64_t coefficient) {
  for (const auto& [m, k] : factor) add_term(terms, times(m, monomial), mul_exact(k, coefficient));
}

// One step of writing mod(p, d) for p - d*floordiv(p, d), where that leaves no more terms than there were.
std::optional<Polynomial> with_mod(const Polynomial& terms) {
  for (const auto& [monomial, coefficient] : terms) {
    for (const AtomRef& atom : monomial) {
      if (atom->op != Op::floordiv) continue;
      const Polynomial divisor = terms_of(atom->right);
      const auto& [leading, scale] = *divisor.begin();
      const auto rest = divide(*divide(monomial, {atom}), leading);
      if (!rest || coefficient % scale != 0) continue;
      const int64_t count = -(coefficient / scale);
      Polynomial changed = terms;
      add_product(changed, {{{make_atom(Op::mod, atom->left, atom->right)}, 1}}, *rest, count);
      add_product(changed, divisor, times(*rest, {atom}), count);
      add_product(changed, terms_of(atom->left), *rest, -count);
      if (changed.size() <= terms.size()) return changed;
    }
  }
  return {};
}

Dim dim_of(Polynomial terms) {
  if (terms.empty()) return 0;
  if (terms.begin()->first.empty()) return terms.begin()->second;
  auto expr = std::make_shared<Dim::Expr>();
  expr->shown = terms;
  while (auto changed = with_mod(expr->shown)) expr->shown = std::move(*changed);
  const Interval plain = bounds_of(terms), shown = bounds_of(expr->shown);
  expr->lower = std::max(plain.lower, shown.lower);
  expr->upper = std::min(plain.upper, shown.upper);
  expr->terms = std::move(terms);
  return make_dim(std::move(expr));
}

Dim dim_of(AtomRef atom) { return dim_of(Polynomial{{{std::move(atom)}, 1}}); }

// a / b for a divisor of one term: takes out of `a` what divides exactly, and returns the quotient.
Polynomial take_quotient(Polynomial& a, const Monomial& divisor, int64_t scale) {
  Polynomial quotient, remainder;
  for (const auto& [monomial, coefficient] : a) {
    const auto rest = divide(monomial, divisor);
    // Rounding the constant down gives remainders >= 0; symbols keep the sign the user wrote.
    const int64_t count = !rest              ? 0
                          : monomial.empty() ? floordiv_exact(coefficient, scale)
                                             : coefficient / scale;
    if (count != 0) add_term(quotient, *rest, count);
    if (coefficient != count * scale) add_term(remainder, monomial, coefficient - count * scale);
  }
  a = std::move(remainder);
  return quotient;
}

// floordiv(g*s + t, g*c) = floordiv(s, c) if 0 <= t < g: for the first such g that some coefficient shares
// with the divisor.
std::optional<Dim> with_smaller_divisor(const Polynomial& terms, int64_t divisor) {
  for (const auto& [monomial, coefficient] : terms) {
    const int64_t factor = std::gcd(coefficient, divisor);
    if (monomial.empty() || factor == 1) continue;
    Polynomial multiple, rest;
    for (const auto& [m, k] : terms) {
      if (m.empty() || k % factor == 0) {
        const int64_t count = floordiv_exact(k, factor);
        if (count != 0) multiple[m] = count;
        if (k != count * factor) rest[m] = k - count * factor;
      } else {
        rest[m] = k;
      }
    }
    const Interval bounds = bounds_of(dim_of(rest));
    if (bounds.lower >= 0 && bounds.upper < factor) return floordiv(dim_of(multiple), divisor / factor);
  }
  return {};
}

// floordiv(floordiv(x, b) + k, c) = floordiv(x + k*b, b*c)
std::optional<Dim> with_flat_division(const Polynomial& terms, int64_t divisor) {
  const auto& [monomial, coefficient] = *terms.begin();
  if (monomial.size() != 1 || coefficient != 1 || monomial[0]->op != Op::floordiv) return {};
  const Dim& inner = monomial[0]->right;
  int64_t product = 0;
  if (!inner.is_const() || __builtin_mul_overflow(inner.value(), divisor, &product)) return {};
  if (terms.size() == 1) return floordiv(monomial[0]->left, product);
  if (terms.size() == 2 && terms.rbegin()->first.empty())
    return floordiv(monomial[0]->left + terms.rbegin()->second * inner, product);
  return {};
}

Dim floordiv_by_positive(const Dim& a, int64_t divisor) {
  Polynomial rest = terms_of(a);
  const Dim quotient = dim_of(take_quotient(rest, {}, divisor));
  const Dim remainder = dim_of(rest);
  const int64_t least = floordiv_bound(remainder.lower(), divisor);
  if (!is_unbounded(least) && least == floordiv_bound(remainder.upper(), divisor)) return quotient + least;
  if (const auto smaller = with_smaller_divisor(rest, divisor)) return quotient + *smaller;
  if (const auto flat = with_flat_division(rest, divisor)) return quotient + *flat;
  return quotient + dim_of(make_atom(Op::floordiv, remainder, divisor));
}

template <class Lookup>
int64_t evaluate(const Dim& dim, const Lookup& value_of);

template <class Lookup>
int64_t evaluate(const Atom& atom, const Lookup& value_of) {
  if (atom.op == Op::symbol) return value_of(atom.symbol);
  const int64_t a = evaluate(atom.left, value_of), b = evaluate(atom.right, value_of);
  switch (atom.op) {
    case Op::min: return std::min(a, b);
    case Op::max: return std::max(a, b);
    case Op::mod: return a - b * floordiv_exact(a, b);
    default: return floordiv_exact(a, b);
  }
}

template <class Lookup>
int64_t evaluate(const Dim& dim, const Lookup& value_of) {
  if (dim.is_const()) return dim.value();
  int64_t total = 0;
  for (const auto& [monomial, coefficient] : dim.expr()->shown) {
    int64_t product = coefficient;
    for (const AtomRef& atom : monomial) product = mul_exact(product, evaluate(*atom, value_of));
    total = add_exact(total, product);
  }
  return total;
}

Dim substitute(const Dim& dim, const AtomRef& atom, const Dim& value) {
  Dim total;
  for (const auto& [monomial, coefficient] : dim.expr()->terms) {
    Dim product = coefficient;
    for (const AtomRef& factor : monomial) product *= factor == atom ? value : dim_of(factor);
    total += product;
  }
  return total;
}

constexpr int kCases = 4;  // how many min and max terms a proof may split on

bool provably_nonpositive(const Dim& dim, int cases = kCases) {
  if (dim.upper() <= 0) return true;
  if (dim.is_const() || dim.lower() > 0 || cases == 0) return false;
  const Polynomial& terms = dim.expr()->terms;
  for (const auto& [monomial, coefficient] : terms) {
    for (const AtomRef& atom : monomial) {
      // Scaled, c*floordiv(p, c) can meet the terms of p.
      if (atom->op == Op::floordiv && atom->right.is_const() && (atom->right * dim).upper() <= 0) return true;
      if (atom->op != Op::min && atom->op != Op::max) continue;
      const bool is_linear =
          monomial.size() == 1 && std::count_if(terms.begin(), terms.end(), [&](const auto& term) {
                                    return divide(term.first, {atom}).has_value();
                                  }) == 1;
      const bool with_left = provably_nonpositive(substitute(dim, atom, atom->left), cases - 1);
      const bool with_right = provably_nonpositive(substitute(dim, atom, atom->right), cases - 1);
      // Replacing min(l, r) by either operand cannot make k*min smaller if k > 0.
      if (is_linear && (coefficient > 0) == (atom->op == Op::min)) return with_left || with_right;
      return with_left && with_right;
    }
  }
  return false;
}

}  // namespace

Dim Dim::symbol(Symbol symbol) {
  const auto is_name_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '%';
  };
  if (symbol.name.empty() || std::string_view("0123456789.").find(symbol.name[0]) != std::string_view::npos ||
      !std::all_of(symbol.name.begin(), symbol.name.end(), is_name_char))
    user_error("\"{}\" cannot name a dimension: use letters, digits, _ . %, and do not start with a digit",
               symbol.name);
  if (symbol.lower > symbol.upper)
    user_error("dimension {} has no values: its bounds are [{}, {}]", symbol.name, symbol.lower,
               symbol.upper);
  const AtomRef atom = intern({.op = Op::symbol,
                               .symbol = symbol,
                               .left = {},
                               .right = {},
                               .text = symbol.name,
                               .lower = symbol.lower,
                               .upper = symbol.upper});
  if (atom->lower != symbol.lower || atom->upper != symbol.upper)
    user_error("dimension {} is declared with bounds [{}, {}] and with [{}, {}]: use another name",
               symbol.name, atom->lower, atom->upper, symbol.lower, symbol.upper);
  return dim_of(atom);
}

int64_t Dim::value() const {
  TENFOLD_CHECK(is_const(), "dimension {} is not an integer", str());
  return value_;
}

int64_t Dim::lower() const { return expr_ ? expr_->lower : value_; }
int64_t Dim::upper() const { return expr_ ? expr_->upper : value_; }

int64_t Dim::hint() const {
  return tenfold::evaluate(*this, [](const Symbol& s) { return std::clamp(s.hint, s.lower, s.upper); });
}

int64_t Dim::evaluate(const std::map<std::string, int64_t>& bindings) const {
  return tenfold::evaluate(*this, [&](const Symbol& symbol) {
    const auto found = bindings.find(symbol.name);
    TENFOLD_CHECK(found != bindings.end(), "dimension {} has no value", symbol.name);
    return found->second;
  });
}

void Dim::symbols(std::map<std::string, Symbol>& into) const {
  if (!expr_) return;
  for (const auto& [monomial, coefficient] : expr_->terms) {
    for (const AtomRef& atom : monomial) {
      if (atom->op == Op::symbol) into.emplace(atom->symbol.name, atom->symbol);
      atom->left.symbols(into);
      atom->right.symbols(into);
    }
  }
}

std::string Dim::str() const {
  if (!expr_) return std::to_string(value_);
  std::string text;
  for (const auto& [monomial, coefficient] : expr_->shown) {
    // The sign stands apart from the magnitude, which as an unsigned number has room for -2^63.
    const uint64_t magnitude = coefficient < 0 ? -static_cast<uint64_t>(coefficient) : coefficient;
    text += text.empty() ? (coefficient < 0 ? "-" : "") : (coefficient < 0 ? " - " : " + ");
    std::string_view separator;
    if (magnitude != 1 || monomial.empty()) {
      text += std::to_string(magnitude);
      separator = "*";
    }
    for (const AtomRef& atom : monomial) {
      text.append(separator).append(atom->text);
      separator = "*";
    }
  }
  return text;
}

size_t Dim::hash() const {
  if (!expr_) return hash_of(0, value_);
  size_t seed = 1;
  for (const auto& [monomial, coefficient] : expr_->terms) {
    for (const AtomRef& atom : monomial) seed = hash_of(seed, atom->text);
    seed = hash_of(seed, coefficient);
  }
  return seed;
}

bool operator==(const Dim& a, const Dim& b) {
  if (a.is_const() || b.is_const()) return a.is_const() && b.is_const() && a.value_ == b.value_;
  return a.expr_ == b.expr_ || a.expr_->terms == b.expr_->terms;
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return add_exact(a.value_, b.value_);
  Polynomial sum = terms_of(a);
  add_product(sum, terms_of(b), {}, 1);
  return dim_of(std::move(sum));
}

Dim operator-(const Dim& a, const Dim& b) { return a + -1 * b; }

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return mul_exact(a.value_, b.value_);
  Polynomial product;
  const Polynomial factor = terms_of(b);
  for (const auto& [monomial, coefficient] : terms_of(a)) add_product(product, factor, monomial, coefficient);
  return dim_of(std::move(product));
}

Dim floordiv(const Dim& a, const Dim& b) {
  if (b.is_const()) {
    if (a.is_const()) return floordiv_exact(a.value(), b.value());
    if (b == 0) user_error("dimension {} is divided by zero", a.str());
    return b.value() > 0 ? floordiv_by_positive(a, b.value()) : floordiv_by_positive(-1 * a, -b.value());
  }
  if (a == 0) return 0;
  if (a == b) return 1;
  Polynomial rest = terms_of(a), divisor = terms_of(b);
  Dim quotient;
  if (divisor.size() == 1)
    quotient = dim_of(take_quotient(rest, divisor.begin()->first, divisor.begin()->second));
  const Dim remainder = dim_of(rest);
  if (remainder == 0 || (provably_le(0, remainder) && provably_lt(remainder, b))) return quotient;
  return quotient + dim_of(make_atom(Op::floordiv, remainder, b));
}

Dim ceildiv(const Dim& a, const Dim& b) {
  return b.lower() > 0 ? floordiv(a + b - 1, b) : -1 * floordiv(-1 * a, b);
}

Dim mod(const Dim& a, const Dim& b) { return a - b * floordiv(a, b); }

Dim min(const Dim& a, const Dim& b) {
  if (provably_le(a, b)) return a;
  if (provably_le(b, a)) return b;
  return a.str() < b.str() ? dim_of(make_atom(Op::min, a, b)) : dim_of(make_atom(Op::min, b, a));
}

Dim max(const Dim& a, const Dim& b) {
  if (provably_le(a, b)) return b;
  if (provably_le(b, a)) return a;
  return a.str() < b.str() ? dim_of(make_atom(Op::max, a, b)) : dim_of(make_atom(Op::max, b, a));
}

bool provably_le(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return a.value() <= b.value();
  return (a.upper() <= b.lower() && !is_unbounded(b.lower())) || provably_nonpositive(a - b);
}

bool provably_divides(int64_t divisor, const Dim& dim) {
  if (divisor == 0) return dim == 0;
  return mod(dim, divisor) == 0;
}

std::string str(const Shape& shape) {
  std::string text = "[";
  for (const Dim& dim : shape) text.append(text.size() > 1 ? "," : "").append(dim.str());
  return text + "]";
}

Dim volume(const Shape& shape) {
  Dim product = 1;
  for (const Dim& dim : shape) product *= dim;
  return product;
}

bool is_const(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& dim) { return dim.is_const(); });
}

std::vector<int64_t> const_shape(const Shape& shape) {
  std::vector<int64_t> values;
  for (const Dim& dim : shape) values.push_back(dim.value());
  return values;
}

}  // namespace tenfold
