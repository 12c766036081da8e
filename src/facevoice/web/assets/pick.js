// Clips and recordings: choosing and dropping files, recording oneself, and the list of clips.
// What is chosen is known to the server: here only its lists are drawn.
var LABELS = { chosen: "ready", waiting: "waiting", reading: "being read", done: "done" };

// Hear of files, and of buttons that say what to do, within an element of gradio's.
function connect(element, trigger, names) {
  var told = names[0], act = names[1];
  element = element.closest(".block") || element;
  element.keepReview = function (text, number) { trigger(names[2], { text: text, number: number }); };
  element.addEventListener("click", function (event) {
    var button = event.target.closest("button[data-do]");
    if (!button) return;
    if (button.dataset.do === "record") recordSelf(element, trigger, button);
    else trigger(act, { do: button.dataset.do, place: button.dataset.place });
  });
  element.addEventListener("change", function (event) {
    if (event.target.type !== "file") return;
    send(element, Array.from(event.target.files), trigger, told);
    event.target.value = ""; // the same file may be chosen again
  });
  ["dragover", "dragleave", "drop"].forEach(function (kind) {
    element.addEventListener(kind, function (event) {
      var place = event.target.closest(".fvw-drop");
      if (!place) return;
      event.preventDefault();
      place.classList.toggle("fvw-over", kind === "dragover");
      if (kind === "drop") send(element, Array.from(event.dataTransfer.files), trigger, told);
    });
  });
}

// Upload files one after the other, each told to the server when it is there.
async function send(element, files, trigger, told) {
  var place = element.querySelector(".fvw-pick"), list = place.querySelector(".fvw-arriving");
  var most = Number(place.dataset.maxMb);
  list.querySelectorAll(".fvw-problem").forEach(function (old) { old.remove(); });
  var rows = files.map(function (file) {
    var row = make("li"), bar = make("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", "Uploading " + file.name);
    row.append(make("span", "", file.name), bar);
    list.append(row);
    return { element: row, bar: bar };
  });
  for (var k = 0; k < files.length; k++) {
    try {
      if (files[k].size > most * 1e6) throw new Error(
        "is too large: " + (files[k].size / 1e6).toFixed(1) + " MB; at most " + most +
        " MB are taken");
      trigger(told, { paths: await upload(files[k], rows[k].bar) });
      rows[k].element.remove();
    } catch (error) {
      rows[k].element.className = "fvw-problem";
      rows[k].element.textContent = files[k].name + ": " + error.message + ".";
    }
  }
}

function upload(file, bar) {
  return new Promise(function (resolve, reject) {
    var request = new XMLHttpRequest(), form = new FormData();
    form.append("files", file, file.name);
    request.upload.onprogress = function (event) {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    };
    request.onload = function () {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else if (request.status === 413) reject(new Error("is too large for this server"));
      else reject(new Error("was not taken by the server (" + request.status + ")"));
    };
    request.onerror = function () { reject(new Error("the connection to the server was lost")); };
    request.open("POST", "gradio_api/upload");
    request.send(form);
  });
}

// Record oneself until the button is pressed again; the recording is then a file like others.
async function recordSelf(element, trigger, button) {
  if (button.recording) return button.recording.stop();
  var place = element.querySelector(".fvw-pick"), list = place.querySelector(".fvw-arriving");
  list.querySelectorAll(".fvw-problem").forEach(function (old) { old.remove(); });
  button.disabled = true;
  try {
    var media = await openMedia();
  } catch (error) {
    list.append(make("li", "fvw-problem", explain(error)));
    return;
  } finally {
    button.disabled = false;
  }
  var video = make("video", "fvw-mirror");
  video.muted = video.playsInline = true;
  video.setAttribute("aria-label", "What the camera sees");
  video.srcObject = media;
  video.play();
  if (media.getVideoTracks().length) button.parentNode.before(video);
  button.textContent = "Stop recording";
  button.classList.add("fvw-recording");
  button.recording = record(media, function (blob) {
    closeTracks(media);
    video.remove();
    button.recording = null;
    button.textContent = "Record yourself";
    button.classList.remove("fvw-recording");
    send(element, [asFile(blob, "recording")], trigger, "choose");
  });
}

