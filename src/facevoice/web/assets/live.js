// The live mode: camera and microphone to the server, results back. Its protocol: web/live.py.
var FRAME_MS = 200, MAX_SIDE_PX = 640, JPEG_QUALITY = 0.85, BLOCK_S = 0.1;
var MAX_BUFFERED_BYTES = 400000, HELD_MS = 6000;
var LIVE = "live"; // the id of the review of a session that is over
var sessions = new WeakMap();
var api = { mount: mount, unmount: unmount, repaint: repaint, latencies_ms: [] };

function mount(place) {
  if (sessions.has(place)) return;
  sessions.set(place, new Session(place, JSON.parse(place.dataset.settings)));
}

function unmount(place) {
  var session = sessions.get(place);
  if (session) { session.stop(); session.clearResult(); }
  sessions.delete(place);
}

// The page went dark, or light again.
function repaint() {
  document.querySelectorAll(".fvw-live").forEach(function (place) {
    var session = sessions.get(place);
    if (session) session.repaint();
  });
}

function Session(place, settings) {
  this.settings = settings;
  this.run = null; // one object from each start to its end; what was awaited compares it
  this.running = false; // whether it sends and shows
  this.build(place);
}

Session.prototype.build = function (place) {
  var self = this, settings = this.settings, grid = make("div", "fvw-live-grid");
  this.stage = make("div", "fvw-live-stage");
  this.video = make("video");
  this.video.muted = true;
  this.video.playsInline = true;
  this.overlay = make("canvas");
  this.overlay.setAttribute("aria-hidden", "true");
  this.stage.append(this.video, this.overlay);
  var left = make("div", "fvw-live-left"), controls = make("div", "fvw-live-controls");
  this.button = make("button", "fvw-button", "Start camera and microphone");
  this.button.type = "button";
  this.button.addEventListener("click", function () {
    if (self.run) self.stop(); else self.start();
  });
  this.talkButton = make("button", "fvw-talk");
  this.talkButton.type = "button";
  this.talkButton.hidden = settings.talk_s === null;
  this.talkButton.addEventListener("click", function () { self.pressTalk(); });
  this.latency = make("span", "fvw-latency");
  controls.append(this.button, this.talkButton, this.latency);
  this.status = make("p", "fvw-live-status", "");
  this.status.setAttribute("role", "status");
  var wanted = make("label", "fvw-wanted"), text = make("span", "", "Record the session too");
  this.wanted = make("input");
  this.wanted.type = "checkbox";
  wanted.append(this.wanted, text, make("small", "", "The recording stays in this browser, for you to download."));
  left.append(this.stage, controls, wanted, this.status);
  if (settings.talk_s !== null) left.append(make("p", "fvw-small",
    "Each answer is compared with the face and the voice as they were so far. Talk normally for " +
    settings.talk_s + " s, and it is compared with how you usually are."));
  left.append(make("p", "fvw-small",
    "Picture and sound go to this server only. They are analysed in memory and never stored there. " +
    "Nothing of the person is kept when the session ends. Only film people who agreed to it."));
  this.panel = make("div", "fvw-live-panel");
  this.verdict = make("div", "fvw-verdict");
  this.spoken = make("div", "fvw-hidden");
  this.spoken.setAttribute("aria-live", "polite");
  this.channels = make("div", "fvw-channels");
  this.known = make("p", "fvw-small fvw-live-known", "");
  this.panel.append(this.verdict, this.spoken, this.known, this.channels);
  grid.append(left, this.panel);
  this.strip = make("canvas", "fvw-strip");
  this.strip.setAttribute("role", "img");
  this.strip.setAttribute("aria-label", "The last minute: outcome, face, voice, and conflict");
  this.after = make("div", "fvw-live-result");
  place.append(grid, make("h2", "fvw-strip-title", "The last minute"), this.strip, this.makeLegend(),
    this.after);
  this.points = [];
  this.kept = null; // the socket of what is over, while its review may change
  this.faces = null; // those of the newest picture
  this.answer = null; // that of the newest window: all that is shown of it is drawn from here
  this.talk = null; // what is shown of a talk while somebody talks normally
  this.showNone("Not running");
  this.showTalkButton();
  this.drawStrip();
};

