// The parts of a page that live: each [data-live] element is asked for again, morphed in place, and never jumps.
import { hear, now, setConnected } from "./clock.js";

const regions = new Map();  // element -> { tag, timer, accept, changed }
const connection = document.querySelector("#connection");
const RETRY = 5;

let failures = 0, lostAt = 0, retryAt = 0, shownAt = 0, signedOut = false;

const isLive = (el) => regions.has(el);
const busy = () => Number(document.querySelector("[data-running]")?.dataset.running) > 0;

function period(el) {
  return 1000 * Number((busy() && el.dataset.busy) || el.dataset.every);
}

function plan(el, delay) {
  const region = regions.get(el);
  if (!region) return;
  clearTimeout(region.timer);
  region.timer = setTimeout(() => poll(el), delay);
}

function poll(el) {
  if (!el.isConnected) return regions.delete(el);
  plan(el, period(el));
  if (!document.hidden && !signedOut && (!lostAt || el.id === "live-shell")) htmx.trigger(el, "refresh");
}

/** Asks for every live part now.  `fresh`: also for what the server thinks we have. */
export function refresh({ fresh = false } = {}) {
  for (const [el, region] of regions) {
    if (fresh) region.tag = null;
    poll(el);
  }
}

/** Shows a list as the server orders it: after a filter changed, or when asked to show what is new. */
export function accept(el) {
  const region = regions.get(el);
  if (!region) return false;
  Object.assign(region, { tag: null, accept: true });
  poll(el);
  return true;
}

// ------------------------------------------------------------------------------------------------ keeping rows in place

/** Puts the rows that came into the order that is shown; holds back those that are new, and says how many. */
function keepOrder(el, region, fragment) {
  const shown = el.querySelector("[data-rows]"), came = fragment.querySelector("[data-rows]");
  const announcer = document.querySelector(`[data-announces="${el.id}"]`);
  region.changed = shown && came ? changedRows(shown, came) : [];
  if (!shown || !came || region.accept) {
    region.accept = false;
    return announce(announcer, 0, el);
  }
  const left = new Map([...came.children].map((row) => [row.id, row]));
  const rows = [];
  for (const row of shown.children) {
    const next = left.get(row.id);
    if (next) rows.push(next);
    else if (el.dataset.missing === "keep" || row.matches(".group")) rows.push(row.cloneNode(true));
    left.delete(row.id);
  }
  const kept = rows.filter((row, at) => !row.matches(".group") || rows[at + 1]?.matches("[data-row]"));
  recount(kept);
  came.replaceChildren(...kept);
  announce(announcer, [...left.values()].filter((row) => row.matches("[data-row]")).length, el);
}

/** A head counts the rows that stand under it, also those that would stand elsewhere after a reload. */
function recount(rows) {
  for (const [at, head] of rows.entries()) {
    if (!head.matches(".group")) continue;
    const next = rows.findIndex((row, place) => place > at && row.matches(".group"));
    head.querySelector(".n").textContent = (next < 0 ? rows.length : next) - at - 1;
  }
}

function changedRows(shown, came) {
  const before = new Map([...shown.querySelectorAll("[data-state]")].map((row) => [row.id, row.dataset.state]));
  return [...came.querySelectorAll("[data-state]")]
    .filter((row) => before.has(row.id) && before.get(row.id) !== row.dataset.state).map((row) => row.id);
}

function announce(button, count, el) {
  if (!button) return;
  button.hidden = count === 0;
  const text = `${count} new ${el.dataset.noun}${count === 1 ? "" : "s"}, show`;
  if (count && button.textContent !== text) button.textContent = text;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-announces]");
  if (!button) return;
  const list = document.getElementById(button.dataset.announces);
  accept(list);
  list.querySelector("a[href]")?.focus({ preventScroll: true });
});

function flash(ids) {
  for (const id of ids) {
    const row = document.getElementById(id);
    row?.classList.add("changed");
    setTimeout(() => row?.classList.remove("changed"), 1300);
  }
}

