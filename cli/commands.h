/*
 * commands.h -- the functions behind the table in commands.c, one per command.
 * Each answers an exit code of enum cli_exit and has printed what there is to
 * say.
 */
#ifndef PAWL_CLI_COMMANDS_H
#define PAWL_CLI_COMMANDS_H

struct cli;

/* run_start.c, run_list.c, run_watch.c, run_act.c */
int run_start_command(struct cli *cli);
int run_list_command(struct cli *cli);
int run_show_command(struct cli *cli);
int run_watch_command(struct cli *cli);
int run_cancel_command(struct cli *cli);
int run_send_command(struct cli *cli);
int run_retry_command(struct cli *cli);
int run_decide_command(struct cli *cli);

/* budget.c */
int run_resume_command(struct cli *cli);
int budget_set_command(struct cli *cli);
int budget_list_command(struct cli *cli);

/* agent.c, agent_apply.c */
int agent_apply_command(struct cli *cli);
int agent_list_command(struct cli *cli);
int agent_diff_command(struct cli *cli);

/* tenants.c */
int tenant_set_command(struct cli *cli);
int tenant_list_command(struct cli *cli);

/* topics.c, workers.c, migrate_command.c, config_command.c */
int topics_lag_command(struct cli *cli);
int workers_command(struct cli *cli);
int migrate_up_command(struct cli *cli);
int migrate_status_command(struct cli *cli);
int config_check_command(struct cli *cli);
int config_show_command(struct cli *cli);
int manual_command(struct cli *cli);

/* dev.c */
int dev_up_command(struct cli *cli);
int dev_down_command(struct cli *cli);
int dev_status_command(struct cli *cli);

#endif
