/*
 * agent_diff.c -- `pawl agent diff`: what `agent apply` would change, key by key.
 *
 * Bodies are compared with all their defaults filled in, so that a default
 * written out is no difference.  Like diff(1), the exit code is 1 when there is
 * one.
 */
#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/json.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 512, VALUE_BYTES = 1024 };

static void print_value(char sign, const char *path, const json_t *value)
{
    char safe[VALUE_BYTES];
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    enum style style = sign == '+' ? STYLE_GOOD : STYLE_BAD;
    if (text)
        printf("  %s%c %s: %s%s\n", output_on(style), sign, path,
               text_bounded(safe, sizeof safe, text, strlen(text)), output_off(style));
    free(text);
}

/* One line of a text that has several. */
static void print_line(char sign, const char *path, const char *line, size_t length)
{
    char safe[VALUE_BYTES];
    enum style style = sign == '+' ? STYLE_GOOD : STYLE_BAD;
    printf("  %s%c %s| %s%s\n", output_on(style), sign, path,
           text_bounded(safe, sizeof safe, line, length), output_off(style));
}

static bool has_line(const char *text, const char *line, size_t length)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n == length && !memcmp(text, line, n))
            return true;
        text += n + (text[n] == '\n');
    }
    return false;
}

/* The lines of `text` that `other` has not. */
static void print_lines_missing(char sign, const char *path, const char *text, const char *other)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (!has_line(other, text, n))
            print_line(sign, path, text, n);
        text += n + (text[n] == '\n');
    }
}

static void compare(const char *path, const json_t *before, const json_t *after);

static void compare_members(const char *path, const json_t *before, const json_t *after)
{
    const char *key;
    json_t *value;
    char deeper[PATH_BYTES];
    json_object_foreach((json_t *)before, key, value) {
        (void)snprintf(deeper, sizeof deeper, "%s%s%s", path, *path ? "." : "", key);
        compare(deeper, value, json_object_get(after, key));
    }
    json_object_foreach((json_t *)after, key, value) {
        (void)snprintf(deeper, sizeof deeper, "%s%s%s", path, *path ? "." : "", key);
        if (!json_object_get(before, key))
            compare(deeper, NULL, value);
    }
}

static void compare(const char *path, const json_t *before, const json_t *after)
{
    if (before && after && json_equal(before, after))
        return;
    if (json_is_object(before) && json_is_object(after)) {
        compare_members(path, before, after);
        return;
    }
    const char *old_text = json_string_value(before), *new_text = json_string_value(after);
    if (old_text && new_text && (strchr(old_text, '\n') || strchr(new_text, '\n'))) {
        print_lines_missing('-', path, old_text, new_text);
        print_lines_missing('+', path, new_text, old_text);
        return;
    }
    if (before)
        print_value('-', path, before);
    if (after)
        print_value('+', path, after);
}

static void print_difference(const struct agent_files *f, const struct catalog_entry *e,
                             const char *change)
{
    const json_t *row = agent_published(f->published, e->kind, e->name);
    const char *word = !strcmp(change, "repinned") ? "changed: it follows its tools" : change;
    printf("%s%s %s%s: %s\n", output_on(STYLE_BOLD), catalog_kind_name(e->kind), e->name,
           output_off(STYLE_BOLD), word);
    compare("", json_object_get(row, "body"), e->body);
}

int agent_diff_command(struct cli *cli)
{
    struct session *s;
    struct agent_files files;
    int code = session_open(cli, &s);
    if (code != CLI_DONE)
        return code;
    code = agent_files_read(&files, cli, s);
    session_close(s);
    if (code != CLI_DONE)
        return code;
    json_t *changes = json_array();
    for (size_t i = 0; i < files.catalog.count; i++) {
        const struct catalog_entry *e = &files.catalog.entries[i];
        const char *change = agent_change(&files, e);
        if (!strcmp(change, "same"))
            continue;
        const json_t *row = agent_published(files.published, e->kind, e->name);
        (void)json_array_append_new(
            changes, json_pack("{s:s, s:s, s:s, s:O?, s:O}", "kind", catalog_kind_name(e->kind),
                               "name", e->name, "change", change, "published",
                               json_object_get(row, "body"), "file", e->body));
        if (!cli_given(cli, "json"))
            print_difference(&files, e, change);
    }
    code = json_array_size(changes) ? CLI_FAILED : CLI_DONE;
    if (cli_given(cli, "json"))
        output_json(changes);
    else if (code == CLI_DONE)
        (void)puts("what is published is what is in the files");
    json_decref(changes);
    agent_files_release(&files);
    return code;
}
