/*
 * topics.c -- `pawl topics lag`: how far planners and executors are behind.
 */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/kafka.h"
#include "common/lag.h"

enum { LAG_TIMEOUT_MS = 10000 };

static void add_rows(json_t *rows, const char *group, const struct lag_report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        const struct lag_row *r = &report->rows[i];
        (void)json_array_append_new(
            rows, json_pack("{s:s, s:s, s:i, s:I, s:I, s:I}", "group", group, "topic", r->topic,
                            "partition", r->partition, "committed", (json_int_t)r->committed, "end",
                            (json_int_t)r->end, "lag", (json_int_t)r->lag));
    }
}

static enum outcome read_lag(const struct config *cfg, json_t *rows, struct error *err)
{
    const char *planner_topics[] = { cfg->topic_requests, cfg->topic_plan };
    const char *executor_topics[] = { cfg->topic_act };
    const struct lag_query queries[] = { { cfg->group_planner, planner_topics, 2 },
                                         { cfg->group_executor, executor_topics, 1 } };
    struct kafka_settings settings = kafka_settings_of(cfg, "pawl");
    struct rd_kafka_s *client;
    enum outcome o = lag_open(&settings, &client, err);
    if (o != OK)
        return o;
    for (size_t i = 0; i < 2 && o == OK; i++) {
        struct lag_report report;
        o = lag_read(client, &queries[i], LAG_TIMEOUT_MS, &report, err);
        if (o == OK) {
            add_rows(rows, queries[i].group, &report);
            lag_report_release(&report);
        }
    }
    lag_close(client);
    return o;
}

static void lag_line(struct table *t, const json_t *row)
{
    char text[OUTPUT_TIME_SIZE];
    int64_t committed = json_integer_value(json_object_get(row, "committed"));
    int64_t lag = json_integer_value(json_object_get(row, "lag"));
    table_foreign(t, STYLE_PLAIN, json_string_value(json_object_get(row, "group")));
    table_foreign(t, STYLE_PLAIN, json_string_value(json_object_get(row, "topic")));
    table_cell(t, STYLE_PLAIN, "%lld",
               (long long)json_integer_value(json_object_get(row, "partition")));
    table_cell(t, STYLE_DIM, "%s", committed < 0 ? "-" : output_count(committed, text));
    table_cell(t, STYLE_DIM, "%s",
               output_count(json_integer_value(json_object_get(row, "end")), text));
    table_cell(t, lag > 0 ? STYLE_WARN : STYLE_PLAIN, "%s", output_count(lag, text));
}

int topics_lag_command(struct cli *cli)
{
    static const char *const heads[] = { "GROUP",      "TOPIC", ">PARTITION",
                                         ">COMMITTED", ">END",  ">LAG" };
    static const struct list_view view =
        LIST_VIEW(heads, lag_line, "none of the topics exists yet");
    struct error err;
    int code = cli_configure(cli);
    if (code != CLI_DONE)
        return code;
    if (config_require(&cli->config, CONFIG_KAFKA, &err) != OK)
        return cli_fail(CLI_CONFIG, "%s", err.text);
    json_t *rows = json_array();
    enum outcome o = read_lag(&cli->config, rows, &err);
    if (o == OK)
        output_list(&view, rows, cli_given(cli, "json"));
    else
        code = cli_fail(o == RETRY ? CLI_UNAVAILABLE : CLI_FAILED, "%s", err.text);
    json_decref(rows);
    return code;
}
