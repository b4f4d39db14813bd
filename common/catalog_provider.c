/* catalog_provider.c -- what a model's provider asks for its work, and what it allows. */
#include "common/catalog_table.h"

#include <stddef.h>

static const struct field price_rows[] = {
    { .name = "input",
      .type = FIELD_MONEY,
      .required = true,
      .offset = offsetof(struct model_price, input_micros),
      .help = "For a million tokens of input.",
      .example = "2.5" },
    { .name = "cached_input",
      .type = FIELD_MONEY,
      .offset = offsetof(struct model_price, cached_input_micros),
      .help = "For a million tokens of input that the provider had in its cache; absent: as input.",
      .example = "0.25" },
    { .name = "cache_write",
      .type = FIELD_MONEY,
      .offset = offsetof(struct model_price, cache_write_micros),
      .help =
          "For a million tokens of input that the provider wrote to its cache; absent: as input.",
      .example = "3.75" },
    { .name = "output",
      .type = FIELD_MONEY,
      .required = true,
      .offset = offsetof(struct model_price, output_micros),
      .help = "For a million tokens of output.",
      .example = "10" },
};
const struct field_table catalog_price_table = FIELD_TABLE_OF("'price'", price_rows);

static const struct field model_limit_rows[] = {
    { .name = "requests_per_minute",
      .type = FIELD_INT,
      .otherwise = "0",
      .offset = offsetof(struct model_limits, requests_per_minute),
      .min = 0,
      .max = 1000000000,
      .help = "Model calls in any minute. 0: no limit.",
      .example = "500" },
    { .name = "tokens_per_minute",
      .type = FIELD_INT,
      .otherwise = "0",
      .offset = offsetof(struct model_limits, tokens_per_minute),
      .min = 0,
      .max = 1000000000,
      .help = "Tokens in any minute, of prompts and answers: taken as estimated before a call, put "
              "right after it. 0: no limit.",
      .example = "200000" },
};
const struct field_table catalog_limits_table = FIELD_TABLE_OF("'limits'", model_limit_rows);
