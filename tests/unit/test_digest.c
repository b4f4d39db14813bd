#include "common/digest.h"
#include "tests/unit/cm.h"

/* Known answers: FIPS 180-4 examples. */
static void known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct digest d, back;
        struct error err;
        char hex[DIGEST_TEXT_SIZE];
        digest_of(cases[i].text, strlen(cases[i].text), &d);
        digest_hex(&d, hex);
        assert_string_equal(hex, cases[i].hex);
        assert_ok(digest_parse(hex, &back, &err), &err);
        assert_true(digest_eq(&d, &back));
        back.b[31] ^= 1;
        assert_false(digest_eq(&d, &back));
    }
}

static void refuses_what_is_not_a_digest(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "ba78",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
        "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct digest d;
        struct error err = { "" };
        assert_int_equal(digest_parse(cases[i], &d, &err), REFUSED);
        assert_contains(err.text, "is not a digest");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(refuses_what_is_not_a_digest),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
