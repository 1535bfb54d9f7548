# Compiler flags, ccache and where things land in the build tree.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or Sanitize" FORCE)
endif()
# Plain -O2 (CMake's default is -O3) and no -g: half the build time for the same speed,
# because hot loops are generated at run time.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Strict floats everywhere: no multiply and add is contracted behind the author's back.
add_compile_options(-ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Exported functions may be inlined inside their own library.
  add_compile_options(-fno-semantic-interposition)
endif()

if(TENFOLD_SANITIZE)
  add_compile_options(-fsanitize=${TENFOLD_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TENFOLD_SANITIZE})
endif()
if(TENFOLD_FAULTS)
  add_compile_definitions(TENFOLD_FAULTS=1)
endif()

# Warnings are for our own code: link this privately, so that nanobind's sources keep their own.
add_library(tenfold_warnings INTERFACE)
target_compile_options(tenfold_warnings INTERFACE -Wall -Wextra)
if(TENFOLD_WERROR)
  target_compile_options(tenfold_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives of these at -O2 inside std::string, std::vector and std::variant.
  target_compile_options(tenfold_warnings INTERFACE
    -Wno-error=restrict -Wno-error=maybe-uninitialized -Wno-error=array-bounds
    -Wno-error=stringop-overflow -Wno-error=stringop-overread -Wno-error=free-nonheap-object
    -Wno-error=dangling-pointer -Wno-error=null-dereference -Wno-error=use-after-free)
endif()
if(TENFOLD_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Instrumented code confuses these two; the other presets check them.
  target_compile_options(tenfold_warnings INTERFACE -Wno-maybe-uninitialized -Wno-array-bounds)
endif()

find_program(TENFOLD_CCACHE ccache)
mark_as_advanced(TENFOLD_CCACHE)
if(TENFOLD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Relative paths inside the cache: a second checkout of the same sources compiles nothing.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${TENFOLD_CCACHE})
endif()

# Programs are not linked anew when only the inside of a shared library changed.
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)

# libtenfold and what it opens at run time stand in one folder, here and when installed.
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(TENFOLD_PACKAGE_DIR ${PROJECT_BINARY_DIR}/python/tenfold)  # the Python package of the build tree
