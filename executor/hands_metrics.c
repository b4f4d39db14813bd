#include "executor/hands_metrics.h"

#include "common/metrics.h"

enum { TOOLS_MAX = 512 };

static struct metric_states states = {
    .metric = { .name = "pawl_executor_actions", .help = "Calls of tools in hand, by state." },
};
static struct metric claims = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_claims_total",
    .help = "Claims of calls, by the answer of Postgres.",
    .labels = { "answer" },
};
static struct metric calls = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_calls_total",
    .help = "Attempts of calls and probes that ended, by tool and outcome.",
    .labels = { "tool", "outcome" },
    .series_max = TOOLS_MAX,
};
static struct metric durations = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_executor_call_duration_seconds",
    .help = "How long tools took to answer, by outcome.",
    .labels = { "outcome" },
};
static struct metric unknown = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_unknown_outcomes_total",
    .help = "Calls of which nobody knows whether the tool ran, by tool.",
    .labels = { "tool" },
    .series_max = TOOLS_MAX,
};
static struct metric late = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_late_results_total",
    .help = "Results that were stored though the run had ended or we were declared dead.",
};
static struct metric lost = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_lost_results_total",
    .help = "Results that came too late to be stored.",
};
static struct metric not_served = {
    .kind = METRIC_COUNTER,
    .name = "pawl_executor_not_served_total",
    .help = "Calls handed back because this process cannot serve their tool, by tool.",
    .labels = { "tool" },
    .series_max = TOOLS_MAX,
};
static struct metric waiting_doorbells = {
    .kind = METRIC_GAUGE,
    .name = "pawl_executor_waiting_doorbells",
    .help = "Doorbells that were received and wait for a free place.",
};
static struct metric waiting_retries = {
    .kind = METRIC_GAUGE,
    .name = "pawl_executor_waiting_retries",
    .help = "Calls that this process will try again at a known moment.",
};

void hands_metrics_register(void)
{
    struct metric *all[] = { &claims, &calls,      &durations,         &unknown,        &late,
                             &lost,   &not_served, &waiting_doorbells, &waiting_retries };
    metric_states_register(&states, ACTION_STATES, action_state_name);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        metrics_register(all[i]);
}

void hands_count_move(int from, int to)
{
    metric_states_move(&states, from == HANDS_NO_STATE ? METRIC_NO_STATE : from,
                       to == HANDS_NO_STATE ? METRIC_NO_STATE : to);
}

void hands_count_claim(const char *answer)
{
    metric_add(metric_with(&claims, answer), 1);
}

void hands_count_end(const struct action *a, const char *tool, bool after_death)
{
    if (!a->end.committed && !a->end.stale)
        return;
    const char *outcome = store_call_outcome_name(a->end.outcome);
    metric_add(metric_with(&calls, tool, outcome), 1);
    if (a->outcome.duration_ms >= 0)
        metric_observe(metric_with(&durations, outcome), a->outcome.duration_ms / 1000.0);
    if (a->end.outcome == STORE_CALL_UNKNOWN)
        metric_add(metric_with(&unknown, tool), 1);
    if (a->end.stale)
        metric_add(metric_with(&lost), 1);
    else if (a->end.late || after_death)
        metric_add(metric_with(&late), 1);
}

void hands_count_not_served(const char *tool)
{
    metric_add(metric_with(&not_served, tool), 1);
}

void hands_set_waiting(size_t doorbells, size_t retries)
{
    metric_set(metric_with(&waiting_doorbells), (double)doorbells);
    metric_set(metric_with(&waiting_retries), (double)retries);
}
