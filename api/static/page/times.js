/** Times as the border's clocks show them, and ages that do not trust this machine's clock. */
import { dates, say } from "./words.js";

const HOUR_MS = 3_600_000;

/**
 * The border's offset from UTC in hours. The grid's token-day turns at the whole UTC hour nearest 03:00 local, so the turn
 * tells the offset; it is printed with the times, so a border with summer time is at worst an hour off, never unclear.
 */
export function borderOffset(turnHourUtc) {
  const hours = (27 - turnHourUtc) % 24;
  return hours > 14 ? hours - 24 : hours;
}

let offset = 0;

/** From now on times are shown at this offset from UTC, in hours. */
export function showTimesAt(hours) {
  offset = hours;
}

/** `UTC+7` */
export function offsetName() {
  return say("hours.offset", { offset: offset === 0 ? "" : offset > 0 ? `+${offset}` : `−${-offset}` });
}

/** A Date whose UTC fields are the border's clock. */
export function borderClock(ms) {
  return new Date(ms + offset * HOUR_MS);
}

function formatter(options) {
  return new Intl.DateTimeFormat(dates, { timeZone: "UTC", hourCycle: "h23", ...options });
}

const dayFormat = formatter({ weekday: "short", day: "numeric", month: "short" });
const hourFormat = formatter({ hour: "2-digit", minute: "2-digit" });
const secondFormat = formatter({ hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const day = (ms) => dayFormat.format(borderClock(ms));
export const hour = (ms) => hourFormat.format(borderClock(ms));
export const second = (ms) => secondFormat.format(borderClock(ms));

/** `Mon, 2 Mar, 12:00` */
export function dayAndHour(ms) {
  return `${day(ms)}, ${hour(ms)}`;
}

/** `Mon, 2 Mar, 12:00–14:00`; both days where they differ. */
export function hours(startMs, endMs) {
  const values = { day: day(startMs), fromDay: day(startMs), toDay: day(endMs), from: hour(startMs), to: hour(endMs) };
  const sameDay = values.fromDay === values.toDay || (endMs - startMs <= 24 * HOUR_MS && values.to === "00:00");
  return say(sameDay ? "hours.span" : "hours.spanDays", values);
}

/** How long a span is, in the two units that matter. */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return say("age.seconds", { count: seconds });
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return say("age.minutes", { count: minutes });
  const whole = Math.floor(minutes / 60);
  if (whole < 48) return say("age.hours", { hours: whole, minutes: minutes % 60 });
  return say("age.days", { days: Math.floor(whole / 24), hours: whole % 24 });
}

let slept = 0;
let drift = Date.now() - performance.now();

/**
 * Milliseconds on this page's own stopwatch. `performance.now()` may stand still while the machine sleeps, so what the wall
 * clock gained meanwhile is added: an age is rather shown too great than too small.
 */
export function stopwatch() {
  const now = Date.now() - performance.now();
  if (now - drift > 2_000) slept += now - drift;
  drift = now;
  return performance.now() + slept;
}

/** The server's clock, carried on from its last answer by this machine's stopwatch. */
export class ServerClock {
  #at = null;
  #heard = 0;

  /** The server said that it is this instant. */
  set(iso) {
    this.#at = Date.parse(iso);
    this.#heard = stopwatch();
  }

  /** This instant as the server would say it; without any word from it, as this machine does. */
  now() {
    return this.#at === null ? Date.now() : this.#at + (stopwatch() - this.#heard);
  }
}
