# libtenfold_llvm: the CPU target. It alone links LLVM; libtenfold opens it at the first cache
# miss, by its full path: a sanitizer's dlopen does not look along libtenfold's RUNPATH.

file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tenfold/target/llvm/*.cc)
list(FILTER sources EXCLUDE REGEX "_main\\.cc$")
if(NOT sources)
  return()
endif()

add_library(tenfold_llvm MODULE ${sources})
target_include_directories(tenfold_llvm SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS})
target_compile_definitions(tenfold_llvm PRIVATE ${LLVM_DEFINITIONS})
target_link_libraries(tenfold_llvm PRIVATE tenfold tenfold_warnings LLVM spdlog::spdlog
                      nlohmann_json::nlohmann_json ${XXHASH_LIBRARY})
target_include_directories(tenfold_llvm PRIVATE ${XXHASH_INCLUDE_DIR})
if(NOT LLVM_ENABLE_RTTI)
  target_compile_options(tenfold_llvm PRIVATE -fno-rtti)
endif()
if(TENFOLD_SANITIZE MATCHES "undefined")
  # LLVM itself is not instrumented: its objects' types cannot be checked.
  target_compile_options(tenfold_llvm PRIVATE -fno-sanitize=vptr)
endif()
if(NOT TENFOLD_SANITIZE)
  target_link_options(tenfold_llvm PRIVATE -Wl,--no-undefined)
endif()
set_target_properties(tenfold_llvm PROPERTIES BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
