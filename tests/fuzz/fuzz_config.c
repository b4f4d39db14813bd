/*
 * fuzz_config.c -- any file, body and DSN is read or refused with a sentence.
 *
 * The first byte says what the rest is:
 *   'c' a file of definitions: what is accepted must be readable as published body,
 *       and reading it again must give the same digests
 *   'p' a process file (without the secrets, which would open files)
 *   'b' a published body, as JSON
 *   'd' a DSN, of which the password must not come through
 */
#include "common/catalog.h"
#include "common/config_table.h"
#include "common/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static enum outcome resolve(void *self, enum catalog_kind kind, const char *name,
                            char digest[CATALOG_HEX], struct error *err)
{
    (void)self;
    (void)kind;
    (void)err;
    if (*name == 'x')
        return REFUSED;
    memset(digest, 'a', CATALOG_HEX - 1);
    digest[CATALOG_HEX - 1] = '\0';
    return OK;
}

static enum outcome parse(const json_t *body, const char *digest, enum catalog_kind kind,
                          struct error *err)
{
    struct model_def *model = NULL;
    struct tool_def *tool = NULL;
    struct agent_def *agent = NULL;
    enum outcome outcome = kind == CATALOG_MODEL  ? catalog_parse_model(body, digest, &model, err)
                           : kind == CATALOG_TOOL ? catalog_parse_tool(body, digest, &tool, err)
                                                  : catalog_parse_agent(body, digest, &agent, err);
    if ((outcome == OK) != (model || tool || agent))
        abort();
    model_def_free(model);
    tool_def_free(tool);
    agent_def_free(agent);
    return outcome;
}

/* "fuzz.yaml:LINE: ..." with something behind it. */
static void check_message(const struct error *err)
{
    const char *colon = strchr(err->text, ':');
    if (strncmp(err->text, "fuzz.yaml:", 10) != 0 || atoi(colon + 1) < 1 ||
        !strstr(err->text, ": "))
        abort();
}

static void fuzz_definitions(const char *text, size_t n)
{
    struct catalog first, second;
    struct error err = { "" };
    enum outcome outcome = catalog_read_text(&first, "fuzz.yaml", text, n, resolve, NULL, &err);
    if (outcome != OK) {
        check_message(&err);
        return;
    }
    if (catalog_read_text(&second, "fuzz.yaml", text, n, resolve, NULL, &err) != OK ||
        second.count != first.count)
        abort();
    for (size_t i = 0; i < first.count; i++) {
        const struct catalog_entry *entry = &first.entries[i];
        if (strcmp(entry->digest, second.entries[i].digest) != 0 ||
            parse(entry->body, entry->digest, entry->kind, &err) != OK)
            abort();
    }
    catalog_release(&first);
    catalog_release(&second);
}

static void fuzz_process_file(const char *text, size_t n)
{
    struct yaml_file yaml;
    struct error err = { "" };
    if (yaml_read_text(&yaml, "fuzz.yaml", text, n, NULL, &err) != OK) {
        check_message(&err);
        return;
    }
    for (size_t i = 0; i < yaml.count; i++) {
        struct config cfg = { 0 };
        arena_init(&cfg.arena, 1 << 20);
        if (field_read(&config_table, yaml.documents[i], &cfg.arena, &cfg, &err) != OK)
            check_message(&err);
        arena_free(&cfg.arena);
    }
    yaml_release(&yaml);
}

static void fuzz_body(const char *text, size_t n)
{
    static const struct json_limits limits = { .bytes = 1 << 20, .depth = 64 };
    struct error err = { "" };
    json_t *body = NULL;
    if (json_read(text, n, &limits, &body, &err) != OK)
        return;
    for (unsigned kind = 0; kind < CATALOG_KINDS; kind++)
        if (parse(body, NULL, (enum catalog_kind)kind, &err) != OK && !err.text[0])
            abort();
    json_decref(body);
}

/* A password is put where libpq would find one; it must not come through. */
static void fuzz_dsn(const char *text, size_t n)
{
    static const char *const forms[] = { "postgres://u:%s@h/d", "postgres://h/d?password=%s",
                                         "host=h password='%s' user=u" };
    char rest[256], dsn[512];
    if (n < 4 || n >= sizeof rest || memchr(text, '\0', n) || strpbrk(text, "&'\\*"))
        return;
    memcpy(rest, text, n);
    rest[n] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct buf out;
        buf_init(&out, 4096);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(dsn, sizeof dsn, forms[i], rest);
#pragma GCC diagnostic pop
        config_redact_dsn(dsn, &out);
        if (strstr(out.data, rest) && !strstr("postgres://u:@h/d?password= host=h user=u", rest))
            abort();
        buf_release(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t n = size - 1;
    char *text = malloc(n + 1); /* NUL-terminated for strpbrk; the parsers get n */
    if (!text)
        return 0;
    memcpy(text, data + 1, n);
    text[n] = '\0';
    if (data[0] == 'c')
        fuzz_definitions(text, n);
    else if (data[0] == 'p')
        fuzz_process_file(text, n);
    else if (data[0] == 'b')
        fuzz_body(text, n);
    else if (data[0] == 'd')
        fuzz_dsn(text, n);
    free(text);
    return 0;
}
