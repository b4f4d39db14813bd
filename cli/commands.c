/*
 * commands.c -- the one table of commands.  See cli.h.
 */
#include "cli/commands.h"

#include "cli/cli.h"

#define OPTIONS(rows) .options = (rows), .option_count = sizeof(rows) / sizeof *(rows)

/* Those of args.c and these are known to every command. */
const struct cli_option cli_common_options[] = {
    { "json", NULL, "Print JSON instead of text." },
    { "as", "WHO", "Who acts, for the record (default: user@host, or $PAWL_AS)." },
    { "config", "FILE", "The process file (default: $PAWL_CONFIG, or that of `pawl dev` here)." },
    { "help", NULL, "Explain the command." },
};
const size_t cli_common_option_count = sizeof cli_common_options / sizeof *cli_common_options;

static const struct cli_option start_options[] = {
    { "agent", "NAME", "The agent that shall run. Needed." },
    { "input", "TEXT", "What the agent is asked." },
    { "input-file", "FILE", "The same from a file; - is standard input." },
    { "input-json", "JSON", "The same as any JSON value." },
    { "id", "ID", "Your own id of this request: asked again, it is the same run." },
    { "deadline", "TIME", "When the run must have ended: 10m, or 2026-11-23T20:00:00Z." },
    { "priority", "N", "From -9 to 9: among the runs of this tenant that wait for a place." },
    { "budget-tokens", "N", "Tokens that the run and its descendants may use." },
    { "budget-cost", "X", "Money that they may cost. Both can only lower the agent's limits." },
    { "watch", NULL, "Draw the run as it happens." },
    { "wait", NULL, "Wait for the end and print the answer alone." },
};

static const struct cli_option list_options[] = {
    { "status", "STATUS", "Only queued, running, suspended, succeeded, failed or cancelled ones." },
    { "agent", "NAME", "Only runs of this agent." },
    { "live", NULL, "Only runs that have not ended." },
    { "limit", "N", "At most so many, the newest first (default 20)." },
};

static const struct cli_option cancel_options[] = {
    { "reason", "TEXT", "Why; it stands in the run and in the record." },
};

static const struct cli_option retry_options[] = {
    { "step", "N", "From this step on (default: the one where the run ended)." },
};

static const struct cli_option decide_options[] = {
    { "result", "RESULT", "What the model shall read as the call's result (with happened)." },
};

static const struct cli_option tenant_options[] = {
    { "weight", "N", "Its part of a full fleet, against others; from 1 to 1000 (at first 1)." },
    { "concurrency", "N", "Runs of one class in progress at most; 0: only its share limits it." },
};

static const struct cli_option resume_options[] = {
    { "budget-tokens", "N", "The new limit of tokens, in all." },
    { "budget-cost", "X", "The new limit of money, in all." },
};

static const struct cli_option budget_options_table[] = {
    { "tokens-per-day", "N", "Tokens, in and out, of all runs of the tenant." },
    { "cost-per-day", "X", "What they may cost." },
    { "off", NULL, "No budget any more." },
};

static const struct cli_option all_revisions_options[] = {
    { "all", NULL, "Older revisions too." },
};

static const struct cli_option all_workers_options[] = {
    { "all", NULL, "Those that have ended too." },
};

static const struct cli_option dev_up_options[] = {
    { "dir", "DIR", "Where the stack lives (default: $PAWL_DEV_DIR or ./.pawl)." },
    { "planners", "N", "How many planners (default 1)." },
    { "executors", "N", "How many executors (default 1)." },
    { "kafka", "HOST:PORT", "Use this Kafka instead of the embedded broker." },
};

static const struct cli_option dev_down_options[] = {
    { "dir", "DIR", "Where the stack lives (default: $PAWL_DEV_DIR or ./.pawl)." },
    { "now", NULL, "Do not wait for calls in flight: their outcome may be unknown then." },
};

static const struct cli_option dev_options[] = {
    { "dir", "DIR", "Where the stack lives (default: $PAWL_DEV_DIR or ./.pawl)." },
};

#define DEV_MORE                                                                                  \
    "Starts a private Postgres cluster, a broker that speaks Kafka's protocol, planners and\n"    \
    "executors, applies the migrations, and keeps them running: what dies is started again.\n"    \
    "Everything is on loopback and in one directory; in that directory's parent all other\n"      \
    "commands find the stack by themselves. The broker keeps its records in memory, at most\n"    \
    "5 MiB a partition: it carries doorbells, the truth is in Postgres. For real work take the\n" \
    "same programs with a real Kafka and Postgres."

