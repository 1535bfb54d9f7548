// Names, extents, forms and bounds as C.
#include "tenfold/target/ctext/writer.h"

namespace tenfold::ctext {
namespace {

const std::set<std::string_view> kReserved = {
    "auto",    "bool",        "break",       "case",      "char",      "const",     "constant",   "continue",
    "default", "do",          "double",      "else",      "enum",      "extern",    "false",      "float",
    "for",     "global",      "goto",        "half",      "if",        "inline",    "int",        "kernel",
    "local",   "long",        "private",     "register",  "restrict",  "return",    "short",      "signed",
    "sizeof",  "static",      "struct",      "switch",    "this",      "true",      "typedef",    "uchar",
    "uint",    "ulong",       "union",       "unsigned",  "ushort",    "void",      "volatile",   "while",
    "item",    "first_block", "block",       "workspace", "flag",      "fma",       "sqrt",       "fabs",
    "floor",   "ceil",        "trunc",       "rint",      "mul_hi",    "min",       "max",        "ldexp",
    "frexp",   "barrier",     "image2d_t",   "event_t",   "sampler_t", "pipe",      "new",        "delete",
    "class",   "template",    "typename",    "namespace", "operator",  "read_only", "write_only", "tree",
    "slice",   "part",        "strand",      "partner",   "first",     "other",     "i",          "NAN",
    "staged",  "lane",        "warp",        "turn",      "slot",      "step",      "run",        "left",
    "right",   "warp_row",    "warp_column", "INFINITY",  "M_PI",      "half_step", "asm",        "and",
    "or",      "not"};

}  // namespace

std::string Writer::unique(std::string name, std::set<std::string>& taken) {
  std::erase(name, '%');
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) name = "v" + name;
  const auto is_ours = [&] {  // what the writer itself makes up
    return std::ranges::any_of(std::initializer_list<std::string_view>{"inside", "any", "next_", "tree_"},
                               [&](std::string_view prefix) { return name.starts_with(prefix); }) ||
           name.ends_with("_part") || name.ends_with("_at") || name.find("_run") != std::string::npos;
  };
  if (is_ours()) name += "_";
  while (kReserved.contains(name) || !taken.insert(name).second) name += "_";
  return name;
}

int64_t Writer::points(std::span<const AtomId> axes) const {
  int64_t n = 1;
  for (const AtomId a : axes) n *= extent(a);
  return n;
}

std::string Writer::dim_text(const Dim& dim) {
  if (dim.is_const()) {
    const int64_t v = dim.value();
    const bool wide = v >= kNarrow || v < -kNarrow;
    return v < 0 ? fmt::format("({}{})", v, wide ? "L" : "") : fmt::format("{}{}", v, wide ? "L" : "");
  }
  std::string out;
  for (const auto& [monomial, factor] : dim.expr()->shown) {
    std::string term;
    if (monomial.empty() || (factor != 1 && factor != -1))
      term = fmt::format("{}L", factor < 0 ? -factor : factor);
    for (const auto& atom : monomial) {
      if (!term.empty()) term += "*";
      term += atom_text(*atom);
    }
    if (out.empty())
      out = factor < 0 ? "-" + term : term;
    else
      out += (factor < 0 ? " - " : " + ") + term;
  }
  return "(" + out + ")";
}

std::string Writer::symbol_text(const std::string& n) { return kReserved.contains(n) ? n + "_" : n; }

std::string Writer::atom_text(const Atom& atom) {
  if (atom.op == Atom::Op::symbol) return symbol_text(atom.symbol.name);
  const std::string x = dim_text(atom.left), y = dim_text(atom.right);
  const bool plain = atom.left.lower() >= 0 && atom.right.lower() > 0;
  switch (atom.op) {
    case Atom::Op::floordiv:
      return plain ? fmt::format("({} / {})", x, y)
                   : fmt::format("(({0} % {1} != 0 && ({0} < 0) != ({1} < 0)) ? {0} / {1} - 1 : {0} / {1})",
                                 x, y);
    case Atom::Op::mod:
      return plain ? fmt::format("({} % {})", x, y) : fmt::format("(({0} % {1} + {1}) % {1})", x, y);
    case Atom::Op::min: return fmt::format("({0} < {1} ? {0} : {1})", x, y);
    default: return fmt::format("({0} > {1} ? {0} : {1})", x, y);
  }
}

Dim Writer::bound_of(const Form& f, bool upper) const {
  Dim r = f.offset;
  for (const Term& t : f.terms) {
    const Dim last = k.atoms[t.atom].extent - 1;
    const bool rises = t.coef.lower() >= 0, falls = t.coef.upper() <= 0;
    if (!rises && !falls) return upper ? Dim(INT64_MAX / 4) : Dim(INT64_MIN / 4);
    if (rises == upper) r += t.coef * last;
  }
  return r;
}

bool Writer::wide(const Form& f) const {
  return bound_of(f, true).upper() >= kNarrow || bound_of(f, false).lower() < -kNarrow;
}

std::string Writer::form_text(const Form& f, bool wide) const {
  std::string out;
  const auto add = [&](const Dim& factor, const std::string& what) {
    const bool constant = factor.is_const();
    const bool minus = constant && factor.value() < 0;
    std::string term;
    if (!constant)
      term = dim_text(factor) + (what.empty() ? "" : "*" + what);
    else if (what.empty() || (factor.value() != 1 && factor.value() != -1))
      term = fmt::format("{}{}{}", minus ? -factor.value() : factor.value(), wide ? "L" : "",
                         what.empty() ? "" : "*" + what);
    else
      term = wide ? "(long)" + what : what;
    out += out.empty() ? (minus ? "-" : "") : minus ? " - " : " + ";
    out += term;
  };
  for (const Term& t : f.terms)
    if (!single(t.atom) && !(t.coef == Dim(0))) add(t.coef, atom_names_[t.atom]);
  if (!(f.offset == Dim(0)) || out.empty()) add(f.offset, "");
  return out;
}

Form Writer::sum(const Form& a, const Form& b, const Dim& factor) {
  Form r = a;
  r.offset += factor * b.offset;
  for (const Term& t : b.terms) {
    const auto found = std::ranges::find(r.terms, t.atom, &Term::atom);
    if (found != r.terms.end())
      found->coef += factor * t.coef;
    else
      r.terms.push_back({t.atom, factor * t.coef});
  }
  return r;
}

}  // namespace tenfold::ctext
