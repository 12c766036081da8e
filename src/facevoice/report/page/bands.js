// The rows of outcomes, of emotions, and of the probability of conflict.

// Diagonal lines: nothing is known here.
function hatch(context, x, y, width, height) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.fillStyle = "#F7F8F9";
  context.fillRect(x, y, width, height);
  context.strokeStyle = "#CBD1D6";
  context.lineWidth = 1;
  context.beginPath();
  const step = 6;
  for (let u = Math.floor((x - height) / step) * step; u < x + width; u += step) {
    context.moveTo(u, y + height);
    context.lineTo(u + height, y);
  }
  context.stroke();
  context.restore();
}

// Words in the middle of a stretch, if there is room; true if they were written.
function writeIn(context, text, left, right, y, { ink = INK, ground = null, size = 12 } = {}) {
  if (right - left < 20) return false;  // Before measuring, which takes time.
  context.font = `${size}px ${FONT}`;
  const width = context.measureText(text).width;
  if (width + 8 > right - left) return false;
  const x = (left + right) / 2;
  if (ground !== null) {
    context.fillStyle = ground;
    context.fillRect(x - width / 2 - 4, y - size / 2 - 2, width + 8, size + 4);
  }
  context.fillStyle = ink;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y + 0.5);
  return true;
}

function visible(axis, stretch) {
  return [Math.max(0, axis.x(stretch.from)), Math.min(axis.width, axis.x(stretch.to))];
}

function drawOutcomes(context, model, axis, top, height) {
  const middle = top + height / 2;
  if (isDense(model, axis)) {
    for (const { x, width, parts } of columnShares(model, axis, (w) => w.outcome)) {
      let y = top;
      for (const [kind, part] of parts) {
        context.fillStyle = model.outcomes[kind].color;
        context.fillRect(x, y, width + 0.5, part * height);
        y += part * height;
      }
    }
    return;
  }
  for (const run of runs(model, axis, (w) => w.outcome)) {
    const [left, right] = visible(axis, run);
    const outcome = model.outcomes[run.kind];
    context.fillStyle = outcome.color;
    context.fillRect(left, top, Math.max(right - left - 1, 0.5), height);
    const isWritten = writeIn(context, outcome.name, left, right, middle, { ink: outcome.ink });
    if (!isWritten && right - left >= 14) {
      drawShape(context, outcome.name, (left + right - 1) / 2, middle, 9, outcome.ink);
    }
  }
}

const NAME_PX = 15;

// The height of a band tells the probability; its name stands above.
function drawBand(context, model, axis, key, top, height) {
  const base = top + height;
  const room = height - NAME_PX;
  const kindOf = (window) => (window[`${key}Top`] === null ? null : window[`${key}Top`].emotion);
  const stretches = runs(model, axis, kindOf);
  for (const run of stretches.filter((r) => r.kind === null)) {
    const [left, right] = visible(axis, run);
    hatch(context, left, base - room, Math.max(right - left, 1), room);
  }
  if (isDense(model, axis)) drawDenseBand(context, model, axis, kindOf, base, room);
  else drawWindows(context, model, axis, key, base, room);
  context.fillStyle = LINE;
  context.fillRect(0, base, axis.width, 1);
  for (const run of stretches) {
    const [left, right] = visible(axis, run);
    if (run.kind !== null) writeIn(context, model.emotions[run.kind].name, left, right, top + 7);
    else {
      const why = whyMissing(run.first, key);
      writeIn(context, why, left, right, base - room / 2, { ink: SOFT_INK, ground: "#FFFFFF" });
    }
  }
}

function drawWindows(context, model, axis, key, base, room) {
  const [first, last] = shownWindows(model, axis);
  for (let k = first; k <= last; k += 1) {
    const window = model.windows[k];
    const top = window[`${key}Top`];
    if (top === null) continue;
    const [left, right] = visible(axis, window);
    const tall = (top.prob / 1000) * room;
    const { color } = model.emotions[top.emotion];
    context.fillStyle = `${color}33`;
    context.fillRect(left, base - room, right - left, room);
    context.fillStyle = color;
    context.fillRect(left, base - tall, right - left + 0.3, tall);
  }
}

