"use strict";
// What the page adds to itself where scripts may run. Everything is on the page without them; nothing is fetched or kept.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  document.documentElement.classList.add("js");

  // Hints: the titles of drawings, shown at once and at the pointer. A reader without scripts gets them from the browser.

  const tip = make("div", { id: "tip", role: "tooltip", hidden: "" });
  document.body.append(tip);
  for (const title of all("svg g > title, svg path > title, svg rect > title")) {
    title.parentElement.setAttribute("data-tip", title.textContent);
    title.remove();
  }
  const showTip = (event) => {
    const target = event.target.closest?.("[data-tip]");
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - 12 - tip.offsetHeight : event.clientY + 18}px`;
  };
  document.addEventListener("pointermove", showTip);
  document.addEventListener("pointerdown", showTip);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A place that is linked to is opened, with all that it lies in.

  const open = (element) => {
    for (let part = element; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  };
  const openLinked = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    open(target);
    target.scrollIntoView();
  };
  addEventListener("hashchange", openLinked);

  // Choosing a group: it is marked on the map, in the lists and tables, and on its card.

  const choice = one("#choice");
  let chosen = "";
  const choose = (group) => {
    chosen = group === chosen ? "" : group;
    for (const element of all("[data-group]")) element.classList.toggle("chosen", element.dataset.group === chosen);
    for (const map of all(".map")) map.classList.toggle("chooses", chosen !== "");
    for (const link of all("[data-choose]")) link.setAttribute("aria-pressed", String(link.dataset.choose === chosen));
    if (!choice) return;
    choice.replaceChildren();
    if (!chosen) {
      choice.append(choice.dataset.none);
      return;
    }
    const colour = one("#colour-0");
    if (colour) colour.checked = true;
    const card = document.getElementById(`cluster-${chosen}`);
    const clear = make("button", { type: "button" }, choice.dataset.clear);
    clear.addEventListener("click", () => choose(chosen));
    choice.append(card?.dataset.name ?? chosen, " ", make("a", { href: `#cluster-${chosen}` }, choice.dataset.card), " ", clear);
    if (card) open(card);
  };
  for (const row of all("tr[data-group], .marks [data-group]")) {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a, button")) choose(row.dataset.group);
    });
  }
  for (const link of all("a[data-choose]")) {
    link.setAttribute("role", "button");
    link.setAttribute("aria-pressed", "false");
    const use = (event) => {
      event.preventDefault();
      choose(link.dataset.choose);
    };
    link.addEventListener("click", use);
    link.addEventListener("keydown", (event) => { if (event.key === " ") use(event); });
  }
  if (choice) choice.append(choice.dataset.none);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tip.hidden = true;
    if (chosen) choose(chosen);
  });

  // Tables: a click on a head sorts, and each can be saved with what it shows and nothing else.

  const textOf = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
  const number = (text) => {
    const power = text.match(/10(⁻[⁰¹²³⁴⁵⁶⁷⁸⁹]+)/);
    if (power) return 10 ** Number([...power[1]].map((sign) => (sign === "⁻" ? "-" : "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(sign))).join(""));
    const found = text.replace(/,/g, "").match(/-?\d+(\.\d+)?/);
    return found ? Number(found[0]) : NaN;
  };
  const sort = (table, head, column) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    const key = (row) => (row.cells[column] ? textOf(row.cells[column]) : "");
    const numbers = rows.every((row) => !/\d/.test(key(row)) || /^[\s<>~aboutAbout]*[-+]?[\d,.]|^10⁻/.test(key(row)));
    const down = head.getAttribute("aria-sort") === "ascending" || (head.getAttribute("aria-sort") === null && numbers && rows.some((row) => /\d/.test(key(row))));
    const compare = (a, b) => {
      const [first, second] = [key(a), key(b)];
      if (!numbers || (Number.isNaN(number(first)) && Number.isNaN(number(second)))) return first.localeCompare(second);
      if (Number.isNaN(number(first)) || Number.isNaN(number(second))) return Number.isNaN(number(first)) ? (down ? -1 : 1) : (down ? 1 : -1);
      return number(first) - number(second);
    };
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const row of all("tr.group", body)) row.hidden = true; // a heading says nothing of rows in another order
    rows.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
    body.append(...rows);
  };
  const cell = (text) => {
    // No spreadsheet takes it for a formula, even one that divides lines at semicolons.
    const safe = /^[+-]?[\d.,]+$/.test(text) ? text : text.replace(/(^|;)(\s*'*)(?=[=+\-@＝＋－＠])/g, "$1$2'");
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const save = (table, name) => {
    const lines = [...table.rows].filter((row) => !row.hidden || row.classList.contains("group"))
      .map((row) => [...row.cells].flatMap((part) => [cell(textOf(part)), ...Array(part.colSpan - 1).fill("")]).join(","));
    const link = make("a", { download: `${name}.csv` });
    link.href = URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const nameOf = (table, place) => {
    const within = table.closest("[id]")?.id;
    const before = all("h2[id], h3[id]").filter((head) => head.compareDocumentPosition(table) & Node.DOCUMENT_POSITION_FOLLOWING).pop();
    return table.id || `${within && within !== "top" ? within : (before?.id ?? "table")}-${place + 1}`;
  };
  all("table").forEach((table, place) => {
    if (!table.tHead || table.classList.contains("facts")) return;
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    if (table.tBodies[0]?.rows.length > 1 && !table.classList.contains("flows") && !table.tBodies[0].querySelector("[rowspan]")) {
      heads.forEach((head, column) => {
        if (head.tagName !== "TH" || !textOf(head) || one("a", head)) return;
        const button = make("button", { type: "button" });
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => sort(table, head, column));
      });
    }
    const button = make("button", { type: "button", class: "save" }, "Download this table (CSV)");
    button.addEventListener("click", () => save(table, nameOf(table, place)));
    (table.closest(".list") ?? table).after(button);
  });

  // Search: concepts on the cards and in the table of concepts, and names of groups.

  const box = one("#find");
  const only = one("#only");
  const found = one("#found");
  const search = () => {
    const wanted = box.value.trim().toLowerCase();
    const matches = (element) => element.textContent.toLowerCase().includes(wanted);
    const groups = [];
    for (const row of all("tr[data-concept]")) row.hidden = wanted !== "" && !matches(one("td, th", row));
    for (const card of all(".card[data-group]")) {
      const concepts = all("tr[data-concept]", card).filter((row) => !row.hidden);
      const shows = (!wanted || concepts.length > 0 || matches(one("h3", card))) && (!only?.checked || card.dataset.sure === "yes");
      card.hidden = !shows;
      if (card.parentElement.tagName === "DETAILS") card.parentElement.hidden = !shows;
      if (shows) groups.push(card.dataset.group);
      if (shows && wanted && concepts.length) {
        open(card);
        for (const row of concepts) open(row);
      }
    }
    for (const row of all("#glance tbody tr[data-group], .list tr[data-group]")) row.hidden = !groups.includes(row.dataset.group);
    found.textContent = wanted || only?.checked ? `${found.dataset.found} ${groups.join(", ") || "–"}` : "";
  };
  box?.addEventListener("input", search);
  only?.addEventListener("change", search);

  // The network of diseases: only the pairs of those that are typed, or clicked on.

  const pairs = one("#find-pair");
  const nodes = all("#relations-network [data-node]");
  const links = all("#relations-network [data-link]");
  const filter = () => {
    const wanted = pairs.value.trim().toLowerCase();
    const asked = new Set(nodes.filter((node) => node.dataset.tip.toLowerCase().includes(wanted)).map((node) => node.dataset.node));
    const near = new Set(asked);
    let count = 0;
    for (const link of links) {
      const ends = link.dataset.link.split(" ");
      const shows = ends.some((end) => asked.has(end));
      link.classList.toggle("faint", !shows);
      if (!shows) continue;
      count += 1;
      for (const end of ends) near.add(end);
    }
    for (const node of nodes) node.classList.toggle("faint", !near.has(node.dataset.node));
    one("#found-pairs").textContent = wanted ? `${pairs.dataset.found} ${count}` : "";
  };
  pairs?.addEventListener("input", filter);
  for (const node of nodes) {
    node.addEventListener("click", () => {
      if (!pairs) return;
      pairs.value = pairs.value === node.dataset.tip ? "" : node.dataset.tip;
      filter();
    });
  }

  // What is too wide or too high for its place scrolls: by keyboard too, where there is no link in it. Only then it is a stop.

  const scrollable = () => {
    for (const part of all("main table, main pre, .wide, .diagrams > div")) {
      const { overflowX, overflowY } = getComputedStyle(part);
      const scrolls = (overflowX === "auto" && part.scrollWidth > part.clientWidth) || (overflowY === "auto" && part.scrollHeight > part.clientHeight);
      if (!scrolls) {
        part.removeAttribute("tabindex");
        continue;
      }
      part.tabIndex = 0;
      if (part.tagName !== "TABLE") part.setAttribute("role", "region"); // a table keeps its own role
      const heads = all("h2, h3, h4, summary").filter((head) => head.compareDocumentPosition(part) & Node.DOCUMENT_POSITION_FOLLOWING);
      if (!part.caption && !part.hasAttribute("aria-label")) part.setAttribute("aria-label", heads.length ? textOf(heads.pop()) : document.title);
    }
  };
  let asked = 0;
  const look = () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(scrollable);
  };
  addEventListener("resize", look);
  document.addEventListener("toggle", look, true);

  // Print: what is folded is opened, and folded again afterwards.

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
    folded = [];
  });
  openLinked();
  scrollable();
})();
