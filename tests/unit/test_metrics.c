/*
 * test_metrics.c -- the page that Prometheus reads, to the letter, the rules for
 * names, the bound on series, and counting from many threads while it is read.
 *
 * With PAWL_METRICS_PAGE=FILE the last page is written there, for promtool.
 */
#include "common/metrics.h"
#include "tests/unit/cm.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct buf page;

static const char *render(void)
{
    struct error err;
    buf_release(&page);
    buf_init(&page, 1 << 20);
    assert_int_equal(metrics_render(&page, &err), OK);
    return page.data;
}

#define assert_on_page(text)                                               \
    do {                                                                   \
        if (!strstr(render(), (text)))                                     \
            fail_msg("not on the page:\n%s\nbut:\n%s", (text), page.data); \
    } while (0)

static struct metric plain = {
    .kind = METRIC_COUNTER,
    .name = "pawl_test_plain_total",
    .help = "Things that\nhappened \\ here.",
};

static void a_counter_without_labels_shows_from_the_start(void **state)
{
    (void)state;
    metrics_register(&plain);
    metrics_register(&plain); /* again changes nothing */
    assert_on_page("# HELP pawl_test_plain_total Things that\\nhappened \\\\ here.\n"
                   "# TYPE pawl_test_plain_total counter\n"
                   "pawl_test_plain_total 0\n");
    metric_add(metric_with(&plain), 1);
    metric_add(metric_with(&plain), 2.5);
    assert_on_page("\npawl_test_plain_total 3.5\n");
    assert_true(metric_value(metric_with(&plain)) == 3.5);
}

static struct metric labelled = {
    .kind = METRIC_GAUGE,
    .name = "pawl_test_labelled_bytes",
    .help = "A gauge with two labels.",
    .labels = { "tool", "end" },
};

static void label_values_are_escaped_and_keep_their_series(void **state)
{
    (void)state;
    metrics_register(&labelled);
    struct metric_series *s = metric_with(&labelled, "a\"b\\c", "ok");
    metric_set(s, 1e300);
    assert_ptr_equal(s, metric_with(&labelled, "a\"b\\c", "ok"));
    assert_ptr_not_equal(s, metric_with(&labelled, "a\"b\\c", "no"));
    assert_on_page("\npawl_test_labelled_bytes{tool=\"a\\\"b\\\\c\",end=\"ok\"} 1e+300\n");
    metric_set(s, 0.1);
    assert_on_page("end=\"ok\"} 0.1\n");
    metric_set(s, -INFINITY);
    assert_on_page("end=\"ok\"} -Inf\n");
    metric_set(s, 12345678901.0);
    metric_add(s, -1);
    assert_on_page("end=\"ok\"} 12345678900\n");
    metric_set(s, 1.0 / 3);
    assert_on_page("end=\"ok\"} 0.33333333333333331\n");

    metric_set(metric_with(&labelled, "bad\xff\n", ""), 1); /* can never break the page */
    assert_on_page("{tool=\"bad\\\\xff\\\\n\",end=\"\"} 1\n");

    char text[500];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    metric_set(metric_with(&labelled, text, "long"), 1);
    text[METRIC_VALUE_BYTES] = '\0';
    assert_null(strstr(render(), text));
}

static const double few[] = { 0.1, 1, 10 };
static struct metric spread = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_test_spread_seconds",
    .help = "A histogram.",
    .labels = { "phase" },
    .bounds = few,
    .bounds_count = 3,
};

static void a_histogram_counts_up_to_and_including_its_bounds(void **state)
{
    (void)state;
    metrics_register(&spread);
    struct metric_series *s = metric_with(&spread, "plan");
    const double values[] = { 0.05, 0.1, 0.5, 1, 5, 100, -1 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        metric_observe(s, values[i]);
    metric_observe(s, NAN); /* does not count */
    assert_on_page("# TYPE pawl_test_spread_seconds histogram\n"
                   "pawl_test_spread_seconds_bucket{phase=\"plan\",le=\"0.1\"} 3\n"
                   "pawl_test_spread_seconds_bucket{phase=\"plan\",le=\"1\"} 5\n"
                   "pawl_test_spread_seconds_bucket{phase=\"plan\",le=\"10\"} 6\n"
                   "pawl_test_spread_seconds_bucket{phase=\"plan\",le=\"+Inf\"} 7\n"
                   "pawl_test_spread_seconds_sum{phase=\"plan\"} 105.65\n"
                   "pawl_test_spread_seconds_count{phase=\"plan\"} 7\n");
    assert_true(metric_value(s) == 7);
}

static struct metric sizes = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_test_default_seconds",
    .help = "A histogram with the usual bounds.",
};

static struct metric batch = {
    .kind = METRIC_HISTOGRAM,
    .name = "pawl_test_batch_items",
    .help = "A histogram of counts.",
};

