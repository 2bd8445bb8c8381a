"use strict";
// The list of examples: all text goes into the page as text, never as HTML.
(() => {
  const PAGE = 50;
  const data = JSON.parse(document.getElementById("data").textContent);
  const { items, runs, databases, schemas, features, components } = data;
  const byId = (id) => document.getElementById(id);
  const list = byId("list");
  let matches = items.map((_, index) => index);
  let page = 0;

  function element(name, properties = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const word = (value) => (value === true ? "✓ right" : value === false ? "✗ wrong" : "– not told");

  // Outcomes to filter by: of the one run, or of each other run against the first.
  const outcomes = [["all", () => true]];
  for (const metric of data.metrics) {
    const name = metric === "exact" ? "exact match" : "execution";
    if (runs.length === 1) {
      outcomes.push([`${name} wrong`, (item) => item.answers[0][metric] === false]);
      outcomes.push([`${name} right`, (item) => item.answers[0][metric] === true]);
      outcomes.push([`${name} not told`, (item) => item.answers[0][metric] == null]);
    } else {
      runs.slice(1).forEach((run, at) => {
        const other = at + 1;
        outcomes.push([`${name}: ${run} won`, ({ answers }) => answers[0][metric] === false && answers[other][metric] === true]);
        outcomes.push([`${name}: ${run} lost`, ({ answers }) => answers[0][metric] === true && answers[other][metric] === false]);
      });
      outcomes.push([`${name}: all wrong`, (item) => item.answers.every((answer) => answer[metric] === false)]);
      outcomes.push([`${name}: all right`, (item) => item.answers.every((answer) => answer[metric] === true)]);
    }
  }
  if (runs.length === 1 && data.metrics.length === 2) {
    outcomes.push(["execution right, exact match wrong", ({ answers: [a] }) => a.execution === true && a.exact === false]);
    outcomes.push(["exact match right, execution wrong", ({ answers: [a] }) => a.execution === false && a.exact === true]);
  }
  outcomes.push(["not in Spider's grammar", (item) => item.answers.some((answer) => answer.rejected)]);

  function options(id, names) {
    names.forEach((name, at) => byId(id).append(element("option", { value: at }, name)));
  }
  const present = (values) => [...new Set(values)].filter((value) => value != null);
  const levels = ["easy", "medium", "hard", "extra"].filter((level) => items.some((item) => item.level === level));
  const states = present(items.flatMap((item) => item.answers.map((answer) => answer.state)));
  options("outcome", outcomes.map(([name]) => name));
  options("level", ["all", ...levels]);
  options("database", ["all", ...databases]);
  options("state", ["all", ...states]);
  options("feature", ["all", ...features]);

  const texts = new Array(items.length);
  function textOf(index) {
    if (texts[index] === undefined) {
      const item = items[index];
      const parts = [item.id, databases[item.db], item.question];
      for (const answer of item.answers) {
        parts.push(answer.gold.join(""), (answer.sql || []).join(""), answer.rejected, answer.detail, answer.failedOn);
      }
      texts[index] = parts.filter(Boolean).join("\n").toLowerCase();
    }
    return texts[index];
  }

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = (id) => Number(byId(id).value);
    const passes = outcomes[chosen("outcome")][1];
    const [level, database, state, feature] = ["level", "database", "state", "feature"].map(chosen);
    matches = [];
    items.forEach((item, index) => {
      if (level && item.level !== levels[level - 1]) return;
      if (database && item.db !== database - 1) return;
      if (state && !item.answers.some((answer) => answer.state === states[state - 1])) return;
      if (feature && !item.features.includes(feature - 1)) return;
      if (!passes(item)) return;
      if (words.length && !words.every((wanted) => textOf(index).includes(wanted))) return;
      matches.push(index);
    });
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(matches.length / PAGE));
    byId("count").textContent = `${matches.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} examples`;
    byId("place").textContent = `Page ${page + 1} of ${pages}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page + 1 >= pages;
    list.replaceChildren(...matches.slice(page * PAGE, (page + 1) * PAGE).map(entry));
  }

  function entry(index) {
    const item = items[index];
    const verdicts = item.answers.map((answer, at) => {
      const told = data.metrics.map((metric) => `${metric === "exact" ? "exact" : "execution"} ${word(answer[metric])}`);
      if (answer.state !== "scored") told.push(answer.state);
      return (runs.length > 1 ? `${runs[at]}: ` : "") + told.join(", ");
    });
    const tags = [`#${item.id}`, databases[item.db], item.level];
    if (item.turn) tags.push(`turn ${item.turn}`);
    const details = element("details", {},
      element("summary", {},
        element("span", { class: "verdict" }, verdicts.join(" | ")), " ",
        element("span", { class: "tags" }, tags.filter(Boolean).join(" · ")), element("br"),
        item.question === null ? item.answers[0].gold.join("") : item.question));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(opened(item));
    });
    return element("li", { id: `example-${index}` }, details);
  }

  function query(title, pieces) {
    const shown = element("pre");
    if (pieces === null) shown.append("there is no prediction");
    else pieces.forEach((piece, at) => shown.append(at % 2 ? element("mark", {}, piece) : piece));
    return element("div", {}, element("h3", {}, title), shown);
  }

  function opened(item) {
    const shown = element("div", { class: "detail" });
    if (item.question !== null) shown.append(element("h3", {}, "Question"), element("pre", {}, item.question));
    item.answers.forEach((answer, at) => {
      const of = runs.length > 1 ? ` of ${runs[at]}` : "";
      shown.append(element("div", { class: "pair" }, query("Gold", answer.gold), query(`Prediction${of}`, answer.sql)));
      for (const line of complaints(answer)) shown.append(element("p", { class: "quiet" }, line));
      if (answer.results) {
        const { file, gold, prediction, reordered } = answer.results;
        shown.append(element("h3", {}, `First database that tells them apart: ${file}`),
          element("div", { class: "pair" }, result("The gold returns", gold), result(`The prediction${of} returns${reordered ? " the same rows in another order" : ""}`, prediction)));
      }
      if (answer.partial) shown.append(partial(answer.partial));
    });
    const schema = schemas[item.db];
    shown.append(element("p", { class: "quiet" }, element("a", { href: `#example-${items.indexOf(item)}` }, "Link to this example")));
    if (schema) shown.append(element("h3", {}, `Schema of ${databases[item.db]}`), element("pre", { class: "schema" }, schema));
    return shown;
  }

  function complaints(answer) {
    const lines = [];
    if (answer.state !== "scored") lines.push(`State: ${answer.state}`);
    if (answer.detail) lines.push(`Execution: ${answer.detail}` + (answer.failedOn ? ` (on ${answer.failedOn})` : ""));
    if (answer.rejected) lines.push(`Spider's grammar rejects the prediction: ${answer.rejected}`);
    if (answer.goldRejected) lines.push(`Spider's grammar rejects the gold: ${answer.goldRejected}`);
    if (answer.canonical !== answer.exact) lines.push(`Exact match of canonical forms: ${word(answer.canonical)}`);
    if (answer.capped) lines.push("Not every way to plug values in was tried.");
    return lines;
  }

  function result(title, { state, detail, columns, rows, own, summary }) {
    const shown = element("div", {}, element("h3", {}, title));
    if (state !== "ran") {
      shown.append(element("pre", {}, `${state}: ${detail}`));
      return shown;
    }
    const head = element("tr", {}, element("th", { scope: "col" }, ""), ...columns.map((name) => element("th", { scope: "col" }, name)));
    const body = rows.map((row, at) => element("tr", own[at] ? { class: "own" } : {},
      element("td", own[at] ? { "aria-label": "only here" } : {}, own[at] ? "≠" : ""), ...row.map((cell) => element("td", {}, cell))));
    shown.append(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      element("table", { class: "result" }, element("thead", {}, head), element("tbody", {}, ...body))),
    element("p", { class: "quiet" }, summary));
    return shown;
  }

  function partial(rows) {
    const head = ["component", "accuracy", "recall", "F1", "in the gold", "in the prediction"];
    const body = components.map((name, at) => element("tr", {}, element("th", { scope: "row" }, name),
      ...rows[at].map((cell) => element("td", {}, String(cell)))));
    return element("div", {}, element("h3", {}, "Partial scores of exact match"), element("div", { class: "scroll" },
      element("table", {}, element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, ...body))));
  }

  function open(index) {
    const at = matches.indexOf(index);
    if (at < 0) return;
    page = Math.floor(at / PAGE);
    show();
    const details = byId(`example-${index}`).firstElementChild;
    details.open = true;
    details.scrollIntoView();
    details.firstElementChild.focus();
  }

  function follow() {
    const found = /^#example-(\d+)$/.exec(location.hash);
    if (found) open(Number(found[1]));
  }

  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 100);
  });
  for (const id of ["outcome", "level", "database", "state", "feature"]) byId(id).addEventListener("change", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  const turn = (step) => {
    page += step;
    show();
    byId("examples").scrollIntoView();
  };
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      byId("search").focus();
    }
  });
  addEventListener("hashchange", follow);
  show();
  follow();
})();
