// The history of one sensor: a chart for each quantity, of buckets that the store has summed up. What has
// changed since is fetched again and put in place; so the page never adds anything up itself.

import { api } from "/page/api.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const RANGES = [["5 min", 5 * MINUTE], ["30 min", 30 * MINUTE], ["6 h", 6 * HOUR], ["1 d", DAY], ["7 d", 7 * DAY], ["30 d", 30 * DAY], ["1 y", 365 * DAY]];
const STEPS = [["1s", 1000], ["2s", 2000], ["5s", 5000], ["10s", 10_000], ["30s", 30_000], ["1m", MINUTE], ["5m", 5 * MINUTE], ["15m", 15 * MINUTE], ["1h", HOUR], ["3h", 3 * HOUR], ["12h", 12 * HOUR], ["1d", DAY], ["2d", 2 * DAY]];
const BUCKETS = 400;
const FETCH_EVERY = 500;

// It is large: asked for by the page's head, and read while the first readings are under way.
const library = new Promise((loaded, failed) => {
  const script = document.createElement("script");
  script.src = "/page/echarts.js";
  script.addEventListener("load", () => loaded(globalThis.echarts));
  script.addEventListener("error", failed);
  document.head.append(script);
});
const frame = () => new Promise(requestAnimationFrame);
const iso = (time) => new Date(time).toISOString();

