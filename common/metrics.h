/*
 * metrics.h -- counters, gauges and histograms, as Prometheus reads them.
 *
 *     static struct metric calls = {
 *         .kind = METRIC_COUNTER,
 *         .name = "pawl_http_calls_total",
 *         .help = "HTTP calls that ended, by their end.",
 *         .labels = { "end" },
 *     };
 *     metrics_register(&calls);                       once, at the start
 *     metric_add(metric_with(&calls, "answered"), 1); as often as you like
 *
 * A metric is static and lives as long as the process.  For each combination of
 * label values it holds one series; metric_with() finds or makes it, and a hot
 * path keeps the pointer, which never moves nor dies.
 *
 * The usual bounds of a histogram go by its unit: half a millisecond to ten minutes
 * for _seconds, 256 bytes to 16 MiB for _bytes, 1 to 1024 for _items.
 *
 * Limits:  METRIC_LABELS_MAX labels; `series_max` combinations (64 when not
 *          given).  Combinations beyond it are counted together in one series
 *          with all labels "other", so that no tool name or model name can make
 *          the page grow.  Label values are cut at METRIC_VALUE_BYTES.  Ids of
 *          runs are never labels.
 * Threads: all functions may be called from any thread: values are atomic,
 *          series are only ever added.  metrics_render() reads while others
 *          count; each number is one that the metric really had.
 * Errors:  a name that breaks the rules is a mistake of the programmer and
 *          aborts at the start (metrics_register); metric_name_check() tells.
 */
#ifndef PAWL_COMMON_METRICS_H
#define PAWL_COMMON_METRICS_H

#include "common/buf.h"
#include "common/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind {
    METRIC_COUNTER,   /* only grows; name ends in _total */
    METRIC_GAUGE,     /* goes up and down */
    METRIC_HISTOGRAM, /* how observations spread over buckets */
};

enum {
    METRIC_LABELS_MAX = 3,
    METRIC_BOUNDS_MAX = 24,
    METRIC_VALUE_BYTES = 96, /* of one label value, its NUL included */
    METRIC_SERIES_DEFAULT = 64,
};

struct metric_series;

struct metric {
    enum metric_kind kind;
    const char *name; /* in base units: see metric_name_check() */
    const char *help; /* one sentence */
    const char *labels[METRIC_LABELS_MAX];
    const double *bounds; /* histogram: upper bounds, ascending; NULL: the usual ones of its unit */
    size_t bounds_count;
    size_t series_max;

    /* Private from here. */
    struct metric_series *_Atomic series; /* newest first */
    size_t series_count;
    struct metric *_Atomic next;
    bool registered;
};

/* Puts the metric on the page.  A metric without labels shows at once, as 0.
 * Registering the same metric again changes nothing.                         */
void metrics_register(struct metric *m);

/* The series for these label values: one `const char *` for each of the metric's
 * labels, in their order; metric_with(&m) for a metric without labels.       */
struct metric_series *metric_with(struct metric *m, ...);

void metric_add(struct metric_series *s, double n);         /* counter: n >= 0; gauge: any n */
void metric_set(struct metric_series *s, double value);     /* gauge only */
void metric_observe(struct metric_series *s, double value); /* histogram only */
double metric_value(const struct metric_series *s); /* counter and gauge; histogram: how many */

/* ---- how many tasks stand in each state of a machine ---------------------- */

enum { METRIC_STATES_MAX = 32 };

struct metric_states {
    struct metric metric; /* .name and .help given; label and kind are filled in */
    struct metric_series *series[METRIC_STATES_MAX];
    unsigned count;
};

enum { METRIC_NO_STATE = -1 };

/* Registers a gauge with the label "state" and a series for each of the `count`
 * states; `state_name` gives the name that the log uses too.                 */
void metric_states_register(struct metric_states *s, unsigned count,
                            const char *(*state_name)(unsigned state));

/* A task went `from` -> `to`; METRIC_NO_STATE as `from` when it was born, as `to`
 * when it is gone.  Called by the one function that writes the state.        */
void metric_states_move(struct metric_states *s, int from, int to);

/* ---- the page -------------------------------------------------------------- */

/* Adds memory, processor time, descriptors and start of this process (the names
 * that all Prometheus clients use) and pawl_build_info to the page.          */
void metrics_register_process(const char *service, const char *version);

/* Appends the page in the Prometheus text format, version 0.0.4.  RETRY when the
 * buffer's limit is too small for it; the buffer then holds a part.          */
MUST_CHECK enum outcome metrics_render(struct buf *out, struct error *err);

/* The rules: [a-z0-9_], begins with pawl_ (or kafka_, for names that dashboards
 * of others expect), counters and only they end in _total, units are base units
 * and spelled out, no kind in the name, no suffix that histograms make.  REFUSED
 * with a sentence that says which rule.                                      */
MUST_CHECK enum outcome metric_name_check(enum metric_kind kind, const char *name,
                                          struct error *err);
MUST_CHECK enum outcome metric_label_check(const char *label, struct error *err);

#endif
