// The rows of the timeline and where they stand, the strip over the whole, and the drawing of both.

function timelineRows(model) {
  const rows = [
    { label: "Outcome", height: 22, draw: drawOutcomes },
    ...CHANNELS.map(({ key, label }) => ({
      label,
      height: 44,
      draw: (context, m, axis, top, height) => drawBand(context, m, axis, key, top, height),
    })),
    { label: "Conflict", note: "probability", height: 112, draw: drawCongruence, ends: true },
    model.trace === null
      ? { label: "Speech", note: "share", height: 30, draw: drawSound }
      : { label: "Sound", note: "▁ speech", height: 46, draw: drawSound },
  ];
  let top = 1;
  for (const row of rows) {
    row.top = top;
    top += row.height + 10;
  }
  return { rows, axisTop: top - 4, height: top + 20 };
}

function drawTimeline(canvas, model, axis, layout) {
  const context = fitCanvas(canvas, axis.width, layout.height);
  drawAxis(context, axis, 0, { line: layout.axisTop });
  for (const row of layout.rows) row.draw(context, model, axis, row.top, row.height);
  context.fillStyle = LINE;
  context.fillRect(0, layout.axisTop, axis.width, 1);
}

const STRIP_PX = 16;

// The outcomes of the whole file, whatever part is shown above.
function drawStrip(canvas, model, axis) {
  const context = fitCanvas(canvas, axis.width, STRIP_PX);
  const whole = new Axis(axis.duration);
  whole.width = axis.width;
  for (const { x, width, parts } of columnShares(model, whole, (w) => w.outcome)) {
    let y = 0;
    for (const [kind, part] of parts) {
      context.fillStyle = model.outcomes[kind].color;
      context.fillRect(x, y, width + 0.5, part * STRIP_PX);
      y += part * STRIP_PX;
    }
  }
}

function rowLabels(layout) {
  return layout.rows.map((row) => {
    const style = { top: `${row.top}px`, height: `${row.height}px` };
    const note = row.note ? el("small", {}, row.note) : null;
    const ends = row.ends
      ? [
        el("span", { class: "fv-end fv-end-top" }, "100%"),
        el("span", { class: "fv-end fv-end-bottom" }, "0%"),
      ]
      : [];
    return el("div", { class: "fv-label", style }, el("span", {}, row.label, note), ends);
  });
}
