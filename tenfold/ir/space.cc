#include "tenfold/ir/space.h"

#include <algorithm>

namespace tenfold {
namespace {

bool is_larger(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return a.value() > b.value();
  return provably_lt(b, a) || (!provably_lt(a, b) && a.hint() > b.hint());
}

void sort(Form& form) {
  std::stable_sort(form.terms.begin(), form.terms.end(),
                   [](const Term& a, const Term& b) { return is_larger(a.coef, b.coef); });
}

}  // namespace

Form scaled(const Form& form, const Dim& factor, const Dim& offset) {
  if (form.whole) return form;
  Form result = Form::point(factor * form.offset + offset);
  if (factor == Dim(0)) return result;
  for (const Term& term : form.terms) result.terms.push_back({term.atom, factor * term.coef});
  sort(result);
  return result;
}

Form added(const Form& a, const Form& b) {
  if (a.whole || b.whole) return Form::all();
  Form result = a;
  result.offset += b.offset;
  for (const Term& term : b.terms) {
    const auto same = std::find_if(result.terms.begin(), result.terms.end(),
                                   [&](const Term& other) { return other.atom == term.atom; });
    if (same == result.terms.end())
      result.terms.push_back(term);
    else
      same->coef += term.coef;
  }
  std::erase_if(result.terms, [](const Term& term) { return term.coef == Dim(0); });
  sort(result);
  return result;
}

}  // namespace tenfold
