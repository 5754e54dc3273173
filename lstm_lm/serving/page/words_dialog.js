// The dialog that shows what was learned and blocked.

const SHOWN = 200;
const NUMBER = new Intl.NumberFormat("en");

/**
 * Binds the dialog's elements.
 *
 * @param words the PersonalWords.
 * @param element `id => element`.
 * @param onClose called after the dialog closes.
 */
export function bindWordsDialog(words, element, onClose) {
  const dialog = element("words-dialog");
  const file = element("words-file");
  const forget = element("words-forget");

  const show = () => {
    const learned = words.learned();
    fill("learned", learned, ([word, count]) => chip(word, `×${NUMBER.format(count)}`, "Forget", () => words.forgetWord(word)));
    fill("blocked", [...words.blocked].reverse(), (word) => chip(word, "", "Unblock", () => words.unblock(word)));
    const total = words.words.size + words.blocked.size + words.recent.length;
    element("words-export").disabled = forget.disabled = total === 0;
    element("words-open").textContent = learned.length ? `Words · ${NUMBER.format(learned.length)}` : "Words";
  };

  const fill = (name, items, build) => {
    element(name).replaceChildren(...items.slice(0, SHOWN).map(build));
    element(name).hidden = items.length === 0;
    element(`${name}-empty`).hidden = items.length > 0;
    element(`${name}-count`).textContent = items.length ? NUMBER.format(items.length) : "";
  };

  const chip = (word, detail, action, onClick) => {
    const item = document.createElement("li");
    const text = document.createElement("span");
    text.textContent = word;
    const small = document.createElement("small");
    small.textContent = detail;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `${action} ${word}`);
    button.addEventListener("click", () => {
      onClick();
      dialog.focus();
    });
    item.append(text, small, button);
    return item;
  };

  const problem = (message) => {
    element("words-problem").hidden = !message;
    element("words-problem").textContent = message;
  };

  let armed = null;
  const disarm = () => {
    clearTimeout(armed);
    armed = null;
    forget.textContent = "Forget all";
  };

  element("words-open").addEventListener("click", () => {
    problem("");
    disarm();
    dialog.showModal();
  });
  element("words-close").addEventListener("click", () => dialog.close());
  // a click on the backdrop
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", onClose);
  element("words-export").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(words.toJSON(), null, 2)], { type: "application/json" }));
    link.download = "my-words.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
  element("words-import").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    try {
      words.import(await chosen.text());
      problem("");
    } catch (error) {
      problem(error.message);
    }
    file.value = "";
  });
  forget.addEventListener("click", () => {
    if (armed) {
      disarm();
      words.forgetAll();
      return;
    }
    forget.textContent = "Really forget?";
    armed = setTimeout(disarm, 4000);
  });
  show();
  return show;
}
