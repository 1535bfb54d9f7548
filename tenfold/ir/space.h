// The vocabulary of the tile relation (PLANNER.md section 1). Every dimension of every value is an affine
// form over named loop axes (atoms), or Whole: any element may be needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tenfold/base/dim.h"

namespace tenfold {

using AtomId = int32_t;

struct Term {
  AtomId atom;
  Dim coef;
  friend bool operator==(const Term&, const Term&) = default;
};

// offset + sum(coef * atom); terms sorted by descending coefficient. May reach outside the dimension it
// indexes (the pieces of a concatenation, a padded border): reads there are absent and give 0.
struct Form {
  Dim offset;
  std::vector<Term> terms;
  bool whole = false;

  static Form point(Dim at = 0) { return {std::move(at), {}, false}; }
  static Form all() { return {0, {}, true}; }
  static Form of(AtomId a) { return {0, {{a, 1}}, false}; }
  bool is_point() const { return !whole && terms.empty(); }
  bool is_atom() const { return !whole && offset == Dim(0) && terms.size() == 1 && terms[0].coef == Dim(1); }
  friend bool operator==(const Form&, const Form&) = default;
};
using Forms = std::vector<Form>;

Form scaled(const Form&, const Dim& factor, const Dim& offset);  // factor * form + offset
Form added(const Form&, const Form&);

// This set of nodes cannot be one kernel. An ordinary result, kept for explain ("not fused: ...").
struct Barrier {
  std::string why;
};

// What a relation may ask of the space it stands in. plan/space implements it.
class Space {
 public:
  virtual ~Space() = default;
  virtual Form fresh(const Dim& extent, std::string_view hint) = 0;  // a new axis; extent 1 gives the point 0
  // The forms of the input of a reshape from `from` to `to`, given the forms of its output: regroups
  // mixed-radix forms, splitting atoms where needed. Throws Barrier where the shapes do not factor.
  virtual Forms reshape(const Shape& to, const Forms& to_forms, const Shape& from) = 0;
};

struct Relation {
  std::vector<Forms> inputs;    // one per input
  std::vector<AtomId> reduced;  // the fresh atoms that are summed over
};

}  // namespace tenfold
