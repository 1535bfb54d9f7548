// Clusters that are alike: two that do the same to buffers of the same types have one schedule, wherever in
// the graph they stand.
#pragma once

#include <unordered_map>
#include <vector>

#include "tenfold/plan/flat.h"

namespace tenfold::plan {

class Alike {
 public:
  explicit Alike(const Flat&);

  // A cluster without its place: equal texts are alike, op for op. No text: not to be compared (a loop
  // inside).
  struct Form {
    std::vector<int> text;
    std::vector<int> ops;  // by their number in the text
  };
  Form form(const std::vector<int>& units, const std::vector<int>& outputs) const;

 private:
  const Flat& flat_;
  std::vector<int> inside_,
      outside_;  // by op: what it is as a part of the cluster, and as what comes from elsewhere
};

}  // namespace tenfold::plan
