// All windows as a table, also the timeline's text: sorted by any column, and only those of one
// outcome, or whose row has a text. Built when it is opened.

// A longer one is printed only if it was opened.
const LONGEST_PRINTED = 300;

// {name, kind, cell(window), order(window)}: its class, what stands there, and a number or text to sort
// by; null comes last whichever way.
function tableColumns(model, onPick) {
  const link = (window) => el("button", { type: "button", class: "fv-link", onclick: () => onPick(window) }, span(window.from, window.to));
  const byEmotion = (top) => (top === null ? null : `${model.emotions[top.emotion].name} ${String(1000 - top.prob).padStart(4, "0")}`);
  return [
    { name: `Time (${clockUnit(model)})`, cell: link, order: ({ from }) => from },
    ...(model.isCrowd ? [{ name: "Who", kind: "fv-person", cell: ({ person }) => nameOf(model, person) ?? "–", order: ({ person }) => nameOf(model, person) }] : []),
    { name: "Outcome", cell: ({ outcomeOf }) => [outcomeShape(outcomeOf), outcomeOf.name], order: ({ outcome }) => outcome },
    { name: "Conflict (%)", kind: "fv-number", cell: ({ counted }) => (counted === null ? "–" : String(hundredths(counted))), order: ({ counted }) => counted },
    ...model.channels.map(({ key, label }) => ({
      name: label,
      cell: (window) => reading(model, window[`${key}Top`]) ?? "–",
      order: (window) => byEmotion(window[`${key}Top`]),
    })),
    { name: "Remarks", kind: "fv-wide", cell: (window) => capital(remarks(window).join("; ")), order: (window) => remarks(window).join("; ") || null },
  ];
}

function createTable(model, onPick) {
  const columns = tableColumns(model, onPick);
  const count = model.windows.length;
  const body = el("tbody");
  const status = el("p", { class: "fv-note", role: "status" });
  const choice = { column: 0, isDown: false, outcome: null, text: "" };
  let rows = null;
  const apply = () => {
    const shown = rows.filter((row) => isWanted(row, choice)).sort(orderOf(columns[choice.column], choice.isDown));
    body.replaceChildren(...shown.map(({ element }) => element));
    const isAll = shown.length === count;
    status.textContent = isAll ? "" : `${shown.length} of ${count} windows${shown.length ? "" : ": nothing fits"}`;
  };
  const build = () => {
    if (rows !== null) return;
    rows = model.windows.map((window) => windowRow(columns, window));
    apply();
  };
  const head = sortHead(columns, choice, apply);
  const filters = count > 1 ? createFilters(model, choice, () => { build(); apply(); }) : null;
  const table = el("table", { class: "fv-table fv-windows" }, head, body);
  const element = el(
    "details",
    { class: "fv-details", ontoggle: build },
    el("summary", {}, count > 1 ? `All ${count} windows as a table` : "The window as a table"),
    filters,
    status,
    el("div", { class: "fv-scroll", tabindex: "0", role: "region", "aria-label": "Table of windows" }, table),
  );
  const print = () => {
    if (!element.open && count > LONGEST_PRINTED) return;
    build();
    element.open = true;
  };
  window.addEventListener("beforeprint", print);
  return {
    element,
    refresh() {
      rows = null;
      body.replaceChildren();
      if (element.open) build();
    },
    destroy() { window.removeEventListener("beforeprint", print); },
  };
}

function windowRow(columns, window) {
  const element = el("tr", {}, columns.map(({ kind, cell }) => el("td", { class: kind }, cell(window))));
  const text = [...element.cells].map(({ textContent }) => textContent).join(" ").toLowerCase();
  return { window, element, text };
}

function isWanted({ window, text }, choice) {
  return (choice.outcome === null || window.outcome === choice.outcome) && text.includes(choice.text);
}

function orderOf({ order }, isDown) {
  return (a, b) => {
    const [x, y] = [order(a.window), order(b.window)];
    if (x === y) return a.window.from - b.window.from;
    if (x === null || y === null) return x === null ? 1 : -1;
    return (x < y ? -1 : 1) * (isDown ? -1 : 1);
  };
}

// A press on a column sorts by it, another turns it round.
function sortHead(columns, choice, changed) {
  const heads = columns.map(({ name, kind }, k) => {
    const isNumber = kind === "fv-number";
    const press = () => {
      choice.isDown = choice.column === k ? !choice.isDown : isNumber;  // Numbers begin with the largest.
      choice.column = k;
      mark();
      changed();
    };
    return el("th", { scope: "col", class: kind ?? null }, el("button", { type: "button", class: "fv-sort", onclick: press }, name));
  });
  const mark = () => heads.forEach((head, k) => {
    if (k === choice.column) head.setAttribute("aria-sort", choice.isDown ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  mark();
  return el("thead", {}, el("tr", {}, heads));
}

function createFilters(model, choice, changed) {
  const take = (key, valueOf) => ({ target }) => {
    choice[key] = valueOf(target.value);
    changed();
  };
  const options = [el("option", { value: "" }, "all outcomes"), ...model.outcomes.map(({ name, place }) => el("option", { value: place }, name))];
  const select = el("select", { autocomplete: "off", onchange: take("outcome", (value) => (value === "" ? null : Number(value))) }, options);
  const input = el("input", { type: "search", autocomplete: "off", oninput: take("text", (value) => value.trim().toLowerCase()) });
  return el("div", { class: "fv-filters" }, el("label", {}, "Show ", select), el("label", {}, "with the text ", input));
}
