#include "tenfold/base/error.h"

namespace tenfold {

void internal_error(const char* condition, const std::string& message, std::source_location where) {
  throw InternalError(fmt::format("{}:{}: {} (`{}` is false; this is a bug in tenfold)", where.file_name(),
                                  where.line(), message, condition));
}

}  // namespace tenfold
