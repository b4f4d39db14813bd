"""Attacks in the answer to one HTTP request, by name: what a tool or a model may do to its caller.

Each is a function of the peer (hostile.py). What is sent as a good body is `GOOD_BODY`.
"""

import gzip
import os
import zlib

GOOD_BODY = b'{"done": true}'
PIECE = b"y" * 65536
LONG = bool(os.environ.get("PAWL_TEST_LONG"))
# In the default run less than a gigabyte: what matters is that it is far beyond every limit.
HUGE_BYTES = 1 << 30 if LONG else 48 << 20

ANSWERS = {}


def attack(function):
    ANSWERS[function.__name__.rstrip("_")] = function
    return function


def raw(name, *pieces, then=None):
    """An attack that sends these bytes; `then`: "wait" holds the connection, else it is closed."""

    def send(peer):
        peer.send(*pieces)
        if then == "wait":
            peer.wait()

    ANSWERS[name] = send


def head(*lines, status="200 OK", length=None):
    lines = list(lines)
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *lines]) + "\r\n\r\n").encode()


def good(*lines, body=GOOD_BODY):
    return head(*lines, length=len(body)) + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = "Transfer-Encoding: chunked"


# --- slow ---------------------------------------------------------------------------------------


@attack
def never(peer):
    peer.wait()


@attack
def drips_head(peer):
    peer.drip(good())


@attack
def drips_body(peer):
    peer.send(head(length=1000000))
    peer.drip(b"." * 1000)


@attack
def drips_chunks(peer):
    peer.send(head(CHUNKED))
    peer.for_ever(lambda: peer.pause(1) or chunk(b"."))


@attack
def half_a_head(peer):
    peer.send("HTTP/1.1 200 OK\r\nContent-Ty")
    peer.wait()


# --- large --------------------------------------------------------------------------------------


