#include "common/config.h"
#include "common/config_table.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_BYTES_MAX = 64 * 1024, SECRETS_MAX = 256, SHOWN_SIZE = 64 };

/* --- files ------------------------------------------------------------------------ */

/* As many bytes as there are, up to n; -1 and errno. */
static ssize_t read_all(int fd, char *data, size_t n)
{
    size_t length = 0;
    while (length < n) {
        ssize_t got = read(fd, data + length, n - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

static const char *keep_secret(struct config *cfg, char *data, size_t length, struct error *why)
{
    if (length > 0 && data[length - 1] == '\n')
        length--;
    if (length > 0 && data[length - 1] == '\r')
        length--;
    if (length == 0) {
        (void)fail(why, REFUSED, "is empty");
        return NULL;
    }
    if (text_has_nul(data, length)) {
        (void)fail(why, REFUSED, "holds a NUL character");
        return NULL;
    }
    const char *kept = arena_memdup(&cfg->arena, data, length);
    if (!kept)
        (void)fail(why, REFUSED, "does not fit in memory with the other secrets");
    return kept;
}

const char *config_read_file(struct config *cfg, const char *path, struct error *why)
{
    static const size_t room = SECRET_BYTES_MAX + 1; /* one more, to see that it is too large */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)fail(why, REFUSED, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    char *data = calloc(1, room);
    ssize_t length = data ? read_all(fd, data, room) : -1;
    const char *kept = NULL;
    if (length < 0)
        (void)fail(why, REFUSED, "cannot be read: %s", strerror(errno));
    else if (length > SECRET_BYTES_MAX)
        (void)fail(why, REFUSED, "is larger than %d bytes", SECRET_BYTES_MAX);
    else
        kept = keep_secret(cfg, data, (size_t)length, why);
    (void)close(fd);
    if (data)
        explicit_bzero(data, room);
    free(data);
    return kept;
}

/* --- the secrets ---------------------------------------------------------------------- */

static const char *from_file(struct config *cfg, const char *path, struct error *why)
{
    char shown[SHOWN_SIZE];
    struct error problem = { "" };
    const char *value = config_read_file(cfg, path, &problem);
    if (!value)
        (void)fail(why, REFUSED, "file %s %s",
                   text_bounded(shown, sizeof shown, path, strlen(path)), problem.text);
    return value;
}

static const char *from_environment(struct config *cfg, const char *name, struct error *why)
{
    const char *value = getenv(name);
    const char *file_name = arena_printf(&cfg->arena, "%s_FILE", name);
    const char *path = file_name ? getenv(file_name) : NULL;
    if (value && *value) {
        value = arena_strdup(&cfg->arena, value);
        if (!value)
            (void)fail(why, REFUSED, "does not fit in memory with the other secrets");
        return value;
    }
    if (path && *path)
        return from_file(cfg, path, why);
    (void)fail(why, REFUSED, "environment variable %s is not set; set it, or %s_FILE", name, name);
    return NULL;
}

static enum outcome read_secret(struct config *cfg, const struct yaml_node *key,
                                const struct yaml_node *node, struct config_secret *secret,
                                struct error *err)
{
    char shown[SHOWN_SIZE];
    struct config_source source = { 0 };
    struct error why = { "" };
    text_bounded(shown, sizeof shown, key->text, key->length);
    if (text_has_nul(key->text, key->length) || !field_is_secret_name(key->text))
        return yaml_fail(err, key, "'%s' cannot name a secret; write %s", shown,
                         field_secret_right);
    /* No value of a wrong node is shown: it may be the secret itself. */
    if (node->kind != YAML_MAPPING)
        return yaml_fail(err, node,
                         "secret '%s' is not a mapping; write {env: VARIABLE} or "
                         "{file: PATH}",
                         shown);
    enum outcome outcome = field_read(&config_secret_table, node, &cfg->arena, &source, err);
    if (outcome != OK)
        return outcome;
    if (!source.env == !source.file)
        return yaml_fail(err, node,
                         "secret '%s' needs one of 'env' and 'file'; write {env: "
                         "VARIABLE} or {file: PATH}",
                         shown);
    secret->name = arena_strdup(&cfg->arena, key->text);
    secret->origin = arena_printf(&cfg->arena, "%s:%s", source.env ? "env" : "file",
                                  source.env ? source.env : source.file);
    secret->value =
        source.env ? from_environment(cfg, source.env, &why) : from_file(cfg, source.file, &why);
    secret->problem = secret->value ? NULL : arena_strdup(&cfg->arena, why.text);
    if (!secret->name || !secret->origin || (!secret->value && !secret->problem))
        return yaml_fail(err, node, "the secrets do not fit in memory; remove some");
    return OK;
}

enum outcome config_read_secrets(struct config *cfg, struct error *err)
{
    const struct yaml_node *node = cfg->secrets_node;
    if (!node || node->count == 0)
        return OK;
    if (node->count > SECRETS_MAX)
        return yaml_fail(err, node, "%zu secrets; name at most %d", node->count, SECRETS_MAX);
    cfg->secrets = arena_alloc_array(&cfg->arena, node->count, sizeof *cfg->secrets);
    if (!cfg->secrets)
        return yaml_fail(err, node, "the secrets do not fit in memory; remove some");
    for (size_t i = 0; i < node->count; i++) {
        enum outcome outcome =
            read_secret(cfg, node->keys[i], node->items[i], &cfg->secrets[i], err);
        if (outcome != OK)
            return outcome;
        cfg->secret_count++;
    }
    return OK;
}

static const struct config_secret *find_secret(const struct config *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->secret_count; i++)
        if (strcmp(cfg->secrets[i].name, name) == 0)
            return &cfg->secrets[i];
    return NULL;
}

const char *config_secret(const struct config *cfg, const char *name)
{
    const struct config_secret *secret = find_secret(cfg, name);
    return secret ? secret->value : NULL;
}

enum outcome config_secret_get(const struct config *cfg, const char *name, const char **value,
                               struct error *err)
{
    const struct config_secret *secret = find_secret(cfg, name);
    *value = secret ? secret->value : NULL;
    if (!secret)
        return fail(err, REFUSED,
                    "secret '%s' is not named in %s; add `secrets: {%s: {env: VARIABLE}}`", name,
                    cfg->file ? cfg->file : "a process file", name);
    return secret->value ? OK : fail(err, REFUSED, "secret '%s': %s", name, secret->problem);
}

enum outcome config_expand(const struct config *cfg, const struct field_pair *pair, struct buf *out,
                           struct error *err)
{
    const char *value = pair->text;
    if (!value) {
        enum outcome outcome = config_secret_get(cfg, pair->secret, &value, err);
        if (outcome != OK)
            return outcome;
    }
    size_t before = out->len;
    if (buf_puts(out, pair->text ? "" : pair->prefix) && buf_puts(out, value))
        return OK;
    out->len = before < out->len ? before : out->len;
    if (out->data)
        out->data[out->len] = '\0';
    return fail(err, REFUSED, "'%s' is longer than %zu bytes", pair->name, out->limit_bytes);
}

/* --- kafka.properties -------------------------------------------------------------------- */

/* What pawl sets itself, because its promises depend on it. */
static bool is_own_property(const char *name)
{
    static const char *const own[] = {
        "bootstrap.servers",    "metadata.broker.list", "group.id",
        "enable.auto.commit",   "auto.commit.enable",   "enable.auto.offset.store",
        "enable.partition.eof",
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i], name) == 0)
            return true;
    return false;
}

