// The page: what is stored, and the account of it. Everything it shows comes from the API; it adds nothing up
// itself. Readings that arrive say which part of a chart is out of date, and that part is fetched again: so a
// chart is right also when readings arrive late.

import { api, listen, setToken } from "/page/api.js";
import { Chart } from "/page/chart.js";

const LEDGER_EVERY = 1000;
const PRESENT_EVERY = 2000;
const MISSING_EVERY = 5000;
const DRAW_EVERY = 250;
const MOST_ROWS = 500;

const by = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en-GB");

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// What stays as it is costs the browser nothing.
function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

function light(node, state, words) {
  if (node.dataset.state !== state) node.dataset.state = state;
  say(node, words);
}

// Sensors: their newest readings.

const sensors = new Map(); // id → { reading, profile, row }
let profiles = {};
let selected = null;
let dirty = new Set();
let counted = 0;

const QUALITY = { good: "good", uncertain: "doubt", bad: "bad" };

function newer(one, other) {
  return !other || one.stream > other.stream || (one.stream === other.stream && one.seq > other.seq);
}

function see(reading) {
  let sensor = sensors.get(reading.sensor);
  if (!sensor) {
    sensor = { reading: null, row: null };
    sensors.set(reading.sensor, sensor);
  }
  // What is not newer shows in the chart, not in the present.
  if (newer(reading, sensor.reading)) {
    sensor.reading = reading;
    sensor.profile = reading.profile ?? sensor.profile;
    sensor.name = reading.name ?? sensor.name;
    if (reading.flags) sensor.isSynced = reading.flags.includes("clock-synced");
    dirty.add(reading.sensor);
  }
}

