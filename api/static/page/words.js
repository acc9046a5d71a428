/** The page's words: one language file, filled in; elements that only ever take text. */
import language from "../locales/en.js";

const plurals = new Intl.PluralRules(language.lang);
const numbers = new Intl.NumberFormat(language.dates, { maximumFractionDigits: 0 });

/** The words behind a key; `count` picks the plural. A key that is missing shows itself. */
export function say(key, values = {}) {
  const form = "count" in values ? `${key}.${plurals.select(values.count)}` : key;
  const text = language[form] ?? language[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? numbers.format(value) : String(value ?? "");
  });
}

/** A whole number as this language writes it. */
export function number(value) {
  return numbers.format(value);
}

export const dates = language.dates;

/** Write the words into the elements of the page that name theirs. */
export function sayAll(root = document) {
  document.documentElement.lang = language.lang;
  document.title = say("title");
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
}

/** An element with attributes and children; children that are not elements become text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

/** Write text where it differs, so that a screen reader is not told the same thing twice. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
