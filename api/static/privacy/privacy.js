/** The privacy ledger for anyone: the service's own figures, in the reader's language, and a picture of what they mean. */
import { bars, shares, spent } from "./pictures.js";
import { Language, LANGUAGES, element } from "./language.js";

const LEDGER = "../v1/privacy/ledger";

const language = await Language.chosen();
language.fill(document);
listLanguages();

try {
  const answer = await fetch(LEDGER, { cache: "no-store" });
  if (!answer.ok) throw new Error("no ledger");
  show(await answer.json());
  document.body.dataset.state = "known";
} catch {
  doubt("doubt.silent");
  document.body.dataset.state = "silent";
}

function doubt(key) {
  const line = document.getElementById("doubt");
  line.hidden = key === null;
  line.textContent = key === null ? "" : language.tell(key);
}

function show(ledger) {
  const { promise, composition } = ledger;
  const values = {
    epsilon: language.number(promise.epsilon_day, 2),
    delta: language.power(promise.delta),
    odds: language.number(Math.exp(promise.epsilon_day), 1),
    k: promise.k,
    threshold: promise.threshold,
    threshold_day: promise.threshold_day,
  };
  language.fill(document, values);
  document.getElementById("simulated").hidden = !ledger.items.some((day) => day.simulated);
  doubt(ledger.items.length ? null : "doubt.empty");
  showDays(ledger);
  showSuppressed(ledger.items);
  showComposition(composition);
  showPolicies(ledger.policies);
  showSteps(ledger.verification);
  showClaims();
  showNotice(ledger.notice);
  document.getElementById("told").hidden = false;
}

/** A table cell with a figure; the raw value stays beside the words, for whoever checks. */
function figure(name, value, words) {
  return element("td", { class: "number", "data-figure": name, "data-value": value }, words);
}

/** The head of a table; `figures` names the columns whose cells are numbers. */
function head(table, keys, figures) {
  const cells = keys.map((key) => element("th", { scope: "col", class: figures.includes(key) && "number" }, language.tell(key)));
  table.querySelector("thead").replaceChildren(element("tr", {}, ...cells));
}

function showDays(ledger) {
  const table = document.getElementById("days");
  const figures = ["budget.rho", "budget.epsilon", "budget.releases", "budget.suppressed", "budget.incidents"];
  head(table, ["budget.day", "budget.carrier", "budget.picture", ...figures], figures);
  const rows = ledger.items.map((day) => {
    const told = language.tell("budget.picture.told", {
      spent: language.number(day.rho_spent, 4),
      allowed: language.number(day.rho_day, 4),
    });
    return element(
      "tr",
      { class: day.within_budget ? "" : "over", "data-day": day.token_day_start, "data-carrier": day.carrier },
      element("th", { scope: "row" }, language.instant(day.token_day_start)),
      element("td", {}, day.carrier, day.simulated && element("span", { class: "simulated-day" }, ` (${language.tell("budget.simulated")})`)),
      element("td", {}, spent(day.rho_spent, day.rho_day, told)),
      figure("rho_spent", day.rho_spent, told),
      figure("epsilon_spent", day.epsilon_spent, language.number(day.epsilon_spent, 2)),
      figure("releases", day.releases, language.number(day.releases, 0)),
      figure("suppressed_share", day.suppressed_share, language.percent(day.suppressed_share)),
      figure("incidents", day.incidents, language.number(day.incidents, 0)),
    );
  });
  table.querySelector("tbody").replaceChildren(...rows);
  const over = ledger.items.filter((day) => !day.within_budget).length;
  const verdict = document.getElementById("budget-verdict");
  verdict.hidden = ledger.items.length === 0;
  verdict.className = over ? "broken" : "kept";
  verdict.textContent = over
    ? language.count("budget.broken", over)
    : language.count("budget.kept", ledger.items.length);
  const older = document.getElementById("older");
  older.hidden = !ledger.links.some((link) => link.rel === "next");
  older.textContent = language.tell("budget.older");
}

function showSuppressed(days) {
  const cells = days.reduce((sum, day) => sum + day.cells, 0);
  const suppressed = days.reduce((sum, day) => sum + day.suppressed, 0);
  const told = document.getElementById("suppressed-told");
  told.hidden = cells === 0;
  if (cells === 0) return;
  const values = { cells, suppressed, share: language.percent(suppressed / cells) };
  told.textContent = language.tell("suppressed.told", values);
  told.dataset.cells = cells;
  told.dataset.suppressed = suppressed;
  const words = { silent: language.tell("suppressed.silent"), said: language.tell("suppressed.said") };
  document.getElementById("suppressed-picture").replaceChildren(shares(suppressed / cells, words, told.textContent));
}

