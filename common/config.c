#include "common/config.h"

#include "common/config_table.h"
#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 32 << 20, SETTINGS_MAX = CONFIG_FLAGS_MAX, SHOWN_SIZE = 64 };

struct setting {
    char path[CONFIG_NAME_SIZE];
    const struct field *field;
};

struct settings {
    struct setting all[SETTINGS_MAX];
    size_t count;
};

/* One config_load. */
struct loader {
    struct config *cfg;
    struct settings settings;
    struct yaml_file yaml;
    const struct yaml_node *root; /* NULL: no file, or an empty one */
    const struct config_flag *flags;
    size_t flag_count;
    struct error *err;
};

/* --- the settings ---------------------------------------------------------------------- */

static void add_setting(void *self, const char *path, const struct field *field, void *within)
{
    struct settings *settings = self;
    (void)within; /* all rows of the table are offsets in struct config itself */
    if (!field_is_scalar(field))
        return;
    assert(settings->count < SETTINGS_MAX);
    struct setting *setting = &settings->all[settings->count++];
    (void)snprintf(setting->path, sizeof setting->path, "%s", path);
    setting->field = field;
}

static void list_settings(struct settings *settings)
{
    settings->count = 0;
    field_walk(&config_table, NULL, add_setting, settings);
}

/* By path or by flag: "postgres.dsn", "--postgres-dsn". */
static const struct setting *find_setting(const struct settings *settings, const char *name)
{
    char flag[CONFIG_NAME_SIZE];
    for (size_t i = 0; i < settings->count; i++) {
        const struct setting *setting = &settings->all[i];
        if (strcmp(setting->path, name) == 0 ||
            strcmp(config_flag_name(setting->path, flag), name) == 0)
            return setting;
    }
    return NULL;
}

/* --- the file ----------------------------------------------------------------------------- */

static enum outcome open_file(struct loader *l, const char *path)
{
    if (!path)
        path = getenv("PAWL_CONFIG");
    if (!path || !*path)
        return OK;
    enum outcome outcome = yaml_read_path(&l->yaml, path, NULL, l->err);
    if (outcome != OK)
        return outcome;
    l->cfg->file = arena_strdup(&l->cfg->arena, path);
    if (!l->cfg->file)
        return fail(l->err, REFUSED, "no memory to read %s", path);
    if (l->yaml.count > 1)
        return yaml_fail(l->err, l->yaml.documents[1],
                         "a second document begins here; a process file is one: remove the '---'");
    if (l->yaml.count == 1 && !yaml_is_null(l->yaml.documents[0]))
        l->root = l->yaml.documents[0];
    return OK;
}

static const struct yaml_node *find_node(const struct yaml_node *root, const char *path)
{
    char name[CONFIG_NAME_SIZE];
    while (root && *path) {
        size_t n = strcspn(path, ".");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, path);
        root = yaml_get(root, name);
        path += n + (path[n] == '.');
    }
    return root;
}

/* --- environment and flags ------------------------------------------------------------------ */

/* The variable's value; an empty one counts as not set. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* PAWL_POSTGRES_DSN_FILE and the like, for settings that are secret. */
static enum outcome apply_secret_file(struct loader *l, const struct setting *setting,
                                      const char *env, const char **origin)
{
    char name[CONFIG_NAME_SIZE + 8], where[2 * CONFIG_NAME_SIZE];
    struct error why = { "" };
    (void)snprintf(name, sizeof name, "%s_FILE", env);
    const char *path = environment(name);
    if (!path)
        return OK;
    if (environment(env))
        return fail(l->err, REFUSED, "both %s and %s are set; unset one", env, name);
    const char *value = config_read_file(l->cfg, path, &why);
    if (!value)
        return fail(l->err, REFUSED, "%s: file %.80s %s", name, path, why.text);
    (void)snprintf(where, sizeof where, "the file of %s", name);
    *origin = arena_strdup(&l->cfg->arena, name);
    return field_set(setting->field, value, where, &l->cfg->arena, l->cfg, l->err);
}

static enum outcome apply_environment(struct loader *l, const struct setting *setting,
                                      const char **origin)
{
    char env[CONFIG_NAME_SIZE];
    config_env_name(setting->path, env);
    const char *value = environment(env);
    if (setting->field->secret) {
        enum outcome outcome = apply_secret_file(l, setting, env, origin);
        if (outcome != OK)
            return outcome;
    }
    if (!value)
        return OK;
    *origin = arena_strdup(&l->cfg->arena, env);
    return field_set(setting->field, value, env, &l->cfg->arena, l->cfg, l->err);
}

