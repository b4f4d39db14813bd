#!/bin/bash
# roles.sh -- login roles for the compose set-up. Postgres runs it once, when its volume is empty.
#
# The migrations give every right to pawl_planner, pawl_executor and pawl_operator, which nobody can
# log in as; here each gets a login that is a member of it. The owner of the schema is POSTGRES_USER.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -v password="$PAWL_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE pawl_planner NOLOGIN;
CREATE ROLE pawl_executor NOLOGIN;
CREATE ROLE pawl_operator NOLOGIN;
CREATE ROLE planner LOGIN PASSWORD :'password' IN ROLE pawl_planner;
CREATE ROLE executor LOGIN PASSWORD :'password' IN ROLE pawl_executor;
CREATE ROLE operator LOGIN PASSWORD :'password' IN ROLE pawl_operator;
SQL
