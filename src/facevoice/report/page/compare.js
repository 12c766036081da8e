// Two reports on one clock: both timelines, one playhead, what each says at it, and where they differ.

const SIDE_MARKS = ["A", "B"];

function createSide({ name, sentence, view }, place, playhead, duration) {
  const model = openView({ ...view, duration_s: duration });
  const timeline = createTimeline(model, playhead, 3);
  const card = createCard(model, 3);
  const mark = SIDE_MARKS[place];
  timeline.element.querySelector(".fv-area").setAttribute("aria-label", `Place in ${mark}`);
  card.element.setAttribute("aria-label", `What is selected in ${mark}`);
  card.element.prepend(el("p", { class: "fv-note" }, `${mark}: ${name}`));
  const element = el(
    "section",
    { class: "fv-side", "aria-label": `${mark}: ${name}` },
    el("h2", {}, el("span", { class: "fv-side-mark" }, mark), name),
    el("p", {}, sentence),
    timeline.steps,
    timeline.element,
    timeline.strip,
  );
  return { model, element, card, parts: [timeline, card] };
}

function differenceRow(models, { from, to, outcomes, words }, jump) {
  const button = el("button", { type: "button", class: "fv-link", title: "Go there", onclick: () => jump(from) }, span(from, to));
  const cells = outcomes.map((outcome, k) => {
    const look = models[k].outcomes[outcome];
    return el("td", {}, outcomeShape(look), look.name, el("span", { class: "fv-told" }, ` ${words[k]}`));
  });
  return el("tr", {}, el("td", { class: "fv-nowrap" }, button), cells);
}

function agreementTable(view) {
  const names = { outcome: "Outcome", face: "Face", voice: "Voice" };
  const numbers = ["Compared (s)", "Same (%)", "Kappa"];
  const rows = view.agreement.map(({ channel, seconds, same, kappa }) => el(
    "tr",
    {},
    el("th", { scope: "row" }, names[channel]),
    el("td", { class: "fv-number" }, seconds.toFixed(0)),
    el("td", { class: "fv-number" }, same === null ? "–" : String(Math.round(100 * same))),
    el("td", { class: "fv-number" }, kappa === null ? "–" : kappa.toFixed(2)),
  ));
  return el("table", { class: "fv-table fv-agreement" }, headRow(["", ...numbers].map((name) => name || "What"), numbers), el("tbody", {}, rows));
}

function mountComparison(element, view, { theme: wanted = "light" } = {}) {
  const duration = Math.max(...view.sides.map((side) => side.view.duration_s));
  const playhead = new Playhead(duration);
  const sides = view.sides.map((side, place) => createSide(side, place, playhead, duration));
  const models = sides.map(({ model }) => model);
  const parts = sides.flatMap((side) => side.parts);
  // One switch for both: the second model takes the colours that the first has taken.
  const theme = createTheme(element, models[0], wanted, () => {
    for (const model of models.slice(1)) useColours(element, model, element.dataset.theme);
    for (const part of parts) part.repaint?.();
  });
  const jump = (time) => {
    playhead.choose(time);
    sides[0].element.scrollIntoView({ block: "nearest" });
  };
  const rows = view.differences.map((one) => differenceRow(models, one, jump));
  const differences = rows.length
    ? el("table", { class: "fv-table fv-differences" }, headRow([`Time (${clockUnit(models[0])})`, ...SIDE_MARKS]), el("tbody", {}, rows))
    : el("p", {}, "The outcomes differ nowhere.");
  element.classList.add("fv-root");
  element.replaceChildren(
    el(
      "header",
      { class: "fv-header" },
      el("div", { class: "fv-top-line" }, el("h1", { class: "fv-title" }, view.title), theme.button),
      el("p", { class: "fv-sentence" }, el("span", {}, view.sentence)),
      view.remarks.length ? el("ul", { class: "fv-remarks" }, view.remarks.map((remark) => el("li", {}, remark))) : null,
      el("p", { class: "fv-notice", role: "note" }, view.notice),
    ),
    ...sides.map((side) => side.element),
    el("div", { class: "fv-pair fv-cards" }, sides.map(({ card }) => card.element)),
    el("section", {}, el("h2", {}, "Where the outcomes differ"), differences),
    el("section", {}, el("h2", {}, "How far they agree"), agreementTable(view)),
    el("footer", { class: "fv-footer" }, el("p", {}, `facevoice ${view.version}`)),
  );
  playhead.changed = () => {
    for (const part of parts) part.show?.(playhead);
  };
  theme.apply();
  playhead.changed();
}

window.facevoice = { ...(window.facevoice ?? {}), mountComparison };
