/** The situation page: asks the service, keeps what it knows with its age, and shows it. */
import { alertsAge, inOrder, isOpen, showAlerts } from "./alerts.js";
import { Chart, hoursOf } from "./chart.js";
import { BorderMap, canDraw, showAttribution, showLegend } from "./map.js";
import { NoAnswer, Service } from "./service.js";
import { showStanding } from "./standing.js";
import { showTable } from "./table.js";
import { ServerClock, age, borderOffset, offsetName, showTimesAt, stopwatch } from "./times.js";
import { element, say, sayAll, write } from "./words.js";

const BEAT_EVERY_MS = 4_000;
const ASK_EVERY_MS = 30_000;
const SIGN_IN_EVERY_MS = 12 * 60_000;
const HOUR_MS = 3_600_000;
const DIRECTIONS = ["arrival", "departure"];
const SPANS = [72, 168];

const service = new Service();

/** What the page knows, and since when. Its own times are those of `stopwatch()`. */
const known = {
  clock: new ServerClock(),
  standing: null,
  zones: [],
  gridMissing: false,
  statesShown: true,
  alerts: new Map(),
  alertsFrom: "/v1/alerts?limit=500",
  asked: false,
  heardAt: null,
  zonesAt: null,
  alertsAt: null,
  troubles: new Map(),
};
const view = { zone: null, alert: null, direction: "arrival", span: 72, chosenByHand: false };

let map = null;
let chart = null;

const zoneName = (zoneId) => known.zones.find((zone) => zone.id === zoneId)?.properties.name ?? zoneId;

// Asking.

/** Run one way of asking; what goes wrong is kept as a trouble until the same way works again. */
async function attempt(source, ask) {
  try {
    await ask();
    known.troubles.delete(source);
    return true;
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    const kind = error.status === 401 || error.status === 403 ? "signedOut" : error.kind;
    const since = known.troubles.get(source)?.since ?? stopwatch();
    known.troubles.set(source, { kind, since });
    return false;
  } finally {
    tick();
  }
}

/** Whether anyone is there, every few seconds; a new watermark is asked about at once. */
async function beat() {
  const wasSilent = known.troubles.has("server");
  let watermark = null;
  const heard = await attempt("server", async () => {
    const { status, document } = await service.beat();
    if (status !== 200) throw new NoAnswer(status === 503 ? "store" : "fault", status);
    known.heardAt = stopwatch();
    watermark = document.watermark;
  });
  if (heard && (wasSilent || !known.asked || watermark !== (known.standing?.watermark ?? null))) await askAll();
}

let asking = null;

/** Zones, alerts and the chart; one round at a time. */
function askAll() {
  known.asked = true;
  asking ??= (async () => {
    await attempt("zones", askZones);
    await attempt("alerts", askAlerts);
    chooseForTheDesk();
    await showChart();
  })().finally(() => (asking = null));
  return asking;
}

async function askZones() {
  try {
    const { document, fresh } = await service.ask("/v1/zones");
    known.zonesAt = stopwatch();
    known.gridMissing = false;
    if (fresh) {
      known.zones = document.features;
      known.statesShown = document.states_shown;
      showTimesAt(borderOffset(document.turn_hour_utc));
      showAttribution(document.attribution);
      note(document);
    }
  } catch (error) {
    if (!(error instanceof NoAnswer) || error.status !== 404) throw error;
    known.gridMissing = true;
  }
  showZones();
  if (!known.statesShown) throw new NoAnswer("refused", 403);
}

/** The alerts as they stand, then every revision since: the cursor is kept, so none is missed. */
async function askAlerts() {
  for (let more = true; more; ) {
    const { document, fresh } = await service.ask(known.alertsFrom);
    known.alertsAt = stopwatch();
    if (!fresh) break;
    for (const alert of document.items) known.alerts.set(alert.alert_id, alert);
    note(document);
    more = document.links.some((link) => link.rel === "next");
    const next = `/v1/alerts?limit=500&since=${encodeURIComponent(document.next_cursor)}`;
    if (next !== known.alertsFrom) service.forget(known.alertsFrom);
    known.alertsFrom = next;
  }
  showZones();
}

/** Keep how far an answer reaches. */
function note(document) {
  known.heardAt = stopwatch();
  known.clock.set(document.generated_at);
  known.standing = document;
}

// Choosing.

/** Before anyone has chosen, the most severe open alert is shown: at night the first look should do. */
function chooseForTheDesk() {
  if (view.chosenByHand || view.zone) return;
  const [first] = inOrder(known.alerts.values()).filter(isOpen);
  if (first) choose({ zone: first.zone_ids[0], alert: first.alert_id, direction: first.direction });
}

function choose({ zone, alert = null, direction = view.direction }) {
  Object.assign(view, { zone, alert, direction });
  for (const input of document.querySelectorAll("#direction input")) input.checked = input.value === direction;
  showZones();
}

function chooseByHand(choice) {
  view.chosenByHand = true;
  choose(choice);
  showChart();
}

const chooseZone = (zone) => {
  chooseByHand({ zone });
  map?.seek([zone]);
};
const chooseAlert = (alert) => {
  chooseByHand({ zone: alert.zone_ids[0], alert: alert.alert_id, direction: alert.direction });
  map?.seek(alert.zone_ids);
};

