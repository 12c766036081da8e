// Mounts reports into the page as gradio puts them there, and takes them away with it.
(function () {
  "use strict";
  var mounted = new WeakMap();

  function mountResult(place) {
    if (mounted.has(place)) return;
    var view = JSON.parse(place.dataset.view);
    var video = null;
    if (place.dataset.video && view.summary !== undefined) {
      var stage = document.createElement("div");
      stage.className = "fvw-stage";
      video = document.createElement("video");
      video.controls = true;
      video.playsInline = true;
      video.preload = "metadata";
      video.addEventListener("error", function () {
        var note = document.createElement("p");
        note.className = "fvw-small";
        note.textContent =
          "This browser can't play the file. The timeline works; the annotated video plays everywhere.";
        stage.replaceWith(note);
      });
      video.src = place.dataset.video;
      stage.appendChild(video);
      place.appendChild(stage);
    }
    var body = document.createElement("div");
    place.appendChild(body);
    mounted.set(place, window.facevoice.mount(body, view, { video: video, pickVideo: false }));
  }

  function look(node) {
    if (node.nodeType !== 1) return;
    var found = node.matches(".fvw-result") ? [node] : node.querySelectorAll(".fvw-result");
    found.forEach(mountResult);
    var live = node.matches(".fvw-live") ? [node] : node.querySelectorAll(".fvw-live");
    live.forEach(function (place) { window.facevoiceLive.mount(place); });
  }

  function forget(node) {
    if (node.nodeType !== 1) return;
    var found = node.matches(".fvw-result") ? [node] : node.querySelectorAll(".fvw-result");
    found.forEach(function (place) {
      var handle = mounted.get(place);
      if (handle) handle.destroy();
      mounted.delete(place);
    });
    var live = node.matches(".fvw-live") ? [node] : node.querySelectorAll(".fvw-live");
    live.forEach(function (place) { window.facevoiceLive.unmount(place); });
  }

  function begin() {
    look(document.body);
    new MutationObserver(function (changes) {
      changes.forEach(function (change) {
        change.removedNodes.forEach(forget);
        change.addedNodes.forEach(look);
      });
    }).observe(document.body, { childList: true, subtree: true });
  }

  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
