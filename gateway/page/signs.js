// The real signs of this page's board, a line each: what each confirmed and when, or what is wrong. Texts are never markup.
function since(time, language) {
  return time ? new Date(time).toLocaleTimeString(language) : "";
}

function line(sign, text) {
  const language = document.documentElement.lang, item = document.createElement("li");
  const name = document.createElement("b"), told = document.createElement("span");
  const failed = sign.state === "failed" || sign.state === "refused";
  const when = failed ? since(sign.failed_since, language) : since(sign.confirmed_at, language);
  name.textContent = sign.sign;
  told.textContent = ` ${[text(`sign_${sign.state}`), when, failed ? sign.error : ""].filter(Boolean).join(" · ")}`;
  told.className = failed ? "bad" : "";
  item.append(name, told);
  return item;
}

// Put the signs of a board into a list; return whether there are any.
export async function showSigns(node, board, ask, text) {
  const answer = await ask(`boards/${encodeURIComponent(board)}/signs`);
  const signs = answer && answer.ok ? answer.body : [];  // without an answer nobody knows any more what signs confirm
  node.textContent = "";
  node.append(...signs.map((sign) => line(sign, text)));
  return signs.length > 0;
}