function age(reading) {
  const seconds = Math.max(0, (Date.now() - Date.parse(reading.received)) / 1000);
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

function shown(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(3);
  // Five digits, which is what people read; of a counter none that stands before the point is left out.
  const digits = Math.max(5, Math.trunc(size).toString().length);
  return String(+value.toPrecision(digits));
}

function makeRow(id) {
  const row = document.createElement("tr");
  const name = document.createElement("td");
  const choose = element("button", String(id), { type: "button", "aria-pressed": "false", "aria-label": `Sensor ${id}: show its history` });
  choose.addEventListener("click", () => select(id));
  name.append(choose, element("small"));
  row.append(name, document.createElement("td"), document.createElement("td"), document.createElement("td"));
  row.cells[1].append(element("span", "", { class: "light" }), element("small"));
  return row;
}

function fillRow(id, sensor) {
  const { reading, row } = sensor;
  say(row.cells[0].lastChild, sensor.name ?? "");
  light(row.cells[1].firstChild, QUALITY[reading.quality], reading.quality);
  const reason = reading.quality === "uncertain" && !sensor.isSynced ? "clock not synchronised" : "";
  say(row.cells[1].lastChild, reason);
  const quantities = profiles[sensor.profile] ?? Object.keys(reading.values).map((name) => ({ name, unit: "" }));
  const values = quantities.map(({ name, unit }) => {
    const span = element("span", `${name} ${shown(reading.values[name] ?? null)} `, { class: "value" });
    span.append(element("small", unit));
    return span;
  });
  row.cells[3].replaceChildren(...values);
}

function isShown(id, sensor) {
  const text = by("filter").value.trim().toLowerCase();
  return !text || String(id) === text || [sensor.name, sensor.profile].some((words) => words?.toLowerCase().includes(text));
}

function layRows() {
  const ids = [...sensors.keys()].sort((one, other) => one - other).filter((id) => isShown(id, sensors.get(id)));
  const rows = ids.slice(0, MOST_ROWS).map((id) => {
    const sensor = sensors.get(id);
    if (!sensor.row) {
      sensor.row = makeRow(id);
      dirty.add(id);
    }
    return sensor.row;
  });
  by("sensor-rows").replaceChildren(...rows);
  by("sensor-count").textContent =
    ids.length > MOST_ROWS ? `${MOST_ROWS} of ${number.format(ids.length)} shown: filter` : number.format(ids.length);
}

function drawSensors() {
  const fresh = [...dirty].some((id) => !sensors.get(id).row);
  if (fresh) layRows();
  for (const id of dirty) if (sensors.get(id).row) fillRow(id, sensors.get(id));
  dirty = new Set();
  for (const sensor of sensors.values()) {
    if (sensor.row?.isConnected) {
      say(sensor.row.cells[2], age(sensor.reading));
    }
  }
  if (selected === null && sensors.size > 0) select(Math.min(...sensors.keys()));
}

async function loadSensors() {
  let cursor = "";
  do {
    const page = await api(`/readings/latest?limit=1000${cursor}`);
    profiles = { ...profiles, ...page.profiles };
    // What has no dimension has the unit 1, which nobody says.
    for (const quantity of Object.values(page.profiles).flat()) if (quantity.unit === "1") quantity.unit = "";
    page.readings.forEach(see);
    cursor = page.next_cursor ? `&cursor=${encodeURIComponent(page.next_cursor)}` : "";
  } while (cursor);
  drawSensors();
}

// The chart of one sensor.

const chart = new Chart(by("charts"), by("ranges"), by("span"));

function select(id) {
  if (selected !== null) sensors.get(selected)?.row?.querySelector("button").setAttribute("aria-pressed", "false");
  selected = id;
  sensors.get(id).row?.querySelector("button").setAttribute("aria-pressed", "true");
  const { name, profile } = sensors.get(id);
  by("chart-sensor").textContent = `sensor ${id}${name ? `, ${name}` : ""}: ${profile}`;
  chart.show(id, profiles[profile] ?? []);
}

by("earlier").addEventListener("click", () => chart.move(-1));
by("later").addEventListener("click", () => chart.move(1));
by("now").addEventListener("click", () => chart.live());
chart.onLive = (live) => by("now").setAttribute("aria-pressed", String(live));

// The ledger as a picture.

const STEPS = [
  ["sensors", null, "sensors"],
  ["broker", "broker", "journal"],
  ["verify", "verify", "verify"],
  ["transform", "transform", "transform"],
  ["store", "store", "store"],
  ["alert", "alert", "alert"],
  ["modbus", "modbus", "modbus"],
];

const steps = new Map();
for (const [key, role, name] of STEPS) {
  const item = document.createElement("li");
  item.append(element("span", name, { class: "light", "data-state": role ? "unknown" : "good" }), element("small"));
  by("pipeline").append(item);
  steps.set(key, item);
}

function note(key, words) {
  say(steps.get(key).lastChild, words);
}

const VERDICTS = { balanced: "good", unknown: "doubt", unbalanced: "bad" };
const KINDS = ["accepted", "stored", "in_flight", "quarantined", "duplicate", "lost"];

function drawLedger(ledger) {
  const { readings, verdict } = ledger;
  light(by("verdict"), VERDICTS[verdict], verdict);
  by("accounts").replaceChildren(
    ...KINDS.map((kind, at) => {
      const line = document.createElement("div");
      const sign = at === 0 ? "" : at === 1 ? "= " : "+ ";
      line.append(element("dt", `${sign}${kind.replace("_", " ")}`), element("dd", number.format(readings[kind])));
      return line;
    }),
  );
  const held = ledger.journals.reduce((sum, journal) => sum + journal.bytes, 0);
  note("broker", `${number.format(readings.accepted)} accepted, ${(held / 1048576).toFixed(1)} MiB held`);
  note("store", `${number.format(readings.stored)} stored`);
  note("verify", readings.quarantined ? `${number.format(readings.quarantined)} quarantined` : "");
  note("transform", `${number.format(readings.in_flight)} in flight`);
}

function drawRoles(roles) {
  for (const [key, role] of STEPS) {
    if (!role) continue;
    const said = roles.filter((one) => one.role === role);
    const online = said.length > 0 && said.every((one) => one.state === "online");
    const item = steps.get(key);
    light(item.firstChild, online ? "good" : "bad", item.firstChild.textContent);
    item.title = online ? `${role} is online` : `${role} is offline`;
  }
}

function drawAlarms(alarms) {
  const active = alarms.filter((alarm) => alarm.active);
  by("alarm-count").textContent = active.length ? `${active.length} active` : "none active";
  const words = active.map(
    (alarm) =>
      `sensor ${alarm.sensor}: ${alarm.quantity} ${shown(alarm.value)} is ${alarm.side === "high" ? "above" : "below"} ` +
      `${shown(alarm.limit)} (${alarm.rule}) since ${new Date(alarm.time).toLocaleTimeString()}`,
  );
  const list = by("alarms");
  if (list.dataset.words === words.join("\n")) return;
  list.dataset.words = words.join("\n");
  list.replaceChildren(...words.map((text) => {
    const item = document.createElement("li");
    item.append(element("span", text, { class: "light", "data-state": "bad" }));
    return item;
  }));
  note("alert", active.length ? `${active.length} alarms` : "");
}

function drawMissing(gaps, quarantine) {
  const gapWords = gaps.map(
    (gap) => `sensor ${gap.sensor}: ${number.format(gap.last_seq - gap.first_seq + 1)} readings, ${gap.kind}` +
      (gap.after ? `, after ${new Date(gap.after).toLocaleString()}` : ""),
  );
  const entryWords = quarantine.map(
    (entry) => `${new Date(entry.received).toLocaleString()}: ${entry.reason}` +
      (entry.sensor === undefined ? "" : `, says it is of sensor ${entry.sensor}`) + `, ${entry.length} bytes`,
  );
  const fill = (id, words, none) => by(id).replaceChildren(...(words.length ? words : [none]).map((text) => element("li", text)));
  fill("gaps", gapWords, "no reading is missing");
  fill("quarantine", entryWords, "nothing had to be put aside");
}

// Of the stream: what it said last, as long as the store answers.
let stream = ["unknown", "connecting"];

function rolesAreUnknown() {
  for (const [key, role] of STEPS) if (role) light(steps.get(key).firstChild, "unknown", steps.get(key).firstChild.textContent);
}

// What was known may not be so any more.
function storeIsAway(why) {
  light(by("stream"), "bad", why);
  light(by("verdict"), "doubt", `unknown: ${why}`);
  light(by("canary"), "bad", `not known to be ready: ${why}`);
  rolesAreUnknown();
  light(steps.get("store").firstChild, "bad", "store");
}

// First, because the chart waits for it; and again when the stream has begun, to miss nothing.
loadSensors().catch(() => {});

// What is asked for again and again. A request that fails says so by the light of what it was about.

function every(pause, ask) {
  const round = async () => {
    if (!document.hidden) await ask().catch(() => {});
    setTimeout(round, pause);
  };
  round();
}

every(LEDGER_EVERY, async () => {
  try {
    drawLedger(await api("/ledger"));
    light(by("stream"), ...stream);
  } catch (error) {
    storeIsAway(error.status === 401 ? "a token is needed" : "the store does not answer");
    throw error;
  }
});

// Markers travel the way of the readings: as long as they come through, so do readings.
every(LEDGER_EVERY, async () => {
  try {
    const ready = await api("/health/ready");
    const age = (ready.marker_age_ms / 1000).toFixed(1);
    const there = ready.marker_round_trip_ms === undefined ? "" : `, the last in ${ready.marker_round_trip_ms.toFixed(1)} ms there and back`;
    light(by("canary"), "good", `ready: a marker came through ${age} s ago${there}`);
  } catch (error) {
    light(by("canary"), "bad", `not ready: ${error.detail ?? "the store does not answer"}`);
    throw error;
  }
});

every(PRESENT_EVERY, async () => {
  try {
    const [roles, alarms] = await Promise.all([api("/roles"), api("/alarms")]);
    drawRoles(roles.roles);
    drawAlarms(alarms.alarms);
  } catch (error) {
    rolesAreUnknown();
    by("alarm-count").textContent = "not known: the bus is away";
    throw error;
  }
});

every(MISSING_EVERY, async () => {
  const [gaps, quarantine] = await Promise.all([api("/gaps?limit=10"), api("/quarantine?limit=10")]);
  drawMissing(gaps.gaps, quarantine.entries);
});

setInterval(drawSensors, DRAW_EVERY);
setInterval(() => {
  by("rate").textContent = `${number.format(counted)} readings/s`;
  counted = 0;
}, 1000);

listen({
  onState: (state, words) => {
    stream = [state, words];
    if (state === "bad") storeIsAway(words);
    light(by("stream"), ...stream);
  },
  onBegin: loadSensors,
  onReadings: (readings) => {
    counted += readings.length;
    let changed = null;
    for (const reading of readings) {
      see(reading);
      if (reading.sensor === selected) {
        const time = Date.parse(reading.time);
        changed = changed ? [Math.min(changed[0], time), Math.max(changed[1], time)] : [time, time];
      }
    }
    if (changed) chart.changed(changed);
    if (readings.some((reading) => !sensors.get(reading.sensor).profile)) loadSensors().catch(() => {});
  },
  onDiscarded: () => {
    loadSensors().catch(() => {});
    chart.reload();
  },
  onRefused: () => { by("login").hidden = false; by("token").focus(); },
});

by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(by("token").value.trim());
  by("login").hidden = true;
});

by("filter").addEventListener("input", layRows);

// Light and dark: as the system has it, unless told.

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  by("theme").textContent = `Theme: ${theme}`;
  localStorage.setItem("theme", theme);
  chart.recolour();
}
by("theme").addEventListener("click", () => {
  const at = THEMES.indexOf(localStorage.getItem("theme") ?? "system");
  setTheme(THEMES[(at + 1) % THEMES.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.recolour());
setTheme(THEMES.find((theme) => theme === localStorage.getItem("theme")) ?? "system");