// `talks`: whether it begins with somebody who talks normally.
Session.prototype.start = async function (talks) {
  if (!window.facevoice.mayForget(LIVE)) return;
  var run = (this.run = this.lastRun = { talks: Boolean(talks), hasTalked: false });
  this.running = true;
  this.button.textContent = "Stop";
  this.stage.classList.add("fvw-live-on");
  this.showTalkButton();
  this.clearResult();
  this.showNone("No answer yet");
  this.points = [];
  this.drawStrip();
  this.wanted.disabled = true;
  this.sent = [];
  this.latencies = api.latencies_ms = [];
  this.say("Asking for camera and microphone…");
  try {
    var media = await openMedia();
    if (this.run !== run) { closeTracks(media); return; }
    await this.prepare(media, run);
  } catch (error) {
    if (this.run !== run) return; // stopped meanwhile
    this.say(explain(error), true);
    this.end();
    return;
  }
  if (this.run === run) this.connect();
};

Session.prototype.prepare = async function (media, run) {
  var self = this;
  this.media = media;
  this.hasVideo = media.getVideoTracks().length > 0;
  this.rate = null;
  // A camera that is pulled out would leave its last picture, which would be read on and on.
  media.getTracks().forEach(function (track) {
    track.onended = function () { if (self.run === run) self.stop(); };
  });
  if (this.hasVideo) {
    this.video.srcObject = media;
    await this.video.play();
  }
  if (this.run !== run || !media.getAudioTracks().length) return;
  var audio = (this.audio = new AudioContext());
  await audio.resume();
  var address = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  try { await audio.audioWorklet.addModule(address); } finally { URL.revokeObjectURL(address); }
  if (this.run !== run) return;
  this.rate = audio.sampleRate;
  this.blocks = new AudioWorkletNode(audio, "facevoice-blocks",
    { processorOptions: { size: Math.round(this.rate * BLOCK_S) } });
  // A node is only run if it leads somewhere; nothing is heard.
  var silent = new GainNode(audio, { gain: 0 });
  audio.createMediaStreamSource(media).connect(this.blocks);
  this.blocks.connect(silent).connect(audio.destination);
};

Session.prototype.connect = function () {
  var self = this, address = new URL("facevoice/live", location.href.replace(/[^/]*$/, ""));
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  var opened = false, socket = (this.socket = new WebSocket(address));
  socket.binaryType = "arraybuffer";
  socket.onopen = function () {
    opened = true;
    socket.send(JSON.stringify({ ticket: self.settings.ticket, sample_rate_hz: self.rate,
                                 has_video: self.hasVideo }));
    self.begun = performance.now();
    self.feed();
    if (self.wanted.checked) self.beginRecording();
    self.say("Listening: the first answer comes after " + self.settings.window_s + " s.");
    if (self.run.talks) self.beginTalk();
    else self.showTalkButton();
  };
  socket.onmessage = function (event) { self.take(JSON.parse(event.data)); };
  socket.onclose = function () {
    if (self.socket !== socket) return; // kept for the review of a session that is over
    if (self.running) self.say(
      opened ? "The server closed the session." : "The live mode is not served here.", true);
    self.end();
  };
};

Session.prototype.feed = function () {
  var self = this;
  this.timer = setInterval(function () {
    // Nobody is filmed behind another tab of the page.
    if (self.stage.offsetParent === null) self.stop();
    else if (self.hasVideo) self.sendFrame();
    if (self.talk) self.showTalk();
  }, FRAME_MS);
  if (!this.blocks) return;
  var start = null, count = 0;
  this.blocks.port.onmessage = function (event) {
    var samples = event.data, length = samples.length / self.rate;
    var expected = self.now() - length;
    if (expected < 0) return; // from before the session, kept while the socket opened
    if (start === null || Math.abs(start + count / self.rate - expected) > 0.5) {
      start = expected;
      count = 0;
    }
    self.send("A", start + count / self.rate, samples.buffer);
    count += samples.length;
  };
};

