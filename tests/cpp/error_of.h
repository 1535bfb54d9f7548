// What a call that must fail says.
#pragma once

#include <string>

#include "tenfold/base/error.h"

namespace tenfold {

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace tenfold
