/*
 * test_arrival.c -- one request record through a scripted world: Postgres accepts,
 * the broker takes dead letters, processes die in between.
 */
#include "tests/unit/cm.h"

#include "common/clock.h"
#include "planner/arrival.h"

#include <stdlib.h>
#include <string.h>

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

enum { QUEUE_MAX = 64, FOREVER = 1000 };

struct world {
    /* Postgres, and the broker's dead letters. */
    bool has_run, announced;
    int notes; /* how often the record was begun */
    bool noted;
    int dead_letters;
    char code[40], text[300], key[20], header[80];

    struct {
        struct arrival_event ev;
        int what;
    } queue[QUEUE_MAX];
    int count, next, fuel;

    int rings, ends, taken, waits, accepts;
    int64_t wait_ms;
    char told[100];

    /* The script. */
    enum store_accept_answer says;
    enum outcome accept_outcome;
    int retry_accept, retry_bury, retry_open;
};

static const struct error trouble = { "not delivered in time" };
static struct store_accepted accepted;

static bool alive(struct world *w)
{
    return w->fuel > 0 && --w->fuel >= 0;
}

static struct arrival_event *answer(struct world *w, unsigned ticket, int *retry)
{
    assert_true(w->count < QUEUE_MAX);
    struct arrival_event *ev = &w->queue[w->count++].ev;
    *ev = (struct arrival_event){ .ticket = ticket, .outcome = OK, .err = &trouble };
    if (retry && *retry > 0) {
        --*retry;
        ev->outcome = RETRY;
    }
    return ev;
}

static void port_open(void *self, struct arrival *a, unsigned ticket)
{
    struct world *w = self;
    (void)a;
    if (!alive(w))
        return;
    struct arrival_event *ev = answer(w, ticket, &w->retry_open);
    if (ev->outcome == OK)
        ev->count = ++w->notes;
    w->noted = true;
}

static void port_accept(void *self, struct arrival *a, unsigned ticket,
                        const struct store_accept *request)
{
    struct world *w = self;
    (void)a;
    assert_string_equal(request->source, "kafka:requests");
    assert_string_equal(request->id, "7");
    assert_string_equal(request->tenant, "ours"); /* not what the body says */
    assert_string_equal(request->class, "batch");
    assert_string_equal(request->input, "{\"price\":0.1}");
    assert_string_equal(request->meta, "{\"traceparent\":\"" TRACE "\"}");
    if (!alive(w))
        return;
    struct arrival_event *ev = answer(w, ticket, &w->retry_accept);
    if (ev->outcome != OK)
        return;
    w->accepts++;
    ev->outcome = w->accept_outcome;
    accepted = (struct store_accepted){ .answer = w->says, .detail = "because" };
    if (w->says == STORE_ACCEPTED) {
        accepted.answer = w->has_run ? STORE_DUPLICATE : STORE_ACCEPTED;
        accepted.event_id = w->has_run ? 0 : 5;
        w->has_run = true;
    }
    ev->accepted = &accepted;
}

static void port_bury(void *self, struct arrival *a, unsigned ticket, const struct dead_letter *why)
{
    struct world *w = self;
    if (!alive(w))
        return;
    if (answer(w, ticket, &w->retry_bury)->outcome != OK)
        return;
    w->dead_letters++;
    (void)snprintf(w->code, sizeof w->code, "%s", why->code);
    (void)snprintf(w->text, sizeof w->text, "%s", why->text);
    (void)snprintf(w->key, sizeof w->key, "%.*s", (int)a->record.key_n, a->record.key);
    const struct record_header *h = record_header(&a->record, "traceparent");
    (void)snprintf(w->header, sizeof w->header, "%.*s", h ? (int)h->value_n : 0, h ? h->value : "");
    assert_string_equal(why->topic, "requests.dlq");
    assert_string_equal(why->group, "planners");
    assert_true(why->attempts >= 1);
}

static void port_close(void *self, struct arrival *a, unsigned ticket)
{
    struct world *w = self;
    (void)a;
    if (!alive(w))
        return;
    (void)answer(w, ticket, NULL);
    w->noted = false;
    w->notes = 0;
}

static void port_later(void *self, struct arrival *a, unsigned ticket, int64_t delay_ms)
{
    struct world *w = self;
    (void)a;
    w->waits++;
    w->wait_ms = delay_ms;
    (void)answer(w, ticket, NULL);
}

static void port_forget(void *self, struct arrival *a)
{
    (void)self;
    (void)a;
}

static void port_ring(void *self, const struct doorbell *d)
{
    struct world *w = self;
    assert_int_equal(d->step, 1);
    assert_int_equal(d->index, DOORBELL_PLAN);
    w->rings += w->fuel > 0;
}

