# FoveaLibrary.cmake - libfovea itself: all modules as one shared library, and as one static archive
# (fovea_all, not installed) for tests that reach behind the public headers.

get_property(modules GLOBAL PROPERTY FOVEA_MODULES)
set(objects "")
foreach(module IN LISTS modules)
  list(APPEND objects $<TARGET_OBJECTS:${module}>)
endforeach()

add_library(fovea SHARED ${objects})
add_library(fovea::fovea ALIAS fovea)
set_target_properties(fovea PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
if(NOT FOVEA_SANITIZE) # a sanitizer's symbols come with the program
  target_link_options(fovea PRIVATE LINKER:-z,defs)
endif()
target_include_directories(fovea PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/sdk/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

add_library(fovea_all STATIC ${objects})
foreach(module IN LISTS modules)
  target_link_libraries(fovea PRIVATE $<BUILD_INTERFACE:${module}>)
  target_link_libraries(fovea_all PUBLIC ${module})
endforeach()
