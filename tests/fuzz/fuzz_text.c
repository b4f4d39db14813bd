/*
 * fuzz_text.c -- the small texts from outside: durations, sizes, times, ids, what a
 * Retry-After says, URLs and headers.  What is read is written to a text that reads as
 * the same; what is refused is refused with a sentence; what is shown is safe to show.
 */
#include "common/clock.h"
#include "common/http_call.h"
#include "common/text.h"
#include "common/uuid.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_numbers(const char *text)
{
    char written[TEXT_NUMBER_SIZE];
    struct error err = { "" };
    int64_t ms, ms_again;
    size_t bytes, bytes_again;
    if (text_parse_duration(text, &ms, &err) == OK) {
        require(ms >= 0);
        text_format_duration(ms, written);
        require(text_parse_duration(written, &ms_again, NULL) == OK && ms == ms_again);
    } else {
        require(*err.text);
    }
    err.text[0] = '\0';
    if (text_parse_size(text, &bytes, &err) == OK) {
        text_format_size(bytes, written);
        require(text_parse_size(written, &bytes_again, NULL) == OK && bytes == bytes_again);
    } else {
        require(*err.text);
    }
}

static void check_time(const char *text)
{
    char written[CLOCK_ISO_SIZE];
    struct error err = { "" };
    int64_t ms, again;
    if (clock_parse_iso(text, &ms, &err) != OK) {
        require(*err.text);
        return;
    }
    clock_format_iso(ms, written);
    require(clock_parse_iso(written, &again, NULL) == OK);
    /* An offset may lead out of the years that can be written. */
    require(ms == again || again < INT64_C(-62167219200000) + 1 ||
            again > INT64_C(253402300799998));
}

static void check_uuid(const char *text)
{
    struct uuid id, again;
    char written[UUID_TEXT_SIZE];
    if (uuid_parse(text, &id, NULL) != OK)
        return;
    uuid_format(&id, written);
    require(strcasecmp(written, text) == 0 && uuid_parse(written, &again, NULL) == OK);
    require(uuid_eq(&id, &again));
}

static void check_http(const char *text)
{
    struct error err = { "" };
    const char *second =
        strchr(text, '\n'); /* what follows a line break is the answer's own date */
    int64_t wait_ms = http_retry_after_ms(text, second, INT64_C(1764000000000));
    require(wait_ms >= -1 && wait_ms <= HTTP_RETRY_AFTER_MAX_MS);
    if (http_check_url(text, &err) == OK)
        require(strncasecmp(text, "http", 4) == 0);
    else
        require(*err.text);
    struct http_header value = { "X-Name", text }, name = { text, "value" };
    if (http_check_header(&value, &err) == OK)
        require(!strpbrk(text, "\r\n"));
    if (http_check_header(&name, &err) == OK)
        require(*text && !strpbrk(text, "\r\n :"));
}

/* Nothing that moves the cursor, and no half of a character, at any size. */
static void check_shown(const char *text, size_t n)
{
    char shown[300];
    size_t room = 4 + n % (sizeof shown - 4);
    (void)text_bounded(shown, room, text, n);
    require(strlen(shown) < room && text_is_utf8(shown, strlen(shown)));
    for (const char *c = shown; *c; c++)
        require(!iscntrl((unsigned char)*c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* exact, so that ASan sees one byte too far */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_numbers(text);
    check_time(text);
    check_uuid(text);
    check_http(text);
    check_shown(text, size);
    free(text);
    return 0;
}