def huge(peer, wrap=bytes):
    for _ in range(HUGE_BYTES // len(PIECE)):
        peer.send(wrap(PIECE))


@attack
def huge_with_length(peer):
    peer.send(head(length=HUGE_BYTES))
    huge(peer)


@attack
def huge_without_length(peer):
    peer.send(head("Connection: close"))
    huge(peer)


@attack
def huge_in_chunks(peer):
    peer.send(head(CHUNKED))
    huge(peer, chunk)
    peer.send("0\r\n\r\n")


@attack
def huge_in_one_chunk(peer):
    peer.send(head(CHUNKED), b"%x\r\n" % HUGE_BYTES)
    huge(peer)


@attack
def endless_chunk_extension(peer):
    peer.send(head(CHUNKED), "5;a=")
    peer.for_ever(PIECE)


@attack
def endless_trailers(peer):
    peer.send(head(CHUNKED), chunk(GOOD_BODY), "0\r\n")
    peer.for_ever(b"X-Trailer: " + b"t" * 900 + b"\r\n")


@attack
def error_with_huge_body(peer):
    peer.send(head(status="422 No", length=HUGE_BYTES))
    huge(peer)


# --- heads --------------------------------------------------------------------------------------


@attack
def head_in_one_line(peer):
    peer.send("HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(64):
        peer.send(PIECE)
    peer.send("\r\n\r\n")
    peer.wait()


@attack
def head_without_end(peer):
    peer.send("HTTP/1.1 200 OK\r\n")
    peer.for_ever(b"X-Next: " + b"h" * 1000 + b"\r\n")


@attack
def head_of_many_lines(peer):
    peer.send("HTTP/1.1 200 OK\r\n", *(f"X-{n}: {n}\r\n" for n in range(20000)), "\r\n")
    peer.wait()


@attack
def status_line_without_end(peer):
    peer.send("HTTP/1.1 200 ")
    peer.for_ever(PIECE)


@attack
def interim_flood(peer):
    peer.for_ever(b"HTTP/1.1 100 Continue\r\nX-Wait: 1\r\n\r\n")


@attack
def early_hints_flood(peer):
    peer.for_ever(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")


raw("a_thousand_headers", head(*(f"X-{n}: {n}" for n in range(1000)), length=len(GOOD_BODY)), GOOD_BODY)
raw("some_interim_answers", "HTTP/1.1 100 Continue\r\n\r\n" * 5, "HTTP/1.1 103 Early Hints\r\n\r\n", good())
raw("switching_protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"\0\1\2\3", then="wait")
raw("nul_in_head", "HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\n", f"Content-Length: {len(GOOD_BODY)}\r\n\r\n", GOOD_BODY)
raw("folded_header", head("X-Fold: one\r\n two", length=len(GOOD_BODY)), GOOD_BODY)
raw("bare_line_feeds", good().replace(b"\r\n", b"\n"))
raw("header_without_colon", head("this is no header", length=len(GOOD_BODY)), GOOD_BODY)
raw("space_before_colon", head(f"Content-Length : {len(GOOD_BODY)}"), GOOD_BODY)
raw("strange_status", head(status="999 What", length=0))
raw("impossible_status", "HTTP/1.1 99999 Too Far\r\nContent-Length: 0\r\n\r\n")
raw("strange_version", "HTTP/7.3 200 OK\r\nContent-Length: 0\r\n\r\n")

# --- redirects ----------------------------------------------------------------------------------


def redirect(status):
    def send(peer):
        # Another address each time, so that no count of addresses can end it.
        peer.send(head(f"Location: {peer.path}?again={os.urandom(4).hex()}", status=f"{status} Elsewhere", length=0))
        return "keep"

    return send


ANSWERS["redirect_302"] = redirect(302)
ANSWERS["redirect_307"] = redirect(307)
raw("redirect_to_a_file", head("Location: file:///etc/passwd", status="302 Elsewhere", length=0))

# --- who says how long it is ----------------------------------------------------------------------

raw("length_and_chunks", head(CHUNKED, length=5), chunk(GOOD_BODY), "0\r\n\r\n")
raw("chunks_and_length", head("Content-Length: 5", CHUNKED), chunk(GOOD_BODY), "0\r\n\r\n")
raw("two_lengths", head("Content-Length: 3", length=len(GOOD_BODY)), GOOD_BODY)
raw("list_of_lengths", head("Content-Length: 14, 14"), GOOD_BODY)
raw("negative_length", head(length=-5), GOOD_BODY)
raw("huge_length", head("Connection: close", length="99999999999999999999999"), GOOD_BODY)
raw("length_in_words", head("Connection: close", length="many"), GOOD_BODY)
raw("length_too_long", head(length=1000), GOOD_BODY)
raw("length_too_short", head(length=6), GOOD_BODY)
raw("negative_chunk", head(CHUNKED), b"-5\r\n", GOOD_BODY)
raw("chunk_beyond_all", head(CHUNKED), b"FFFFFFFFFFFFFFFFFF\r\n", GOOD_BODY)
raw("chunk_in_words", head(CHUNKED), b"many\r\n", GOOD_BODY)
raw("chunk_without_end", head(CHUNKED), b"3\r\nabcdef\r\n0\r\n\r\n")
raw("chunks_without_last", head(CHUNKED), chunk(GOOD_BODY))
raw("body_without_need", head(status="204 No Content") + GOOD_BODY)
raw("second_answer", good(), good(body=b'{"done": "evil"}'), then="wait")

# --- no HTTP ------------------------------------------------------------------------------------

raw("closes_at_once")
raw("garbage", os.urandom(2000))
raw("http_0_9", b"hello, this is the whole answer")
raw("tls_alert", b"\x15\x03\x01\x00\x02\x02\x28", then="wait")
raw("http_2", b"\0\0\x12\x04\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\0\xff\xff\0\5\0\0\x40\0", then="wait")
raw("its_own_request", b"POST / HTTP/1.1\r\nHost: you\r\n\r\n", then="wait")


@attack
def garbage_without_end(peer):
    peer.for_ever(lambda: os.urandom(65536))


# --- compressed though nobody asked -----------------------------------------------------------------

BOMB = gzip.compress(b"\0" * (64 << 20))  # 64 MB in 65 KB; each layer of gzip again would be a thousand more
raw("bomb_gzip", head("Content-Encoding: gzip", length=len(BOMB)), BOMB)
raw("bomb_deflate", head("Content-Encoding: deflate"), zlib.compress(b"\0" * (64 << 20)))
raw("bomb_brotli", head("Content-Encoding: br"), bytes.fromhex("5bffffff07") + b"\0" * 1000)
raw("bomb_twice", head("Content-Encoding: gzip, gzip"), gzip.compress(BOMB))
raw("bomb_in_transfer", head("Transfer-Encoding: gzip", "Connection: close"), BOMB)
raw("bomb_in_chunks", head("Transfer-Encoding: gzip, chunked"), chunk(BOMB), "0\r\n\r\n")
raw("encoding_that_lies", head("Content-Encoding: gzip", length=len(GOOD_BODY)), GOOD_BODY)
raw("encoding_unknown", head("Content-Encoding: rot13", length=len(GOOD_BODY)), GOOD_BODY)

# --- texts --------------------------------------------------------------------------------------

raw("not_utf8", good(body=b'{"done": "\xff\xfe\xc3(\xf0\x9f"}'))
raw("nul_bytes", good(body=b'{"do\0ne": "\0"}'))
raw("nul_escapes", good(body=b'{"done": "a\\u0000b"}'))
raw("lone_surrogates", good(body=b'{"done": "\\ud800 \\udfff"}'))
raw("deep_json", good(body=b"[" * 100000 + b"]" * 100000))
raw("deep_objects", good(body=b'{"a":' * 100000 + b"1" + b"}" * 100000))
raw("dense_json", good(body=b"[" + b"{}," * 40000 + b"1]"))
raw("control_characters", good(body=bytes(range(1, 32)) * 100))
raw("empty", good(body=b""))

# --- times --------------------------------------------------------------------------------------

raw("retry_in_ages", head("Retry-After: 99999999999999999999", status="503 Busy", length=0))
raw("retry_before", head("Retry-After: -5", status="503 Busy", length=0))
raw("retry_at_no_time", head("Retry-After: NaN", status="503 Busy", length=0))
raw("retry_long_ago", head("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", status="503 Busy", length=0))


@attack
def answers_before_the_request_ended(peer):
    peer.send(good())
    peer.read_body()
    return "keep"


answers_before_the_request_ended.early = True
