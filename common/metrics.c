#include "common/metrics.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/text.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A double that many threads may add to. C's atomics have no addition for
 * doubles, so it is stored as its bits.                                     */
typedef _Atomic uint64_t atomic_real;

struct metric_series {
    struct metric *metric;
    struct metric_series *next; /* older; written before the series is visible */
    char values[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
    atomic_real value;         /* histogram: the sum of all observations */
    _Atomic uint64_t counts[]; /* histogram: one for each bound, and one beyond */
};

static const double bounds_seconds[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                         0.1,    0.25,  0.5,    1,     2.5,  5,     10,
                                         30,     60,    120,    300,   600 };
static const double bounds_bytes[] = { 256,    1024,    4096,    16384,   65536,
                                       262144, 1048576, 4194304, 16777216 };
static const double bounds_items[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 };
static const double bounds_ratio[] = { 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 };

static const struct {
    const char *unit;
    const double *bounds;
    size_t count;
} usual_bounds[] = {
    { "_seconds", bounds_seconds, sizeof bounds_seconds / sizeof *bounds_seconds },
    { "_bytes", bounds_bytes, sizeof bounds_bytes / sizeof *bounds_bytes },
    { "_items", bounds_items, sizeof bounds_items / sizeof *bounds_items },
    { "_ratio", bounds_ratio, sizeof bounds_ratio / sizeof *bounds_ratio },
};
enum { UNITS = sizeof usual_bounds / sizeof *usual_bounds };

/* Everything below that adds to a list holds the lock; readers need none,
 * since they meet only what was complete before it was published.           */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *_Atomic registry;

/* ---- values -------------------------------------------------------------- */

static double real_load(const atomic_real *r)
{
    uint64_t bits = atomic_load_explicit(r, memory_order_relaxed);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t real_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void real_add(atomic_real *r, double n)
{
    uint64_t old = atomic_load_explicit(r, memory_order_relaxed), sum;
    do {
        double value;
        memcpy(&value, &old, sizeof value);
        sum = real_bits(value + n);
    } while (!atomic_compare_exchange_weak_explicit(r, &old, sum, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void metric_add(struct metric_series *s, double n)
{
    assert(s->metric->kind != METRIC_HISTOGRAM);
    assert(s->metric->kind == METRIC_GAUGE || n >= 0);
    real_add(&s->value, n);
}

void metric_set(struct metric_series *s, double value)
{
    assert(s->metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&s->value, real_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric_series *s, double value)
{
    const struct metric *m = s->metric;
    assert(m->kind == METRIC_HISTOGRAM);
    if (isnan(value))
        return; /* would make the sum useless for ever */
    size_t i = 0;
    while (i < m->bounds_count && value > m->bounds[i])
        i++;
    atomic_fetch_add_explicit(&s->counts[i], 1, memory_order_relaxed);
    real_add(&s->value, value);
}

double metric_value(const struct metric_series *s)
{
    if (s->metric->kind != METRIC_HISTOGRAM)
        return real_load(&s->value);
    uint64_t count = 0;
    for (size_t i = 0; i <= s->metric->bounds_count; i++)
        count += atomic_load_explicit(&s->counts[i], memory_order_relaxed);
    return (double)count;
}

/* ---- series -------------------------------------------------------------- */

static size_t label_count(const struct metric *m)
{
    size_t n = 0;
    while (n < METRIC_LABELS_MAX && m->labels[n])
        n++;
    return n;
}

/* The form in which a label value is stored and compared: valid UTF-8 without
 * control characters, cut to the room there is.                             */
static void clean_values(char out[METRIC_LABELS_MAX][METRIC_VALUE_BYTES], const char *const *values,
                         size_t n)
{
    memset(out, 0, METRIC_LABELS_MAX * sizeof *out);
    for (size_t i = 0; i < n; i++)
        (void)text_bounded(out[i], METRIC_VALUE_BYTES, values[i], strlen(values[i]));
}

static struct metric_series *find(struct metric *m, char values[][METRIC_VALUE_BYTES])
{
    struct metric_series *s = atomic_load_explicit(&m->series, memory_order_acquire);
    while (s && memcmp(s->values, values, sizeof s->values) != 0)
        s = s->next;
    return s;
}

static struct metric_series *add_series(struct metric *m, char values[][METRIC_VALUE_BYTES])
{
    size_t counts = m->kind == METRIC_HISTOGRAM ? m->bounds_count + 1 : 0;
    struct metric_series *s = xcalloc(1, sizeof *s + counts * sizeof s->counts[0]);
    s->metric = m;
    s->next = atomic_load_explicit(&m->series, memory_order_relaxed);
    memcpy(s->values, values, sizeof s->values);
    m->series_count++;
    atomic_store_explicit(&m->series, s, memory_order_release);
    return s;
}

static struct metric_series *find_or_add(struct metric *m, const char *const *given, size_t n)
{
    char values[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
    clean_values(values, given, n);
    struct metric_series *s = find(m, values);
    if (s)
        return s;

    pthread_mutex_lock(&registry_lock);
    s = find(m, values); /* another thread may have been faster */
    if (!s && m->series_count >= m->series_max) {
        const char *other[METRIC_LABELS_MAX] = { "other", "other", "other" };
        clean_values(values, other, n);
        s = find(m, values); /* the one series beyond series_max */
    }
    if (!s)
        s = add_series(m, values);
    pthread_mutex_unlock(&registry_lock);
    return s;
}

struct metric_series *metric_with(struct metric *m, ...)
{
    assert(m->registered);
    const char *values[METRIC_LABELS_MAX] = { NULL };
    size_t n = label_count(m);
    va_list args;
    va_start(args, m);
    for (size_t i = 0; i < n; i++) {
        values[i] = va_arg(args, const char *);
        assert(values[i]);
    }
    va_end(args);
    return find_or_add(m, values, n);
}

/* ---- names --------------------------------------------------------------- */

static bool only_name_characters(const char *s)
{
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '_'))
            return false;
    return true;
}

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Whether one of the words between the underscores is in the list. */
static const char *word_in(const char *name, const char *const *list, size_t count)
{
    for (const char *word = name; *word;) {
        size_t n = strcspn(word, "_");
        for (size_t i = 0; i < count; i++)
            if (strlen(list[i]) == n && memcmp(word, list[i], n) == 0)
                return list[i];
        word += n + (word[n] == '_');
    }
    return NULL;
}

static size_t usual_bounds_of(const char *name)
{
    size_t i = 0;
    while (i < UNITS && !ends_in(name, usual_bounds[i].unit))
        i++;
    return i;
}

/* Prometheus, "Metric and label naming", and what promtool check metrics says. */
enum outcome metric_name_check(enum metric_kind kind, const char *name, struct error *err)
{
    static const char *const units[] = {
        "ns",    "us",        "ms",        "sec",    "secs",    "nanoseconds", "microseconds",
        "milli", "millis",    "second",    "minute", "minutes", "hours",       "days",
        "kb",    "kib",       "kilobytes", "mb",     "mib",     "megabytes",   "gb",
        "gib",   "gigabytes", "byte",      "bits",   "percent", "percentage",  "milliseconds",
    };
    static const char *const kinds[] = { "counter", "gauge", "histogram", "summary" };
    const char *word;
    if (strncmp(name, "pawl_", 5) != 0 && strncmp(name, "kafka_", 6) != 0)
        return fail(err, REFUSED, "metric '%s' must begin with pawl_", name);
    if (!only_name_characters(name) || strstr(name, "__") || ends_in(name, "_"))
        return fail(err, REFUSED, "metric '%s' may hold only words of a-z and 0-9 joined by '_'",
                    name);
    if (ends_in(name, "_total") != (kind == METRIC_COUNTER))
        return fail(err, REFUSED, "metric '%s': counters, and only they, end in _total", name);
    word = word_in(name, units, sizeof units / sizeof *units);
    if (word)
        return fail(err, REFUSED,
                    "metric '%s': use a base unit (_seconds, _bytes, _ratio), not '%s'", name,
                    word);
    word = word_in(name, kinds, sizeof kinds / sizeof *kinds);
    if (word)
        return fail(err, REFUSED, "metric '%s': the kind '%s' does not belong in the name", name,
                    word);
    if (ends_in(name, "_count") || ends_in(name, "_sum") || ends_in(name, "_bucket"))
        return fail(err, REFUSED, "metric '%s': _count, _sum and _bucket are made by histograms",
                    name);
    if (kind == METRIC_HISTOGRAM && usual_bounds_of(name) == UNITS)
        return fail(err, REFUSED,
                    "metric '%s': a histogram ends in its unit: _seconds, _bytes, _items or _ratio",
                    name);
    return OK;
}

enum outcome metric_label_check(const char *label, struct error *err)
{
    static const char *const taken[] = { "le", "quantile", "job", "instance" };
    if (!only_name_characters(label) || !(label[0] >= 'a' && label[0] <= 'z'))
        return fail(err, REFUSED, "label '%s' must be of a-z, 0-9 and '_', a letter first", label);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(label, taken[i]) == 0)
            return fail(err, REFUSED, "label '%s' is taken by Prometheus itself", label);
    if (strcmp(label, "run") == 0 || strcmp(label, "id") == 0 || ends_in(label, "_id"))
        return fail(err, REFUSED, "label '%s': ids have no bound and are never labels", label);
    return OK;
}

/* ---- registering --------------------------------------------------------- */

static void check_metric(struct metric *m)
{
    struct error err;
    enum outcome outcome = metric_name_check(m->kind, m->name, &err);
    for (size_t i = 0; outcome == OK && i < label_count(m); i++)
        outcome = metric_label_check(m->labels[i], &err);
    if (outcome == OK && (!m->help || strlen(m->help) < 3))
        outcome = fail(&err, REFUSED, "metric '%s' has no help", m->name);
    for (size_t i = 1; outcome == OK && i < m->bounds_count; i++)
        if (!(m->bounds[i - 1] < m->bounds[i]))
            outcome = fail(&err, REFUSED, "metric '%s': bounds do not ascend", m->name);
    if (outcome == OK && m->bounds_count > METRIC_BOUNDS_MAX)
        outcome = fail(&err, REFUSED, "metric '%s' has too many bounds", m->name);
    for (struct metric *o = atomic_load(&registry); outcome == OK && o; o = atomic_load(&o->next))
        if (strcmp(o->name, m->name) == 0)
            outcome = fail(&err, REFUSED, "metric '%s' is there already", m->name);
    if (outcome != OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

void metrics_register(struct metric *m)
{
    pthread_mutex_lock(&registry_lock);
    bool is_new = !m->registered;
    if (is_new) {
        size_t unit = usual_bounds_of(m->name);
        if (m->kind == METRIC_HISTOGRAM && !m->bounds && unit < UNITS) {
            m->bounds = usual_bounds[unit].bounds;
            m->bounds_count = usual_bounds[unit].count;
        }
        if (m->series_max == 0)
            m->series_max = METRIC_SERIES_DEFAULT;
        check_metric(m);
        m->registered = true;
        atomic_store(&m->next, NULL);
        struct metric *_Atomic *end = &registry; /* the page keeps the order of registering */
        for (struct metric *o; (o = atomic_load(end));)
            end = &o->next;
        atomic_store_explicit(end, m, memory_order_release);
    }
    pthread_mutex_unlock(&registry_lock);
    if (is_new && label_count(m) == 0)
        (void)metric_with(m);
}

void metric_states_register(struct metric_states *s, unsigned count,
                            const char *(*state_name)(unsigned state))
{
    assert(count > 0 && count <= METRIC_STATES_MAX);
    s->metric.kind = METRIC_GAUGE;
    s->metric.labels[0] = "state";
    s->metric.series_max = count;
    metrics_register(&s->metric);
    for (unsigned i = 0; i < count; i++)
        s->series[i] = metric_with(&s->metric, state_name(i));
    s->count = count;
}

void metric_states_move(struct metric_states *s, int from, int to)
{
    assert(from < (int)s->count && to < (int)s->count);
    if (from == to)
        return;
    if (from != METRIC_NO_STATE)
        metric_add(s->series[from], -1);
    if (to != METRIC_NO_STATE)
        metric_add(s->series[to], 1);
}

/* ---- the page ------------------------------------------------------------ */

static void print_real(struct buf *out, double value)
{
    if (isnan(value)) {
        buf_puts(out, "NaN");
    } else if (isinf(value)) {
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        char text[32];
        (void)snprintf(text, sizeof text, "%.15g", value);
        if (strtod(text, NULL) != value)
            (void)snprintf(text, sizeof text, "%.17g", value);
        buf_puts(out, text);
    }
}

static void print_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '\\' || (*text == '"' && quotes))
            buf_printf(out, "\\%c", *text);
        else
            buf_putc(out, *text);
    }
}

static void print_head(struct buf *out, const char *name, const char *help, const char *kind)
{
    buf_printf(out, "# HELP %s ", name);
    print_escaped(out, help, false);
    buf_printf(out, "\n# TYPE %s %s\n", name, kind);
}

/* name_suffix{label="value",...,le="bound"} -- `bound` may be NULL. */
static void print_name(struct buf *out, const struct metric_series *s, const char *suffix,
                       const double *bound)
{
    const struct metric *m = s->metric;
    const char *between = "{";
    buf_printf(out, "%s%s", m->name, suffix);
    for (size_t i = 0; i < label_count(m); i++) {
        buf_printf(out, "%s%s=\"", between, m->labels[i]);
        print_escaped(out, s->values[i], true);
        buf_puts(out, "\"");
        between = ",";
    }
    if (bound) {
        buf_printf(out, "%sle=\"", between);
        print_real(out, *bound);
        buf_puts(out, "\"");
        between = ",";
    }
    buf_puts(out, *between == ',' ? "} " : " ");
}

static void print_histogram(struct buf *out, const struct metric_series *s)
{
    const struct metric *m = s->metric;
    uint64_t count = 0;
    for (size_t i = 0; i <= m->bounds_count; i++) {
        double bound = i < m->bounds_count ? m->bounds[i] : (double)INFINITY;
        count += atomic_load_explicit(&s->counts[i], memory_order_relaxed);
        print_name(out, s, "_bucket", &bound);
        buf_printf(out, "%llu\n", (unsigned long long)count);
    }
    print_name(out, s, "_sum", NULL);
    print_real(out, real_load(&s->value));
    buf_puts(out, "\n");
    print_name(out, s, "_count", NULL);
    buf_printf(out, "%llu\n", (unsigned long long)count);
}

static void print_metric(struct buf *out, struct metric *m)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    print_head(out, m->name, m->help, kinds[m->kind]);
    for (struct metric_series *s = atomic_load_explicit(&m->series, memory_order_acquire); s;
         s = s->next) {
        if (m->kind == METRIC_HISTOGRAM) {
            print_histogram(out, s);
            continue;
        }
        print_name(out, s, "", NULL);
        print_real(out, real_load(&s->value));
        buf_puts(out, "\n");
    }
}

/* ---- this process -------------------------------------------------------- */

static double process_started_s;
static atomic_bool process_on;

static struct metric build_info = {
    .kind = METRIC_GAUGE,
    .name = "pawl_build_info",
    .help = "Always 1; which program this is, and its version.",
    .labels = { "service", "version" },
};

void metrics_register_process(const char *service, const char *version)
{
    metrics_register(&build_info);
    metric_set(metric_with(&build_info, service, version), 1);
    if (atomic_load(&process_on))
        return;
    process_started_s = (double)clock_wall_ms() / 1000;
    atomic_store(&process_on, true);
}

/* The second number of statm is what is in RAM, in pages. */
static double resident_bytes(void)
{
    char text[128] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    const char *second = strchr(text, ' ');
    long pages = second ? strtol(second, NULL, 10) : 0;
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_descriptors(void)
{
    double count = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        count++;
    (void)closedir(d);
    return count - 3; /* ".", ".." and the directory itself */
}

static void print_one(struct buf *out, const char *name, const char *help, const char *kind,
                      double value)
{
    print_head(out, name, help, kind);
    buf_printf(out, "%s ", name);
    print_real(out, value);
    buf_puts(out, "\n");
}

static void print_process(struct buf *out)
{
    struct rusage used;
    struct rlimit files;
    double cpu = 0, files_max = 0;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
              (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        files_max = (double)files.rlim_cur;
    print_one(out, "process_cpu_seconds_total", "Processor time used, user and system.", "counter",
              cpu);
    print_one(out, "process_resident_memory_bytes", "Memory that is in RAM.", "gauge",
              resident_bytes());
    print_one(out, "process_open_fds", "Open descriptors.", "gauge", open_descriptors());
    print_one(out, "process_max_fds", "The limit of open descriptors.", "gauge", files_max);
    print_one(out, "process_start_time_seconds", "When this process started, in Unix time.",
              "gauge", process_started_s);
}

enum outcome metrics_render(struct buf *out, struct error *err)
{
    struct metric *m = atomic_load_explicit(&registry, memory_order_acquire);
    for (; m; m = atomic_load_explicit(&m->next, memory_order_acquire))
        print_metric(out, m);
    if (atomic_load(&process_on))
        print_process(out);
    if (out->full)
        return fail(err, RETRY, "the page of metrics is larger than %zu bytes", out->limit_bytes);
    return OK;
}
