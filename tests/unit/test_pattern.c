/*
 * test_pattern.c -- regular expressions of ECMA-262: what they match, what is refused, and
 * that no pattern and no text takes more work than is given.
 */
#include "common/memory.h"
#include "common/pattern.h"
#include "common/text.h"
#include "tests/unit/cm.h"

#include <stdlib.h>

enum { WORK = 1000000 };

static enum pattern_answer match_n(const char *expression, const char *text, size_t n)
{
    struct pattern *p;
    struct error err;
    int64_t work = WORK;
    if (pattern_compile(expression, strlen(expression), &p, &err) != OK)
        fail_msg("%s: %s", expression, err.text);
    enum pattern_answer answer = pattern_match(p, text, n, &work);
    assert_true(work >= 0 && work <= WORK);
    pattern_free(p);
    return answer;
}

static void check(const char *expression, const char *text, enum pattern_answer expected,
                  const char *file, int line)
{
    enum pattern_answer answer = match_n(expression, text, strlen(text));
    if (answer != expected)
        fail_at(file, line, "%s on '%s': %d", expression, text, (int)answer);
}
#define MATCHES(expression, text) check(expression, text, PATTERN_MATCHES, __FILE__, __LINE__)
#define MISSES(expression, text) check(expression, text, PATTERN_MISSES, __FILE__, __LINE__)

static void a_match_is_a_search(void **state)
{
    (void)state;
    MATCHES("b", "abc");
    MATCHES("", "");
    MATCHES("", "abc");
    MISSES("^b", "abc");
    MISSES("b$", "abc");
    MATCHES("c$", "abc");
    MISSES("c$", "abc\n"); /* the very end */
    MISSES("^b", "a\nb");  /* no multiline */
    MATCHES("\\bb", "a b");
    MISSES("x", "");
    MATCHES("^$", "");
}

static void a_dot_stops_at_line_ends(void **state)
{
    (void)state;
    MATCHES("^.$", "a");
    MATCHES("^.$", "\xf0\x9f\x98\x80");
    MISSES("^.$", "\n");
    MISSES("^.$", "\r");
    MISSES("^.$", "\xe2\x80\xa8"); /* U+2028 */
    MATCHES("^.$", "\x0b");
}

static void sets_are_those_of_ecma(void **state)
{
    (void)state;
    MATCHES("^\\d$", "7");
    MISSES("^\\d$", "\xd9\xa3"); /* an Arabic digit */
    MATCHES("^\\D$", "\xd9\xa3");
    MISSES("^\\w$", "\xc3\xa9");
    MATCHES("^\\W$", "\xc3\xa9");
    static const char *const spaces[] = {
        " ",           "\t", "\x0b", "\xc2\xa0", "\xe2\x80\xaf", "\xe3\x80\x80", "\xef\xbb\xbf",
        "\xe2\x80\xa9"
    };
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        MATCHES("^\\s$", spaces[i]);
        MISSES("^\\S$", spaces[i]);
        MATCHES("^[\\s]$", spaces[i]);
        MISSES("^[\\S]$", spaces[i]);
        MISSES("^[^\\s]$", spaces[i]);
        MATCHES("^[^\\S]$", spaces[i]);
        MISSES("^[a\\S]$", spaces[i]);
        MATCHES("^[\\s\\S]$", spaces[i]);
    }
    MISSES("^\\s$", "\xe2\x80\x8b"); /* a space of no width is none */
    MATCHES("^\\p{Letter}+$", "\xc3\xa9t\xc3\xa9");
    MATCHES("^\\p{Lu}$", "\xc3\x89");
    MISSES("^\\p{gc=Uppercase_Letter}$", "\xc3\xa9");
    MATCHES("^\\p{Script=Greek}$", "\xce\xb1");
    MISSES("^\\P{sc=Greek}$", "\xce\xb1");
    MATCHES("^\\p{Alphabetic}$", "\xce\xb1");
}

static void escapes_are_those_of_ecma(void **state)
{
    (void)state;
    MATCHES("^\\v$", "\x0b");
    MISSES("^\\v$", "\n");
    MATCHES("^\\t\\n\\r\\f$", "\t\n\r\f");
    MATCHES("^\\x41\\u0042\\u{43}$", "ABC");
    MATCHES("^\\ud83d\\ude00$", "\xf0\x9f\x98\x80");
    MATCHES("^\\cJ\\cj$", "\n\n");
    MATCHES("^[\\b]$", "\b");
    MATCHES("^\\-\\/\\@\\\"\\ $", "-/@\" ");
    assert_int_equal(match_n("^a\\0b$", "a\0b", 3), PATTERN_MATCHES);
    assert_int_equal(match_n("^a.b$", "a\0b", 3), PATTERN_MATCHES);
    MATCHES("^(a|b)\\1$", "bb");
    MISSES("^(a|b)\\1$", "ab");
    MATCHES("^(?<x>a|b)\\k<x>$", "bb");
    MATCHES("^(?:(a)|b)\\1$", "b"); /* a group that caught nothing is empty */
    MATCHES("^\\1(a)$", "a");
}

