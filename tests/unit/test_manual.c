/*
 * docs/configuration.md says what the tables say, and its examples are good.
 *
 * The reference tables there are printed from the tables in the code. After a
 * change of a table:  PAWL_WRITE_MANUAL=1 tests/unit/test_manual
 */
#include "common/buf.h"
#include "common/catalog.h"
#include "common/config.h"
#include "common/json_schema.h"
#include "common/memory.h"
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <unistd.h>

static const char *source_path(const char *name)
{
    static char path[512];
    const char *root = getenv("PAWL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return path;
}

static char *read_page(void)
{
    const char *path = source_path("docs/configuration.md");
    FILE *in = fopen(path, "r");
    if (!in)
        fail_msg("cannot open %s", path);
    struct buf page;
    char piece[4096];
    buf_init(&page, 1 << 20);
    for (size_t n; (n = fread(piece, 1, sizeof piece, in)) > 0;)
        assert_true(buf_add(&page, piece, n));
    fclose(in);
    return buf_take(&page);
}

static void write_page(const char *head, size_t head_bytes, const char *printed, const char *tail)
{
    FILE *out = fopen(source_path("docs/configuration.md"), "w");
    assert_non_null(out);
    fwrite(head, 1, head_bytes, out);
    fprintf(out, "%s%s", printed, tail);
    assert_int_equal(fclose(out), 0);
}

/* Between "<!-- generated: NAME -->" and "<!-- end -->" stands what `print` prints. */
static void check_generated(const char *name, void (*print)(FILE *out))
{
    char marker[64];
    char *printed = NULL;
    size_t size = 0;
    AUTO_FREE char *page = read_page();
    snprintf(marker, sizeof marker, "<!-- generated: %s -->\n", name);
    char *begin = strstr(page, marker);
    if (!begin)
        fail_msg("no line %s", marker);
    begin += strlen(marker);
    const char *end = strstr(begin, "<!-- end -->");
    assert_non_null(end);
    FILE *out = open_memstream(&printed, &size);
    print(out);
    fclose(out);
    bool same = (size_t)(end - begin) == size && memcmp(begin, printed, size) == 0;
    if (!same && getenv("PAWL_WRITE_MANUAL"))
        write_page(page, (size_t)(begin - page), printed, end);
    else if (!same)
        fail_msg("'%s' of docs/configuration.md is not what the tables say; run "
                 "PAWL_WRITE_MANUAL=1 tests/unit/test_manual",
                 name);
    free(printed);
}

static void the_process_file_is_documented(void **state)
{
    (void)state;
    check_generated("process file", config_print_manual);
}

static void definitions_are_documented(void **state)
{
    (void)state;
    check_generated("definitions", catalog_print_manual);
}

static void the_keywords_of_schemas_are_documented(void **state)
{
    (void)state;
    check_generated("keywords", json_schema_print);
}

static void check_definitions(const char *name, const char *text, size_t length)
{
    struct catalog catalog;
    struct error err = { "" };
    assert_ok(catalog_read_text(&catalog, name, text, length, NULL, NULL, &err), &err);
    assert_in_range(catalog.count, 1, 100);
    catalog_release(&catalog);
}

static void check_process_file(const char *text, size_t length)
{
    struct config cfg;
    struct error err = { "" };
    char path[] = "/tmp/test_manual.XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, length), (ssize_t)length);
    close(fd);
    enum outcome outcome = config_load(&cfg, path, NULL, 0, &err);
    unlink(path);
    assert_ok(outcome, &err);
    config_release(&cfg);
}

static void the_examples_of_the_manual_are_good(void **state)
{
    (void)state;
    static const char fence[] = "```yaml\n";
    AUTO_FREE char *page = read_page();
    int files = 0, definitions = 0;
    for (char *at = strstr(page, fence); at; at = strstr(at, fence)) {
        at += strlen(fence);
        char *end = strstr(at, "```");
        assert_non_null(end);
        size_t length = (size_t)(end - at);
        if (strncmp(at, "models:", 7) == 0) {
            check_definitions("configuration.md", at, length);
            definitions++;
        } else {
            check_process_file(at, length);
            files++;
        }
    }
    assert_int_equal(files, 1);
    assert_int_equal(definitions, 1);
}

static void the_examples_of_the_repository_are_good(void **state)
{
    (void)state;
    static const char *const names[] = { "examples/demo/agent.yaml",
                                         "examples/first-agent/agent.yaml",
                                         "examples/first-agent/agent-openai.yaml",
                                         "examples/first-agent/agent-anthropic.yaml",
                                         "examples/models/models.yaml" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct catalog catalog;
        struct error err = { "" };
        const char *path = source_path(names[i]);
        assert_ok(catalog_read(&catalog, &path, 1, NULL, NULL, &err), &err);
        catalog_release(&catalog);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process_file_is_documented),
        cmocka_unit_test(definitions_are_documented),
        cmocka_unit_test(the_keywords_of_schemas_are_documented),
        cmocka_unit_test(the_examples_of_the_manual_are_good),
        cmocka_unit_test(the_examples_of_the_repository_are_good),
    };
    return cmocka_run_group_tests_name("manual", tests, NULL, NULL);
}