// ---------------------------------------------------------------------------------------------------------- connection

function succeeded() {
  failures = 0;
  shownAt = now();
  if (!lostAt) return;
  lostAt = 0;
  document.body.classList.remove("connected-not");
  setConnected(true);
  say("Connected again", "back");
  setTimeout(() => { if (!lostAt && !signedOut) connection.hidden = true; }, 3000);
  refresh();
}

/** A poll failed.  The second in a row says so on the page; from then on one part alone knocks. */
export function failed() {
  failures += 1;
  if (failures < 2 || signedOut) return;
  if (!lostAt) {
    lostAt = now();
    document.body.classList.add("connected-not");
    setConnected(false);
  }
  retryAt = performance.now() + RETRY * 1000;
  plan(document.querySelector("#live-shell"), RETRY * 1000);
  countDown();
}

function countDown() {
  if (!lostAt || signedOut) return;
  const ago = Math.round((now() - lostAt) / 1000), left = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
  say(`Connection lost ${ago} s ago, showing ${new Date(shownAt).toISOString().slice(11, 19)} UTC. `
    + (left ? `Trying again in ${left} s.` : "Trying again…"), "", "Try now", () => poll(document.querySelector("#live-shell")));
}

/** The session ended: the page stays as it is and says so. */
export function signOut() {
  signedOut = true;
  document.body.classList.add("connected-not");
  const here = location.pathname.slice((document.body.dataset.prefix ?? "").length) + location.search;
  say("You are signed out. Sign in again to go on.", "", "Sign in", () => {
    location.href = `${document.body.dataset.prefix}/login?next=${encodeURIComponent(here)}`;
  });
}

function say(text, css, verb, act) {
  connection.hidden = false;
  connection.className = `connection ${css}`;
  let words = connection.querySelector("span"), button = connection.querySelector("button");
  if (!words) connection.append(words = document.createElement("span"));
  if (words.textContent !== text) words.textContent = text;
  if (verb && !button) {
    button = Object.assign(document.createElement("button"), { className: "btn small", type: "button" });
    connection.append(button);
  }
  if (button) { button.hidden = !verb; button.textContent = verb ?? ""; button.onclick = act; }
}

// -------------------------------------------------------------------------------------------------------------- events

const on = (type, act) => document.addEventListener(type, (event) => {
  const ctx = event.detail?.ctx;
  if (isLive(ctx?.sourceElement)) act(ctx.sourceElement, regions.get(ctx.sourceElement), ctx, event);
});

on("htmx:config:request", (el, region, ctx) => {
  if (region.tag) ctx.request.headers["If-None-Match"] = region.tag;
});
on("htmx:after:request", (el, region, ctx) => {
  const { status, headers, raw } = ctx.response;
  hear(headers);
  if (status === 401 || raw.redirected) { ctx.swap = "none"; ctx.text = ""; return signOut(); }
  if (status >= 500) return failed();
  if (status === 200) region.tag = headers.get("ETag");
  succeeded();
});
on("htmx:error", (el) => failed());
on("htmx:before:swap", (el, region, ctx, event) => {
  const main = event.detail.tasks.find((task) => task.type === "main");
  if (el.dataset.noun && main && ctx.response.status === 200) keepOrder(el, region, main.fragment);
});
on("htmx:after:swap", (el, region) => {
  flash(region.changed ?? []);
  region.changed = [];
  const count = Number(document.querySelector("[data-attention]")?.dataset.attention);
  document.title = (count ? `(${count}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  if (el.dataset.until === "over" && document.querySelector("#run-badge[data-over=true]")) regions.delete(el);
});
on("htmx:finally:request", (el) => { if (!lostAt) plan(el, period(el)); });

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
addEventListener("online", () => { if (lostAt) poll(document.querySelector("#live-shell")); });

for (const el of document.querySelectorAll("[data-live]")) {
  regions.set(el, { tag: null, timer: 0, accept: false, changed: [] });
  plan(el, period(el));
}
shownAt = now();
setInterval(countDown, 1000);
