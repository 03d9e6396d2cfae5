
// The kiosk page: a board's sign and nothing else, dot for dot from the top left, for a player that feeds a sender card.
//
// The gateway sends the pages as dots; this page lays nothing out and never changes a text. It asks in short requests, so
// that a dead connection costs one request only. Whatever happens, the sign goes black when its message is stale: by the
// monotonic clock or the wall clock, whichever is first, and without the gateway.
//
// Players have old engines: ES5, XMLHttpRequest and a canvas only. Newer features are used if they are there.
(function () {
  "use strict";
  var PATIENCE = 4000, LOOK = 2000, SLOWEST = 6000, TICK = 100, REDRAW = 1000, DRIFT = 1000, RELOAD_AGAIN = 600000;  // ms
  var TALL = 0.82;  // of a line's height: the size of the smooth font
  var root = document.documentElement, canvas = document.getElementById("sign"), pen = canvas.getContext("2d");
  var build = root.getAttribute("data-build");
  var place = /^(.*)\/sign\/([^\/]*)$/.exec(location.pathname) || ["", "", ""];
  var home = location.protocol + "//" + location.host + place[1], board = place[2];
  var own = { smooth: false, zoom: 1 };  // what concerns this page only
  var address = home + "/boards/" + board + "/frames" + forwarded();
  var key = keyOf(location.hash, document.baseURI || location.href);
  var view = null, signature = "", buffer = document.createElement("canvas"), drawn = "", drawnAt = 0;
  var failures = 0, renewing = false, worker = null, began = clock();

  function clock() { return window.performance && performance.now ? performance.now() : Date.now(); }

  // All of the address goes to the gateway, which names what it does not know, except what concerns this page.
  function forwarded() {
    var kept = [], parts = location.search.replace(/^\?/, "").split("&");
    for (var i = 0; i < parts.length; i++) {
      if (parts[i] === "font=smooth") own.smooth = true;
      else if (/^zoom=[1-9]\d?$/.test(parts[i])) own.zoom = Number(parts[i].slice(5));
      else if (parts[i]) kept.push(parts[i]);
    }
    return kept.length ? "?" + kept.join("&") : "";
  }

  // From #key=… or http://user:key@host/. In a header, so that the browser never asks for a password.
  function keyOf(hash, base) {
    var found = /[#&]key=([^&]+)/.exec(hash) || /^[a-z]+:\/\/[^\/@]*:([^\/@]*)@/.exec(base);
    return found ? decodeURIComponent(found[1]) : "";
  }

  function tell(state, why) {
    root.setAttribute("data-state", state);
    document.title = "전광판 " + board + ": " + state + (why ? " (" + why + ")" : "");
  }

  // Calls back once, whatever the engine does: with a status, 0 for none in time, and the body.
  function ask(where, answered) {
    var request = new XMLHttpRequest(), done = false;
    var timer = setTimeout(function () { finish(0, ""); request.abort(); }, PATIENCE);
    function finish(status, body) {
      if (done) return;
      done = true;
      clearTimeout(timer);
      request.onreadystatechange = null;
      answered(status, body);
    }
    request.onreadystatechange = function () {
      if (request.readyState === 4) finish(request.status, request.responseText);
    };
    try {
      request.open("GET", where, true);
      if (key) request.setRequestHeader("Authorization", "Bearer " + key);
      request.send();
    } catch (error) { finish(0, ""); }
  }

  // The next request only after the last one ended.
  function look() {
    var sent = clock(), sentOn = Date.now();
    ask(address, function (status, body) {
      var pause = LOOK * Math.pow(2, Math.min(failures, 3));
      try {
        receive(status, body, sent, sentOn);
      } finally {  // signs that were cut off together do not come back together
        setTimeout(look, Math.min(SLOWEST, failures ? pause : LOOK) * (0.8 + Math.random() * 0.2));
      }
    });
  }

  function receive(status, body, sent, sentOn) {
    var answer = null;
    try { answer = JSON.parse(body); } catch (error) { answer = null; }
    if (status !== 200 || !answer || answer.board !== board || !answer.pages) {
      failures++;
      tell(status === 401 || status === 403 ? "key" : status >= 400 && status < 500 ? "refused" : "lost", answer && answer.detail);
      return;
    }
    failures = 0;
    accept(answer, sent, sentOn);
    tell(answer.problem ? "problem" : answer.pages.length ? "shown" : "blank", answer.problem);
    renew(answer.build);
  }

  // Times count from when the request was sent, so a slow answer keeps no message longer. What the line's delay changes in
  // the message's age is not followed: the text would tremble.
  function accept(answer, sent, sentOn) {
    var left = answer.pages.length ? answer.seconds_left * 1000 : 0;
    var next = JSON.stringify([answer.width, answer.height, answer.scroll, answer.pages, answer.colour, answer.mark]);
    if (next !== signature) { signature = next; drawn = ""; }
    var born = sent - (answer.age || 0) * 1000, steady = view && Math.abs(view.bornAt - born) < DRIFT;
    answer.bornAt = steady ? view.bornAt : born;
    view = answer;
    view.staleAt = sent + left;
    view.staleOn = sentOn + left;
    for (var i = 0; i < view.brightness.length; i++) view.brightness[i].at = sent + view.brightness[i].seconds * 1000;
    paint();
  }

  // Both clocks; once stale a message never comes back, wherever a clock steps to.
  function blankIfStale() {
    if (view && view.pages.length && !(clock() < view.staleAt && Date.now() < view.staleOn)) {
      view.pages = [];
      signature = "";
      if (root.getAttribute("data-state") === "shown") tell("blank");
    }
  }

  function colourNow() {
    var percent = 0, now = clock();
    for (var i = 0; i < view.brightness.length; i++) {
      if (view.brightness[i].at <= now || i === 0) percent = view.brightness[i].percent;
    }
    return view.colour.map(function (value) { return Math.floor(value * percent / 100); });
  }

  // Also without a change once a second: an engine may lose a canvas, or come back from another resolution.
  function paint() {
    blankIfStale();
    if (!view) return;
    fit();
    var seconds = (clock() - view.bornAt) / 1000, count = view.pages.length;
    var number = count ? (view.scroll ? 0 : Math.floor(seconds / view.page_seconds) % count) : -1;
    var colour = count ? colourNow() : [];
    var wanted = number + "/" + colour, fresh = wanted !== drawn.split("|")[0];
    if (count && (fresh || own.smooth && clock() - drawnAt > REDRAW)) fill(view.pages[number], colour);
    var shift = count && view.scroll ? Math.floor(seconds * view.scroll_speed) % (buffer.width + view.width) - view.width : 0;
    if (wanted + "|" + shift === drawn && clock() - drawnAt < REDRAW) return;
    drawn = wanted + "|" + shift;
    drawnAt = clock();
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    if (count) pen.drawImage(buffer, -shift, 0);
    canvas.setAttribute("data-page", number);
    canvas.setAttribute("data-shift", shift);
  }

  // One dot is one pixel of the screen, whatever the browser's zoom.
  function fit() {
    var ratio = window.devicePixelRatio || 1;
    if (canvas.width !== view.width || canvas.height !== view.height) {
      canvas.width = view.width;
      canvas.height = view.height;
      drawn = "";
    }
    set("width", view.width * own.zoom / ratio + "px");
    set("height", view.height * own.zoom / ratio + "px");
  }

  function set(name, value) { if (canvas.style[name] !== value) canvas.style[name] = value; }

  function fill(page, colour) {
    if (own.smooth) return write(page, "rgb(" + colour + ")");
    var bits = atob(page.bits), stride = Math.ceil(page.width / 8);
    buffer.width = page.width;
    buffer.height = view.height;
    var brush = buffer.getContext("2d"), image = brush.createImageData(page.width, view.height), at = 0;
    for (var y = 0; y < view.height; y++) for (var x = 0; x < page.width; x++, at += 4) {
      var lit = bits.charCodeAt(y * stride + (x >> 3)) >> (7 - (x & 7)) & 1;
      for (var i = 0; i < 3; i++) image.data[at + i] = lit ? colour[i] : 0;
      image.data[at + 3] = 255;
    }
    brush.putImageData(image, 0, 0);
  }

  // The same lines in the browser's own drawing, as large as the sign allows.
  function write(page, colour) {
    var lines = view.scroll ? [page.lines.join("     ")] : page.lines, brush = buffer.getContext("2d");
    var mark = view.mark ? Math.max(8, Math.round(view.height / 6)) : 0;
    var row = (view.height - mark) / lines.length, size = Math.floor(row * TALL), widest;
    do {
      brush.font = fontOf(size);
      widest = Math.max.apply(null, lines.map(function (line) { return brush.measureText(line).width; }));
    } while (!view.scroll && widest > view.width && --size > 6);
    buffer.width = view.scroll ? Math.ceil(widest) : view.width;
    buffer.height = view.height;
    brush.fillStyle = colour;
    brush.textBaseline = "middle";
    brush.textAlign = view.scroll ? "left" : "center";
    brush.font = fontOf(size);
    lines.forEach(function (line, i) { brush.fillText(line, view.scroll ? 0 : view.width / 2, (i + 0.5) * row); });
    if (!mark) return;
    brush.font = fontOf(Math.floor(mark * 0.9));
    brush.textAlign = "right";
    brush.fillText(view.mark, view.width - 1, view.height - mark / 2);
  }

  function fontOf(size) {
    return size + "px 'Noto Sans KR','Noto Sans CJK KR','Malgun Gothic','NanumGothic',Sign,sans-serif";
  }

  // A new build: load it, but only after it was seen there, so that no error page comes instead. A page that a reload brought
  // waits before the next one: a cache between may hold the old page, and two gateways may have two builds. The window's
  // name outlives a reload.
  function renew(latest) {
    if (latest === build || renewing || window.name === "reloaded" && clock() - began < RELOAD_AGAIN) return;
    renewing = true;
    if (worker && worker.update) worker.update();
    ask(home + "/sign/" + board, function (status, body) {
      renewing = false;
      if (status !== 200 || body.indexOf(latest) < 0 || body.indexOf("</html>") < 0) return;
      window.name = "reloaded";
      location.reload();
    });
  }

  // Only where the page is scrolling; the timer below paints as well, should the engine stop its frames.
  function frame() {
    if (view && view.scroll && view.pages.length) paint();
    window.requestAnimationFrame(frame);
  }

  function tick() {
    setTimeout(tick, TICK);
    paint();
  }

  // Where the engine has it and the address is https or the player's own: the page comes up without the network, too.
  function keep() {
    if (!navigator.serviceWorker) return;
    navigator.serviceWorker.register(home + "/sign/worker.js").then(function (found) { worker = found; }, function () { /* goes without */ });
    if (navigator.storage && navigator.storage.persist) navigator.storage.persist().then(null, function () { /* as above */ });
  }

  tick();
  look();
  if (window.requestAnimationFrame) frame();
  try { keep(); } catch (error) { /* forbidden here */ }
})();
