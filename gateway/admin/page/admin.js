// The administrator's page: what is wrong now, then everything's state, from one overview that it asks for again and again.
// It outlives the gateway's restarts. Texts are never markup.
import { ALL } from "./admin_texts.js";
import { ago, ask, remember, remembered, repeat } from "./common.js";
import { keep, make, plain, say, showTable } from "./tables.js";

const LOOK = 5000, PATIENCE = 15000;  // ms between looks; to wait for one, as the model may take its time to fail
const MESSAGE_PATIENCE = 60000;
const MINUTES = [10, 60, 360, 1440];
const $ = (id) => document.getElementById(id);
let language = remembered("language") || ((navigator.language || "ko").startsWith("ko") ? "ko" : "en");
let state = "connecting", overview = null, lostAt = null, wish = null;
const text = (key) => ALL[language][key];

function speak() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = text(node.dataset.text); });
  say($("language"), text("other"));
  $("language").lang = language === "ko" ? "en" : "ko";
  $("minutes").textContent = "";
  $("minutes").append(...MINUTES.map((number) => new Option(text("minutes")(number), number, number === 60, number === 60)));
  $("faults").textContent = "";  // its paragraphs are in the other language
  show();
}

// Today's times without the date.
function clock(time, seconds = false) {
  if (!time) return "";
  const at = new Date(time), today = at.toDateString() === new Date().toDateString();
  const day = today ? {} : { month: "numeric", day: "numeric" };
  return at.toLocaleString(language, Object.assign(day, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }, seconds ? { second: "2-digit" } : {}));
}

function percent(share) {
  return share === null ? "" : `${Math.round(share * 100)} %`;
}

// What is wrong

function grouped(faults) {
  const groups = new Map();
  for (const fault of faults) {
    if (!groups.has(fault.code)) groups.set(fault.code, []);
    groups.get(fault.code).push(fault);
  }
  return Array.from(groups.values());
}

function gatewayDown() {
  const both = (key) => ({ ko: ALL.ko[key], en: ALL.en[key] });
  return { code: "GatewayDown", subject: "", urgent: true, since: lostAt, detail: "", means: both("downMeans"), todo: both("downTodo"), docs: "docs/runbook.md#gatewaydown" };
}

function newFault([fault]) {
  const item = make("li", {}, make("h3"), make("ul"));
  for (const key of ["means", "todo"]) {
    if (fault[key]) item.append(make("p", { class: key }, make("span", { class: "label" }, text(key)), ...plain(fault[key][language])));
  }
  const page = language === "ko" ? fault.docs.replace(".md", ".ko.md") : fault.docs;
  item.append(make("p", { class: "docs" }, `${text("docs")}: ${page}`));
  return item;
}

function updateFault(item, faults) {
  const [first] = faults;
  item.className = first.urgent ? "urgent" : "";
  say(item.querySelector("h3"), `${first.urgent ? `[${text("urgent")}] ` : ""}${text("fault")[first.code] || first.code}`);
  keep(item.querySelector("ul"), faults, (fault) => fault.subject, () => make("li"), (node, fault) => {
    const detail = fault.code === "ParkWithoutReading" ? text(fault.detail) : fault.detail;
    say(node, [fault.subject, text("since")(clock(fault.since)), detail].filter(Boolean).join(" · "));
  });
}

function showFaults() {
  const faults = state === "lost" ? [gatewayDown()] : overview ? overview.faults : [];
  keep($("faults"), grouped(faults), ([fault]) => fault.code, newFault, updateFault);
  const told = state === "lost" || overview, well = told && !faults.length;
  say($("summary"), !told ? "" : well ? text("well") : text("count")(faults.length));
  $("summary").className = well ? "well" : "wrong";
  const looked = overview ? clock(overview.looked_at, true) : "";
  say($("looked"), !overview ? "" : state === "lost" ? text("stale")(looked) : text("looked")(looked, clock(overview.started_at)));
  document.title = faults.length ? `(${faults.length}) ${text("admin")}` : text("admin");
}

// The tables

function button(key, title, label, work, danger) {
  return {
    key,
    create: () => { const made = make("button", { type: "button", class: danger ? "danger" : "" }); made.addEventListener("click", () => made.work()); return made; },
    update: (node) => { say(node, title); node.setAttribute("aria-label", label); node.work = work; },
  };
}

