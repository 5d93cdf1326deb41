// Elements are made from text, never from markup: whatever a caption holds is shown as it is.

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const find = (id) => document.getElementById(id);

function fillSelect(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text]) => make("option", { value, text })));
  select.value = choices.some(([value]) => value === chosen) ? chosen : (choices[0]?.[0] ?? "");
  return select.value;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const shown = (value) => (isNumber(value) ? value.toFixed(3) : "–");

// Lower case without accents, so that a search finds what it means.
const folded = (text) => text.normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase();
