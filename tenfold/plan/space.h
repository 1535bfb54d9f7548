// Atoms and their unification (PLANNER.md sections 1 and 1.1).
#pragma once

#include <string>
#include <vector>

#include "tenfold/ir/space.h"

namespace tenfold::plan {

class AtomSpace final : public Space {
 public:
  Form fresh(const Dim& extent, std::string_view hint) override;
  Forms reshape(const Shape& to, const Forms& to_forms, const Shape& from) override;

  AtomId atom(const Dim& extent, std::string_view hint);  // an atom even for extent 1 (a scan's time)
  Form resolve(const Form&) const;
  Forms resolve(const Forms&) const;
  const Dim& extent(AtomId a) const { return atoms_[a].extent; }
  const std::string& hint(AtomId a) const { return atoms_[a].hint; }
  bool substituted(AtomId a) const { return atoms_[a].substituted; }
  const Form& replacement(AtomId a) const {
    return atoms_[a].by;
  }  // of a substituted one, not resolved itself
  size_t size() const { return atoms_.size(); }

  // Makes the two the same by substituting atoms, or leaves some substitutions behind and returns false:
  // callers mark() before and rollback() on failure.
  bool unify(const Form&, const Form&);
  size_t mark() const { return trail_.size(); }
  void rollback(size_t mark);

  // The number of values a mixed-radix form takes, 0 if it is none (a bijection from its atoms).
  Dim radix(const Form&) const;

 private:
  struct Atom {
    Dim extent;
    std::string hint;
    bool substituted = false;
    Form by;
  };
  std::vector<Atom> atoms_;
  std::vector<AtomId> trail_;
  void substitute(AtomId, Form by);
};

void sort_terms(Form&);
bool has(const Form&, AtomId);
bool has(const Forms&, AtomId);

}  // namespace tenfold::plan
