# The CMakeLists.txt of the app that tests/install builds against the installed package.
cmake_minimum_required(VERSION 3.25)
project(app LANGUAGES C)
find_package(fovea 0.1 REQUIRED)
add_executable(app app.c)
target_link_libraries(app PRIVATE fovea::fovea)
