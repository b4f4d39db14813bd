#include "planner/json_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGITS_SHORT = 15 };

/* Does every number in it survive being written with few digits? */
static bool is_plain(const json_t *value)
{
    size_t i;
    json_t *member;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        for (void *at = json_object_iter((json_t *)(uintptr_t)value); at;
             at = json_object_iter_next((json_t *)(uintptr_t)value, at))
            if (!is_plain(json_object_iter_value(at)))
                return false;
        return true;
    case JSON_ARRAY:
        json_array_foreach(value, i, member) {
            if (!is_plain(member))
                return false;
        }
        return true;
    case JSON_REAL: {
        char text[40];
        (void)snprintf(text, sizeof text, "%.*g", DIGITS_SHORT, json_real_value(value));
        return strtod(text, NULL) == json_real_value(value);
    }
    case JSON_STRING:
    case JSON_INTEGER:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL: break;
    }
    return true;
}

char *json_text(const json_t *value)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    if (is_plain(value))
        flags |= JSON_REAL_PRECISION(DIGITS_SHORT);
    char *text = json_dumps(value, flags);
    if (!text) {
        (void)fprintf(stderr, "cannot write a JSON value as text: out of memory, or a cycle\n");
        abort();
    }
    return text;
}
