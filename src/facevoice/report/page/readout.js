// A hair line over the timeline with the values at its time: where the pointer is, or, while keys or
// a finger move it, at the playhead. What it says, the slider tells screen readers too.

function createReadout(model, axis) {
  const hair = el("div", { class: "fv-hair", "aria-hidden": "true" });
  const box = el("div", { class: "fv-readout", "aria-hidden": "true" });
  let shown = null;
  const hide = () => {
    hair.hidden = true;
    box.hidden = true;
  };
  hide();
  return {
    elements: [hair, box],
    hide,
    forget() { shown = null; },
    // `what`: the rows that are switched on, as in `timelineRows`.
    show(time, what) {
      if (!axis.holds(time)) return hide();
      const window = model.windows[windowAt(model, time)];
      if (window !== shown) box.replaceChildren(el("strong"), ...readings(model, window, what));
      shown = window;
      box.firstChild.textContent = clock(time, 1);
      hair.hidden = false;
      box.hidden = false;
      const x = axis.x(time);
      hair.style.transform = `translateX(${Math.round(x)}px)`;
      // Beside the line, on the side that has more room.
      const isLeft = x > axis.width / 2;
      box.style.left = isLeft ? "auto" : `${Math.round(x) + 10}px`;
      box.style.right = isLeft ? `${Math.round(axis.width - x) + 10}px` : "auto";
      return undefined;
    },
  };
}

function readings(model, window, what) {
  const name = nameOf(model, window.person);
  const rows = [
    el("div", {}, outcomeShape(window.outcomeOf), window.outcomeOf.name, name === null ? null : ` · ${name}`),
    el("div", {}, window.counted === null ? "conflict not compared" : `conflict ${percent(window.counted)}`),
  ];
  const columns = what.curves || what.affect;
  return [...rows, columns ? valueTable(model, window, what) : el("div", {}, topLines(model, window))];
}

function topLines(model, window) {
  return model.channels.map(({ key, label }) => {
    const top = window[`${key}Top`];
    const mark = top === null ? null : chip(model.emotions[top.emotion]);
    return el("div", {}, mark, `${label}: ${reading(model, top) ?? whyMissing(window, key)}`);
  });
}

function valueTable(model, window, { curves, affect }) {
  const row = (head, valueOf, classOf = () => null) => el(
    "tr",
    {},
    el("th", {}, head),
    model.channels.map(({ key }) => el("td", { class: classOf(key) }, valueOf(key))),
  );
  const isTop = (place) => (key) => (window[`${key}Top`]?.emotion === place ? "fv-top" : null);
  const emotions = model.emotions.map((emotion, k) => row(
    [chip(emotion), emotion.name],
    (key) => (window[key] === null ? "–" : percent(window[key][k])),
    isTop(k),
  ));
  const likeliest = row("likeliest", (key) => reading(model, window[`${key}Top`]) ?? "–");
  const parts = ["valence", "arousal"].map((part) => row(part, (key) => signed(affectOf(model, window[key], part))));
  return el(
    "table",
    {},
    el("tr", {}, el("th"), model.channels.map(({ label }) => el("th", {}, label))),
    curves ? emotions : likeliest,
    affect ? parts : null,
  );
}
