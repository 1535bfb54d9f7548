# libtenfold: one shared library of every folder but those of the separately opened targets, so
# that no static registrar of a primitive is dropped by a linker.
#
#   base, ir  ->  tenfold_generate  ->  tenfold/generated/ops.h ...  ->  the other folders
#
# base and ir are object libraries because the generator needs them before the rest can compile.

# Sources of one folder; files named *_main.cc are programs of their own.
function(tenfold_sources out folder)
  file(GLOB_RECURSE found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tenfold/${folder}/*.cc)
  list(FILTER found EXCLUDE REGEX "_main\\.cc$")
  set(${out} ${found} PARENT_SCOPE)
endfunction()

add_library(tenfold_common INTERFACE)
target_include_directories(tenfold_common INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(tenfold_common INTERFACE fmt::fmt)

foreach(folder IN ITEMS base ir)
  tenfold_sources(sources ${folder})
  if(sources)
    add_library(tenfold_${folder} OBJECT ${sources})
    target_link_libraries(tenfold_${folder} PRIVATE tenfold_common tenfold_warnings
                          nlohmann_json::nlohmann_json spdlog::spdlog)
    target_include_directories(tenfold_${folder} PRIVATE ${XXHASH_INCLUDE_DIR})
    list(APPEND tenfold_early_objects $<TARGET_OBJECTS:tenfold_${folder}>)
  endif()
endforeach()
# base and ir need nothing but fmt, spdlog, xxhash and json: the generator links the same.
set(tenfold_early_libraries tenfold_common spdlog::spdlog ${XXHASH_LIBRARY} Threads::Threads
    ${CMAKE_DL_LIBS})

# The generator prints the C++ and Python functions, the type stubs and the docs of every primitive
# from its record. TENFOLD_GENERATED_DIR is on the include path.
set(TENFOLD_GENERATED_DIR ${PROJECT_BINARY_DIR}/generated)
set(generate_main ${PROJECT_SOURCE_DIR}/tenfold/compile/generate_main.cc)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tenfold/compile)
if(EXISTS ${generate_main} AND tenfold_early_objects)
  add_executable(tenfold_generate ${generate_main} ${tenfold_early_objects})
  target_link_libraries(tenfold_generate PRIVATE ${tenfold_early_libraries} tenfold_warnings)

  set(tenfold_generated
      ${TENFOLD_GENERATED_DIR}/tenfold/generated/ops.h
      ${TENFOLD_GENERATED_DIR}/tenfold/generated/ops_bind.inc
      ${TENFOLD_GENERATED_DIR}/_ops.pyi
      ${TENFOLD_GENERATED_DIR}/primitives.md)
  add_custom_command(
    OUTPUT ${tenfold_generated}
    COMMAND ${CMAKE_COMMAND} -DGENERATE=$<TARGET_FILE:tenfold_generate>
            -DSCRATCH=${PROJECT_BINARY_DIR}/generated.tmp "-DOUTPUTS=${tenfold_generated}"
            -P ${PROJECT_SOURCE_DIR}/cmake/run_generate.cmake
    DEPENDS tenfold_generate ${PROJECT_SOURCE_DIR}/cmake/run_generate.cmake
    COMMENT "Generating functions, stubs and docs from the primitives' records"
    VERBATIM)
  add_custom_target(tenfold_generated_files DEPENDS ${tenfold_generated})
endif()

set(tenfold_late_sources)
foreach(folder IN ITEMS grad rewrite tile plan comm runtime compile lang nn env pool sql onnx dist)
  tenfold_sources(sources ${folder})
  list(APPEND tenfold_late_sources ${sources})
endforeach()
# target/ holds the list of targets; a target that is text only (c, cuda, opencl) is part of the
# library, one that drags in a compiler (llvm) is a module of its own.
tenfold_sources(sources target)
list(FILTER sources EXCLUDE REGEX "/tenfold/target/llvm/")
list(APPEND tenfold_late_sources ${sources})
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tenfold/*.cc)
list(APPEND tenfold_late_sources ${sources})

if(NOT tenfold_early_objects AND NOT tenfold_late_sources)
  return()
endif()

add_library(tenfold SHARED ${tenfold_early_objects} ${tenfold_late_sources})
add_library(tenfold::tenfold ALIAS tenfold)
set_target_properties(tenfold PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(tenfold PUBLIC cxx_std_20)
target_include_directories(tenfold PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
  $<BUILD_INTERFACE:${TENFOLD_GENERATED_DIR}>
  $<BUILD_INTERFACE:${TENFOLD_GENERATED_DIR}/tenfold>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tenfold PUBLIC fmt::fmt
  PRIVATE $<BUILD_INTERFACE:tenfold_warnings> spdlog::spdlog $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>
          TBB::tbb ${XXHASH_LIBRARY} Threads::Threads ${CMAKE_DL_LIBS})
target_include_directories(tenfold PRIVATE ${XXHASH_INCLUDE_DIR})
if(NOT TENFOLD_SANITIZE)
  target_link_options(tenfold PRIVATE -Wl,--no-undefined)
endif()
if(TARGET tenfold_generated_files)
  add_dependencies(tenfold tenfold_generated_files)
  target_sources(tenfold PRIVATE ${tenfold_generated})
endif()
# libtenfold_llvm.so stands beside libtenfold.so in the build tree, in an install and in a wheel:
# libtenfold opens <the folder dladdr names for itself>/libtenfold_llvm.so.
set_target_properties(tenfold PROPERTIES BUILD_RPATH "$ORIGIN" INSTALL_RPATH "$ORIGIN")
