#include "common/catalog_table.h"
#include "common/text.h"

#include <stdlib.h>
#include <string.h>

enum { POINTER_SHOWN = 90 };

/* One step of a JSON pointer (RFC 6901) in the definition as it was written. */
static const struct yaml_node *step(const struct yaml_node *node, char *token, bool key)
{
    char *out = token;
    for (const char *in = token; *in; in++)
        *out++ = *in == '~' && (in[1] == '0' || in[1] == '1') ? (*++in == '1' ? '/' : '~') : *in;
    *out = '\0';
    if (node->kind == YAML_MAPPING)
        return key ? yaml_get_key(node, token) : yaml_get(node, token);
    size_t index = (size_t)strtoul(token, NULL, 10);
    return node->kind == YAML_SEQUENCE && index < node->count ? node->items[index] : NULL;
}

/* The node that a pointer names, or the last one on the way that is there. */
static const struct yaml_node *node_at(const struct yaml_node *node, const char *pointer,
                                       bool at_key)
{
    char copy[sizeof((struct json_schema_fault *)0)->pointer];
    (void)snprintf(copy, sizeof copy, "%s", pointer);
    for (char *token = *copy ? copy + 1 : NULL, *next; token; token = next) {
        next = strchr(token, '/');
        if (next)
            *next++ = '\0';
        const struct yaml_node *below = step(node, token, at_key && !next);
        if (!below)
            break;
        node = below;
    }
    return node;
}

static enum outcome refuse(const struct json_schema_fault *fault, const struct yaml_node *schema,
                           struct error *err)
{
    char pointer[sizeof fault->pointer], shown[POINTER_SHOWN];
    (void)snprintf(pointer, sizeof pointer, "%s", fault->pointer);
    char *last = strrchr(pointer, '/');
    if (fault->at_key && last)
        *last = '\0'; /* the text names the key */
    return yaml_fail(err, node_at(schema, fault->pointer, fault->at_key), "parameters%s%s %s",
                     text_bounded(shown, sizeof shown, pointer, strlen(pointer)),
                     fault->at_key ? ":" : "", fault->text);
}

enum outcome catalog_check_schema(json_t *parameters, const struct yaml_node *node,
                                  struct error *err)
{
    const struct yaml_node *type = yaml_get(node, "type");
    struct json_schema *schema;
    struct json_schema_fault fault;
    if (node->kind != YAML_MAPPING || !type || type->kind != YAML_SCALAR ||
        strcmp(type->text, "object") != 0)
        return yaml_fail(err, type ? type : node,
                         "'parameters' does not describe an object; write {type: object, "
                         "properties: {...}}");
    if (json_schema_compile(parameters, true, &schema, &fault) != OK)
        return refuse(&fault, node, err);
    json_schema_free(schema);
    return OK;
}
