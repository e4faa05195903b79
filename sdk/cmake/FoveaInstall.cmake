# FoveaInstall.cmake - what `cmake --install` puts where: library, headers, fovea.pc, CMake package,
# programs, proto files and the default model. Included last by the top-level CMakeLists.txt.

include(CMakePackageConfigHelpers)

install(TARGETS fovea EXPORT foveaTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/include/fovea
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fovea)
install(EXPORT foveaTargets NAMESPACE fovea:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/foveaConfig.cmake.in
  ${PROJECT_BINARY_DIR}/foveaConfig.cmake INSTALL_DESTINATION ${package_dir})
# 0.x promises nothing across minor versions
write_basic_package_version_file(${PROJECT_BINARY_DIR}/foveaConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/foveaConfig.cmake ${PROJECT_BINARY_DIR}/foveaConfigVersion.cmake
  DESTINATION ${package_dir})

# relative to the file itself, so that an installed tree may be moved and DESTDIR works
file(RELATIVE_PATH FOVEA_PC_PREFIX
  /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(${CMAKE_CURRENT_LIST_DIR}/fovea.pc.in ${PROJECT_BINARY_DIR}/fovea.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fovea.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# fovead and the proto files are installed by serve/
foreach(program fovea-caption fovea-vqa fovea-eval fovea-bench)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/samples/model DESTINATION ${CMAKE_INSTALL_DATADIR}/fovea
  PATTERN train EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
