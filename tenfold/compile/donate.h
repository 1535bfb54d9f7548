// Which donations are safe: a result may be written over a parameter only where nothing reads the old values
// afterwards.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenfold/plan/plan.h"

namespace tenfold::compile {

struct Donations {
  std::vector<std::pair<int, int>> safe;  // parameter -> result
  std::vector<std::string> notes;         // of the others: why
};

Donations check_donations(const plan::Plan&, const std::vector<std::pair<int, int>>& asked);

}  // namespace tenfold::compile
