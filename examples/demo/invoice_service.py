#!/usr/bin/env python3
"""A small invoice service with a ledger, as many companies have one.

    ./invoice_service.py --listen 127.0.0.1:8082 --ledger ledger.jsonl --delay 2

    POST /customers/lookup   {"customer": "Ada"}                who is it, what does she owe
    GET  /customers/Ada      the same
    POST /invoices           {"customer": "Ada", "amount": 120} sends one invoice
    GET  /invoices/by-key/K  was there an invoice with this Idempotency-Key?
    GET  /ledger             what was sent, counted

POST /invoices writes the ledger first and answers later.  It does not de-duplicate:
whoever posts twice has sent two invoices, whatever key stood on them.  The ledger
is a file with one JSON line per invoice, and it is the judge of the demo.
"""
import argparse
import json
import os
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

CUSTOMERS = {
    "Ada": {"email": "ada@example.com", "amount": 120},
    "Grace": {"email": "grace@example.com", "amount": 85},
    "Alan": {"email": "alan@example.com", "amount": 240},
    "Edsger": {"email": "edsger@example.com", "amount": 64},
    "Barbara": {"email": "barbara@example.com", "amount": 310},
    "Donald": {"email": "donald@example.com", "amount": 99},
    "Margaret": {"email": "margaret@example.com", "amount": 175},
    "Niklaus": {"email": "niklaus@example.com", "amount": 42},
}


class Ledger:
    """The invoices that were sent: appended to a file, synced before anybody hears of it."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.file = open(path, "a+", encoding="utf-8")
        self.file.seek(0)
        self.entries = [json.loads(line) for line in self.file]
        self.answered = {entry["invoice"] for entry in self.entries}

    def append(self, key, customer, amount):
        with self.lock:
            entry = {
                "invoice": f"INV-{len(self.entries) + 1:04d}",
                "customer": customer,
                "amount": amount,
                "key": key,
                "at": time.time(),
            }
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.entries.append(entry)
            return entry

    def answer_sent(self, entry):
        with self.lock:
            self.answered.add(entry["invoice"])

    def by_key(self, key):
        with self.lock:
            return next((e for e in self.entries if e["key"] == key), None)

    def report(self):
        with self.lock:
            by_customer = Counter(e["customer"] for e in self.entries)
            by_key = Counter(e["key"] for e in self.entries)
            return {
                "sent": len(self.entries),
                "duplicates": sum(n - 1 for n in by_customer.values()),
                "by_customer": dict(by_customer),
                "by_key": dict(by_key),
                "entries": [{**e, "answered": e["invoice"] in self.answered} for e in self.entries],
            }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def send_json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def key(self):
        """The Idempotency-Key: a quoted string by the draft standard, bare with many services."""
        return self.headers.get("Idempotency-Key", "").strip('"')

    def do_GET(self):
        ledger = self.server.ledger
        if self.path == "/ledger":
            self.send_json(200, ledger.report())
        elif self.path.startswith("/customers/"):
            self.lookup(unquote(self.path.removeprefix("/customers/")))
        elif self.path.startswith("/invoices/by-key/"):
            entry = ledger.by_key(unquote(self.path.removeprefix("/invoices/by-key/")).strip('"'))
            if entry:
                self.send_json(200, {"happened": True, "result": self.receipt(entry)})
            else:
                self.send_json(404, {"happened": False})
        else:
            self.send_json(404, {"error": "no such page"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            request = json.loads(body)
        except ValueError:
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("customer"), str):
            self.send_json(400, {"error": 'the body must be a JSON object with "customer"'})
        elif self.path == "/customers/lookup":
            time.sleep(self.server.lookup_delay)
            self.lookup(request["customer"])
        elif self.path == "/invoices":
            self.send_invoice(request)
        else:
            self.send_json(404, {"error": "no such page"})

    def lookup(self, name):
        found = CUSTOMERS.get(name)
        if found:
            self.send_json(200, {"customer": name, **found})
        else:
            self.send_json(404, {"error": f"there is no customer {name}"})

    @staticmethod
    def receipt(entry):
        return {k: entry[k] for k in ("invoice", "customer", "amount")}

    def send_invoice(self, request):
        if request["customer"] not in CUSTOMERS or not isinstance(request.get("amount"), (int, float)):
            self.send_json(422, {"error": "a known customer and an amount are needed"})
            return
        entry = self.server.ledger.append(self.key(), request["customer"], request["amount"])
        time.sleep(self.server.delay)  # the invoice is out; the answer takes its time
        try:
            self.send_json(201, self.receipt(entry))
        except OSError:  # the caller is gone and will never hear of this invoice
            self.close_connection = True
            return
        self.server.ledger.answer_sent(entry)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address, ledger, delay, lookup_delay):
        super().__init__(address, Handler)
        self.ledger = ledger
        self.delay = delay
        self.lookup_delay = lookup_delay


def main():
    parser = argparse.ArgumentParser(description="A small invoice service with a ledger.")
    parser.add_argument("--listen", default="127.0.0.1:8082", metavar="HOST:PORT", help="port 0: any free port")
    parser.add_argument("--ledger", default="ledger.jsonl", metavar="FILE", help="default: ledger.jsonl")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="from the ledger to the answer")
    parser.add_argument("--lookup-delay", type=float, default=0.0, metavar="SECONDS", help="of a customer look-up")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    ledger = Ledger(options.ledger)
    server = Server((host, int(port)), ledger, options.delay, options.lookup_delay)
    print(f"invoices: http://{host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
