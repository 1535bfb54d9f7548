# What the library is built on. Debian 12 has all of it: scripts/packages.txt.

set(TENFOLD_VENDOR "" CACHE PATH
    "Folder of headers that stand in for the packages (bench/gpu/pack makes one); empty: the system's")
find_package(Threads REQUIRED)

if(TENFOLD_VENDOR)
  # fmt and xxhash as headers, threads of our own for oneTBB; no source includes the other two.
  foreach(package IN ITEMS fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json TBB::tbb)
    add_library(${package} INTERFACE IMPORTED)
  endforeach()
  target_include_directories(fmt::fmt INTERFACE ${TENFOLD_VENDOR}/include)
  target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY=1)
  target_compile_definitions(TBB::tbb INTERFACE TENFOLD_NO_TBB=1)
  set(XXHASH_INCLUDE_DIR ${TENFOLD_VENDOR}/include)
  set(XXHASH_LIBRARY "")
  add_compile_definitions(XXH_INLINE_ALL=1)
else()
  find_package(fmt REQUIRED)
  find_package(spdlog REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(TBB CONFIG REQUIRED)
  find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
  find_library(XXHASH_LIBRARY xxhash REQUIRED)
  mark_as_advanced(XXHASH_INCLUDE_DIR XXHASH_LIBRARY)
endif()

if(TENFOLD_LLVM)
  # "19.1", not "19": LLVM's version file wants the minor, and without one it may find LLVM 14.
  find_package(LLVM 19.1 CONFIG REQUIRED HINTS /usr/lib/llvm-19)
endif()
