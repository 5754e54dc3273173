// Light, dark, or as the system has it.

const THEMES = ["auto", "light", "dark"];
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const PLACE = "lstm_lm theme";

/** Makes `button` go through the themes; the choice is kept in this browser. */
export function bindTheme(button) {
  let theme = "auto";
  try {
    theme = localStorage.getItem(PLACE) ?? "auto";
  } catch {
    // storage is forbidden: the choice holds for this visit
  }
  const show = () => {
    if (!THEMES.includes(theme)) theme = "auto";
    document.documentElement.dataset.theme = theme;
    button.textContent = NAMES[theme];
    button.setAttribute("aria-label", `Colours: ${NAMES[theme]}. Change`);
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    show();
    try {
      localStorage.setItem(PLACE, theme);
    } catch {
      // as above
    }
  });
  show();
}