Session.prototype.now = function () { return (performance.now() - this.begun) / 1000; };

Session.prototype.sendFrame = function () {
  var self = this, width = this.video.videoWidth, height = this.video.videoHeight;
  if (!width || this.socket.bufferedAmount > MAX_BUFFERED_BYTES) return;
  var scale = Math.min(1, MAX_SIDE_PX / Math.max(width, height));
  var canvas = this.grabber || (this.grabber = document.createElement("canvas"));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  var taken = this.now(), run = this.run;
  canvas.getContext("2d", { alpha: false }).drawImage(this.video, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(async function (blob) {
    var content = blob && (await blob.arrayBuffer());
    if (!content || !self.running || self.run !== run) return;
    self.sent.push(taken);
    self.send("V", taken, content);
  }, "image/jpeg", JPEG_QUALITY);
};

Session.prototype.send = function (letter, time, content) {
  if (!this.socket || this.socket.readyState !== WebSocket.OPEN || !this.running) return;
  var message = new Uint8Array(9 + content.byteLength);
  message[0] = letter.charCodeAt(0);
  new DataView(message.buffer).setFloat64(1, time, true);
  message.set(new Uint8Array(content), 9);
  this.socket.send(message);
};

Session.prototype.take = function (message) {
  if (message.error) { this.say(message.error, true); this.running = false; }
  if (message.faces) { this.faces = message.faces; this.drawFaces(); }
  if (message.window) this.showWindow(this.named(message.window), message);
  if ("talk" in message) this.endTalk(message.talk);
  if (message.late && this.running) this.say("The server is busy: some answers are left out.");
  if (message.end) this.showEnd(message.end);
  if (message.files && this.result) this.result.offer(message.files);
  if (message.problem) this.say(message.problem, true);
};

Session.prototype.named = function (row) {
  var settings = this.settings, view = {};
  settings.window_fields.forEach(function (name, k) { view[name] = row[k]; });
  view.reasons = view.reasons.map(function (k) { return settings.reasons[k]; });
  return view;
};

Session.prototype.showWindow = function (view, message) {
  var self = this;
  if (!this.running) return;
  if (performance.now() > this.heldUntil) this.say("");
  // Nobody talks normally while reading how they look and sound.
  if (!this.talk) {
    this.answer = { view: view, sentence: message.sentence, known: message.known, judged: message.judged };
    this.points.push(view);
    while (this.points[0].end < view.end - SHOWN_S) this.points.shift();
  }
  this.showAnswer();
  var newest = 0;
  this.sent.forEach(function (time) { if (time <= view.end) newest = Math.max(newest, time); });
  this.sent = this.sent.filter(function (time) { return time >= newest; });
  // Painted: after the next frame's work is done.
  requestAnimationFrame(function () {
    setTimeout(function () {
      if (!self.running || !newest) return;
      self.latencies.push(Math.round(1000 * (self.now() - newest)));
      var last = self.latencies.slice(-9).sort(function (a, b) { return a - b; });
      self.latency.textContent =
        "Latency " + (last[Math.floor(last.length / 2)] / 1000).toFixed(2) + " s";
    }, 0);
  });
};

Session.prototype.say = function (text, isError) {
  this.heldUntil = 0;
  this.status.textContent = text;
  this.status.classList.toggle("fvw-problem", Boolean(isError));
};

// Begin with a talk, begin one, or leave it off.
Session.prototype.pressTalk = function () {
  if (!this.run) this.start(true);
  else if (!this.talk) this.beginTalk();
  else {
    this.tellTalk(null);
    this.endTalk(null);
  }
};

Session.prototype.beginTalk = function () {
  this.run.talks = false;
  var begun = Math.floor(10 * this.now()) / 10; // 0 where a session begins with it
  this.tellTalk(begun);
  this.talk = this.makeTalk(begun);
  this.showTalkButton();
};

Session.prototype.tellTalk = function (start) {
  if (this.socket && this.socket.readyState === WebSocket.OPEN)
    this.socket.send(JSON.stringify({ talk: start }));
};

// `told`: whether the server heard or saw anything; null where the talk was left off.
Session.prototype.endTalk = function (told) {
  if (!this.talk || !this.running) return;
  this.talk = null;
  this.showNone("No answer yet");
  if (told) {
    this.run.hasTalked = true;
    this.hold("Thank you. From now on you are compared with how you usually are.");
  } else if (told === false) {
    this.hold("Neither a face nor speech was there, so nothing is known. Try again.");
  }
  this.showTalkButton();
};

// Say something for longer than a window.
Session.prototype.hold = function (text) {
  this.say(text);
  this.heldUntil = performance.now() + HELD_MS;
};

Session.prototype.showTalkButton = function () {
  var run = this.run, isOpen = run && this.socket && this.socket.readyState === WebSocket.OPEN;
  var length = " (" + this.settings.talk_s + " s)";
  this.talkButton.disabled = Boolean(run) && !(isOpen && this.running);
  if (this.talk) this.talkButton.textContent = "Skip";
  else if (!run || run.talks) this.talkButton.textContent = "Talk normally first" + length;
  else if (run.hasTalked) this.talkButton.textContent = "Talk normally again" + length;
  else this.talkButton.textContent = "Talk normally" + length;
};

// The last window's answer would contradict what is said of all: one of both is shown.
Session.prototype.showEnd = function (end) {
  this.talk = null;
  this.say(end.why || "Ended.");
  this.showNone(end.summary ? "Over" : "In all", end.sentence);
  if (end.summary) {
    this.answer = { view: this.named(end.summary), sentence: end.sentence, known: "", judged: [] };
    this.showAnswer();
  }
  this.running = false;
  this.ended = end;
  this.kept = this.socket;
  this.socket = null;
  this.end();
  this.showResult();
};

Session.prototype.beginRecording = function () {
  var self = this, run = this.run;
  run.isRecorded = true;
  this.recorder = record(this.media, function (blob) {
    run.blob = blob;
    self.showResult();
  });
};

// The report of what is over, when that and the recording, if one was wanted, are there.
Session.prototype.showResult = function () {
  var run = this.lastRun, end = this.ended;
  if (!end || !end.view || (run.isRecorded && !run.blob) || this.result) return;
  this.result = showSession(this.after, end, run.blob || null, this.kept);
};

Session.prototype.clearResult = function () {
  if (this.kept) this.kept.close();
  if (this.result) this.result.destroy();
  this.result = this.ended = this.kept = null;
};

Session.prototype.repaint = function () {
  this.drawStrip();
  this.paintLegend();
  if (this.bars) this.paintBars();
  this.said = null;
  this.showAnswer();
  if (this.result) this.result.useTheme();
};

Session.prototype.stop = function () {
  this.running = false;
  this.closeMedia();
  if (!this.socket) {
    if (this.run) {
      this.say("");
      this.showNone("Not running");
    }
    this.end();
  } else if (this.socket.readyState === WebSocket.OPEN) {
    this.socket.send("stop");
    this.say("Stopping…");
    this.button.disabled = true; // until the server has summed up
    this.showTalkButton();
  } else if (this.socket.readyState === WebSocket.CONNECTING) {
    this.say("");
    this.socket.close();
  }
};

Session.prototype.closeMedia = function () {
  clearInterval(this.timer);
  if (this.recorder) this.recorder.stop();
  this.recorder = null;
  if (this.media) closeTracks(this.media);
  if (this.audio && this.audio.state !== "closed") this.audio.close();
  this.media = this.audio = this.blocks = null;
  this.video.srcObject = null;
  this.overlay.width = 0;
  this.faces = null;
};

Session.prototype.end = function () {
  this.run = null;
  this.running = false;
  this.closeMedia();
  if (this.socket) this.socket.close();
  this.socket = null;
  // An answer of a session that broke off stands for nothing any more.
  if (!this.ended) this.showNone("Not running");
  this.talk = null;
  this.known.textContent = "";
  this.wanted.disabled = false;
  this.stage.classList.remove("fvw-live-on");
  this.showTalkButton();
  this.latency.textContent = "";
  this.button.disabled = false;
  this.button.textContent = "Start camera and microphone";
};

window.facevoiceLive = api;
