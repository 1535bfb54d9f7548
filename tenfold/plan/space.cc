#include "tenfold/plan/space.h"

#include <algorithm>

namespace tenfold::plan {

void sort_terms(Form& f) {
  std::stable_sort(f.terms.begin(), f.terms.end(), [](const Term& a, const Term& b) {
    int64_t x = a.coef.hint(), y = b.coef.hint();
    return x != y ? x > y : a.atom < b.atom;
  });
}

AtomId AtomSpace::atom(const Dim& extent, std::string_view hint) {
  atoms_.push_back({extent, std::string(hint), false, {}});
  return static_cast<AtomId>(atoms_.size()) - 1;
}

Form AtomSpace::fresh(const Dim& extent, std::string_view hint) {
  return extent == Dim(1) ? Form::point() : Form::of(atom(extent, hint));
}

void AtomSpace::substitute(AtomId a, Form by) {
  atoms_[a].substituted = true;
  atoms_[a].by = std::move(by);
  trail_.push_back(a);
}

void AtomSpace::rollback(size_t mark) {
  for (; trail_.size() > mark; trail_.pop_back()) atoms_[trail_.back()].substituted = false;
}

Form AtomSpace::resolve(const Form& f) const {
  if (std::none_of(f.terms.begin(), f.terms.end(), [&](const Term& t) { return atoms_[t.atom].substituted; }))
    return f;
  Form out{f.offset, {}, f.whole};
  for (const Term& t : f.terms) {
    Form by = atoms_[t.atom].substituted ? resolve(atoms_[t.atom].by) : Form::of(t.atom);
    out.offset += t.coef * by.offset;
    for (const Term& u : by.terms) {
      Dim coef = t.coef * u.coef;
      auto same =
          std::find_if(out.terms.begin(), out.terms.end(), [&](const Term& o) { return o.atom == u.atom; });
      if (same == out.terms.end())
        out.terms.push_back({u.atom, coef});
      else
        same->coef += coef;
    }
  }
  std::erase_if(out.terms, [](const Term& t) { return t.coef == Dim(0); });
  sort_terms(out);
  return out;
}

Forms AtomSpace::resolve(const Forms& fs) const {
  Forms out;
  out.reserve(fs.size());
  for (const Form& f : fs) out.push_back(resolve(f));
  return out;
}

Dim AtomSpace::radix(const Form& f) const {
  if (f.whole || f.offset != Dim(0)) return 0;
  Dim product = 1;
  for (auto t = f.terms.rbegin(); t != f.terms.rend(); ++t) {
    if (t->coef != product) return 0;
    product = product * atoms_[t->atom].extent;
  }
  return product;
}

bool AtomSpace::unify(const Form& a, const Form& b) {
  Form x = resolve(a), y = resolve(b);
  if (x == y) return true;
  if (x.whole || y.whole) return false;
  if (x.offset == y.offset && x.terms.size() > 1 && x.terms.size() == y.terms.size() &&
      std::equal(x.terms.begin(), x.terms.end(), y.terms.begin(),
                 [](auto& p, auto& q) { return p.coef == q.coef; })) {
    size_t start = mark();
    bool all = true;
    for (size_t i = 0; all && i < x.terms.size(); ++i)
      all = unify(Form::of(x.terms[i].atom), Form::of(y.terms[i].atom));
    if (all) return true;
    rollback(start);
  }
  for (auto [p, q] : {std::pair{&x, &y}, std::pair{&y, &x}}) {
    if (!p->is_atom()) continue;
    AtomId atom = p->terms[0].atom;
    bool inside =
        std::any_of(q->terms.begin(), q->terms.end(), [&](const Term& t) { return t.atom == atom; });
    if (!inside && !q->terms.empty() && radix(*q) == atoms_[atom].extent) {
      substitute(atom, *q);
      return true;
    }
  }
  return false;
}

// Match groups of dimensions of equal volume. An input group of one dimension takes the linear index of the
// output group; one of several dimensions takes the atoms of it apart, splitting where a dimension ends
// inside an atom.
Forms AtomSpace::reshape(const Shape& to, const Forms& to_forms, const Shape& from) {
  Forms result;
  if (std::ranges::find(from, Dim(0)) != from.end()) {  // of nothing: extents that cannot be divided by
    size_t o = 0;
    const auto skip_ones = [&] {
      while (o < to.size() && to[o] == Dim(1)) ++o;
    };
    for (const Dim& extent : from) {
      skip_ones();
      if (extent == Dim(1))
        result.push_back(Form::point());
      else if (o < to.size() && to[o] == extent)
        result.push_back(resolve(to_forms[o++]));
      else
        throw Barrier{"a reshape of nothing"};
    }
    return result;
  }
  size_t i = 0, o = 0;
  while (i < from.size() || o < to.size()) {
    size_t i0 = i, o0 = o;
    Dim pi = 1, po = 1;
    do {
      bool take_input = i < from.size() && (o == to.size() || provably_le(pi, po));
      if (take_input)
        pi *= from[i++];
      else if (o < to.size())
        po *= to[o++];
      else
        throw Barrier{"a reshape that does not factor"};
    } while (!(pi == po && (i > i0 || i == from.size())));
    Form linear = Form::point();
    for (size_t d = o0; d < o; ++d) {
      Form e = resolve(to_forms[d]);
      if (e.whole) throw Barrier{"a reshape of a dimension that is needed whole"};
      linear = scaled(linear, to[d], e.offset);
      linear.terms.insert(linear.terms.end(), e.terms.begin(), e.terms.end());
    }
    sort_terms(linear);
    size_t wide =
        std::count_if(from.begin() + i0, from.begin() + i, [](const Dim& d) { return d != Dim(1); });
    if (wide <= 1) {
      for (size_t d = i0; d < i; ++d) result.push_back(from[d] == Dim(1) ? Form::point() : linear);
      continue;
    }
    if (linear.terms.empty()) {  // one known element: its coordinates
      Forms dims;
      Dim rest = linear.offset;
      for (size_t d = i; d-- > i0;) {
        dims.push_back(Form::point(mod(rest, from[d])));
        rest = floordiv(rest, from[d]);
      }
      result.insert(result.end(), dims.rbegin(), dims.rend());
      continue;
    }
    if (radix(linear) != pi) throw Barrier{"a reshape that splits a dimension of which only a part is there"};
    std::vector<AtomId> atoms;
    for (const Term& t : linear.terms) atoms.push_back(t.atom);
    Forms dims;
    for (size_t d = i; d-- > i0;) {
      Form form = Form::point();
      Dim p = 1;
      while (p != from[d]) {
        if (atoms.empty()) throw Barrier{"a reshape that does not factor"};
        AtomId a = atoms.back();
        atoms.pop_back();
        Dim rest = floordiv(from[d], p);
        if (p * rest != from[d]) throw Barrier{"a reshape that does not factor"};
        if (extent(a) != rest && provably_lt(rest, extent(a))) {  // the dimension ends inside this atom
          Dim outer = floordiv(extent(a), rest);
          if (outer * rest != extent(a)) throw Barrier{"a reshape that does not factor"};
          AtomId hi = atom(outer, hint(a)), lo = atom(rest, hint(a));
          substitute(a, {0, {{hi, rest}, {lo, 1}}, false});
          atoms.push_back(hi);
          a = lo;
        } else if (floordiv(rest, extent(a)) * extent(a) != rest) {
          throw Barrier{"a reshape that does not factor"};
        }
        form.terms.insert(form.terms.begin(), {a, p});
        p = p * extent(a);
      }
      dims.push_back(form);
    }
    result.insert(result.end(), dims.rbegin(), dims.rend());
  }
  return result;
}

bool has(const Form& f, AtomId a) {
  return std::any_of(f.terms.begin(), f.terms.end(), [&](const Term& t) { return t.atom == a; });
}
bool has(const Forms& forms, AtomId a) {
  return std::any_of(forms.begin(), forms.end(), [&](const Form& f) { return has(f, a); });
}

}  // namespace tenfold::plan
