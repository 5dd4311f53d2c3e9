// The page works without this script; with it the list follows the node by itself, keys move
// through it, and the window of an image is drawn with the pointer.
"use strict";

const list = () => document.querySelector("#worklist tbody");
const rows = () => [...document.querySelectorAll("#worklist tr[data-study]")];
const EVERY = 2000;
let known = "";

// Rows that did not change stay as they are, so that focus, folds and pictures last.
function merge(page) {
  const old = new Map(rows().map((row) => [row.dataset.study, row]));
  const news = [];
  const next = [...page.querySelectorAll("#worklist tbody tr")].map((row) => {
    const before = old.get(row.dataset.study);
    if (row.dataset.study && !before) news.push(row);
    if (before && before.dataset.mark === row.dataset.mark) return before;
    const fresh = document.importNode(row, true);
    if (before && before.contains(document.activeElement)) {
      setTimeout(() => fresh.querySelector("a.study")?.focus(), 0);
    }
    return fresh;
  });
  list().replaceChildren(...next);
  if (news.length > 0) {
    const urgent = news.filter((row) => row.dataset.priority !== "routine").length;
    document.querySelector("#news").textContent =
      `${news.length} new in the list` + (urgent > 0 ? `, ${urgent} of them urgent` : "");
  }
}

async function look() {
  if (!document.hidden) {
    try {
      const headers = { "X-Thorascribe-Poll": "1", "If-None-Match": known };
      const answer = await fetch("/rows" + location.search, { headers });
      if (answer.status === 401) return location.reload();
      document.body.classList.toggle("stale", !answer.ok && answer.status !== 304);
      if (answer.ok) {
        known = answer.headers.get("ETag") ?? "";
        merge(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      document.body.classList.add("stale");
    }
  }
  setTimeout(look, EVERY);
}

function move(step) {
  const all = rows();
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.querySelector("a.study").focus();
}

const keys = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => document.querySelector("#search")?.focus(),
  o: () => document.querySelector("#overlay")?.click(),
  u: () => document.querySelector("#film, .facts") && location.assign("/"),
  e: () => {
    const edit = document.querySelector("#edit");
    if (edit) {
      edit.closest("details").open = true;
      edit.focus();
    }
  },
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

// Across for the window, up and down for the level: one image's width is the whole window.
function drawWindow(film, form) {
  const number = (name) => Number(form.elements[name].value);
  let from = null;
  let due = null;
  film.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY, center: number("center"), width: number("width") };
    film.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  film.addEventListener("pointermove", (event) => {
    if (!from) return;
    const scale = from.width / film.clientWidth;
    const width = Math.max(1, from.width + 2 * (event.clientX - from.x) * scale);
    const center = from.center + (event.clientY - from.y) * scale;
    form.elements.width.value = Math.round(width);
    form.elements.center.value = Math.round(center);
    clearTimeout(due);
    due = setTimeout(() => {
      const { center, width } = form.elements;
      film.src = `${film.dataset.source}&center=${center.value}&width=${width.value}`;
    }, 120);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    film.addEventListener(end, () => (from = null));
  }
}

const film = document.querySelector("#film");
if (film) drawWindow(film, document.querySelector("#window"));
if (list()) setTimeout(look, EVERY);
