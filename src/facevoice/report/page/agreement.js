// How far people and reports agree: figures, both on one timeline, and who says what.

const LABEL_PX = 18;
const LABEL_GAP_PX = 4;

function createLabels(model, { name, duration_s: duration, rows }) {
  const axis = new Axis(duration);
  const canvas = el("canvas", { role: "img", "aria-label": `Labels by people and by facevoice over ${clock(duration)}` });
  const area = el("div", { class: "fv-area" }, canvas);
  const topOf = (place) => 1 + place * (LABEL_PX + LABEL_GAP_PX);
  const bottom = topOf(rows.length);
  area.style.height = `${bottom + 20}px`;
  const draw = (width = area.clientWidth) => {
    axis.width = width;
    if (axis.width === 0) return;
    const context = fitCanvas(canvas, axis.width, bottom + 20, model.look);
    drawAxis(context, axis, bottom);
    rows.forEach(({ kind, spans }, row) => {
      for (const [from, to, place] of spans) drawLabel(context, model[kind][place], axis.ends({ from, to }), topOf(row), LABEL_PX);
    });
  };
  area.addEventListener("pointermove", ({ offsetX, offsetY }) => {
    const [row, time] = [rows[Math.floor(offsetY / (LABEL_PX + LABEL_GAP_PX))], axis.time(offsetX)];
    const found = row?.spans.find(([from, to]) => from <= time && time < to);
    area.title = found ? `${span(found[0], found[1])} ${row.name}: ${model[row.kind][found[2]].name}` : "";
  });
  new ResizeObserver(() => draw()).observe(area);
  takePrint(axis, draw, () => area.clientWidth);
  const names = rows.map((row, place) => el("div", { class: "fv-label", style: { top: `${topOf(place)}px`, height: `${LABEL_PX}px` }, title: row.name }, row.name));
  const element = el("section", { class: "fv-timeline" }, el("h2", {}, name), el("div", { class: "fv-plot" }, el("div", { class: "fv-labels" }, names), area));
  return { element, draw };
}

function legendOf({ emotions, outcomes }) {
  return el(
    "ul",
    { class: "fv-legend", "aria-label": "Colours" },
    emotions.map((emotion) => el("li", {}, chip(emotion), emotion.name)),
    outcomes.map((outcome) => el("li", {}, outcomeShape(outcome), outcome.name)),
  );
}

function scrolled(label, ...parts) {
  return el("div", { class: "fv-scroll", tabindex: "0", role: "group", "aria-label": label }, el("table", { class: "fv-table" }, ...parts));
}

function figureTable({ heads, comparisons }) {
  const isNumber = (place) => place > 2;
  const rows = comparisons.map(({ cells: [first, ...others] }) => el(
    "tr",
    {},
    el("th", { scope: "row" }, first),
    others.map((cell, k) => el("td", { class: isNumber(k + 1) ? "fv-number" : null }, cell)),
  ));
  return scrolled("Figures", headRow(heads, heads.filter((_, k) => isNumber(k))), el("tbody", {}, rows));
}

function confusion({ cells: [channel, by, unit], words, labels, counts }) {
  const most = Math.max(1, ...counts.flat());
  const rows = counts.map((row, k) => el(
    "tr",
    {},
    el("th", { scope: "row" }, labels[k]),
    row.map((n) => el("td", { class: "fv-number", style: { background: `color-mix(in srgb, var(--fv-accent) ${Math.round((40 * n) / most)}%, transparent)` } }, n.toLocaleString("en"))),
  ));
  const table = scrolled("Confusions", el("caption", {}, "Rows: people. Columns: facevoice."), headRow(["label", ...labels], labels), el("tbody", {}, rows));
  return el("div", { class: "fv-sub" }, el("h3", {}, `${channel}, ${by}, per ${unit}`), el("p", {}, words), labels.length ? table : null);
}

function mountAgreement(element, view, { theme: wanted = "light" } = {}) {
  const model = withColours(view);
  const timelines = view.timelines.map((timeline) => createLabels(model, timeline));
  const theme = createTheme(element, model, wanted, () => {
    for (const { draw } of timelines) draw();
  });
  const list = (lines) => el("ul", { class: "fv-remarks" }, lines.map((line) => el("li", {}, line)));
  element.classList.add("fv-root");
  element.replaceChildren(
    el(
      "header",
      { class: "fv-header" },
      el("div", { class: "fv-top-line" }, el("h1", { class: "fv-title" }, view.title), theme.button),
      el("p", { class: "fv-notice", role: "note" }, view.notice),
    ),
    el("section", {}, el("h2", {}, "Figures"), figureTable(view), el("p", { class: "fv-note" }, view.meaning), list(view.remarks)),
    ...(view.among.length ? [el("section", {}, el("h2", {}, "People among themselves"), list(view.among))] : []),
    ...timelines.map((timeline) => timeline.element),
    legendOf(model),
    el("section", {}, el("h2", {}, "Who says what"), view.comparisons.map(confusion)),
    el("footer", { class: "fv-footer" }, el("p", {}, `facevoice ${view.version}`)),
  );
  theme.apply();
}

window.facevoice = { ...(window.facevoice ?? {}), mountAgreement };
