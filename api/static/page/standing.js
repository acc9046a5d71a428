/** The line that is always in sight: how far the service's word reaches, and every reason to doubt a quiet page. */
import { age, dayAndHour, offsetName, second, stopwatch } from "./times.js";
import { element, say, write } from "./words.js";

const BLIND = new Set(["no_detection", "stale_watermark", "no_carrier"]);

/** The reach of the page's knowledge: unknown, silent, stale (nothing new is seen), degraded or complete. */
export function reachOf(known) {
  if (known.troubles.size) return "silent";
  if (!known.standing) return "unknown";
  if (known.standing.degraded_reasons.some((reason) => BLIND.has(reason))) return "stale";
  return known.standing.degraded ? "degraded" : "complete";
}

/** Show what is known, in words; called every second, because ages grow. */
export function showStanding(known) {
  const reach = reachOf(known);
  if (document.body.dataset.reach !== reach) document.body.dataset.reach = reach;
  const facts = factsOf(known, reach);
  const list = document.getElementById("standing");
  if (list.childElementCount !== facts.length) {
    list.replaceChildren(...facts.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  facts.forEach(([name, text, weight], i) => {
    const [term, value] = list.children[i].children;
    write(term, name);
    write(value, text);
    value.className = weight ?? "";
  });
  document.getElementById("simulated").hidden = !known.standing?.coverage.simulated;
  showDoubts(doubtsOf(known));
}

function factsOf(known, reach) {
  const { standing, clock } = known;
  const facts = [[say("standing.state"), say(`standing.${reach}`), `state ${reach}`]];
  const watermark = standing?.watermark && Date.parse(standing.watermark);
  facts.push([
    say("standing.watermark"),
    watermark
      ? `${dayAndHour(watermark)} ${offsetName()} · ${say("standing.ago", { age: age(clock.now() - watermark) })}`
      : say("standing.never"),
    standing?.degraded_reasons.includes("stale_watermark") || !watermark ? "poor" : "",
  ]);
  if (standing) {
    const { expected, present, missing, incomplete } = standing.coverage;
    const told = [say("standing.carriers", { present, expected })];
    if (missing.length) told.push(say("standing.missing", { names: missing.join(", ") }));
    if (incomplete.length) told.push(say("standing.incomplete", { names: incomplete.join(", ") }));
    const poor = present < expected || !expected || incomplete.length;
    facts.push([say("standing.coverage"), told.join("; "), poor ? "poor" : ""]);
  }
  const since = known.heardAt === null ? null : stopwatch() - known.heardAt;
  facts.push([
    say("standing.heard"),
    since === null ? say("standing.never") : since < 10_000 ? say("standing.now") : say("standing.ago", { age: age(since) }),
    since === null || since > 10_000 ? "poor" : "",
  ]);
  return facts;
}

/** The reasons for doubt as `[key, sentence, weight]`, gravest first. */
function doubtsOf(known) {
  const { standing, clock, troubles } = known;
  const watermark = standing?.watermark && Date.parse(standing.watermark);
  const reach = watermark
    ? { watermark: `${dayAndHour(watermark)} ${offsetName()}`, age: age(clock.now() - watermark) }
    : { watermark: say("standing.never"), age: "" };
  const shown = watermark ? say("doubt.shows", reach) : "";
  const doubts = [];
  for (const [source, { kind, since }] of troubles) {
    const values = {
      at: `${second(clock.now() - (stopwatch() - since))} ${offsetName()}`,
      age: age(stopwatch() - since),
      what: say(`doubt.what.${source}`),
    };
    if (source !== "server" && troubles.has("server")) continue;
    const key =
      source !== "server" ? (kind === "signedOut" ? "doubt.signedOut" : "doubt.partly")
      : kind === "store" ? "doubt.storeSilent"
      : known.heardAt === null ? "doubt.silentFromStart"
      : "doubt.silent";
    doubts.push([`${source}-${kind}`, `${say(key, values)} ${shown}`.trim(), "grave"]);
  }
  if (!standing && !doubts.length) doubts.push(["loading", say("doubt.loading"), "plain"]);
  if (known.gridMissing) doubts.push(["grid", say("doubt.noGrid"), "grave"]);
  for (const reason of standing?.degraded_reasons ?? []) {
    const names = (reason === "feed_incomplete" ? standing.coverage.incomplete : standing.coverage.missing).join(", ");
    const key = `doubt.${reason}`;
    const sentence = say(key, { ...reach, names });
    const weight = BLIND.has(reason) ? "grave" : "poor";
    doubts.push([reason, sentence === key ? say("doubt.other", { reason }) : sentence, weight]);
  }
  // Refused twice is said once.
  return doubts.filter(([, sentence], i) => doubts.findIndex(([, other]) => other === sentence) === i);
}

/** Ages tick inside a sentence that stays in place, so it is announced when it comes, not every second. */
function showDoubts(doubts) {
  const room = document.getElementById("doubt");
  const keys = doubts.map(([key]) => key).join(" ");
  if (room.dataset.keys !== keys) {
    room.dataset.keys = keys;
    room.replaceChildren(...doubts.map(([, sentence, weight]) => element("p", { class: `doubt ${weight}` }, sentence)));
    room.setAttribute("aria-live", "assertive");
    return;
  }
  room.setAttribute("aria-live", "off");
  doubts.forEach(([, sentence], i) => write(room.children[i], sentence));
}
