// The loops of a launch in a line: explain prints the planner's choice so, and a user writes one's own.
//
//   I256 J k512 i k | i4 j64, packed kj
//
// Before the bar stand the loops, outermost first: a letter for each axis, again for each level of blocks, a
// capital where it runs in parallel. A number is how many elements of the axis one turn takes; the innermost
// loop over an axis has none, it takes what the tile does. After the bar stands the tile in registers (1 of
// every axis that is not named there), the axis along the vectors last. Words after commas:
//
//   packed kj     operands of an inner product that are kept in scratch, each by its axes as they lie
//   again         what a later loop needs is computed again, not kept in scratch
//   online        a maximum runs beside what scales with it (under the grant of that name)
//   grouped k     neighbours along k are one sum: four of bytes, two of bf16
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tenfold/plan/pack.h"

namespace tenfold::plan {

// The axes of a cluster, each with its letter. What is given must outlive it.
class LoopText {
 public:
  LoopText(const Flat&, const Instances&, const Axes&);

  std::string print(const Instances& split, const Choice&) const;
  // The inverse. Throws Barrier, where it is not legal, that says what to write instead.
  Packing parse(std::string_view text, const tile::Machine&) const;

  std::string axes() const;                   // "i 512, j 1024, k 256 reduced"
  std::string place(int op, bool out) const;  // "[i,k]": how the cluster reads, or stores, this op

 private:
  struct Axis {
    AtomId atom;
    std::string letter;
    std::string kind;  // why it cannot be parallel: "reduced", "sequential" or "steps"; else empty
  };
  // A loop, or what a tile has along an axis.
  struct Level {
    size_t axis;
    int64_t size;  // 0: no number
    bool parallel;
  };
  const Flat& flat_;
  const Instances& all_;
  const Axes& limits_;
  std::vector<Axis> axes_;

  const Dim& extent(size_t axis) const { return all_.space.extent(axes_[axis].atom); }
  std::string letters(const Instances& split, const Forms& dims) const;
  std::vector<Level> levels(std::string_view text) const;
  void check_loops(const std::vector<Level>& loops) const;
  void check_tile(const std::vector<Level>& loops, const std::vector<Level>& tile) const;
  void add_word(std::string_view word, Packing& p, const std::vector<AtomId>& innermost,
                const tile::Machine&) const;
};

}  // namespace tenfold::plan
