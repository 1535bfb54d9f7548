// How one cluster runs: the cheapest of the tile programs that its axes, packings and orders of loops give,
// by cost; or the one that is written by hand.
#pragma once

#include "tenfold/plan/lower.h"
#include "tenfold/plan/plan.h"

namespace tenfold::plan {

struct Candidate {
  Lowered lowered;
  Cost cost;
  std::string loops, axes;          // as text: plan/loops.h
  std::vector<std::string> places;  // per argument: "[i,k]"
  bool fits = true;                 // scratch fits the cache
  std::string barrier;              // not empty: no such kernel, and why
};

class Scheduler {
 public:
  Scheduler(const Flat& flat, const tile::Machine& machine, const Options& options)
      : flat_(flat), machine_(machine), options_(options) {}

  // `search`: of a final cluster; every order of its loops, and what may be computed again.
  Candidate schedule(const std::vector<int>& units, const std::vector<int>& outputs, bool search) const;

  // As `loops` say. Throws Barrier, what is wrong with that.
  Candidate by_hand(const std::vector<int>& units, const std::vector<int>& outputs, const std::string& loops,
                    const Candidate& planned) const;

 private:
  const Flat& flat_;
  const tile::Machine& machine_;
  const Options& options_;

  tile::Machine seen_by(const Instances&, const Axes&) const;
  bool streams(const Instances&, const Axes&) const;
  int unroll(const Instances&, const Axes&) const;
  Lowered lowered(const Instances&, const Choice&) const;
};

}  // namespace tenfold::plan
