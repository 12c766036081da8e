// The page over all files of a folder: counts, a table to sort and filter, and a link to each page.
// Of thousands of files a page of the table is shown, the rest on demand.

const FEW_FILES = 100;
const MOST_PRINTED = 1000;

// A row as `index_row` gives it, and what it is filtered and sorted by.
function openRow(row, place) {
  const text = `${row.title} ${row.name} ${row.error ?? ""}`.toLowerCase();
  return { ...row, place, text, has: row.moments.map((count) => count > 0) };
}

const STATES = [
  ["any", "any state", () => true],
  ["open", "not reviewed", (row) => row.judged === null && row.error === null],
  ["reviewed", "reviewed", (row) => row.judged !== null],
  ["wrong", "with a wrong moment", (row) => row.wrong > 0],
  ["failed", "failed", (row) => row.error !== null],
];

function indexColumns(model) {
  const seconds = (row) => row.duration_s;
  return [
    { name: "File", cell: (row) => fileCell(model, row), order: ({ name }) => name.toLowerCase() },
    { name: "Moments", cell: (row) => momentsCell(model, row), order: (row) => row.moments.reduce((a, b) => a + b, 0) },
    { name: "Conflict (%)", kind: "fv-number", cell: (row) => (row.strength === null ? "–" : String(hundredths(row.strength))), order: (row) => row.strength },
    { name: "In conflict (s)", kind: "fv-number", cell: (row) => (row.seconds[model.conflict] ? row.seconds[model.conflict].toFixed(0) : "–"), order: (row) => row.seconds[model.conflict] || null },
    { name: "Length", kind: "fv-number", cell: (row) => (row.error === null ? clock(Math.round(seconds(row))) : "–"), order: seconds },
    { name: "Review", cell: reviewCell, order: (row) => row.judged },
  ];
}

function thumbOf(row) {
  if (row.thumb === null) return el("span", { class: "fv-thumb", "aria-hidden": "true" });
  return el("img", { class: "fv-thumb", src: `data:image/jpeg;base64,${row.thumb}`, alt: "", loading: "lazy" });
}

function fileCell(model, row) {
  const told = row.error ?? row.words;
  const remark = row.remark === null || row.error !== null ? null : el("small", {}, row.remark);
  return el(
    "div",
    { class: "fv-file" },
    model.hasThumbs ? thumbOf(row) : null,
    el("div", {}, el("a", { href: row.href, title: row.title }, row.name), remark, el("p", { class: row.error === null ? "fv-told" : "fv-told fv-failed" }, told)),
  );
}

function momentsCell(model, row) {
  if (row.error !== null) return "failed";
  const told = model.outcomes.map((outcome, k) =>
    (row.has[k] ? el("li", {}, outcomeShape(outcome), `${row.moments[k]} ${outcome.name}`) : null));
  return el("ul", { class: "fv-moment-counts" }, told);
}

function reviewCell({ judged, right, wrong, moments }) {
  if (judged === null) return "–";
  const all = moments.reduce((a, b) => a + b, 0);
  const words = [right ? `${right}\u00a0right` : null, wrong ? `${wrong}\u00a0wrong` : null].filter((part) => part !== null);
  return `${judged} of ${all}${words.length ? `: ${words.join(", ")}` : ""}`;
}

// What was chosen stands behind the page's address, so that whoever comes back from a file's page finds
// it again.
function readChoice(model, columns) {
  const told = new URLSearchParams(window.location.hash.slice(1));
  const place = (name, list) => list.findIndex((one) => one.name === told.get(name));
  const outcome = place("outcome", model.outcomes);
  return {
    column: Math.max(0, place("sort", columns)),
    isDown: told.has("down"),
    outcome: outcome < 0 ? null : outcome,
    text: told.get("text") ?? "",
    state: STATES.some(([key]) => key === told.get("state")) ? told.get("state") : "any",
  };
}

function keepChoice(model, columns, choice) {
  const told = new URLSearchParams();
  if (choice.column) told.set("sort", columns[choice.column].name);
  if (choice.isDown) told.set("down", "");
  if (choice.outcome !== null) told.set("outcome", model.outcomes[choice.outcome].name);
  if (choice.text) told.set("text", choice.text);
  if (choice.state !== "any") told.set("state", choice.state);
  window.history.replaceState(null, "", `#${told}`);
}

