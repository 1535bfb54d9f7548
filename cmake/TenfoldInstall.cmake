# Two layouts. A C++ install: lib/, include/, bin/ and lib/cmake/tenfold. A wheel: everything in
# the package folder, the command in the scripts folder (scikit-build-core sets SKBUILD).

if(SKBUILD)
  install(TARGETS tenfold LIBRARY DESTINATION tenfold COMPONENT python)
  if(TARGET tenfold_llvm)
    install(TARGETS tenfold_llvm LIBRARY DESTINATION tenfold COMPONENT python)
  endif()
  install(TARGETS _tenfold LIBRARY DESTINATION tenfold COMPONENT python)
  install(FILES ${TENFOLD_PACKAGE_DIR}/_tenfold.pyi ${TENFOLD_PACKAGE_DIR}/random.pyi ${TENFOLD_PACKAGE_DIR}/py.typed
          DESTINATION tenfold COMPONENT python)
  if(TARGET tenfold_generated_files)
    install(FILES ${TENFOLD_GENERATED_DIR}/_ops.pyi DESTINATION tenfold COMPONENT python)
  endif()
  if(TARGET tenfold_cli)
    # From <prefix>/bin to the package: a virtual environment, or Debian's own layout.
    set(packages "$ORIGIN/../lib/python${TENFOLD_PYTHON_VERSION}")
    set_target_properties(tenfold_cli PROPERTIES INSTALL_RPATH
      "${packages}/site-packages/tenfold:${packages}/dist-packages/tenfold")
    install(TARGETS tenfold_cli RUNTIME DESTINATION ${SKBUILD_SCRIPTS_DIR} COMPONENT python)
  endif()
  return()
endif()

include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tenfold)

install(TARGETS tenfold EXPORT tenfoldTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET tenfold_llvm)
  install(TARGETS tenfold_llvm LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET tenfold_cli)
  set_target_properties(tenfold_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS tenfold_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tenfold DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "target/llvm" EXCLUDE)
if(TARGET tenfold_generated_files)
  install(FILES ${TENFOLD_GENERATED_DIR}/tenfold/generated/ops.h
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tenfold/generated)
  install(FILES ${TENFOLD_GENERATED_DIR}/primitives.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
install(EXPORT tenfoldTargets NAMESPACE tenfold:: DESTINATION ${config_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tenfoldConfig.cmake.in
  ${PROJECT_BINARY_DIR}/tenfoldConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tenfoldConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tenfoldConfig.cmake ${PROJECT_BINARY_DIR}/tenfoldConfigVersion.cmake
        DESTINATION ${config_dir})
