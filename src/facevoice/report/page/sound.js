// The row of sound: the waveform with stretches of speech, or each window's share of speech.

const SPEECH_INK = "#3E4C59";
const SOUND_INK = "#B4BDC5";

function drawSound(context, model, axis, top, height) {
  if (model.trace === null) drawSpeechShares(context, model, axis, top, height);
  else if (!model.trace.peaks.length) {
    hatch(context, 0, top, axis.width, height);
    writeIn(context, "no sound", 0, axis.width, top + height / 2, { ink: SOFT_INK, ground: "#FFFFFF" });
  } else {
    drawWaveform(context, model.trace, axis, top, height - 6);
    drawSpeech(context, model.trace, axis, top + height - 4);
  }
}

function drawWaveform(context, trace, axis, top, height) {
  const middle = top + height / 2;
  let stretch = 0;
  for (let x = 0; x < axis.width; x += 1) {
    const [from, to] = [axis.time(x), axis.time(x + 1)];
    const first = Math.floor(from * trace.peaksHz);
    const last = Math.max(first + 1, Math.ceil(to * trace.peaksHz));
    if (first >= trace.peaks.length) break;
    let peak = 0;
    for (let k = first; k < last && k < trace.peaks.length; k += 1) {
      peak = Math.max(peak, trace.peaks[k]);
    }
    while (stretch < trace.speech.length && trace.speech[stretch][1] <= from) stretch += 1;
    const isSpeech = stretch < trace.speech.length && trace.speech[stretch][0] < to;
    context.fillStyle = isSpeech ? SPEECH_INK : SOUND_INK;
    const tall = Math.max(1, (peak / 255) * height);
    context.fillRect(x, middle - tall / 2, 1, tall);
  }
}

function drawSpeech(context, trace, axis, y) {
  context.fillStyle = SPEECH_INK;
  for (const [from, to] of trace.speech) {
    if (to < axis.from || from > axis.to) continue;
    const [left, right] = visible(axis, { from, to });
    context.fillRect(left, y, Math.max(right - left, 1), 3);
  }
}

function drawSpeechShares(context, model, axis, top, height) {
  context.fillStyle = SOUND_INK;
  if (isDense(model, axis)) {
    columnRanges(model, axis, (window) => window.speech_coverage).forEach((column, k) => {
      const tall = (column.sum / column.count / 1000) * height;
      context.fillRect(k * COLUMN_PX, top + height - tall, COLUMN_PX + 0.3, tall);
    });
  } else {
    const [first, last] = shownWindows(model, axis);
    for (let k = first; k <= last; k += 1) {
      const window = model.windows[k];
      const [left, right] = visible(axis, window);
      const tall = (window.speech_coverage / 1000) * height;
      context.fillRect(left, top + height - tall, right - left + 0.3, tall);
    }
  }
  context.fillStyle = LINE;
  context.fillRect(0, top + height, axis.width, 1);
}
