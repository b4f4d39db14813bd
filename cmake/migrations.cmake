# Turns schema/migrations/NNNN_name.sql into one C file (see common/migrations.h), at build time.
# Included by CMakeLists.txt; the same file, run as a script (cmake -P), does the work.

if(NOT CMAKE_SCRIPT_MODE_FILE)
    file(GLOB PAWL_MIGRATIONS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/schema/migrations/*.sql)
    set(PAWL_MIGRATIONS_SOURCE ${PROJECT_BINARY_DIR}/generated/migrations.c)
    # The files stand in the command line, so that a removed one causes a rebuild too.
    add_custom_command(
        OUTPUT ${PAWL_MIGRATIONS_SOURCE}
        COMMAND ${CMAKE_COMMAND} -D OUT=${PAWL_MIGRATIONS_SOURCE}
                -P ${CMAKE_CURRENT_LIST_FILE} -- ${PAWL_MIGRATIONS}
        DEPENDS ${PAWL_MIGRATIONS} ${CMAKE_CURRENT_LIST_FILE}
        COMMENT "Embedding the schema migrations"
        VERBATIM)
    return()
endif()

set(files)
set(past_dashes OFF)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
    if(past_dashes)
        list(APPEND files "${CMAKE_ARGV${i}}")
    elseif(CMAKE_ARGV${i} STREQUAL "--")
        set(past_dashes ON)
    endif()
endforeach()
list(SORT files)

set(texts "")
set(rows "")
set(count 0)
foreach(file IN LISTS files)
    get_filename_component(base ${file} NAME)
    if(NOT base MATCHES "^([0-9][0-9][0-9][0-9])_([a-z0-9_]+)\\.sql$")
        message(FATAL_ERROR "${base}: a migration is called NNNN_name.sql, e.g. 0001_runs.sql")
    endif()
    set(name ${CMAKE_MATCH_2})
    string(REGEX REPLACE "^0+" "" number ${CMAKE_MATCH_1})
    math(EXPR count "${count} + 1")
    if(NOT number EQUAL count)
        message(FATAL_ERROR "${base}: expected number ${count}; migrations count from 0001 without a gap")
    endif()
    # Characters, not a string literal: a literal may be cut at 4095 bytes by the standard.
    file(READ ${file} hex HEX)
    string(LENGTH "${hex}" hex_length)
    math(EXPR size "${hex_length} / 2")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," chars "${hex}")
    string(REGEX REPLACE "(('....',)('....',)('....',)('....',)('....',)('....',)('....',)('....',))"
           "\\1\n    " chars "${chars}")
    string(APPEND texts "static const char sql_${number}[] = {\n    ${chars}'\\0'\n};\n\n")
    string(APPEND rows "    { ${number}, \"${name}\", sql_${number} },\n")
endforeach()

file(WRITE ${OUT} "/* Generated from schema/migrations by cmake/migrations.cmake. */
#include \"common/migrations.h\"

${texts}/* The empty row at the end lets the table exist before the first migration. */
const struct migration pawl_migrations[] = {
${rows}    { 0, 0, 0 },
};
const size_t pawl_migration_count = ${count};
")
