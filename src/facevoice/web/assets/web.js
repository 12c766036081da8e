// Mounts reports into the page as gradio puts them there, and takes them away with it.
(function () {
  "use strict";
  var mounted = new WeakMap();
  var voice = null; // what screen readers hear of what goes on: few words, now and then
  var spoken = "";

  function say(text) {
    if (voice === null) {
      voice = document.createElement("div");
      voice.className = "fvw-hidden";
      voice.setAttribute("role", "status");
      document.body.appendChild(voice);
    }
    if (text !== spoken) voice.textContent = spoken = text;
  }

  function createStage(address) {
    var stage = document.createElement("div");
    stage.className = "fvw-stage";
    var video = document.createElement("video");
    video.controls = true;
    video.playsInline = true;
    video.preload = "metadata";
    video.setAttribute("aria-label", "The clip");
    video.addEventListener("error", function () {
      var note = document.createElement("p");
      note.className = "fvw-small";
      note.textContent =
        "This browser can't play the file. The timeline works; the annotated video plays everywhere.";
      stage.replaceWith(note);
    });
    video.src = address;
    stage.appendChild(video);
    return { element: stage, video: video };
  }

  function mountResult(place) {
    if (mounted.has(place)) return;
    var view = JSON.parse(place.dataset.view);
    var stage = place.dataset.video && view.summary ? createStage(place.dataset.video) : null;
    var body = document.createElement("div");
    if (stage) place.appendChild(stage.element);
    place.appendChild(body);
    mounted.set(place, window.facevoice.mount(body, view, {
      video: stage && stage.video, pickVideo: false,
    }));
    arrange(body, stage && stage.element);
    say("The result is there. " + view.sentence);
    // The button that was pressed is gone: keys go on from the result.
    var title = body.querySelector(".fv-title");
    title.tabIndex = -1;
    title.focus();
  }

  // What is chosen first stands first; the notice already stands above: here it follows the result.
  function arrange(body, stage) {
    var notice = body.querySelector(".fv-notice"), footer = body.querySelector(".fv-footer");
    if (stage) body.querySelector(".fv-header").after(stage);
    if (notice && footer) footer.before(notice);
  }

  function showProgress(place) {
    var line = place.textContent.match(/Number \d+ in the line/);
    if (line) say("Waiting: " + line[0].toLowerCase() + ".");
    else if (place.textContent.indexOf("Drawing") >= 0) say("Drawing the video.");
    else if (place.textContent.indexOf("Waiting") < 0) say("The clip is being read.");
    else place.scrollIntoView({ block: "nearest" }); // it begins: on a phone this lies far below
  }

  function each(node, selector, act) {
    (node.matches(selector) ? [node] : Array.from(node.querySelectorAll(selector))).forEach(act);
  }

  function look(node) {
    if (node.nodeType !== 1) return;
    each(node, ".fvw-result", mountResult);
    each(node, ".fvw-progress", showProgress);
    each(node, ".fvw-problem", function () { spoken = ""; }); // is an alert by itself
    each(node, ".fvw-live", function (place) { window.facevoiceLive.mount(place); });
  }

  function forget(node) {
    if (node.nodeType !== 1) return;
    each(node, ".fvw-result", function (place) {
      var handle = mounted.get(place);
      if (handle) handle.destroy();
      mounted.delete(place);
    });
    each(node, ".fvw-live", function (place) { window.facevoiceLive.unmount(place); });
  }

  // Gradio follows the system into the dark; the reports' colours are made for white.
  function stayLight() { document.body.classList.remove("dark"); }

  function begin() {
    stayLight();
    new MutationObserver(stayLight).observe(document.body, { attributeFilter: ["class"] });
    look(document.body);
    new MutationObserver(function (changes) {
      changes.forEach(function (change) {
        change.removedNodes.forEach(forget);
        change.addedNodes.forEach(look);
        // Gradio may change the words within a node and leave the node.
        var parent = change.target.parentElement, place = parent && parent.closest(".fvw-progress");
        if (place || change.target.className === "fvw-progress") showProgress(place || change.target);
      });
    }).observe(document.body, { childList: true, characterData: true, subtree: true });
  }

  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
