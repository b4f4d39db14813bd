#include "planner/admission.h"

#include "common/fault.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

#include <stdlib.h>

struct admission {
    struct daemon *daemon;
    store_ticket op;
    bool again;  /* something was freed since the question left */
    bool queued; /* runs wait, as far as we know */
    bool draining;
};

static struct metric runs_queued = {
    .kind = METRIC_GAUGE,
    .name = "pawl_runs_queued",
    .help = "Runs of a class that wait for a place; each planner of the class shows the same.",
    .labels = { "class" },
};
static struct metric runs_running = {
    .kind = METRIC_GAUGE,
    .name = "pawl_runs_running",
    .help = "Runs of a class that hold a place; each planner of the class shows the same.",
    .labels = { "class" },
};
static struct metric oldest_queued = {
    .kind = METRIC_GAUGE,
    .name = "pawl_runs_oldest_queued_seconds",
    .help = "Age of the oldest run of a class that waits for a place; 0 when none waits.",
    .labels = { "class" },
};
static struct metric admitted_total = {
    .kind = METRIC_COUNTER,
    .name = "pawl_planner_admitted_runs_total",
    .help = "Queued runs to which this planner gave a place.",
};

static void ask(struct admission *a);

static void show(const struct admission *a, const struct store_class_load *load)
{
    const char *class = a->daemon->config.class;
    metric_set(metric_with(&runs_queued, class), (double)load->queued);
    metric_set(metric_with(&runs_running, class), (double)load->running);
    metric_set(metric_with(&oldest_queued, class), (double)load->oldest_ms / 1000);
}

static void on_admitted(void *arg, enum outcome outcome, const struct store_admitted *admitted,
                        const struct error *err)
{
    struct admission *a = arg;
    a->op = 0;
    if (outcome != OK) {
        log_event(LOG_WARN, "cannot give places to queued runs", LOG_WHY(err), LOG_END);
        return;
    }
    if (admitted->count > 0)
        FAULT_POINT(PLANNER_AFTER_ADMIT);
    for (size_t i = 0; i < admitted->count; i++) {
        const struct doorbell bell = { admitted->runs[i], admitted->steps[i], DOORBELL_PLAN };
        producer_ring(a->daemon->producer, a->daemon->config.topic_plan, &bell);
    }
    metric_add(metric_with(&admitted_total), (double)admitted->count);
    show(a, &admitted->load);
    a->queued = admitted->load.queued > 0;
    if ((a->again && a->queued) || admitted->count >= ADMISSION_BATCH)
        ask(a);
}

static void ask(struct admission *a)
{
    if (a->draining)
        return;
    a->again = a->op != 0;
    if (a->op == 0)
        a->op = store_admit(a->daemon->store, ADMISSION_BATCH, on_admitted, a);
}

void admission_sweep(struct admission *a)
{
    if (a->op == 0)
        ask(a);
}

void admission_place_freed(struct admission *a)
{
    if (a->queued)
        ask(a);
}

void admission_drain(struct admission *a)
{
    a->draining = true;
}

void admission_init(struct admission **out, struct daemon *daemon)
{
    struct admission *a = xcalloc(1, sizeof *a);
    a->daemon = daemon;
    metrics_register(&runs_queued);
    metrics_register(&runs_running);
    metrics_register(&oldest_queued);
    metrics_register(&admitted_total);
    *out = a;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    store_cancel_op(a->daemon->store, a->op);
    free(a);
}
