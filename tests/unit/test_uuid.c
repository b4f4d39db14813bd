#include "common/uuid.h"
#include "tests/unit/cm.h"

static void reads_and_writes(void **state)
{
    (void)state;
    struct uuid u;
    struct error err;
    char text[UUID_TEXT_SIZE];
    assert_ok(uuid_parse("01932F5e-8a61-7c3e-9d4b-52a1c0de77f0", &u, &err), &err);
    static const uint8_t bytes[16] = { 0x01, 0x93, 0x2f, 0x5e, 0x8a, 0x61, 0x7c, 0x3e,
                                       0x9d, 0x4b, 0x52, 0xa1, 0xc0, 0xde, 0x77, 0xf0 };
    assert_memory_equal(u.b, bytes, 16);
    uuid_format(&u, text);
    assert_string_equal(text, "01932f5e-8a61-7c3e-9d4b-52a1c0de77f0");
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const char good[] = "01932f5e-8a61-7c3e-9d4b-52a1c0de77f0";
    char text[sizeof good + 1];
    struct uuid u;
    /* every truncation, and a wrong character at every place */
    for (size_t i = 0; i < sizeof good - 1; i++) {
        struct error err = { "" };
        (void)snprintf(text, sizeof text, "%.*s", (int)i, good);
        assert_int_equal(uuid_parse(text, &u, &err), REFUSED);
        assert_contains(err.text, "is not a UUID");
        for (const char *wrong = "g:/@`G -"; *wrong; wrong++) {
            (void)snprintf(text, sizeof text, "%s", good);
            if (text[i] == *wrong)
                continue;
            text[i] = *wrong;
            assert_int_equal(uuid_parse(text, &u, &err), REFUSED);
        }
    }
    assert_int_equal(uuid_parse("01932f5e-8a61-7c3e-9d4b-52a1c0de77f00", &u, NULL), REFUSED);
    assert_int_equal(uuid_parse("{01932f5e-8a61-7c3e-9d4b-52a1c0de77f0}", &u, NULL), REFUSED);
    assert_int_equal(uuid_parse("01932f5e8a617c3e9d4b52a1c0de77f0", &u, NULL), REFUSED);
}

static void random_ones_are_of_version_4_and_differ(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct uuid made[COUNT];
    for (int i = 0; i < COUNT; i++) {
        made[i] = uuid_v4();
        assert_int_equal(made[i].b[6] >> 4, 4);
        assert_int_equal(made[i].b[8] >> 6, 2);
        assert_false(uuid_is_nil(&made[i]));
        for (int j = 0; j < i; j++)
            assert_false(uuid_eq(&made[i], &made[j]));
        struct uuid copy = made[i], back;
        assert_true(uuid_eq(&copy, &made[i]));
        char text[UUID_TEXT_SIZE];
        uuid_format(&copy, text);
        assert_int_equal(uuid_parse(text, &back, NULL), OK);
        assert_true(uuid_eq(&back, &copy));
    }
    struct uuid nil = { { 0 } };
    assert_true(uuid_is_nil(&nil));
}

/* Ids of one millisecond differ in few bits; a table of 1024 buckets filled
 * with 4096 of them by the low (or the high) bits must not have one crowded
 * bucket.                                                                   */
static void hash_spreads_neighbours(void **state)
{
    (void)state;
    static unsigned low[1024], high[1024];
    struct uuid u = { { 0x01, 0x93, 0x2f, 0x5e, 0x8a, 0x61, 0x70, 0, 0x80 } };
    for (unsigned i = 0; i < 4096; i++) {
        u.b[7] = (uint8_t)(i >> 8); /* a counter behind the time, nothing else */
        u.b[8] = (uint8_t)i;
        uint64_t h = uuid_hash(&u);
        assert_int_equal(h, uuid_hash(&u));
        low[h % 1024]++;
        high[h >> 54]++;
    }
    for (int i = 0; i < 1024; i++) {
        assert_in_range(low[i], 0, 20);
        assert_in_range(high[i], 0, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(random_ones_are_of_version_4_and_differ),
        cmocka_unit_test(hash_spreads_neighbours),
    };
    return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
