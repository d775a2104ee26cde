// The table of rows: search, filters, sorting, pages, and the whole text of a row on demand.
// Everything from the data becomes text nodes, never markup.
"use strict";

(() => {
  const ROWS_A_PAGE = 50;
  const BESIDE = 80; // characters of the prompt's own text on each side that are searched with what was filled in
  const MOST_VALUES = 30; // a column with more different ones is searched, not filtered
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = data.rows.map((cells) => Object.fromEntries(data.columns.map((name, i) => [name, cells[i]])));
  for (const index of data.repeated) rows[index].repeated = true;

  const by = (id) => document.getElementById(id);
  const state = { sort: "number", descending: false, page: 0, open: new Set() };

  function element(name, attributes = {}, ...content) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  }

  function kindName(kind) {
    return Object.hasOwn(data.kinds, kind) ? data.kinds[kind] : kind;
  }

  function whole(count) {
    return count.toLocaleString("en");
  }

  // --- columns ---

  const answerColumns = data.fields.length
    ? data.fields.map((name, i) => ({ key: `value ${i}`, title: name, text: (row) => row.values[i] || "" }))
    : [{ key: "answer", title: "Answer", text: (row) => row.answer }];
  const sourceColumns = data.source.map((name, i) => ({ key: `cell ${i}`, title: name, text: (row) => row.cells[i] || "" }));
  const columns = [
    { key: "number", title: "Row", value: (row) => row.number },
    { key: "id", title: "Id", text: (row) => row.id },
    { key: "prompt", title: data.promptTitle, text: (row) => row.prompt },
    ...answerColumns,
    { key: "tokens", title: "Tokens", value: (row) => row.tokens },
  ];

  // --- which rows, in which order ---

  function searched(row, words, where) {
    const column = [...answerColumns, ...sourceColumns].find((one) => one.key === where);
    // What was filled in with the words of the prompt beside it, as the opened row shows them.
    const prompt = row.whole ? row.prompt : data.start.slice(-BESIDE) + row.prompt + data.end.slice(0, BESIDE);
    const texts = { prompt: [prompt], answer: [row.answer], id: [row.id] };
    const found = texts[where] || (column ? [column.text(row)] : [row.id, row.kind, prompt, row.answer]);
    return found.some((text) => text.toLowerCase().includes(words));
  }

  // Columns of few different values have a filter each; a row without an answer has none of the answer's values.
  function filterOf(column, isAnswer) {
    const of = (row) => (isAnswer && row.kind ? null : column.text(row).trim());
    const counts = new Map();
    for (const row of rows) {
      const value = of(row);
      if (value !== null) counts.set(value, (counts.get(value) || 0) + 1);
    }
    const values = [...counts].sort((a, b) => b[1] - a[1]);
    const repeats = values.some(([, count]) => count > 1);
    return values.length > 1 && values.length <= MOST_VALUES && repeats ? [{ title: column.title, of, values }] : [];
  }

  const filters = [
    ...answerColumns.flatMap((column) => filterOf(column, true)),
    ...sourceColumns.flatMap((column) => filterOf(column, false)),
  ].map((filter, i) => ({ ...filter, id: `filter-${i}` }));

  const SHOWN = {
    all: () => true,
    answered: (row) => !row.kind,
    failed: (row) => Boolean(row.kind),
    cut: (row) => row.cut,
    repeated: (row) => row.repeated,
  };

  function wanted(row) {
    const words = by("search").value.trim().toLowerCase();
    const show = by("show").value;
    const kind = show.startsWith("kind ") ? show.slice(5) : null;
    if (kind === null ? !SHOWN[show](row) : row.kind !== kind) return false;
    // The value of a choice begins with "=", for a cell may be empty.
    const passes = ({ id, of }) => by(id).value === "" || (of(row) !== null && `=${of(row)}` === by(id).value);
    if (!filters.every(passes)) return false;
    return !words || searched(row, words, by("where").value);
  }

  function ordered(found) {
    const column = columns.find((one) => one.key === state.sort);
    const compare = column.value
      ? (a, b) => column.value(a) - column.value(b)
      : (a, b) => column.text(a).localeCompare(column.text(b), undefined, { numeric: true });
    const sorted = found.sort((a, b) => compare(a, b) || a.number - b.number);
    return state.descending ? sorted.reverse() : sorted;
  }

  // --- drawing ---

  function marked(text) {
    const words = by("search").value.trim().toLowerCase();
    const lower = text.toLowerCase();
    // A few letters change their length in lower case; then positions would not fit, and nothing is marked.
    if (!words || lower.length !== text.length) return [text];
    const pieces = [];
    let start = 0;
    for (let at = lower.indexOf(words); at >= 0 && pieces.length < 200; at = lower.indexOf(words, start)) {
      pieces.push(text.slice(start, at), element("mark", {}, text.slice(at, at + words.length)));
      start = at + words.length;
    }
    return [...pieces, text.slice(start)];
  }

  function note(text) {
    return element("span", { class: "tag" }, text);
  }

  function notes(row) {
    const found = [];
    if (row.kind) found.push(element("span", { class: "tag bad" }, kindName(row.kind)));
    if (row.cut) found.push(note("cut short"));
    if (row.repeated) found.push(note("same prompt, other answers"));
    return found;
  }

  function cell(column, row, last) {
    const text = column.value ? whole(column.value(row)) : column.text(row);
    const attributes = { role: "cell", "data-label": column.title, class: `c-${column.key.split(" ")[0]}` };
    if (column.key === "number") {
      const button = element("button", { type: "button", "aria-expanded": String(state.open.has(row)) }, text);
      button.setAttribute("aria-label", `Row ${text}, whole text`);
      button.addEventListener("click", () => toggle(row));
      return element("td", attributes, button);
    }
    const shown = element("div", { class: "text", dir: "auto" }, ...marked(text));
    const errorText = last && row.kind && data.fields.length ? ` ${row.answer}` : "";
    return element("td", attributes, ...(last ? notes(row) : []), shown, errorText);
  }

  function text(title, ...content) {
    return [element("dt", {}, title), element("dd", { dir: "auto", class: "whole-text" }, ...content)];
  }

  function cutNote(kept, length) {
    if (kept >= length) return [];
    return [element("span", { class: "cut-note" }, ` … cut here: ${whole(kept)} of ${whole(length)} characters`)];
  }

  function wholeRow(row) {
    const filled = element("span", { class: "filled" }, row.prompt);
    const rest = cutNote(row.prompt.length, row.promptLength);
    const prompt = row.whole ? [row.prompt, ...rest] : [data.start, filled, ...rest, data.end];
    const facts = [`row ${whole(row.number)}`, `line ${whole(row.line)} of the request file`];
    if (row.promptTokens || row.tokens) {
      facts.push(`${whole(row.promptTokens)} prompt tokens`, `${whole(row.tokens)} completion tokens`);
    }
    const answer = [row.answer, ...cutNote(row.answer.length, row.answerLength)];
    const cells = sourceColumns.flatMap((column) => (column.text(row) ? text(column.title, column.text(row)) : []));
    const list = element(
      "dl",
      {},
      ...text("Id", row.id),
      ...text("Prompt", ...prompt),
      ...text(row.kind ? kindName(row.kind) : "Answer", ...answer),
      ...(sourceColumns.length > 1 ? cells : []),
      ...text("Facts", facts.join(", ")),
    );
    const box = element("td", { role: "cell", colspan: String(columns.length) }, list);
    return element("tr", { role: "row", class: "opened" }, box);
  }

  function toggle(row) {
    if (!state.open.delete(row)) state.open.add(row);
    draw();
    by("body").querySelector(`[data-row="${row.number}"] button`).focus();
  }

  function heading(column) {
    const sorted = state.sort === column.key;
    const order = sorted ? (state.descending ? "descending" : "ascending") : "none";
    const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (state.descending ? "↓" : "↑") : "");
    const button = element("button", { type: "button" }, column.title, arrow);
    button.addEventListener("click", () => {
      state.descending = sorted && !state.descending;
      state.sort = column.key;
      state.page = 0;
      draw();
      by("head").children[columns.indexOf(column)].firstChild.focus();
    });
    const kind = `c-${column.key.split(" ")[0]}`;
    return element("th", { role: "columnheader", scope: "col", "aria-sort": order, class: kind }, button);
  }

  function draw() {
    const found = ordered(rows.filter(wanted));
    const pages = Math.max(1, Math.ceil(found.length / ROWS_A_PAGE));
    state.page = Math.min(state.page, pages - 1);
    const shown = found.slice(state.page * ROWS_A_PAGE, (state.page + 1) * ROWS_A_PAGE);
    const lastText = columns.length - 2;
    by("head").replaceChildren(...columns.map(heading));
    by("body").replaceChildren(
      ...shown.flatMap((row) => {
        const cells = columns.map((column, i) => cell(column, row, i === lastText));
        const line = element("tr", { role: "row", "data-row": String(row.number) }, ...cells);
        return state.open.has(row) ? [line, wholeRow(row)] : [line];
      }),
    );
    by("found").textContent = `${whole(found.length)} of ${whole(rows.length)} rows`;
    by("page-number").textContent = pages > 1 ? `· page ${whole(state.page + 1)} of ${whole(pages)}` : "";
    by("pages").hidden = pages < 2;
    by("previous").disabled = state.page === 0;
    by("next").disabled = state.page === pages - 1;
  }

  // --- controls ---

  function options(select, choices) {
    select.replaceChildren(...choices.map(([value, title]) => element("option", { value }, title)));
    select.closest(".field").hidden = choices.length < 2;
  }

  function kindsFound() {
    const counts = new Map();
    for (const row of rows) if (row.kind) counts.set(row.kind, (counts.get(row.kind) || 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }

  function prepare() {
    const has = (test) => rows.filter(test).length;
    const shows = [["all", "All rows"], ["answered", `Answered (${whole(has(SHOWN.answered))})`]];
    for (const [key, title] of [["failed", "Without an answer"], ["cut", "Cut short"], ["repeated", "Same prompt, other answers"]]) {
      if (has(SHOWN[key])) shows.push([key, `${title} (${whole(has(SHOWN[key]))})`]);
    }
    for (const [kind, count] of kindsFound()) shows.push([`kind ${kind}`, `${kindName(kind)} (${whole(count)})`]);
    options(by("show"), shows);
    const named = [...(data.fields.length ? answerColumns : []), ...sourceColumns].map(({ key, title }) => [key, title]);
    options(by("where"), [["", "every column"], ["prompt", "the prompt"], ["answer", "the answer"], ["id", "the id"], ...named]);
    for (const { id, title, values } of filters) {
      const select = element("select", { id });
      by("clear").before(element("p", { class: "field" }, element("label", { for: id }, title), select));
      const shown = values.map(([value, count]) => [`=${value}`, `${value || "(empty)"} (${whole(count)})`]);
      options(select, [["", "any"], ...shown]);
    }
  }

  function turn(step) {
    state.page += step;
    draw();
    by("table").scrollIntoView({ block: "start" });
  }

  prepare();
  by("filters").addEventListener("input", () => {
    state.page = 0;
    draw();
  });
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  by("filters").addEventListener("reset", () => setTimeout(draw));
  by("previous").addEventListener("click", () => turn(-1));
  by("next").addEventListener("click", () => turn(1));
  by("filters").hidden = by("table").hidden = false;
  draw();
})();
