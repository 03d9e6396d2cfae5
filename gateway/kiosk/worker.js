// The kiosk page's service worker: the page comes up without gateway and network, black, and asks until they are back. It
// keeps the page's own files and nothing of a board, so it can never show an old message.
var BUILD = "{build}", CACHE = "signboard-" + BUILD, SHELL = "kiosk.html", FILES = [SHELL, "Galmuri14.woff"];
var PATIENCE = 4000;  // ms, for the network
var WAITING = '<!doctype html><meta http-equiv="refresh" content="5"><title>전광판</title><body bgcolor="#000000"></body></html>';

self.addEventListener("install", function (event) {
  event.waitUntil(caches.open(CACHE).then(function (cache) {
    return cache.addAll(FILES);  // all of them, or this worker is none
  }).then(function () { return self.skipWaiting(); }));
});

self.addEventListener("activate", function (event) {
  event.waitUntil(caches.keys().then(function (names) {
    return Promise.all(names.map(function (name) {
      return /^signboard-/.test(name) && name !== CACHE ? caches.delete(name) : null;
    }));
  }).then(function () { return self.clients.claim(); }));
});

self.addEventListener("fetch", function (event) {
  if (event.request.method !== "GET") return;
  if (event.request.mode === "navigate") event.respondWith(page(event.request));
  else if (/\/Galmuri14\.woff$/.test(event.request.url)) event.respondWith(kept("Galmuri14.woff", event.request));
});

// The network's page if it is whole and ours; a proxy's error or a login page is not.
function page(request) {
  var network = fetch(request).then(function (answer) {
    if (!answer.ok || !answer.headers.get("X-Signboard-Build")) throw new Error("not the page");
    return answer.text().then(function (text) {
      if (text.indexOf("</html>") < 0) throw new Error("half a page");
      return new Response(text, { headers: answer.headers });
    });
  });
  var late = new Promise(function (_, fail) { setTimeout(function () { fail(new Error("late")); }, PATIENCE); });
  return Promise.race([network, late]).then(null, function () {
    return caches.match(SHELL).then(function (found) {
      return found || new Response(WAITING, { headers: { "Content-Type": "text/html; charset=utf-8" } });
    });
  });
}

function kept(name, request) {
  return caches.match(name).then(function (found) { return found || fetch(request); });
}
