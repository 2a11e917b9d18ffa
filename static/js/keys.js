// Keys for who knows them.  Off in fields, and off altogether where the list of keys says so.
import { runFromKeyboard } from "./actions.js";

const list = document.querySelector("#keys"), box = document.querySelector("#keys-on");
const prefix = document.body.dataset.prefix ?? "";
const GO = { s: "/admin/schedules", r: "/admin/jobs" };

let going = 0;

const typing = (el) => el.matches?.("input, select, textarea, [contenteditable]");
const press = (selector) => document.querySelector(selector)?.click();

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement.closest("[data-row]"));
  const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  row?.querySelector(".name, .name-link, a[href]")?.focus();
  row?.scrollIntoView({ block: "nearest" });
}

function run() {
  const row = document.activeElement.closest("[data-row]");
  runFromKeyboard((row ?? document.querySelector("#schedule-actions"))?.querySelector("form[data-run]"));
}

const KEYS = {
  "/": () => document.querySelector("[type=search]")?.focus(),
  "?": () => list.showModal(),
  j: () => step(1),
  k: () => step(-1),
  r: run,
  f: () => press("[data-log-follow]"),
  w: () => press("[data-log-wrap]"),
  n: () => document.dispatchEvent(new CustomEvent("log:find", { detail: 1 })),
  N: () => document.dispatchEvent(new CustomEvent("log:find", { detail: -1 })),
  g: () => { going = performance.now(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (typing(event.target)) { if (event.key === "Escape") event.target.blur(); return; }
  if (localStorage.getItem("keys") === "off" && event.key !== "?") return;
  const page = performance.now() - going < 1500 && GO[event.key];
  if (page) { location.href = prefix + page; return; }
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

if (box) {
  box.checked = localStorage.getItem("keys") !== "off";
  box.addEventListener("change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));
}
