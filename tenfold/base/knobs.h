// Environment variables, one row each; docs/knobs.md is printed from this table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tenfold {

struct Knob {
  std::string_view name;          // "TENFOLD_CACHE_DIR"
  std::string_view default_text;  // as printed in the docs
  std::string_view doc;
};

std::span<const Knob> knobs();
std::string knob(std::string_view name);  // its value, or the default, with a leading ~/ expanded;
                                          // InternalError if no such row
int64_t knob_int(std::string_view name);  // UserError naming the variable if it is not an integer
bool knob_bool(std::string_view name);    // 0/1, true/false, on/off

}  // namespace tenfold
