// The driver for mqtt.js. Its command line and its lines are described in clients/README.md.

import { readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import mqtt from "mqtt";

// Sessions of MQTT 5 end with their connection unless they are told how long to live.
const SESSION_SECONDS = 3600;
// Numbers sent and not yet acknowledged.
const WINDOW = 100;

const { positionals: [command], values: options } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    level: { type: "string" },
    id: { type: "string" },
    user: { type: "string" },
    "password-file": { type: "string" },
    cafile: { type: "string" },
    keepalive: { type: "string", default: "60" },
    topic: { type: "string" },
    from: { type: "string" },
    to: { type: "string" },
    pace: { type: "string", default: "0" },
    filter: { type: "string", multiple: true },
    qos: { type: "string", default: "1" },
    clean: { type: "boolean", default: false },
  },
});

function say(...words) {
  // Not console.log: a line is out when this returns, whatever happens to the process then.
  writeSync(1, `${words.join(" ")}\n`);
}

function connect() {
  const level = Number(options.level);
  const client = mqtt.connect({
    protocol: options.cafile ? "mqtts" : "mqtt",
    host: options.host,
    port: Number(options.port),
    protocolVersion: level,
    clientId: options.id,
    username: options.user,
    password: options.user && readFileSync(options["password-file"], "utf8").split("\n")[0],
    ca: options.cafile && readFileSync(options.cafile),
    keepalive: Number(options.keepalive),
    clean: options.clean,
    properties: level === 5 && !options.clean ? { sessionExpiryInterval: SESSION_SECONDS } : undefined,
    reconnectPeriod: 500,
    resubscribe: false,
  });
  // Not the event "connect", which comes after what the library then sends again.
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "connack" && !(packet.returnCode || packet.reasonCode)) {
      say(`connected session_present=${Number(packet.sessionPresent)}`);
    }
  });
  client.on("close", () => say("disconnected"));
  client.on("error", (error) => {
    // Errors of the network have names as codes; they are the library's to get over.
    if (typeof error.code !== "number") return;
    say("refused", error.code);
    process.exit(1);
  });
  return client;
}

async function publish(client) {
  const unacked = new Set();
  for (let number = Number(options.from); number <= Number(options.to); number += 1) {
    const acked = new Promise((resolve) => {
      client.publish(options.topic, String(number), { qos: 1 }, (error) => {
        say(`acked ${number}${error ? ` reason=${error.code}` : ""}`);
        resolve();
      });
    });
    unacked.add(acked);
    acked.then(() => unacked.delete(acked));
    if (unacked.size >= WINDOW) await Promise.race(unacked);
    if (options.pace !== "0") await new Promise((resolve) => setTimeout(resolve, Number(options.pace)));
  }
  await Promise.all(unacked);
  await client.endAsync();
}

function subscribe(client) {
  const filters = Object.fromEntries(options.filter.map((filter) => [filter, { qos: Number(options.qos) }]));
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "suback") say("subscribed", ...packet.granted);
  });
  client.on("connect", () => client.subscribe(filters, () => {}));
  client.on("message", (topic, payload, packet) => {
    say(`message ${topic} retained=${Number(packet.retain)} ${payload.toString("hex")}`);
  });
}

await { publish, subscribe }[command](connect());
