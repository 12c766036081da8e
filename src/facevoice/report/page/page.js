// What is said in words and tables around the timeline, and the putting together of all parts; the
// only thing that the page around sees is `window.facevoice.mount`.

function createHeader(model, level) {
  const badge = model.summary !== null
    ? outcomeBadge(model.summary.outcomeOf)
    : el("span", { class: "fv-badge fv-badge-failed" }, model.status === "failed" ? "not analysed" : "nothing read");
  const count = model.windows.length;
  const facts = [
    model.duration_s > 0 ? clock(model.duration_s) : null,
    count ? `${count} window${count === 1 ? "" : "s"}` : null,
    model.statuses[model.status] ?? null,
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

// All that is said of the selected window.
function createDetail(model, level) {
  const heading = el(`h${level}`, { class: "fv-detail-title" });
  const body = el("div", { class: "fv-detail-body" });
  const count = model.windows.length;
  let shown = -1;
  return {
    element: el("section", { class: "fv-detail", "aria-label": "The selected window" }, heading, body),
    show(time) {
      const place = windowAt(model, time);
      if (place === shown) return;
      shown = place;
      const window = model.windows[place];
      const number = count > 1 ? `window ${place + 1} of ${count}` : "the only window";
      const { words } = window.outcomeOf;
      const why = remarks(window);
      const verdict = `${words.charAt(0).toUpperCase()}${words.slice(1)}${why ? `: ${why}` : ""}.`;
      heading.replaceChildren(span(window), el("small", {}, number));
      body.replaceChildren(
        el("p", { class: "fv-verdict" }, outcomeBadge(window.outcomeOf), el("span", {}, verdict)),
        facts(window),
        distributions(model, window),
      );
    },
  };
}

function facts(window) {
  const rows = [
    ["Probability of conflict", window.conflict === null ? "not told" : percent(window.conflict)],
    ["Face seen", `${share(window.face_coverage)} of the pictures`],
    ["Speech heard", `${share(window.speech_coverage)} of the sound`],
  ];
  const entries = rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  return el("dl", { class: "fv-facts" }, entries);
}

function headRow(names, numbers = []) {
  const cells = names.map((name) =>
    el("th", { scope: "col", class: numbers.includes(name) ? "fv-number" : null }, name));
  return el("thead", {}, el("tr", {}, cells));
}

function distributions(model, window) {
  const rows = model.emotions.map((emotion, k) => el(
    "tr",
    {},
    el("th", { scope: "row" }, chip(emotion), emotion.name),
    model.channels.map(({ key }) => probCell(model, window, key, k)),
  ));
  return el(
    "table",
    { class: "fv-probs" },
    el("caption", { class: "fv-hidden" }, "Probability of each emotion"),
    headRow(["Emotion", ...model.channels.map(({ label }) => label)]),
    el("tbody", {}, rows),
  );
}

function probCell(model, window, key, place) {
  const probs = window[key];
  if (probs === null) {
    if (place > 0) return null;
    const attributes = { rowspan: model.emotions.length, class: "fv-missing" };
    return el("td", attributes, `not read: ${whyMissing(window, key)}`);
  }
  const style = { width: `${probs[place] / 10}%`, background: model.emotions[place].color };
  return el(
    "td",
    { class: window[`${key}Top`].emotion === place ? "fv-top" : null },
    el(
      "div",
      { class: "fv-prob" },
      el("div", { class: "fv-track", "aria-hidden": "true" }, el("div", { class: "fv-bar", style })),
      el("span", {}, percent(probs[place])),
    ),
  );
}

function createSummary(model, level) {
  const seconds = model.outcomes.map(() => 0);
  for (const window of model.windows) seconds[window.outcome] += window.to - window.from;
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
  const head = headRow(names, ["Windows", "Time", "Share"]);
  const table = el("table", { class: "fv-table fv-outcomes" }, head, el("tbody", {}, rows));
  const overall = model.summary !== null && model.windows.length > 1
    ? [
      el(`h${level + 1}`, { class: "fv-sub" }, "All windows taken together"),
      facts(model.summary),
      distributions(model, model.summary),
    ]
    : [];
  return el("section", {}, el(`h${level}`, {}, "Summary"), table, overall);
}

// All windows as a table, also the timeline's text; built when it is opened.
function createTable(model, onPick) {
  const body = el("tbody");
  const channels = model.channels.map(({ label }) => label);
  const head = headRow(["Time", "Outcome", "Conflict", ...channels, "Remarks"]);
  const table = el("table", { class: "fv-table fv-windows" }, head, body);
  const build = () => {
    if (!body.childElementCount) body.append(...model.windows.map((w, k) => windowRow(model, w, k)));
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) onPick(model.windows[Number(button.dataset.window)]);
  });
  const count = model.windows.length;
  const element = el(
    "details",
    { class: "fv-details", ontoggle: build },
    el("summary", {}, count > 1 ? `All ${count} windows as a table` : "The window as a table"),
    el("div", { class: "fv-scroll", tabindex: "0", role: "region", "aria-label": "Table of windows" }, table),
  );
  return { element, build };
}

