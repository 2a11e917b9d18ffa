// Short words in the corner.  Good news goes after six seconds, unless it is read; bad news stays until it is closed.

const box = document.querySelector("#toasts");
const SHOWN = 6000;

export function toast(text, { kind = "ok", href, label } = {}) {
  const el = document.createElement("div");
  el.className = `toast ${kind}`;
  el.innerHTML = `<svg class="i" aria-hidden="true"><use href="#i-${kind}"/></svg><span></span>`;
  el.querySelector("span").textContent = text;
  if (href) el.append(Object.assign(document.createElement("a"), { href, textContent: label ?? "Show" }));
  const close = document.createElement("button");
  close.className = "btn ghost icon";
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.innerHTML = '<svg class="i" aria-hidden="true"><use href="#i-close"/></svg>';
  close.addEventListener("click", () => el.remove());
  el.append(close);
  for (const old of box.children) if (old.textContent === el.textContent) old.remove();
  box.append(el);
  while (box.children.length > 4) box.firstElementChild.remove();
  if (kind !== "bad") leave(el);
}

function leave(el) {
  let timer = setTimeout(() => el.remove(), SHOWN);
  const stay = () => clearTimeout(timer), go = () => { stay(); timer = setTimeout(() => el.remove(), SHOWN); };
  for (const type of ["pointerenter", "focusin"]) el.addEventListener(type, stay);
  for (const type of ["pointerleave", "focusout"]) el.addEventListener(type, go);
}
