/** The list of alerts: what was seen, what was expected, how sure, and why, in the order in which a desk needs it. */
import { SEVERITIES } from "./states.js";
import { age, hours, offsetName, stopwatch } from "./times.js";
import { element, number, say, write } from "./words.js";

const DAY_MS = 86_400_000;
const CLOSED_SHOWN_FOR_DAYS = 7;
const CLOSED_SHOWN = 20;

export const isOpen = (alert) => alert.status !== "closed";

/** Open alerts first, then by severity, then the newest. */
export function inOrder(alerts) {
  const rank = { open: 0, acknowledged: 1, closed: 2 };
  return [...alerts].sort(
    (a, b) =>
      rank[a.status] - rank[b.status] ||
      (a.status === "closed" ? 0 : SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity)) ||
      Date.parse(b.window_end) - Date.parse(a.window_end) ||
      a.alert_id.localeCompare(b.alert_id),
  );
}

/**
 * Show the alerts. `zoneName` names a zone, `choose(alert)` is called when one is chosen.
 * What was unfolded stays unfolded, and the focus stays where it was.
 */
export function showAlerts({ alerts, chosen, known, zoneName, choose }) {
  const now = known.clock.now();
  const watermark = known.standing?.watermark ? Date.parse(known.standing.watermark) : now;
  const ordered = inOrder(alerts.values());
  const recent = (alert) => Date.parse(alert.window_end) > watermark - CLOSED_SHOWN_FOR_DAYS * DAY_MS;
  const groups = [
    ["open", ordered.filter((alert) => alert.status === "open")],
    ["acknowledged", ordered.filter((alert) => alert.status === "acknowledged")],
    ["closed", ordered.filter((alert) => alert.status === "closed" && recent(alert))],
  ];
  const room = document.getElementById("alert-groups");
  const unfolded = new Set([...room.querySelectorAll("details[open]")].map((details) => details.dataset.alert));
  const focused = room.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  room.replaceChildren(
    ...groups
      .filter(([, members]) => members.length)
      .map(([status, members]) => {
        const shown = status === "closed" ? members.slice(0, CLOSED_SHOWN) : members;
        return element(
          "section",
          { class: `group ${status}` },
          element("h3", {}, say(`alerts.${status}`, { count: members.length })),
          element("ul", {}, ...shown.map((alert) => card(alert, { chosen, zoneName, choose, unfolded }))),
          members.length > shown.length &&
            element("p", { class: "note" }, say("alerts.older", { count: members.length - shown.length })),
        );
      }),
  );
  if (focused) [...room.querySelectorAll("[data-focus]")].find((found) => found.dataset.focus === focused)?.focus();
  const empty = document.getElementById("alerts-empty");
  empty.hidden = groups[0][1].length + groups[1][1].length > 0;
  write(empty, emptyWords(known));
}

function emptyWords(known) {
  if (known.alertsAt === null) return say("alerts.noneKnown");
  if (known.troubles.size || known.standing?.degraded || !known.standing?.watermark) return say("alerts.noneDegraded");
  const watermark = Date.parse(known.standing.watermark);
  return say("alerts.none", { watermark: `${hours(watermark, watermark).split("–")[0]} ${offsetName()}` });
}

function card(alert, { chosen, zoneName, choose, unfolded }) {
  const start = Date.parse(alert.window_start);
  const end = Date.parse(alert.window_end);
  const names = alert.zone_ids.map(zoneName);
  const [first, ...others] = alert.reasons;
  return element(
    "li",
    { class: `alert ${alert.severity} ${alert.status}${alert.alert_id === chosen ? " chosen" : ""}` },
    element(
      "p",
      { class: "chips" },
      element("span", { class: `chip ${alert.severity}` }, say(`severity.${alert.severity}`)),
      alert.exercise && element("span", { class: "chip exercise" }, say("exercise.short")),
      alert.simulated && element("span", { class: "chip simulated" }, say("simulated.short")),
      alert.status !== "open" && element("span", { class: "chip" }, say(`status.${alert.status}`)),
      element("span", { class: "sector" }, alert.sector_id),
    ),
    element(
      "h4",
      {},
      element(
        "button",
        {
          type: "button",
          class: "name",
          "data-focus": alert.alert_id,
          "aria-pressed": String(alert.alert_id === chosen),
          onclick: () => choose(alert),
        },
        say("alerts.zones", { names: names.join(" · "), count: names.length }),
      ),
    ),
    element("p", { class: "when" }, `${say(`direction.${alert.direction}`)} · ${hours(start, end)} ${offsetName()}`),
    scale(alert),
    element(
      "dl",
      { class: "figures" },
      ...figure(say("alerts.observed"), estimate(alert.observed)),
      ...figure(say("alerts.expected"), estimate(alert.expected)),
      ...figure(say("alerts.excess"), estimate(alert.excess)),
      ...figure(say("alerts.probability"), alert.probability),
      ...figure(say("alerts.coverage"), say("standing.carriers", alert.coverage)),
    ),
    first && element("p", { class: "reason" }, first),
    others.length > 0 &&
      element(
        "details",
        { "data-alert": alert.alert_id, open: unfolded.has(alert.alert_id) },
        element("summary", { "data-focus": `${alert.alert_id}-reasons` }, say("alerts.more", { count: others.length })),
        element("ul", {}, ...others.map((reason) => element("li", {}, reason))),
      ),
    alert.status === "closed" && element("p", { class: "reason" }, closedWords(alert)),
  );
}

function closedWords(alert) {
  if (alert.disposition) {
    return `${say("alerts.closedBy", { who: alert.closed_by ?? "" })}: ${say(`disposition.${alert.disposition}`)}`;
  }
  return say("alerts.closedBySystem");
}

const figure = (name, text) => [element("dt", {}, name), element("dd", {}, text)];

const estimate = ({ value, interval: [low, high] }) => say("alerts.figure", { value, low, high });

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Observed against expected on one scale from zero, each with its interval. */
function scale({ observed, expected }) {
  const most = Math.max(observed.interval[1], expected.interval[1], 1) * 1.02;
  const x = (value) => (300 * value) / most;
  const drawn = svg("svg", {
    viewBox: "0 0 300 20",
    class: "scale",
    role: "img",
    preserveAspectRatio: "none",
    "aria-label": say("alerts.scale", { observed: number(observed.value), expected: number(expected.value) }),
  });
  const bar = (estimate, y, name) => {
    const [low, high] = estimate.interval;
    drawn.append(
      svg("rect", { class: `${name} bar`, x: 0, y, width: x(estimate.value), height: 7 }),
      svg("rect", { class: `${name} reach`, x: x(low), y: y + 2.5, width: Math.max(x(high) - x(low), 1), height: 2 }),
    );
  };
  bar(observed, 1, "observed");
  bar(expected, 11, "expected");
  return drawn;
}

/** How old the list is. */
export function alertsAge(known) {
  if (known.alertsAt === null) return "";
  return say("standing.ago", { age: age(stopwatch() - known.alertsAt) });
}