static void port_announce(void *self, int64_t event_id)
{
    struct world *w = self;
    assert_int_equal(event_id, 5);
    w->announced = true;
}

static void port_told(void *self, const char *word)
{
    struct world *w = self;
    (void)snprintf(w->told, sizeof w->told, "%s", word);
}

static void port_ended(void *self, struct arrival *a)
{
    struct world *w = self;
    w->ends++;
    w->taken += a->taken;
}

static struct arrival_settings settings = {
    .tenant = "ours",
    .class = "batch",
    .dlq = "requests.dlq",
    .group = "planners",
    .deaths_max = 3,
};

#define GOOD                                                     \
    "{\"id\":\"7\",\"agent\":\"billing\",\"tenant\":\"theirs\"," \
    "\"input\":{\"price\":0.1}}"

static struct record_view record_of(const char *value)
{
    static const struct record_header headers[] = { { "traceparent", TRACE, sizeof TRACE - 1 },
                                                    { "empty", NULL, 0 } };
    return (struct record_view){ .topic = "requests",
                                 .partition = 3,
                                 .offset = 42,
                                 .timestamp_ms = clock_wall_ms(),
                                 .key = "k",
                                 .key_n = 1,
                                 .value = value,
                                 .value_n = value ? strlen(value) : 0,
                                 .headers = headers,
                                 .n_headers = 2 };
}

static struct world new_world(void)
{
    return (struct world){ .fuel = FOREVER, .says = STORE_ACCEPTED };
}

static void answer_all(struct world *w, struct arrival *a)
{
    while (w->next < w->count)
        arrival_resume(a, &w->queue[w->next++].ev);
    w->count = w->next = 0;
}

static enum arrival_state deliver(struct world *w, const char *value, bool suspect, int fuel)
{
    const struct arrival_ports ports = { .self = w,
                                         .open = port_open,
                                         .accept = port_accept,
                                         .bury = port_bury,
                                         .close = port_close,
                                         .later = port_later,
                                         .forget = port_forget,
                                         .ring = port_ring,
                                         .announce = port_announce,
                                         .told = port_told,
                                         .ended = port_ended };
    struct record_view rec = record_of(value);
    char *bytes = value ? strdup(value) : NULL; /* the record is gone after this call */
    rec.value = bytes;
    struct arrival a;
    w->fuel = fuel;
    w->count = w->next = 0;
    arrival_init(&a, &ports, &settings, &rec, (struct consumer_slot){ 0 });
    free(bytes);
    arrival_start(&a, suspect);
    answer_all(w, &a);
    enum arrival_state end = a.state;
    arrival_release(&a);
    w->fuel = FOREVER;
    return end;
}

static void a_good_request_becomes_a_run(void **state)
{
    (void)state;
    struct world w = new_world();
    assert_int_equal(deliver(&w, GOOD, false, FOREVER), ARRIVAL_DONE);
    assert_true(w.has_run && w.announced);
    assert_int_equal(w.rings, 1);
    assert_int_equal(w.taken, 1);
    assert_string_equal(w.told, "accepted");
    assert_int_equal(w.dead_letters, 0);
    assert_int_equal(deliver(&w, GOOD, false, FOREVER), ARRIVAL_DONE);
    assert_string_equal(w.told, "duplicate");
    assert_int_equal(w.rings, 1);
}

static void what_cannot_be_accepted_is_buried(void **state)
{
    (void)state;
    static const struct {
        const char *value, *code;
    } bad[] = {
        { NULL, "null_value" },
        { "", "bad_json" },
        { "{", "bad_json" },
        { "\xff\xfe", "not_utf8" },
        { "{\"id\":\"7\",\"input\":1}", "missing_field" },
        { "{\"id\":\"7\",\"agent\":3,\"input\":1}", "wrong_type" },
        { "{\"id\":\"7\",\"agent\":\"a\",\"input\":1,\"deadline\":\"soon\"}", "bad_value" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct world w = new_world();
        assert_int_equal(deliver(&w, bad[i].value, false, FOREVER), ARRIVAL_DONE);
        assert_string_equal(w.code, bad[i].code);
        assert_true(strlen(w.text) > 0);
        assert_string_equal(w.key, "k");
        assert_string_equal(w.header, TRACE);
        assert_int_equal(w.accepts, 0);
        assert_int_equal(w.taken, 1);
    }
}

static void what_postgres_refuses_is_buried(void **state)
{
    (void)state;
    static const struct {
        enum store_accept_answer answer;
        const char *code;
    } says[] = {
        { STORE_CONFLICT, "conflict" },       { STORE_UNKNOWN_AGENT, "unknown_agent" },
        { STORE_TOO_OLD, "too_old" },         { STORE_PAST_DEADLINE, "past_deadline" },
        { STORE_BAD_REQUEST, "bad_request" },
    };
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        struct world w = new_world();
        w.says = says[i].answer;
        assert_int_equal(deliver(&w, GOOD, false, FOREVER), ARRIVAL_DONE);
        assert_string_equal(w.code, says[i].code);
        assert_string_equal(w.text, "because");
        assert_int_equal(w.taken, 1);
    }
    struct world w = new_world();
    w.accept_outcome = REFUSED;
    assert_int_equal(deliver(&w, GOOD, false, FOREVER), ARRIVAL_DONE);
    assert_string_equal(w.code, "bad_request");
}