const struct cli_command cli_commands[] = {
    { .noun = "run",
      .verb = "start",
      .summary = "Asks for a run of an agent and prints its id.",
      .more =
          "The tenant and the class are those of the configuration: --tenant NAME, --class NAME.",
      .examples =
          "  pawl run start --agent billing --input \"Bill Ada and Grace.\" --watch\n"
          "  pawl run start --agent billing --input-file request.txt --id order-4711\n"
          "  echo '{\"customers\":[\"Ada\"]}' | pawl run start --agent billing --input-file -\n",
      OPTIONS(start_options),
      .run = run_start_command },
    { .noun = "run",
      .verb = "list",
      .summary = "Lists runs, the newest first.",
      .examples = "  pawl run list --live\n  pawl run list --status failed --limit 100 --json\n",
      OPTIONS(list_options),
      .run = run_list_command },
    { .noun = "run",
      .verb = "show",
      .operands = "RUN",
      .operands_min = 1,
      .operands_max = 1,
      .summary = "Shows one run: steps, plans, calls, attempts.",
      .more = "RUN is a run's id, its last characters (eight or more), or `last`.",
      .examples =
          "  pawl run show last\n  pawl run show 0193a5c2-7d3e-7000-8000-000000000001 --json\n",
      .run = run_show_command },
    { .noun = "run",
      .verb = "watch",
      .operands = "RUN",
      .operands_min = 1,
      .operands_max = 1,
      .summary = "Draws a run as it happens, until it ends.",
      .more = "The exit code is 0 when the run succeeded. Stopping to watch changes nothing.",
      .examples = "  pawl run watch last\n",
      .run = run_watch_command },
    { .noun = "run",
      .verb = "cancel",
      .operands = "RUN...",
      .operands_min = 1,
      .operands_max = CLI_OPERANDS_MAX,
      .summary = "Ends runs. Model and tool calls in flight are told within a second.",
      .examples = "  pawl run cancel last --reason \"wrong customer\"\n",
      OPTIONS(cancel_options),
      .run = run_cancel_command },
    { .noun = "run",
      .verb = "send",
      .operands = "RUN TEXT",
      .operands_min = 2,
      .operands_max = 2,
      .summary = "Says something to a run that has not ended; its model reads it at the next step.",
      .more =
          "A run that gives its answer meanwhile goes on and reads the message first, unless its\n"
          "agent's limit of steps is reached. A run that waits for something goes on waiting. One\n"
          "that has ended takes no message: the exit code is 1 then.",
      .examples = "  pawl run send last \"Leave out Grace.\"\n",
      .run = run_send_command },
    { .noun = "run",
      .verb = "retry",
      .operands = "RUN",
      .operands_min = 1,
      .operands_max = 1,
      .summary = "Lets a run that has ended go on, from its last step or an earlier one.",
      .more = "What was done stays done: in the step retried, a success of the same tool with the\n"
              "same arguments is returned from storage and not run again.",
      .examples = "  pawl run retry last\n  pawl run retry last --step 2\n",
      OPTIONS(retry_options),
      .run = run_retry_command },
    { .noun = "run",
      .verb = "decide",
      .operands = "RUN STEP CALL happened|did-not-happen",
      .operands_min = 4,
      .operands_max = 4,
      .summary = "Says whether a call happened of which nobody knows.",
      .more =
          "`pawl run show` tells which calls wait for that. After `happened` the run goes on with\n"
          "--result as the tool's answer; after `did-not-happen` the call is sent again.",
      .examples = "  pawl run decide last 2 0 happened --result '{\"invoice\":\"INV-0001\"}'\n"
                  "  pawl run decide last 2 0 did-not-happen\n",
      OPTIONS(decide_options),
      .run = run_decide_command },
    { .noun = "run",
      .verb = "resume",
      .operands = "RUN",
      .operands_min = 1,
      .operands_max = 1,
      .summary =
          "Raises the budget of a run and its relatives, and lets those that wait for it go on.",
      .more = "A budget holds for a whole tree of runs; RUN is any of them. The limits are given "
              "in all,\n"
              "not as what is added; one that is not given stays as it is.",
      .examples = "  pawl run resume last --budget-cost 5\n"
                  "  pawl run resume last --budget-tokens 400000 --budget-cost 5\n",
      OPTIONS(resume_options),
      .run = run_resume_command },
    { .noun = "budget",
      .verb = "set",
      .summary = "Says what the runs of a tenant may use in a day (UTC), and wakes those that wait "
                 "for it.",
      .more = "The limits replace those before; one that is not given is lifted. What the tenant "
              "has used\n"
              "before it had a budget does not count.",
      .examples = "  pawl budget set --tenant acme --cost-per-day 100\n"
                  "  pawl budget set --tenant acme --tokens-per-day 5000000 --cost-per-day 100\n"
                  "  pawl budget set --tenant acme --off\n",
      OPTIONS(budget_options_table),
      .run = budget_set_command },
    { .noun = "budget",
      .verb = "list",
      .summary = "Lists the budgets of tenants and what is used of them today.",
      .examples = "  pawl budget list\n  pawl budget list --json\n",
      .run = budget_list_command },
    { .noun = "agent",
      .verb = "apply",
      .operands = "FILE...",
      .operands_min = 1,
      .operands_max = CLI_OPERANDS_MAX,
      .summary = "Publishes the agents, tools and models in files.",
      .more =
          "New runs begin with what is published; runs that have begun keep what they began with.\n"
          "Agents that use a changed tool or model are published anew with it.",
      .examples = "  pawl agent apply examples/demo/agent.yaml\n",
      .run = agent_apply_command },
    { .noun = "agent",
      .verb = "list",
      .summary = "Lists what is published.",
      .examples = "  pawl agent list\n  pawl agent list --all --json\n",
      OPTIONS(all_revisions_options),
      .run = agent_list_command },
    { .noun = "agent",
      .verb = "diff",
      .operands = "FILE...",
      .operands_min = 1,
      .operands_max = CLI_OPERANDS_MAX,
      .summary = "Shows what `agent apply` would change. Exit code 1 when it would.",
      .examples = "  pawl agent diff agents.yaml\n",
      .run = agent_diff_command },
    { .noun = "tenant",
      .verb = "set",
      .operands = "NAME",
      .operands_min = 1,
      .operands_max = 1,
      .summary = "Sets the weight and the concurrency of a tenant.",
      .more = "Runs that are in progress above a new limit go on. The limit holds in each class.",
      .examples = "  pawl tenant set acme --weight 4\n  pawl tenant set acme --concurrency 50\n",
      OPTIONS(tenant_options),
      .run = tenant_set_command },
    { .noun = "tenant",
      .verb = "list",
      .summary = "Lists tenants with their runs in progress and those that wait for a place.",
      .examples = "  pawl tenant list\n",
      .run = tenant_list_command },
    { .noun = "topics",
      .verb = "lag",
      .summary = "Shows, per topic and partition, the records that nobody has looked at.",
      .examples = "  pawl topics lag\n  pawl topics lag --kafka-bootstrap 127.0.0.1:9092 --json\n",
      .run = topics_lag_command },
    { .noun = "workers",
      .summary = "Lists planners and executors, and how long ago they were heard of.",
      .examples = "  pawl workers\n  pawl workers --all\n",
      OPTIONS(all_workers_options),
      .run = workers_command },
    { .noun = "migrate",
      .verb = "up",
      .summary = "Brings the database to the schema of this build.",
      .more = "Needs the rights of the schema's owner. May run beside daemons that work.",
      .examples = "  pawl migrate up --postgres-dsn postgres://owner@db/pawl\n",
      .run = migrate_up_command },
    { .noun = "migrate",
      .verb = "status",
      .summary = "Shows which migrations are applied. Exit code 1 when some are not.",
      .examples = "  pawl migrate status\n",
      .run = migrate_status_command },
    { .noun = "config",
      .verb = "check",
      .operands = "[FILE...]",
      .operands_max = CLI_OPERANDS_MAX,
      .summary = "Checks the process file, or files with agents, tools and models.",
      .examples = "  pawl config check --config planner.yaml\n  pawl config check agents.yaml\n",
      .run = config_check_command },
    { .noun = "config",
      .verb = "show",
      .summary = "Shows every setting, its value and where it comes from. Secrets stay hidden.",
      .examples = "  pawl config show\n  pawl config show --config planner.yaml --json\n",
      .run = config_show_command },
    { .noun = "manual",
      .operands = "cli|settings|definitions",
      .operands_min = 1,
      .operands_max = 1,
      .summary = "Prints a part of the documentation, as Markdown.",
      .run = manual_command,
      .hidden = true },
    { .noun = "dev",
      .summary = "Starts a whole stack in this directory and keeps it running.",
      .more = DEV_MORE,
      .examples =
          "  pawl dev\n  pawl dev --planners 2 --executors 2\n  pawl dev --kafka 127.0.0.1:9092\n",
      OPTIONS(dev_up_options),
      .run = dev_up_command },
    { .noun = "dev",
      .verb = "up",
      .summary = "The same as `pawl dev`.",
      .more = DEV_MORE,
      .examples = "  pawl dev up\n",
      OPTIONS(dev_up_options),
      .run = dev_up_command,
      .hidden = true },
    { .noun = "dev",
      .verb = "down",
      .summary = "Stops the stack of this directory, calls in flight first.",
      .examples = "  pawl dev down\n",
      OPTIONS(dev_down_options),
      .run = dev_down_command },
    { .noun = "dev",
      .verb = "status",
      .summary = "Shows what of the stack is running, and its addresses.",
      .examples = "  pawl dev status\n",
      OPTIONS(dev_options),
      .run = dev_status_command },
};
const size_t cli_command_count = sizeof cli_commands / sizeof *cli_commands;
