
// Headers of tables become buttons: the first press sorts, numbers from the largest on, the next one turns it round.
// Without this script everything is there, in the order of the report.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const isNumber = header.classList.contains("number");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const first = isNumber ? "descending" : "ascending";
      const other = isNumber ? "ascending" : "descending";
      const order = header.getAttribute("aria-sort") === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => {
        const cell = row.cells[column];
        if (!isNumber) return cell.textContent;
        return cell.dataset.value === undefined ? undefined : Number(cell.dataset.value);
      };
      const compare = (one, two) => {
        // What is not known stands last, either way.
        if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
        return sign * (isNumber ? one - two : one.localeCompare(two, undefined, { numeric: true }));
      };
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([one], [two]) => compare(one, two));
      body.append(...rows.map(([, row]) => row));
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
    });
  });
}
