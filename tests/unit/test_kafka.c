/*
 * test_kafka.c -- settings: what is refused, with which words, and that no value
 * of a property ever comes out again.
 */
#include "tests/unit/cm.h"

#include "common/kafka.h"

#include <librdkafka/rdkafka.h>

static struct kafka_settings settings_of(const struct config_property *properties, size_t n)
{
    return (struct kafka_settings){ "127.0.0.1:9092", "test", properties, n };
}

static void defaults_are_fine_and_can_be_changed(void **state)
{
    struct config_property properties[] = { { .name = "session.timeout.ms", .value = "9000" },
                                            { .name = "security.protocol", .value = "ssl" } };
    struct kafka_settings settings = settings_of(properties, 2);
    rd_kafka_conf_t *conf;
    struct error err;
    char text[128];
    size_t n = sizeof text;
    (void)state;
    assert_ok(kafka_check(&settings, &err), &err);
    assert_ok(kafka_conf(&settings, KAFKA_CONSUMER, "g", &conf, &err), &err);
    assert_int_equal(rd_kafka_conf_get(conf, "session.timeout.ms", text, &n), RD_KAFKA_CONF_OK);
    assert_string_equal(text, "9000");
    n = sizeof text;
    assert_int_equal(rd_kafka_conf_get(conf, "enable.auto.commit", text, &n), RD_KAFKA_CONF_OK);
    assert_string_equal(text, "false");
    rd_kafka_conf_destroy(conf);
}

static void assert_refused(const char *name, const char *value, const char *part)
{
    struct config_property property = { .name = name, .value = value, .secret = true };
    struct kafka_settings settings = settings_of(&property, 1);
    struct error err;
    assert_int_equal(kafka_check(&settings, &err), REFUSED);
    assert_contains(err.text, name);
    assert_contains(err.text, part);
    if (value && strstr(err.text, value))
        fail_msg("the value is shown: %s", err.text);
}

static void bad_properties_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused("no.such.thing", "hunter2", "not a property");
    assert_refused("session.timeout.ms", "hunter2", "value");
    assert_refused("security.protocol", "hunter2", "value");
    assert_refused("enable.auto.commit", "hunter2", "Postgres");
    assert_refused("group.id", "hunter2", "kafka.groups");
    assert_refused("bootstrap.servers", "hunter2", "kafka.bootstrap");
    assert_refused("sasl.password", NULL, "secret");
    struct kafka_settings nobody = { .client_id = "test" };
    struct error err;
    assert_int_equal(kafka_check(&nobody, &err), REFUSED);
    assert_contains(err.text, "PAWL_KAFKA_BOOTSTRAP");
}

static void errors_name_the_reaction(void **state)
{
    (void)state;
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR_NO_ERROR), OK);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR__MSG_TIMED_OUT), RETRY);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR__QUEUE_FULL), RETRY);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), RETRY);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), REFUSED);
    assert_int_equal(kafka_outcome(RD_KAFKA_RESP_ERR__FATAL), BROKEN);
    assert_non_null(kafka_library());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_fine_and_can_be_changed),
        cmocka_unit_test(bad_properties_are_refused_by_name),
        cmocka_unit_test(errors_name_the_reaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
