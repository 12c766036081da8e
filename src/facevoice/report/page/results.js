// What is said in words and tables around the timeline.

function createHeader(model, level) {
  const failed = model.status === "failed";
  const outcome = model.summary === null ? null : model.summary.outcomeOf;
  const badge = outcome !== null
    ? outcomeBadge(outcome)
    : el("span", { class: "fv-badge fv-badge-failed" }, failed ? "not analysed" : "nothing read");
  const facts = [
    model.duration_s > 0 ? clock(model.duration_s) : null,
    model.windows.length ? plural(model.windows.length, "window") : null,
    STATUS_WORDS[model.status] ?? null,
  ].filter((fact) => fact !== null);
  return el(
    "header",
    { class: "fv-header" },
    el(`h${level}`, { class: "fv-title" }, model.title),
    facts.length ? el("p", { class: "fv-meta" }, facts.join(" · ")) : null,
    el("p", { class: "fv-sentence" }, badge, el("span", {}, model.sentence)),
    el("p", { class: "fv-notice", role: "note" }, model.notice),
  );
}

const STATUS_WORDS = {
  no_face: "no face seen",
  no_speech: "no speech heard",
  no_face_no_speech: "no face seen, no speech heard",
  audio_only: "sound only",
  video_only: "picture only",
  truncated: "damaged or cut off",
};

function createLegend(model) {
  return el(
    "ul",
    { class: "fv-legend", "aria-label": "Colours of emotions" },
    model.emotions.map((emotion) => el("li", {}, chip(emotion), emotion.name)),
  );
}

function secondsByOutcome(model) {
  const seconds = model.outcomes.map(() => 0);
  for (const window of model.windows) seconds[window.outcome] += window.to - window.from;
  return seconds;
}

function createSummary(model, level) {
  const seconds = secondsByOutcome(model);
  const whole = Math.max(1e-9, seconds.reduce((a, b) => a + b, 0));
  const rows = model.outcomes.map((outcome, k) => el(
    "tr",
    {},
    el("th", { scope: "row" }, outcomeShape(outcome), outcome.name, el("small", { class: "fv-below" }, outcome.words)),
    el("td", { class: "fv-number" }, String(outcome.count)),
    el("td", { class: "fv-number" }, outcome.count ? duration(seconds[k]) : "–"),
    el("td", { class: "fv-number" }, share((1000 * seconds[k]) / whole)),
    el("td", { class: "fv-meaning" }, outcome.words),
  ));
  const names = ["Outcome", "Windows", "Time", "Share", "Meaning"];
  const numbers = ["Windows", "Time", "Share"];
  const head = names.map((name) =>
    el("th", { scope: "col", class: numbers.includes(name) ? "fv-number" : null }, name));
  const table = el(
    "table",
    { class: "fv-table fv-outcomes" },
    el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, rows),
  );
  const overall = model.summary !== null && model.windows.length > 1
    ? [el(`h${level + 1}`, { class: "fv-sub" }, "All windows taken together"), facts(model, model.summary), distributions(model, model.summary)]
    : [];
  return el("section", {}, el(`h${level}`, {}, "Summary"), table, overall);
}

// All windows as a table, also the timeline's text; built when it is opened.
function createTable(model, onPick) {
  const body = el("tbody");
  const names = ["Time", "Outcome", "Conflict", "Face", "Voice", "Both", "Remarks"];
  const table = el(
    "table",
    { class: "fv-table fv-windows" },
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
    body,
  );
  const build = () => {
    if (!body.childElementCount) body.append(...model.windows.map((w, k) => windowRow(model, w, k)));
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) onPick(model.windows[Number(button.dataset.window)]);
  });
  const details = el(
    "details",
    { class: "fv-details", ontoggle: build },
    el("summary", {}, model.windows.length > 1 ? `All ${model.windows.length} windows as a table` : "The window as a table"),
    el("div", { class: "fv-scroll", tabindex: "0", role: "region", "aria-label": "Table of windows" }, table),
  );
  return { element: details, build };
}

function windowRow(model, window, place) {
  const said = (key) => reading(model, window[`${key}Top`]) ?? "–";
  return el(
    "tr",
    {},
    el("td", {}, el("button", { type: "button", class: "fv-link", "data-window": place }, span(window))),
    el("td", { class: "fv-nowrap" }, outcomeShape(window.outcomeOf), window.outcomeOf.name),
    el("td", { class: "fv-number" }, window.conflict === null ? "–" : percent(window.conflict)),
    CHANNELS.map(({ key }) => el("td", { class: "fv-nowrap" }, said(key))),
    el("td", {}, window.reasonsOf.map((reason) => reason.words).join("; ")),
  );
}

function createFooter(model) {
  const models = Object.entries(model.models).map(([role, name]) => `${role}: ${name}`);
  return el(
    "footer",
    { class: "fv-footer" },
    el("p", {}, `facevoice ${model.version}`),
    models.length ? el("p", {}, `Models: ${models.join(", ")}`) : null,
    model.sha256 === null ? null : el("p", {}, "SHA-256 of the file: ", el("code", {}, model.sha256)),
  );
}
