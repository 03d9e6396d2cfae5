// The operator's page: the board, live over server-sent events, two sliders, the latest messages. Texts are never markup.
import { Sign } from "./sign.js";
import { TEXTS } from "./texts.js";

const BOARD = new URLSearchParams(location.search).get("board") ?? "main";
const $ = (id) => document.getElementById(id);
const board = new Sign($("board")), trial = new Sign($("trial"));
let events;
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("ko") ? "ko" : "en");
const PATIENCE = 4000, SILENCE = 40000;  // ms to wait for an answer, and for any event of the stream
let state = "connecting", view = null, heard = performance.now(), newest = 0;
const text = (key) => TEXTS[language][key];

function speak() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = text(node.dataset.text); });
  document.title = text("title");
  $("language").textContent = text("other");
  $("language").lang = language === "ko" ? "en" : "ko";
  $("board-name").textContent = `${text("board")} ${BOARD}`;
  showState(state);
  describe();
}

function showState(next) {
  state = next;
  $("state").dataset.state = state;
  $("state").textContent = text(state);
}

function describe() {
  const message = view?.message;
  $("board").setAttribute("aria-label", message ? message.generated_text : text("blank"));
  if (!message) { $("message").textContent = text("blank"); return; }
  const until = new Date(view.blank_at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
  const time = language === "ko" ? `${until}${text("until")}` : `${text("until")} ${until}`;
  $("message").textContent = `${message.generated_text} (${message.yesterday_temp} → ${message.today_temp} °C, ${time})`;
}

async function showBoard(next) {
  const turn = ++newest;
  view = next;
  // Expiry by this machine's monotonic time: its clock may be wrong.
  const lasts = view.message ? Date.parse(view.blank_at) - Date.parse(view.message.written_at) - view.age * 1000 : 0;
  view.over = performance.now() + lasts;
  $("ai-mark").hidden = !view.ai_mark || !view.message;
  describe();
  await board.show(view);
  if (turn === newest) await showHistory(turn);
}

async function showHistory(turn = newest) {
  const answer = await ask(`boards/${encodeURIComponent(BOARD)}/history`);
  if (!answer?.ok || turn !== newest) return;
  $("history").replaceChildren(...answer.body.map((shown) => {
    const row = document.createElement("tr");
    const when = new Date(shown.written_at).toLocaleTimeString(language);
    const cells = [when, `${shown.yesterday_temp} → ${shown.today_temp} °C`, shown.generated_text, shown.tries,
      shown.generation_time.toFixed(2)];
    cells.forEach((cell) => row.insertCell().append(String(cell)));
    return row;
  }));
}

async function write(event) {
  event.preventDefault();
  const [yesterday, today] = [Number($("yesterday").value), Number($("today").value)];
  $("write").disabled = true;
  $("answer").classList.remove("bad");
  $("answer").textContent = text("writing");
  try {
    const answer = await fetch("generate/temperature", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ yesterday_temp: yesterday, today_temp: today, board: $("show").checked ? BOARD : null }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(language === "ko" ? body.title : body.title_en);
    $("answer").textContent = body.generated_text;
    $("trial-sign").hidden = false;
    $("trial").setAttribute("aria-label", body.generated_text);
    await trial.show({ pages: body.pages, columns: body.columns, lines: body.lines });
  } catch (error) {
    $("trial-sign").hidden = true;
    $("answer").classList.add("bad");
    $("answer").textContent = `${text("failed")}: ${error.message}`;
  } finally {
    $("write").disabled = false;
  }
}

async function askHealth() {
  // Needs no gateway: a stale message is never displayed.
  if (view?.message && performance.now() > view.over) showBoard({ ...view, message: null, pages: [] });
  const answer = await ask("health");
  const silent = performance.now() - heard > SILENCE;
  showState(!answer || silent ? "lost" : answer.ok ? "ready" : "down");
  if (answer && silent) { heard = performance.now(); listen(); }
}

// Returns null if no answer came, or only half of one: the gateway may go away at any moment.
async function ask(path) {
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE) });
    return { ok: answer.ok, body: await answer.json() };
  } catch { return null; }
}

function listen() {
  events?.close();
  events = new EventSource(`events?board=${encodeURIComponent(BOARD)}`);
  const hear = () => { heard = performance.now(); };
  events.addEventListener("board", (event) => { hear(); showBoard(JSON.parse(event.data)); });
  events.addEventListener("ping", hear);
  events.onopen = () => { hear(); askHealth(); };
  events.onerror = () => {
    showState("lost");
    // A browser stops retrying when the gateway rejects the stream, so the page retries by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

for (const id of ["yesterday", "today"]) {
  $(id).addEventListener("input", () => { $(`${id}-value`).textContent = `${$(id).value} °C`; });
}
$("form").addEventListener("submit", write);
$("language").addEventListener("click", () => {
  language = language === "ko" ? "en" : "ko";
  localStorage.setItem("language", language);
  speak();
  showHistory();
});
speak();
listen();
setInterval(askHealth, 5000);
