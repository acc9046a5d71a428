/** One zone and direction, hour by hour, against what was expected of it. */
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { colour } from "./states.js";
import { borderClock, day, hour, hours, offsetName } from "./times.js";
import { element, number, say, write } from "./words.js";

const HOUR_MS = 3_600_000;
const BLIND = new Set(["degraded", "no_coverage"]);

/**
 * The hours from `startMs` to `endMs`, one each, from the service's two answers.
 *
 * `known` and `bound` enclose an hour that was not published whole: what some carriers published, and the sum that it stays
 * below. An hour of which nobody spoke has neither.
 */
export function hoursOf(expectations, counts, startMs, endMs) {
  const judged = new Map(expectations.map((row) => [Date.parse(row.window_start), row]));
  const published = new Map();
  for (const row of counts) {
    const at = Date.parse(row.window_start);
    const sum = published.get(at) ?? { known: 0, bound: 0, suppressed: false };
    sum.known += row.value ?? 0;
    sum.bound += row.value ?? row.threshold;
    sum.suppressed ||= row.value === null;
    published.set(at, sum);
  }
  const all = [];
  for (let at = startMs; at < endMs; at += HOUR_MS) {
    const row = judged.get(at);
    const sum = published.get(at);
    all.push({
      at,
      observed: row?.observed ?? null,
      expected: row?.expected ?? null,
      lower: row?.lower ?? null,
      upper: row?.upper ?? null,
      state: row?.state ?? "no_coverage",
      known: sum?.suppressed ? sum.known : null,
      bound: sum?.suppressed ? sum.bound : null,
    });
  }
  return all;
}

/** What was seen in an hour, in words. */
export function observedWords({ observed, known, bound }) {
  if (observed !== null) return number(observed);
  if (bound === null) return say("chart.notSeen");
  return known ? say("chart.belowPartly", { known, threshold: bound }) : say("chart.below", { threshold: bound });
}

export class Chart {
  #room = document.getElementById("plot");
  #plot = null;
  #rows = [];
  #spans = [];

  constructor() {
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#room);
  }

