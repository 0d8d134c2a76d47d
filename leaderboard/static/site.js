// @ts-check
// What a page of the leaderboard does beyond being read: sort, filter, choose columns, choose the anchor, export,
// and keep all of it in the address, so that a view can be sent to somebody. Without this file every page is complete.
"use strict";

(() => {
  /**
   * A column of a table, and a row of it.
   * @typedef {{ th: HTMLTableCellElement, index: number, key: string, label: string, numeric: boolean, anchor: string | undefined, shown: boolean }} Column
   * @typedef {{ element: HTMLTableRowElement, place: number, last: boolean, words: string }} Row
   */
  /**
   * A table as it stands on the screen, for exports.
   * @typedef {{ key: string, label: string, numeric: boolean, spread: boolean }} ShownColumn
   * @typedef {{ value: string, spread: string, shown: () => string, best: boolean }} ShownCell
   * @typedef {{ method: string, cells: ShownCell[] }} ShownRow
   * @typedef {{ name: string, title: string, address: string, anchor: string | null, columns: ShownColumn[], rows: ShownRow[] }} Screen
   */

  const NOT_MEASURED = "–";
  const WORTH_FILTERING = 6; // rows
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  // ---- Small things ------------------------------------------------------------------------------------------

  /**
   * An element with properties, attributes (in `attributes`) and children; text is only ever set as text.
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children
   * @returns {HTMLElementTagNameMap[T]}
   */
  function make(tag, { attributes = {}, ...properties } = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** @param {string} words @param {() => void} press @param {Record<string, string>} [attributes] */
  const button = (words, press, attributes = {}) =>
    make("button", { type: "button", onclick: press, attributes }, words);

  /** @param {string | null} text */
  const oneLine = (text) => (text ?? "").replace(/\s+/g, " ").trim();

  /** @param {number} number @param {string} noun */
  const amount = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

  // ---- Theme: the system's, or the one chosen here -----------------------------------------------------------

  const THEMES = ["auto", "light", "dark"];

  /** The browser's storage, or null where it is switched off: then a choice lasts as long as the page. */
  function storage() {
    try {
      return window.localStorage;
    } catch {
      return null;
    }
  }

  /** @param {string} theme */
  function showTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }

  function savedTheme() {
    const saved = storage()?.getItem("pcbench-theme") ?? "";
    return THEMES.includes(saved) ? saved : "auto";
  }

  /** @param {HTMLElement} element */
  function themeButton(element) {
    let theme = savedTheme();
    const say = () => (element.textContent = `Theme: ${theme}`);
    element.hidden = false;
    element.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      storage()?.setItem("pcbench-theme", theme);
      showTheme(theme);
      say();
    });
    say();
  }

  // ---- A table -----------------------------------------------------------------------------------------------

  /** What a cell holds: its `data-value`, or else its text; "" where nothing was measured. @param {HTMLElement | undefined} cell */
  function held(cell) {
    const value = cell ? (cell.dataset.value ?? oneLine(cell.textContent)) : "";
    return value === NOT_MEASURED ? "" : value;
  }

  /** A finite number, or null. @param {string} text */
  function number(text) {
    const value = text.trim() === "" ? NaN : Number(text);
    return Number.isFinite(value) ? value : null;
  }

  /** One `table.board` and what the reader has made of it. */
  class Board {
    /** @type {Column | null} What it is sorted by; null: as the page came. */
    sort = null;
    descending = false;
    /** Words that rows must have. */
    find = "";
    /** @type {Set<string>} The keys of columns that are not shown. */
    hidden = new Set();
    /** @type {HTMLSelectElement | null} */
    anchorField = null;
    /** @type {{ box: HTMLInputElement, column: Column }[]} */
    boxes = [];
    field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    status = make("span", { attributes: { role: "status" } });

    /** @param {HTMLTableElement} table @param {Page} page */
    constructor(table, page) {
      this.table = table;
      this.page = page;
      this.name = table.dataset.table ?? "";
      this.title = oneLine(table.caption?.textContent ?? this.name);
      this.body = table.tBodies[0];
      /** @type {Column[]} */
      this.columns = [...(table.tHead?.rows[0].cells ?? [])].map((th, index) => ({
        th,
        index,
        key: th.dataset.key ?? "",
        label: th.dataset.label ?? oneLine(th.textContent),
        numeric: th.dataset.type === "number",
        anchor: th.dataset.anchor,
        shown: true,
      }));
      /** @type {Row[]} */
      this.rows = [...this.body.rows].map((element, place) => ({
        element,
        place,
        last: "last" in element.dataset,
        words: oneLine(element.textContent).toLowerCase(),
      }));
      this.hiddenAtFirst = this.columns.filter(({ th }) => "hidden" in th.dataset).map(({ key }) => key);
      this.forget();
      this.#sortButtons();
      this.#toolbar();
    }

    /** As the page came. */
    forget() {
      this.sort = null;
      this.descending = false;
      this.find = "";
      this.hidden = new Set(this.hiddenAtFirst);
    }

    /** Brings the table to its state. */
    show() {
      this.#showOrder();
      this.#showRows();
      this.#showColumns();
      this.#showTools();
    }

    // State to and from the address

    /** @param {URLSearchParams} parameters */
    save(parameters) {
      if (this.sort) parameters.append(`${this.name}.sort`, (this.descending ? "-" : "") + this.sort.key);
      if (this.find) parameters.append(`${this.name}.find`, this.find);
      const asAtFirst =
        this.hidden.size === this.hiddenAtFirst.length && this.hiddenAtFirst.every((key) => this.hidden.has(key));
      if (asAtFirst) return;
      for (const key of this.hidden.size ? this.hidden : [""]) parameters.append(`${this.name}.hide`, key);
    }

    /** Whatever the address asks for that this table does not have is left out. @param {URLSearchParams} parameters */
    restore(parameters) {
      this.forget();
      const asked = parameters.get(`${this.name}.sort`) ?? "";
      const named = (/** @type {string} */ key) => this.columns.find((column) => column.key !== "" && column.key === key);
      this.sort = named(asked) ?? named(asked.replace(/^-/, "")) ?? null;
      this.descending = this.sort !== null && this.sort.key !== asked;
      this.find = parameters.get(`${this.name}.find`) ?? "";
      if (parameters.has(`${this.name}.hide`))
        this.hidden = new Set(parameters.getAll(`${this.name}.hide`).filter((key) => (named(key)?.index ?? 0) > 0));
    }

    // Order

    #sortButtons() {
      for (const column of this.columns.filter(({ key }) => key !== "")) {
        const press = () => this.#press(column);
        if (column.th.querySelector("a, button")) {
          column.th.append(" ", button("", press, { "aria-label": `Sort by ${column.label}` }));
        } else {
          const sorter = button("", press);
          sorter.append(...column.th.childNodes);
          column.th.append(sorter);
        }
      }
    }

    /** Numbers come largest first, text from A; a second press turns the order, a third gives the page's own. @param {Column} column */
    #press(column) {
      const first = column.numeric;
      if (this.sort !== column) [this.sort, this.descending] = [column, first];
      else if (this.descending === first) this.descending = !first;
      else [this.sort, this.descending] = [null, false];
      this.#showOrder();
      this.#showTools();
      this.page.changed();
    }

    #showOrder() {
      const { sort, descending } = this;
      for (const { th } of this.columns) th.removeAttribute("aria-sort");
      sort?.th.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = this.rows.map((row) => {
        const text = sort ? held(row.element.cells[sort.index]) : "";
        return { row, value: sort?.numeric ? number(text) : text === "" ? null : text };
      });
      const turn = descending ? -1 : 1;
      /** @type {(a: any, b: any) => number} */
      const compare = sort?.numeric ? (a, b) => a - b : collator.compare;
      keyed.sort((a, b) => {
        if (a.row.last !== b.row.last) return a.row.last ? 1 : -1;
        if ((a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1;
        const order = a.value === null ? 0 : turn * compare(a.value, b.value);
        return order || a.row.place - b.row.place;
      });
      this.body.append(...keyed.map(({ row }) => row.element));
    }

    // Rows and columns

    #showRows() {
      const words = this.find.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of this.rows) row.element.hidden = !words.every((word) => row.words.includes(word));
    }

    #showColumns() {
      const { anchor } = this.page;
      for (const column of this.columns) {
        const shown = !this.hidden.has(column.key) && (!column.anchor || column.anchor === anchor);
        if (shown === column.shown) continue;
        column.shown = shown;
        column.th.hidden = !shown;
        for (const { element } of this.rows) if (element.cells[column.index]) element.cells[column.index].hidden = !shown;
      }
    }

    // Tools

    #toolbar() {
      const bar = make("div", {
        className: "toolbar",
        attributes: { role: "group", "aria-label": `Tools for the table: ${this.title}` },
      });
      this.field.addEventListener("input", () => {
        this.find = this.field.value;
        this.#showRows();
        this.#showTools();
        this.page.changed();
      });
      if (this.rows.length >= WORTH_FILTERING) bar.append(make("label", {}, "Filter", this.field));
      this.#anchorChoice(bar);
      bar.append(this.#columnChoice(), this.#exports());
      bar.append(this.status);
      (this.table.closest(".scroll") ?? this.table).before(bar);
    }

    /** @param {HTMLElement} bar */
    #anchorChoice(bar) {
      if (this.page.anchors.size < 2 || !this.columns.some(({ anchor }) => anchor)) return;
      const field = make("select");
      for (const [value, words] of this.page.anchors) field.append(make("option", { value }, words));
      field.addEventListener("change", () => this.page.choose(field.value));
      bar.append(make("label", {}, "Compare with", field));
      this.anchorField = field;
    }

    #columnChoice() {
      const list = make("div", { className: "choices" });
      this.boxes = this.columns.slice(1).filter(({ key }) => key !== "").map((column) => {
        const box = make("input", { type: "checkbox" });
        box.addEventListener("change", () => {
          if (box.checked) this.hidden.delete(column.key);
          else this.hidden.add(column.key);
          this.#showColumns();
          this.#showTools();
          this.page.changed();
        });
        list.append(make("label", {}, box, column.label));
        return { box, column };
      });
      return menu("Columns", list);
    }

    #exports() {
      const list = make("div", { className: "choices" });
      for (const format of FORMATS) {
        if (format.needs && !format.needs()) continue;
        const line = make("div", { className: "format" }, format.name);
        line.append(button("Download", () => {
          const file = new Blob([format.write(this.screen())], { type: `${format.type};charset=utf-8` });
          const link = make("a", { href: URL.createObjectURL(file), download: `${this.name}.${format.suffix}` });
          link.click();
          setTimeout(() => URL.revokeObjectURL(link.href), 10000);
          this.#say(`Wrote ${link.download}`);
        }, { "aria-label": `Download as ${format.name}` }));
        if (navigator.clipboard)
          line.append(button("Copy", () => navigator.clipboard.writeText(format.write(this.screen())).then(
            () => this.#say(`Copied as ${format.name}`),
            () => this.#say("The browser does not allow copying: download instead"),
          ), { "aria-label": `Copy as ${format.name}` }));
        list.append(line);
      }
      return menu("Export", list);
    }

    #showTools() {
      if (this.field.value !== this.find) this.field.value = this.find;
      if (this.anchorField) this.anchorField.value = this.page.anchor;
      for (const { box, column } of this.boxes) {
        box.checked = !this.hidden.has(column.key);
        const label = /** @type {HTMLElement} */ (box.parentElement);
        label.hidden = Boolean(column.anchor) && column.anchor !== this.page.anchor;
      }
      const seen = this.rows.filter(({ element }) => !element.hidden).length;
      const rows = seen === this.rows.length ? amount(seen, "row") : `${seen} of ${amount(this.rows.length, "row")}`;
      const order = this.sort
        ? `, sorted by ${this.sort.label}, ${this.descending ? "descending" : "ascending"}`
        : "";
      this.#say(rows + order);
    }

    /** @param {string} words */
    #say(words) {
      this.status.textContent = words;
    }

    /** Its shown columns, and its shown rows in their order. @returns {Screen} */
    screen() {
      // What compare.js leaves out is not on the screen either.
      const there = (/** @type {Element} */ element) => !element.classList.contains("left-out");
      const columns = this.columns.filter(({ shown, th }) => shown && there(th));
      const rows = [...this.body.rows].filter((row) => !row.hidden && there(row));
      return {
        name: this.name,
        title: this.title,
        address: location.href,
        anchor: this.anchorField ? this.page.anchor : null,
        columns: columns.map(({ key, label, numeric, index }) => ({
          key,
          label,
          numeric,
          spread: rows.some((row) => row.cells[index]?.dataset.std),
        })),
        rows: rows.map((row) => ({
          method: row.dataset.method ?? "",
          cells: columns.map(({ index }) => {
            const cell = row.cells[index];
            return { value: held(cell), spread: cell?.dataset.std ?? "", shown: () => seenText(cell), best: cell ? "best" in cell.dataset : false };
          }),
        })),
      };
    }
  }

  /** A cell's text as on the screen; of a cell that is no row header, without its notes. @param {HTMLElement | undefined} cell */
  function seenText(cell) {
    if (!cell) return "";
    const copy = /** @type {HTMLElement} */ (cell.cloneNode(true));
    if (cell.tagName === "TD") for (const extra of copy.querySelectorAll(".note, .badge, svg")) extra.remove();
    return oneLine(copy.textContent);
  }

  /** A `<details>` that closes on Escape, and when the reader goes elsewhere. @param {string} words @param {HTMLElement} list */
  function menu(words, list) {
    const summary = make("summary", {}, words);
    const details = make("details", { className: "menu" }, summary, list);
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !details.open) return;
      details.open = false;
      summary.focus();
    });
    const leave = (/** @type {Event} */ event) => {
      if (details.open && event.target instanceof Node && !details.contains(event.target)) details.open = false;
    };
    document.addEventListener("pointerdown", leave);
    document.addEventListener("focusin", leave);
    return details;
  }

  // ---- Exports -----------------------------------------------------------------------------------------------

  /** RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe before it. @param {Screen} screen */
  function csv({ columns, rows }) {
    const text = (/** @type {string} */ words) => quoted(/^\s*[=+\-@\t\r]/.test(words) ? `'${words}` : words);
    const quoted = (/** @type {string} */ words) => (/[",\r\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words);
    const value = (/** @type {string} */ words, /** @type {boolean} */ numeric) => (numeric && number(words) !== null ? words.trim() : text(words));
    const head = columns.flatMap(({ label, spread }) => (spread ? [text(label), text(`${label} std`)] : [text(label)]));
    const lines = rows.map(({ cells }) =>
      cells.flatMap((cell, place) => {
        const { numeric, spread } = columns[place];
        return spread ? [value(cell.value, numeric), value(cell.spread, true)] : [value(cell.value, numeric)];
      }),
    );
    return [head, ...lines].map((fields) => fields.join(",") + "\r\n").join("");
  }

  /** @param {Screen} screen */
  function json({ name, title, address, anchor, columns, rows }) {
    const value = (/** @type {string} */ words, /** @type {boolean} */ numeric) => (words === "" ? null : numeric ? (number(words) ?? words) : words);
    const line = (/** @type {ShownRow} */ { method, cells }) => ({
      method,
      cells: cells.map((cell, place) => ({
        column: columns[place].key,
        value: value(cell.value, columns[place].numeric),
        ...(columns[place].spread ? { std: value(cell.spread, true) } : {}),
      })),
    });
    const heads = columns.map(({ key, label, numeric }) => ({ key, label, type: numeric ? "number" : "text" }));
    return JSON.stringify({ table: name, title, address, anchor, columns: heads, rows: rows.map(line) }, null, 1) + "\n";
  }

  /** @type {Record<string, string>} */
  const LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%", "_": "\\_",
    "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}", ">": "\\textgreater{}",
    "|": "\\textbar{}", '"': "\\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": "\\textasciigrave{}",
    "±": "$\\pm$", "×": "$\\times$", "−": "$-$", "–": "--", "—": "---", "†": "\\textdagger{}", "≤": "$\\leq$",
    "≥": "$\\geq$", "→": "$\\rightarrow$", "λ": "$\\lambda$", "Δ": "$\\Delta$", "…": "\\ldots{}", "·": "$\\cdot$",
  };
  /** @param {string} words */
  const latexText = (words) =>
    oneLine(words.replace(/[\u0000-\u001f\u007f]/g, " ")).replace(/[\\{}$&#%_^~<>|"[\]*`±×−–—†≤≥→λΔ…·]/g, (character) => LATEX[character]);

  /** A booktabs table with the numbers as they are shown; the best of a column is bold. @param {Screen} screen */
  function latex({ name, title, address, columns, rows }) {
    const fields = (/** @type {ShownRow} */ { cells }) =>
      cells.map((cell) => {
        const words = latexText(cell.shown());
        return cell.best ? `\\textbf{${words}}` : words;
      });
    const line = (/** @type {string[]} */ words) => `${words.join(" & ")} \\\\`;
    return [
      "% \\usepackage{booktabs}, UTF-8",
      `% ${address.replace(/[^\x21-\x7e]/g, "")}`,
      "\\begin{table}",
      "\\centering",
      `\\caption{${latexText(title)}}`,
      `\\label{tab:${name.replace(/[^\w-]/g, "-")}}`,
      `\\begin{tabular}{${columns.map(({ numeric }) => (numeric ? "r" : "l")).join("")}}`,
      "\\toprule",
      line(columns.map(({ label }) => latexText(label))),
      "\\midrule",
      ...rows.map((row) => line(fields(row))),
      "\\bottomrule",
      "\\end{tabular}",
      "\\end{table}",
      "",
    ].join("\n");
  }

  /** The BibTeX entries of the methods on the page. */
  const citations = () => {
    const held = /** @type {HTMLTemplateElement | null} */ (document.getElementById("citations"));
    return /** @type {HTMLElement[]} */ ([...(held?.content.querySelectorAll("[data-method]") ?? [])]);
  };

  /** The entries of the methods on the screen, each once; an @ would start an entry even in a comment. @param {Screen} screen */
  function bibtex({ rows }) {
    const entries = new Map(citations().map((each) => [each.dataset.method ?? "", (each.textContent ?? "").trim()]));
    const methods = [...new Set(rows.map(({ method }) => method).filter(Boolean))];
    const found = new Set(methods.map((method) => entries.get(method) || `% ${method.replace(/[^\w .=,+-]/g, " ")}: no citation`));
    return [...found].join("\n\n") + "\n";
  }

  /** @type {{ name: string, suffix: string, type: string, write: (screen: Screen) => string, needs?: () => boolean }[]} */
  const FORMATS = [
    { name: "CSV", suffix: "csv", type: "text/csv", write: csv },
    { name: "JSON", suffix: "json", type: "application/json", write: json },
    { name: "LaTeX", suffix: "tex", type: "application/x-tex", write: latex },
    { name: "BibTeX", suffix: "bib", type: "application/x-bibtex", write: bibtex, needs: () => citations().length > 0 },
  ];

  // ---- The page ----------------------------------------------------------------------------------------------

  /** What is of one anchor: columns, cells and words. */
  const anchored = () => /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-anchor]"));

  /** All tables of a page, the anchor that they share, and the address that keeps their state. */
  class Page {
    constructor() {
      /** @type {Map<string, string>} The anchors that differences are shown from, with their names. */
      this.anchors = new Map();
      /** @type {number | undefined} */
      this.waiting = undefined;
      for (const element of anchored()) {
        const { anchor = "", anchorLabel } = element.dataset;
        if (!this.anchors.has(anchor)) this.anchors.set(anchor, anchorLabel ?? anchor);
      }
      [this.firstAnchor = ""] = this.anchors.keys();
      this.anchor = this.firstAnchor;
      const tables = /** @type {NodeListOf<HTMLTableElement>} */ (document.querySelectorAll("table.board[data-table]"));
      this.boards = [...tables].map((table) => new Board(table, this));
      addEventListener("hashchange", () => this.#restore() && this.show());
      this.#restore();
      this.show();
    }

    show() {
      for (const board of this.boards) board.show();
      for (const element of anchored())
        if (!element.closest("table.board")) element.hidden = element.dataset.anchor !== this.anchor;
    }

    /** @param {string} anchor */
    choose(anchor) {
      this.anchor = anchor;
      this.show();
      this.changed();
    }

    /** Whether the address holds a state: a fragment without "=" is a place on the page. */
    #restore() {
      const fragment = location.hash.slice(1);
      if (!fragment.includes("=")) return false;
      const parameters = new URLSearchParams(fragment);
      const asked = parameters.get("anchor") ?? "";
      this.anchor = this.anchors.has(asked) ? asked : this.firstAnchor;
      for (const board of this.boards) board.restore(parameters);
      return true;
    }

    /** Writes the state into the address, once the reader pauses: browsers limit how often that may be done. */
    changed() {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => {
        const parameters = new URLSearchParams();
        // What compare.js keeps there is its own.
        for (const each of new URLSearchParams(location.hash.slice(1)).getAll("with")) parameters.append("with", each);
        for (const board of this.boards) board.save(parameters);
        if (this.anchor !== this.firstAnchor) parameters.append("anchor", this.anchor);
        const [address] = location.href.split("#");
        const state = parameters.toString();
        history.replaceState(null, "", state ? `${address}#${state}` : address);
      }, 150);
    }
  }

  showTheme(savedTheme());
  document.addEventListener("DOMContentLoaded", () => {
    const chooser = document.getElementById("theme");
    if (chooser) themeButton(chooser);
    // Paper shows what is folded away on the screen.
    addEventListener("beforeprint", () => {
      const folds = /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details:not(.menu):not([open])"));
      for (const folded of folds) folded.open = true;
    });
    // Another page of the board keeps how its table is sorted, filtered and compared.
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a[data-keep]")))
      link.addEventListener("click", () => {
        if (location.hash.includes("=")) link.hash = location.hash;
      });
    // On a small screen the names of the pages scroll sideways.
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    new Page();
  });
})();
