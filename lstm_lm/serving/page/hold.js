// A long press, a right click or the menu key on an element.

const HOLD_MS = 500;
const MAX_MOVE = 10;

/** Calls `onHeld` once for each of them; the click that ends a long press is not a click. */
export function onHold(element, onHeld) {
  let timer = null;
  let start = null;
  let held = false;
  const cancel = () => {
    clearTimeout(timer);
    timer = null;
  };
  element.addEventListener("pointerdown", (event) => {
    held = false;
    if (event.pointerType === "mouse") return;
    start = event;
    timer = setTimeout(() => {
      held = true;
      onHeld();
    }, HOLD_MS);
  });
  element.addEventListener("pointermove", (event) => {
    if (start && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > MAX_MOVE) cancel();
  });
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) element.addEventListener(name, cancel);
  element.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    cancel();
    // a phone sends it during a long press too
    if (!held) onHeld();
    held = event.pointerType !== "mouse" && event.button !== 2;
  });
  element.addEventListener(
    "click",
    (event) => {
      if (held) event.stopImmediatePropagation();
      held = false;
    },
    { capture: true },
  );
}
