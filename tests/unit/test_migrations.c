/* The embedded schema is the files of schema/migrations, byte for byte. */
#include "common/migrations.h"
#include "tests/unit/cm.h"

#include <dirent.h>
#include <stdlib.h>

static const char *directory(void)
{
    static char path[512];
    const char *root = getenv("PAWL_SOURCE_DIR");
    (void)snprintf(path, sizeof path, "%s/schema/migrations", root ? root : ".");
    return path;
}

static void every_file_is_embedded_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < pawl_migration_count; i++) {
        const struct migration *m = &pawl_migrations[i];
        assert_int_equal(m->number, (int)i + 1);
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/%04d_%s.sql", directory(), m->number, m->name);
        FILE *file = fopen(path, "rb");
        if (!file)
            fail_msg("%s is embedded but is not there", path);
        char *text = calloc(1, 1 << 22);
        assert_non_null(text);
        size_t size = fread(text, 1, (1 << 22) - 1, file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(strlen(m->sql), size);
        assert_memory_equal(m->sql, text, size);
        free(text);
    }
}

static void no_file_is_left_out(void **state)
{
    (void)state;
    size_t files = 0;
    DIR *dir = opendir(directory());
    if (dir) {
        for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
            size_t length = strlen(entry->d_name);
            files += length > 4 && strcmp(entry->d_name + length - 4, ".sql") == 0;
        }
        assert_int_equal(closedir(dir), 0);
    }
    assert_int_equal(files, pawl_migration_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_is_embedded_whole),
        cmocka_unit_test(no_file_is_left_out),
    };
    return cmocka_run_group_tests_name("migrations", tests, NULL, NULL);
}
