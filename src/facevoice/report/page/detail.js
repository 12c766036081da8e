// All that is said of one window, or of the whole.

function createDetail(model, level) {
  const heading = el(`h${level}`, { class: "fv-detail-title" });
  const body = el("div", { class: "fv-detail-body" });
  let shown = -1;
  return {
    element: el("section", { class: "fv-detail", "aria-label": "The selected window" }, heading, body),
    show(time) {
      const place = windowAt(model, time);
      if (place === shown || place < 0) return;
      shown = place;
      const window = model.windows[place];
      const number = model.windows.length > 1 ? `window ${place + 1} of ${model.windows.length}` : "the only window";
      heading.replaceChildren(span(window), el("small", {}, number));
      body.replaceChildren(...describeWindow(model, window));
    },
  };
}

function describeWindow(model, window) {
  const outcome = window.outcomeOf;
  const reasons = window.reasonsOf.map((reason) => reason.words).join("; ");
  return [
    el(
      "p",
      { class: "fv-verdict" },
      outcomeBadge(outcome),
      el("span", {}, `${capital(outcome.words)}${reasons ? `: ${reasons}` : ""}.`),
    ),
    facts(model, window),
    distributions(model, window),
  ];
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function facts(model, window) {
  const rows = [
    ["Probability of conflict", window.conflict === null ? "not told" : percent(window.conflict)],
    ["Face seen", `${share(window.face_coverage)} of the pictures`],
    ["Speech heard", `${share(window.speech_coverage)} of the sound`],
  ];
  return el(
    "dl",
    { class: "fv-facts" },
    rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

function distributions(model, window) {
  const channels = CHANNELS.map(({ key, label }) => ({ key, label, probs: window[key] }));
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Emotion"),
    channels.map(({ label }) => el("th", { scope: "col" }, label)),
  );
  const rows = model.emotions.map((emotion, k) => el(
    "tr",
    {},
    el("th", { scope: "row" }, chip(emotion), emotion.name),
    channels.map((channel) => probCell(model, window, channel, emotion, k)),
  ));
  return el(
    "table",
    { class: "fv-probs" },
    el("caption", { class: "fv-hidden" }, "Probability of each emotion"),
    el("thead", {}, head),
    el("tbody", {}, rows),
  );
}

function probCell(model, window, { key, probs }, emotion, place) {
  if (probs === null) {
    if (place > 0) return null;
    const attributes = { rowspan: model.emotions.length, class: "fv-missing" };
    return el("td", attributes, `not read: ${whyMissing(window, key)}`);
  }
  const isTop = window[`${key}Top`].emotion === place;
  const style = { width: `${probs[place] / 10}%`, background: emotion.color };
  return el(
    "td",
    { class: isTop ? "fv-top" : null },
    el(
      "div",
      { class: "fv-prob" },
      el("div", { class: "fv-track", "aria-hidden": "true" }, el("div", { class: "fv-bar", style })),
      el("span", {}, percent(probs[place])),
    ),
  );
}
