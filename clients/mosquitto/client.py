"""The driver for mosquitto_pub and mosquitto_sub. Its command line and its lines are described in
clients/README.md. The programs' own -d shows what passes; here it is said in our words."""

import argparse
import re
import subprocess
import sys
import threading
import time

# Sessions of MQTT 5 end with their connection unless they are told how long to live.
SESSION_SECONDS = 3600


def say(*words):
    print(*words, flush=True)


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["publish", "subscribe"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", required=True)
    parser.add_argument("--level", type=int, choices=[4, 5], required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--user")
    parser.add_argument("--password-file")
    parser.add_argument("--cafile")
    parser.add_argument("--keepalive", default="60")
    parser.add_argument("--topic")
    parser.add_argument("--from", dest="first", type=int)
    parser.add_argument("--to", dest="last", type=int)
    parser.add_argument("--pace", type=int, default=0)
    parser.add_argument("--filter", action="append")
    parser.add_argument("--qos", default="1")
    parser.add_argument("--clean", action="store_true")
    return parser.parse_args()


def program(opts):
    name = {"publish": "mosquitto_pub", "subscribe": "mosquitto_sub"}[opts.command]
    # It ends with this process, however that ends; and it says things when they happen.
    line = ["setpriv", "--pdeathsig", "KILL", "stdbuf", "-oL", name, "-d"]
    line += ["-h", opts.host, "-p", opts.port, "-i", opts.id, "-k", opts.keepalive]
    line += ["-V", {4: "mqttv311", 5: "mqttv5"}[opts.level]]
    if opts.user:
        with open(opts.password_file, encoding="utf-8") as file:
            line += ["-u", opts.user, "-P", file.readline().rstrip("\n")]
    if opts.cafile:
        line += ["--cafile", opts.cafile]
    if not opts.clean:
        line += ["-c"]
        if opts.level == 5:
            line += ["-x", str(SESSION_SECONDS)]
    if opts.command == "publish":
        line += ["-q", "1", "-t", opts.topic, "-l"]
    else:
        line += ["-q", opts.qos, "-F", "message %t retained=%r %x"]
        for name in opts.filter:
            line += ["-t", name]
    return subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def feed(opts, numbers):
    for number in range(opts.first, opts.last + 1):
        numbers.write(f"{number}\n")
        numbers.flush()
        time.sleep(opts.pace / 1000)
    numbers.close()


def translate(opts, lines):
    connected = False
    for line in lines:
        if line.startswith("message "):
            say(line.rstrip("\n"))
        elif found := re.search(r" received CONNACK \((\d+)\)", line):
            if found[1] != "0":
                say("refused", found[1])
                sys.exit(1)
            say("connected session_present=?")
            connected = True
        elif " sending CONNECT" in line and connected:
            say("disconnected")
            connected = False
        elif found := re.match(r"Subscribed \(mid: \d+\): (.*)", line):
            say("subscribed", *found[1].split(", "))
        elif found := re.search(r" received PUBACK \(Mid: (\d+), RC:(\d+)\)", line):
            # Message ids count up from 1, as the numbers do from the first.
            number = opts.first - 1 + int(found[1])
            say(f"acked {number}" + ("" if found[2] == "0" else f" reason={found[2]}"))


def main():
    opts = options()
    runs = program(opts)
    if opts.command == "publish":
        threading.Thread(target=feed, args=(opts, runs.stdin), daemon=True).start()
    translate(opts, runs.stdout)


if __name__ == "__main__":
    main()