static void a_histogram_without_bounds_gets_those_of_its_unit(void **state)
{
    (void)state;
    metrics_register(&batch);
    metric_observe(metric_with(&batch), 3);
    assert_on_page("pawl_test_batch_items_bucket{le=\"2\"} 0\n"
                   "pawl_test_batch_items_bucket{le=\"4\"} 1\n");
    metrics_register(&sizes);
    metric_observe(metric_with(&sizes), 0.003);
    assert_on_page("pawl_test_default_seconds_bucket{le=\"0.0025\"} 0\n"
                   "pawl_test_default_seconds_bucket{le=\"0.005\"} 1\n");
    assert_on_page("pawl_test_default_seconds_count 1\n");
}

static struct metric crowd = {
    .kind = METRIC_COUNTER,
    .name = "pawl_test_crowd_total",
    .help = "More label values than there is room for.",
    .labels = { "tool", "end" },
    .series_max = 10,
};

static void series_beyond_the_bound_are_counted_together(void **state)
{
    (void)state;
    metrics_register(&crowd);
    for (int i = 0; i < 1000; i++) {
        char tool[16];
        (void)snprintf(tool, sizeof tool, "t%d", i);
        metric_add(metric_with(&crowd, tool, "ok"), 1);
    }
    size_t lines = 0;
    for (const char *p = render(); (p = strstr(p, "\npawl_test_crowd_total{")); p++)
        lines++;
    assert_int_equal(lines, 11);
    assert_on_page("pawl_test_crowd_total{tool=\"other\",end=\"other\"} 990\n");
    assert_on_page("pawl_test_crowd_total{tool=\"t9\",end=\"ok\"} 1\n");
}

static struct metric_states states = {
    .metric = { .name = "pawl_test_tasks", .help = "Tasks in each state." },
};

static const char *state_name(unsigned s)
{
    static const char *const names[] = { "claim", "run", "done" };
    return names[s];
}

static void tasks_are_counted_in_their_states(void **state)
{
    (void)state;
    metric_states_register(&states, 3, state_name);
    assert_on_page("pawl_test_tasks{state=\"run\"} 0\n");
    metric_states_move(&states, METRIC_NO_STATE, 0);
    metric_states_move(&states, METRIC_NO_STATE, 0);
    metric_states_move(&states, 0, 1);
    metric_states_move(&states, 1, 1);
    assert_on_page("pawl_test_tasks{state=\"claim\"} 1\n");
    assert_on_page("pawl_test_tasks{state=\"run\"} 1\n");
    metric_states_move(&states, 1, 2);
    metric_states_move(&states, 2, METRIC_NO_STATE);
    assert_on_page("pawl_test_tasks{state=\"run\"} 0\n");
    assert_on_page("pawl_test_tasks{state=\"done\"} 0\n");
}

enum { THREADS = 4, ROUNDS = 20000 };

static struct metric shared = {
    .kind = METRIC_COUNTER,
    .name = "pawl_test_shared_total",
    .help = "Counted from many threads.",
    .labels = { "who" },
};
static atomic_int counting;

static void *count_up(void *arg)
{
    char mine[8];
    (void)snprintf(mine, sizeof mine, "t%d", (int)(intptr_t)arg);
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(metric_with(&shared, i % 2 ? "all" : mine), 1);
        metric_observe(metric_with(&sizes), 0.25);
    }
    atomic_fetch_sub(&counting, 1);
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    metrics_register(&shared);
    double before = metric_value(metric_with(&sizes));
    atomic_store(&counting, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, (void *)(intptr_t)i), 0);
    while (atomic_load(&counting) > 0)
        (void)render();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(metric_value(metric_with(&shared, "all")) == THREADS * ROUNDS / 2.0);
    assert_true(metric_value(metric_with(&shared, "t0")) == ROUNDS / 2.0);
    assert_true(metric_value(metric_with(&sizes)) == before + THREADS * ROUNDS);
}

