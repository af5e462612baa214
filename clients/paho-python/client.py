"""The driver for paho-mqtt. Its command line and its lines are described in clients/README.md."""

import argparse
import os
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# Sessions of MQTT 5 end with their connection unless they are told how long to live.
SESSION_SECONDS = 3600
# Numbers sent and not yet acknowledged.
WINDOW = 100


def say(*words):
    print(*words, flush=True)


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["publish", "subscribe"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--level", type=int, choices=[4, 5], required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--user")
    parser.add_argument("--password-file")
    parser.add_argument("--cafile")
    parser.add_argument("--keepalive", type=int, default=60)
    parser.add_argument("--topic")
    parser.add_argument("--from", dest="first", type=int)
    parser.add_argument("--to", dest="last", type=int)
    parser.add_argument("--pace", type=int, default=0)
    parser.add_argument("--filter", action="append")
    parser.add_argument("--qos", type=int, default=1)
    parser.add_argument("--clean", action="store_true")
    return parser.parse_args()


def client_of(opts):
    arguments = {} if opts.level == 5 else {"clean_session": opts.clean}
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=opts.id, protocol=opts.level, **arguments
    )
    if opts.user:
        with open(opts.password_file, encoding="utf-8") as file:
            client.username_pw_set(opts.user, file.readline().rstrip("\n"))
    if opts.cafile:
        client.tls_set(opts.cafile)
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    return client


def connect(client, opts):
    arguments = {}
    if opts.level == 5:
        arguments["clean_start"] = opts.clean
        if not opts.clean:
            arguments["properties"] = Properties(PacketTypes.CONNECT)
            arguments["properties"].SessionExpiryInterval = SESSION_SECONDS
    client.connect(opts.host, opts.port, opts.keepalive, **arguments)


def on_connect(client, opts, flags, reason, properties):
    if reason.is_failure:
        say("refused", reason.value)
        # Else the library would try again for ever.
        os._exit(1)
    say(f"connected session_present={int(flags.session_present)}")
    if opts.command == "subscribe":
        client.subscribe([(name, opts.qos) for name in opts.filter])


def on_disconnect(client, opts, flags, reason, properties):
    say("disconnected")


def publish(client, opts):
    number_of = {}
    changed = threading.Condition()

    def on_publish(client, opts, mid, reason, properties):
        with changed:
            # The answer may come before publish() has told the id.
            changed.wait_for(lambda: mid in number_of)
            number = number_of.pop(mid)
            changed.notify_all()
        code = "" if reason.value == 0 else f" reason={reason.value}"
        say(f"acked {number}{code}")

    client.on_publish = on_publish
    connect(client, opts)
    client.loop_start()
    for number in range(opts.first, opts.last + 1):
        with changed:
            changed.wait_for(lambda: len(number_of) < WINDOW)
        sent = client.publish(opts.topic, str(number), qos=1)
        with changed:
            number_of[sent.mid] = number
            changed.notify_all()
        time.sleep(opts.pace / 1000)
    with changed:
        changed.wait_for(lambda: not number_of)
    client.disconnect()
    client.loop_stop()


def subscribe(client, opts):
    def on_subscribe(client, opts, mid, reasons, properties):
        say("subscribed", *(reason.value for reason in reasons))

    def on_message(client, opts, message):
        say(f"message {message.topic} retained={int(message.retain)} {message.payload.hex()}")

    client.on_subscribe = on_subscribe
    client.on_message = on_message
    connect(client, opts)
    client.loop_forever()


def main():
    opts = options()
    client = client_of(opts)
    client.user_data_set(opts)
    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    {"publish": publish, "subscribe": subscribe}[opts.command](client, opts)


if __name__ == "__main__":
    main()