function showComposition(composition) {
  const alone = composition.rows.filter((row) => row.carriers === 1 && row.group === 1);
  document.getElementById("adds-picture").replaceChildren(
    bars(
      alone.map((row) => ({
        label: language.count("adds.days", row.days),
        value: row.epsilon,
        words: language.number(row.epsilon, 2),
      })),
      language.tell("adds.picture"),
    ),
  );
  const table = document.getElementById("composition");
  head(table, ["adds.span", "adds.where", "adds.who", "adds.rho", "adds.epsilon"], ["adds.rho", "adds.epsilon"]);
  table.querySelector("tbody").replaceChildren(
    ...composition.rows.map((row) =>
      element(
        "tr",
        { "data-case": `${row.days}/${row.carriers}/${row.group}` },
        element("th", { scope: "row" }, language.count("adds.days", row.days)),
        element("td", {}, language.count("adds.carriers", row.carriers)),
        element("td", {}, row.group === 1 ? language.tell("adds.group.one") : language.tell("adds.group.other", { count: row.group })),
        figure("rho", row.rho, language.number(row.rho, 3)),
        figure("epsilon", row.epsilon, language.number(row.epsilon, 2)),
      ),
    ),
  );
  document.getElementById("adds-method").textContent = language.tell("adds.method", {
    delta: language.power(composition.delta),
    method: composition.method,
  });
}

function showPolicies(policies) {
  const table = document.getElementById("policies");
  const keys = ["from", "carrier", "policy", "previous", "epsilon", "noise", "threshold"];
  head(table, keys.map((key) => `policies.${key}`), ["policies.epsilon"]);
  const each = (policy, words) => element("td", {}, ...policy.levels.map((level) => element("div", {}, `${language.tell(`level.${level.level}`)}: ${words(level)}`)));
  table.querySelector("tbody").replaceChildren(
    ...[...policies].reverse().map((policy) =>
      element(
        "tr",
        { "data-policy": policy.policy_id, "data-from": policy.takes_effect },
        element("th", { scope: "row" }, language.instant(policy.takes_effect)),
        element("td", {}, policy.carrier),
        element("td", {}, policy.policy_id),
        element("td", {}, policy.previous ?? language.tell("policies.first")),
        figure("epsilon_day", policy.epsilon_day, language.number(policy.epsilon_day, 2)),
        each(policy, (level) => language.number(level.sigma, 2)),
        each(policy, (level) => language.number(level.threshold, 0)),
      ),
    ),
  );
}

function showSteps(verification) {
  const link = (href, words = href) => element("a", { href }, words);
  const code = (words) => element("code", {}, words);
  const published = verification.carrier_ledgers.flatMap(({ carrier, href }, place) => [place ? ", " : "", link(href, carrier)]);
  const steps = [
    verification.verifier
      ? language.parts("verify.program", {
          verifier: [element("a", { href: `..${verification.verifier}`, download: "verify_ledger.py" }, "verify_ledger.py")],
          sha256: [code(verification.verifier_sha256)],
        })
      : language.parts("verify.program.missing", {}),
    published.length ? language.parts("verify.carriers", { links: published }) : language.parts("verify.carriers.missing", {}),
    language.parts("verify.centre", { ledger: [link(LEDGER, "/v1/privacy/ledger")] }),
    language.parts("verify.run", { command: [code(verification.command)] }),
    language.parts("verify.reads", {}),
  ];
  document.getElementById("verify-steps").replaceChildren(...steps.map((parts) => element("li", {}, ...parts)));
}

function showClaims() {
  const claims = language.keys("not.").filter((key) => key !== "not.title");
  document.getElementById("not-claimed").replaceChildren(...claims.map((key) => element("li", { "data-claim": key }, language.tell(key))));
}

function showNotice(notice) {
  const said = (name) => {
    const words = name === "ends_on" && notice.ends_on ? language.day(notice.ends_on) : notice[name];
    if (!words) return element("dd", { class: "unsaid", "data-notice": name }, language.tell("notice.unsaid"));
    const ended = name === "ends_on" && notice.ended;
    return element("dd", { class: ended && "ended", "data-notice": name }, ended ? language.tell("notice.ended", { date: words }) : words);
  };
  const rows = ["operator", "complaints", "authority", "opt_out", "ends_on"].flatMap((name) => [
    element("dt", {}, language.tell(`notice.${name}`)),
    said(name),
  ]);
  document.getElementById("notice").replaceChildren(...rows);
}

function listLanguages() {
  const choices = Object.entries(LANGUAGES).map(([lang, name]) =>
    element("a", { href: `?lang=${lang}`, lang, hreflang: lang, "aria-current": lang === language.lang ? "true" : null }, name),
  );
  document.getElementById("languages").replaceChildren(...choices);
}
