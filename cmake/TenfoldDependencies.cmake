# What the library is built on. Debian 12 has all of it: scripts/packages.txt.

find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(TBB CONFIG REQUIRED)
find_package(Threads REQUIRED)

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
find_library(XXHASH_LIBRARY xxhash REQUIRED)
mark_as_advanced(XXHASH_INCLUDE_DIR XXHASH_LIBRARY)

if(TENFOLD_LLVM)
  # "19.1", not "19": LLVM's version file wants the minor, and without one it may find LLVM 14.
  find_package(LLVM 19.1 CONFIG REQUIRED HINTS /usr/lib/llvm-19)
endif()