export class Chart {
  constructor(place, ranges, span) {
    this.place = place;
    this.span = span;
    this.width = RANGES[0][1];
    this.end = null; // null: now
    this.sensor = null;
    this.quantities = [];
    this.buckets = new Map(); // begin → values
    this.gaps = [];
    this.stale = null; // what is to be fetched again
    this.charts = []; // each with the place it is drawn in
    this.onLive = () => {};
    this.buttons = RANGES.map(([name, width]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => this.zoom(width));
      ranges.append(button);
      return [button, width];
    });
    new ResizeObserver(() => this.charts.forEach(({ drawn }) => drawn?.resize())).observe(place);
    this.round();
  }

  /** Shows a sensor. */
  show(sensor, quantities) {
    this.sensor = sensor;
    this.quantities = quantities;
    this.charts.forEach(({ drawn }) => drawn?.dispose());
    this.charts = quantities.map((quantity) => {
      const div = document.createElement("div");
      div.className = "chart";
      div.setAttribute("role", "img");
      div.setAttribute("aria-label", `${quantity.name} of sensor ${sensor} over time; the numbers are in the table of sensors`);
      return { div, drawn: null };
    });
    this.place.replaceChildren(...this.charts.map(({ div }) => div));
    this.reload();
  }

  zoom(width) {
    this.width = width;
    this.reload();
  }

  /** Half a width earlier or later. */
  move(direction) {
    const end = (this.end ?? Date.now()) + (direction * this.width) / 2;
    this.end = end >= Date.now() ? null : end;
    this.reload();
  }

  live() {
    this.end = null;
    this.reload();
  }

  /** Readings between these times have arrived. */
  changed([from, to]) {
    this.stale = this.stale ? [Math.min(this.stale[0], from), Math.max(this.stale[1], to)] : [from, to];
  }

  reload() {
    this.buckets = new Map();
    this.stale = [-Infinity, Infinity];
    for (const [button, width] of this.buttons) button.setAttribute("aria-pressed", String(width === this.width));
    this.onLive(this.end === null);
    clearTimeout(this.timer);
    this.round();
  }

  recolour() {
    if (this.sensor !== null) this.reload();
  }

  get step() {
    return STEPS.find(([, step]) => this.width / step <= BUCKETS) ?? STEPS.at(-1);
  }

  window() {
    const [, step] = this.step;
    const end = Math.ceil((this.end ?? Date.now()) / step) * step;
    return [end - this.width, end];
  }

  async round() {
    const round = (this.latest = {});
    if (this.sensor !== null && !document.hidden) {
      const asked = this.stale;
      this.stale = null;
      try {
        if (asked) await this.fetch(asked, round);
        await this.draw(round);
      } catch {
        if (asked && round === this.latest) this.changed(asked);
      }
    }
    if (round === this.latest) this.timer = setTimeout(() => this.round(), FETCH_EVERY);
  }

  async fetch([from, to], round) {
    const [begin, end] = this.window();
    const [name, step] = this.step;
    const first = Math.max(begin, Math.floor(from / step) * step);
    const last = Math.min(end, Math.floor(to / step) * step + step);
    if (first >= last) return;
    const path = `/sensors/${this.sensor}/series?from=${iso(first)}&to=${iso(last)}&step=${name}`;
    const whole = from === -Infinity;
    const [{ series }, gaps] = await Promise.all([api(path), whole ? api(`/gaps?sensor=${this.sensor}&limit=200`) : null]);
    // Meanwhile another range may have been asked for.
    if (round !== this.latest) return;
    if (gaps) this.gaps = gaps.gaps;
    for (const bucket of series) this.buckets.set(Date.parse(bucket.time), bucket.values);
    for (const time of this.buckets.keys()) if (time < begin) this.buckets.delete(time);
  }

  async draw(round) {
    const echarts = await library;
    if (round !== this.latest) return;
    const [begin, end] = this.window();
    const [, step] = this.step;
    this.span.textContent = `${new Date(begin).toLocaleString()} to ${this.end === null ? "now" : new Date(end).toLocaleString()}`;
    const times = [...this.buckets.keys()].sort((one, other) => one - other);
    const distances = times.slice(1).map((time, at) => time - times[at]).sort((one, other) => one - other);
    // A line ends where readings are missing, and not where a sensor is slow.
    const apart = 3 * Math.max(step, distances[distances.length >> 1] ?? 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => resolve(style.getPropertyValue(name));
    const [text, faint, line, accent, bad] = ["--text", "--faint", "--line", "--accent", "--bad"].map(colour);
    for (const [at, quantity] of this.quantities.entries()) {
      // One in a frame, so that the first is there at once.
      if (at > 0) await frame();
      if (round !== this.latest) return;
      const chart = this.charts[at];
      if (!chart.drawn) {
        chart.drawn = echarts.init(chart.div);
        chart.drawn.group = "history";
        echarts.connect("history");
      }
      const mean = [], low = [], band = [];
      let before = null;
      for (const time of times) {
        const value = this.buckets.get(time)[quantity.name];
        if (!value) continue;
        if (before !== null && time - before > apart) for (const list of [mean, low, band]) list.push([before + step, null]);
        const middle = time + step / 2;
        mean.push([middle, value.mean]);
        low.push([middle, value.min]);
        band.push([middle, value.max - value.min]);
        before = time;
      }
      // A line needs two ends: what stands alone is a dot.
      const isAlone = (at) => mean[at][1] !== null && (mean[at - 1]?.[1] ?? null) === null && (mean[at + 1]?.[1] ?? null) === null;
      const points = mean.map((value, at) => (isAlone(at) ? { value, symbol: "circle", symbolSize: 4 } : { value, symbol: "none" }));
      const missing = this.gaps.filter((gap) => gap.after && gap.before).map((gap) => [{ xAxis: Date.parse(gap.after) }, { xAxis: Date.parse(gap.before) }]);
      const quiet = { type: "line", symbol: "none", silent: true, lineStyle: { opacity: 0 }, stack: "band", stackStrategy: "all", animation: false, tooltip: { show: false } };
      chart.drawn.setOption({
        animation: false,
        title: { text: quantity.name + (quantity.unit && ` [${quantity.unit}]`), textStyle: { fontSize: 13, color: text }, left: 0, top: 0 },
        grid: { left: 60, right: 14, top: 30, bottom: 24 },
        tooltip: { trigger: "axis", renderMode: "richText", confine: true, valueFormatter: (value) => (value === null ? "–" : String(+Number(value).toPrecision(6))) },
        xAxis: { type: "time", min: begin, max: end, axisLabel: { color: faint, hideOverlap: true }, axisLine: { lineStyle: { color: line } } },
        yAxis: {
          type: "value", scale: true, min: ({ min, max }) => (min === max ? min - 1 : null), max: ({ min, max }) => (min === max ? max + 1 : null),
          axisLabel: { color: faint }, splitLine: { lineStyle: { color: line } }, splitNumber: 3,
        },
        series: [
          { ...quiet, data: low },
          { ...quiet, data: band, areaStyle: { color: accent, opacity: 0.22 } },
          {
            name: quantity.name, type: "line", animation: false, showAllSymbol: true,
            lineStyle: { width: 1.5, color: accent }, itemStyle: { color: accent }, data: points,
            markArea: { silent: true, itemStyle: { color: bad, opacity: 0.15 }, data: missing },
          },
        ],
      }, { replaceMerge: ["series"] });
    }
  }
}

// What a colour is at the moment: the charts cannot follow light-dark() by themselves.
function resolve(value) {
  const probe = document.createElement("span");
  probe.style.color = value;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
