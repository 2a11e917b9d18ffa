// What a person presses: questions first, then the post, then word of how it went.
import { refresh, signOut } from "./live.js";
import { toast } from "./toasts.js";

const sure = new WeakSet();   // forms whose question was answered with yes
const keys = new Map();       // form id -> request_key, kept until the server took it: pressing again cannot run twice
const runs = new Map();       // form id -> { state: "queuing" | "queued", text, href }

const isAction = (el) => el?.matches?.("form[hx-post]");
const isRun = (form) => form.hasAttribute("data-run");

// ----------------------------------------------------------------------------------------------------------- questions

const dialog = document.querySelector("#ask");

/** Asks in the dialog; resolves to whether the answer was yes. */
function ask({ title, text, verb, danger }) {
  dialog.querySelector("#ask-title").textContent = title;
  dialog.querySelector("#ask-text").replaceChildren(...text);
  const button = dialog.querySelector("#ask-verb");
  button.textContent = verb;
  button.classList.toggle("danger", danger);
  // "Cancel" beside "Cancel run" would leave one guessing.
  dialog.querySelector("#ask-no").textContent = verb.startsWith("Cancel") ? "Keep it" : "Cancel";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function questionOf(form) {
  const el = form.querySelector(".question");
  if (!el) return null;
  const text = [...el.querySelectorAll("p")].map((p) => p.cloneNode(true));
  return { title: el.querySelector("h2").textContent, text, verb: el.dataset.verb, danger: el.hasAttribute("data-danger") };
}

/** Presses a schedule's Run now from the keyboard, which always asks. */
export async function runFromKeyboard(form) {
  if (!form || form.querySelector("button:disabled")) return;
  const text = Object.assign(document.createElement("p"), { textContent: "Its jobs are queued right away. The next scheduled run is not changed." });
  const question = questionOf(form) ?? { title: `Run ${form.dataset.run} now?`, text: [text], verb: "Run now", danger: false };
  if (await ask(question)) { sure.add(form); form.requestSubmit(); }
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!isAction(form)) return;
  const question = questionOf(form), pressed = form.querySelector("button:not([type=button])");
  if (pressed?.getAttribute("aria-busy") === "true") return halt(event);
  if (!question || sure.has(form)) return;
  halt(event);
  if (await ask(question)) { sure.add(form); form.requestSubmit(); }
}, { capture: true });

function halt(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

// ---------------------------------------------------------------------------------------------------------- the request

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const on = (type, act) => document.addEventListener(type, (event) => {
  const ctx = event.detail?.ctx;
  if (isAction(ctx?.sourceElement)) act(ctx.sourceElement, ctx);
});

on("htmx:config:request", (form, ctx) => {
  sure.delete(form);
  if (form.hasAttribute("data-theme-form")) return ctx.request.body.set("theme", flipTheme());
  if (isRun(form) || form.hasAttribute("data-keyed")) {
    if (!keys.has(form.id)) keys.set(form.id, newKey());
    ctx.request.body.set("request_key", keys.get(form.id));
  }
  if (isRun(form)) setRun(form, { state: "queuing", text: "Queuing…" });
  else form.querySelector("button")?.setAttribute("aria-busy", "true");
});

on("htmx:after:request", (form, ctx) => {
  const { status, headers, raw } = ctx.response;
  if (status === 401 || raw.redirected) return signOut();
  if (status >= 400) return refuse(form, wordsOf(status, headers, ctx.text));
  keys.delete(form.id);
  if (form.matches(".switch-form")) settleSwitch(form);
  if (!form.hasAttribute("data-theme-form")) refresh({ fresh: true });
});

on("htmx:error", (form) => {
  const again = isRun(form) ? "Not queued: the server did not answer. Press Run now again; it cannot run twice."
    : "Not done: the server did not answer. Try again.";
  refuse(form, again);
});

on("htmx:finally:request", (form) => {
  form.querySelector("button")?.removeAttribute("aria-busy");
  if (runs.get(form.id)?.state === "queuing") setRun(form, null);
});

function refuse(form, text) {
  if (isRun(form)) setRun(form, null);
  toast(text, { kind: "bad" });
}

/** The server's own sentence where it sent one. */
function wordsOf(status, headers, text) {
  if (headers.get("Content-Type")?.startsWith("text/plain") && text) return text;
  if (status === 403) return "Your role can look but not do this. Ask an admin.";
  return status >= 500 ? "Not done: something broke on our side. It is logged." : "Not done. Reload the page and try again.";
}

function settleSwitch(form) {
  const button = form.querySelector("[role=switch]");
  button.setAttribute("aria-checked", String(button.getAttribute("aria-checked") !== "true"));
}

// The server's word of success: HX-Trigger: {"schedmgr:done": {toast, href, label, queued}}, each if it applies.
document.addEventListener("schedmgr:done", (event) => {
  const { toast: text, href, label, queued } = event.detail ?? {}, form = event.target;
  if (queued != null && isRun(form)) showQueued(form, queued, href);
  if (text) toast(text, { kind: "ok", href, label });
});

// -------------------------------------------------------------------------------------------------------------- Run now

function showQueued(form, count, href) {
  setRun(form, { state: "queued", text: `${count} queued`, href });
  const { id } = form;
  setTimeout(() => {
    const now = document.getElementById(id);
    if (runs.get(id)?.state === "queued" && now) setRun(now, null);
  }, 10_000);
}

function setRun(form, run) {
  if (run) runs.set(form.id, run); else runs.delete(form.id);
  paint(form);
}

/** Draws the button's state; a morph puts the plain button back, so this runs after each. */
function paint(form) {
  const run = runs.get(form.id), button = form.querySelector("button");
  let link = form.querySelector("a.queued");
  const held = form.contains(document.activeElement);
  const queued = run?.state === "queued" && run.href;
  if (queued && !link) {
    link = Object.assign(document.createElement("a"), { className: `${button.className} queued`, href: run.href });
    link.append(symbol("check"), run.text);
    form.append(link);
  }
  if (!queued) link?.remove();
  button.hidden = Boolean(queued);
  if (run?.state === "queuing") button.setAttribute("aria-busy", "true"); else button.removeAttribute("aria-busy");
  button.querySelector("span").textContent = run && !queued ? run.text : "Run now";
  button.querySelector("use").setAttribute("href", run?.state === "queuing" ? "#i-run" : "#i-play");
  if (held) (queued ? link : button).focus();
}

function symbol(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

document.addEventListener("htmx:after:swap", () => {
  for (const id of runs.keys()) {
    const form = document.getElementById(id);
    if (form) paint(form);
  }
});

// ---------------------------------------------------------------------------------------------------- theme, menu, copy

function flipTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return (root.dataset.theme = dark ? "light" : "dark");
}

document.addEventListener("click", async (event) => {
  const el = event.target;
  for (const menu of document.querySelectorAll("details:is(.menu-wrap, .more)[open]")) if (!menu.contains(el)) menu.open = false;
  const opener = el.closest?.("[data-opens]"), target = opener && document.getElementById(opener.dataset.opens);
  if (target) { event.preventDefault(); target.showModal(); }
  if (el.closest?.("[data-closes]")) el.closest("dialog").close();
  const copied = el.closest?.("[data-copy]");
  if (!copied) return;
  copied.closest("details")?.removeAttribute("open");
  try {
    await navigator.clipboard.writeText(copied.dataset.copy);
    toast(`Copied: ${copied.dataset.copy}`, { kind: "ok" });
  } catch {
    toast(`The browser does not let a page without HTTPS copy. Here it is: ${copied.dataset.copy}`, { kind: "bad" });
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details:is(.menu-wrap, .more)[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});
