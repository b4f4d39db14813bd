#!/usr/bin/env python3
"""Asks for a run with the CloudEvents SDK for Python, over Kafka.

    pip install 'cloudevents>=2' confluent-kafka
    ./cloudevents_request.py --bootstrap 127.0.0.1:9092 --agent billing --input "Bill Ada."

The event's source and id are the request's own key: sent again, it is the same run.
"""
import argparse
import uuid

from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

parser = argparse.ArgumentParser(description="Asks for a run of an agent, as a CloudEvent.")
parser.add_argument("--bootstrap", default="127.0.0.1:9092", metavar="HOST:PORT")
parser.add_argument("--topic", default="pawl.run-requests")
parser.add_argument("--agent", required=True)
parser.add_argument("--input", required=True)
parser.add_argument("--id", default=str(uuid.uuid4()), help="of the request (default: a new one)")
parser.add_argument("--structured", action="store_true", help="the whole event as JSON, not in headers")
options = parser.parse_args()

attributes = {
    "type": "dev.pawl.run.requested.v1",
    "source": "/examples/requests",
    "id": options.id,
    "specversion": "1.0",
    "datacontenttype": "application/json",
}
event = CloudEvent(attributes, {"agent": options.agent, "input": options.input})
message = to_structured_event(event) if options.structured else to_binary_event(event)

# murmur2: the same key goes to the same partition as with the Java client
producer = Producer({"bootstrap.servers": options.bootstrap, "partitioner": "murmur2_random"})
producer.produce(options.topic, message.value, key=options.id, headers=list(message.headers.items()))
if producer.flush(30):
    raise SystemExit("Kafka has not taken the request")
print("requested:", options.id)