static void nothing_is_lost_while_kafka_is_away(void **state)
{
    (void)state;
    struct world w = new_world();
    w.retry_bury = 12;
    assert_int_equal(deliver(&w, "{", false, FOREVER), ARRIVAL_DONE);
    assert_int_equal(w.dead_letters, 1);
    assert_int_equal(w.waits, 12);
    assert_int_equal(w.wait_ms, 30000);
    assert_int_equal(w.taken, 1);
    w = new_world();
    w.retry_accept = 2;
    assert_int_equal(deliver(&w, GOOD, false, FOREVER), ARRIVAL_DONE);
    assert_int_equal(w.accepts, 1);
}

static void a_suspect_is_noted_and_cleared(void **state)
{
    (void)state;
    struct world w = new_world();
    w.retry_open = 1;
    assert_int_equal(deliver(&w, GOOD, true, FOREVER), ARRIVAL_DONE);
    assert_false(w.noted);
    assert_true(w.has_run);
    w = new_world();
    assert_int_equal(deliver(&w, "{", true, FOREVER), ARRIVAL_DONE);
    assert_false(w.noted);
    assert_int_equal(w.dead_letters, 1);
}

static void a_record_that_kills_ends_in_the_dead_letters(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int death = 1; death <= 3; death++) {
        (void)deliver(&w, GOOD, true, 1); /* dies when it is read */
        assert_int_equal(w.dead_letters, 0);
        assert_int_equal(w.taken, 0);
    }
    assert_int_equal(deliver(&w, GOOD, true, FOREVER), ARRIVAL_DONE);
    assert_string_equal(w.code, "killed_workers");
    assert_int_equal(w.dead_letters, 1);
    assert_int_equal(w.taken, 1);
    assert_false(w.has_run);
    assert_false(w.noted);
}

static void survives_death_at_every_operation(void **state)
{
    (void)state;
    for (int fuel = 0; fuel <= 5; fuel++) {
        for (int good = 0; good < 2; good++) {
            for (int suspect = 0; suspect < 2; suspect++) {
                struct world w = new_world();
                int before = deliver(&w, good ? GOOD : "{", suspect, fuel) == ARRIVAL_DONE;
                if (!before)
                    assert_int_equal(deliver(&w, good ? GOOD : "{", suspect, FOREVER),
                                     ARRIVAL_DONE);
                assert_int_equal(w.taken, 1);
                assert_true(good ? w.has_run : w.dead_letters >= 1);
            }
        }
    }
}

static void dropping_leaves_the_record(void **state)
{
    (void)state;
    struct world w = new_world();
    const struct arrival_ports ports = {
        .self = &w, .accept = port_accept, .forget = port_forget, .ended = port_ended
    };
    struct record_view rec = record_of(GOOD);
    struct arrival a;
    arrival_init(&a, &ports, &settings, &rec, (struct consumer_slot){ 0 });
    arrival_drop(&a); /* never begun */
    arrival_release(&a);
    arrival_init(&a, &ports, &settings, &rec, (struct consumer_slot){ 0 });
    arrival_start(&a, false);
    arrival_drop(&a);
    answer_all(&w, &a);
    arrival_release(&a);
    assert_int_equal(w.ends, 2);
    assert_int_equal(w.taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_request_becomes_a_run),
        cmocka_unit_test(what_cannot_be_accepted_is_buried),
        cmocka_unit_test(what_postgres_refuses_is_buried),
        cmocka_unit_test(nothing_is_lost_while_kafka_is_away),
        cmocka_unit_test(a_suspect_is_noted_and_cleared),
        cmocka_unit_test(a_record_that_kills_ends_in_the_dead_letters),
        cmocka_unit_test(survives_death_at_every_operation),
        cmocka_unit_test(dropping_leaves_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
