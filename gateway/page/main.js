// The operator's page: the board as it is now, two sliders, the latest messages. Texts are never markup.
//
// It asks in short requests instead of holding a stream open: a browser has six connections for a host, and the seventh
// tab would never load. Conveniences of newer engines are used if they are there; the board does not depend on them.
import { ask, HOME, remember, remembered, repeat } from "./common.js";
import { showSensors } from "./sensors.js";
import { Sign } from "./sign.js";
import { showSigns } from "./signs.js";
import { TEXTS } from "./texts.js";

const BOARD = new URLSearchParams(location.search).get("board") || "main";
const $ = (id) => document.getElementById(id);
const board = new Sign($("board")), trial = new Sign($("trial"));
const LOOK = 2000, HEALTH = 5000, SIGNS = 5000, SENSORS = 60000;  // ms between looks at the board, the model, the signs, the sensors
let language = remembered("language") || ((navigator.language || "ko").startsWith("ko") ? "ko" : "en");
let state = "connecting", view = null, newest = 0;
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
  const message = view && view.message, why = view && view.no_reading ? ` ${text(view.no_reading)}.` : "";
  const kept = view && view.blanked_until ? ` ${text("keptBlank")}.` : "";
  $("board").setAttribute("aria-label", message ? message.generated_text : text("blank"));
  if (!message) { $("message").textContent = `${text("blank")}${kept}${why}`; return; }
  const until = new Date(view.blank_at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
  const time = language === "ko" ? `${until}${text("until")}` : `${text("until")} ${until}`;
  $("message").textContent = `${message.generated_text} (${message.yesterday_temp} → ${message.today_temp} °C, ${time})${why}`;
}

async function showBoard(next) {
  const turn = ++newest;
  view = next;
  $("ai-mark").hidden = !view.ai_mark || !view.message;
  describe();
  await board.show(view);
  if (turn === newest) await showHistory(turn);
}

async function showHistory(turn = newest) {
  const answer = await ask(`boards/${encodeURIComponent(BOARD)}/history`);
  if (!answer || !answer.ok || turn !== newest) return;
  $("history").textContent = "";
  for (const shown of answer.body) {
    const row = $("history").insertRow();
    const when = new Date(shown.written_at).toLocaleTimeString(language);
    const cells = [when, `${shown.yesterday_temp} → ${shown.today_temp} °C`, shown.generated_text, shown.tries,
      shown.generation_time.toFixed(2)];
    cells.forEach((cell) => row.insertCell().append(String(cell)));
  }
}

async function write(event) {
  event.preventDefault();
  const [yesterday, today] = [Number($("yesterday").value), Number($("today").value)];
  $("write").disabled = true;
  $("answer").classList.remove("bad");
  $("answer").textContent = text("writing");
  try {
    const answer = await fetch(`${HOME}generate/temperature`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        yesterday_temp: yesterday, today_temp: today, park: $("park").value || null, board: $("show").checked ? BOARD : null,
      }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(language === "ko" ? body.title : body.title_en);
    $("answer").textContent = body.generated_text;
    $("trial-sign").hidden = false;
    $("trial").setAttribute("aria-label", body.generated_text);
    await trial.show({ pages: body.pages, columns: body.columns, lines: body.lines });
    if (body.board) look();
  } catch (error) {
    $("trial-sign").hidden = true;
    $("answer").classList.add("bad");
    $("answer").textContent = `${text("failed")}: ${error.message}`;
  } finally {
    $("write").disabled = false;
  }
}

// Needs no gateway: a stale message is never displayed, by the monotonic clock or by the wall clock, whichever is first.
function blankIfStale() {
  if (view && view.message && (performance.now() > view.staleAt || Date.now() > view.staleOn)) {
    showBoard({ ...view, message: null, pages: [] });
  }
}

async function look() {
  blankIfStale();
  const answer = await ask(`boards/${encodeURIComponent(BOARD)}?blank=true`);
  if (!answer || !answer.ok) { showState(answer ? "down" : "lost"); return; }
  if (state === "lost" || state === "connecting") lookAtModel();
  const next = answer.body, shown = view && view.message, message = next.message;
  const same = view && JSON.stringify([shown, view.ai_mark, view.lines, view.columns, view.no_reading, view.blanked_until])
    === JSON.stringify([message, next.ai_mark, next.lines, next.columns, next.no_reading, next.blanked_until]);
  const left = message ? next.seconds_left * 1000 : 0;
  const times = { staleAt: performance.now() + left, staleOn: Date.now() + left };
  if (same) Object.assign(view, times); else showBoard({ ...next, ...times });
}

async function lookAtSensors() {
  $("sensors-section").hidden = !await showSensors($("sensors"), BOARD, ask, text);
}

async function lookAtSigns() {
  $("signs-section").hidden = !await showSigns($("signs"), BOARD, ask, text);
}

async function lookAtModel() {
  const answer = await ask("health");
  showState(!answer ? "lost" : answer.ok ? "ready" : "down");
}

// A choice only where there is one: most gateways know one park.
async function offerParks() {
  const answer = await ask("parks");
  if (!answer || !answer.ok || answer.body.length < 2) return;
  $("park").append(new Option("", ""), ...answer.body.map((park) => new Option(park.name, park.park)));
  $("park-label").hidden = false;
}

for (const id of ["yesterday", "today"]) {
  $(id).addEventListener("input", () => { $(`${id}-value`).textContent = `${$(id).value} °C`; });
}
$("form").addEventListener("submit", write);
$("language").addEventListener("click", () => {
  language = language === "ko" ? "en" : "ko";
  remember("language", language);
  speak();
  showHistory();
  lookAtSensors();
  lookAtSigns();
});
speak();
offerParks();
setInterval(blankIfStale, 1000);
repeat(look, LOOK);
repeat(lookAtModel, HEALTH);
repeat(lookAtSensors, SENSORS);
repeat(lookAtSigns, SIGNS);