  #size() {
    return { width: Math.max(this.#room.clientWidth, 280), height: this.#room.clientHeight || 240 };
  }

  /** Show hours; `spans` are the `[start, end]` of the alerts on this zone and direction. */
  show(rows, spans, told) {
    this.#rows = rows;
    this.#spans = spans;
    this.#room.setAttribute("aria-label", told);
    this.redraw();
    this.#showTable();
    this.#showKey();
  }

  /** Show nothing, and say so elsewhere. */
  clear() {
    this.#rows = [];
    this.#plot?.destroy();
    this.#plot = null;
    this.#room.removeAttribute("aria-label");
    delete this.#room.dataset.hours;
    document.getElementById("hours").hidden = true;
    document.getElementById("key").replaceChildren();
    write(document.getElementById("readout"), "");
  }

  /** Draw again, for instance in other colours. */
  redraw() {
    if (!this.#rows.length) return;
    this.#plot?.destroy();
    const column = (name) => this.#rows.map((row) => row[name]);
    // A point stands in the middle of the hour that it counts.
    const middles = this.#rows.map((row) => (row.at + HOUR_MS / 2) / 1000);
    const columns = [middles, column("upper"), column("lower"), column("expected"), column("observed")];
    this.#plot = new uPlot(this.#options(), columns, this.#room);
    this.#room.dataset.hours = String(this.#rows.length);
    this.#read(this.#rows.length - 1);
  }

  #options() {
    const ink = colour("muted");
    const grid = { stroke: colour("line-soft"), width: 1 };
    const font = "12px 'Noto Sans', sans-serif";
    const most = Math.max(60, ...this.#rows.flatMap((row) => [row.observed, row.upper, row.bound]).filter(Number.isFinite));
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
      tzDate: (seconds) => {
        // uPlot reads local fields, so it is given a date whose local fields are the border's.
        const clock = borderClock(seconds * 1000);
        return new Date(clock.getTime() + clock.getTimezoneOffset() * 60_000);
      },
      scales: { y: { range: [0, most * 1.08] } },
      axes: [
        { stroke: ink, grid, ticks: { ...grid, size: 4 }, font, size: 28, space: 62, values: (_, splits) => splits.map(axisWords) },
        { stroke: ink, grid, ticks: { show: false }, font, size: 48, values: (_, splits) => splits.map((value) => number(value)) },
      ],
      series: [
        {},
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
        { stroke: colour("expected"), width: 1.5, dash: [5, 4], points: { show: false } },
        { stroke: colour("observed"), width: 2, points: { show: true, size: 5, fill: colour("observed"), width: 0 } },
      ],
      bands: [{ series: [1, 2], fill: colour("band") }],
      hooks: {
        drawClear: [(plot) => this.#drawBehind(plot)],
        draw: [(plot) => this.#drawMarks(plot)],
        setCursor: [(plot) => plot.cursor.idx != null && this.#read(plot.cursor.idx)],
      },
    };
  }

  #drawBehind(plot) {
    const { ctx: pen, bbox } = plot;
    const x = (ms) => plot.valToPos(ms / 1000, "x", true);
    const stripe = (start, end, fill) => {
      const from = Math.max(x(start), bbox.left);
      pen.fillStyle = fill;
      pen.fillRect(from, bbox.top, Math.min(x(end), bbox.left + bbox.width) - from, bbox.height);
    };
    pen.save();
    for (const [start, end] of this.#spans) stripe(start, end, colour("alert-span"));
    for (const row of this.#rows) if (BLIND.has(row.state)) stripe(row.at, row.at + HOUR_MS, colour("blind"));
    pen.restore();
  }

  #drawMarks(plot) {
    const { ctx: pen } = plot;
    const y = (value) => plot.valToPos(value, "y", true);
    const dot = devicePixelRatio;
    pen.save();
    for (const row of this.#rows) {
      const x = plot.valToPos((row.at + HOUR_MS / 2) / 1000, "x", true);
      if (row.observed === null && row.bound !== null) {
        // Somewhere along this line: below the bound, not zero.
        pen.strokeStyle = colour("below");
        pen.lineWidth = 1.5 * dot;
        pen.setLineDash([2 * dot, 2 * dot]);
        stroke(pen, x, y(row.known), x, y(row.bound));
        pen.setLineDash([]);
        stroke(pen, x - 3 * dot, y(row.bound), x + 3 * dot, y(row.bound));
      }
      if (row.state === "unusual" && row.observed !== null) triangle(pen, x, y(row.observed) - 6 * dot, 6 * dot);
    }
    pen.restore();
  }

  #read(i) {
    const row = this.#rows[i];
    const words = {
      hour: `${hours(row.at, row.at + HOUR_MS)} ${offsetName()}`,
      observed: row.observed === null ? observedWords(row) : say("chart.observed", { value: row.observed }),
      expected: row.expected,
      low: row.lower,
      high: row.upper,
      state: say(`state.${row.state}`),
    };
    write(
      document.getElementById("readout"),
      say(row.expected === null || row.lower === null ? "chart.readoutBare" : "chart.readout", words),
    );
  }

  #showTable() {
    const room = document.getElementById("hours");
    const table = room.querySelector("table");
    room.hidden = false;
    const head = ["hour", "observed", "expected", "state"];
    table.tHead.replaceChildren(
      element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, say(`column.${name}`)))),
    );
    table.tBodies[0].replaceChildren(
      ...[...this.#rows].reverse().map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, hours(row.at, row.at + HOUR_MS)),
          element("td", { class: "number" }, observedWords(row)),
          element(
            "td",
            { class: "number" },
            row.lower === null ? say("zones.blank") : say("zones.range", { low: row.lower, high: row.upper }),
          ),
          element("td", {}, say(`state.${row.state}`)),
        ),
      ),
    );
  }

  #showKey() {
    const bounds = this.#rows.filter((row) => row.bound !== null && !row.known).map((row) => row.bound);
    const shown = [
      ["observed", true],
      ["expected", this.#rows.some((row) => row.expected !== null)],
      ["band", this.#rows.some((row) => row.lower !== null)],
      ["below", this.#rows.some((row) => row.observed === null && row.bound !== null)],
      ["unusual", this.#rows.some((row) => row.state === "unusual")],
      ["hours", this.#spans.length > 0],
      ["blind", this.#rows.some((row) => BLIND.has(row.state))],
    ];
    const threshold = bounds.length ? Math.max(...bounds) : "…";
    document.getElementById("key").replaceChildren(
      ...shown
        .filter(([, present]) => present)
        .map(([name]) =>
          element("li", {}, element("span", { class: `key ${name}`, "aria-hidden": "true" }), say(`chart.key.${name}`, { threshold })),
        ),
    );
  }
}

function axisWords(seconds) {
  const ms = seconds * 1000;
  return borderClock(ms).getUTCHours() === 0 ? day(ms) : hour(ms);
}

function stroke(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function triangle(pen, x, y, size) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x - size, y - 1.6 * size);
  pen.lineTo(x + size, y - 1.6 * size);
  pen.closePath();
  pen.fillStyle = colour("ink-unusual");
  pen.fill();
}
