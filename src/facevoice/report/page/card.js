// The card of what is selected: the moment, and in it the window at the playhead.
//
// A selection is {moment, place, window, windowPlace}: the moment and the window as in the model, and
// their places in `model.point.moments` and `model.windows`. Whoever has something to add to a moment
// (see review.js) gets the element `.fv-review` of the card, which stays the same element; its
// data-moment, data-from and data-to tell the place and the span in seconds.

function selectionAt(model, time) {
  const { moments } = model.point;
  const windowPlace = windowAt(model, time);
  const window = model.windows[windowPlace];
  const place = Math.max(0, lastBefore(moments, window.from, ({ from }) => from));
  // Reports by others may come without moments.
  return { moment: moments[place] ?? window, place, window, windowPlace };
}

// `addTo(review, selection)`: told whenever another moment is selected, or its words have changed;
// null where nobody has anything to add.
function createCard(model, level, addTo = null) {
  const heading = el(`h${level}`, { class: "fv-detail-title" });
  const verdictLine = el("p", { class: "fv-verdict" });
  const review = el("div", { class: "fv-review" });
  const body = el("div", { class: "fv-window" });
  let shown = null;
  let playhead = null;
  let isOver = false;
  // Who is about to say something says it of what they see, even where the film goes on meanwhile.
  const isHeld = () => isOver || review.querySelector(":focus-visible, select:focus") !== null;
  const catchUp = () => { if (playhead !== null) show(playhead); };
  review.addEventListener("pointerenter", () => { isOver = true; });
  review.addEventListener("pointerleave", () => { isOver = false; catchUp(); });
  review.addEventListener("focusin", ({ target }) => { if (!target.matches("button")) playhead.video?.pause(); });
  review.addEventListener("focusout", () => setTimeout(catchUp));  // When the focus is where it goes.
  const showMoment = (selection) => {
    const { moment, place } = selection;
    const count = model.point.moments.length;
    const number = count > 1 ? `moment ${place + 1} of ${count}` : "the only moment";
    const held = model.windows.filter(({ from }) => from >= moment.from && from < moment.to).length;
    const about = `${number} · ${held} window${held === 1 ? "" : "s"}`;
    heading.replaceChildren(span(moment.from, moment.to), el("small", {}, about));
    verdictLine.replaceChildren(outcomeBadge(moment.outcomeOf), el("span", {}, inFull(model, moment.words ?? [])));
    Object.assign(review.dataset, { moment: place, from: moment.from, to: moment.to });
    if (count > 0) addTo?.(review, selection);
  };
  const show = (at) => {
    playhead = at;
    if (shown !== null && !at.isChosen && isHeld()) return;
    const selection = selectionAt(model, at.time);
    if (shown === null || selection.moment !== shown.moment) showMoment(selection);
    if (shown === null || selection.window !== shown.window) body.replaceChildren(...windowParts(model, selection, level + 1));
    shown = selection;
  };
  return {
    element: el("section", { class: "fv-detail", "aria-label": "What is selected" }, heading, verdictLine, review, body),
    refresh() { shown = null; },
    show,
  };
}

function windowParts(model, { window, windowPlace }, level) {
  const count = model.windows.length;
  const number = count > 1 ? `window ${windowPlace + 1} of ${count}` : "the only window";
  const name = nameOf(model, window.person);
  const about = name === null ? number : `${number} · ${name}`;
  return [
    el(`h${level}`, { class: "fv-window-title" }, span(window.from, window.to), el("small", {}, about)),
    el("p", { class: "fv-said" }, verdict(model, window)),
    spoken(wordsOf(model, model.transcript?.windows[windowPlace] ?? [])),
    facts(window),
    distributions(model, window),
  ].filter((part) => part !== null);
}

// What is shown, what it means, and why.
function verdict(model, window) {
  const shown = ["face", "voice"].filter((key) => window[key] !== null);
  const clauses = [
    shown.map((key) => told(model, window, key)).join(", "),
    window.isStrange || window.apart !== null ? "" : window.outcomeOf.words,
    ...remarks(window),
  ];
  return clauses.filter((clause) => clause !== "").map((clause) => `${capital(clause)}.`).join(" ");
}

function facts(window) {
  const isRead = window.start !== window.from || window.end !== window.to;
  const rows = [
    ["Probability of conflict", window.counted === null ? "not compared" : percent(window.counted)],
    ["Face seen", `${share(window.face_coverage)} of the pictures`],
    ["Speech heard", `${share(window.speech_coverage)} of the sound`],
    ["This person's face known", knownWords(window.face_known)],
    ["This person's voice known", knownWords(window.voice_known)],
    ["Read from", isRead ? span(window.start, window.end) : null],
  ].filter(([, value]) => value !== null);
  const entries = rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  return el("dl", { class: "fv-facts" }, entries);
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
    return el("td", attributes, capital(whyMissing(window, key)));
  }
  const style = { width: `${probs[place] / 10}%`, background: `var(--fv-emotion-${place})` };
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

