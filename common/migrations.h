/*
 * migrations.h -- the schema that this build carries.
 *
 * The files schema/migrations/NNNN_name.sql are turned into C at build time
 * (cmake/migrations.cmake) and linked into every program: `pawl migrate up`
 * applies them, and the daemons compare the newest number with the database's.
 *
 * Rows are sorted by number; numbers count from 1 without a gap, so
 * pawl_migration_count is also the newest number.
 */
#ifndef PAWL_COMMON_MIGRATIONS_H
#define PAWL_COMMON_MIGRATIONS_H

#include <stddef.h>

struct migration {
    int number;       /* of 0007_retry.sql: 7       */
    const char *name; /* of 0007_retry.sql: "retry" */
    const char *sql;  /* the whole file             */
};

extern const struct migration pawl_migrations[];
extern const size_t pawl_migration_count;

#endif
