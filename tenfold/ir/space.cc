#include "tenfold/ir/space.h"

#include <algorithm>

namespace tenfold {
namespace {

bool is_larger(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) return a.value() > b.value();
  return provably_lt(b, a) || (!provably_lt(a, b) && a.hint() > b.hint());
}

}  // namespace

Form scaled(const Form& form, const Dim& factor, const Dim& offset) {
  if (form.whole) return form;
  Form result = Form::point(factor * form.offset + offset);
  if (factor == Dim(0)) return result;
  for (const Term& term : form.terms) result.terms.push_back({term.atom, factor * term.coef});
  std::stable_sort(result.terms.begin(), result.terms.end(),
                   [](const Term& a, const Term& b) { return is_larger(a.coef, b.coef); });
  return result;
}

}  // namespace tenfold