function drawDenseBand(context, model, axis, kindOf, base, room) {
  for (const { x, width, parts } of columnShares(model, axis, kindOf)) {
    let y = base;
    for (const [kind, part] of parts) {
      y -= part * room;
      if (kind === null) continue;  // Last of its column: what is hatched stays.
      context.fillStyle = model.emotions[kind].color;
      context.fillRect(x, y, width + 0.5, part * room);
    }
  }
}

function drawCongruence(context, model, axis, top, height) {
  const y = (thousandths) => top + height * (1 - thousandths / 1000);
  for (const run of runs(model, axis, (w) => (w.conflict === null ? null : 0))) {
    if (run.kind !== null) continue;
    const [left, right] = visible(axis, run);
    hatch(context, left, top, Math.max(right - left, 1), height);
    const options = { ink: SOFT_INK, ground: "#FFFFFF" };
    writeIn(context, "not compared", left, right, top + height / 4, options);
  }
  if (model.thresholds) {
    drawZones(context, model, axis, y, top, height);
    nameZones(context, model, axis, y, top, height);
  }
  context.strokeStyle = LINE;
  context.lineWidth = 1;
  context.strokeRect(0.5, top + 0.5, axis.width - 1, height);
  context.strokeStyle = INK;
  context.fillStyle = INK;
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  if (isDense(model, axis)) drawDenseCurve(context, model, axis, y);
  else drawCurve(context, model, axis, y);
}

function drawZones(context, model, axis, y, top, height) {
  const { conflict_above: high, match_below: low } = model.thresholds;
  context.fillStyle = "rgba(138, 155, 168, 0.22)";
  context.fillRect(0, y(high), axis.width, y(low) - y(high));
  for (const [value, name] of [[high, "conflict"], [low, "match"]]) {
    context.fillStyle = model.outcomes.find((o) => o.name === name).color;
    context.fillRect(0, Math.round(y(value)) - 0.5, axis.width, 1);
  }
}

function nameZones(context, model, axis, y, top, height) {
  const { conflict_above: high, match_below: low } = model.thresholds;
  const zones = [
    ["conflict", (top + y(high)) / 2, y(high) - top],
    ["too close to call", (y(high) + y(low)) / 2, y(low) - y(high)],
    ["match", (y(low) + top + height) / 2, top + height - y(low)],
  ];
  context.font = `11px ${FONT}`;
  for (const [name, middle, room] of zones) {
    const width = context.measureText(name).width + 10;
    if (room < 13 && name !== "too close to call") continue;
    const options = { ink: SOFT_INK, ground: "rgba(255, 255, 255, 0.85)", size: 11 };
    writeIn(context, name, axis.width - width, axis.width - 1, middle, options);
  }
}

function drawCurve(context, model, axis, y) {
  const [first, last] = shownWindows(model, axis);
  const { windows } = model;
  const known = (k) => windows[k] !== undefined && windows[k].conflict !== null;
  const x = (k) => axis.x((windows[k].from + windows[k].to) / 2);
  context.beginPath();
  for (let k = Math.max(0, first - 1); k <= Math.min(last + 1, windows.length - 1); k += 1) {
    if (!known(k)) continue;
    if (known(k - 1)) context.lineTo(x(k), y(windows[k].conflict));
    else context.moveTo(x(k), y(windows[k].conflict));
  }
  context.stroke();
  for (let k = first; k <= last; k += 1) {
    const isAlone = known(k) && !known(k - 1) && !known(k + 1);
    const isRoomy = (windows[k].to - windows[k].from) / axis.shown * axis.width > 24;
    if (!known(k) || !(isAlone || isRoomy)) continue;
    context.beginPath();
    context.arc(x(k), y(windows[k].conflict), 2.5, 0, 7);
    context.fill();
  }
}

function drawDenseCurve(context, model, axis, y) {
  const columns = columnRanges(model, axis, (window) => window.conflict);
  context.save();
  context.fillStyle = "rgba(31, 41, 51, 0.22)";
  columns.forEach((column, k) => {
    const [high, low] = [y(column.most), y(column.least)];
    context.fillRect(k * COLUMN_PX, high, COLUMN_PX + 0.3, Math.max(low - high, 1));
  });
  context.restore();
  context.beginPath();
  columns.forEach((column, k) => {
    const [x, mean] = [(k + 0.5) * COLUMN_PX, y(column.sum / column.count)];
    if (columns[k - 1]) context.lineTo(x, mean);
    else {
      context.moveTo(x - 1, mean);
      context.lineTo(x, mean);
    }
  });
  context.stroke();
}
