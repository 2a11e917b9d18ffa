// The exact instant of a <time>, on hover, focus and tap.
import { length, now } from "./clock.js";

let tip = null;

function hide() {
  tip?.remove();
  tip = null;
}

function text(el) {
  const late = now() - Date.parse(el.dateTime);
  if (!el.classList.contains("late") || !el.dataset.grace) return el.dataset.exact;
  return `Due ${el.dataset.exact}\nnow ${length(late)} late, grace is ${el.dataset.grace} s`;
}

function show(el) {
  hide();
  tip = Object.assign(document.createElement("div"), { className: "tip", textContent: text(el) });
  document.body.append(tip);
  const over = el.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const above = over.bottom + own.height + 12 > innerHeight;
  tip.style.left = `${Math.max(8, Math.min(over.left, innerWidth - own.width - 8))}px`;
  tip.style.top = `${above ? over.top - own.height - 6 : over.bottom + 6}px`;
}

const timeOf = (event) => event.target.closest?.("time[data-exact]");

document.addEventListener("pointerover", (event) => {
  const el = timeOf(event);
  if (el) show(el); else hide();
});
document.addEventListener("focusin", (event) => { if (timeOf(event)) show(timeOf(event)); });
document.addEventListener("focusout", hide);
document.addEventListener("scroll", hide, { capture: true, passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
