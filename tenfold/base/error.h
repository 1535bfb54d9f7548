// Errors. Three kinds, so that a caller can tell whose turn it is: the user's (UserError), ours
// (InternalError: a bug) or the machine's (DeviceError). Each message names the operation, what it
// got, what it needs and what to do.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace tenfold {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct UserError : Error {
  using Error::Error;
};
struct InternalError : Error {
  using Error::Error;
};
struct DeviceError : Error {
  using Error::Error;
};

template <class... Args>
[[noreturn]] void user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void internal_error(const char* condition, const std::string& message,
                                 std::source_location where = std::source_location::current());

}  // namespace tenfold

// For bugs only: what a user can cause is a user_error.
#define TENFOLD_CHECK(condition, ...) \
  ((condition) ? (void)0 : ::tenfold::internal_error(#condition, fmt::format(__VA_ARGS__)))
