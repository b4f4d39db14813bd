"""check_schema.py SCHEMA: reads JSON values from standard input, one a line, and checks each.

Runs in the environment of requirements.txt. Answers the first one that does not fit, with the reason.
Without standard input left to read, the schema itself and its examples have been checked.
"""

import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
for value in schema["examples"]:
    validator.validate(value)
for line in sys.stdin:
    validator.validate(json.loads(line))