// Draws the clips of a page, changing no more than what changed: who is about to press a button of a
// row finds it there. Beside the place, in which gradio lets nothing stay that it didn't put there.
function drawClips(place) {
  var view = JSON.parse(place.dataset.clips), rows = view.rows, around = place.closest("#fvw-list");
  // Of one that was read or failed, all is told below.
  var isLone = rows.length === 1 && (rows[0].state === "done" || rows[0].state === "failed");
  var table = around.clips || (around.clips = makeClipTable(around, view));
  table.box.hidden = isLone;
  var hasCounts = rows.some(function (row) { return row.counts.length; });
  table.element.classList.toggle("fvw-without-counts", !hasCounts);
  rows.forEach(function (row, k) {
    var key = JSON.stringify([row, k === view.shown]);
    var drawn = table.rows[k];
    if (drawn && drawn.key === key) return;
    if (drawn && drawn.bar && row.state === "reading") {
      drawn.bar.value = row.share;
      drawn.words.textContent = percentRead(row);
      drawn.key = key;
      return;
    }
    var made = clipRow(row, k, view);
    made.key = key;
    if (drawn) drawn.element.replaceWith(made.element);
    else table.body.append(made.element);
    table.rows[k] = made;
  });
  table.rows.splice(rows.length).forEach(function (old) { old.element.remove(); });
  drawSums(table.foot, rows, view.outcomes);
}

function makeClipTable(around, view) {
  var element = make("table", "fvw-table"), head = make("tr"), body = make("tbody");
  var foot = make("tfoot"), top = make("thead"), box = make("div", "fvw-scroll fvw-list-box");
  element.append(make("caption", "fvw-hidden", "Clips, and what each says"));
  ["Clip", "State"].concat(view.outcomes.map(function (o) { return o.name; }), [""]).forEach(
    function (name, k, all) {
      var isLast = k === all.length - 1, cell = make(isLast ? "td" : "th", "", name);
      if (!isLast) cell.scope = "col";
      if (k > 1 && !isLast) {
        cell.className = "fvw-count";
        cell.title = "Windows: " + view.outcomes[k - 2].words;
      }
      head.append(cell);
    });
  top.append(head);
  element.append(top, body, foot);
  box.append(element);
  around.append(box);
  return { box: box, element: element, body: body, foot: foot, rows: [] };
}

function percentRead(row) { return Math.round(100 * row.share) + "%"; }

function clipRow(row, k, view) {
  var element = make("tr"), name = make("th"), state = make("td"), last = make("td");
  var made = { element: element, bar: null, words: null };
  name.scope = "row";
  if (row.state === "done") {
    var show = actButton("show", k, row.name, "fvw-link");
    if (k === view.shown) show.setAttribute("aria-current", "true");
    name.append(show);
  } else name.textContent = row.name;
  if (row.state === "reading") {
    made.bar = make("progress");
    made.bar.max = 1;
    made.bar.value = row.share;
    made.bar.setAttribute("aria-label", "How much of " + row.name + " is read");
    made.words = make("span", "", percentRead(row));
    state.append(made.bar, made.words);
  } else if (row.state === "failed") state.append(make("span", "fvw-failed", row.problem));
  else if (row.outcome !== null) state.append(badge(view.outcomes[row.outcome]));
  else state.textContent = LABELS[row.state];
  if (row.state === "chosen" || row.state === "failed") {
    var remove = actButton("remove", k, "×", "fvw-remove");
    remove.setAttribute("aria-label", "Take " + row.name + " away");
    last.append(remove);
  }
  element.append(name, state);
  if (row.state === "failed") state.colSpan = 1 + view.outcomes.length; // why takes some room
  else view.outcomes.forEach(function (_, j) {
    element.append(make("td", "fvw-count", row.counts.length ? String(row.counts[j]) : ""));
  });
  element.append(last);
  if (k === view.shown) element.className = "fvw-shown";
  return made;
}

// How many windows of all clips come to each outcome.
function drawSums(foot, rows, outcomes) {
  var done = rows.filter(function (row) { return row.counts.length; });
  foot.hidden = done.length < 2;
  if (foot.hidden) return;
  var sums = make("tr"), name = make("th", "", "All");
  name.scope = "row";
  sums.append(name, make("td", "", done.length + " of " + rows.length + " read"));
  outcomes.forEach(function (_, j) {
    var sum = done.reduce(function (all, row) { return all + row.counts[j]; }, 0);
    sums.append(make("td", "fvw-count", String(sum)));
  });
  sums.append(make("td"));
  foot.replaceChildren(sums);
}

function actButton(act, place, text, className) {
  var button = make("button", className, text);
  button.type = "button";
  button.dataset.do = act;
  button.dataset.place = place;
  return button;
}

function badge(outcome) {
  var made = make("span", "fvw-badge");
  made.style.background = outcome.color;
  made.style.color = outcome.ink;
  made.append(make("span", "fvw-shape fvw-shape-" + outcome.shape), outcome.name);
  return made;
}

window.facevoicePick = { connect: connect, draw: drawClips };
