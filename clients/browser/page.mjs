// The live page as people meet it, in Debian's Chromium: `node page.mjs URL FOLDER`. What is to happen at the
// site it asks for on standard output, a line each, and goes on:
//   take VALUE        a reading of sensor 1 with this temperature
//   late VALUE AGE    one that was taken AGE milliseconds ago
//   kill store        the supervisor starts it again
// The last line is a summary as JSON. Screenshots are left in FOLDER.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [url, folder] = process.argv.slice(2);
const AXE = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
const DESKTOP = { width: 1400, height: 1000 };
const PATIENCE = 20_000;
const PHONE = { width: 390, height: 844 };

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: DESKTOP, colorScheme: "light" });
// The page's own policy forbids foreign scripts; this one comes before it.
await context.addInitScript(AXE);
const page = await context.newPage();
const errors = [];
page.on("console", (message) => { if (["error", "warning"].includes(message.type())) errors.push(message.text()); });
page.on("pageerror", (error) => errors.push(error.message));

const ask = (line) => process.stdout.write(`${line}\n`);
const summary = {};

// The temperatures that the chart draws, as [time, mean].
const drawn = () => page.evaluate(() => {
  const chart = echarts.getInstanceByDom(document.querySelector(".chart"));
  return chart.getOption().series.find((series) => series.name === "temperature").data.map((point) => point.value);
});
async function until(what, test) {
  const end = Date.now() + PATIENCE;
  while (!(await test())) {
    assert(Date.now() < end, `not within ${PATIENCE} ms: ${what}`);
    await page.waitForTimeout(20);
  }
}
const text = (selector) => page.evaluate((selector) => document.querySelector(selector)?.textContent ?? "", selector);
const says = (selector, words) => until(`${selector} says ${words}`, async () => (await text(selector)).includes(words));
const inTable = (value) => says("#sensor-rows", `temperature ${value} `);
const inChart = (what, test) => until(`the chart has ${what}`, async () => (await drawn()).some(test));

async function accessible(what) {
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter((found) => ["serious", "critical"].includes(found.impact));
  assert.deepEqual(serious.map((found) => `${found.id}: ${found.nodes.map((node) => node.html)}`), [], what);
}

// A reading is there before anybody looks: then the page has a chart at once.
ask("take 20.5");
await page.goto(url);
await inTable("20.5");
await says("#sensor-rows", "boiler, hall 2");
await says("#chart-sensor", "sensor 1, boiler, hall 2: climate");
// By the page's own clock, which begins when it is asked for.
async function charted() {
  await page.waitForSelector(".chart canvas");
  return page.evaluate(() => Math.round(performance.now()));
}
summary.chart_after_ms = await charted();

// Again on a warm browser, as one comes back to a page.
await page.reload();
summary.chart_after_reload_ms = await charted();
assert.equal(await page.textContent("#stream"), "live");

// A reading shows within a second of its being sent; the best of five, for the machine may be busy.
const delays = [];
for (const value of [21.25, 21.5, 21.75, 22.25, 22.5]) {
  const sent = Date.now();
  ask(`take ${value}`);
  await inTable(value);
  delays.push(Date.now() - sent);
}
summary.shown_after_ms = delays;
assert(Math.min(...delays) <= 1000, `readings show after ${delays} ms`);

// Late data goes where it belongs: the chart has it in its past.
const late = Date.now() - 120_000;
ask("late 25.75 120000");
await inChart("the late reading in its past", ([time, mean]) => mean === 25.75 && Math.abs(time - late) < 5000);

// The ledger agrees.
await says("#verdict", "balanced");
const lights = () => page.$$eval("#pipeline .light", (all) => all.map((one) => one.dataset.state));
await until("every role has a green light", async () => (await lights()).every((state) => state === "good"));

// An alarm comes and goes.
ask("take 95");
await says("#alarms", "temperature 95 is above 80");
await page.screenshot({ path: `${folder}/light.png`, fullPage: true });
await accessible("in light, with an alarm");
ask("take 21");
await says("#alarm-count", "none active");

// Zooming out asks for buckets, by the keyboard alone. Every control can be reached by it.
const reached = new Set();
const controls = await page.$$eval("a, button, input", (all) => all.filter((one) => one.offsetParent !== null).length);
const steps = [];
page.on("request", (request) => {
  const { pathname, searchParams } = new URL(request.url());
  if (pathname.endsWith("/series")) steps.push(searchParams.get("step"));
});
await page.evaluate(() => document.activeElement?.blur());
for (let count = 0; count < controls + 3; count += 1) {
  await page.keyboard.press("Tab");
  const name = await page.evaluate(() => {
    const one = document.activeElement;
    return one === document.body ? null : `${one.tagName} ${one.id || one.textContent}`;
  });
  if (name === null) break;
  reached.add(name);
  if (name === "BUTTON 6 h") await page.keyboard.press("Enter");
}
assert(reached.size >= controls, `${controls} controls, reached by Tab: ${[...reached]}`);
assert.equal(await text("#ranges [aria-pressed=true]"), "6 h");
await inChart("something in 6 h", ([, mean]) => mean !== null);
assert(steps.includes("1m"), `6 h are asked for in steps of ${steps}`);
summary.buckets_drawn = (await drawn()).length;

// Dark, and on a phone: nothing is wider than the screen.
await page.click("#theme");
await page.click("#theme");
assert.equal(await page.getAttribute("html", "data-theme"), "dark");
await accessible("in dark");
await page.screenshot({ path: `${folder}/dark.png`, fullPage: true });
await page.setViewportSize(PHONE);
await until("nothing is wider than a phone", () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
await accessible("on a phone");
await page.screenshot({ path: `${folder}/phone.png`, fullPage: true });
assert.deepEqual(errors, [], "the console has no errors");

// The store is killed: the page says so, comes back by itself, and misses nothing.
await page.setViewportSize(DESKTOP);
ask("kill store");
await until("the page says that the stream has ended", async () => (await text("#stream")) !== "live");
await says("#verdict", "unknown");
await page.screenshot({ path: `${folder}/store-killed.png` });
ask("take 19.25");
await inTable(19.25);
await says("#stream", "live");
await says("#verdict", "balanced");

await browser.close();
console.log(JSON.stringify(summary));
