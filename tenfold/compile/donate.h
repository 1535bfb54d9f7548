// Which donations are safe: a result may be written over a parameter only where nothing reads the old values
// afterwards.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenfold/plan/plan.h"

namespace tenfold::compile {

// A box of a result that is a donated parameter otherwise: update_slice writes the box alone.
struct Placement {
  struct Source {  // a parameter, a result of the graph, or a number
    int parameter = -1, result = -1;
    int64_t value = 0;
  };
  int result = -1;
  Source update;
  std::vector<Source> starts;  // one per dimension
};

// Results that are a donated parameter with small boxes replaced become that parameter; the updates and their
// starts become further results. Before expansion, which knows update_slice no more. In the order of writing.
std::vector<Placement> place_updates(Graph&, const std::vector<std::pair<int, int>>& donated);

// The copies of the boxes, after all that reads the old values. Results from `results` on become temporaries.
void add_placements(plan::Plan&, const std::vector<Placement>&, size_t results);

struct Donations {
  std::vector<std::pair<int, int>> safe;  // parameter -> result
  std::vector<std::string> notes;         // of the others: why
};

Donations check_donations(const plan::Plan&, const std::vector<std::pair<int, int>>& asked);

}  // namespace tenfold::compile
