// What the board's page and the administrator's page share: requests, the remembered language, ages.
const PATIENCE = 4000;  // ms to wait for an answer

// Without the user and password of an address such as http://user:key@host/: fetch refuses addresses that hold them,
// and the browser sends them by itself.
export const HOME = location.origin + location.pathname.replace(/[^/]*$/, "");

export function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }  // null or forbidden in some web views
}

export function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* then it is asked again next time */ }
}

// Returns null if no answer came, or only half of one: the gateway may go away at any moment.
export async function ask(path, options = {}, patience = PATIENCE) {
  const stop = typeof AbortController === "undefined" ? null : new AbortController();
  const timer = stop && setTimeout(() => stop.abort(), patience);
  try {
    const answer = await fetch(HOME + path, stop ? Object.assign({ signal: stop.signal }, options) : options);
    return { ok: answer.ok, status: answer.status, body: await answer.json() };
  } catch { return null; } finally { clearTimeout(timer); }
}

// The next request only after the last one ended, so that a slow gateway is not asked ever more often.
export async function repeat(work, pause) {
  try { await work(); } finally { setTimeout(() => repeat(work, pause), pause); }
}

export function ago(seconds, text) {
  const [count, unit] = seconds < 90 ? [seconds, "second"] : seconds < 5400 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  return `${Math.round(count)}${text(unit)}`;
}
