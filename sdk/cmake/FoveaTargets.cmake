# FoveaTargets.cmake - flags every target shares, and helpers to declare modules, tables and tests.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
include(GNUInstallDirs)

# installed programs find the library beside them, wherever the tree is moved
file(RELATIVE_PATH lib_from_bin /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
set(CMAKE_INSTALL_RPATH "$ORIGIN/${lib_from_bin}")

add_library(fovea_flags INTERFACE)
target_include_directories(fovea_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/sdk/include ${PROJECT_BINARY_DIR}/generated)
target_compile_definitions(fovea_flags INTERFACE _GNU_SOURCE)
target_compile_options(fovea_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wcast-qual
  -Wwrite-strings -Wundef -Wformat=2
  # a*b+c must mean the same in every kernel variant and compiler: contraction is written by hand
  -ffp-contract=off
  $<$<BOOL:${FOVEA_WERROR}>:-Werror>)
target_link_libraries(fovea_flags INTERFACE Threads::Threads m)
if(FOVEA_SANITIZE)
  target_compile_options(fovea_flags INTERFACE
    -fsanitize=${FOVEA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(fovea_flags INTERFACE -fsanitize=${FOVEA_SANITIZE})
endif()

# fovea_module(NAME SOURCES...): object library fovea_NAME that becomes part of libfovea.
function(fovea_module name)
  add_library(fovea_${name} OBJECT ${ARGN})
  target_link_libraries(fovea_${name} PUBLIC fovea_flags)
  set_property(GLOBAL APPEND PROPERTY FOVEA_MODULES fovea_${name})
endfunction()

# fovea_table_sources(OUT FILE.def MACRO PREFIX): one source file per line `MACRO(name)` of FILE.def,
# named PREFIXname.c beside it. A line without a file stops the configuration.
function(fovea_table_sources out def macro prefix)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${def})
  file(STRINGS ${def} lines REGEX "^${macro}\\(")
  set(sources "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^${macro}\\(([a-z0-9_]+).*" "\\1" name "${line}")
    list(APPEND sources ${prefix}${name}.c)
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# fovea_test(MODULE NAME [SLOW] [LIBRARIES ...]): tests/MODULE/NAME.c, linked with all of the library.
function(fovea_test module name)
  cmake_parse_arguments(ARG "SLOW" "" "LIBRARIES" ${ARGN})
  add_executable(${name} ${name}.c)
  target_link_libraries(${name} PRIVATE fovea_flags ${ARG_LIBRARIES} fovea_all cmocka)
  target_compile_definitions(${name} PRIVATE FOVEA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${module}.${name} COMMAND ${name})
  set(timeout 600) # the longest takes 75 s alone on two cores, twice that where a neighbour is busy
  if(FOVEA_SANITIZE) # slow; its commas would break a generator expression
    set(timeout 1500)
  endif()
  set_tests_properties(${module}.${name} PROPERTIES
    TIMEOUT ${timeout}
    LABELS "${module};$<IF:$<BOOL:${ARG_SLOW}>,slow,unit>")
endfunction()
