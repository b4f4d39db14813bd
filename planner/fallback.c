#include "planner/fallback.h"

#include <string.h>

/* Waiting does not help against these, and another key may. */
static const char *const about_the_key[] = { "quota_spent", "unauthorized", "payment_required",
                                             "forbidden", "not_found" };

static bool is_named(const struct agent_def *agent, const char *code)
{
    const struct field_strings *own = &agent->fallback_on;
    const char *const *names = own->count > 0 ? (const char *const *)own->items : about_the_key;
    size_t count = own->count > 0 ? own->count : sizeof about_the_key / sizeof *about_the_key;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], code) == 0)
            return true;
    return false;
}

bool fallback_moves_on(const struct agent_def *agent, int at, int failures,
                       const struct model_reply *reply)
{
    if (at + 1 >= (int)agent->model_count)
        return false;
    return is_named(agent, reply->code) ||
           (reply->outcome == RETRY && failures >= agent->fallback_after);
}