// Showing.

function showZones() {
  map?.show(known.zones, known.alerts, view.zone);
  showAlerts({ alerts: known.alerts, chosen: view.alert, known, zoneName, choose: chooseAlert });
  showTable({ zones: known.zones, alerts: known.alerts, chosen: view.zone, choose: chooseZone });
}

let charting = 0;

async function showChart() {
  const title = document.getElementById("chart-title");
  const told = document.getElementById("chart-note");
  const { zone, direction, span } = view;
  const ticket = ++charting;
  if (!zone) {
    chart.clear();
    write(title, say("chart.title"));
    write(told, say("chart.choose"));
    return;
  }
  const heading = zoneName(zone);
  if (title.dataset.of !== `${zone} ${direction} ${span}`) {
    // Never the hours of one zone under the name of another.
    chart.clear();
    write(title, heading);
    title.dataset.of = `${zone} ${direction} ${span}`;
    write(told, say("chart.asking"));
  }
  const end = known.standing?.watermark ? Date.parse(known.standing.watermark) : Math.floor(known.clock.now() / HOUR_MS) * HOUR_MS;
  const start = end - span * HOUR_MS;
  const query = new URLSearchParams({
    zone_id: zone,
    direction,
    start: new Date(start).toISOString(),
    end: new Date(end).toISOString(),
    limit: "2000",
  });
  let rows = null;
  const heard = await attempt("expectations", async () => {
    const [expectations, counts] = await Promise.all([
      service.ask(`/v1/expectations?${query}`),
      service.ask(`/v1/counts?${query}`),
    ]);
    rows = hoursOf(expectations.document.items, counts.document.items, start, end);
  });
  if (ticket !== charting) return;
  if (!heard) {
    write(told, say("chart.failed"));
    return;
  }
  const spans = [...known.alerts.values()]
    .filter((alert) => alert.zone_ids.includes(zone) && alert.direction === direction)
    .map((alert) => [Date.parse(alert.window_start), Date.parse(alert.window_end)])
    .filter(([from, to]) => to > start && from < end);
  const count = (test) => rows.filter(test).length;
  const facts = {
    zone: heading,
    direction: say(`direction.${direction}`),
    span: say(`span.${span}`),
    observed: count((row) => row.observed !== null),
    below: count((row) => row.observed === null && row.bound !== null),
    blind: count((row) => row.state === "degraded" || row.state === "no_coverage"),
    unusual: count((row) => row.state === "unusual"),
  };
  if (rows.every((row) => row.observed === null && row.bound === null && row.expected === null)) {
    chart.clear();
    write(told, say("chart.none"));
    return;
  }
  write(told, `${say("chart.axis")} · ${offsetName()}`);
  chart.show(rows, spans, say("chart.told", facts));
}

/** What changes by the second: ages, and whether the server is there. */
function tick() {
  showStanding(known);
  write(document.getElementById("alerts-age"), alertsAge(known));
  const zonesAge = known.zonesAt === null ? "" : say("standing.ago", { age: age(stopwatch() - known.zonesAt) });
  write(document.getElementById("zones-age"), zonesAge);
}

function choices(id, values, name, change) {
  const room = document.getElementById(id);
  for (const value of values) {
    const input = element("input", { type: "radio", name: id, value, checked: value === view[id] });
    input.addEventListener("change", () => {
      view.chosenByHand = true;
      change(value);
      showChart();
    });
    room.append(element("label", {}, input, element("span", {}, say(`${name}.${value}`))));
  }
}

async function start() {
  sayAll();
  showLegend();
  showAttribution(null);
  chart = new Chart();
  choices("direction", DIRECTIONS, "direction", (value) => (view.direction = value));
  choices("span", SPANS, "span", (value) => (view.span = value));
  tick();
  setInterval(tick, 1_000);

  // Names on the map are drawn once with whatever font is there.
  await Promise.allSettled(
    ["400 16px 'Noto Sans'", "600 16px 'Noto Sans Semibold'"].map((font) => document.fonts.load(font, "Aạ")),
  );
  if (canDraw()) {
    map = new BorderMap({ choose: chooseZone });
  } else {
    const unable = document.getElementById("map-note");
    unable.hidden = false;
    write(unable, say("doubt.noWebgl"));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    showLegend();
    map?.recolour();
    chart.redraw();
    showZones();
  });

  await attempt("server", () => service.signIn());
  await beat();
  repeat(beat, BEAT_EVERY_MS);
  repeat(askAll, ASK_EVERY_MS);
  repeat(() => attempt("server", () => service.signIn()), SIGN_IN_EVERY_MS);
  // A page that was out of sight, or a machine that slept, asks at once.
  document.addEventListener("visibilitychange", async () => {
    if (document.hidden) return;
    tick();
    await beat();
    await askAll();
  });
}

/** Run one after another, never two at once. */
function repeat(act, everyMs) {
  setTimeout(async () => {
    try {
      await act();
    } finally {
      repeat(act, everyMs);
    }
  }, everyMs);
}

start();
