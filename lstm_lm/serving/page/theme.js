// Light theme, dark theme, or the system's.

const THEMES = ["auto", "light", "dark"];
const LABELS = { auto: "Auto", light: "Light", dark: "Dark" };
const STORAGE_KEY = "lstm_lm theme";

/** Applies the chosen theme and, unless it is null, makes `button` cycle through them; the browser remembers the choice. */
export function bindTheme(button) {
  let theme = "auto";
  try {
    theme = localStorage.getItem(STORAGE_KEY) ?? "auto";
  } catch {
    // without storage the choice lasts for this visit
  }
  const apply = () => {
    if (!THEMES.includes(theme)) theme = "auto";
    document.documentElement.dataset.theme = theme;
    if (!button) return;
    button.querySelector("span").textContent = LABELS[theme];
    button.setAttribute("aria-label", `Theme: ${LABELS[theme]}. Change`);
  };
  button?.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    apply();
    try {
      localStorage.setItem(STORAGE_KEY, theme);
    } catch {
      // as above
    }
  });
  apply();
}
