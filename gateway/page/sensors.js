// The sensors of this page's board: last value, the flags of the last day as a strip, today's line over yesterday's.
// Drawn as SVG from the observations. Texts are never markup.
import { ago } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const HOUR = 3600000, DAY = 24 * HOUR;  // ms
const WIDTH = 480, HEIGHT = 120, STRIP = 10, CELLS = 96;  // a cell is a quarter of an hour
const RANK = { good: 1, doubtful: 2, bad: 3 };  // a cell shows its worst flag

function element(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// The newest time first: the right edge is now.
function strip(rows, now) {
  const worst = new Array(CELLS).fill(null);
  for (const row of rows) {
    const cell = CELLS - 1 - Math.floor((now - row.at) / (DAY / CELLS));
    if (cell >= 0 && cell < CELLS && (RANK[row.flag] > (RANK[worst[cell]] || 0))) worst[cell] = row.flag;
  }
  const width = WIDTH / CELLS;
  return worst.map((flag, cell) => element("rect", {
    class: `flag ${flag || "none"}`, x: cell * width, y: HEIGHT + 8, width: width - 0.5, height: STRIP,
  }));
}

// Good observations only, broken where some are missing: a line over a gap would be an invention.
function line(rows, from, scale, gap, name) {
  const path = [];
  let last = null;
  for (const row of rows) {
    if (row.flag !== "good" || row.at < from || row.at >= from + DAY) continue;
    const x = (row.at - from) / DAY * WIDTH, y = scale(row.value);
    path.push(`${last !== null && row.at - last <= gap ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`);
    last = row.at;
  }
  return element("path", { class: name, d: path.join("") });
}

function scaleOf(rows) {
  const values = rows.filter((row) => row.flag === "good").map((row) => row.value);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) return { low: null, high: null, y: () => HEIGHT / 2 };
  const span = Math.max(high - low, 1);
  return { low, high, y: (value) => HEIGHT - 6 - (value - low) / span * (HEIGHT - 12) };
}

// The warmest and the coldest good value beside their heights, and four times of the day below.
function marks(scale, now) {
  const told = scale.low === null ? [] : [[scale.high, 10], [scale.low, HEIGHT - 2]].map(([value, y]) =>
    element("text", { x: 2, y }, `${value} °C`));
  const times = [0, 6, 12, 18].map((hour) => element("text", { x: hour / 24 * WIDTH, y: HEIGHT + STRIP + 20 },
    new Date(now - DAY + hour * HOUR).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" })));
  return [...told, ...times];
}

function picture(sensor, observations, text) {
  const now = Date.now(), gap = 3000 * sensor.interval;
  const rows = observations.map((row) => ({ at: Date.parse(row.measured_at), value: row.value, flag: row.flag }))
    .sort((a, b) => a.at - b.at);
  const scale = scaleOf(rows);
  const range = scale.low === null ? text("none") : `${scale.low}…${scale.high} °C`, label = `${sensor.sensor}: ${text("chart")}, ${range}`;
  return element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + STRIP + 24}`, role: "img", "aria-label": label },
    line(rows, now - 2 * DAY, scale.y, gap, "yesterday"), line(rows, now - DAY, scale.y, gap, "today"), 
    ...strip(rows, now), ...marks(scale, now));
}

function summary(sensor, text) {
  if (!sensor.latest) return text("noObservation");
  const flag = sensor.missing ? "missing" : sensor.latest.flag;
  return `${sensor.latest.value} °C · ${ago(sensor.age, text)} · ${text(flag)}`;
}

// Put the sensors of a board into a node; return whether there are any.
export async function showSensors(node, board, ask, text) {
  const answer = await ask("sensors");
  if (!answer || !answer.ok) return node.childElementCount > 0;  // what stands there is still true, and says its age
  const sensors = answer.body.filter((one) => one.board === board);
  const figures = [];
  for (const sensor of sensors) {
    const seen = await ask(`sensors/${encodeURIComponent(sensor.sensor)}/observations`);
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const name = document.createElement("b"), told = document.createElement("span");
    name.textContent = sensor.sensor;
    told.textContent = ` ${summary(sensor, text)}`;
    told.className = sensor.missing ? "bad" : "";
    caption.append(name, told);
    figure.append(caption);
    if (seen && seen.ok && seen.body.length) figure.append(picture(sensor, seen.body, text));
    figures.push(figure);
  }
  node.textContent = "";
  node.append(...figures);
  return sensors.length > 0;
}