static enum outcome apply_flags(struct loader *l, const struct setting *setting,
                                const char **origin)
{
    char flag[CONFIG_NAME_SIZE];
    config_flag_name(setting->path, flag);
    for (size_t i = 0; i < l->flag_count; i++) {
        const char *name = l->flags[i].name;
        if (strcmp(name, flag) != 0 && strcmp(name, setting->path) != 0)
            continue;
        *origin = arena_strdup(&l->cfg->arena, flag);
        enum outcome outcome =
            field_set(setting->field, l->flags[i].value, flag, &l->cfg->arena, l->cfg, l->err);
        if (outcome != OK)
            return outcome;
    }
    return OK;
}

static enum outcome apply(struct loader *l, const struct setting *setting,
                          struct config_origin *entry)
{
    const struct yaml_node *node = find_node(l->root, setting->path);
    entry->path = arena_strdup(&l->cfg->arena, setting->path);
    entry->origin =
        node ? arena_printf(&l->cfg->arena, "%s:%d", node->file, node->line) : "default";
    enum outcome outcome = apply_environment(l, setting, &entry->origin);
    if (outcome == OK)
        outcome = apply_flags(l, setting, &entry->origin);
    if (outcome == OK && (!entry->path || !entry->origin))
        return fail(l->err, REFUSED, "no memory for the settings");
    return outcome;
}

static enum outcome refuse_flag(const struct settings *settings, const char *name,
                                struct error *err)
{
    static char spelled[SETTINGS_MAX][CONFIG_NAME_SIZE];
    const char *names[SETTINGS_MAX];
    for (size_t i = 0; i < settings->count; i++)
        names[i] = config_flag_name(settings->all[i].path, spelled[i]);
    const char *near = field_nearest(name, names, settings->count);
    if (near)
        return fail(err, REFUSED, "'%.64s' is not a setting; did you mean '%s'?", name, near);
    return fail(err, REFUSED, "'%.64s' is not a setting; --help lists them", name);
}

static enum outcome apply_all(struct loader *l)
{
    struct config *cfg = l->cfg;
    for (size_t i = 0; i < l->flag_count; i++)
        if (!find_setting(&l->settings, l->flags[i].name))
            return refuse_flag(&l->settings, l->flags[i].name, l->err);
    cfg->origins = arena_alloc_array(&cfg->arena, l->settings.count, sizeof *cfg->origins);
    if (!cfg->origins)
        return fail(l->err, REFUSED, "no memory for the settings");
    cfg->origin_count = l->settings.count;
    for (size_t i = 0; i < l->settings.count; i++) {
        enum outcome outcome = apply(l, &l->settings.all[i], &cfg->origins[i]);
        if (outcome != OK)
            return outcome;
    }
    return OK;
}

/* --- what no single field can tell --------------------------------------------------------- */

static const char *origin_of(const struct config *cfg, const char *path)
{
    for (size_t i = 0; i < cfg->origin_count; i++)
        if (strcmp(cfg->origins[i].path, path) == 0)
            return cfg->origins[i].origin;
    return "default";
}

/* The place to change: of two settings the one that is not at its default. */
static const char *place_of(const struct config *cfg, const char *a, const char *b)
{
    const char *origin = origin_of(cfg, b);
    return strcmp(origin, "default") == 0 ? origin_of(cfg, a) : origin;
}

static enum outcome check_topics(struct config *cfg, struct error *err)
{
    cfg->topic_dlq = arena_printf(&cfg->arena, "%s.dlq", cfg->topic_requests);
    if (!cfg->topic_dlq)
        return fail(err, REFUSED, "no memory for the settings");
    const struct {
        const char *path, *topic;
    } topics[] = {
        { "kafka.topics.requests", cfg->topic_requests },
        { "kafka.topics.plan", cfg->topic_plan },
        { "kafka.topics.act", cfg->topic_act },
        { "kafka.topics.events", cfg->topic_events },
        { "kafka.topics.requests", cfg->topic_dlq },
        { "kafka.topics.stream", cfg->topic_stream },
    };
    const size_t count = sizeof topics / sizeof *topics - (cfg->topic_stream ? 0 : 1);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(topics[i].topic, topics[j].topic) == 0)
                return fail(err, REFUSED,
                            "%s: %s and %s are both '%.80s'; give each topic a name of its own",
                            place_of(cfg, topics[j].path, topics[i].path), topics[j].path,
                            topics[i].path, topics[i].topic);
    return OK;
}

static enum outcome check_groups(const struct config *cfg, struct error *err)
{
    if (strcmp(cfg->group_planner, cfg->group_executor) != 0)
        return OK;
    return fail(err, REFUSED,
                "%s: kafka.groups.planner and kafka.groups.executor are both '%.80s'; give each "
                "group a name of its own",
                place_of(cfg, "kafka.groups.planner", "kafka.groups.executor"), cfg->group_planner);
}

/* --- loading ---------------------------------------------------------------------------------- */

