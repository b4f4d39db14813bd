/*
 * test_outbound.c -- where calls may go: addresses, hosts, ports.
 */
#include "tests/unit/cm.h"

#include "common/outbound.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool allowed(const char *networks, const char *address)
{
    const struct outbound_rules rules = { .networks = networks };
    struct outbound *o = outbound_new(&rules);
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    assert_true(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
    bool answer = outbound_allows(o, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6);
    outbound_free(o);
    return answer;
}

static void public_addresses_are_allowed(void **state)
{
    (void)state;
    static const char *const list[] = { "1.1.1.1",          "9.255.255.255",   "11.0.0.0",
                                        "100.63.255.255",   "100.128.0.0",     "126.255.255.255",
                                        "128.0.0.0",        "169.253.255.255", "169.255.0.0",
                                        "172.15.255.255",   "172.32.0.0",      "192.0.1.0",
                                        "192.167.0.1",      "192.169.0.0",     "198.17.255.255",
                                        "198.20.0.0",       "203.0.112.255",   "223.255.255.255",
                                        "2606:4700::1111",  "2a00:1450::8a",   "::ffff:1.1.1.1",
                                        "64:ff9b::101:101", "2002:101:101::1" };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!allowed(NULL, list[i]))
            fail_msg("%s is refused", list[i]);
}

static void all_others_are_refused(void **state)
{
    (void)state;
    static const char *const list[] = { "0.0.0.0",
                                        "0.1.2.3",
                                        "10.0.0.0",
                                        "10.255.255.255",
                                        "100.64.0.0",
                                        "100.127.255.255",
                                        "127.0.0.1",
                                        "127.255.255.255",
                                        "169.254.169.254",
                                        "172.16.0.1",
                                        "172.31.255.255",
                                        "192.0.0.192",
                                        "192.0.2.1",
                                        "192.88.99.1",
                                        "192.168.0.1",
                                        "198.18.0.1",
                                        "198.19.255.255",
                                        "198.51.100.7",
                                        "203.0.113.9",
                                        "224.0.0.1",
                                        "239.255.255.255",
                                        "240.0.0.1",
                                        "255.255.255.255",
                                        "::",
                                        "::1",
                                        "::127.0.0.1",
                                        "::ffff:127.0.0.1",
                                        "::ffff:10.0.0.1",
                                        "::ffff:169.254.169.254",
                                        "64:ff9b::7f00:1",
                                        "64:ff9b::a9fe:a9fe",
                                        "64:ff9b:1::1",
                                        "100::1",
                                        "2001::1",
                                        "2001:db8::1",
                                        "2002:7f00:1::1",
                                        "2002:a00:1::1",
                                        "3fff::1",
                                        "5f00::1",
                                        "fc00::1",
                                        "fd12:3456::1",
                                        "fe80::1",
                                        "febf::1",
                                        "fec0::1",
                                        "ff02::1" };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (allowed(NULL, list[i]))
            fail_msg("%s is allowed", list[i]);
}

static void networks_are_allowed_by_name(void **state)
{
    (void)state;
    static const char rules[] = " 10.1.0.0/16,127.0.0.1 , fd00:1::/32,::1";
    assert_true(allowed(rules, "10.1.255.1"));
    assert_true(allowed(rules, "::ffff:10.1.2.3")); /* the same address */
    assert_false(allowed(rules, "10.2.0.1"));
    assert_true(allowed(rules, "127.0.0.1"));
    assert_false(allowed(rules, "127.0.0.2"));
    assert_true(allowed(rules, "fd00:1:ffff::1"));
    assert_false(allowed(rules, "fd00:2::1"));
    assert_true(allowed(rules, "::1"));
    assert_true(allowed(rules, "1.1.1.1"));
    assert_true(allowed("0.0.0.0/0", "169.254.169.254"));
    assert_false(allowed("0.0.0.0/0", "fe80::1"));
    assert_true(allowed("::/0", "fe80::1"));
    const struct sockaddr unix_address = { .sa_family = AF_UNIX };
    const struct outbound_rules all = { .networks = "::/0" };
    struct outbound *o = outbound_new(&all);
    assert_false(outbound_allows(o, &unix_address));
    outbound_free(o);
}