function link(key, title, label, address) {
  return { key, create: () => make("a", { href: address }), update: (node) => { say(node, title); node.setAttribute("aria-label", label); } };
}

function boardActions(board) {
  const name = board.board, offers = [];
  const offer = (key, work, danger) => offers.push(button(key, text(key), `${name}: ${text(key)}`, work, danger));
  if (board.blanked_until) offer("unblank", () => act(`admin/boards/${name}/unblank`, {}, () => text("didUnblank")(name)));
  else offer("blank", () => confirmBlank(`admin/boards/${name}/blank`, name, text("boardText")), true);
  if (board.follows_sensors) offer("renew", () => renew(name));
  else offers.push(link("open", text("open"), `${name}: ${text("open")}`, `./?board=${name}`));
  return { buttons: offers };
}

function whyBlank(board) {
  if (board.why_blank === "blanked") return { text: text("blanked")(clock(board.blanked_until)) };
  const why = { stale: "staleMessage" }[board.why_blank] || board.why_blank;
  const note = board.why_blank === "no_reading" ? text(board.why_detail) : board.why_detail;
  return { text: why ? text(why) : "", note, bad: board.follows_sensors };
}

function boardColumns() {
  return [
    [text("boardName"), (board) => board.board],
    [text("park"), (board) => board.parks.join(", ")],
    [text("message"), (board) => (board.message
      ? { text: board.message, lang: "ko", note: `${board.readings[0]} → ${board.readings[1]} °C` } : whyBlank(board))],
    [text("age"), (board) => (board.age === null ? "" : ago(board.age, text))],
    [text("blankAt"), (board) => clock(board.blank_at)],
    [text("actions"), boardActions],
  ];
}

function signActions(sign) {
  const name = sign.sign;
  const offer = (key, work, danger) => ({ buttons: [button(key, text(key), `${name}: ${text(key)}`, work, danger)] });
  return sign.blanked_until
    ? offer("unblank", () => act(`admin/signs/${name}/unblank`, {}, () => text("didUnblank")(name)))
    : offer("blank", () => confirmBlank(`admin/signs/${name}/blank`, name, text("signText")), true);
}

function signState(sign) {
  const wrong = sign.state === "failed" || sign.state === "refused";
  const notes = [
    sign.failed_since && text("since")(clock(sign.failed_since)), wrong && sign.error, sign.blanked_until && text("blanked")(clock(sign.blanked_until)),
  ];
  return { text: text(`sign_${sign.state}`), note: notes.filter(Boolean).join(" · "), bad: wrong };
}

function signColumns() {
  const unknown = ["failed", "sending", "starting"];
  return [
    [text("device"), (sign) => sign.sign],
    [text("boardName"), (sign) => ({ text: sign.board, note: sign.park })],
    [text("deviceState"), signState],
    [text("shows"), (sign) => (sign.text ? { text: sign.text, lang: "ko" } : text(unknown.includes(sign.state) ? "unknown" : "nothing"))],
    [text("sentAt"), (sign) => clock(sign.sent_at, true)],
    [text("confirmedAt"), (sign) => clock(sign.confirmed_at, true)],
    [text("results"), (sign) => ["confirmed", "failed", "refused"].map((result) => sign.results[result] || 0).join(" / ")],
    [text("actions"), signActions],
  ];
}

function sensorColumns() {
  return [
    [text("sensor"), (sensor) => sensor.sensor],
    [text("park"), (sensor) => sensor.park],
    [text("value"), (sensor) => (sensor.latest ? `${sensor.latest.value} °C` : text("noObservation"))],
    [text("measured"), (sensor) => ({ text: sensor.age === null ? "" : ago(sensor.age, text), note: sensor.missing ? text("missing") : "", bad: sensor.missing })],
    [text("flag"), (sensor) => (sensor.latest
      ? { text: text(sensor.latest.flag), note: sensor.latest.reasons.join(", "), bad: sensor.latest.flag === "bad" } : "")],
    [text("unusedToday"), (sensor) => ({ text: percent(sensor.unused_today), bad: sensor.unused_today > 0.5 })],
    [text("rejects"), (sensor) => Object.entries(sensor.rejects).map(([reason, count]) => `${reason} ${count}`).join(", ")],
  ];
}