static void names_follow_the_rules(void **state)
{
    (void)state;
    static const struct {
        enum metric_kind kind;
        const char *name;
        bool right;
    } cases[] = {
        { METRIC_COUNTER, "pawl_http_calls_total", true },
        { METRIC_COUNTER, "pawl_http_sent_bytes_total", true },
        { METRIC_COUNTER, "pawl_tool_seconds_total", true },
        { METRIC_GAUGE, "pawl_runs_active", true },
        { METRIC_GAUGE, "pawl_oldest_pending_age_seconds", true },
        { METRIC_GAUGE, "kafka_consumergroup_lag", true },
        { METRIC_HISTOGRAM, "pawl_step_seconds", true },
        { METRIC_HISTOGRAM, "pawl_batch_items", true },
        { METRIC_GAUGE, "runs_active", false },
        { METRIC_GAUGE, "pawl_Runs", false },
        { METRIC_GAUGE, "pawl_runs-active", false },
        { METRIC_GAUGE, "pawl__runs", false },
        { METRIC_GAUGE, "pawl_runs_", false },
        { METRIC_GAUGE, "pawl_runs:active", false },
        { METRIC_COUNTER, "pawl_http_calls", false },
        { METRIC_GAUGE, "pawl_runs_total", false },
        { METRIC_HISTOGRAM, "pawl_step_total", false },
        { METRIC_HISTOGRAM, "pawl_step_ms", false },
        { METRIC_HISTOGRAM, "pawl_step_milliseconds", false },
        { METRIC_HISTOGRAM, "pawl_step_duration", false },
        { METRIC_GAUGE, "pawl_memory_kb", false },
        { METRIC_GAUGE, "pawl_cpu_percent", false },
        { METRIC_GAUGE, "pawl_runs_gauge", false },
        { METRIC_GAUGE, "pawl_runs_count", false },
        { METRIC_COUNTER, "pawl_minutes_total", false },
        { METRIC_GAUGE, "", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = { .text = "" };
        enum outcome outcome = metric_name_check(cases[i].kind, cases[i].name, &err);
        if (outcome != (cases[i].right ? OK : REFUSED))
            fail_msg("%s: %s", cases[i].name, err.text);
        if (!cases[i].right && cases[i].name[0])
            assert_non_null(strstr(err.text, cases[i].name));
    }
    struct error err;
    assert_int_equal(metric_label_check("tool", &err), OK);
    assert_int_equal(metric_label_check("http_status", &err), OK);
    static const char *const wrong[] = {
        "le", "quantile", "run_id", "run", "Tool", "", "_x", "a-b"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(metric_label_check(wrong[i], &err), REFUSED);
}

static struct metric misnamed = { .kind = METRIC_COUNTER, .name = "pawl_x_ms", .help = "Wrong." };
static struct metric doubled = { .kind = METRIC_COUNTER,
                                 .name = "pawl_test_plain_total",
                                 .help = "There already." };
static struct metric unhelpful = { .kind = METRIC_COUNTER, .name = "pawl_x_total" };
static const double wild[] = { 1, 1 };
static struct metric unordered = { .kind = METRIC_HISTOGRAM,
                                   .name = "pawl_x_seconds",
                                   .help = "Odd.",
                                   .bounds = wild,
                                   .bounds_count = 2 };

static void a_wrong_metric_stops_the_process_at_the_start(void **state)
{
    (void)state;
    struct metric *const wrong[] = { &misnamed, &doubled, &unhelpful, &unordered };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)signal(SIGABRT, SIG_DFL);
            (void)close(STDERR_FILENO);
            metrics_register(wrong[i]);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

static void a_page_beyond_its_buffer_is_said(void **state)
{
    (void)state;
    struct buf small;
    struct error err;
    buf_init(&small, 100);
    assert_int_equal(metrics_render(&small, &err), RETRY);
    assert_non_null(strstr(err.text, "100 bytes"));
    buf_release(&small);
}

static double on_page(const char *name)
{
    char line[100];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(render(), line);
    if (!at)
        fail_msg("%s is not on the page", name);
    return strtod(at + strlen(line), NULL);
}

static void the_process_describes_itself(void **state)
{
    (void)state;
    metrics_register_process("tester", "1.2.3");
    metrics_register_process("tester", "1.2.3");
    assert_on_page("pawl_build_info{service=\"tester\",version=\"1.2.3\"} 1\n");
    assert_true(on_page("process_resident_memory_bytes") > 1e5);
    assert_true(on_page("process_cpu_seconds_total") >= 0);
    assert_true(on_page("process_start_time_seconds") > 1.6e9);
    double before = on_page("process_open_fds");
    int fd = dup(STDOUT_FILENO);
    assert_true(on_page("process_open_fds") == before + 1);
    assert_true(on_page("process_max_fds") >= before);
    close(fd);
    const char *keep = getenv("PAWL_METRICS_PAGE");
    FILE *f = keep ? fopen(keep, "we") : NULL;
    if (f) {
        (void)fputs(render(), f);
        (void)fclose(f);
    }
}

static int release_page(void **state)
{
    (void)state;
    buf_release(&page);
    return 0;
}

static int open_page(void **state)
{
    (void)state;
    buf_init(&page, 1 << 20);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_without_labels_shows_from_the_start),
        cmocka_unit_test(label_values_are_escaped_and_keep_their_series),
        cmocka_unit_test(a_histogram_counts_up_to_and_including_its_bounds),
        cmocka_unit_test(a_histogram_without_bounds_gets_those_of_its_unit),
        cmocka_unit_test(series_beyond_the_bound_are_counted_together),
        cmocka_unit_test(tasks_are_counted_in_their_states),
        cmocka_unit_test(nothing_is_lost_between_threads),
        cmocka_unit_test(names_follow_the_rules),
        cmocka_unit_test(a_wrong_metric_stops_the_process_at_the_start),
        cmocka_unit_test(a_page_beyond_its_buffer_is_said),
        cmocka_unit_test(the_process_describes_itself),
    };
    return cmocka_run_group_tests(tests, open_page, release_page);
}
