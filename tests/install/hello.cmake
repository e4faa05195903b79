# The CMakeLists.txt with which tests/install builds hello.c against the installed package.
cmake_minimum_required(VERSION 3.25)
project(hello LANGUAGES C)
find_package(fovea 0.1 REQUIRED)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE fovea::fovea)