static enum outcome load(struct loader *l, const char *path)
{
    struct config *cfg = l->cfg;
    list_settings(&l->settings);
    enum outcome outcome = open_file(l, path);
    if (outcome != OK)
        return outcome;
    if (l->root)
        outcome = field_read(&config_table, l->root, &cfg->arena, cfg, l->err);
    else
        outcome = field_defaults(&config_table, &cfg->arena, cfg, l->err);
    if (outcome == OK)
        outcome = apply_all(l);
    if (outcome == OK)
        outcome = config_read_secrets(cfg, l->err);
    if (outcome == OK)
        outcome = config_read_properties(cfg, find_node(l->root, "kafka.properties"), l->err);
    if (outcome == OK)
        outcome = check_topics(cfg, l->err);
    if (outcome == OK)
        outcome = check_groups(cfg, l->err);
    return outcome;
}

enum outcome config_load(struct config *cfg, const char *path, const struct config_flag *flags,
                         size_t count, struct error *err)
{
    struct loader l = { .cfg = cfg, .flags = flags, .flag_count = count, .err = err };
    *cfg = (struct config){ 0 };
    arena_init(&cfg->arena, ARENA_BYTES);
    enum outcome outcome = load(&l, path);
    cfg->secrets_node = NULL; /* gone with the tree */
    yaml_release(&l.yaml);
    if (outcome != OK)
        config_release(cfg);
    return outcome;
}

/* Values stand in memory of our arena, which nobody else may write to. */
static void wipe(const char *value)
{
    if (value)
        explicit_bzero((char *)(uintptr_t)value, strlen(value));
}

void config_release(struct config *cfg)
{
    for (size_t i = 0; i < cfg->secret_count; i++)
        wipe(cfg->secrets[i].value);
    for (size_t i = 0; i < cfg->kafka_property_count; i++)
        if (cfg->kafka_properties[i].secret)
            wipe(cfg->kafka_properties[i].value);
    wipe(cfg->postgres_dsn);
    arena_free(&cfg->arena);
    *cfg = (struct config){ 0 };
}

enum outcome config_require(const struct config *cfg, unsigned needs, struct error *err)
{
    const char *file = cfg->file ? cfg->file : "the process file (--config)";
    if ((needs & CONFIG_POSTGRES) && !cfg->postgres_dsn)
        return fail(err, REFUSED,
                    "postgres.dsn is not set; set PAWL_POSTGRES_DSN or --postgres-dsn, or write "
                    "`postgres: {dsn: ...}` in %s",
                    file);
    if (!(needs & CONFIG_KAFKA))
        return OK;
    if (!cfg->kafka_bootstrap)
        return fail(err, REFUSED,
                    "kafka.bootstrap is not set; set PAWL_KAFKA_BOOTSTRAP or --kafka-bootstrap, or "
                    "write `kafka: {bootstrap: ...}` in %s",
                    file);
    for (size_t i = 0; i < cfg->kafka_property_count; i++) {
        const char *value = NULL;
        if (cfg->kafka_properties[i].value)
            continue;
        return config_secret_get(cfg, cfg->kafka_pairs.items[i].secret, &value, err);
    }
    return OK;
}

/* --- flags from the command line ---------------------------------------------------------------
 */

/* Does the argument spell `flag`, alone or with "=value"?  *value is then what
 * follows the "=", or NULL.                                                 */
static bool spells(const char *argument, const char *flag, const char **value)
{
    size_t n = strlen(flag);
    if (strncmp(argument, flag, n) != 0 || (argument[n] && argument[n] != '='))
        return false;
    *value = argument[n] ? argument + n + 1 : NULL;
    return true;
}

static bool spells_setting(const struct settings *settings, const char *argument,
                           const char **value, const char **path)
{
    char flag[CONFIG_NAME_SIZE];
    for (size_t i = 0; i < settings->count; i++) {
        if (!spells(argument, config_flag_name(settings->all[i].path, flag), value))
            continue;
        *path = settings->all[i].path;
        return true;
    }
    return false;
}

enum outcome config_take_flags(int *argc, char **argv, const char **path, struct config_flag *flags,
                               size_t room, size_t *count, struct error *err)
{
    static struct settings settings; /* the paths of the flags point into it */
    int kept = 0;
    bool over = false;
    list_settings(&settings);
    *count = 0;
    for (int i = 0; i < *argc; i++) {
        const char *value = NULL, *name = NULL;
        over = over || strcmp(argv[i], "--") == 0;
        bool file = !over && spells(argv[i], "--config", &value);
        if (over || i == 0 || (!file && !spells_setting(&settings, argv[i], &value, &name))) {
            argv[kept++] = argv[i];
            continue;
        }
        if (!value && i + 1 == *argc)
            return fail(err, REFUSED, "%s needs a value behind it", argv[i]);
        if (!value)
            value = argv[++i];
        if (file)
            *path = value;
        else if (*count == room)
            return fail(err, REFUSED, "more than %zu flags; put some in the process file", room);
        else
            flags[(*count)++] = (struct config_flag){ name, value };
    }
    *argc = kept;
    argv[kept] = NULL;
    return OK;
}
