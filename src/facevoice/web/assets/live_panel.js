// What the live mode shows: outcome, bars, boxes over the video, the last minute.
var SHOWN_S = 60, SPEAK_EVERY_MS = 8000, STRIP_PX = 152, TICK_S = 10, MOST_APART_S = 2;

function make(tag, className, text) {
  var node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The place of the likeliest emotion, -1 where a channel says nothing.
function top(probs) {
  return probs ? probs.indexOf(Math.max.apply(null, probs)) : -1;
}

// Nothing here is certain: never 0 or 100 per cent.
function percent(thousandths) {
  return Math.min(Math.max(Math.round(thousandths / 10), 1), 99) + "%";
}

function isDark() { return document.body.classList.contains("dark"); }

// Of an outcome or emotion, on the ground that the page has.
function lookOf(thing) {
  return isDark() ? { color: thing.dark, ink: thing.dark_ink } : { color: thing.color, ink: thing.ink };
}

function tone(name) { return getComputedStyle(document.body).getPropertyValue("--fv-" + name).trim(); }

// Everything that tells of the newest window is drawn here, from one answer: badge, sentence, bars,
// what it is compared with, boxes, and the strip, whose last point it is.
Session.prototype.showAnswer = function () {
  var answer = this.answer;
  this.known.textContent = answer ? answer.known : "";
  if (answer) this.showVerdict(answer.view, answer.sentence);
  this.drawFaces();
  this.drawStrip();
};

// While no window's answer is shown; `sentence`: of a whole session, if there was one.
Session.prototype.showNone = function (text, sentence) {
  this.said = this.answer = null;
  this.known.textContent = "";
  this.drawFaces();
  this.channels.hidden = true;
  this.verdict.replaceChildren(make("span", "fvw-chip fvw-chip-none", text));
  if (!sentence) return;
  this.verdict.append(make("span", "fvw-verdict-words", sentence));
  this.tell(sentence);
};

// What somebody is asked to do who talks normally from `begun` on, and how long it still takes.
Session.prototype.makeTalk = function (begun) {
  var words = make("span", "fvw-verdict-words"), left = make("span"), bar = make("progress");
  var ask = "As you usually do, about anything: what you had for breakfast, how you came here. ";
  bar.max = this.settings.talk_s;
  bar.setAttribute("aria-label", "How much of the talk is over");
  this.showNone("Talk normally");
  words.append(make("span", "", ask), left, bar);
  this.verdict.append(words);
  this.tell("Talk normally. " + ask);
  return { begun: begun, left: left, bar: bar };
};

Session.prototype.showTalk = function () {
  var done = this.now() - this.talk.begun, left = Math.ceil(this.settings.talk_s - done);
  this.talk.bar.value = Math.min(done, this.settings.talk_s);
  this.talk.left.textContent = left > 0 ? left + " s left." : "A moment…";
};

// Nodes are made once and then changed: bars glide.
Session.prototype.showVerdict = function (view, sentence) {
  var outcome = this.settings.outcomes[view.outcome];
  if (this.said === null) {
    this.chip = make("span", "fvw-chip");
    this.words = make("span", "fvw-verdict-words");
    this.verdict.replaceChildren(this.chip, this.words);
    this.channels.hidden = false;
  }
  this.words.textContent = sentence;
  var said = [outcome.name, top(view.face), top(view.voice)].join();
  if (this.said !== said) {
    this.said = said;
    this.chip.replaceChildren(make("span", "fvw-shape fvw-shape-" + outcome.shape), outcome.name);
    var look = lookOf(outcome);
    this.chip.style.background = look.color;
    this.chip.style.color = look.ink;
    this.tell(sentence);
  }
  if (!this.bars) this.makeBars();
  for (var channel in this.bars) this.fill(this.bars[channel], view[channel], view.reasons);
};

// Screen readers hear what is new, but not each change of a second.
Session.prototype.tell = function (text) {
  var self = this, wait = (this.told || 0) + SPEAK_EVERY_MS - performance.now();
  clearTimeout(this.telling);
  this.telling = setTimeout(function () {
    self.told = performance.now();
    self.spoken.textContent = text;
  }, Math.max(0, wait));
};

Session.prototype.makeBars = function () {
  var self = this;
  this.bars = {};
  this.settings.channels.forEach(function (channel) {
    var box = make("section", "fvw-bars"), none = make("p", "fvw-small");
    box.append(make("h2", "", channel.label), none);
    var rows = self.settings.emotions.map(function (emotion) {
      var row = make("div", "fvw-bar"), track = make("span", "fvw-bar-track");
      var fill = make("span", "fvw-bar-fill"), value = make("span", "fvw-bar-value");
      track.append(fill);
      row.append(make("span", "fvw-bar-name", emotion.name), track, value);
      box.append(row);
      return { row: row, fill: fill, value: value };
    });
    self.bars[channel.key] = { key: channel.key, none: none, rows: rows };
    self.channels.append(box);
  });
  this.paintBars();
};

Session.prototype.paintBars = function () {
  for (var channel in this.bars) this.bars[channel].rows.forEach(function (bar, k) {
    bar.fill.style.background = lookOf(this.settings.emotions[k]).color;
  }, this);
};

Session.prototype.fill = function (bars, probs, reasons) {
  var best = top(probs);
  bars.none.hidden = Boolean(probs);
  if (!probs) bars.none.textContent = whyMissing(bars.key, reasons);
  bars.rows.forEach(function (bar, k) {
    bar.row.classList.toggle("fvw-bar-best", k === best);
    bar.fill.style.width = (probs ? probs[k] / 10 : 0) + "%";
    bar.value.textContent = probs ? percent(probs[k]) : "";
  });
};

function whyMissing(channel, reasons) {
  var told = reasons.filter(function (reason) {
    return channel === "fused" ? reason.about : reason.about === channel;
  });
  var words = told.map(function (reason) { return reason.words; }).join(", ");
  return "not read" + (words ? ": " + words : "");
}

Session.prototype.drawFaces = function () {
  var faces = this.faces, answer = this.answer, settings = this.settings;
  var canvas = this.overlay, width = this.video.clientWidth, height = this.video.clientHeight;
  var ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  if (!faces || !this.running) return;
  var pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.lineWidth = 3;
  pen.font = "600 14px system-ui, sans-serif";
  faces.found.forEach(function (face) {
    // The answer is of one person's face: others are framed, but nothing is said of them.
    var view = answer && answer.judged.includes(face.track) ? answer.view : null;
    var x = face.box[0] * width / 1000, y = face.box[1] * height / 1000;
    pen.strokeStyle = view ? settings.outcomes[view.outcome].color : "#FFFFFF";
    pen.strokeRect(x, y, (face.box[2] - face.box[0]) * width / 1000,
                   (face.box[3] - face.box[1]) * height / 1000);
    // Numbers tell faces apart: one alone has none.
    var label = faces.found.length > 1 ? "face " + (face.track + 1) : "";
    if (view && view.face)
      label += (label && " · ") + settings.emotions[top(view.face)].name;
    if (!label) return;
    var above = Math.max(0, y - 22);
    pen.fillStyle = "rgba(17,17,17,.75)";
    pen.fillRect(x, above, pen.measureText(label).width + 12, 22);
    pen.fillStyle = "#FFFFFF";
    pen.fillText(label, x + 6, above + 16);
  });
};

Session.prototype.drawStrip = function () {
  var canvas = this.strip, ratio = window.devicePixelRatio || 1;
  var width = canvas.clientWidth || 600, height = STRIP_PX, left = 70;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  var pen = canvas.getContext("2d"), settings = this.settings;
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  pen.font = "13px system-ui, sans-serif";
  pen.fillStyle = tone("soft");
  ["Outcome", "Face", "Voice", "Conflict"].forEach(function (name, k) {
    pen.fillText(name, 0, [15, 37, 59, 100][k]);
  });
  pen.fillStyle = tone("quiet");
  [[0, 18], [22, 18], [44, 18], [68, 60]].forEach(function (row) {
    pen.fillRect(left, row[0], width - left, row[1]);
  });
  this.drawZones(pen, left, width);
  var rows = [[], [], []]; // outcome, face, voice
  var points = this.points, end = points.length ? points[points.length - 1].end : SHOWN_S;
  var begin = Math.max(0, end - SHOWN_S), span = Math.max(SHOWN_S, end) - begin;
  var place = function (t) { return left + (width - left) * (t - begin) / span; };
  drawAxis(pen, begin, begin + span, place);
  var previous = null;
  pen.strokeStyle = tone("ink");
  pen.lineWidth = 2;
  points.forEach(function (view, k) {
    // After a while without an answer there is a gap, not the answer before.
    var before = k ? points[k - 1].end : -1, isNext = view.end - before < MOST_APART_S;
    var from = place(isNext ? before : Math.max(begin, view.end - 0.5)), to = place(view.end);
    var outcome = settings.outcomes[view.outcome];
    [outcome, settings.emotions[top(view.face)], settings.emotions[top(view.voice)]].forEach(
      function (shown, row) { extend(rows[row], shown, from, to); });
    // Beside what is unlike anything learnt, the probability counts for nothing.
    var isStrange = view.reasons.some(function (r) { return r.name.startsWith("unfamiliar_"); });
    var isTold = view.conflict !== null && outcome.counts && !isStrange;
    var y = isTold ? 128 - 60 * view.conflict / 1000 : null;
    if (y !== null && previous !== null && isNext) {
      pen.beginPath();
      pen.moveTo(place(before), previous);
      pen.lineTo(to, y);
      pen.stroke();
    }
    previous = y;
  });
  rows.forEach(function (runs, row) {
    runs.forEach(function (run) { drawRun(pen, run, 22 * row); });
  });
};

// The session's clock below the strip.
function drawAxis(pen, begin, end, place) {
  pen.fillStyle = tone("soft");
  pen.strokeStyle = tone("line");
  pen.lineWidth = 1;
  pen.font = "12px system-ui, sans-serif";
  var step = place(begin + TICK_S) - place(begin) < 48 ? 2 * TICK_S : TICK_S;
  for (var t = Math.ceil(begin / step) * step; t <= end; t += step) {
    var x = place(t), words = Math.floor(t / 60) + ":" + String(t % 60).padStart(2, "0");
    pen.beginPath();
    pen.moveTo(x, 128);
    pen.lineTo(x, 133);
    pen.stroke();
    var wide = pen.measureText(words).width;
    pen.fillText(words, Math.min(Math.max(x - wide / 2, place(begin)), place(end) - wide), 147);
  }
  pen.font = "13px system-ui, sans-serif";
}

// What the colours of the strip stand for.
Session.prototype.makeLegend = function () {
  var legend = make("ul", "fvw-legend"), self = this;
  this.looks = [];
  this.settings.outcomes.concat(this.settings.emotions).forEach(function (thing) {
    var item = make("li"), shape = make("span", "fvw-shape" + (thing.shape ? " fvw-shape-" + thing.shape : ""));
    item.append(shape, thing.name);
    self.looks.push({ node: shape, thing: thing });
    legend.append(item);
  });
  this.paintLegend();
  return legend;
};

Session.prototype.paintLegend = function () {
  this.looks.forEach(function (look) { look.node.style.color = lookOf(look.thing).color; });
};

// A session that is over: its report as of a file, the recording beside it, and what can be
// downloaded, with what is said of its moments while the server is there (`kept`: the socket).
function showSession(place, end, recording, kept) {
  var row = make("div", "fvw-more"), body = make("div"), stage = null, video = null;
  var files = make("div", "fvw-more"), urls = [], film = null;
  row.append(make("span", "", "Download"));
  if (recording) {
    stage = make("div", "fvw-stage");
    video = make(recording.type.startsWith("audio") ? "audio" : "video");
    video.controls = video.playsInline = true;
    video.setAttribute("aria-label", "The recording");
    film = URL.createObjectURL(recording);
    video.src = film;
    letSeek(video);
    stage.append(video);
    row.append(linkTo(film, asFile(recording, "live session").name, "Recording"));
  }
  row.append(files);
  var number = 0, waiting = 0; // of what was said last; how often the files are still without it
  var draw = function (made) {
    urls.splice(0).forEach(URL.revokeObjectURL);
    drawFiles(files, made, urls);
  };
  draw(end.files);
  files.addEventListener("click", function (event) {
    var link = event.target.closest("a");
    if (link && !waiting) window.facevoice.wasDownloaded(link.download, number, LIVE);
  });
  place.replaceChildren(make("h2", "fvw-strip-title", "The session"), row, body);
  var keep = function (text, last) {
    number = last;
    waiting += 1;
    if (kept.readyState === WebSocket.OPEN) kept.send(JSON.stringify({ review: text }));
  };
  var handle = window.facevoice.mount(body, end.view,
    { video: video, stage: stage, switch: false, theme: isDark() ? "dark" : "light",
      keepReview: keep, reviewId: LIVE });
  var notice = body.querySelector(".fv-notice");
  if (notice) notice.remove(); // it stands above
  tellKept(body, true);
  kept.addEventListener("close", function () { tellKept(body, false); });
  return {
    offer: function (made) { waiting -= 1; draw(made); },
    useTheme: function () { handle.useTheme(isDark() ? "dark" : "light"); },
    destroy: function () {
      handle.destroy();
      place.replaceChildren();
      urls.concat(film || []).forEach(URL.revokeObjectURL);
    },
  };
}

function linkTo(url, name, words) {
  var link = make("a", "fvw-offer", words);
  link.href = url;
  link.download = name;
  return link;
}

// The files of a report, the rarer ones in a menu.
function drawFiles(place, made, urls) {
  var button = make("button", "", "Other formats"), list = make("ul", "fvw-menu");
  button.type = "button";
  button.popoverTargetElement = list;
  list.popover = "auto";
  place.replaceChildren();
  made.forEach(function (file) {
    var url = URL.createObjectURL(new Blob([file.text])), item = make("li");
    urls.push(url);
    if (!file.is_other) return place.append(linkTo(url, file.name, file.words));
    item.append(linkTo(url, file.name, file.words));
    list.append(item);
  });
  place.append(button, list);
}

// Where what somebody says of the moments goes.
function tellKept(body, isKept) {
  var hint = body.querySelector(".fv-review-panel > .fv-note:last-child");
  if (hint) hint.textContent = isKept
    ? "What you say is kept on this server until you leave or start anew, and stands in all downloads above."
    : "The server keeps nothing of it any more: save the review.";
}

// Recorders don't write how long a recording is; who asks for its end finds out.
function letSeek(video) {
  video.addEventListener("loadedmetadata", function () {
    if (video.duration !== Infinity) return;
    video.addEventListener("durationchange", function () { video.currentTime = 0; }, { once: true });
    video.currentTime = 1e9;
  }, { once: true });
}

// Neighbours that show the same are one run.
function extend(runs, shown, from, to) {
  var last = runs[runs.length - 1];
  if (!shown) return;
  if (last && last.shown === shown && last.to === from) last.to = to;
  else runs.push({ shown: shown, from: from, to: to });
}

// A colour with its word, where that has room.
function drawRun(pen, run, y) {
  var look = lookOf(run.shown);
  pen.fillStyle = look.color;
  pen.fillRect(run.from, y, run.to - run.from, 18);
  if (pen.measureText(run.shown.name).width + 8 > run.to - run.from) return;
  pen.fillStyle = look.ink;
  pen.fillText(run.shown.name, run.from + 4, y + 14);
}

// From where on a probability is called conflict, and up to where match.
Session.prototype.drawZones = function (pen, left, width) {
  this.settings.zones.forEach(function (zone) {
    var low = zone[0], high = zone[1], y = 128 - 60 * high, height = 60 * (high - low);
    pen.globalAlpha = 0.18;
    pen.fillStyle = zone[3];
    pen.fillRect(left, y, width - left, height);
    pen.globalAlpha = 1;
    if (height < 12) return;
    pen.fillStyle = tone("ink");
    pen.font = "11px system-ui, sans-serif";
    pen.fillText(zone[2], left + 4, y + height / 2 + 4);
    pen.font = "13px system-ui, sans-serif";
  });
};
