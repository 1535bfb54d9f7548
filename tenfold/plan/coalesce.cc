// Adjacent axes that every instance of a cluster has together, in memory order, are one axis: a map of [N, 4]
// runs over 4 N elements, not over rows of four.
#include <algorithm>
#include <map>
#include <set>

#include "tenfold/base/fault.h"
#include "tenfold/plan/instances.h"

namespace tenfold::plan {
namespace {

// a * extent(b) + b is one atom of the product of their extents.
class Pair {
 public:
  Pair(const Flat& flat, Instances& all, AtomId a, AtomId b)
      : flat_(flat), all_(all), a_(a), b_(b), extent_(all.space.extent(b)) {}

  // Merges the two where all instances allow it.
  bool merge() {
    std::vector<Inst> changed = all_.insts;
    joined_ = -1;
    for (Inst& i : changed) {
      const bool memory = i.kind == Inst::Kind::load || i.kind == Inst::Kind::store;
      const bool mine = has(i.dims, a_) || has(i.dims, b_);
      if (has(i.reduced, a_) || has(i.reduced, b_)) return false;
      for (const auto& u : i.inputs) {  // a state that is read elsewhere than it is written
        if (u.at.empty()) continue;
        const Forms& from = all_.insts[static_cast<size_t>(u.inst)].dims;
        for (AtomId x : {a_, b_})
          if (has(u.at, x) || has(from, x)) return false;
      }
      for (Forms& f : i.asked) {
        if (!has(f, a_) && !has(f, b_)) continue;
        if (i.kind != Inst::Kind::store) return false;  // its own numbers take part
        Shape same = i.shape;
        if (!join(f, &same)) return false;
      }
      if (mine && !join(i.dims, memory ? &i.shape : nullptr)) return false;
    }
    if (joined_ < 0) return false;
    std::map<int, const Shape*> seen;  // a buffer is one argument of the kernel, of one shape
    auto agrees = [&](int op, const Shape& shape) {
      const auto [at, fresh] = seen.emplace(op, &shape);
      return fresh || *at->second == shape;
    };
    for (const Inst& i : changed) {
      if ((i.kind == Inst::Kind::load || i.kind == Inst::Kind::store) && !agrees(i.op, i.shape)) return false;
      for (size_t s = 0; s < i.asked.size() && i.kind == Inst::Kind::compute; ++s)
        if (s < i.inputs.size() && i.inputs[s].inst < 0) {  // perhaps a table
          const int op = flat_.ops[i.op].inputs[s];
          if (!agrees(op, flat_.ops[op].type.shape)) return false;
        }
    }
    all_.insts = std::move(changed);
    return true;
  }

 private:
  const Flat& flat_;
  Instances& all_;
  AtomId a_, b_, joined_ = -1;
  Dim extent_;

  AtomId joined() {
    if (joined_ < 0) joined_ = all_.space.atom(all_.space.extent(a_) * extent_, all_.space.hint(a_));
    return joined_;
  }

  // The forms with the one atom; `shape` is of the buffer they index.
  bool join(Forms& forms, Shape* shape) {
    for (Form& f : forms)  // both in one form
      if (has(f, a_) && has(f, b_)) {
        auto term = [&](AtomId x) {
          return std::find_if(f.terms.begin(), f.terms.end(), [&](const Term& t) { return t.atom == x; });
        };
        if (!fault("plan_coalesce_stride") && !(term(a_)->coef == term(b_)->coef * extent_)) return false;
        term(b_)->atom = joined();
        f.terms.erase(term(a_));
        sort_terms(f);
        return !has(forms, a_) && !has(forms, b_);
      }
    auto is = [](AtomId x) { return [x](const Form& f) { return f.is_atom() && f.terms[0].atom == x; }; };
    const auto first = std::find_if(forms.begin(), forms.end(), is(a_));
    const auto second = std::find_if(forms.begin(), forms.end(), is(b_));
    if (first == forms.end() || second == forms.end() || second < first) return false;
    if (!std::all_of(first + 1, second, [](const Form& f) { return f.is_point(); })) return false;
    if (shape) {
      const auto p = static_cast<size_t>(first - forms.begin()),
                 q = static_cast<size_t>(second - forms.begin());
      for (size_t d = p + 1; d < q; ++d)
        if (!((*shape)[d] == Dim(1))) return false;
      if (!((*shape)[p] == all_.space.extent(a_)) || !((*shape)[q] == extent_)) return false;
      (*shape)[p] = (*shape)[p] * (*shape)[q];
      shape->erase(shape->begin() + static_cast<std::ptrdiff_t>(q));
    }
    *first = Form::of(joined());
    forms.erase(second);
    return !has(forms, a_) && !has(forms, b_);
  }
};

}  // namespace

void coalesce(const Flat& flat, Instances& all) {
  if (all.stores.empty()) return;
  const std::set<AtomId> time(all.scope_time.begin(), all.scope_time.end());
  for (bool again = true; again;) {
    again = false;
    const Forms dims = all.insts[all.stores[0]].dims;
    AtomId before = -1;  // of the dimension to the left
    for (const Form& f : dims) {
      if (f.is_point()) continue;
      const AtomId here = f.is_atom() && !time.contains(f.terms[0].atom) ? f.terms[0].atom : -1;
      again = before >= 0 && here >= 0 && Pair(flat, all, before, here).merge();
      if (again) break;
      before = here;
    }
  }
}

}  // namespace tenfold::plan
