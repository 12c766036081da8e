// What the live mode shows: outcome, bars, boxes over the video, the last minute.
var SHOWN_S = 60, SPEAK_EVERY_MS = 8000;

function make(tag, className, text) {
  var node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Nodes are made once and then changed: bars glide.
Session.prototype.showVerdict = function (view) {
  var outcome = this.settings.outcomes[view.outcome];
  var words = view.reasons.length ? view.reasons.join("; ") : outcome.words;
  if (this.said !== outcome.name + words) {
    this.said = outcome.name + words;
    var chip = make("span", "fvw-chip", outcome.name);
    chip.style.background = outcome.color;
    chip.style.color = outcome.ink;
    this.verdict.replaceChildren(chip, " ", make("span", "fvw-verdict-words", words));
    this.tell(outcome.name + ": " + words);
  }
  if (!this.bars) this.makeBars();
  var text = view.conflict === null ? "–" : Math.round(view.conflict / 10) + "%";
  this.conflict.textContent = "Probability of conflict: " + text;
  for (var channel in this.bars) this.fill(this.bars[channel], view[channel]);
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
  var self = this, titles = { face: "Face", voice: "Voice", fused: "Both" };
  this.bars = {};
  this.conflict = make("p", "fvw-conflict");
  this.channels.replaceChildren(this.conflict);
  Object.keys(titles).forEach(function (channel) {
    var box = make("section", "fvw-bars"), none = make("p", "fvw-small", "no answer");
    box.append(make("h2", "", titles[channel]), none);
    var rows = self.settings.emotions.map(function (emotion) {
      var row = make("div", "fvw-bar"), track = make("span", "fvw-bar-track");
      var fill = make("span", "fvw-bar-fill"), value = make("span", "fvw-bar-value");
      fill.style.background = emotion.color;
      track.append(fill);
      row.append(make("span", "fvw-bar-name", emotion.name), track, value);
      box.append(row);
      return { row: row, fill: fill, value: value };
    });
    self.bars[channel] = { none: none, rows: rows };
    self.channels.append(box);
  });
};

Session.prototype.fill = function (bars, probs) {
  var best = probs ? probs.indexOf(Math.max.apply(null, probs)) : -1;
  bars.none.hidden = Boolean(probs);
  bars.rows.forEach(function (bar, k) {
    bar.row.classList.toggle("fvw-bar-best", k === best);
    bar.fill.style.width = (probs ? probs[k] / 10 : 0) + "%";
    bar.value.textContent = probs ? Math.round(probs[k] / 10) + "%" : "";
  });
};

Session.prototype.drawFaces = function (faces) {
  if (!this.running) return;
  var canvas = this.overlay, width = this.video.clientWidth, height = this.video.clientHeight;
  var ratio = window.devicePixelRatio || 1, view = this.current, settings = this.settings;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  var pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.lineWidth = 3;
  pen.font = "600 14px system-ui, sans-serif";
  faces.found.forEach(function (face, k) {
    var color = view && k === 0 ? settings.outcomes[view.outcome].color : "#FFFFFF";
    var x = face.box[0] * width / 1000, y = face.box[1] * height / 1000;
    pen.strokeStyle = color;
    pen.strokeRect(x, y, (face.box[2] - face.box[0]) * width / 1000,
                   (face.box[3] - face.box[1]) * height / 1000);
    var label = "face " + (face.track + 1);
    if (k === 0 && view && view.face) {
      var best = view.face.indexOf(Math.max.apply(null, view.face));
      label += " · " + settings.emotions[best].name;
    }
    var top = Math.max(0, y - 22);
    pen.fillStyle = "rgba(17,17,17,.75)";
    pen.fillRect(x, top, pen.measureText(label).width + 12, 22);
    pen.fillStyle = "#FFFFFF";
    pen.fillText(label, x + 6, top + 16);
  });
};

Session.prototype.drawStrip = function () {
  var canvas = this.strip, ratio = window.devicePixelRatio || 1;
  var width = canvas.clientWidth || 600, height = 132, left = 70;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  var pen = canvas.getContext("2d"), settings = this.settings;
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  pen.font = "13px system-ui, sans-serif";
  pen.fillStyle = "#4A5560";
  ["Outcome", "Face", "Voice", "Conflict"].forEach(function (name, k) {
    pen.fillText(name, 0, [15, 37, 59, 100][k]);
  });
  pen.fillStyle = "#F3F5F7";
  [[0, 18], [22, 18], [44, 18], [68, 60]].forEach(function (row) {
    pen.fillRect(left, row[0], width - left, row[1]);
  });
  var points = this.points, end = points.length ? points[points.length - 1].end : SHOWN_S;
  var begin = Math.max(0, end - SHOWN_S), span = Math.max(SHOWN_S, end) - begin;
  var place = function (t) { return left + (width - left) * (t - begin) / span; };
  var previous = null;
  pen.strokeStyle = "#0072B2";
  pen.lineWidth = 2;
  points.forEach(function (view, k) {
    var from = place(k ? points[k - 1].end : Math.max(begin, view.end - 0.5)), to = place(view.end);
    pen.fillStyle = settings.outcomes[view.outcome].color;
    pen.fillRect(from, 0, to - from + 0.5, 18);
    [[view.face, 22], [view.voice, 44]].forEach(function (row) {
      if (!row[0]) return;
      pen.fillStyle = settings.emotions[row[0].indexOf(Math.max.apply(null, row[0]))].color;
      pen.fillRect(from, row[1], to - from + 0.5, 18);
    });
    var y = view.conflict === null ? null : 128 - 60 * view.conflict / 1000;
    if (y !== null && previous !== null) {
      pen.beginPath();
      pen.moveTo(place(points[k - 1].end), previous);
      pen.lineTo(to, y);
      pen.stroke();
    }
    previous = y;
  });
};
