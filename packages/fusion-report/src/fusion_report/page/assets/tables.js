// Heads of columns sort their table; rows without a value stay at the end.

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", text: head.textContent, onclick: () => sortBy(table, heads, column) });
    head.replaceChildren(button);
  });
}

function sortBy(table, heads, column) {
  const head = heads[column];
  const numeric = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numeric;
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  const key = (row) => valueOf(row.cells[column], numeric);
  rows.sort((a, b) => compare(key(a), key(b), descending));
  table.tBodies[0].append(...rows);
}

function valueOf(cell, numeric) {
  if (!cell) return null;
  const text = cell.dataset.value ?? cell.textContent;
  if (!numeric) return text;
  const number = Number.parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function compare(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return descending ? -order : order;
}