static void classes_are_those_of_ecma(void **state)
{
    (void)state;
    MISSES("[]", "a]");
    MATCHES("^[^]$", "\n");
    MATCHES("^[a-c-]+$", "a-c");
    MATCHES("^[\\w-]+$", "a-b");
    MATCHES("^[\\w-.]+$", "a-b.c");
    MATCHES("^[a-\\d]+$", "a-1");
    MATCHES("^[[:alpha:]]+$", ":]"); /* one of [ : a l p h, then a bracket */
    MISSES("^[[:alpha:]]+$", "x]");
    MATCHES("^[.*+^$]+$", "$^+*.");
    MATCHES("^[\\u{1f600}-\\u{1f610}]$", "\xf0\x9f\x98\x85");
    MATCHES("^[^a]$", "\xf0\x9f\x98\x85");
}

static void repetition_is_that_of_ecma(void **state)
{
    (void)state;
    MATCHES("^a{2}b{1,}c{0,2}?$", "aabbbcc");
    MISSES("^a{2}$", "a");
    MATCHES("^a*?b+?c??$", "aab");
    MATCHES("^{a}$", "{a}"); /* braces that say nothing are characters */
    MATCHES("^a{x}]$", "a{x}]");
    MATCHES("^(?!\\.)(?!.*\\.\\.)[a-z.]+$", "a.b");
    MISSES("^(?!\\.)(?!.*\\.\\.)[a-z.]+$", "a..b");
    MATCHES("(?<=\\$)\\d+", "$5");
    MISSES("(?<!\\$)\\b\\d+", "$5");
}

static void what_generators_write_works(void **state)
{
    (void)state;
    MATCHES(
        "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+"
        "[A-Za-z]{2,}$",
        "ada@example.org");
    MATCHES(
        "^[0-9a-fA-F]{8}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{4}\\b-[0-9a-fA-F]{12}$",
        "01932f5e-8a61-7c3e-9d4b-52a1c0de77f0");
    MATCHES(
        "^(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-"
        "29|"
        "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|"
        "(?:02)-(?:0[1-9]|1\\d|2[0-8])))$",
        "2024-02-29");
    MATCHES("^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "-12.50");
}

static void refused(const char *expression, const char *why, const char *file, int line)
{
    struct pattern *p;
    struct error err;
    if (pattern_compile(expression, strlen(expression), &p, &err) != REFUSED)
        fail_at(file, line, "%s was taken", expression);
    assert_null(p);
    if (!strstr(err.text, why))
        fail_at(file, line, "%s: %s", expression, err.text);
}
#define REFUSES(expression, why) refused(expression, why, __FILE__, __LINE__)

static void what_ecma_has_not_is_refused(void **state)
{
    (void)state;
    REFUSES("\\Aa", "'\\Aa' is no escape");
    REFUSES("a\\z", "'\\z' is no escape");
    REFUSES("\\Qa\\E", "no escape");
    REFUSES("\\a", "no escape");
    REFUSES("\\h", "no escape");
    REFUSES("[\\A]", "no escape");
    REFUSES("[\\1]", "no escape");
    REFUSES("\\x4", "no escape");
    REFUSES("\\u004", "no escape");
    REFUSES("\\ud800", "no escape"); /* half a character */
    REFUSES("\\u{110000}", "no escape");
    REFUSES("\\u{d800}", "no escape");
    REFUSES("\\01", "no escape");
    REFUSES("\\", "no escape");
    REFUSES("[\\", "no escape");
    REFUSES("\\p", "no escape");
    REFUSES("\\p{", "no escape");
    REFUSES("\\p{Foo=Bar}", "no escape");
    REFUSES("\\p{Nonsense}", "unknown property");
    REFUSES("(?i)a", "(?");
    REFUSES("(?>a)", "(?");
    REFUSES("(?P<x>a)", "(?");
    REFUSES("(?#x)", "(?");
    REFUSES("(?R)", "(?");
    REFUSES("(*FAIL)", "'*' repeats nothing");
    REFUSES("a++", "'+' repeats nothing");
    REFUSES("a**", "'*' repeats nothing");
    REFUSES("a{1}{2}", "'{2}' repeats nothing");
    REFUSES("*", "'*' repeats nothing");
    REFUSES("(?=a)*", "'*' repeats nothing");
    REFUSES("^*", "repeats nothing");
    REFUSES("a{,5}", "write {0,");
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    REFUSES("(a", "a '(' is not closed");
    REFUSES("a)", "a ')' closes nothing");
    REFUSES("[a", "a '[' is not closed");
    REFUSES("[b-a]", "ends before it begins");
    REFUSES("a{2,1}", "out of order");
    REFUSES("a{99999}", "too big");
    REFUSES("(?<1>a)", "a group has a name");
    REFUSES("\\2(a)", "non-existent");
    REFUSES("(?<=a*)b", "lookbehind");
    REFUSES("\xff", "UTF-8");
    char *deep = xcalloc(1, 500);
    memset(deep, '(', 200);
    memset(deep + 200, ')', 200);
    REFUSES(deep, "within each other");
    free(deep);
    char *long_one = xcalloc(1, PATTERN_BYTES_MAX + 2);
    memset(long_one, 'a', PATTERN_BYTES_MAX + 1);
    REFUSES(long_one, "at most 8192");
    free(long_one);
    REFUSES("(((((a{1,9999}){1,9999}){1,9999}))){1,9999}", "too large");
}

/* Patterns that need 2^n or n^2 steps, and the text that shows it. */
static void work_bounds_every_match(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "^(a+)+$",   "^(a|a)*$",     "(a*)*bb",
        "^(a|aa)+$", "a*a*a*a*a*bb", "(?:a+){20}b",
        "(.*)\\1bb", "[a-z]*11",     "(?:(?=[a-z]*11)|.)*xx",
    };
    enum { N = 60000 };
    char *text = xcalloc(1, N + 1);
    memset(text, 'a', N - 1);
    text[N - 1] = '!';
    MISSES("(a*)*b", text); /* what must be in a match is looked for first */
    memcpy(text, "b1x", 3); /* and is no help here */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(match_n(bad[i], text + (*bad[i] == '^' ? 3 : 0), N - 3), PATTERN_TOO_HARD);
    memcpy(text, "aaa", 3);
    /* and what is cheap stays possible, however long the text is */
    MATCHES("\\S", text);
    MATCHES("!$", text);
    MATCHES("^[a!]*$", text);
    MATCHES("^(?:[a!]{4})*$", text);
    MISSES("^[a-z]*$", text);
    MISSES("b", text);
    MISSES("b[0-9]", text);
    free(text);
}