static void lists_are_checked(void **state)
{
    (void)state;
    static const char *const bad_networks[] = {
        "",     " ",         "10.0.0.0/33", "10.0.0.0/",   "10.0.0", "::1/129", "10.0.0.0/8,",
        "host", "1.2.3.4 5", "10.0.0.0/-1", "10.0.0.0/08x"
    };
    for (size_t i = 0; i < sizeof bad_networks / sizeof *bad_networks; i++)
        if (!outbound_check_networks(bad_networks[i]))
            fail_msg("'%s' is taken for networks", bad_networks[i]);
    static const char *const bad_ports[] = { "", "0x50", "65536", "443-", "-443", "90-80", "http" };
    for (size_t i = 0; i < sizeof bad_ports / sizeof *bad_ports; i++)
        if (!outbound_check_ports(bad_ports[i]))
            fail_msg("'%s' is taken for ports", bad_ports[i]);
    static const char *const bad_hosts[] = { "", "*", "*.", "a.*.b", "http://a", "a b", "[::1]" };
    for (size_t i = 0; i < sizeof bad_hosts / sizeof *bad_hosts; i++)
        if (!outbound_check_hosts(bad_hosts[i]))
            fail_msg("'%s' is taken for hosts", bad_hosts[i]);
    assert_null(outbound_check_networks("10.0.0.0/8, ::/0,1.2.3.4"));
    assert_null(outbound_check_ports("443, 8000-8999,1"));
    assert_null(outbound_check_hosts("a.example, *.b.example, localhost"));
}

static enum outcome target(const struct outbound_rules *rules, const char *scheme, const char *host,
                           int port, const char *words)
{
    struct error err = { "" };
    struct outbound *o = outbound_new(rules);
    enum outcome outcome = outbound_check_target(o, scheme, host, port, &err);
    outbound_free(o);
    if (outcome != OK)
        assert_contains(err.text, words);
    return outcome;
}

static void targets_are_checked_before_anything_is_resolved(void **state)
{
    (void)state;
    const struct outbound_rules none = { 0 };
    assert_int_equal(target(&none, "http", "api.example.com", 80, ""), OK);
    assert_int_equal(target(&none, "http", "10.0.0.1", 80, "outbound.networks"), REFUSED);
    assert_int_equal(target(&none, "http", "::1", 80, "outbound.networks"), REFUSED);

    const struct outbound_rules tight = { .hosts = "api.example.com, *.int.example",
                                          .ports = "443, 8000-8001",
                                          .https_only = true };
    assert_int_equal(target(&tight, "https", "api.example.com", 443, ""), OK);
    assert_int_equal(target(&tight, "HTTPS", "API.Example.Com", 8001, ""), OK);
    assert_int_equal(target(&tight, "https", "a.b.int.example", 8000, ""), OK);
    assert_int_equal(target(&tight, "https", "int.example", 443, "outbound.hosts"), REFUSED);
    assert_int_equal(target(&tight, "https", "evilint.example", 443, "outbound.hosts"), REFUSED);
    assert_int_equal(target(&tight, "https", "api.example.com.evil", 443, "outbound.hosts"),
                     REFUSED);
    assert_int_equal(target(&tight, "https", "api.example.com", 8002, "outbound.ports"), REFUSED);
    assert_int_equal(target(&tight, "http", "api.example.com", 443, "https_only"), REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_addresses_are_allowed),
        cmocka_unit_test(all_others_are_refused),
        cmocka_unit_test(networks_are_allowed_by_name),
        cmocka_unit_test(lists_are_checked),
        cmocka_unit_test(targets_are_checked_before_anything_is_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