function windowRow(model, window, place) {
  const said = (key) => reading(model, window[`${key}Top`]) ?? "–";
  return el(
    "tr",
    {},
    el("td", {}, el("button", { type: "button", class: "fv-link", "data-window": place }, span(window))),
    el("td", { class: "fv-nowrap" }, outcomeShape(window.outcomeOf), window.outcomeOf.name),
    el("td", { class: "fv-number" }, window.conflict === null ? "–" : percent(window.conflict)),
    model.channels.map(({ key }) => el("td", { class: "fv-nowrap" }, said(key))),
    el("td", {}, remarks(window)),
  );
}

// The moment that is looked at: chosen by people, or followed from a video.
class Moment {
  constructor(duration) {
    this.duration = duration;
    this.time = 0;
    this.video = null;
    this.isChosen = true;
    this.changed = () => {};
  }

  choose(time) {
    this.move(time, true);
    if (this.video !== null) this.video.currentTime = this.time;
  }

  follow(time) { this.move(time, false); }

  move(time, isChosen) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    this.isChosen = isChosen;
    this.changed();
  }

  togglePlay() {
    if (this.video === null) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }
}

// Shows a view of `to_view` in an empty element; {video, pickVideo}: a video to follow, whether to
// offer to choose one. Gives {seek(t_s), destroy()}.
function mount(element, view, { video = null, pickVideo = false } = {}) {
  const model = openView(view);
  const level = document.querySelector("h1") === null ? 1 : 2;
  const moment = new Moment(model.duration_s);
  const hasWindows = model.windows.length > 0;
  const { parts, ends } = hasWindows
    ? createResults(model, moment, level + 1, video === null && pickVideo)
    : { parts: [], ends: [] };
  element.classList.add("fv-root");
  element.replaceChildren(createHeader(model, level), ...parts, createFooter(model));
  if (video !== null && hasWindows) ends.push(followVideo(video, model, moment));
  moment.changed();
  return {
    seek: (seconds) => moment.choose(seconds),
    destroy() {
      for (const part of ends) part.destroy();
      moment.changed = () => {};
      element.classList.remove("fv-root");
      element.replaceChildren();
    },
  };
}

function createResults(model, moment, level, pickVideo) {
  const timeline = createTimeline(model, moment, level);
  const detail = createDetail(model, level);
  const table = createTable(model, (window) => moment.choose(middleOf(window)));
  const picker = pickVideo ? createPicker(model, moment) : null;
  moment.changed = () => {
    timeline.show(moment);
    detail.show(moment.time);
  };
  const print = () => {
    table.build();
    table.element.open = true;
  };
  window.addEventListener("beforeprint", print);
  const shown = [picker, timeline, detail, { element: createSummary(model, level) }, table];
  return {
    parts: shown.filter((part) => part !== null).map((part) => part.element),
    ends: [
      timeline,
      ...(picker === null ? [] : [picker]),
      { destroy: () => window.removeEventListener("beforeprint", print) },
    ],
  };
}

window.facevoice = { ...(window.facevoice ?? {}), mount };
