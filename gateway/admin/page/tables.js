// Tables and lists that are updated in place: what stays keeps its node, so a focused button keeps the focus.

// Write a text only where it changed: a screen reader reads live regions again at every write.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A text whose parts between backticks are code. Never markup.
export function plain(text) {
  return text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : document.createTextNode(part)));
}

// Make `parent`'s children those of `rows`, in their order; `create` and `update` get a row, `update` also its node.
export function keep(parent, rows, keyOf, create, update) {
  const known = new Map(Array.from(parent.children).map((node) => [node.dataset.key, node]));
  rows.forEach((row, at) => {
    const key = keyOf(row), node = known.get(key) || create(row);
    node.dataset.key = key;
    known.delete(key);
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] || null);
    update(node, row);
  });
  known.forEach((node) => node.remove());
}

function newTable(columns) {
  // The roles are those that the elements have anyway, until a narrow screen shows rows as cards.
  const head = make("tr", { role: "row" }, ...columns.map(() => make("th", { scope: "col", role: "columnheader" })));
  return make("table", { role: "table" }, make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }));
}

function newRow(columns) {
  return make("tr", { role: "row" }, ...columns.map((_, at) =>
    (at ? make("td", { role: "cell" }) : make("th", { scope: "row", role: "rowheader" }))));
}

// A cell is a text, or { text, note, bad, lang, buttons }: a second line, whether it is a fault, the text's language if
// it is not the page's, what can be done.
function fill(node, told, label) {
  const cell = typeof told === "object" ? told : { text: told };
  if (node.tagName === "TD" && label) node.dataset.label = label;
  node.classList.toggle("bad", Boolean(cell.bad));
  node.lang = cell.lang || document.documentElement.lang;
  node.classList.toggle("actions", Boolean(cell.buttons));
  if (cell.buttons) { keep(node, cell.buttons, (one) => one.key, (one) => one.create(), (button, one) => one.update(button)); return; }
  const content = JSON.stringify([cell.text, cell.note]);
  if (node.dataset.content === content) return;
  node.dataset.content = content;
  node.textContent = cell.text;
  if (cell.note) node.append(make("span", { class: "note" }, cell.note));
}

// `columns` are [heading, row → cell]; without rows `empty` stands there.
export function showTable(place, label, columns, rows, keyOf, empty) {
  let table = place.querySelector("table");
  if (!rows.length) {
    if (table) table.remove();
    say(place, empty);
    return;
  }
  if (!table) { place.textContent = ""; place.append(table = newTable(columns)); }
  table.setAttribute("aria-label", label);
  columns.forEach(([heading], at) => say(table.tHead.rows[0].cells[at], heading));
  keep(table.tBodies[0], rows, keyOf, () => newRow(columns), (node, row) =>
    columns.forEach(([heading, cell], at) => fill(node.cells[at], cell(row), heading)));
}