/* A property whose value is not to be shown, even when it stands in the file. */
static bool is_sensitive(const char *name)
{
    static const char *const parts[] = { "password", "secret",  "token",
                                         "jaas",     "key.pem", "oauthbearer.config" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcasestr(name, parts[i]))
            return true;
    return false;
}

static enum outcome read_property(struct config *cfg, const struct field_pair *pair,
                                  const struct yaml_node *value, struct config_property *property,
                                  struct error *err)
{
    const struct config_secret *secret = pair->secret ? find_secret(cfg, pair->secret) : NULL;
    if (is_own_property(pair->name))
        return yaml_fail(err, value, "property '%s' is set by pawl; remove it", pair->name);
    if (pair->secret && !secret)
        return yaml_fail(err, value,
                         "property '%s' names secret '%s', which is not under "
                         "'secrets'; add it there",
                         pair->name, pair->secret);
    property->name = pair->name;
    property->value = secret ? secret->value : pair->text;
    property->secret = secret != NULL || is_sensitive(pair->name);
    property->origin = arena_printf(&cfg->arena, "%s:%d", value->file, value->line);
    if (secret && secret->value && *pair->prefix)
        property->value = arena_printf(&cfg->arena, "%s%s", pair->prefix, secret->value);
    if (!property->origin || (secret && secret->value && !property->value))
        return yaml_fail(err, value, "the properties do not fit in memory; remove some");
    return OK;
}

enum outcome config_read_properties(struct config *cfg, const struct yaml_node *node,
                                    struct error *err)
{
    if (cfg->kafka_pairs.count == 0)
        return OK;
    cfg->kafka_properties =
        arena_alloc_array(&cfg->arena, cfg->kafka_pairs.count, sizeof *cfg->kafka_properties);
    if (!cfg->kafka_properties)
        return yaml_fail(err, node, "the properties do not fit in memory; remove some");
    for (size_t i = 0; i < cfg->kafka_pairs.count; i++) {
        enum outcome outcome = read_property(cfg, &cfg->kafka_pairs.items[i], node->items[i],
                                             &cfg->kafka_properties[i], err);
        if (outcome != OK)
            return outcome;
        cfg->kafka_property_count++;
    }
    return OK;
}
