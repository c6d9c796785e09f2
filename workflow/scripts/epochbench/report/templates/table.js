"use strict";
// Sort, filter and copy the table of all cells; unfold what is printed or linked to. Without JavaScript the table is a plain
// one, sorted by epoch time, and parts are unfolded by hand.
(() => {
  // Times have units: sorted as texts, 2 s would come before 828 ms.
  const UNITS = {s: 1, ms: 1e-3, "\u00b5s": 1e-6};
  const number = (text) => {
    const found = text.replaceAll(",", "").match(/^-?[\d.]+(?:e-?\d+)?(?=\s*(\S*))/);
    return found ? parseFloat(found[0]) * (UNITS[found[1]] ?? 1) : NaN;
  };
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) ? a.localeCompare(b) : x - y;
  };
  // A row's name is shown in words; what it is called in the sheet is what programs and sorting want.
  const texts = (row) => [...row.cells].map((cell) => (cell.dataset.value ?? cell.textContent).trim());
  const shown = (table) => [table.tHead.rows[0], ...table.tBodies[0].rows].filter((row) => !row.hidden).map(texts);
  const WRITERS = {
    csv: (rows) => rows.map((row) => row.map((text) => `"${text.replaceAll('"', '""')}"`).join(",")).join("\n"),
    markdown: ([head, ...rows]) => [head, head.map(() => "---"), ...rows]
      .map((row) => `| ${row.map((text) => text.replace(/[\\|<>`]/g, "\\$&")).join(" | ")} |`).join("\n"),
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page opened from a file may have no clipboard
      const area = document.body.appendChild(Object.assign(document.createElement("textarea"), {value: text}));
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const table of document.querySelectorAll("table[data-tools]")) {
    const tools = table.parentElement.previousElementSibling;
    const status = tools.querySelector("[role=status]");
    tools.hidden = false;
    for (const head of table.tHead.rows[0].cells) {
      const button = Object.assign(document.createElement("button"), {type: "button", textContent: head.textContent});
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(texts(a)[head.cellIndex], texts(b)[head.cellIndex]) * (down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    }
    tools.querySelector("input").addEventListener("input", (event) => {
      const wanted = event.target.value.toLowerCase();
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      status.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
    });
    for (const button of tools.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", async () => {
        await copy(WRITERS[button.dataset.copy](shown(table)));
        status.textContent = "Copied.";
      });
    }
  }
  // On paper nothing is folded, and a link into a folded part opens it.
  const folded = () => document.querySelectorAll("details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => { opened = [...folded()]; for (const part of opened) part.open = true; });
  addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
  const unfold = () => { const part = document.getElementById(location.hash.slice(1))?.closest("details"); if (part) part.open = true; };
  addEventListener("hashchange", unfold);
  unfold();
})();
