#!/usr/bin/env python3
"""A tool for an agent: one HTTP endpoint that answers the weather of a city.

    ./weather.py --listen 127.0.0.1:8090

The arguments of the call come as a JSON object, {"city": "Paris"}; what is
answered is what the model reads.
"""
import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SKIES = ["clear", "cloudy", "light rain", "windy"]


class Weather(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        city = arguments["city"]
        sky = SKIES[sum(city.encode()) % len(SKIES)]
        degrees = sum(city.encode()) % 25 + 3
        body = json.dumps({"city": city, "sky": sky, "celsius": degrees}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tells the weather, always the same one.")
    parser.add_argument("--listen", default="127.0.0.1:8090", metavar="HOST:PORT")
    host, _, port = parser.parse_args().listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Weather)
    print(f"weather: http://{host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
