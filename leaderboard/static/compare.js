// @ts-check
// Which methods a compare page shows: a box each, kept in the address. Lines, rows and columns of the others are hidden
// in all tables and charts together. Without this script all of them are shown.
"use strict";

(() => {
  const place = document.getElementById("methods");
  const table = /** @type {HTMLTableElement | null} */ (document.querySelector('table[data-table="pairs-table"]'));
  if (!place || !table) return;

  /** @param {HTMLElement} row */
  const wordsOf = (row) => row.dataset.words ?? row.dataset.method ?? "";
  const rows = /** @type {HTMLTableRowElement[]} */ ([...table.tBodies[0].rows]);
  const methods = rows.map(wordsOf);
  const boxes = methods.map((words) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    const label = document.createElement("label");
    label.append(box, words);
    place.append(label);
    return box;
  });

  const asked = () => new URLSearchParams(location.hash.slice(1)).getAll("with").filter((each) => methods.includes(each));

  /** Shows what the boxes say; with fewer than two of them all methods are shown. */
  function show() {
    const chosen = methods.filter((_, number) => boxes[number].checked);
    const all = chosen.length < 2;
    const shown = (/** @type {string} */ words) => all || !methods.includes(words) || chosen.includes(words);
    for (const element of /** @type {NodeListOf<HTMLElement | SVGElement>} */ (document.querySelectorAll("[data-series]")))
      element.classList.toggle("left-out", !shown(element.dataset.series ?? ""));
    for (const row of /** @type {NodeListOf<HTMLTableRowElement>} */ (document.querySelectorAll("tbody tr[data-method]")))
      row.classList.toggle("left-out", !shown(wordsOf(row)));
    for (const head of /** @type {NodeListOf<HTMLTableCellElement>} */ (document.querySelectorAll("thead th[data-label]"))) {
      const out = !shown((head.dataset.label ?? "").replace(/^− /, ""));
      const body = head.closest("table")?.tBodies[0];
      for (const cell of [head, ...[...(body?.rows ?? [])].map((row) => row.cells[head.cellIndex])]) cell?.classList.toggle("left-out", out);
    }
  }

  function restore() {
    const chosen = asked();
    boxes.forEach((box, number) => (box.checked = chosen.length === 0 || chosen.includes(methods[number])));
    show();
  }

  place.addEventListener("change", () => {
    const parameters = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    parameters.delete("with");
    const chosen = methods.filter((_, number) => boxes[number].checked);
    if (chosen.length >= 2 && chosen.length < methods.length) for (const each of chosen) parameters.append("with", each);
    const [address] = location.href.split("#");
    const state = parameters.toString();
    history.replaceState(null, "", state ? `${address}#${state}` : address);
    show();
  });
  addEventListener("hashchange", restore);
  restore();
})();
