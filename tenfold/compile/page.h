// The HTML page of explain: one file, no scripts from elsewhere, no fonts, no images.
#pragma once

#include <string>

#include "tenfold/compile/explain.h"

namespace tenfold::compile {

std::string html_page(const Explanation&, const std::string& title);

}  // namespace tenfold::compile
