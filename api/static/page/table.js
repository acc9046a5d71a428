/** The zones as a table: every fact of the map, for eyes and ears alike. */
import { isOpen } from "./alerts.js";
import { STATES, swatchOf } from "./states.js";
import { dayAndHour } from "./times.js";
import { element, number, say } from "./words.js";

export const stateName = ({ state, kind }) =>
  say(kind === "crossing_point" && state === "not_judged" ? "state.crossing" : `state.${state}`);

/** What was observed of one direction, and the usual range; a count that is not known is never shown as zero. */
export function observedWords(seen) {
  if (!seen) return say("zones.blank");
  if (seen.observed !== null) return number(seen.observed);
  return say(`state.${seen.state}`);
}

const range = (seen) =>
  seen?.lower == null || seen.upper == null ? say("zones.blank") : say("zones.range", { low: seen.lower, high: seen.upper });

/** Show the zones, what matters most first; `choose(zoneId)` is called when one is chosen. */
export function showTable({ zones, alerts, chosen, choose }) {
  const table = document.getElementById("zone-table");
  const focused = table.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const head = ["zone", "sector", "kind", "state", "alerts", "arrival", "expected", "departure", "expected", "hour"];
  table.tHead.replaceChildren(
    element("tr", {}, ...head.map((name) => element("th", { scope: "col", class: name }, say(`column.${name}`)))),
  );
  const count = new Map();
  for (const alert of alerts.values()) {
    if (isOpen(alert)) for (const zone of alert.zone_ids) count.set(zone, (count.get(zone) ?? 0) + 1);
  }
  const rank = ({ properties }) => (properties.state === null ? 99 : STATES.indexOf(properties.state));
  const ordered = [...zones].sort(
    (a, b) =>
      (count.get(b.id) ?? 0) - (count.get(a.id) ?? 0) || rank(a) - rank(b) || a.id.localeCompare(b.id),
  );
  table.tBodies[0].replaceChildren(
    ...ordered.map(({ id, properties }) => {
      const { arrival, departure } = properties;
      const at = arrival?.window_start ?? departure?.window_start;
      const cell = (name, ...children) => element("td", { class: name }, ...children);
      return element(
        "tr",
        { class: id === chosen ? "chosen" : "", "data-zone": id },
        element(
          "th",
          { scope: "row" },
          element(
            "button",
            { type: "button", class: "name", "data-focus": id, "aria-pressed": String(id === chosen), onclick: () => choose(id) },
            properties.name,
          ),
        ),
        cell("sector", properties.sector_id),
        cell("kind", say(`kind.${properties.kind}`)),
        cell("state", swatchOf(properties.state, properties.kind), " ", stateName(properties)),
        cell("number", count.has(id) ? number(count.get(id)) : say("zones.blank")),
        cell("number", observedWords(arrival)),
        cell("number muted", range(arrival)),
        cell("number", observedWords(departure)),
        cell("number muted", range(departure)),
        cell("hour", at ? dayAndHour(Date.parse(at)) : say("zones.blank")),
      );
    }),
  );
  if (focused) [...table.querySelectorAll("[data-focus]")].find((found) => found.dataset.focus === focused)?.focus();
}
