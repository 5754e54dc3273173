// The part of the window that a phone's keyboard leaves free.

/** Keeps `--visible` (its height) and `--covered` (what is covered at the bottom) of the page up to date. */
export function followViewport(viewport = window.visualViewport, root = document.documentElement) {
  if (!viewport) return;
  const update = () => {
    // a page that is zoomed in is left alone
    const zoomed = viewport.scale > 1.01;
    const height = zoomed ? innerHeight : viewport.height;
    const covered = zoomed ? 0 : Math.max(0, innerHeight - viewport.height - viewport.offsetTop);
    root.style.setProperty("--visible", `${Math.round(height)}px`);
    root.style.setProperty("--covered", `${Math.round(covered)}px`);
  };
  viewport.addEventListener("resize", update);
  viewport.addEventListener("scroll", update);
  update();
}
