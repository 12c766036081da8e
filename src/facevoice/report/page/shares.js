// What is drawn where windows are too narrow to tell apart: shares of time in columns of pixels.

const COLUMN_PX = 4;
const LEAST_WINDOW_PX = 2.5;

// First and last place of the windows that are shown.
function shownWindows(model, axis) {
  const { windows } = model;
  if (!windows.length) return [0, -1];
  const last = lastBefore(windows, axis.to, (window) => window.from);
  return [windowAt(model, axis.from), Math.max(last, 0)];
}

function isDense(model, axis) {
  const [first, last] = shownWindows(model, axis);
  return axis.width / Math.max(1, last - first + 1) < LEAST_WINDOW_PX;
}

// For each column: {x, width, parts}, parts with [kind, share of the column's time] in the order of
// kinds. `kindOf(window)` gives a number, or null for nothing, which comes last.
function columnShares(model, axis, kindOf) {
  const columns = [];
  const [first] = shownWindows(model, axis);
  let place = first;
  for (let x = 0; x < axis.width; x += COLUMN_PX) {
    const width = Math.min(COLUMN_PX, axis.width - x);
    const [from, to] = [axis.time(x), axis.time(x + width)];
    const sums = new Map();
    while (place < model.windows.length && model.windows[place].to <= from) place += 1;
    for (let k = place; k < model.windows.length && model.windows[k].from < to; k += 1) {
      const window = model.windows[k];
      const time = Math.min(window.to, to) - Math.max(window.from, from);
      const kind = kindOf(window);
      if (time > 0) sums.set(kind, (sums.get(kind) ?? 0) + time);
    }
    const whole = Math.max(to - from, 1e-9);
    const parts = [...sums].map(([kind, time]) => [kind, Math.min(1, time / whole)]);
    parts.sort((a, b) => (a[0] ?? Infinity) - (b[0] ?? Infinity));
    columns.push({ x, width, parts });
  }
  return columns;
}

// Least, mean and largest of a number in each column; columns without any are left out as null.
function columnRanges(model, axis, valueOf) {
  const columns = [];
  const [first, last] = shownWindows(model, axis);
  for (let k = first; k <= last; k += 1) {
    const window = model.windows[k];
    const value = valueOf(window);
    const place = Math.floor(axis.x((window.from + window.to) / 2) / COLUMN_PX);
    if (value === null || place < 0 || place * COLUMN_PX > axis.width) continue;
    const column = (columns[place] ??= { least: value, most: value, sum: 0, count: 0 });
    column.least = Math.min(column.least, value);
    column.most = Math.max(column.most, value);
    column.sum += value;
    column.count += 1;
  }
  return columns;
}

// Neighbouring windows of one kind: [{from, to, kind, first}].
function runs(model, axis, kindOf) {
  const found = [];
  const [first, last] = shownWindows(model, axis);
  for (let k = first; k <= last; k += 1) {
    const window = model.windows[k];
    const kind = kindOf(window);
    const before = found[found.length - 1];
    if (before && before.kind === kind) before.to = window.to;
    else found.push({ from: window.from, to: window.to, kind, first: window });
  }
  return found;
}
