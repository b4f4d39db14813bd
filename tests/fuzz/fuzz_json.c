/*
 * fuzz_json.c -- any text is JSON within its limits, or is refused with its place; what
 * was read is written to a text that reads as the same, and that is its own canonical form.
 *
 * The first byte is the depth that is allowed; the rest is the text.  The same text as a
 * JSON string must read back as itself, if it is UTF-8.
 */
#include "common/buf.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int depth_of(const json_t *value)
{
    int deepest = 0;
    size_t i;
    const char *key;
    json_t *member;
    json_array_foreach(value, i, member) {
        int depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        int depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_array(value) || json_is_object(value) ? 1 : 0);
}

static void check_value(const json_t *value, int depth)
{
    const struct json_limits limits = { (size_t)1 << 20, JSON_DEPTH_MAX };
    struct digest first, second;
    json_t *again;
    require(depth_of(value) <= depth);
    AUTO_FREE char *text = json_canonical(value);
    require(text_is_utf8(text, strlen(text)));
    require(json_read(text, strlen(text), &limits, &again, NULL) == OK);
    require(json_equal(value, again));
    AUTO_FREE char *same = json_canonical(again);
    require(strcmp(text, same) == 0);
    json_digest(value, &first);
    json_digest(again, &second);
    require(digest_eq(&first, &second));
    json_decref(again);
}

static void check_string(const char *text, size_t n)
{
    const struct json_limits limits = { (size_t)1 << 20, 1 };
    struct buf written;
    json_t *value;
    buf_init(&written, (size_t)1 << 20);
    require(buf_add_json_string(&written, text, n));
    require(json_read(written.data, written.len, &limits, &value, NULL) == OK);
    if (text_is_utf8(text, n))
        require(json_string_length(value) == n && memcmp(json_string_value(value), text, n) == 0);
    json_decref(value);
    buf_release(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16)
        return 0;
    const struct json_limits limits = { size - 1, 1 + data[0] };
    const char *text = (const char *)data + 1;
    struct error err = { "" };
    json_t *value;
    if (json_read(text, size - 1, &limits, &value, &err) == OK)
        check_value(value, limits.depth);
    else
        require(!value && strstr(err.text, " (line ") && strstr(err.text, ", column "));
    json_decref(value);
    check_string(text, size - 1);
    return 0;
}
