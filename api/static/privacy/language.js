/** The page's words: one JSON file a language in ../locales; elements only ever take text. */

/** Another language is another file with the same keys, and a line here. */
export const LANGUAGES = { en: "English", vi: "Tiếng Việt" };

export class Language {
  #words;
  #plurals;

  constructor(words) {
    this.#words = words;
    this.#plurals = new Intl.PluralRules(words.lang);
    this.lang = words.lang;
  }

  /** The language of the address (`?lang=vi`), else the reader's own, else English. */
  static async chosen() {
    const asked = new URLSearchParams(location.search).get("lang");
    const known = [asked, ...navigator.languages.map((tag) => tag.slice(0, 2)), "en"].find((lang) => lang in LANGUAGES);
    const answer = await fetch(`../locales/privacy.${known}.json`);
    return new Language(await answer.json());
  }

  /** The words behind a key; a key that is missing shows itself. */
  tell(key, values = {}) {
    return this.parts(key, values).join("");
  }

  /** The same as a list, where a value may itself be a list of elements. */
  parts(key, values) {
    return (this.#words[key] ?? key).split(/(\{\w+\})/).flatMap((part) => {
      const name = part.match(/^\{(\w+)\}$/)?.[1];
      if (!name || !(name in values)) return part ? [part] : [];
      const value = values[name];
      if (Array.isArray(value)) return value;
      return [typeof value === "number" ? this.number(value, 0) : String(value)];
    });
  }

  /** The words for so many of something. */
  count(key, count) {
    const form = `${key}.${this.#plurals.select(count)}`;
    return this.tell(form in this.#words ? form : `${key}.other`, { count });
  }

  /** The keys that begin so, in the order of the file. */
  keys(prefix) {
    return Object.keys(this.#words).filter((key) => key.startsWith(prefix));
  }

  number(value, digits) {
    return new Intl.NumberFormat(this.#words.dates, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  }

  percent(share) {
    return new Intl.NumberFormat(this.#words.dates, { style: "percent", maximumFractionDigits: 1 }).format(share);
  }

  /** A small number as one in so many. */
  power(value) {
    return `1/${this.number(Math.round(1 / value), 0)}`;
  }

  instant(text) {
    const options = { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" };
    return new Intl.DateTimeFormat(this.#words.dates, options).format(new Date(text));
  }

  day(text) {
    return new Intl.DateTimeFormat(this.#words.dates, { dateStyle: "long", timeZone: "UTC" }).format(new Date(text));
  }

  /** Write the words into the elements that name theirs. */
  fill(root, values = {}) {
    root.documentElement.lang = this.lang;
    root.title = this.tell("title");
    for (const one of root.querySelectorAll("[data-text]")) one.textContent = this.tell(one.dataset.text, values);
    for (const one of root.querySelectorAll("[data-label]")) one.setAttribute("aria-label", this.tell(one.dataset.label));
  }
}

/** An element with attributes and children; children that are not elements become text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value != null && value !== "") made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null && child !== false && child !== ""));
  return made;
}