function parkColumns() {
  return [
    [text("park"), (park) => park.park],
    [text("name"), (park) => ({ text: park.name, lang: "ko" })],
    [text("elements"), (park) => ({ text: park.elements.join(", "), note: park.season, lang: "ko" })],
    [text("boardName"), (park) => park.board || ""],
    [text("sensors"), (park) => String(park.sensors)],
    [text("signs"), (park) => park.signs.join(", ")],
    [text("size"), (park) => park.sign],
    [text("zone"), (park) => park.timezone],
    [text("file"), (park) => ({ text: text(park.changed ? "changed" : "asRead"), bad: park.changed })],
  ];
}

function keyColumns() {
  return [
    [text("name"), (key) => key.name],
    [text("scopes"), (key) => key.scopes.join(", ")],
    [text("hash"), (key) => key.hash_begins],
    [text("lastUsed"), (key) => clock(key.last_used, true) || text("notUsed")],
  ];
}

function showVersions() {
  const told = ["code", "prompt", "fingerprint", "model", "checkpoint", "database_schema"];
  keep($("versions"), told.flatMap((key) => [["dt", key], ["dd", key]]), (row) => row.join(), ([tag]) => make(tag), (node, [tag, key]) =>
    say(node, tag === "dt" ? text(key) : String(overview.versions[key] || text("unknown"))));
}

function show() {
  $("state").dataset.state = state;
  say($("state"), text({ ready: "connected", down: "failing" }[state] || state));
  showFaults();
  document.querySelectorAll("main > section:not(:first-child)").forEach((node) => node.classList.toggle("old", state !== "ready"));
  if (!overview) return;
  showTable($("boards"), text("boards"), boardColumns(), overview.boards, (board) => board.board, text("none"));
  showTable($("devices"), text("signs"), signColumns(), overview.signs, (sign) => sign.sign, text("none"));
  showTable($("probes"), text("sensors"), sensorColumns(), overview.sensors, (sensor) => sensor.sensor, text("none"));
  showTable($("parks"), text("parks"), parkColumns(), overview.parks, (park) => park.park, text("none"));
  showTable($("keys"), text("keys"), keyColumns(), overview.keys, (key) => key.name, text("noKeys"));
  showVersions();
}

async function look() {
  const answer = await ask("admin/overview", {}, PATIENCE);
  const denied = answer && (answer.status === 401 || answer.status === 403);
  state = !answer ? "lost" : denied ? "forbidden" : answer.ok ? "ready" : "down";
  if (answer && answer.ok) overview = answer.body;
  lostAt = answer ? null : lostAt || new Date().toISOString();
  show();
}

// Actions

function tell(told, bad = false) {
  $("done").className = bad ? "bad" : "";
  say($("done"), told);
}

// JSON, which a browser sends for another site's page only if the gateway allows that site.
async function act(path, body, done, patience) {
  const answer = await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }, patience);
  if (answer && answer.ok) tell(done(answer.body));
  else {
    const why = !answer ? text("lost") : `${language === "ko" ? answer.body.title : answer.body.title_en}: ${answer.body.detail}`;
    tell(`${text("didNot")}: ${why}`, true);
  }
  await look();
}

function renew(name) {
  tell(text("asking")(name));
  act(`admin/boards/${name}/message`, {}, () => text("didRenew")(name), MESSAGE_PATIENCE);
}

function confirmBlank(path, name, told) {
  wish = { path, name, from: document.activeElement };
  say($("confirm-title"), text("confirmBlank")(name));
  say($("confirm-text"), told);
  $("minutes").value = "60";
  $("confirm").showModal();
}

$("confirm-no").addEventListener("click", () => $("confirm").close());
$("confirm-yes").addEventListener("click", () => {
  const { path, name } = wish;
  $("confirm").close();
  act(path, { minutes: Number($("minutes").value) }, (body) => text("didBlank")(name, clock(body.blanked_until)));
});
$("language").addEventListener("click", () => {
  language = language === "ko" ? "en" : "ko";
  remember("language", language);
  tell("");
  speak();
});
speak();
repeat(look, LOOK);