function createIndexTable(model, level) {
  const columns = indexColumns(model);
  const choice = readChoice(model, columns);
  const body = el("tbody");
  const status = el("p", { class: "fv-note", role: "status" });
  const more = el("button", { type: "button", class: "fv-button fv-screen", onclick: () => show(FEW_FILES)?.querySelector("a").focus() });
  const left = el("p", { class: "fv-note fv-paper" });
  let wanted = [];
  const show = (count) => {
    const from = body.childElementCount;
    const rows = wanted.slice(from, from + count).map((row) => indexRow(columns, row));
    body.append(...rows);
    const rest = wanted.length - body.childElementCount;
    more.hidden = rest === 0;
    more.textContent = `Show ${Math.min(rest, FEW_FILES).toLocaleString("en")} more of ${rest.toLocaleString("en")}`;
    left.textContent = rest === 0 ? "" : `${rest.toLocaleString("en")} more files are not printed.`;
    return rows[0];
  };
  const apply = () => {
    const isInState = STATES.find(([key]) => key === choice.state)[2];
    const fits = (row) => (choice.outcome === null || row.has[choice.outcome]) && row.text.includes(choice.text) && isInState(row);
    wanted = model.rows.filter(fits).sort(orderOf(columns[choice.column], choice.isDown, (row) => row, ({ place }) => place));
    body.replaceChildren();
    show(FEW_FILES);
    keepChoice(model, columns, choice);
    const all = model.rows.length.toLocaleString("en");
    status.textContent = `${wanted.length.toLocaleString("en")} of ${all} files${wanted.length ? "" : ": nothing fits"}`;
  };
  const head = sortHead(columns, choice, apply);
  const filters = createFilters(model, choice, apply);
  const states = el("select", { autocomplete: "off", onchange: ({ target }) => { choice.state = target.value; apply(); } }, STATES.map(([key, words]) => el("option", { value: key }, words)));
  filters.querySelector("select").value = choice.outcome ?? "";
  filters.querySelector("input").value = choice.text;
  states.value = choice.state;
  filters.append(el("label", {}, "State ", states));
  apply();
  window.addEventListener("beforeprint", () => show(MOST_PRINTED - body.childElementCount));
  return el(
    "section",
    {},
    el(`h${level}`, {}, "Files"),
    filters,
    status,
    el("div", { class: "fv-scroll", tabindex: "0", role: "region", "aria-label": "Table of files" }, el("table", { class: "fv-table fv-index" }, head, body)),
    more,
    left,
  );
}

function indexRow(columns, row) {
  return el("tr", {}, columns.map(({ kind, cell }) => el("td", { class: kind ?? null }, cell(row))));
}

// In how many files each outcome is found, how often, and for how long.
function indexCounts(model) {
  const good = model.rows.filter((row) => row.error === null);
  const total = (list) => list.reduce((a, b) => a + b, 0);
  const numbers = ["Files", "Moments", "Time"];
  const rows = model.outcomes.map((outcome, k) => {
    const counts = [(row) => Number(row.has[k]), (row) => row.moments[k]].map((count) => total(good.map(count)));
    const time = clock(Math.round(total(good.map((row) => row.seconds[k]))));
    const words = [...counts.map((count) => count.toLocaleString("en")), time];
    return el("tr", {}, el("th", { scope: "row" }, outcomeShape(outcome), outcome.name), words.map((value) => el("td", { class: "fv-number" }, value)));
  });
  return el("table", { class: "fv-table fv-index-counts" }, headRow(["Outcome", ...numbers], numbers), el("tbody", {}, rows));
}

function indexSentence(model) {
  const count = model.rows.length;
  const failed = model.rows.filter((row) => row.error !== null).length;
  const reviewed = model.rows.filter((row) => row.judged !== null).length;
  const parts = [`${count.toLocaleString("en")} ${count === 1 ? "file" : "files"}`];
  if (failed) parts.push(`${failed.toLocaleString("en")} failed`);
  if (reviewed) parts.push(`${reviewed.toLocaleString("en")} reviewed`);
  return parts.join(" · ");
}

function mountIndex(element, view, { theme: wanted = "light" } = {}) {
  const model = { ...withColours(view), rows: view.rows.map(openRow) };
  model.conflict = model.outcomes.findIndex((outcome) => outcome.name === "conflict");
  model.hasThumbs = view.rows.some((row) => row.thumb !== null);
  const theme = createTheme(element, model, wanted, () => {});
  element.classList.add("fv-root");
  element.replaceChildren(
    el(
      "header",
      { class: "fv-header" },
      el("div", { class: "fv-top-line" }, el("h1", { class: "fv-title" }, model.title), el("p", { class: "fv-meta" }, indexSentence(model)), theme.button),
      el("p", { class: "fv-notice", role: "note" }, model.notice),
    ),
    el("section", {}, el("h2", {}, "Over all files"), indexCounts(model)),
    createIndexTable(model, 2),
    el("footer", { class: "fv-footer" }, el("p", {}, `facevoice ${model.version}`)),
  );
  theme.apply();
}

window.facevoice = { ...(window.facevoice ?? {}), mountIndex };