static void work_that_is_not_there_is_not_taken(void **state)
{
    (void)state;
    struct pattern *p;
    struct error err;
    int64_t work = 10;
    assert_ok(pattern_compile("^a", 2, &p, &err), &err);
    assert_int_equal(pattern_match(p, "a", 1, &work), PATTERN_TOO_HARD);
    assert_int_equal(work, 10);
    assert_true(pattern_size(p) > 50 && pattern_size(p) < 1000);
    pattern_free(p);
    pattern_free(NULL);
}

/* Long texts cost more, and who looks twice pays twice. */
static void work_is_spent(void **state)
{
    (void)state;
    enum { N = 60000 };
    struct pattern *p;
    struct error err;
    int64_t work = WORK;
    char *text = xcalloc(1, N + 1);
    memset(text, 'a', N);
    assert_ok(pattern_compile("^a", 2, &p, &err), &err);
    assert_int_equal(pattern_match(p, "a", 1, &work), PATTERN_MATCHES);
    int64_t small = WORK - work;
    assert_int_equal(pattern_match(p, "a", 1, &work), PATTERN_MATCHES);
    assert_int_equal(work, WORK - 2 * small);
    assert_in_range(small, 60, 200);
    assert_int_equal(pattern_match(p, text, N, &work), PATTERN_MATCHES);
    assert_true(WORK - work > N / 10);
    pattern_free(p);
    free(text);
}

/* The places where a match may start are looked at in goes, which end between two
 * characters.                                                                */
static void characters_of_many_bytes_are_not_divided(void **state)
{
    (void)state;
    char text[1001];
    for (int shift = 0; shift < 4; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = (size_t)shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        text[1000] = '\0';
        MISSES("[^x\\u{1f600}]", text);
        MISSES("\\u{1f601}|y", text);
        MATCHES("\\u{1f600}x*$", text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_match_is_a_search),
        cmocka_unit_test(a_dot_stops_at_line_ends),
        cmocka_unit_test(sets_are_those_of_ecma),
        cmocka_unit_test(escapes_are_those_of_ecma),
        cmocka_unit_test(classes_are_those_of_ecma),
        cmocka_unit_test(repetition_is_that_of_ecma),
        cmocka_unit_test(what_generators_write_works),
        cmocka_unit_test(what_ecma_has_not_is_refused),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(work_bounds_every_match),
        cmocka_unit_test(work_that_is_not_there_is_not_taken),
        cmocka_unit_test(work_is_spent),
        cmocka_unit_test(characters_of_many_bytes_are_not_divided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
